#!/usr/bin/env python3
"""The broker's command line: every option, every wrong value, and what it finds where it is to be.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-command-line.py [-v] [Class.test]

Each test has a fresh directory. Nothing here sleeps: what has to happen is waited for.
"""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import unittest

BROKER = os.path.abspath(os.environ.get("REGION_BROKER", "build/daemon/region-broker"))
PATIENCE = 120  # seconds, for anything


def ask(path, method):
    """One call without parameters, and the parameters of its reply."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(path)
        peer.sendall(json.dumps({"method": method}).encode() + b"\0")
        text = b""
        while not text.endswith(b"\0"):
            part = peer.recv(65536)
            if not part:
                raise AssertionError("the broker hung up")
            text += part
        return json.loads(text[:-1])["parameters"]


def answers(path):
    return ask(path, "org.varlink.service.GetInfo")["product"] == "region-broker"


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="command-line-"))
        self.runtime = self.path("run")
        self.state = self.path("state")
        self.socket = self.path("run/org.regionbroker")
        self.directories = ["--no-config", "--runtime-directory", self.runtime, "--state-directory", self.state]
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("XDG_") and name not in ("HOME", "JOURNAL_STREAM")}

    def path(self, name):
        return os.path.join(self.folder, name)

    def run_it(self, *options):
        return subprocess.run([BROKER, *options], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=PATIENCE)

    def refused(self, sentence, *options):
        """It does not begin, and says why."""
        result = self.run_it(*options)
        self.assertEqual((result.returncode, result.stdout), (1, ""), result)
        self.assertRegex(result.stderr, sentence)

    def wrong(self, sentence, *options):
        """The same for what is wrong with the options themselves."""
        self.refused(sentence, *options, *self.directories)
        self.refused(r"\nregion-broker: --help tells the options\n\Z", *options, *self.directories)
        self.assertFalse(os.path.exists(self.runtime))

    @contextlib.contextmanager
    def running(self, *options, sockets=1, how=signal.SIGTERM):
        """A broker that listens at so many sockets; it has to end in order. Its log is in broker.said afterwards."""
        with subprocess.Popen([BROKER, *options], env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as broker:
            try:
                broker.said = ""
                while broker.said.count("listening on") < sockets:
                    line = broker.stderr.readline()
                    self.assertNotEqual(line, "", f"the broker ended before it listened: {broker.said}")
                    broker.said += line
                yield broker
            finally:
                broker.send_signal(how)
                broker.said += broker.communicate(timeout=PATIENCE)[1]
        self.assertEqual(broker.returncode, -signal.SIGKILL if how == signal.SIGKILL else 0, broker.said)


@contextlib.contextmanager
def called(command):
    """This process has another command for a while."""
    with open("/proc/self/comm", "r+", encoding="utf-8") as file:
        before = file.read()
        file.write(command)
        file.flush()
        try:
            yield
        finally:
            file.write(before)


class Information(CommandLine):
    def test_help_has_every_limit(self):
        result = self.run_it("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout, self.run_it("-h").stdout)
        self.assertLessEqual(max(map(len, result.stdout.splitlines())), 100)
        with self.running(*self.directories):
            limits = ask(self.socket, "org.regionbroker.GetStatistics")["limits"]
        shown = dict(re.findall(r"^  (\w+) +(\d+)$", result.stdout.split("Limits")[1], re.M))
        self.assertEqual({name: int(value) for name, value in shown.items()}, limits)

    def test_version(self):
        result = self.run_it("--version")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"\Aregion-broker \d+\.\d+\.\d+\n\Z")


class WrongOptions(CommandLine):
    def test_an_option_that_does_not_exist(self):
        self.wrong("unrecognized option '--frobnicate'", "--frobnicate")
        self.wrong("invalid option -- 'x'", "-x")

    def test_an_option_without_its_value(self):
        for option in "--listen", "--log-level", "--limit":
            self.refused(f"option '{option}' requires an argument", *self.directories, option)
        self.wrong("option '--user' doesn't allow an argument", "--user=me")

    def test_an_argument(self):
        self.wrong("^region-broker: sheep: no argument is expected", "sheep")

    def test_a_socket_or_directory_that_is_not_absolute(self):
        for option in "--listen", "--runtime-directory", "--state-directory":
            for path in "here", "", "./here":
                self.wrong(f"^region-broker: {option} {path}: an absolute path is expected", option, path)

    def test_a_level_that_does_not_exist(self):
        for word in "loud", "", "Info", "6":
            self.wrong(f"^region-broker: --log-level {word}: error, warning, notice, info or debug", "--log-level", word)

    def test_a_limit_that_is_not_one(self):
        for text in "sessions", "sessions=", "=5", "=", "":
            self.wrong(f"^region-broker: --limit {text}: NAME=VALUE is expected", "--limit", text)
        for text in "sessions=many", "sessions=5x", "sessions=0x10", "sessions=1.5", "sessions==5", "sessions=-1", \
                "sessions=5K", "sessions=5s":
            self.wrong(f"^region-broker: --limit {text}: a whole number from 1 to 100000 is expected", "--limit", text)
        for text in "regionBytes=5s", "regionBytes=5k", "lingerUSec=5K", "lingerUSec=-1":
            self.wrong(f"^region-broker: --limit {text}: a whole number of", "--limit", text)
        self.wrong("^region-broker: --limit sheep=5: there is no limit of that name", "--limit", "sheep=5")
        for text in "sessions=0", "sessions=100001", "regionBytes=1K", "lingerUSec=400d":
            self.wrong(f"^region-broker: --limit {text}: the value is out of range", "--limit", text)
        self.wrong("^region-broker: --limit sessions=99999999999999999999: ", "--limit", "sessions=99999999999999999999")

    def test_a_file_of_configuration_that_is_not_absolute_or_one_too_many(self):
        self.wrong("^region-broker: --config here: an absolute path is expected", "--config", "here")
        options = [word for i in range(9) for word in ("--config", self.path(f"file{i}"))]
        self.refused("^region-broker: --config: at most 8 files", *options)
        self.wrong("^region-broker: --environments here: an absolute path is expected", "--environments", "here")
        self.wrong("^region-broker: --no-config and --config exclude each other", "--config", self.path("file"))

    def test_too_many_sockets(self):
        options = [word for i in range(9) for word in ("--listen", self.path(f"socket{i}"))]
        self.wrong("^region-broker: --listen: at most 8 sockets", *options)


class Options(CommandLine):
    def test_limits_are_set_and_the_last_one_counts(self):
        with self.running(*self.directories, "--limit", "sessions=5", "--limit=sessions=7", "--limit", "bytesPerUser=8192"):
            limits = ask(self.socket, "org.regionbroker.GetStatistics")["limits"]
        self.assertEqual((limits["sessions"], limits["bytesPerUser"]), (7, 8192))

    def test_limits_have_the_units_of_what_they_bound(self):
        with self.running(*self.directories, "--limit", "regionBytes=3T", "--limit", "stallUSec=2min", "--limit",
                          "lingerUSec=5000"):
            limits = ask(self.socket, "org.regionbroker.GetStatistics")["limits"]
        self.assertEqual((limits["regionBytes"], limits["stallUSec"], limits["lingerUSec"]), (3 << 40, 120 * 10**6, 5000))

    def test_every_socket_is_listened_at_and_removed_in_the_end(self):
        sockets = [self.path(f"socket{i}") for i in range(8)]
        options = [word for path in sockets for word in ("--listen", path)]
        with self.running(*self.directories, *options, sockets=8):
            for path in sockets:
                self.assertTrue(answers(path))
            self.assertFalse(os.path.exists(self.socket), "the default one is not among them")
        self.assertEqual(sorted(os.listdir(self.folder)), ["run", "state"])

    def test_a_socket_for_one_user_or_for_all(self):
        for option, mode in ("--user", 0o600), ("--system", 0o666):
            with self.running(*self.directories, option):
                self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), mode, option)

    def test_levels_decide_what_is_said(self):
        said = {}
        for level in "notice", "info", "debug":
            with self.running(*self.directories, "--log-level", level) as broker:
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.settimeout(PATIENCE)
                    peer.connect(self.socket)
                    peer.sendall(b"this is not Varlink\0")
                    self.assertEqual(peer.recv(1), b"")
            said[level] = broker.said
        self.assertRegex(said["notice"], r"\Aregion-broker: listening on [^\n]*\nregion-broker: stopping on Terminated; [^\n]*\n\Z")
        self.assertNotIn("not Varlink", said["info"])
        self.assertIn("not Varlink", said["debug"])

    def test_either_signal_stops_it_in_order(self):
        for how in signal.SIGTERM, signal.SIGINT:
            with self.running(*self.directories, how=how):
                self.assertTrue(answers(self.socket))
            self.assertFalse(os.path.exists(self.socket))


class Directories(CommandLine):
    def test_both_are_made_where_their_parents_exist(self):
        with self.running(*self.directories, "--user"):
            for path in self.runtime, self.state:
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)
        self.refused("cannot make directory .*/no/such/run: No such file or directory",
                     "--runtime-directory", self.path("no/such/run"), "--state-directory", self.state)

    def test_a_user_has_them_where_the_environment_says(self):
        os.mkdir(self.runtime, 0o700)
        os.mkdir(self.state, 0o700)
        self.environment |= {"XDG_RUNTIME_DIR": self.runtime, "XDG_STATE_HOME": self.state}
        with self.running("--user"):
            self.assertTrue(answers(os.path.join(self.runtime, "region-broker/org.regionbroker")))
        self.assertTrue(os.path.isdir(os.path.join(self.state, "region-broker")))

    def test_a_new_user_has_no_state_yet(self):
        os.mkdir(self.runtime, 0o700)
        self.environment |= {"XDG_RUNTIME_DIR": self.runtime, "HOME": self.folder}
        with self.running("--user"):
            pass
        self.assertTrue(os.path.isdir(self.path(".local/state/region-broker")))

    def test_what_the_environment_does_not_say_is_asked_for(self):
        self.refused("XDG_RUNTIME_DIR is not set; name a directory with --runtime-directory", "--user")
        self.environment["XDG_RUNTIME_DIR"] = "relative"
        self.refused("XDG_RUNTIME_DIR is not set; name a directory with --runtime-directory", "--user")
        self.refused("neither XDG_STATE_HOME nor HOME is set; name a directory with --state-directory",
                     "--user", "--runtime-directory", self.runtime)

    def test_one_that_others_may_write_to_is_refused(self):
        os.mkdir(self.runtime)
        os.chmod(self.runtime, 0o777)
        self.refused("directory .*/run has to belong to uid .* and be writable by nobody else", *self.directories)
        os.chmod(self.runtime, 0o755)
        with self.running(*self.directories):
            pass

    def test_what_is_no_directory_is_refused(self):
        with open(self.runtime, "w"):
            pass
        self.refused("cannot use directory .*/run: Not a directory", *self.directories)


class Others(CommandLine):
    """What it finds where it is to be."""

    def test_a_second_broker_is_refused_and_told_who_is_the_first(self):
        with self.running(*self.directories) as first:
            self.refused(rf"another region-broker \(pid {first.pid}\) uses {re.escape(self.runtime)}; stop it first",
                         *self.directories)
            self.refused(rf"\(pid {first.pid}\)", *self.directories, "--listen", self.path("other"))
            self.assertFalse(os.path.exists(self.path("other")))
            self.assertTrue(answers(self.socket))

    def test_a_second_broker_on_the_same_socket_is_told_who_answers_there(self):
        other = ["--no-config", "--runtime-directory", self.path("run2"), "--state-directory", self.path("state2")]
        with self.running(*self.directories) as first:
            self.refused(rf"another program, region-broker \(pid {first.pid}, uid {os.geteuid()}\), answers at "
                         rf"{re.escape(self.socket)}; stop it first, or name another socket with --listen", *other,
                         "--listen", self.socket)
            self.assertTrue(answers(self.socket))

    def test_a_socket_of_a_service_manager_is_left_to_it(self):
        with socket.socket(socket.AF_UNIX) as manager, called("systemd"):
            manager.bind(self.path("socket"))
            manager.listen()
            self.refused(rf"the service manager, systemd \(pid {os.getpid()}, uid {os.geteuid()}\), listens at "
                         rf"{re.escape(self.path('socket'))} for a service of its own", *self.directories, "--listen",
                         self.path("socket"))

    def test_where_nobody_could_be_asked_it_says_so(self):
        with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
            other.bind(self.path("socket"))
            other.listen(0)
            waiting.connect(self.path("socket"))  # no more are let into its queue
            self.refused(rf"another program answers at {re.escape(self.path('socket'))}; stop it first",
                         *self.directories, "--listen", self.path("socket"))

    def test_brokers_in_different_directories_do_not_meet(self):
        with self.running(*self.directories), \
                self.running("--runtime-directory", self.path("run2"), "--state-directory", self.path("state2")):
            self.assertTrue(answers(self.socket))
            self.assertTrue(answers(self.path("run2/org.regionbroker")))

    def test_after_a_kill_it_begins_again_in_the_same_place(self):
        with self.running(*self.directories, how=signal.SIGKILL):
            pass
        self.assertTrue(os.path.exists(self.socket), "a killed broker leaves its socket")
        with self.running(*self.directories):
            self.assertTrue(answers(self.socket))

    def test_a_socket_that_another_program_answers_at_is_left_alone(self):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path("socket"))
            other.listen()
            self.refused(rf"another program, python3[^ ]* \(pid {os.getpid()}, uid {os.geteuid()}\), answers at "
                         rf"{re.escape(self.path('socket'))}; stop it first", *self.directories, "--listen",
                         self.path("socket"))
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(self.path("socket"))

    def test_what_is_no_socket_is_left_alone(self):
        with open(self.path("socket"), "w", encoding="utf-8") as file:
            file.write("theirs")
        self.refused(f"cannot listen on {re.escape(self.path('socket'))}: File exists",
                     *self.directories, "--listen", self.path("socket"))
        with open(self.path("socket"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "theirs")

    def test_where_one_socket_cannot_be_had_none_is_left(self):
        self.refused("cannot listen on .*: No such file or directory", *self.directories,
                     "--listen", self.path("socket"), "--listen", self.path("no/such/socket"))
        self.assertEqual(sorted(os.listdir(self.folder)), ["run", "state"])

    def test_a_path_that_no_socket_can_have(self):
        longest = self.path("x" * (107 - len(self.folder) - 1))
        with self.running(*self.directories, "--listen", longest):
            self.assertTrue(answers(longest))
        self.refused("cannot listen on .*: File name too long", *self.directories, "--listen", longest + "x")


if __name__ == "__main__":
    if not os.access(BROKER, os.X_OK):
        sys.exit(f"{BROKER} is not built; REGION_BROKER names the broker")
    unittest.main()
