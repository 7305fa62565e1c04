#!/usr/bin/env python3
"""The broker as a service of a real systemd, which runs in namespaces of its own (lab): activation, the store of
descriptors, crashes, restarts, the watchdog, with clients that live through all of it.

LAB_CLIENTS says how many clients live through each; the default is 20. LAB_SESSIONS says how many sessions are handed over in
one restart; the default is 500.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ["BUILD"]
CLIENTS = int(os.environ.get("LAB_CLIENTS", "20"))
SESSIONS = int(os.environ.get("LAB_SESSIONS", "500"))
PATIENCE = 60  # seconds, for anything; a busy machine is slow
EXPOSURE = 0.5  # of the unit of the system, as `systemd-analyze security` counts
BACKINGS = "memfd", "sysv", "posix", "file", "private"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def wait_until(is_so, what):
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.02)  # nothing tells of it


class Lab:
    """Its first process follows our end of a pipe: whatever becomes of us, it goes and leaves nothing behind."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="region-broker-lab-")
        self.root = os.path.join(self.folder, "root")
        stage = os.path.join(self.folder, "stage")
        os.mkdir(self.root)
        self.lay(stage)
        self.process = subprocess.Popen([os.path.join(HERE, "lab"), self.root, stage], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        word, _, rest = self.process.stdout.readline().strip().partition(" ")
        self.pid = rest if word == "up" else None
        self.reason = rest

    def lay(self, stage):
        """What is laid over the machine's own files."""
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", stage], check=True)
        shutil.copy(os.environ["HOLDER"], os.path.join(stage, "usr/local/bin/holder"))
        shutil.copy(os.path.join(HERE, "talker.py"), os.path.join(stage, "usr/local/bin/talker"))

    def down(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        shutil.rmtree(self.folder)

    def command(self, words, user=None):
        inside = ["nsenter", "-t", self.pid, "-a", "--"]
        variables = [f"PATH={PATH}", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0"]
        if user:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
            variables += [f"XDG_RUNTIME_DIR=/run/user/{user}"]
        return inside + ["env", "-i", *variables] + [str(word) for word in words]

    def run(self, *words, user=None, check=True, text=None):
        done = subprocess.run(self.command(words, user), input=text if text is not None else "",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        if check and done.returncode != 0:
            raise AssertionError(f"{words} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def write(self, path, text):
        self.run("sh", "-c", f"mkdir -p {os.path.dirname(path)} && cat >{path}", text=text)


class Service:
    """The broker's units, of the system or of a user."""

    def __init__(self, lab, user=None):
        self.lab, self.user = lab, user

    def systemctl(self, *words, check=True):
        return self.lab.run("systemctl", *(["--user"] if self.user else []), *words, user=self.user, check=check)

    def show(self, name, unit="region-broker.service"):
        return self.systemctl("show", "-P", name, unit).strip()

    def main(self):
        return self.show("MainPID")

    def is_active(self):
        return self.show("ActiveState") == "active"

    def wait_for_another(self, before):
        wait_until(lambda: self.is_active() and self.main() not in ("0", before), "another broker runs")

    def wait_for_end(self):
        wait_until(lambda: self.show("ActiveState") == "inactive", "the service is inactive")

    def stored(self):
        return int(self.show("NFileDescriptorStore"))

    def call(self, method, **parameters):
        replies = self.lab.run("regionctl", "call", method, json.dumps(parameters), user=self.user)
        return json.loads(replies)

    def set(self, text, unit="region-broker.service"):
        """More settings, for as long as the machine runs or others take their place."""
        self.lab.write(f"/run/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def unset(self):
        self.lab.run("sh", "-c", "rm -rf /run/systemd/system/region-broker.*.d")
        self.systemctl("daemon-reload")

    def log(self):
        return self.lab.run("journalctl", "--unit=region-broker.service", "--output=cat", "--quiet")


class Program:
    """A process in the lab that does what lines of text say."""

    def __init__(self, service, words, user):
        self.service = service
        self.process = subprocess.Popen(service.lab.command(words, user), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.pid = None

    def wait(self, word):
        words = self.process.stdout.readline().split()
        assert words[1:] == [word], words
        self.pid = int(words[0])

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def is_well(self, line="?"):
        self.tell(line)
        return self.process.stdout.readline() == "well\n"

    def kill(self):
        self.service.lab.run("kill", "-KILL", self.pid)
        self.close()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Client(Program):
    """One that holds an environment."""

    def __init__(self, service, environment, backing, slot, slots, user=4711):
        super().__init__(service, ["holder", environment, backing, slot, slots], user)
        self.environment, self.backing, self.slot = environment, backing, slot

    def wait(self, word="holds"):
        super().wait(word)


def setUpModule():
    global lab
    lab = None
    if os.environ.get("SANITIZED"):
        raise unittest.SkipTest("a sanitizer does not work in the sandbox of the unit")
    lab = Lab()
    unittest.addModuleCleanup(lab.down)
    if not lab.pid:
        raise unittest.SkipTest(f"no systemd to try it with: {lab.reason}")
    lab.run("ldconfig")
    lab.run("systemd-sysusers")
    lab.run("systemctl", "daemon-reload")


class WithClients(unittest.TestCase):
    """Clients over all backings, one in each slot of its backing's environment; private ones have one each."""

    user = None

    def setUp(self):
        self.service = Service(lab, self.user)
        self.service.systemctl("start", "region-broker.socket")
        self.clients = []
        self.addCleanup(self.stop)

    def stop(self):
        for client in self.clients:
            client.close()
        self.clients = []
        self.service.systemctl("stop", "region-broker.socket", "region-broker.service")
        self.service.unset()

    def start_clients(self, n):
        self.slots = (n + len(BACKINGS) - 1) // len(BACKINGS)
        for i in range(n):
            backing, slot = BACKINGS[i % len(BACKINGS)], i // len(BACKINGS)
            name = f"{backing}-{slot}" if backing == "private" else backing
            self.clients.append(Client(self.service, name, backing, slot, self.slots, self.user or 4711))
        for client in self.clients:
            client.wait()

    def attachments(self):
        """(environment, region, pid, access) of all that are shown, and their standings."""
        found, standings = set(), set()
        for environment in {client.environment for client in self.clients}:
            for row in self.service.call("Describe", environment=environment)["attachments"]:
                found.add((environment, row.get("region"), row["pid"], row["access"]))
                standings.add(row["standing"])
        return found, standings

    def check_bytes(self):
        for client in self.clients:
            self.assertTrue(client.is_well(), client.environment)
        for environment in {client.environment for client in self.clients if client.backing != "private"}:
            self.assertEqual(lab.run("holder", environment, self.slots, user=self.user or 4711), "well\n", environment)

    def check_nothing_is_lost_by(self, happens, n=CLIENTS, standing="resumed"):
        """By what happens to the broker, after which there is another. `standing`: of the clients then."""
        self.start_clients(n)
        before, standings = self.attachments()
        self.assertEqual(len(before), n)
        self.assertEqual(standings, {"connected"})
        main, stored = self.service.main(), self.service.stored()
        self.assertEqual(stored, 1)  # the memfd
        happens(main)
        self.service.wait_for_another(main)
        after, standings = self.attachments()
        self.assertEqual(after, before)
        self.assertEqual(standings, {standing})
        wait_until(lambda: self.service.stored() == stored, "no session is in the store")
        self.check_bytes()
        self.assertEqual(self.service.call("GetStatistics")["counters"]["reclaimed"], 0)
        self.check_all_goes_with_the_clients()

    def check_all_goes_with_the_clients(self):
        while self.clients:
            self.clients.pop().kill()
        wait_until(lambda: self.service.call("GetStatistics")["environments"] == 0, "all is given back")
        wait_until(lambda: self.service.stored() == 0, "the store is empty")
        self.assertNotIn("0x", lab.run("ipcs", "-m"))
        self.assertEqual(lab.run("ls", "/dev/shm"), "")

    def start_talker(self, *words):
        talker = Program(self.service, ["talker", *words], self.user or 4711)
        self.addCleanup(talker.close)
        talker.wait("talks")
        return talker

    def check_clients_notice_nothing(self):
        """Of restarts: what is under way goes on, and each that calls has the answer on the connection that it has."""
        self.start_clients(len(BACKINGS))
        talker = self.start_talker()
        for _ in range(2):
            self.restart(self.service.main())
            talker.tell("go on")
            talker.wait("talks")
        self.assertTrue(talker.is_well("end"))
        for client in self.clients:
            self.assertTrue(client.is_well("call"), client.environment)
        self.assertEqual(self.attachments()[1], {"connected"})
        talker.close()
        self.check_all_goes_with_the_clients()

    @staticmethod
    def kill(main):
        lab.run("kill", "-KILL", main)

    def restart(self, _main):
        self.service.systemctl("restart", "region-broker.service")

    @staticmethod
    def hang(main):
        lab.run("kill", "-STOP", main)


class SystemService(WithClients):
    def test_the_first_client_starts_the_broker(self):
        self.assertFalse(self.service.is_active())
        self.start_clients(1)
        self.assertTrue(self.service.is_active())
        self.assertIn("1 environments, 1 regions", lab.run("sh", "-c", "regionctl status >/dev/null; "
                      "for i in $(seq 100); do systemctl show -P StatusText region-broker; sleep 0.1; done | "
                      "grep -m1 '^1 '"))

    def test_clients_see_the_broker_as_their_peer(self):
        self.start_clients(1)
        peer = lab.run("/usr/bin/python3", "-c", "import socket, struct; s = socket.socket(socket.AF_UNIX);"
                       "s.connect('/run/region-broker/org.regionbroker');"
                       "print(struct.unpack('3i', s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])")
        self.assertEqual(peer.strip(), self.service.main())

    def test_nothing_is_lost_when_the_broker_is_killed(self):
        self.check_nothing_is_lost_by(self.kill)

    def test_nothing_is_lost_when_the_broker_is_restarted(self):
        self.check_nothing_is_lost_by(self.restart, standing="connected")

    def test_clients_do_not_notice_that_the_broker_is_restarted(self):
        self.check_clients_notice_nothing()

    def test_many_sessions_are_handed_over_in_little_time(self):
        talker = self.start_talker("many", SESSIONS)
        main, begin = self.service.main(), time.monotonic()
        self.restart(main)
        print(f"restart with {SESSIONS} sessions: {time.monotonic() - begin:.2f} s", file=sys.stderr)
        self.assertNotEqual(self.service.main(), main)
        self.assertTrue(talker.is_well())
        self.assertGreaterEqual(self.service.call("GetStatistics")["sessions"], SESSIONS)
        talker.close()
        self.check_all_goes_with_the_clients()

    def test_stopped_it_lets_go_of_all_sessions(self):
        talker = self.start_talker("many", 5)
        self.service.systemctl("stop", "region-broker.service")
        self.assertEqual(self.service.stored(), 0)
        self.assertFalse(talker.is_well())
        self.service.systemctl("start", "region-broker.service")
        self.assertEqual(self.service.call("GetStatistics")["sessions"], 1)
        self.assertEqual(self.service.stored(), 0)

    def test_nothing_is_lost_when_the_broker_hangs(self):
        self.service.set("[Service]\nWatchdogSec=2\n")
        self.check_nothing_is_lost_by(self.hang)

    def test_who_dies_while_there_is_no_broker_is_found_dead(self):
        self.start_clients(CLIENTS)
        main = self.service.main()
        lab.run("kill", "-STOP", main)
        dead, self.clients = self.clients[::2], self.clients[1::2]
        for client in dead:
            client.kill()
        self.kill(main)
        self.service.wait_for_another(main)
        wait_until(lambda: len(self.attachments()[0]) == len(self.clients), "only the living are shown")
        self.assertEqual({row[2] for row in self.attachments()[0]}, {client.pid for client in self.clients})
        self.check_bytes()
        self.check_all_goes_with_the_clients()

    def test_after_a_stop_memory_with_a_name_is_as_it_was(self):
        self.start_clients(CLIENTS)
        named = [client for client in self.clients if client.backing in ("sysv", "posix", "file")]
        self.service.systemctl("stop", "region-broker.service")
        self.service.systemctl("start", "region-broker.service")
        for client in self.clients:
            self.assertTrue(client.is_well(), client.environment)
        others = [client for client in self.clients if client not in named]
        self.clients = named
        self.assertEqual(len(self.attachments()[0]), len(named))
        self.check_bytes()
        self.clients = named + others
        self.assertIn("region slots of environment memfd is missing", self.service.log())
        self.check_all_goes_with_the_clients()

    def test_what_the_store_does_not_take_is_reported(self):
        self.service.set("[Service]\nFileDescriptorStoreMax=0\nEnvironment=FDSTORE=0\n")
        self.start_clients(1)
        self.assertIn("does not take region slots of environment memfd: No space left", self.service.log())
        main = self.service.main()
        self.kill(main)
        self.service.wait_for_another(main)
        self.assertIn("region slots of environment memfd is missing", self.service.log())
        self.assertTrue(self.clients[0].is_well())
        self.check_all_goes_with_the_clients()

    def test_a_broker_that_nobody_needs_ends_and_is_started_again(self):
        self.service.set("[Service]\nExecStart=\nExecStart=/usr/local/bin/region-broker --system --idle-exit 0\n")
        self.service.set("[Socket]\nTriggerLimitIntervalSec=0\n", "region-broker.socket")
        self.service.systemctl("restart", "region-broker.socket")
        # nobody is turned away in between
        lab.run("sh", "-ec", "for i in $(seq 50); do regionctl status >/dev/null; done")
        self.service.wait_for_end()
        self.assertEqual(self.service.show("Result"), "success")
        self.start_clients(1)
        main = self.service.main()
        lab.run("regionctl", "status")
        self.assertEqual(self.service.main(), main)
        self.clients.pop().kill()
        self.service.wait_for_end()

    def test_files_are_made_in_homes_that_the_unit_is_given(self):
        lab.run("sh", "-ec", "mkdir -p /srv/homes/db; chown lab:region-broker /srv/homes/db; chmod 2770 /srv/homes/db")
        call = json.dumps({"environment": "at-home", "create": "always", "definition": {
            "home": "/srv/homes/db", "backing": "file", "lifetime": "attached",
            "regions": [{"name": "r", "size": 4096}]}})
        done = lab.run("sh", "-c", f"regionctl call Open '{call}' 2>&1", user=4711, check=False)
        self.assertIn("ENOENT", done)
        self.service.set("[Service]\nBindPaths=/srv/homes\n")
        self.service.systemctl("restart", "region-broker.service")
        self.assertIn('"path":"/srv/homes/db/__db.001"', lab.run("regionctl", "call", "Open", call, user=4711).replace(": ", ":"))

    def test_the_journal_knows_what_its_lines_speak_of(self):
        self.start_clients(1)
        pid = self.clients[0].pid
        self.clients.pop().kill()
        wait_until(lambda: self.service.call("GetStatistics")["environments"] == 0, "all is given back")

        def entries(field):
            lines = lab.run("journalctl", "--output=json", "--quiet", "REGION_BROKER_ENVIRONMENT=memfd", field)
            return [json.loads(line) for line in lines.splitlines()]

        wait_until(lambda: entries(f"REGION_BROKER_PID={pid}"), "it is told who created it")
        created = entries(f"REGION_BROKER_PID={pid}")[0]
        self.assertTrue(created["MESSAGE"].startswith("created environment memfd: "))
        self.assertEqual(created["REGION_BROKER_UID"], "4711")
        self.assertEqual(created["PRIORITY"], "6")
        self.assertEqual(created["SYSLOG_IDENTIFIER"], "region-broker")
        rule = "REGION_BROKER_RULE=attached, nobody holds it any more"
        wait_until(lambda: entries(rule), "it is told why it went")

    def test_the_exposure_of_the_unit_is_as_small_as_it_was(self):
        overall = lab.run("systemd-analyze", "security", "--no-pager", "region-broker.service").splitlines()[-1]
        print(overall, file=sys.stderr)
        self.assertLessEqual(float(overall.split("service: ")[1].split()[0]), EXPOSURE)


class UserService(WithClients):
    """The manager of a user, who is not root and has no sandbox."""

    user = 4711

    @classmethod
    def setUpClass(cls):
        lab.run("systemctl", "start", f"user@{cls.user}.service")
        cls.addClassCleanup(lab.run, "systemctl", "stop", f"user@{cls.user}.service")

    def test_the_first_client_starts_the_broker(self):
        self.assertFalse(self.service.is_active())
        self.start_clients(1)
        self.assertTrue(self.service.is_active())

    def test_nothing_is_lost_when_the_broker_is_killed(self):
        self.check_nothing_is_lost_by(self.kill)

    def test_nothing_is_lost_when_the_broker_is_restarted(self):
        self.check_nothing_is_lost_by(self.restart, standing="connected")

    def test_clients_do_not_notice_that_the_broker_is_restarted(self):
        self.check_clients_notice_nothing()


if __name__ == "__main__":
    done = unittest.main(exit=False).result
    if not done.wasSuccessful():
        sys.exit(1)
    for _, reason in done.skipped:
        print(reason)
    sys.exit(77 if done.testsRun == 0 else 0)
