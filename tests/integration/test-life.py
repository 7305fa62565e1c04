#!/usr/bin/env python3
"""The life of an environment: recovery, adoption and the reference file, with the real broker.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-life.py [-v] [Class.test]

LIFE_ROUNDS=1000 makes the rounds of killing longer, REPEAT=SEED repeats those of a run that printed its seed.
"""

import json
import mmap
import os
import random
import re
import select
import signal
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from puppets import (DIRTY, PATIENCE, READY, RECOVERING, Actor, Connection, Page, Refused, Stray, WithBroker, main)

ROUNDS = int(os.environ.get("LIFE_ROUNDS", "200"))
SEED = int(os.environ.get("REPEAT", "0")) or int.from_bytes(os.urandom(4), "big") | 1


# --- recovery -------------------------------------------------------------------------------------------------------

class Recovery(WithBroker):
    def dirty(self):
        """A dirty environment, its page, and the pid of who died."""
        keeper = self.create(recovery=True, lifetime="persistent")
        page = self.page()
        keeper.kill()
        page.wait(DIRTY)
        return page, keeper.pid

    def test_a_writer_killed_makes_it_dirty_and_a_reader_does_not(self):
        writer = self.create(recovery=True)
        reader, page = self.join(access="read"), self.page()
        watch = self.watch(environment=self.env)
        reader.kill()
        self.assertEqual(watch.until("died")[-1]["pid"], reader.pid)
        self.assertEqual((page.state, page.deaths), (READY, 1))
        self.join(access="read")
        writer.kill()
        self.assertEqual(watch.until("dirty")[-2]["pid"], writer.pid)
        self.assertEqual((page.state, page.deaths, page.generation), (DIRTY, 2, 1))

    def test_leaving_in_order_does_not_make_it_dirty(self):
        keeper = self.create(recovery=True, lifetime="persistent")
        page, watch = self.page(), self.watch(environment=self.env)
        keeper.call("Detach", environment=self.env)
        keeper.kill()
        self.join().do("hang_up")
        self.assertEqual([event["kind"] for event in watch.until("attached")], ["detached", "attached"])
        self.assertEqual(watch.next()["kind"], "detached")
        by_region = self.join()
        for region in ("data", "more"):
            by_region.call("Detach", environment=self.env, region=region)
        by_region.kill()
        self.assertEqual(watch.until("died")[-1]["writtenRegions"], [])
        self.assertEqual(page.state, READY)

    def test_without_recovery_a_killed_writer_changes_nothing(self):
        writer = self.create(lifetime="persistent")
        page, watch = self.page(), self.watch(environment=self.env)
        writer.kill()
        watch.until("died")
        self.assertEqual((page.state, page.generation, page.deaths), (READY, 1, 1))
        self.assertEqual(self.join().call("Describe", environment=self.env)["environment"]["generation"], 1)

    def test_the_page_changes_before_anybody_is_answered(self):
        writer = self.create(recovery=True, lifetime="persistent")
        page, watch = self.page(), self.watch(environment=self.env)
        for generation in range(1, 30):
            change = page.change
            writer.kill()
            page.wait(DIRTY)
            self.assertGreater(page.change, change)
            watch.until("dirty")
            writer, waiter = self.puppet(), self.puppet()
            self.assertEqual(writer.open(self.env)["role"], "recoverer")
            self.assertEqual((page.state, page.generation), (RECOVERING, generation))
            waiter.tell("open", environment=self.env)
            writer.tell("call", method="Ready", environment=self.env)
            reply = waiter.answer()  # it may be the first to know
            self.assertEqual((page.state, page.generation), (READY, generation + 1))
            self.assertEqual(reply["environment"]["generation"], generation + 1)
            self.assertEqual(writer.answer(), {"generation": generation + 1})
            waiter.call("Detach", environment=self.env)

    def test_of_many_openers_one_recovers_and_the_others_join_after_ready(self):
        page, _ = self.dirty()
        openers = [self.puppet() for _ in range(8)]
        for opener in openers:
            opener.tell("open", environment=self.env)
        ready = select.select([opener.socket for opener in openers], [], [], PATIENCE)[0]
        self.barrier()
        recoverer = next(opener for opener in openers if opener.socket in ready)
        self.assertEqual(recoverer.answer()["role"], "recoverer")
        others = [opener for opener in openers if opener is not recoverer]
        self.assertEqual(select.select([opener.socket for opener in others], [], [], 0)[0], [])
        self.assertEqual(recoverer.call("Ready", environment=self.env), {"generation": 2})
        for other in others:
            reply = other.answer()
            self.assertEqual((reply["role"], reply["environment"]["generation"], reply["environment"]["state"]),
                             ("member", 2, "ready"))
        self.assertEqual((page.state, page.generation), (READY, 2))

    def test_a_killed_recoverer_is_followed_by_exactly_one(self):
        page, _ = self.dirty()
        recoverer = self.puppet()
        recoverer.open(self.env)
        openers = [self.puppet() for _ in range(8)]
        for opener in openers:
            opener.tell("open", environment=self.env)
        for generation in range(2):
            recoverer.kill()
            ready = select.select([opener.socket for opener in openers], [], [], PATIENCE)[0]
            recoverer = next(opener for opener in openers if opener.socket in ready)
            openers.remove(recoverer)
            self.assertEqual(recoverer.answer()["role"], "recoverer")
            self.barrier()
            self.assertEqual(select.select([opener.socket for opener in openers], [], [], 0)[0], [])
            self.assertEqual((page.state, page.generation), (RECOVERING, 1))
        recoverer.call("Ready", environment=self.env)
        self.assertEqual({(opener.answer()["role"]) for opener in openers}, {"member"})

    def test_memory_that_somebody_waits_to_repair_is_not_given_back(self):
        writer = self.create(recovery=True, lifetime="attached")
        recoverer, reader, page = self.puppet(), self.join(access="read"), self.page()
        writer.kill()
        page.wait(DIRTY)
        recoverer.open(self.env)
        reader.kill()
        waiter, watch = self.connection(), self.watch(environment=self.env)
        waiter.send("Open", environment=self.env, regions=[])
        self.barrier()
        recoverer.kill()  # the last that held it
        reply, descriptors = waiter.receive()
        self.assertEqual(reply["role"], "recoverer")
        os.close(descriptors[0])
        waiter.call("Ready", environment=self.env)
        waiter.close()
        self.assertEqual([event["kind"] for event in watch.until("reclaimed")][-3:],
                         ["recovered", "detached", "reclaimed"])

    def test_dirty_memory_that_nobody_waits_for_is_given_back(self):
        writer, watch = self.create(recovery=True), self.watch(environment=self.env)
        writer.kill()
        self.assertEqual([event["kind"] for event in watch.until("reclaimed")],
                         ["died", "dirty", "reclaimed"])
        writer = self.create(recovery=True)
        reader, recoverer, page = self.join(access="read"), self.puppet(), self.page()
        writer.kill()
        page.wait(DIRTY)
        recoverer.open(self.env)
        reader.kill()
        recoverer.kill()
        self.assertEqual([event["kind"] for event in watch.until("reclaimed")][-3:], ["died", "dirty", "reclaimed"])

    def test_a_recoverer_that_leaves_in_order_is_followed_too(self):
        page, _ = self.dirty()
        recoverer, next_one = self.puppet(), self.puppet()
        recoverer.open(self.env)
        next_one.tell("open", environment=self.env)
        recoverer.call("Detach", environment=self.env)
        self.assertEqual(next_one.answer()["role"], "recoverer")
        self.refused("NotAttached", recoverer.call, "Ready", environment=self.env)
        self.assertEqual(page.state, RECOVERING)

    def test_a_reader_waits_until_it_is_repaired(self):
        self.dirty()
        reader, writer = self.puppet(), self.puppet()
        reader.tell("open", environment=self.env, access="read")
        self.barrier()
        self.assertEqual(writer.open(self.env)["role"], "recoverer")
        writer.call("Ready", environment=self.env)
        reply = reader.answer()
        self.assertEqual((reply["role"], reply["environment"]["generation"]), ("member", 2))
        self.assertEqual({grant["access"] for grant in reply["grants"]}, {"read"})

    def test_who_does_not_wait_is_told_why(self):
        _, dead = self.dirty()
        hasty, recoverer = self.puppet(), self.puppet()
        for wait in (0, 1000):
            facts = self.refused("RecoveryRequired", hasty.open, self.env, access="read", waitUSec=wait)
            self.assertEqual((facts["pid"], facts["environment"]), (dead, self.env))
            self.assertRegex(facts["command"], "python|test-life")
        recoverer.open(self.env)
        for wait in (0, 1000):
            for access in ("read", "write"):
                facts = self.refused("NotReady", hasty.open, self.env, access=access, waitUSec=wait)
                self.assertEqual((facts["state"], facts["pid"]), ("recovering", recoverer.pid))

    def test_a_member_that_asks_becomes_the_recoverer(self):
        victim = self.create(recovery=True)
        member, other, page = self.join(), self.join(), self.page()
        victim.kill()
        page.wait(DIRTY)
        self.refused("NotYourRole", member.call, "Ready", environment=self.env)
        self.assertEqual(member.open(self.env)["role"], "recoverer")
        self.assertEqual(member.open(self.env)["role"], "recoverer")  # it may ask again
        other.tell("open", environment=self.env)
        self.barrier()
        self.assertEqual(select.select([other.socket], [], [], 0)[0], [])
        self.assertEqual(member.call("Ready", environment=self.env), {"generation": 2})
        self.assertEqual(other.answer()["role"], "member")

    def test_a_writer_that_dies_during_the_repair_makes_ready_fail_once(self):
        first = self.create(recovery=True)
        second, reader, recoverer = self.join(), self.join(access="read"), self.puppet()
        page, watch = self.page(), self.watch(environment=self.env)
        first.kill()
        page.wait(DIRTY)
        self.assertEqual(recoverer.open(self.env)["role"], "recoverer")
        reader.kill()
        second.kill()
        while watch.until("died")[-1]["pid"] != second.pid:
            pass
        facts = self.refused("RecoveryRequired", recoverer.call, "Ready", environment=self.env)
        self.assertEqual(facts["pid"], second.pid)
        self.assertEqual((page.state, page.generation), (RECOVERING, 1))
        self.assertEqual(recoverer.call("Ready", environment=self.env), {"generation": 2})

    def test_nobody_new_joins_by_region_while_it_is_dirty(self):
        victim = self.create(recovery=True)
        member, page = self.join(regions=["data"]), self.page()
        victim.kill()
        page.wait(DIRTY)
        self.refused("RecoveryRequired", member.call, "Attach", environment=self.env, region="more")


# --- rounds of killing ----------------------------------------------------------------------------------------------

def member_of(name):
    """A member for the rounds: it joins, repairs when it is asked to, and reports each generation that it reads. The
    first word of the memory is the generation, written by who makes it fit for use."""

    def recover(connection, word, generation, chance):
        word[0:8] = struct.pack("Q", 0)
        select.select([], [], [], chance.random() * 0.002)  # a repair takes its time
        while True:
            word[0:8] = struct.pack("Q", generation + 1)
            try:
                return connection.call("Ready", environment=name)["generation"]
            except Refused as refused:
                assert refused.error == "RecoveryRequired", refused
                word[0:8] = struct.pack("Q", 0)

    def work(theirs, path):
        chance = random.Random(os.getpid())
        connection, page, word = Connection(path), None, None
        while True:
            connection.send("Open", environment=name)
            reply, descriptors = connection.receive()
            page = page or Page(descriptors[reply["controlFileDescriptor"]])
            word = word or mmap.mmap(descriptors[reply["grants"][0]["regionFileDescriptor"]], 4096)
            for descriptor in descriptors:
                os.close(descriptor)
            generation, role = reply["environment"]["generation"], reply["role"]
            if role == "recoverer":
                generation = recover(connection, word, generation, chance)
            found = struct.unpack("Q", word[0:8])[0]
            change = page.change
            if page.state == READY and page.generation == generation:  # so nobody repaired it while it was read
                theirs.sendall(json.dumps(["done", [role, generation, found]]).encode() + b"\n")
            while page.state == READY and page.generation == generation:
                page.sleep(change, PATIENCE)
                change = page.change

    return work


class Rounds(WithBroker):
    def test_of_members_killed_at_any_moment_always_exactly_one_repairs(self):
        chance = random.Random(SEED)
        name, keeper = self.env, self.connection()
        keeper.send("Open", environment=name, create="always",
                    definition={"regions": [{"name": "word", "size": 4096}], "recovery": True,
                                "lifetime": "persistent"})
        _, descriptors = keeper.receive()
        page, word = Page(descriptors[0]), mmap.mmap(descriptors[1], 4096)
        word[0:8] = struct.pack("Q", 1)
        word.close()
        for descriptor in descriptors:
            os.close(descriptor)
        keeper.call("Ready", environment=name)
        keeper.call("Detach", environment=name)
        watch = self.watch(environment=name)
        members = [self.puppet(work=member_of(name)) for _ in range(8)]
        for member in members:
            self.assertEqual(member.answer(), ["member", 1, 1])
        delays, story = [], Story(self)
        print(f"\nseed {SEED} (REPEAT={SEED} repeats it), {ROUNDS} rounds", file=sys.stderr)
        for _ in range(ROUNDS):
            generation = page.generation
            victims = chance.sample(members, chance.choice((1, 1, 2, 3)))
            begun = time.monotonic()
            os.kill(victims[0].pid, signal.SIGKILL)
            change = page.change
            while page.state == READY and page.generation == generation:
                page.sleep(change, PATIENCE)
                change = page.change
                self.assertLess(time.monotonic() - begun, PATIENCE, "a hang")
            delays.append(time.monotonic() - begun)
            for victim in victims[1:]:
                select.select([], [], [], chance.random() * 0.006)
                os.kill(victim.pid, signal.SIGKILL)
            for victim in victims:
                victim.reap()
                members[members.index(victim)] = self.puppet(work=member_of(name))
            self.all_read_the_latest(members, page)
            story.follow(watch, page.generation)
        delays.sort()
        print("from death to the page's change: " + ", ".join(
            f"{label} {delays[min(len(delays) - 1, int(len(delays) * share))] * 1e6:.0f} us"
            for label, share in (("least", 0), ("half", 0.5), ("9 of 10", 0.9), ("99 of 100", 0.99), ("most", 1))) +
            f"; {story.recoveries} repaired, {story.taken_over} taken over", file=sys.stderr)

    def all_read_the_latest(self, members, page):
        """Each of them has reported the generation that nobody will repair any more."""
        latest = {member: 0 for member in members}
        end = time.monotonic() + PATIENCE
        while page.state != READY or any(generation != page.generation for generation in latest.values()):
            self.assertLess(time.monotonic(), end, f"a hang: state {page.state}, {page.generation}: {latest.values()}")
            select.select([member.socket for member in members], [], [], 0.05)
            for member in members:
                while member.has_answer():
                    _, latest[member], found = member.answer()
                    self.assertEqual(found, latest[member], "read before its Ready")


class Story:
    """The events of an environment that is repaired again and again have one grammar."""

    def __init__(self, test):
        self.test = test
        self.state, self.recoverer, self.generation = "ready", None, 1
        self.recoveries = self.taken_over = 0

    def follow(self, watch, generation):
        """All that was told until that generation was ready."""
        last = 0
        while self.generation < generation:
            event = watch.next()
            self.test.assertIsNone(event["missed"])
            self.test.assertGreater(event["sequence"], last)
            last = event["sequence"]
            self.take(event)

    def take(self, event):
        kind, pid = event["kind"], event.get("pid")
        if kind == "dirty":
            self.test.assertIn(self.state, ("ready", "recovering"))
            self.taken_over += self.state == "recovering"
            self.state = "dirty"
        elif kind == "recovering":
            self.test.assertEqual(self.state, "dirty")
            self.state, self.recoverer = "recovering", pid
        elif kind == "recovered":
            self.test.assertEqual((self.state, self.recoverer), ("recovering", pid))
            self.state = "ready"
            self.generation += 1
            self.recoveries += 1
        elif kind == "attached":
            self.test.assertTrue(self.state == "ready" or pid == self.recoverer, (self.state, event))


# --- adoption -------------------------------------------------------------------------------------------------------

def parent_and_child(name, **definition):
    """A parent that maps the environment and forks a child with a puppet's line of its own, which adopts it."""

    def work(theirs, path):
        actor = Actor(path)
        actor.open(environment=name, create="always",
                   definition={"regions": [{"name": "data", "size": 4096}], **definition})
        actor.memory[0][0] = 42
        actor.call("Ready", environment=name)
        child = os.fork()
        if child > 0:
            commands = iter(theirs.makefile())
            for line in commands:
                what = json.loads(line)[0]
                if what == "detach":
                    actor.call("Detach", environment=name)
                os._exit(0)
        memory, adopted = actor.memory, Actor(path)  # of its own; the parent's is not used
        reply = adopted.call("Adopt", environment=name)
        theirs.sendall(json.dumps(["done", [os.getpid(), reply["environment"]["name"], memory[0][0]]]).encode() + b"\n")
        while True:
            signal.pause()

    return work


class Adopting(WithBroker):
    def family(self, **definition):
        parent = self.puppet(work=parent_and_child(self.env, **definition))
        child, name, found = parent.answer()
        self.child = Stray(self, child)
        self.assertEqual((name, found), (self.env, 42))
        return parent, child

    def holders(self):
        return {(row["pid"], row["standing"]) for row in self.describe()["attachments"]}

    def test_what_a_child_adopted_stays_with_it(self):
        parent, child = self.family()
        self.assertEqual(self.holders(), {(parent.pid, "connected"), (child, "connected")})
        watch = self.watch(environment=self.env, since=0)
        self.assertEqual(watch.until("attached")[-1]["pid"], parent.pid)
        event = watch.until("attached")[-1]
        self.assertEqual((event["pid"], event["reason"]), (child, "inherited from its parent"))
        parent.kill()
        watch.until("died")
        self.assertEqual(self.holders(), {(child, "connected")})
        self.assertEqual(self.describe()["environment"]["state"], "ready")
        self.child.kill()
        watch.until("reclaimed")

    def test_adopting_does_not_make_it_dirty(self):
        parent, child = self.family(recovery=True)
        watch = self.watch(environment=self.env)
        parent.tell("detach")
        watch.until("detached")
        self.assertEqual(parent.reap(), 0)
        self.assertEqual((self.holders(), self.describe()["environment"]["state"]), ({(child, "connected")}, "ready"))
        self.child.kill()  # it may have been writing
        self.assertEqual([event["kind"] for event in watch.until("dirty")], ["died", "dirty"])

    def test_a_child_says_what_it_has(self):
        self.create(recovery=True, lifetime="persistent")
        child, watch, page = self.puppet(), self.watch(environment=self.env), self.page()
        child.call("Adopt", environment=self.env, access="read", regions=["data", "deleted meanwhile"])
        self.assertEqual([(row["region"], row["access"]) for row in self.describe()["attachments"]
                          if row["pid"] == child.pid], [("data", "read")])
        child.kill()
        while watch.until("died")[-1]["pid"] != child.pid:
            pass
        self.assertEqual(page.state, READY)

    def test_adopting_twice_is_once(self):
        self.create()
        member = self.puppet()
        for _ in range(2):
            member.call("Adopt", environment=self.env)
        self.assertEqual(self.describe()["environment"]["attachments"], 2)

    def test_what_is_not_there_or_not_ready_is_not_adopted(self):
        self.refused("EnvironmentNotFound", self.connection().call, "Adopt", environment=self.env)
        self.create(ready=False)
        self.refused("NotReady", self.connection().call, "Adopt", environment=self.env)
        self.env += "2"
        self.create(backing="private")
        self.refused("Busy", self.connection().call, "Adopt", environment=self.env)


# --- the reference file ---------------------------------------------------------------------------------------------

class References(WithBroker):
    def setUp(self):
        super().setUp()
        self.home = tempfile.TemporaryDirectory(dir=self.folder.name)
        self.addCleanup(self.home.cleanup)
        self.file = os.path.join(self.home.name, "__db.001")

    def read(self):
        with open(self.file) as file:
            return file.read()

    def write(self, text):
        with open(self.file, "w") as file:
            file.write(text)

    def test_it_tells_where_the_memory_is(self):
        self.create(home=self.home.name, regions=[{"name": "data", "size": 4096},
                                                  {"name": "old", "size": 4096, "backing": "sysv"}])
        env = self.describe()["environment"]
        instance, number = env["id"].split("-")
        with open("/proc/sys/kernel/random/boot_id") as boot:
            boot_id = boot.read().strip()
        first, *facts = self.read().splitlines()
        self.assertEqual(first, "region-broker reference 1")
        old = env["regions"][1]
        self.assertEqual([fact for fact in facts if not fact.startswith("process:")], [
            f"boot: {boot_id}", f"broker: {instance}", f"socket: {self.socket}", f"environment: {number} {self.env}",
            f"region: 1 {env['regions'][0]['id'].split('-')[1]} data",
            f"region: 2 {old['id'].split('-')[1]} old key {old['shmKey']} id {old['shmId']}"])
        self.assertRegex("\n".join(facts), rf"(?m)^process: {self.broker.pid} \d+$")

    def test_it_goes_with_the_environment(self):
        watch = self.watch(environment=self.env)
        keeper = self.create(home=self.home.name)
        self.assertTrue(os.path.exists(self.file))
        keeper.kill()
        watch.until("reclaimed")
        self.assertEqual(os.listdir(self.home.name), [])
        self.create(home=self.home.name)
        self.connection().call("Remove", environment=self.env, force=True)
        self.assertEqual(os.listdir(self.home.name), [])
        self.create(home=self.home.name)  # and the home is free while the retired one is still held

    def test_it_is_not_seen_half_written_and_nothing_is_left_beside_it(self):
        self.create(home=self.home.name)
        self.assertEqual(os.listdir(self.home.name), ["__db.001"])

    def test_a_stale_one_is_replaced(self):
        self.create(home=self.home.name)
        text = self.read()
        self.connection().call("Remove", environment=self.env, force=True)
        for stale in (re.sub("boot: .*", "boot: 00000000-0000-0000-0000-000000000000", text),
                      re.sub("process: .*", f"process: {os.getpid()} 1", text),  # the pid lives, the process does not
                      re.sub("process: .*", "process: 2147483647 7", text)):
            with self.subTest(stale=stale):
                self.write(stale)
                self.create(home=self.home.name)
                self.assertNotEqual(self.read(), stale)
                self.connection().call("Remove", environment=self.env, force=True)

    def test_what_is_no_reference_is_refused_and_untouched(self):
        for foreign in ("precious\n", "", "region-broker reference 2\nboot: x\n"):
            with self.subTest(foreign=foreign):
                self.write(foreign)
                facts = self.refused("ResourceFailure", self.create, home=self.home.name)
                self.assertEqual(facts["errnoName"], "EEXIST")
                self.assertEqual(self.read(), foreign)
        os.unlink(self.file)
        os.symlink("/etc/passwd", self.file)
        self.refused("ResourceFailure", self.create, home=self.home.name)
        self.assertTrue(os.path.islink(self.file))

    def test_a_file_that_took_its_place_is_not_removed(self):
        keeper = self.create(home=self.home.name)
        os.unlink(self.file)
        self.write("another's\n")
        watch = self.watch(environment=self.env)
        keeper.kill()
        watch.until("reclaimed")
        self.assertEqual(self.read(), "another's\n")

    def test_who_knows_only_the_directory_opens_it(self):
        self.create(home=self.home.name)
        stranger = self.puppet()
        self.assertEqual(stranger.open(self.home.name)["environment"]["name"], self.env)
        self.assertEqual(stranger.open(self.home.name + "/../" + os.path.basename(self.home.name) + "/.")
                         ["environment"]["home"], self.home.name)

    def test_file_regions_need_no_reference(self):
        self.create(home=self.home.name, backing="file", lifetime="attached")
        self.assertEqual(os.path.getsize(self.file), 4096)


if __name__ == "__main__":
    main()
