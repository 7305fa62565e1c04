"""Lives with every verb of the contract in them, as steps. A step that a crash has cut off is done again, perhaps with
a part of it done by then; so each does only what is still to do."""

import os
import time

from puppets import PATIENCE, Refused

PAGE = 4096
LARGE = 512 * 1024  # is given back by another thread
FOREVER = 10 ** 12


def step(makes=None, also=lambda before, after: []):
    """`makes`: the name that is given to another environment by it. `also`: what there may be halfway, by what there is
    before and after; None: anything."""
    def mark(method):
        method.makes, method.also = makes, also
        return method
    return mark


def without(name, state=None):
    """Halfway: what there is after it, but no environment of that name (in that state)."""
    def halfway(_, after):
        return [{**after, "environments": [row for row in after["environments"]
                                           if row[0] != name or state not in (None, row[1][0])]}]
    return halfway


def with_bare_home(snapshot, home):
    """There is nothing in it."""
    homes = {name: names for name, names in snapshot["files"]["homes"].items() if name != home}
    return {**snapshot, "files": {**snapshot["files"], "homes": homes}}


def without_holders(snapshot, name):
    """Nobody is in it any more."""
    rows = [[row[0], row[1][:4] + [0] + row[1][5:], [region[:4] + [0] + region[5:] for region in row[2]], []]
            if row[0] == name else row for row in snapshot["environments"]]
    return {**snapshot, "environments": sorted(rows, key=repr)}


class Scenario:
    """`memory`: what of a backing without a name is made of. `key`: of System V segments, if it is asked for one."""

    members = "ab"
    uses_memory = False

    def __init__(self, stage, memory, key):
        self.stage, self.memory, self.key = stage, memory, key
        self.may_be_done = False  # what the step does may have been done by its first attempt
        for name in self.members:
            setattr(self, name, stage.member(name))

    @classmethod
    def steps(cls):
        return [value for value in vars(cls).values() if hasattr(value, "makes")] + [cls.all_leave]

    @step(also=None)
    def all_leave(self):
        members = [member for member in self.stage.puppets.values() if member.alive]
        for member in members:
            self.stage.do(member, "part")
        self.until(lambda view: not view)
        for member in members:
            self.stage.do(member, "rest")

    # --- words --------------------------------------------------------------------------------------------------------

    def home(self, name):
        path = self.stage.path("home/" + name)
        os.makedirs(path, exist_ok=True)
        return path

    def regions(self, *names, **more):
        return [{"name": name, "size": 2 * PAGE, **more} for name in names]

    def call(self, who, method, done=(), **parameters):
        """`done`: errors that say that it was done already."""
        try:
            return self.stage.do(who, "call", method=method, **parameters)
        except Refused as refused:
            if not self.may_be_done or refused.error not in done:
                raise
            return None

    def make(self, who, name, **definition):
        return self.call(who, "Open", environment=name, create="always", definition=definition, fill=True)

    def join(self, who, name, role="member"):
        reply = self.call(who, "Open", environment=name)
        assert reply["role"] == role or self.may_be_done, reply["role"]

    def ready(self, who, name):
        self.call(who, "Ready", environment=name, done=["NotYourRole"])

    def add(self, who, environment, **region):
        if not self.call(who, "AddRegion", environment=environment, region=region, fill=True, done=["RegionExists"]):
            self.call(who, "Attach", environment=environment, region=region["name"], fill=True)

    def leave(self, who, name, region=None):
        self.stage.do(who, "unmap", environment=name, region=region)
        self.call(who, "Detach", environment=name, region=region, done=["NotAttached", "EnvironmentNotFound"])

    def delete(self, who, name, region, force=False):
        self.call(who, "DeleteRegion", environment=name, region=region, force=force, done=["RegionNotFound"])

    def remove(self, who, name, **how):
        self.call(who, "Remove", environment=name, done=["EnvironmentNotFound"], **how)

    def refused(self, error, who, method, **parameters):
        try:
            self.stage.do(who, "call", method=method, **parameters)
        except Refused as refused:
            assert refused.error == error, refused
        else:
            raise AssertionError(f"{method} is not refused")

    def until(self, is_so):
        """Nothing tells of it to us."""
        end = time.monotonic() + PATIENCE
        while not is_so(view := self.stage.view()):
            assert time.monotonic() < end, f"waited in vain; there is {view}"
            time.sleep(0.002)

    def state(self, view, name):
        return next((row["state"] for row in view if row["name"] == name and row["state"] != "retired"), None)

    def until_gone(self, name):
        self.until(lambda view: all(row["name"] != name for row in view))


class Regions(Scenario):
    """Four backings in one, with a home: regions come and go, also while they are held."""

    uses_memory = True

    @step(makes="mix")
    def an_environment_of_four_backings_is_made(self):
        regions = [{"name": name, "size": 2 * PAGE, "backing": backing} for name, backing in
                   (("m", self.memory), ("s", "sysv"), ("p", "posix"), ("f", "file"))]
        self.make(self.a, "mix", home=self.home("mix"), regions=regions, recovery=True, lifetime="attached")

    @step()
    def it_is_ready(self):
        self.ready(self.a, "mix")

    @step()
    def another_joins(self):
        self.join(self.b, "mix")

    @step()
    def a_large_region_is_added(self):
        self.add(self.b, "mix", name="large", size=LARGE, backing=self.memory)

    @step()
    def a_segment_is_added(self):
        self.add(self.b, "mix", name="s2", size=PAGE, backing="sysv")

    @step()
    def a_small_region_is_added(self):
        self.add(self.b, "mix", name="small", size=PAGE, backing=self.memory)

    @step()
    def a_file_is_added(self):
        self.add(self.b, "mix", name="f2", size=PAGE, backing="file")

    @step()
    def a_member_attaches_to_read(self):
        self.call(self.a, "Attach", environment="mix", region="large", access="read")

    @step()
    def a_member_attaches_to_write(self):
        self.call(self.a, "Attach", environment="mix", region="s2", access="write")

    @step()
    def a_region_is_left(self):
        self.leave(self.b, "mix", "small")

    @step()
    def and_deleted(self):
        self.delete(self.b, "mix", "small")

    @step()
    def one_that_is_held_is_not(self):
        self.refused("Busy", self.b, "DeleteRegion", environment="mix", region="large")

    @step()
    def but_by_force(self):
        self.delete(self.b, "mix", "large", force=True)

    @step()
    def one_of_its_holders_leaves(self):
        self.leave(self.a, "mix", "large")

    @step()
    def and_the_last(self):
        self.leave(self.b, "mix", "large")
        self.until(lambda view: len(view) == 1)

    @step()
    def a_segment_is_deleted_by_force(self):
        self.delete(self.b, "mix", "s2", force=True)

    @step()
    def a_file_is_deleted_by_force(self):
        self.delete(self.b, "mix", "f2", force=True)

    @step()
    def all_is_removed_by_force(self):
        self.remove(self.b, "mix", force=True)

    @step()
    def one_of_all_leaves(self):
        self.leave(self.a, "mix")


class Files(Scenario):
    """In a region directory, and in one that the broker makes."""

    @step(makes="dir")
    def files_are_made_in_a_region_directory(self):
        self.make(self.b, "dir", backing="file", regionDirectory=self.home("regions"), regions=self.regions("x", "y"))

    @step()
    def they_are_ready(self):
        self.ready(self.b, "dir")

    @step()
    def another_joins_them(self):
        self.join(self.a, "dir")

    @step()
    def a_file_there_is_deleted_by_force(self):
        self.delete(self.a, "dir", "x", force=True)

    @step()
    def and_all_of_them_are_removed_by_force(self):
        self.remove(self.a, "dir", force=True)

    @step()
    def a_holder_of_the_removed_leaves(self):
        self.leave(self.a, "dir")

    @step()
    def and_so_does_the_last(self):
        self.leave(self.b, "dir")
        self.until_gone("dir")

    @step(makes="own")
    def files_are_made_in_a_directory_of_their_own(self):
        self.make(self.a, "own", backing="file", lifetime="attached", regions=self.regions("x"))

    @step()
    def these_are_ready(self):
        self.ready(self.a, "own")

    @step()
    def and_left(self):
        self.leave(self.a, "own")
        self.until_gone("own")


class Keys(Scenario):
    """System V keys that were asked for; a removal that waits; and what is private."""

    @step(makes="keys")
    def keys_are_asked_for(self):
        self.make(self.a, "keys", backing="sysv", shmKey=self.key, lifetime="persistent",
                  regions=self.regions("k1", "k2"))

    @step()
    def their_segments_are_ready(self):
        self.ready(self.a, "keys")

    @step()
    def the_next_key_is_taken(self):
        self.add(self.a, "keys", name="k3", size=PAGE)

    @step()
    def what_persists_is_left(self):
        self.leave(self.a, "keys")

    @step()
    def and_joined(self):
        self.join(self.b, "keys")

    @step()
    def it_is_not_removed_under_its_member(self):
        self.refused("Busy", self.a, "Remove", environment="keys")

    @step(also=lambda before, after: [without_holders(before, "keys")])
    def a_removal_waits_until_its_member_leaves(self):
        self.stage.tell(self.a, "call", method="Remove", environment="keys", waitUSec=FOREVER)
        while not self.a.has_answer() and not self.stage.do(self.b, "is_draining", environment="keys"):
            self.stage.hear_all()
        self.leave(self.b, "keys")
        try:
            self.stage.answer(self.a)
        except Refused as refused:
            assert self.may_be_done and refused.error == "EnvironmentNotFound", refused

    @step(makes="private")
    def a_private_one_is_made(self):
        self.make(self.a, "private", backing="private", regions=self.regions("heap"))

    @step()
    def it_is_ready_too(self):
        self.ready(self.a, "private")

    @step()
    def nobody_else_gets_it(self):
        self.refused("Busy", self.b, "Open", environment="private")

    @step()
    def and_it_is_left(self):
        self.leave(self.a, "private")
        self.until_gone("private")


class Deaths(Scenario):
    """Of a creator, a writer, and a parent."""

    uses_memory = True
    members = "abd"

    @step(makes="mix")
    def an_environment_that_asks_for_recovery_is_made(self):
        regions = [*self.regions("m", backing=self.memory), *self.regions("s", backing="sysv"),
                   *self.regions("f", backing="file")]
        self.make(self.a, "mix", home=self.home("mix"), regions=regions, recovery=True, lifetime="attached")

    @step()
    def it_is_ready(self):
        self.ready(self.a, "mix")

    @step()
    def another_joins(self):
        self.join(self.b, "mix")

    @step()
    def a_segment_is_deleted_by_force(self):
        self.delete(self.a, "mix", "s", force=True)

    @step(makes="creators")
    def one_is_made_that_goes_with_its_creator(self):
        self.make(self.d, "creators", backing="posix", lifetime="creator", regions=self.regions("x"))

    @step()
    def that_is_ready(self):
        self.ready(self.d, "creators")

    @step()
    def it_has_another_member(self):
        self.join(self.b, "creators")

    @step()
    def its_creator_is_elsewhere_too(self):
        self.join(self.d, "mix")

    @step()
    def and_dies(self):
        self.stage.end_of("d")
        self.until(lambda view: self.state(view, "mix") == "dirty" and not self.state(view, "creators"))

    @step()
    def one_repairs_what_it_left(self):
        self.join(self.a, "mix", role="recoverer")

    @step()
    def and_has_done_so(self):
        self.ready(self.a, "mix")

    @step()
    def what_lost_its_creator_is_left(self):
        self.leave(self.b, "creators")
        self.until_gone("creators")

    @step()
    def a_child_is_forked(self):
        self.c = self.stage.puppets.get("c") or self.stage.child("c", self.b)

    @step()
    def it_adopts_what_it_has(self):
        self.stage.do(self.c, "connect")
        self.call(self.c, "Adopt", environment="mix")

    @step()
    def its_parent_dies(self):
        self.stage.end_of("b")
        self.until(lambda view: self.state(view, "mix") == "dirty")

    @step()
    def the_child_repairs(self):
        self.join(self.c, "mix", role="recoverer")

    @step()
    def and_is_ready(self):
        self.ready(self.c, "mix")

    @step()
    def all_die(self):
        for name in "ac":
            self.stage.end_of(name)
        self.until(lambda view: not view)


class Beginnings(Scenario):
    """One that fails, and one that ends in time."""

    members = "ae"

    @step(makes="half")
    def one_begins(self):
        self.call(self.e, "Open", environment="half", create="ifAbsent", fill=True,
                  definition={"backing": "posix", "regions": self.regions("x")})

    @step(makes="half", also=without("half"))
    def it_dies_and_another_begins_anew(self):
        self.stage.tell(self.a, "call", method="Open", environment="half", create="ifAbsent", fill=True,
                        definition={"backing": "posix", "regions": self.regions("x")})
        self.stage.end_of("e")
        self.stage.answer(self.a)

    @step()
    def that_one_is_ready(self):
        self.ready(self.a, "half")

    @step()
    def and_leaves_it(self):
        self.leave(self.a, "half")
        self.until_gone("half")

    @step(makes="lingers")
    def one_is_made_that_lingers(self):
        self.make(self.a, "lingers", backing="posix", lifetime="attached", lingerUSec=1000, regions=self.regions("x"))

    @step()
    def it_is_ready_as_well(self):
        self.ready(self.a, "lingers")

    @step()
    def a_file_is_added_that_needs_a_directory(self):
        self.add(self.a, "lingers", name="y", size=PAGE, backing="file")

    @step()
    def it_is_left_and_goes_in_time(self):
        self.leave(self.a, "lingers")
        self.until_gone("lingers")


class Names(Scenario):
    """That are taken while the old one is still held; homes that are another."""

    uses_memory = True

    @step(makes="again")
    def one_is_made_whose_name_will_be_taken(self):
        self.make(self.a, "again", backing=self.memory, regions=self.regions("x"))

    @step()
    def that_is_ready_as_well(self):
        self.ready(self.a, "again")

    @step()
    def a_child_has_it_unasked(self):
        self.g = self.stage.puppets.get("g") or self.stage.child("g", self.a)

    @step()
    def its_member_leaves_it_to_the_child(self):
        self.leave(self.a, "again")

    @step(makes="again", also=without("again", "initializing"))
    def its_name_is_taken(self):
        self.make(self.b, "again", backing=self.memory, regions=self.regions("x"))

    @step()
    def the_new_one_is_ready(self):
        self.ready(self.b, "again")

    @step()
    def the_child_that_had_the_old_one_dies(self):
        self.stage.end_of("g")
        self.until(lambda view: sum(row["name"] == "again" for row in view) == 1)

    @step()
    def the_new_one_is_left(self):
        self.leave(self.b, "again")
        self.until_gone("again")

    @step(makes="/home/house")
    def a_home_is_the_name_of_one(self):
        self.make(self.a, self.home("house"), backing="posix", lifetime="persistent", regions=self.regions("x"))

    @step()
    def one_with_a_home_is_ready(self):
        self.ready(self.a, self.home("house"))

    @step()
    def nobody_is_at_home(self):
        self.leave(self.a, self.home("house"))

    @step(makes="/home/house", also=lambda before, after: [
        with_bare_home(there, "house") for there in (before, *without("/home/house")(before, after))])
    def the_home_is_another_and_so_is_what_is_made_there(self):
        path = self.home("house")
        if not self.may_be_done:
            for name in os.listdir(path):
                os.unlink(os.path.join(path, name))
            os.rename(path, self.stage.path("old-house"))
            os.rmdir(self.stage.path("old-house"))
        self.make(self.a, self.home("house"), backing="posix", lifetime="persistent", regions=self.regions("x"))

    @step()
    def this_is_ready(self):
        self.ready(self.a, self.home("house"))

    @step()
    def and_left_as_well(self):
        self.leave(self.a, self.home("house"))

    @step()
    def it_is_removed(self):
        self.remove(self.b, self.home("house"))


chapters = [Regions, Files, Keys, Deaths, Beginnings, Names]
