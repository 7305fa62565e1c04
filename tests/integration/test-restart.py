#!/usr/bin/env python3
"""A broker that ends, however it ends, and the next one in the same directories: what outlives it, and what is made of
what happened meanwhile.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-restart.py [-v] [Class.test]
"""

import ctypes
import glob
import os
import resource
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import puppets
from puppets import DIRTY, PATIENCE, READY, Actor, Puppet, Refused, WithBroker, libc, main

libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
PAGE = 4096


class Holder(Actor):
    """Keeps System V memory attached too, and can call a broker that is another."""

    def again(self):
        self.connection.close()
        self.__init__(self.path)

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

    def test_memory_without_a_name_goes_and_its_environment_says_why(self):
        holder = self.ready("memfd", lifetime="persistent")
        self.restart()
        self.refused("EnvironmentNotFound", self.describe)
        self.assertEqual(holder.do("read", n=5), "stays")
        self.says("did not outlive the broker")

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
