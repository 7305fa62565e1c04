#!/usr/bin/env python3
"""What passes between the broker and a service manager, which is played here: sockets and descriptors that are passed to
it, and what it says on the notification socket. The same with a real systemd is in tests/lab."""

import array
import os
import re
import select
import signal
import socket
import sys
import time
import unittest

sys.dont_write_bytecode = True
from manager import Manager, regions, wait_until
from puppets import PATIENCE, Connection, Puppet

SO_PEEK_OFF = 42
DEFINITION = {"regions": [{"name": "data", "size": 4096}]}


class Activation(unittest.TestCase):
    def setUp(self):
        self.manager = Manager(self)

    def connect(self, name="socket"):
        connection = Connection(self.manager.path(name))
        self.addCleanup(connection.close)
        return connection

    def puppet(self):
        return Puppet(self, self.manager.path("socket"))

    def create(self, environment="e", **definition):
        self.manager.hear_all()
        puppet = self.puppet()
        puppet.open(environment, create="always", definition={**DEFINITION, **definition})
        puppet.call("Ready", environment=environment)
        return puppet

    def test_a_socket_that_is_passed_is_served_instead_of_the_default_one_and_stays(self):
        waiting = self.connect()
        self.manager.start()
        self.assertEqual(waiting.call("GetStatistics")["environments"], 0)
        self.assertFalse(os.path.exists(self.manager.path("run/org.regionbroker")))
        peer = self.connect().socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.assertEqual(array.array("i", peer)[0], self.manager.pid)
        self.assertEqual(self.manager.kill(signal.SIGTERM), 0)
        self.assertTrue(os.path.exists(self.manager.path("socket")))

    def test_sockets_of_the_command_line_are_served_beside_it(self):
        self.manager.start("--listen", self.manager.path("more"))
        self.manager.wait_ready()
        for name in "socket", "more":
            self.connect(name).call("GetStatistics")
        self.assertEqual(self.manager.kill(signal.SIGTERM), 0)
        self.assertFalse(os.path.exists(self.manager.path("more")))

    def test_it_says_when_it_is_ready_what_there_is_and_when_it_stops(self):
        self.manager.start()
        self.manager.wait_ready()
        self.manager.wait_status("0 environments, 0 regions, 0 bytes, 0 attachments")
        puppet = self.create()
        self.manager.wait_status("1 environments, 1 regions, 4096 bytes, 1 attachments")
        puppet.kill()
        self.manager.wait_status("0 environments, 0 regions, 0 bytes, 0 attachments")
        self.assertEqual(self.manager.kill(signal.SIGTERM), 0)
        self.assertIn({"STOPPING": "1"}, self.manager.messages)

    def test_it_says_when_it_reads_its_configuration_anew_and_when_that_is_done(self):
        self.manager.start()
        self.manager.wait_ready()
        before = time.monotonic_ns() // 1000
        os.kill(self.manager.pid, signal.SIGHUP)
        self.manager.hear_until(lambda said: "RELOADING" in said)
        said = self.manager.messages[-1]
        self.assertEqual(said["RELOADING"], "1")
        self.assertLessEqual(before, int(said["MONOTONIC_USEC"]))
        self.assertLessEqual(int(said["MONOTONIC_USEC"]), time.monotonic_ns() // 1000)
        self.manager.wait_ready()

    def test_it_says_that_it_is_alive_as_long_as_its_loop_turns(self):
        self.manager.start(WATCHDOG_USEC="200000")
        for _ in range(5):
            self.manager.hear_until(lambda said: "WATCHDOG" in said)
        os.kill(self.manager.pid, signal.SIGSTOP)
        # what it said before it stopped may still be there
        while select.select([self.manager.notify], [], [], 1)[0]:
            self.manager.hear()
        os.kill(self.manager.pid, signal.SIGCONT)
        self.manager.hear_until(lambda said: "WATCHDOG" in said)

    def test_nobody_is_watched_for_another_process(self):
        self.manager.start(WATCHDOG_USEC="1000", WATCHDOG_PID="1")
        self.manager.wait_ready()
        self.connect().call("GetStatistics")
        self.manager.kill(signal.SIGTERM)
        self.assertFalse([said for said in self.manager.messages if "WATCHDOG" in said])

    def test_memory_without_a_name_is_kept_until_it_is_given_back(self):
        self.manager.start()
        puppet = self.create()
        self.manager.hear_until(lambda said: "FDSTORE" in said)
        self.create("named", backing="posix")
        self.assertEqual(len(self.manager.kept), 1)
        puppet.kill()
        self.manager.hear_until(lambda said: "FDSTOREREMOVE" in said)
        self.assertEqual(self.manager.kept, {})

    def test_a_broker_that_was_killed_or_stopped_is_gone_on_with(self):
        for number in signal.SIGKILL, signal.SIGTERM:
            with self.subTest(number):
                self.manager.start()
                puppet = self.create()
                self.manager.hear_until(lambda said: "FDSTORE" in said)
                self.assertEqual(self.manager.kill(number), -number if number == signal.SIGKILL else 0)
                # the memory, and where it had the time to the sessions
                self.assertEqual(len(self.manager.kept), 1 if number == signal.SIGKILL else 2)
                self.manager.start()
                found = self.connect().call("Describe", environment="e")
                self.assertEqual([(row["pid"], row["standing"]) for row in found["attachments"]],
                                 [(puppet.pid, "resumed" if number == signal.SIGKILL else "connected")])
                self.assertEqual(found["environment"]["state"], "ready")
                joiner = self.puppet()
                self.assertEqual(joiner.open("e")["environment"]["regions"][0]["id"],
                                 found["environment"]["regions"][0]["id"])
                joiner.kill()
                puppet.kill()
                self.manager.hear_until(lambda said: "FDSTOREREMOVE" in said)
                self.manager.kill(signal.SIGINT)
                self.assertEqual(self.manager.kept, {})

    def test_descriptors_that_belong_to_nothing_are_dropped_and_reported(self):
        for name in "r1", "something":
            self.manager.kept[name] = os.memfd_create("other")
        self.manager.start()
        self.manager.wait_ready()
        self.assertEqual(self.manager.kept, {})
        self.manager.kill(signal.SIGTERM)
        for name in "r1", "something":
            self.assertIn(f"kept a descriptor {name} for us that belongs to nothing; it was dropped", self.manager.log())

    def test_memory_under_a_wrong_name_is_not_believed(self):
        self.manager.start()
        puppet = self.create()
        self.manager.hear_until(lambda said: "FDSTORE" in said)
        self.manager.kill()
        (entry, bag), = self.manager.kept.items()
        with socket.socket(fileno=bag) as queue:
            name = queue.recv(64)
        other = os.memfd_create("other")
        os.truncate(other, 4096)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(ours, [name], [other])
        os.close(other)
        ours.close()
        self.manager.kept[entry] = theirs.detach()
        self.manager.start()
        self.manager.wait_ready()
        self.assertIn("region data of environment e is missing", self.manager.log())
        puppet.kill()
        self.manager.wait_status("0 environments, 0 regions, 0 bytes, 0 attachments")
        self.assertEqual(self.manager.kept, {})

    def test_what_does_not_fit_into_the_store_is_reported_once(self):
        self.manager.start(FDSTORE="1")
        puppets = [self.create("fits", regions=regions(128))] + [self.create(f"e{i}") for i in range(5)]
        self.manager.kill()
        self.assertEqual(len(self.manager.kept), 1)
        self.assertEqual(self.manager.log().count("does not take region data of environment e0"), 1)
        self.assertEqual(self.manager.log().count("does not take"), 1)
        self.manager.start()
        self.manager.wait_ready()
        self.assertEqual(self.manager.log().count("is missing"), 5)
        self.assertEqual(len(re.findall("region data of environment e[0-4] is missing", self.manager.log())), 5)
        for puppet in puppets:
            puppet.kill()

    def test_much_memory_is_kept_in_few_entries_and_what_is_given_back_does_not_stay_in_them(self):
        self.manager.start()
        most, rest = self.create("most", regions=regions(250)), self.create("rest", regions=regions(200))
        few = self.create("few", regions=regions(10))
        self.connect().call("GetStatistics")
        self.manager.wait_status("3 environments, 460 regions, 1884160 bytes, 460 attachments")
        self.assertLessEqual(len(self.manager.kept), 5)
        most.kill()
        self.manager.wait_status("2 environments, 210 regions, 860160 bytes, 210 attachments")
        self.assertLessEqual(len(self.manager.kept), 3)
        for _ in range(2):  # also from what the second has kept
            self.manager.kill()
            self.manager.start()
            self.manager.wait_ready()
            self.connect().call("GetStatistics")
            self.assertLessEqual(len(self.manager.kept), 3)
        self.assertNotRegex(self.manager.log(), "lost region|is missing")
        joiner = self.puppet()
        self.assertEqual(len(joiner.open("rest")["grants"]), 200)
        for puppet in joiner, rest, few:
            puppet.kill()
        self.manager.wait_status("0 environments, 0 regions, 0 bytes, 0 attachments")
        self.manager.kill(signal.SIGINT)
        self.assertEqual(self.manager.kept, {})

    def test_what_is_left_of_many_entries_is_put_together(self):
        self.manager.start()
        stay, go = [], []
        for i in range(6):
            stay.append(self.create(f"stays-{i}"))
            go.append(self.create(f"goes-{i}", regions=regions(127)))
        self.manager.wait_status("12 environments, 768 regions, 3145728 bytes, 768 attachments")
        self.assertGreaterEqual(len(self.manager.kept), 6)
        for puppet in go:
            puppet.kill()
        self.manager.wait_status("6 environments, 6 regions, 24576 bytes, 6 attachments")
        self.assertLessEqual(len(self.manager.kept), 2)
        self.manager.kill()
        self.manager.start()
        for i, puppet in enumerate(stay):
            joiner = self.puppet()
            joiner.open(f"stays-{i}")
            joiner.kill()
            puppet.kill()

    def test_memory_that_is_given_back_is_free_though_its_entry_stays(self):
        self.manager.start()
        stays = self.create("stays")
        goes = self.create("goes", regions=[{"name": "large", "size": 1 << 20}])
        goes.do("fill")
        self.manager.wait_status("2 environments, 2 regions, 1052672 bytes, 2 attachments")
        bag, = self.manager.kept.values()
        with socket.socket(fileno=os.dup(bag)) as queue:
            queue.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 0)
            kept = [socket.recv_fds(queue, 64, 1, socket.MSG_PEEK)[1][0] for _ in range(2)]
        self.assertEqual(os.stat(kept[1]).st_blocks, 2048)
        goes.kill()
        self.manager.wait_status("1 environments, 1 regions, 4096 bytes, 1 attachments")
        self.connect().call("GetStatistics")
        wait_until(lambda: os.stat(kept[1]).st_blocks == 0, "its pages are free")
        for descriptor in kept:
            os.close(descriptor)
        stays.kill()

    def test_a_connection_that_is_passed_is_served_as_long_as_it_lasts(self):
        ours, theirs = socket.socketpair()
        self.manager.start(passed=[("varlink", theirs.fileno())])
        theirs.close()
        connection = Connection.__new__(Connection)
        connection.socket = ours
        ours.settimeout(PATIENCE)
        self.assertEqual(connection.call("GetStatistics")["counters"]["sessions"], 1)
        connection.send("Open", environment="e", create="ifAbsent", definition=DEFINITION)
        reply, descriptors = connection.receive()
        self.assertEqual(reply["role"], "initializer")
        for descriptor in descriptors:
            os.close(descriptor)
        self.assertEqual(os.listdir(self.manager.path("run")).count("org.regionbroker"), 0)
        connection.close()
        self.assertEqual(self.manager.reap(), 0)

    def test_it_ends_when_nobody_needs_it_and_whoever_waits_then_is_served_by_the_next(self):
        first = self.connect()
        self.manager.start("--idle-exit", "0")
        first.call("GetStatistics")
        first.close()
        self.assertEqual(self.manager.reap(), 0)
        late = self.connect()
        late.send("GetStatistics")
        self.manager.start("--idle-exit", "0")
        self.assertEqual(late.receive()[0]["environments"], 0)

    def test_it_does_not_end_while_there_is_an_environment(self):
        connection = self.connect()
        self.manager.start("--idle-exit", "0")
        connection.send("Open", environment="e", create="always",
                        definition={**DEFINITION, "lifetime": "persistent"})
        for descriptor in connection.receive()[1]:
            os.close(descriptor)
        connection.call("Ready", environment="e")
        connection.close()
        self.manager.wait_status("1 environments, 1 regions, 4096 bytes, 0 attachments")
        connection = self.connect()
        connection.call("Remove", environment="e")
        connection.close()
        self.assertEqual(self.manager.reap(), 0)

    def test_elsewhere_it_stays(self):
        self.manager.start("--listen", self.manager.path("more"), passed=[])
        self.manager.wait_ready()
        self.connect("more").close()
        self.connect("more").call("GetStatistics")
        self.assertEqual(self.manager.kill(signal.SIGTERM), 0)


if __name__ == "__main__":
    unittest.main()
