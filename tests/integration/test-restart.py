#!/usr/bin/env python3
"""A broker that ends, however it ends, and the next one in the same directories: what outlives it, and what is made of
what happened meanwhile.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-restart.py [-v] [Class.test]
"""

import ctypes
import fcntl
import glob
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import puppets
from puppets import DIRTY, INITIALIZING, PATIENCE, READY, Actor, Connection, Page, Puppet, Refused, WithBroker, libc, main

libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
PAGE = 4096


class Holder(Actor):
    """Keeps System V memory attached too, and can call a broker that is another."""

    def again(self):
        self.connection.close()
        self.connection = puppets.Connection(self.path)

    def keep_descriptors(self):
        self.kept = []

    def second_session(self, **parameters):
        self.second = Connection(self.path)
        return self.second.call("Open", **parameters)

    def resume(self, **parameters):
        self.connection.send("Resume", **parameters)
        reply, descriptors = self.connection.receive()
        return reply, [Page(descriptor).state for descriptor in descriptors]

    def offer(self, descriptor="own", n=1, **parameters):
        """`descriptor`: the kept descriptor of that number, "own" being the first, or something else by its name."""
        call = {"method": "org.regionbroker.Offer", "parameters": {"region": "data", "regionFileDescriptor": 0, **parameters}}
        number = self.kept[0] if descriptor == "own" else self.make(descriptor)
        socket.send_fds(self.connection.socket, [json.dumps(call).encode() + b"\0"], [number] * n)
        return self.connection.receive()[0]

    def make(self, what):
        if isinstance(what, int):
            return self.kept[what]
        if what == "reader":
            return os.open(f"/proc/self/fd/{self.kept[0]}", os.O_RDONLY)
        if what == "path":
            return os.open(f"/proc/self/fd/{self.kept[0]}", os.O_PATH)
        if what == "pipe":
            return os.pipe()[0]
        if what == "directory":
            return os.open("/", os.O_RDONLY)
        made = os.memfd_create("region", os.MFD_ALLOW_SEALING)
        os.ftruncate(made, PAGE)
        os.fchmod(made, 0o600)
        if what == "sealed":  # in all that can be chosen it is like ours
            fcntl.fcntl(made, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return made

    def attach(self, shm_id):
        self.address = libc.shmat(shm_id, None, 0)
        assert self.address != ctypes.c_void_p(-1).value, "shmat"

    def write(self, text):
        if self.memory:
            self.memory[0][: len(text)] = text.encode()
        else:
            ctypes.memmove(self.address, text.encode(), len(text))

    def read(self, n):
        return (self.memory[0][:n] if self.memory else ctypes.string_at(self.address, n)).decode()


def hold(theirs, path):
    puppets.Actor = Holder
    puppets.perform(theirs, path)


class Restart(WithBroker):
    def restart(self, how=signal.SIGKILL, meanwhile=None):
        self.stop(how)
        if meanwhile:
            meanwhile()
        self.start()

    def holder(self, backing, **definition):
        """A process that has an environment of one region, with a few bytes in it."""
        holder = Puppet(self, self.socket, work=hold)
        if backing == "file":
            definition["home"] = self.enterContext(tempfile.TemporaryDirectory(dir=self.folder.name))
        definition.setdefault("lifetime", "attached")
        opened = holder.open(self.env, create="always", definition={
            "backing": backing, "regions": [{"name": "data", "size": PAGE}], **definition})
        region = opened["grants"][0]["region"]
        if backing == "sysv":
            holder.do("attach", shm_id=region["shmId"])
        if backing != "private":
            holder.do("write", text="stays")
        holder.region = region
        return holder

    def ready(self, backing, **definition):
        holder = self.holder(backing, **definition)
        holder.call("Ready", environment=self.env)
        return holder

    def standings(self):
        return [(attachment["pid"], attachment["standing"]) for attachment in self.describe()["attachments"]
                if attachment.get("region")]

    def check_kept(self, backing, how):
        holder = self.ready(backing)
        before = self.describe()["environment"]
        self.restart(how)
        after = self.describe()["environment"]
        self.assertEqual(after, before)
        self.assertEqual(self.standings(), [(holder.pid, "resumed")])
        if backing != "private":
            self.assertEqual(holder.do("read", n=5), "stays")

        # it calls again, and is where it was
        holder.do("again")
        holder.call("AddRegion", environment=self.env, region={"name": "more", "size": PAGE, "backing": backing})
        self.assertEqual({standing for _, standing in self.standings()}, {"connected"})
        self.assertEqual({pid for pid, _ in self.standings()}, {holder.pid})
        holder.call("Detach", environment=self.env)
        if backing != "private":
            holder.kill()
        self.assertEqual(self.watch(environment=self.env, since=0).until("reclaimed")[-1]["bytes"], 2 * PAGE)

    def test_killed_it_loses_no_system_v_memory(self):
        self.check_kept("sysv", signal.SIGKILL)

    def test_killed_it_loses_no_posix_memory(self):
        self.check_kept("posix", signal.SIGKILL)

    def test_killed_it_loses_no_file(self):
        self.check_kept("file", signal.SIGKILL)

    def test_killed_it_loses_no_private_environment(self):
        self.check_kept("private", signal.SIGKILL)

    def test_killed_it_still_makes_whole_huge_pages_of_the_pool(self):
        holder = self.ready("private", hugetlb=True)
        size = self.describe()["environment"]["bytes"]
        if size == PAGE:
            self.skipTest("this kernel has no pool of huge pages")
        self.restart()
        self.assertTrue(self.describe()["environment"]["hugetlb"])
        holder.do("again")
        added = holder.call("AddRegion", environment=self.env, region={"name": "more", "size": 1})
        self.assertEqual(added["grant"]["region"]["size"], size)
        self.assertEqual(self.describe()["environment"]["bytes"], 2 * size)

    def test_stopped_it_loses_nothing_either(self):
        self.check_kept("sysv", signal.SIGTERM)

    def test_interrupted_it_gives_up_what_lives_in_memory(self):
        holder = self.ready("sysv", lifetime="persistent")
        self.restart(signal.SIGINT)
        with self.assertRaises(Refused) as caught:
            self.describe()
        self.assertEqual(caught.exception.error, "EnvironmentNotFound")
        self.assertEqual(holder.do("read", n=5), "stays")

    def test_who_dies_meanwhile_is_found_dead(self):
        holder = self.ready("sysv", recovery=True, lifetime="persistent")
        sequence = self.watch(environment=self.env).first["sequence"]
        self.restart(meanwhile=holder.kill)
        self.assertEqual(self.standings(), [])
        self.assertEqual(self.describe()["environment"]["state"], "dirty")
        events = self.watch(environment=self.env, since=sequence).until("dirty")
        self.assertEqual([event["kind"] for event in events], ["died", "dirty"])
        self.assertEqual((events[0]["pid"], events[0]["writtenRegions"]), (holder.pid, ["data"]))

    def test_whose_last_holder_dies_meanwhile_is_reclaimed(self):
        holder = self.ready("posix")
        path = holder.region["path"]
        self.restart(meanwhile=holder.kill)
        self.refused("EnvironmentNotFound", self.describe)
        self.assertFalse(os.path.exists(path))

    def test_an_initializer_is_still_one(self):
        holder = self.holder("sysv")
        self.restart()
        self.assertEqual(self.describe()["environment"]["state"], "initializing")
        joiner = self.puppet()
        joiner.tell("open", environment=self.env)
        holder.do("again")
        self.assertFalse(joiner.has_answer())
        holder.call("Ready", environment=self.env)
        self.assertEqual(joiner.answer()["role"], "member")

    def test_an_initializer_that_opens_again_is_told_so(self):
        holder = self.holder("sysv")
        self.restart()
        holder.do("again")
        self.assertEqual(holder.open(self.env, create="always", definition={"regions": []})["role"], "initializer")

    def test_the_page_goes_on_telling(self):
        holder = self.ready("sysv", recovery=True)
        page = self.page()
        self.restart()
        self.assertEqual((page.state, page.generation), (READY, 1))
        holder.kill()
        page.wait(DIRTY)

    def test_a_page_that_was_half_made_is_made_anew(self):
        self.ready("sysv")

        def spoil():
            for path in glob.glob(os.path.join(self.folder.name, "run/control.*")):
                os.truncate(path, 0)

        self.restart(meanwhile=spoil)
        self.assertEqual(self.page().state, READY)

    # --- who goes on, by the contract alone

    def env_id(self):
        return self.describe()["environment"]["id"]

    def test_a_session_is_again_what_it_was(self):
        holder = self.holder("sysv", recovery=True)
        id = self.env_id()
        self.restart()
        holder.do("again")
        reply, pages = holder.do("resume", environment=self.env, id=id, access="write", regions=["data"])
        self.assertEqual((reply["role"], reply["environment"]["state"]), ("initializer", "initializing"))
        self.assertEqual(pages, [INITIALIZING])
        self.assertEqual(self.standings(), [(holder.pid, "connected")])
        holder.call("Ready", environment=self.env)
        self.assertEqual(holder.do("resume", environment=self.env, id=id)[0]["role"], "member")

    def test_who_left_meanwhile_is_a_member_anew(self):
        holder = self.ready("posix")
        holder.do("hang_up")
        self.watch(environment=self.env, since=0).until("detached")
        holder.do("again")
        reply, _ = holder.do("resume", environment=self.env, id=self.env_id(), access="read", regions=["data"])
        self.assertEqual(reply["role"], "member")
        self.assertEqual([attachment["access"] for attachment in self.describe()["attachments"]], ["read"])

    def test_of_an_environment_that_this_broker_does_not_know_there_is_nothing_to_resume(self):
        holder = self.ready("posix")
        id = self.env_id()
        self.restart(signal.SIGINT)
        holder.do("again")
        for wrong in (id, "", "-", "x-1", "0-0", "9" * 40, id + "x"):
            self.refused("EnvironmentNotFound", holder.do, "resume", environment=self.env, id=wrong)

    def test_who_may_not_see_it_is_told_that_there_is_none(self):
        if os.geteuid() != 0:
            self.skipTest("takes root")
        self.ready("sysv")
        os.chmod(self.socket, 0o666)
        stranger = self.puppet(uid=4711)
        self.refused("EnvironmentNotFound", stranger.call, "Resume", environment=self.env, id=self.env_id())

    def test_sessions_of_one_process_are_told_apart_by_their_numbers(self):
        holder = self.ready("sysv")
        id = self.env_id()
        other = holder.do("second_session", environment=self.env, access="read", session=7)
        self.assertEqual(other["role"], "member")
        self.restart()
        holder.do("again")
        holder.do("resume", environment=self.env, id=id, session=7)
        rows = {row["standing"]: row["access"] for row in self.describe()["attachments"]}
        self.assertEqual(rows, {"connected": "read", "resumed": "write"})

    def test_what_was_added_and_not_told_is_told_when_it_is_asked_again(self):
        holder = self.ready("sysv")
        region = {"name": "more", "size": PAGE}
        added = holder.call("AddRegion", environment=self.env, region=region)["grant"]["region"]
        self.restart()  # as if that answer had been lost
        holder.do("again")
        holder.do("resume", environment=self.env, id=self.env_id(), regions=["data"])
        self.assertEqual(holder.call("AddRegion", environment=self.env, region=region)["grant"]["region"]["id"], added["id"])
        self.restart()
        holder.do("again")
        holder.do("resume", environment=self.env, id=self.env_id(), regions=["data", "more"])
        self.refused("RegionExists", holder.call, "AddRegion", environment=self.env, region=region)

    def test_remove_means_the_one_that_it_names(self):
        holder = self.ready("sysv", lifetime="persistent")
        old = self.env_id()
        holder.call("Detach", environment=self.env)
        holder.kill()
        self.watch(environment=self.env, since=0).until("detached")
        self.connection().call("Remove", environment=self.env, force=True)
        self.ready("posix", lifetime="persistent")
        self.refused("EnvironmentNotFound", self.connection().call, "Remove", environment=self.env, id=old, force=True)
        self.connection().call("Remove", environment=self.env, id=self.env_id(), force=True)

    # --- memory without a name

    def keeper(self, **definition):
        holder = Puppet(self, self.socket, work=hold)
        holder.do("keep_descriptors")
        regions = [{"name": "data", "size": PAGE}, {"name": "rest", "size": PAGE}]
        holder.open(self.env, create="always", definition={"regions": regions, "lifetime": "persistent", **definition})
        holder.do("write", text="stays")
        holder.call("Ready", environment=self.env)
        return holder

    def missing(self):
        return [region["name"] for region in self.describe()["environment"]["regions"] if region.get("missing")]

    def test_memory_without_a_name_waits_for_who_has_it(self):
        holder = self.keeper()
        id = self.env_id()
        self.restart()
        self.assertEqual(self.missing(), ["data", "rest"])
        self.says("is missing since the broker before ended")
        waiting = self.puppet()
        waiting.tell("open", environment=self.env)
        late = self.puppet()
        refusal = self.refused("NotReady", late.call, "Open", environment=self.env, waitUSec=0)
        self.assertEqual(refusal["state"], "ready")
        holder.do("again")
        holder.do("resume", environment=self.env, id=id)
        self.refused("NotReady", holder.call, "Attach", environment=self.env, region="data")
        holder.do("offer", environment=self.env, id=id)
        self.assertEqual(self.missing(), ["rest"])
        self.assertFalse(waiting.has_answer())
        holder.do("offer", descriptor=1, environment=self.env, id=id, region="rest")
        self.assertEqual(self.missing(), [])
        self.assertEqual(waiting.answer()["role"], "member")
        holder.do("offer", descriptor="pipe", environment=self.env, id=id)  # nothing is missing, and nothing is taken

    def test_a_descriptor_for_reading_is_enough(self):
        holder = self.keeper()
        id = self.env_id()
        self.restart()
        holder.do("again")
        holder.do("resume", environment=self.env, id=id, regions=["data", "rest"])
        holder.do("offer", descriptor="reader", environment=self.env, id=id)
        holder.do("offer", descriptor=1, environment=self.env, id=id, region="rest")
        joiner = self.puppet()
        joiner.open(self.env)
        joiner.do("fill")
        self.assertEqual(holder.do("read", n=2), "xx")

    def test_a_descriptor_of_something_else_is_refused_and_changes_nothing(self):
        holder = self.keeper()
        id = self.env_id()
        self.restart()
        before = self.describe()
        holder.do("again")
        with self.assertRaises(Refused) as caught:  # not yet taken from anybody
            holder.do("offer", environment=self.env, id=id)
        self.assertEqual(caught.exception.parameters, {"parameter": "fileDescriptors"})
        holder.do("resume", environment=self.env, id=id)
        for what in (1, "path", "pipe", "directory", "plain", "sealed"):
            with self.subTest(what), self.assertRaises(Refused) as caught:
                holder.do("offer", descriptor=what, environment=self.env, id=id)
            self.assertEqual(caught.exception.error, "InvalidParameter")
            self.assertEqual(caught.exception.parameters, {"parameter": "regionFileDescriptor"})
        for index, n, field in ((1, 1, "regionFileDescriptor"), (-1, 1, "regionFileDescriptor"), (0, 0, "regionFileDescriptor"),
                                (0, 2, "fileDescriptors")):
            with self.assertRaises(Refused) as caught:
                holder.do("offer", n=n, environment=self.env, id=id, regionFileDescriptor=index)
            self.assertEqual(caught.exception.parameters, {"parameter": field})
        for error, wrong in (("EnvironmentNotFound", {"id": "x"}), ("NotAttached", {"region": "none"})):
            self.refused(error, holder.do, "offer", **{"environment": self.env, "id": id, **wrong})
        after = self.describe()
        self.assertEqual(after["environment"], before["environment"])
        holder.do("offer", environment=self.env, id=id)
        self.assertEqual(self.missing(), ["rest"])

    def test_what_its_holder_does_not_name_any_more_is_given_up(self):
        holder = self.keeper()
        id = self.env_id()
        self.restart()
        holder.do("again")
        reply, _ = holder.do("resume", environment=self.env, id=id, regions=["data"])
        self.assertEqual(reply["environment"]["state"], "retired")
        self.refused("EnvironmentNotFound", self.describe)

    def test_whose_last_holder_opens_anew_without_a_word_is_made_anew(self):
        holder = self.keeper()
        self.restart()
        holder.do("again")
        opened = holder.open(self.env, create="ifAbsent", definition={"regions": [{"name": "data", "size": PAGE}]})
        self.assertEqual(opened["role"], "initializer")

    def test_memory_without_a_name_goes_with_its_last_holder_and_its_environment_says_why(self):
        holder = self.ready("memfd", lifetime="persistent")
        self.restart()
        self.assertEqual(holder.do("read", n=5), "stays")
        holder.kill()
        self.watch(environment=self.env, since=0).until("retired")
        self.refused("EnvironmentNotFound", self.describe)
        self.says("did not outlive the broker")

    def test_memory_without_a_name_and_a_holder_is_gone_at_the_start(self):
        holder = self.ready("memfd", lifetime="persistent")
        self.restart(meanwhile=holder.kill)
        self.refused("EnvironmentNotFound", self.describe)
        self.says("did not outlive the broker")

    # --- counting

    def test_events_of_another_broker_come_all(self):
        self.ready("sysv")
        first = self.watch(environment=self.env).first
        self.restart()
        self.assertEqual(self.watch(environment=self.env).first["instance"], first["instance"])
        self.restart(signal.SIGINT)
        self.env += "-second"
        self.ready("sysv")
        watch = self.watch(environment=self.env, since=first["sequence"] + 1000, instance=first["instance"])
        self.assertNotEqual(watch.first["instance"], first["instance"])
        self.assertEqual(watch.next()["kind"], "created")

    def test_numbers_and_keys_go_on(self):
        self.ready("sysv")
        first = self.describe()["environment"]
        self.restart()
        self.env += "-second"
        self.ready("sysv")
        second = self.describe()["environment"]
        self.assertEqual(first["id"].split("-")[0], second["id"].split("-")[0])
        self.assertGreater(int(second["id"].split("-")[1]), int(first["id"].split("-")[1]))
        self.assertNotEqual(second["regions"][0]["shmKey"], first["regions"][0]["shmKey"])

    def test_a_segment_that_went_meanwhile_is_missed_and_the_broker_starts(self):
        home = self.enterContext(tempfile.TemporaryDirectory(dir=self.folder.name))
        holder = self.ready("sysv", home=home, lifetime="persistent")

        def remove():
            holder.kill()
            self.assertEqual(libc.shmctl(holder.region["shmId"], 0, None), 0)  # IPC_RMID

        self.restart(meanwhile=remove)
        self.refused("EnvironmentNotFound", self.describe)

    def test_a_start_that_fails_gives_up_nothing(self):
        holder = self.ready("sysv")

        def fail_to_start():
            for most in range(12, 18):  # it gets a little further each time, and never as far as the ledger
                started = subprocess.run(self.broker.args, preexec_fn=lambda: resource.setrlimit(
                    resource.RLIMIT_NOFILE, (most, most)), stderr=subprocess.PIPE, timeout=PATIENCE)
                self.assertNotEqual(started.returncode, 0)

        self.restart(meanwhile=fail_to_start)
        self.assertEqual(self.standings(), [(holder.pid, "resumed")])
        self.assertEqual(holder.do("read", n=5), "stays")

    def test_a_reference_in_the_home_is_renewed(self):
        home = self.enterContext(tempfile.TemporaryDirectory(dir=self.folder.name))
        holder = self.ready("sysv", home=home)
        self.restart()
        with open(os.path.join(home, "__db.001"), encoding="utf-8") as file:
            self.assertIn(f"process: {self.broker.pid} ", file.read())
        self.assertEqual(self.connection().call("Describe", environment=home)["environment"]["name"], self.env)
        holder.kill()
        self.watch(environment=self.env, since=0).until("reclaimed")
        self.assertEqual(os.listdir(home), [])


if __name__ == "__main__":
    main()
