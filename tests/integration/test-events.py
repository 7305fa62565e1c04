#!/usr/bin/env python3
"""What the broker tells of an environment: events as they happen, and reasons, with the real broker.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-events.py [-v] [Class.test]
"""

import json
import os
import re
import signal
import socket
import sys
import time
import unittest

sys.dont_write_bytecode = True
from puppets import DIRTY, PATIENCE, Actor, Connection, Stray, WithBroker, main

NOBODY = 65534

needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root to become somebody else")


# --- events ---------------------------------------------------------------------------------------------------------

class Quiet(WithBroker):
    """For tests that are told of everything."""

    def setUp(self):
        super().setUp()
        self.wait_until_all_is_gone()


class Watching(Quiet):
    def kinds(self, events):
        return [event["kind"] for event in events]

    def test_the_first_reply_comes_at_once_and_has_no_event(self):
        self.create()
        first = self.watch(environment=self.env).first
        self.assertNotIn("event", first)
        self.assertGreater(first["sequence"], 0)

    def test_more_is_needed(self):
        self.refused("ExpectedMore", self.connection().call, "Watch")
        connection = self.connection()
        connection.send("Watch", more=True, since=-1)
        self.assertEqual(self.refused("InvalidParameter", connection.receive), {"parameter": "since"})

    def test_events_come_in_order_with_their_facts(self):
        watch = self.watch()
        writer = self.create(recovery=True)
        writer.call("AddRegion", environment=self.env, region={"name": "late", "size": 4096})
        exiting, reader = self.join(regions=["data", "more"]), self.join(access="read")
        exiting.tell("exit", status=3)
        events = watch.until("dirty")
        exiting.reap()
        self.assertEqual(self.kinds(events), ["created", "attached", "ready", "regionAdded", "attached", "attached",
                                              "died", "dirty"])
        self.assertEqual([event["sequence"] for event in events],
                         list(range(watch.first["sequence"] + 1, events[-1]["sequence"] + 1)))
        self.assertEqual({event["environment"] for event in events}, {self.env})
        self.assertEqual([event.get("pid") for event in events],
                         [writer.pid] * 4 + [exiting.pid, reader.pid, exiting.pid, None])
        self.assertEqual((events[0]["bytes"], events[0]["uid"]), (12288, os.getuid()))
        self.assertEqual((events[3]["region"], events[6]["exitStatus"]), ("late", 3))
        self.assertEqual(sorted(events[6]["writtenRegions"]), ["data", "more"])
        self.assertNotIn("signal", events[6])
        self.assertIn("died while attached for writing", events[7]["reason"])
        self.assertLess(abs(events[7]["realtimeUSec"] / 1e6 - time.time()), PATIENCE)
        writer.open(self.env)
        writer.call("Ready", environment=self.env)
        self.assertEqual(self.kinds(watch.until("recovered")), ["recovering", "attached", "recovered"])
        writer.murder()
        died = watch.until("died")[-1]
        writer.reap()
        self.assertEqual((died["pid"], died["signal"]), (writer.pid, signal.SIGKILL))
        self.assertEqual(sorted(died["writtenRegions"]), ["data", "late", "more"])
        reader.kill()
        reclaimed = watch.until("reclaimed")[-1]
        self.assertEqual((reclaimed["bytes"], reclaimed["reason"]), (16384, "attached, nobody holds it any more"))

    def test_removing_and_retiring_are_told(self):
        watch = self.watch()
        keeper = self.create()
        keeper.call("Remove", environment=self.env, force=True)
        keeper.call("GetStatistics")
        self.assertEqual(self.kinds(watch.until("retired"))[-2:], ["removed", "retired"])
        keeper.kill()
        self.assertEqual(watch.until("reclaimed")[-1]["reason"], "removed by force while it was held")

    def test_of_one_environment_only_its_own_events_are_told(self):
        keeper = self.create()
        watch = self.watch(environment=self.env)
        name, self.env = self.env, "another"
        self.create().kill()
        self.env = name
        keeper.do("leave", environment=self.env)
        self.assertEqual({event["environment"] for event in watch.until("reclaimed")}, {self.env})

    def test_one_can_begin_with_what_was(self):
        before = self.watch().first["sequence"]
        keeper = self.create()
        watch = self.watch(since=before)
        self.assertEqual(self.kinds(watch.until("ready")), ["created", "attached", "ready"])
        self.assertEqual(self.kinds(self.watch(since=before + 1).until("ready")), ["attached", "ready"])
        late = self.watch(since=1 << 40)  # what is still to come is not waited for
        keeper.kill()
        self.assertEqual(late.next()["kind"], "died")

    def test_a_watch_of_what_is_not_there_yet_waits_for_it(self):
        watch = self.watch(environment=self.env)
        self.create()
        self.assertEqual(self.kinds(watch.until("ready")), ["created", "attached", "ready"])

    def test_the_session_that_watches_ends_like_any_other(self):
        watch = self.watch()
        watch.connection.socket.shutdown(socket.SHUT_WR)
        self.create()
        watch.connection.close()
        self.barrier()


class SmallWatching(Quiet):
    options = ["--user", "--limit", "historyEvents=16", "--limit", "watchesPerUser=3", "--limit", "outputBytes=65536",
               "--limit", "stallUSec=86400000000"]

    def test_what_is_forgotten_is_counted(self):
        start = self.watch().first["sequence"]
        keeper = self.create()
        for _ in range(20):  # attached and detached
            keeper.call("Detach", environment=self.env, region="data")
            keeper.call("Open", environment=self.env)
        last = self.watch().first["sequence"]
        watch = self.watch(since=start)
        event = watch.next()
        self.assertEqual(event["sequence"], last - 15)
        self.assertEqual(event["missed"], last - 16 - start)
        self.assertIsNone(watch.next()["missed"])

    def test_what_was_forgotten_is_told_with_the_next_event_that_concerns_one(self):
        start = self.watch().first["sequence"]
        self.create()
        name, self.env = self.env, self.env + "2"
        keeper = self.create()
        for _ in range(20):  # by now nothing is remembered of the first
            keeper.call("Detach", environment=self.env, region="data")
            keeper.call("Open", environment=self.env)
        watch = self.watch(environment=name, since=start)
        last = self.watch().first["sequence"]
        self.env = name
        self.join()
        event = watch.next()
        self.assertEqual((event["environment"], event["kind"], event["missed"]), (name, "attached", last - 16 - start))

    def memory(self):
        """What it has written; what is read from files comes and goes as the kernel likes."""
        with open(f"/proc/{self.broker.pid}/status") as status:
            return sum(map(int, re.findall(r"(?:RssAnon|VmSwap):\s+(\d+)", status.read())))

    def test_a_watcher_that_never_reads_holds_up_nobody_and_grows_nothing(self):
        slow, keeper = self.watch(), self.create()
        quick = self.watch(environment=self.env)

        def make_events(n):
            for _ in range(n):
                keeper.call("Open", environment=self.env, regions=[])
                event = quick.next()
                self.assertEqual((event["kind"], event["missed"]), ("attached", None))

        make_events(2000)  # by now its socket and its output are full
        before = self.memory()
        make_events(6000)
        self.assertLess(self.memory() - before, 2048, "KiB")
        events = [slow.next()]
        while not events[-1]["missed"]:
            events.append(slow.next())
        self.assertGreater(events[-1]["missed"], 1000)
        self.assertEqual(events[-1]["sequence"], events[-2]["sequence"] + events[-1]["missed"] + 1)

    def test_watches_have_a_limit(self):
        watches = [self.watch() for _ in range(3)]
        facts = self.refused("QuotaExceeded", self.watch)
        self.assertEqual((facts["limit"], facts["used"], facts["maximum"]), ("watchesPerUser", 3, 3))
        watches[0].connection.close()
        self.barrier()
        self.watch()


@needs_root
class Secrets(WithBroker):
    options = ["--system"]

    def test_events_of_what_one_may_not_see_are_not_told(self):
        watcher = self.puppet(uid=NOBODY, work=watch_for_others)
        self.assertNotIn("event", watcher.answer())
        name = self.env
        for self.env, mode in ((name + "-secret", 0o600), (name + "-shown", 0o604)):
            self.create(mode=mode).kill()
        told = []
        while len(told) < 5:
            environment = watcher.answer()["event"]["environment"]
            if environment.startswith(name):  # others may still go
                told.append(environment)
        self.assertEqual(told, [name + "-shown"] * 5)

    def test_what_one_may_not_see_is_not_explained(self):
        self.create(mode=0o600)
        stranger = self.puppet(uid=NOBODY)
        self.refused("EnvironmentNotFound", stranger.call, "Explain", environment=self.env)
        watch = self.watch(environment=self.env)
        self.connection().call("Remove", environment=self.env, force=True)
        watch.until("retired")
        self.refused("EnvironmentNotFound", stranger.call, "Explain", environment=self.env)
        self.assertRegex(self.explain()["reasons"][0], "lost its name")

    def test_a_stranger_adopts_nothing(self):
        self.create(mode=0o600)
        stranger = self.puppet(uid=NOBODY)
        self.refused("EnvironmentNotFound", stranger.call, "Adopt", environment=self.env)
        self.assertEqual(self.describe()["environment"]["attachments"], 1)

    def test_who_may_read_adopts_for_reading(self):
        self.create(mode=0o604)
        stranger = self.puppet(uid=NOBODY)
        stranger.call("Adopt", environment=self.env)
        self.refused("PermissionDenied", self.puppet(uid=NOBODY).call, "Adopt", environment=self.env, access="write")
        access = {row["access"] for row in self.describe()["attachments"] if row["pid"] == stranger.pid}
        self.assertEqual(access, {"read"})

    def test_who_may_only_read_never_repairs(self):
        keeper = self.create(mode=0o604, recovery=True, lifetime="persistent")
        page = self.page()
        keeper.kill()
        page.wait(DIRTY)
        stranger = self.puppet(uid=NOBODY)
        self.refused("PermissionDenied", stranger.open, self.env)
        self.refused("RecoveryRequired", stranger.open, self.env, access="read", waitUSec=0)
        self.assertEqual(page.state, DIRTY)


def watch_for_others(theirs, path):
    connection = Connection(path)
    connection.send("Watch", more=True)
    while True:
        theirs.sendall(json.dumps(["done", connection.receive()[0]]).encode() + b"\n")


# --- explanations ---------------------------------------------------------------------------------------------------

class Explaining(WithBroker):
    def test_an_attached_process_is_a_reason(self):
        keeper = self.create()
        explanation = self.says("1 process is attached")
        self.assertEqual({row["pid"] for row in explanation["attachments"]}, {keeper.pid})
        self.join(regions=["data"])
        self.says("2 processes are attached")
        explanation = self.says("2 processes are attached", region="data")
        self.assertEqual({row["region"] for row in explanation["attachments"]}, {"data"})
        self.says("1 process is attached", region="more")
        self.refused("RegionNotFound", self.explain, region="none")

    def test_lifetimes_are_reasons(self):
        creator = self.create(lifetime="creator")
        self.says(rf"lifetime is creator: it stays while .* \(pid {creator.pid}\) lives")
        self.env += "2"
        keeper = self.create(lifetime="persistent")
        keeper.call("Detach", environment=self.env)
        self.says("lifetime is persistent: it stays until it is removed")
        self.env += "3"
        keeper = self.create(lingerUSec=3_600_000_000)
        keeper.do("leave", environment=self.env)
        self.says(r"Nobody is attached to it; it lingers for another \d+ ms")

    def test_states_are_reasons(self):
        filler = self.create(ready=False, recovery=True, lifetime="persistent")
        self.says(rf"being initialised by .* \(pid {filler.pid}\)")
        filler.call("Ready", environment=self.env)
        page = self.page()
        filler.kill()
        page.wait(DIRTY)
        self.says(rf"\(pid {filler.pid}\) died while attached for writing; the next")
        recoverer = self.join()
        self.says(rf"\(pid {recoverer.pid}\) repairs it, because .* \(pid {filler.pid}\) died")

    def test_a_remove_that_waits_is_a_reason(self):
        self.create()
        remover = self.puppet()
        page = self.page()
        remover.tell("call", method="Remove", environment=self.env, waitUSec=3_600_000_000)
        page.wait_until(lambda: page.draining)
        self.says("Remove waits for its holders to leave")

    def test_a_forked_child_that_nobody_granted_it_to_is_a_reason(self):
        parent = self.puppet(work=mapped_by_a_child)
        child = Stray(self, parent.answer())
        watch = self.watch(environment="forked")
        parent.kill()
        watch.until("died")
        self.env = "forked"
        explanation = self.says(r"Region data is held by a process that the broker did not grant it to: a child .*"
                                rf"\(pid {parent.pid}\)")
        self.assertEqual({row["standing"] for row in explanation["attachments"]}, {"inherited"})
        self.assertEqual([event["kind"] for event in explanation["history"]],
                         ["created", "attached", "ready", "died"])
        child.kill()
        watch.until("reclaimed")
        explanation = self.says("It is gone: reclaimed at .* UTC, by the rule: attached, nobody holds it any more")
        self.assertEqual((explanation["attachments"], explanation["history"][-1]["kind"]), ([], "reclaimed"))

    def test_a_passed_on_descriptor_is_a_reason(self):
        connection = self.connection()
        connection.send("Open", environment=self.env, create="always",
                        definition={"regions": [{"name": "data", "size": 4096}]})
        _, descriptors = connection.receive()
        connection.call("Ready", environment=self.env)
        ours, theirs = socket.socketpair()
        watch = self.watch(environment=self.env)
        with ours, theirs:
            socket.send_fds(ours, [b"x"], descriptors[1:])
            for descriptor in descriptors:
                os.close(descriptor)
            connection.call("Detach", environment=self.env)
            watch.until("detached")
            self.says("Region data is held by a process that the broker did not grant it to")
        watch.until("reclaimed")

    def test_a_retired_one_is_said_to_be_so(self):
        keeper = self.create()
        self.connection().call("Remove", environment=self.env, force=True)
        self.says("lost its name .*removed by force while it was held")
        keeper.kill()
        watch = self.watch(environment=self.env, since=0)
        watch.until("reclaimed")
        self.says("It is gone: reclaimed")

    def test_what_never_was_is_not_found(self):
        self.assertEqual(self.refused("EnvironmentNotFound", self.explain), {"environment": self.env})

    def test_a_deleted_region_is_explained_too(self):
        keeper = self.create()
        keeper.do("unmap")
        keeper.call("Detach", environment=self.env, region="more")
        keeper.call("DeleteRegion", environment=self.env, region="more")
        explanation = self.says("It is gone: regionDeleted at", region="more")
        self.assertEqual(explanation["attachments"], [])
        self.says("1 process is attached")


def mapped_by_a_child(theirs, path):
    actor = Actor(path)
    actor.open(environment="forked", create="always", definition={"regions": [{"name": "data", "size": 4096}]})
    actor.call("Ready", environment="forked")
    child = os.fork()
    if child == 0:
        theirs.close()
        while True:
            signal.pause()
    theirs.sendall(json.dumps(["done", child]).encode() + b"\n")
    signal.pause()


if __name__ == "__main__":
    main()
