#!/usr/bin/env python3
"""Sessions outlast an orderly stop under a service manager, which is played here: whatever a client has under way, it goes on
with the next broker on the same connection. The same with a real systemd is in tests/lab."""

import array
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
import time
import unittest

sys.dont_write_bytecode = True
from manager import Manager, regions, wait_until
from puppets import PATIENCE, Connection, Puppet, Refused, Watch

SIOCOUTQ = 0x5411
MINUTE = 60 * 1000000
DEFINITION = {"lifetime": "persistent", "backing": "posix", "regions": [{"name": "data", "size": 4096}]}
DESCRIPTION = json.dumps({"method": "org.varlink.service.GetInterfaceDescription",
                          "parameters": {"interface": "org.regionbroker"}}).encode() + b"\0"


class Handover(unittest.TestCase):
    def setUp(self):
        self.manager = Manager(self)
        self.start()
        self.path = self.manager.path("socket")

    def connect(self):
        connection = Connection(self.path)
        self.addCleanup(connection.close)
        return connection

    def puppet(self):
        return Puppet(self, self.path)

    def stop(self):
        self.assertEqual(self.manager.kill(signal.SIGTERM), 0)

    def start(self, *options, **variables):
        self.manager.start(*options, **variables)
        self.manager.wait_ready()

    def restart(self, meanwhile=None):
        self.stop()
        if meanwhile:
            meanwhile()
        self.start()

    def call(self, method, **parameters):
        connection = self.connect()
        reply = connection.call(method, **parameters)
        connection.close()
        return reply

    def standings(self, environment="e"):
        return [(row["pid"], row["standing"]) for row in self.call("Describe", environment=environment)["attachments"]]

    def create(self, environment="e", ready=True, **definition):
        puppet = self.puppet()
        puppet.open(environment, create="always", definition={**DEFINITION, **definition})
        if ready:
            puppet.call("Ready", environment=environment)
        return puppet

    def barrier(self):
        """What was sent before this has been looked at after it."""
        self.call("GetStatistics")

    def wait_until_read(self, connection):
        def is_read():
            left = array.array("i", [0])
            fcntl.ioctl(connection.socket, SIOCOUTQ, left)
            return left[0] == 0

        wait_until(is_read, "the broker has read what was sent")

    def ended(self, connection):
        """Its connection is over; what was said before is read."""
        connection.socket.settimeout(PATIENCE)
        while connection.socket.recv(1 << 16):
            pass

    def fill(self, connection):
        """Until an answer does not fit into its socket any more; the broker still reads what it says."""
        before, whole, more = 0, 0, 1
        while more >= whole:
            connection.socket.sendall(DESCRIPTION)
            self.barrier()
            arrived = array.array("i", [0])
            fcntl.ioctl(connection.socket, termios.FIONREAD, arrived)
            more, before = arrived[0] - before, arrived[0]
            whole = whole or more

    def watch(self):
        watch = Watch(self.path, environment="e")
        self.addCleanup(watch.connection.close)
        return watch

    # --- idle -------------------------------------------------------------------------------------------------------

    def test_an_idle_session_and_its_attachments_go_on_restart_after_restart(self):
        puppet = self.create()
        for _ in range(4):
            self.restart()
            self.assertEqual(self.standings(), [(puppet.pid, "connected")])
            self.assertEqual(puppet.call("GetStatistics")["environments"], 1)
        self.assertEqual(self.manager.log().count("went on with 1 sessions"), 4)
        puppet.do("leave", environment="e")
        self.assertEqual(self.standings(), [])

    def test_nothing_of_it_stays_in_the_store_so_that_its_end_is_seen(self):
        puppet, witness = self.create(lifetime="attached"), self.connect()
        witness.call("GetStatistics")
        self.restart()
        watch = self.watch()
        puppet.do("unmap")
        puppet.do("hang_up")
        self.assertEqual(watch.until("reclaimed")[0]["kind"], "detached")
        self.stop()
        self.assertLessEqual(len(self.manager.kept), 1)
        self.start()
        self.call("GetStatistics")
        wait_until(lambda: not (select.select([self.manager.notify], [], [], 0)[0] and self.manager.hear())
                   and not self.manager.kept, "the store is empty")
        self.assertEqual(witness.call("GetStatistics")["environments"], 0)

    def test_beside_memory_that_is_kept_a_session_ends_all_the_same(self):
        self.create(backing="memfd", regions=regions(100))
        connection = self.connect()
        connection.call("GetStatistics")
        self.restart()
        self.manager.hear_until(lambda said: "FDSTOREREMOVE" in said)
        connection.socket.sendall(b"this is not Varlink\0")
        self.ended(connection)

    def test_two_sessions_of_one_process_have_each_its_own(self):
        first, second = self.connect(), self.connect()
        first.call("Open", environment="e", create="always", definition=DEFINITION)
        first.call("Ready", environment="e")
        second.call("Open", environment="e", access="read")
        second.call("Open", environment="other", create="always", definition=DEFINITION)
        self.restart()
        with self.assertRaises(Refused) as caught:
            first.call("Ready", environment="other")
        self.assertEqual(caught.exception.error, "NotAttached")
        second.call("Ready", environment="other")
        first.call("Detach", environment="e")
        rows = self.call("Describe", environment="e")["attachments"]
        self.assertEqual([(row["access"], row["standing"]) for row in rows], [("read", "connected")])

    def test_many_sessions_go_on(self):
        connections = []
        for _ in range(300):
            connections.append(self.connect())
            connections[-1].call("GetStatistics")
        self.stop()
        self.assertLessEqual(len(self.manager.kept), 4)
        self.start()
        for connection in connections:
            self.assertEqual(connection.call("GetStatistics")["environments"], 0)

    # --- calls that wait --------------------------------------------------------------------------------------------

    def test_an_open_that_waits_goes_on_waiting_and_those_behind_it_too(self):
        initializer, waiter = self.create(ready=False), self.connect()
        waiter.send("Open", environment="e", waitUSec=MINUTE)
        waiter.send("GetStatistics")
        self.barrier()
        self.restart()
        self.barrier()
        self.assertTrue(waiter.is_quiet())
        initializer.call("Ready", environment="e")
        reply, descriptors = waiter.receive()
        self.assertEqual((reply["role"], len(descriptors)), ("member", 2))
        for descriptor in descriptors:
            os.close(descriptor)
        self.assertEqual(waiter.receive()[0]["environments"], 1)

    def test_who_waits_for_an_initializer_that_died_meanwhile_takes_its_place(self):
        initializer, waiter = self.create(ready=False), self.connect()
        waiter.send("Open", environment="e", create="ifAbsent", definition=DEFINITION, waitUSec=MINUTE)
        self.barrier()
        self.restart(meanwhile=initializer.kill)
        reply, descriptors = waiter.receive()
        self.assertEqual(reply["role"], "initializer")
        for descriptor in descriptors:
            os.close(descriptor)

    def test_a_deadline_that_passed_meanwhile_has_passed(self):
        self.create(ready=False)
        waiter = self.connect()
        waiter.send("Open", environment="e", waitUSec=3 * MINUTE // 60)
        self.barrier()
        end = time.monotonic() + 3
        self.restart(meanwhile=lambda: wait_until(lambda: time.monotonic() > end, "the deadline has passed"))
        later = self.connect()
        later.send("Open", environment="e", waitUSec=MINUTE // 60)
        for connection in later, waiter:
            if connection is waiter:
                self.assertFalse(waiter.is_quiet())
            with self.assertRaises(Refused) as caught:
                connection.receive()
            self.assertEqual(caught.exception.error, "NotReady")

    def test_a_remove_that_waits_still_keeps_others_out(self):
        holder, remover, opener = self.create(), self.connect(), self.connect()
        remover.send("Remove", environment="e", waitUSec=MINUTE)
        self.barrier()
        opener.send("Open", environment="e", waitUSec=MINUTE)
        self.barrier()
        self.restart()
        self.barrier()
        self.assertTrue(opener.is_quiet() and remover.is_quiet())
        holder.do("leave", environment="e")
        self.assertEqual(remover.receive()[0]["bytes"], 4096)
        with self.assertRaises(Refused) as caught:
            opener.receive()
        self.assertEqual(caught.exception.error, "EnvironmentNotFound")

    def test_a_remove_is_answered_where_the_environment_went_meanwhile(self):
        holder = self.create(lifetime="attached")
        self.manager.kill()  # its session is no more, so that its death is found first
        self.start()
        remover = self.connect()
        remover.send("Remove", environment="e", waitUSec=MINUTE)
        self.barrier()
        self.restart(meanwhile=holder.kill)
        self.assertEqual(remover.receive()[0]["bytes"], 4096)

    def test_a_watch_is_still_charged(self):
        watch = self.watch()
        self.stop()
        self.start("--limit", "watchesPerUser=1")
        with self.assertRaises(Refused) as caught:
            self.watch()
        self.assertEqual(caught.exception.parameters["used"], 1)
        watch.connection.close()
        self.barrier()
        self.watch()

    def test_a_watch_goes_on_where_it_was(self):
        watch = self.watch()
        puppet = self.create()
        told = watch.until("ready")
        self.restart(meanwhile=puppet.kill)
        told += watch.until("died")
        self.assertEqual([event["kind"] for event in told], ["created", "attached", "ready", "died"])
        sequences = [event["sequence"] for event in told]
        self.assertEqual(sequences, list(range(sequences[0], sequences[0] + 4)))
        self.assertEqual([event["missed"] for event in told], [None] * 4)

    # --- messages under way -----------------------------------------------------------------------------------------

    def test_half_a_call_is_completed(self):
        connection = self.connect()
        text = json.dumps({"method": "org.regionbroker.GetStatistics", "parameters": {}}) + " " * 50000
        connection.socket.sendall(text[:20000].encode())
        self.wait_until_read(connection)
        self.barrier()
        self.restart()
        connection.socket.sendall(text[20000:].encode() + b"\0")
        self.assertEqual(connection.receive()[0]["environments"], 0)

    def test_calls_that_nobody_has_read_are_answered_by_the_next(self):
        connection = self.connect()
        connection.call("GetStatistics")
        os.kill(self.manager.pid, signal.SIGSTOP)
        for _ in range(10):
            connection.send("GetStatistics")
        os.kill(self.manager.pid, signal.SIGTERM)
        os.kill(self.manager.pid, signal.SIGCONT)
        self.assertEqual(self.manager.reap(), 0)
        self.start()
        for _ in range(10):
            self.assertEqual(connection.receive()[0]["environments"], 0)

    def test_answers_that_were_not_read_come_whole_and_in_order(self):
        connection, n = self.connect(), 100
        connection.socket.sendall(DESCRIPTION * n)
        connection.send("GetStatistics")
        self.barrier()
        self.restart()
        for _ in range(n):
            self.assertIn("interface org.regionbroker", connection.receive()[0]["description"])
        self.assertEqual(connection.receive()[0]["environments"], 0)

    def test_a_list_that_is_half_told_is_told_to_its_end(self):
        writer = self.connect()
        for i in range(400):
            writer.call("Open", environment=f"{'x' * 200}-{i}", create="always", definition={
                **DEFINITION, "backing": "sysv", "regions": []})
        connection = self.connect()
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.send("List", more=True)
        self.barrier()
        self.restart()
        names = [connection.receive()[0]["environment"]["name"] for _ in range(400)]
        self.assertEqual(names, [f"{'x' * 200}-{i}" for i in range(400)])
        self.assertTrue(connection.is_quiet())

    def test_who_has_descriptors_to_come_is_closed_and_nobody_else(self):
        self.create()
        full, other = self.connect(), self.connect()
        other.call("GetStatistics")
        self.fill(full)
        full.send("Open", environment="e")
        self.barrier()
        self.restart()
        self.ended(full)
        self.assertIn("1 sessions do not outlast the restart: ", self.manager.log())
        self.assertEqual(other.call("GetStatistics")["environments"], 1)

    def test_what_is_under_way_in_all_of_them_has_a_limit(self):
        connections, half = [self.connect() for _ in range(70)], b"[" * 250000
        for connection in connections:
            connection.socket.sendall(half)
        for connection in connections:
            self.wait_until_read(connection)
        self.barrier()
        self.restart()
        ended = sum(bool(select.select([connection.socket], [], [], 0)[0]) for connection in connections)
        self.assertEqual(ended, 70 - 16 * 1024 * 1024 // len(half))
        self.assertIn(f"{ended} sessions do not outlast the restart: No space left", self.manager.log())

    def test_half_closed_it_has_its_answer_and_its_end(self):
        initializer, waiter = self.create(ready=False), self.connect()
        waiter.send("Open", environment="e", waitUSec=MINUTE)
        waiter.socket.shutdown(socket.SHUT_WR)
        self.barrier()
        self.restart()
        initializer.call("Ready", environment="e")
        for descriptor in waiter.receive()[1]:
            os.close(descriptor)
        self.ended(waiter)

    def test_descriptors_that_were_not_taken_are_still_counted(self):
        self.stop()
        self.start("--limit", "unreadDescriptorsPerUser=4")
        self.create()
        reader, over, held = self.connect(), self.connect(), self.connect()
        reader.send("Open", environment="e")
        over.send("Open", environment="e")
        self.barrier()
        over.socket.shutdown(socket.SHUT_WR)  # the session is over, its socket is not read
        wait_until(lambda: len(self.standings()) == 2, "it has left")
        self.stop()
        self.start("--limit", "unreadDescriptorsPerUser=4")
        held.send("Open", environment="e")
        self.barrier()
        self.assertTrue(held.is_quiet())
        for connection in over, held, reader:
            for descriptor in connection.receive()[1]:
                os.close(descriptor)
        self.assertEqual(reader.call("GetStatistics")["environments"], 1)

    # --- what happens meanwhile -------------------------------------------------------------------------------------

    def test_a_hang_up_meanwhile_is_an_orderly_leave(self):
        puppet, watch = self.create(recovery=True), self.watch()
        self.restart(meanwhile=lambda: puppet.do("hang_up"))
        self.assertEqual(watch.next()["kind"], "detached")
        self.assertEqual(self.call("Describe", environment="e")["environment"]["state"], "ready")

    def test_a_death_meanwhile_is_a_death(self):
        puppet, watch = self.create(recovery=True), self.watch()
        self.restart(meanwhile=puppet.kill)
        self.assertEqual([watch.next()["kind"] for _ in range(2)], ["died", "dirty"])

    def test_what_was_said_with_the_last_breath_is_heard(self):
        puppet, watch = self.create(recovery=True), self.watch()

        def detach_and_die():
            puppet.tell("send", method="Detach", environment="e")
            puppet.answer()
            puppet.kill()

        self.restart(meanwhile=detach_and_die)
        self.assertEqual(watch.next()["kind"], "detached")
        self.assertEqual(self.call("Describe", environment="e")["environment"]["state"], "ready")

    def test_an_environment_of_a_creator_that_died_meanwhile_goes(self):
        puppet, watch = self.create(lifetime="creator"), self.watch()
        self.restart(meanwhile=puppet.kill)
        self.assertEqual([watch.next()["kind"] for _ in range(3)], ["died", "retired", "reclaimed"])

    # --- what is not kept -------------------------------------------------------------------------------------------

    def test_where_the_store_takes_none_they_are_closed_and_nothing_else_is_lost(self):
        self.stop()
        self.start(FDSTORE="0")
        puppet, idle = self.create(), self.connect()
        idle.call("GetStatistics")
        self.restart()
        self.ended(idle)
        self.assertEqual(self.standings(), [(puppet.pid, "resumed")])
        self.assertIn("2 sessions do not outlast the restart: No space left", self.manager.log())
        self.assertEqual(self.manager.kept, {})

    def test_a_store_that_is_emptied_closes_them(self):
        puppet, idle = self.create(), self.connect()
        idle.call("GetStatistics")
        self.stop()
        for descriptor in self.manager.kept.values():
            os.close(descriptor)
        self.manager.kept = {}
        self.ended(idle)
        self.start()
        self.assertEqual(self.standings(), [(puppet.pid, "resumed")])
        self.assertIn("2 sessions of the broker before are lost: ", self.manager.log())
        self.restart()  # and are not looked for again
        self.assertEqual(self.manager.log().count("are lost"), 1)

    def test_a_socket_under_the_name_of_another_is_not_believed(self):
        puppet, other = self.create(), self.puppet()
        other.call("GetStatistics")
        self.stop()
        (entry, bag), = self.manager.kept.items()
        with socket.socket(fileno=bag) as queue:
            taken = [socket.recv_fds(queue, 64, 1)[:2] for _ in range(2)]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for (name, _), (_, descriptors) in zip(taken, reversed(taken)):
            socket.send_fds(ours, [name], descriptors)
            os.close(descriptors[0])
        ours.close()
        self.manager.kept[entry] = theirs.detach()
        self.start()
        self.assertEqual(self.standings(), [(puppet.pid, "resumed")])
        self.assertIn("2 sessions of the broker before are lost: Stale file handle", self.manager.log())

    def test_killed_they_are_closed(self):
        puppet, idle = self.create(), self.connect()
        idle.call("GetStatistics")
        self.manager.kill()
        self.ended(idle)
        self.start()
        self.assertEqual(self.standings(), [(puppet.pid, "resumed")])


if __name__ == "__main__":
    unittest.main()
