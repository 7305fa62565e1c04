#!/usr/bin/env python3
"""regionctl against the real broker: every verb, every exit status, every kind of bad input.

    BUILD=build tests/integration/test-regionctl.py [-v] [Class.test]

Each class has a broker of its own in a fresh directory. Nothing here sleeps: what has to happen is waited for.
"""

import errno
import grp
import json
import os
import pty
import pwd
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
REGIONCTL = os.path.join(BUILD, "client/ctl/regionctl")
BROKER = os.path.join(BUILD, "daemon/region-broker")
PATIENCE = 120  # seconds, for anything
KEY = 0x7A000000 + (os.getpid() & 0x3FFFFF) * 4  # System V keys that no other test asks for and no broker picks

DONE, FAILED, USAGE, NO_BROKER, NOT_FOUND, BUSY, DENIED, REFUSED = range(8)


class Lines:
    """What a process writes, line by line, readable while it runs."""

    def __init__(self, stream):
        self.lines = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.collect, args=(stream,), daemon=True)
        self.thread.start()

    def collect(self, stream):
        with stream:
            for line in stream:
                with self.changed:
                    self.lines.append(line.rstrip("\n"))
                    self.changed.notify_all()

    def wait(self, pattern):
        def found():
            return next((line for line in self.lines if re.search(pattern, line)), None)

        with self.changed:
            line = self.changed.wait_for(found, PATIENCE)
        if line is None:
            raise AssertionError(f"no line {pattern!r} in {self.lines}")
        return line


class Process:
    """A process that is ended with the test, if not before."""

    def __init__(self, *command, **more):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace", **more)
        self.pid = self.process.pid
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def end(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.wait()

    def wait(self):
        code = self.process.wait(PATIENCE)
        self.out.thread.join(PATIENCE)
        self.err.thread.join(PATIENCE)
        return code


class WithoutBroker(unittest.TestCase):
    socket = "/nonexistent/socket"

    def setUp(self):
        self.environment = {**os.environ, "REGION_BROKER_SOCKET": self.socket, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
        self.environment.pop("REGION_ENVIRONMENT", None)

    def ctl(self, *words, **more):
        more.setdefault("env", self.environment)
        return subprocess.run([REGIONCTL, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=PATIENCE, **more)

    def fails(self, code, sentence, *words, **more):
        """It exits so, says something that fits, once and on standard error, and prints nothing else."""
        result = self.ctl(*words, **more)
        self.assertEqual(result.returncode, code, result)
        self.assertRegex(result.stderr, sentence)
        self.assertRegex(result.stderr, r"\Aregionctl: [^\n]+\n\Z")
        self.assertEqual(result.stdout, "")

    def works(self, *words, **more):
        result = self.ctl(*words, **more)
        self.assertEqual((result.returncode, result.stderr), (DONE, ""), result)
        return result.stdout


class CommandLine(WithoutBroker):
    def test_help_names_every_verb_option_and_exit_status(self):
        text = self.works("--help")
        self.assertEqual(text, self.works("help"))
        self.assertEqual(text, self.works("-h"))
        self.assertEqual(text, self.works("list", "--help"))
        for word in ("status", "list", "show", "explain", "stat", "watch", "create", "remove", "hold", "call", "version",
                     "--backing",
                     "Exit status: 0 done, 1 failed, 2", "7 the machine"):
            self.assertIn(word, text)
        self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_version_needs_no_broker(self):
        self.assertRegex(self.works("version"), r"\Aregionctl \d+\.\d+\.\d+\n\Z")
        self.assertEqual(self.works("--version"), self.works("version"))

    def test_a_missing_or_unknown_verb_is_wrong_usage(self):
        self.fails(USAGE, "regionctl --help")
        self.fails(USAGE, "unknown verb 'lst'", "lst")

    def test_an_unknown_option_is_named(self):
        self.fails(USAGE, "unknown option --frce", "remove", "x", "--frce")
        self.fails(USAGE, "unknown option -x", "list", "-x")
        self.fails(USAGE, "--socket needs a value: PATH", "list", "--socket")
        self.fails(USAGE, "--force takes no value", "remove", "x", "--force=yes")

    def test_an_option_of_another_verb_is_refused(self):
        self.fails(USAGE, "--force does not belong to list", "list", "--force")
        self.fails(USAGE, "--mode does not belong to remove", "remove", "x", "--mode=600")
        self.fails(USAGE, "--create does not belong to create", "create", "x", "a=1", "--create")
        self.fails(USAGE, "--since does not belong to explain", "explain", "x", "--since=0")

    def test_the_number_of_operands_is_checked(self):
        self.fails(USAGE, r"expected: regionctl show \[ENV\]", "show", "a", "b")
        self.fails(USAGE, "expected: regionctl remove ENV", "remove")
        self.fails(USAGE, r"expected: regionctl create ENV \[NAME=SIZE", "create")
        self.fails(USAGE, "create needs at least one region NAME=SIZE.*, or --subsystem", "create", "a")
        self.fails(USAGE, "expected: regionctl status", "status", "a")

    def test_an_environment_that_is_not_named_has_to_be_in_the_variable(self):
        for words in ["show"], ["show", "-j"], ["explain"], ["stat"], ["hold"], ["hold", "--create", "--subsystem=log"]:
            with self.subTest(words=words):
                self.fails(USAGE, "no environment is named, and REGION_ENVIRONMENT is not set", *words)
                self.fails(USAGE, "REGION_ENVIRONMENT", *words, env=self.environment | {"REGION_ENVIRONMENT": ""})

    def test_bad_sizes_are_named_and_none_is_clipped(self):
        for size in ("", "-1", "+1", " 1", "1 ", "1X", "1KB", "1.5M", "M", "0x10", "1e3"):
            with self.subTest(size=size):
                words = re.escape(size)
                self.fails(USAGE, rf"r={words}: '{words}' is not understood; expected a whole number",
                           "create", "x", f"r={size}")
        for size in ("0", "0K", "8589934592G", "18446744073709551616", "99999999999999999999999G"):
            with self.subTest(size=size):
                self.fails(USAGE, f"'{size}' is out of range", "create", "x", f"r={size}")

    def test_bad_regions_are_named(self):
        self.fails(USAGE, "'data' is not a region; expected NAME=SIZE", "create", "x", "data")
        self.fails(USAGE, "'=1K' is not a region", "create", "x", "a=1K", "=1K")
        self.fails(USAGE, "a=1K,disk: 'disk' is not understood; expected memfd", "create", "x", "a=1K,disk")
        self.fails(USAGE, "'' is not understood; expected memfd", "create", "x", "a=1K,")
        self.fails(USAGE, "region 'a' is named twice", "create", "x", "a=1K", "b=1K", "a=2K")
        self.fails(USAGE, "one region alone cannot be private", "hold", "x", "--create", "a=1K,private")

    def test_bad_subsystems_are_named(self):
        self.fails(USAGE, "--subsystem: 'disk' is no subsystem; expected mutex, lock", "create", "x", "--subsystem=disk")
        self.fails(USAGE, "--subsystem: 'log=1X' is not understood; expected a size", "create", "x", "--subsystem=log=1X")
        self.fails(USAGE, "'mpool=1M[*]65' is out of range; .* at most 64", "create", "x", "--subsystem=mpool=1M*65")
        self.fails(USAGE, "--subsystem says what is to be made", "hold", "x", "--subsystem=log")

    def test_bad_durations_are_named(self):
        for duration in ("", "-1", "soon", "1.5s", "1 s", "s", "1sec"):
            with self.subTest(duration=duration):
                self.fails(USAGE, f"--wait: '{duration}' is not understood; expected a whole number with us, ms, s",
                           "remove", "x", f"--wait={duration}")
        self.fails(USAGE, "'106751992d' is out of range", "remove", "x", "--wait=106751992d")
        self.fails(USAGE, "--linger: 'infinity' is not understood", "hold", "x", "--create", "a=1K",
                   "--linger=infinity")

    def test_bad_values_of_options_say_what_is_expected(self):
        for option, value, sentence in (
                ("mode", "888", "'888' is not understood; expected octal"),
                ("mode", "1777", "'1777' is out of range; expected octal"),
                ("mode", "0", "'0' is out of range"),
                ("mode", "rw", "'rw' is not understood"),
                ("backing", "disk", "'disk' is not understood; expected memfd, sysv, posix, file or private"),
                ("lifetime", "long", "'long' is not understood; expected creator, attached or persistent"),
                ("home", "here", "'here' is not understood; expected an absolute directory"),
                ("region-directory", "", "'' is not understood; expected an absolute directory"),
                ("shm-key", "0", "'0' is out of range; expected a System V key"),
                ("shm-key", "0x80000000", "'0x80000000' is out of range"),
                ("shm-key", "4294967296", "'4294967296' is out of range"),
                ("shm-key", "-5", "'-5' is not understood"),
                ("shm-key", "5x", "'5x' is not understood"),
                ("since", "-1", "'-1' is not understood; expected the number of an event"),
                ("since", "1K", "'1K' is not understood"),
                ("since", "9223372036854775808", "'9223372036854775808' is out of range"),
                ("json", "xml", "'xml' is not understood; expected short, pretty or off")):
            with self.subTest(option=option, value=value):
                self.fails(USAGE, f"--{option}: {sentence}", "create", "x", "a=1K", f"--{option}={value}")

    def test_create_refuses_what_would_vanish_at_once(self):
        for lifetime in ("attached", "creator"):
            self.fails(USAGE, f"lifetime {lifetime} would go .* hold --create", "create", "x", "a=1K",
                       f"--lifetime={lifetime}")
        self.fails(USAGE, "--linger .* hold --create", "create", "x", "a=1K", "--linger=5s")
        self.fails(USAGE, "private memory .* hold --create", "create", "x", "a=1K", "--backing=private")

    def test_hold_refuses_what_does_not_go_together(self):
        self.fails(USAGE, "'a=1K' is a region to be made, which needs --create", "hold", "x", "a=1K")
        self.fails(USAGE, "--create needs at least one region", "hold", "x", "--create")
        self.fails(USAGE, "--read", "hold", "x", "--create", "--read", "a=1K")
        self.fails(USAGE, "--mode says what is to be made, which needs --create", "hold", "x", "--mode=600")
        self.fails(USAGE, "no JSON", "hold", "x", "-j")

    def test_call_takes_a_json_object_only(self):
        for text in ("[]", "1", "{", "{'a':1}", "", "null"):
            with self.subTest(text=text):
                self.fails(USAGE, "is not a JSON object", "call", "Describe", text)

    def test_without_a_broker_every_verb_that_needs_one_says_so(self):
        for words in (["status"], ["list"], ["list", "-j"], ["show", "x"], ["explain", "x"], ["stat", "x"], ["watch"], ["create", "x", "a=1K"], ["remove", "x"],
                      ["hold", "x"], ["call", "GetStatistics"]):
            with self.subTest(words=words):
                self.fails(NO_BROKER, "/nonexistent/socket", *words)

    def test_options_pick_the_socket(self):
        self.fails(NO_BROKER, "/elsewhere/socket", "--socket=/elsewhere/socket", "list")
        environment = {**self.environment, "XDG_RUNTIME_DIR": "/nonexistent/runtime"}
        self.fails(NO_BROKER, "/nonexistent/runtime/region-broker/org.regionbroker", "--user", "list", env=environment)
        del environment["XDG_RUNTIME_DIR"]
        self.fails(NO_BROKER, "XDG_RUNTIME_DIR is not set", "--user", "list", env=environment)
        self.fails(USAGE, "only one of --socket, --system and --user", "--user", "--system", "list",
                   env={**environment, "XDG_RUNTIME_DIR": "/nonexistent/runtime"})
        self.fails(USAGE, "at most 107 bytes", "--socket=/" + "x" * 200, "list")


class WithBroker(WithoutBroker):
    scope = "--user"

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="regionctl-")
        cls.socket = os.path.join(cls.folder.name, "socket")
        os.chmod(cls.folder.name, 0o755)
        for name in ("run", "state"):
            os.mkdir(os.path.join(cls.folder.name, name))
        cls.broker = Process(BROKER, cls.scope, "--runtime-directory", os.path.join(cls.folder.name, "run"),
                             "--state-directory", os.path.join(cls.folder.name, "state"), "--listen", cls.socket)
        cls.broker.err.wait(f"listening on {re.escape(cls.socket)}")

    @classmethod
    def tearDownClass(cls):
        code = cls.broker.end(signal.SIGINT)  # not to be gone on with
        cls.folder.cleanup()
        if code != 0:
            raise AssertionError(f"the broker ended with {code}: {cls.broker.err.lines}")

    def setUp(self):
        super().setUp()
        self.home = tempfile.TemporaryDirectory(dir=self.folder.name)
        self.addCleanup(self.home.cleanup)
        self.addCleanup(self.remove_all)

    def remove_all(self):
        for env in self.environments():
            self.ctl("remove", "--force", env["name"])
        self.wait_until(lambda: not self.environments())

    def wait_until(self, is_so):
        end = time.monotonic() + PATIENCE
        while not is_so():
            self.assertLess(time.monotonic(), end, "it does not come about")

    def environments(self):
        return json.loads(self.works("list", "--json=short"))["environments"]

    def describe(self, name):
        return json.loads(self.works("show", name, "-j"))

    def wait_until_dirty(self, name):
        self.wait_until(lambda: self.describe(name)["environment"]["state"] == "dirty")

    def hold(self, *words, program=REGIONCTL):
        process = Process(program, "hold", *words, env=self.environment)
        self.addCleanup(process.end, signal.SIGKILL)
        process.out.wait("^holding ")
        return process


class Looking(WithBroker):
    def test_status_tells_what_the_broker_holds(self):
        self.works("create", "status", "a=4K", "b=8K")
        text = self.works("status")
        self.assertRegex(text, r"(?m)^Version: +\d+\.\d+\.\d+$")
        self.assertRegex(text, r"(?m)^Up since: +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$")
        self.assertRegex(text, r"(?m)^Environments: +1$")
        self.assertRegex(text, r"(?m)^Regions: +2$")
        self.assertRegex(text, r"(?m)^Sessions: +1$")
        self.assertRegex(text, r"(?m)^Size: +12K$")
        self.assertRegex(text, r"(?m)^LIMIT +MAXIMUM$")
        self.assertNotIn("MAXIMUM", self.works("status", "--no-legend"))
        self.assertEqual(json.loads(self.works("status", "--json=short"))["bytes"], 12288)

    def test_an_empty_list_is_said_to_be_empty(self):
        self.assertEqual(self.works("list"), "There are no environments.\n")
        self.assertEqual(self.works("list", "--no-legend"), "")
        self.assertEqual(json.loads(self.works("list", "-j")), {"environments": []})

    def test_list_has_a_row_for_each_environment(self):
        self.works("create", "small", "a=4K")
        self.works("create", "large", "a=1M", "b=512K,sysv", "--mode=0640")
        rows = {line.split()[0]: line.split() for line in self.works("list").splitlines()}
        self.assertEqual(rows["NAME"], "NAME STATE OWNER MODE BACKING LIFETIME REGIONS SIZE HELD HOME".split())
        self.assertEqual(rows["small"][3:], "0600 memfd persistent 1 4K 0 -".split())
        self.assertEqual(rows["large"][3:], "0640 memfd persistent 2 1.5M 0 -".split())
        self.assertEqual(len(self.works("list", "--no-legend").splitlines()), 2)

    def test_list_takes_a_pattern(self):
        for name in ("db-1", "db-2", "web"):
            self.works("create", name, "a=4K")
        self.assertEqual([line.split()[0] for line in self.works("list", "db-*", "--no-legend").splitlines()],
                         ["db-1", "db-2"])
        names = [env["name"] for env in json.loads(self.works("list", "db-?", "--json=short"))["environments"]]
        self.assertEqual(sorted(names), ["db-1", "db-2"])

    def test_json_is_the_brokers_own_object(self):
        self.works("create", "same", "a=4K")
        raw = json.loads(self.works("call", "Describe", '{"environment":"same"}'))
        self.assertEqual(self.describe("same"), raw)
        self.assertEqual(self.environments(), [raw["environment"]])

    def test_json_is_short_on_one_line_and_pretty_on_several(self):
        self.works("create", "lines", "a=4K")
        self.assertEqual(len(self.works("list", "--json=short").splitlines()), 1)
        self.assertGreater(len(self.works("list", "--json=pretty").splitlines()), 20)
        self.assertEqual(self.works("list", "-j"), self.works("list", "--json=pretty"))
        self.assertEqual(self.works("list", "-j", "--json=off"), self.works("list"))

    def test_show_tells_of_environment_regions_and_holders(self):
        holder = self.hold("all", "--create", "index=4K", "data=1M,sysv", "words=8K,posix", "--schema=three",
                           "--linger=1min", "--lifetime=attached", f"--home={self.home.name}")
        text = self.works("show", "all")
        for pattern in (r"Environment: +all", r"State: +ready, generation 1", r"Lifetime: +attached, lingers 1min",
                        r"Schema: +three", rf"Home: +{self.home.name}", r"Size: +1M in 3 regions",
                        r"Created: .* by regionctl \(pid %d\)" % holder.pid,
                        r" *1 +index +user +4K +4K +memfd +1 +-",
                        r" *2 +data +user +1M +\S+ +sysv +1 +key 0x[0-9a-f]{8}, id \d+",
                        r" *3 +words +user +8K +8K +posix +1 +/dev/shm/\S+",
                        r" *%d +regionctl +\S+ +write +connected +20\S+ \S+ +index, data, words" % holder.pid):
            self.assertRegex(text, rf"(?m)^{pattern}$")
        self.assertEqual(self.works("show", self.home.name), text)
        self.assertEqual(holder.end(), DONE)

    def test_the_variable_names_what_is_not_named(self):
        self.works("create", "named", "a=4K", f"--home={self.home.name}")
        self.works("create", "other", "b=4K")
        self.environment["REGION_ENVIRONMENT"] = self.home.name
        for verb, *more in ["show"], ["show", "-j"], ["stat"], ["explain"]:
            self.assertEqual(self.works(verb, *more), self.works(verb, "named", *more))
        self.assertNotIn("named", self.works("show", "other"))
        self.assertEqual(self.hold().end(), DONE)
        self.environment["REGION_ENVIRONMENT"] = "made"
        self.hold("--create", "--subsystem=log")
        self.assertIn("made", self.works("list"))
        self.assertIn("named", self.works("list"))
        self.fails(USAGE, "expected: regionctl remove ENV", "remove")
        self.fails(USAGE, "expected: regionctl remove ENV", "remove", "--force")
        self.fails(USAGE, "expected: regionctl create ENV", "create", "--subsystem=log")
        watch = Process(REGIONCTL, "watch", env=self.environment)
        self.addCleanup(watch.end, signal.SIGKILL)
        watch.out.wait("^watching all environments")

    def test_show_has_one_row_for_a_process(self):
        first = self.hold("shared", "--create", "a=4K", "b=4K", "c=4K")
        second = self.hold("shared", "--read")
        rows = self.works("show", "shared", "--no-legend").split("\n\n")[-1].splitlines()
        for process, access in ((first, "write"), (second, "read")):
            self.assertEqual([re.sub(r" +20\S+ \S+ +", " ", row).split(None, 5)[3:] for row in rows
                              if row.split()[0] == str(process.pid)], [[access, "connected", "a, b, c"]])
        self.assertEqual(len(rows), 2)

    def test_what_nobody_holds_is_said_to_be_free(self):
        self.works("create", "free", "a=4K")
        self.assertIn("\nNobody holds it.\n", self.works("show", "free"))

    def test_what_does_not_exist_is_exit_status_4(self):
        for words in (["show", "no"], ["show", "no", "-j"], ["remove", "no"], ["hold", "no"],
                      ["call", "Describe", '{"environment":"no"}']):
            with self.subTest(words=words):
                self.fails(NOT_FOUND, "no environment 'no'", *words)

    def test_nothing_is_cut_where_the_output_is_no_terminal(self):
        home = os.path.join(self.home.name, "d" * 200)
        os.mkdir(home)
        self.works("create", "wide", "a=4K", f"--home={home}")
        self.assertIn(home, self.works("list"))
        self.assertEqual(len(self.works("list", "--no-legend").splitlines()), 1)

    def test_a_terminal_gets_lines_that_fit(self):
        home = os.path.join(self.home.name, "d" * 200)
        os.mkdir(home)
        self.works("create", "narrow", "a=4K", f"--home={home}")
        text = self.on_terminal("list")
        self.assertLessEqual(max(map(len, text.splitlines())), 100)
        self.assertIn("d" * 190, re.sub(r"\s+", "", text))

    def on_terminal(self, *words):
        master, terminal = pty.openpty()
        with open(terminal, "wb"):
            process = subprocess.Popen([REGIONCTL, *words], stdout=terminal, env={**self.environment, "COLUMNS": "100"})
        text = b""
        with open(master, "rb", buffering=0) as output, process:
            while select.select([output], [], [], PATIENCE)[0] and (part := self.read_terminal(output)):
                text += part
        return text.decode()

    def read_terminal(self, output):
        """Nothing once nobody writes there any more and all was read: the kernel hands it on in its own time."""
        try:
            return output.read(65536)
        except OSError as error:
            self.assertEqual(error.errno, errno.EIO)
            return b""

    def test_control_characters_in_a_command_reach_no_terminal(self):
        link = os.path.join(self.home.name, "\x1b[31mred")
        os.symlink(REGIONCTL, link)
        self.hold("odd", "--create", "a=4K", program=link)
        for words in (["show", "odd"], ["show", "odd", "-j"], ["list"], ["explain", "odd"], ["stat", "odd"]):
            self.assertNotIn("\x1b", self.works(*words))
        watch = Process(REGIONCTL, "watch", "--since=0", env=self.environment)
        self.addCleanup(watch.end, signal.SIGKILL)
        self.assertIn(r"\x1b[31mred (pid", watch.out.wait("created +odd"))
        self.assertEqual(self.ctl("remove", "odd").returncode, BUSY)
        self.assertNotIn("\x1b", self.ctl("remove", "odd").stderr)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([REGIONCTL, "status"], stdout=full, stderr=subprocess.PIPE, text=True,
                                    env=self.environment, timeout=PATIENCE)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("No space left", result.stderr)


class MakingAndRemoving(WithBroker):
    def test_create_makes_it_says_so_and_leaves(self):
        self.assertEqual(self.works("create", "made", "a=4K", "b=1M"), "created made: 2 regions, 1M\n")
        env = self.describe("made")
        self.assertEqual(env["attachments"], [])
        self.assertEqual(env["environment"]["state"], "ready")
        self.assertEqual(env["environment"]["lifetime"], "persistent")

    def test_create_of_what_exists_finds_it_and_tells_differences(self):
        self.works("create", "twice", "a=4K", "--mode=0640")
        self.assertEqual(self.works("create", "twice", "a=4K", "--mode=0640"),
                         "found existing twice: 1 region, 4K\n")
        result = self.ctl("create", "twice", "a=4K", "--mode=0600")
        self.assertEqual(result.returncode, DONE)
        self.assertRegex(result.stderr, "regionctl: environment 'twice' exists: its mode is ")

    def test_create_exclusive_fails_on_what_exists(self):
        self.works("create", "only", "a=4K", "--exclusive")
        self.fails(FAILED, "'only' exists", "create", "only", "a=4K", "--exclusive")

    def test_another_schema_is_refused(self):
        self.works("create", "layout", "a=4K", "--schema=one")
        self.fails(FAILED, "'one'.*'two'", "create", "layout", "a=4K", "--schema=two")

    def test_create_with_json_prints_what_show_would(self):
        made = json.loads(self.works("create", "json", "a=4K", "-j"))
        self.assertEqual(made["environment"]["name"], "json")
        self.assertEqual([region["name"] for region in made["environment"]["regions"]], ["a"])

    try:
        group = grp.getgrgid(os.getgid()).gr_name
    except KeyError:  # it has none
        group = str(os.getgid())

    def test_every_option_of_create_arrives(self):
        directory = os.path.join(self.home.name, "regions")
        os.mkdir(directory)
        self.works("create", "options", "a=64K", "b=1M,memfd", "--backing=sysv", "--mode", "0664", "--group", self.group,
                   "--lifetime=persistent", "--home", self.home.name, "--schema=text 1", "--lock",
                   f"--shm-key=0x{KEY:x}", "--exclusive")
        env = self.describe("options")["environment"]
        self.assertEqual((env["backing"], env["mode"], env["gid"], env["home"], env["schema"]),
                         ("sysv", 0o664, os.getgid(), self.home.name, "text 1"))
        self.assertEqual(env["regions"][0]["shmKey"], KEY)
        self.assertEqual([region["backing"] for region in env["regions"]], ["sysv", "memfd"])

    def test_subsystems_become_regions_before_those_that_are_named(self):
        self.works("create", "set", "own=4K", "--subsystem=txn", "--subsystem", "mpool=64K*2", "--subsystem=log=8K",
                   "--backing=file", f"--home={self.home.name}")
        regions = self.describe("set")["environment"]["regions"]
        self.assertEqual([(region["number"], region["name"], region["type"], region["size"]) for region in regions],
                         [(1, "env", "env", 65536), (2, "log", "log", 8192), (3, "mpool1", "mpool", 32768),
                          (4, "mpool2", "mpool", 32768), (5, "txn", "txn", 65536), (6, "own", "user", 4096)])
        self.assertEqual(regions[0]["path"], os.path.join(self.home.name, "__db.001"))
        self.assertEqual(self.works("create", "alone", "--subsystem=env"), "created alone: 1 region, 64K\n")
        self.fails(USAGE, "region 'log' is among the regions, and a subsystem makes it too", "create", "x", "log=4K",
                   "--subsystem=log")
        holder = self.hold("held", "--create", "--subsystem=lock")
        self.assertEqual(holder.out.lines, [f"holding held: 2 regions, pid {holder.pid}"])

    def configure(self, text):
        path = os.path.join(self.home.name, "region-environment.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return re.escape(path)

    def test_what_the_configuration_in_the_home_overrides_is_told(self):
        path = self.configure("[environment]\nmode = 0640\n[region a]\nsize = 64K\n[region b]\nsize = 8K\n")
        told = (rf"\Aregionctl: environment 'over': {path}:2 sets mode to 0640, not 0600\n"
                rf"regionctl: environment 'over': {path}:4 sets regions.a.size to 64K, not 4K\n"
                rf"regionctl: environment 'over': {path}:6 sets regions.b to present, not absent\n\Z")
        for words, said in ((["create"], "created over: 2 regions, 72K\n"),
                            (["create"], "found existing over: 2 regions, 72K\n")):
            result = self.ctl(*words, "over", "a=4K", f"--home={self.home.name}")
            self.assertEqual((result.returncode, result.stdout), (DONE, said))
            self.assertRegex(result.stderr, told)
        holder = self.hold("over", "--create", "a=4K", f"--home={self.home.name}")
        holder.end()
        self.assertRegex("".join(f"{line}\n" for line in holder.err.lines), told)
        self.assertEqual(self.describe("over")["environment"]["mode"], 0o640)
        self.assertEqual(self.hold("over").end(), DONE)

    def test_a_configuration_can_be_ignored(self):
        path = self.configure("[environment]\nmode = rw\n")
        self.fails(USAGE, f"{path}:2: mode: 'rw' is not understood; expected octal", "create", self.home.name, "a=4K")
        self.fails(USAGE, f"{path}:2: mode", "hold", "x", "--create", "a=4K", f"--home={self.home.name}")
        self.works("create", self.home.name, "a=4K", "--ignore-configuration")
        self.assertEqual(self.hold(self.home.name).end(), DONE)

    def test_create_does_not_make_what_its_configuration_would_have_go_at_once(self):
        self.configure("[environment]\nlifetime = attached\n")
        result = self.ctl("create", "brief", "a=4K", f"--home={self.home.name}")
        self.assertEqual((result.returncode, result.stdout), (USAGE, ""))
        self.assertRegex(result.stderr, "sets lifetime to attached, not persistent\n.* would go when .* hold --create")
        self.broker.err.wait("reclaimed environment brief")

    def test_file_regions_lie_in_the_region_directory(self):
        directory = os.path.join(self.home.name, "regions")
        os.mkdir(directory)
        self.works("create", "files", "a=4K", "--backing=file", "--home", self.home.name, "--region-directory",
                   directory)
        self.assertTrue(self.describe("files")["environment"]["regions"][0]["path"].startswith(directory))
        self.assertNotEqual(os.listdir(directory), [])
        self.works("remove", "files")
        self.assertEqual(os.listdir(directory), [])

    def test_sparse_memory_is_not_reserved(self):
        self.works("create", "sparse", "a=64M", "--sparse")
        self.works("create", "reserved", "a=1M")
        self.assertEqual(self.describe("sparse")["environment"]["regions"][0]["bytesUsed"], 0)
        self.assertEqual(self.describe("reserved")["environment"]["regions"][0]["bytesUsed"], 1 << 20)

    def test_huge_pages_are_asked_for(self):
        self.works("create", "e", "a=4K", "--huge-pages")
        self.assertTrue(self.describe("e")["environment"]["hugePages"])
        self.assertFalse(self.describe("e")["environment"]["hugetlb"])

    def test_regions_of_the_pool_have_whole_huge_pages(self):
        with open("/proc/meminfo") as meminfo:
            sizes = [int(line.split()[1]) * 1024 for line in meminfo if line.startswith("Hugepagesize:")]
        if not sizes:
            self.skipTest("this kernel has no pool of huge pages")
        self.works("create", "e", "a=4K", "--hugetlb", "--sparse")
        self.assertTrue(self.describe("e")["environment"]["hugetlb"])
        self.assertEqual(self.describe("e")["environment"]["bytes"], sizes[0])

    def test_more_than_the_broker_or_the_machine_has_is_exit_status_7(self):
        self.fails(REFUSED, ".", "create", "huge", "a=1000000G")
        self.fails(NOT_FOUND, "no environment", "show", "huge")

    def test_a_taken_system_v_key_is_exit_status_5(self):
        self.works("create", "first", "a=4K,sysv", f"--shm-key={KEY + 1}")
        self.fails(BUSY, "key", "create", "second", "a=4K,sysv", f"--shm-key={KEY + 1}")

    def test_a_name_that_is_not_allowed_is_exit_status_6(self):
        self.fails(DENIED, "not allowed", "create", "a/b", "a=4K")

    def test_remove_gives_the_memory_back_and_says_how_much(self):
        self.works("create", "gone", "a=1M")
        self.assertEqual(self.works("remove", "gone"), "removed gone: 1M\n")
        self.works("create", "gone", "a=1M")
        self.assertEqual(json.loads(self.works("remove", "gone", "--json=short")), {"bytes": 1 << 20})
        self.assertEqual(self.environments(), [])

    def test_quiet_says_nothing(self):
        self.assertEqual(self.works("create", "hush", "a=4K", "-q"), "")
        self.assertEqual(self.works("remove", "hush", "--quiet"), "")


class Holding(WithBroker):
    def test_a_holder_says_so_and_stays_until_a_signal(self):
        self.works("create", "held", "a=4K", "b=4K")
        for how in (signal.SIGTERM, signal.SIGINT):
            holder = self.hold("held")
            self.assertEqual(holder.out.lines, [f"holding held: 2 regions, pid {holder.pid}"])
            self.assertEqual({row["pid"] for row in self.describe("held")["attachments"]}, {holder.pid})
            self.assertEqual(holder.end(how), DONE)
            self.assertEqual(self.describe("held")["attachments"], [])

    def test_hold_read_holds_for_reading(self):
        self.works("create", "read", "a=4K")
        self.hold("read", "--read")
        self.assertEqual({row["access"] for row in self.describe("read")["attachments"]}, {"read"})

    def test_what_is_held_is_not_removed_and_its_holder_is_named(self):
        holder = self.hold("busy", "--create", "a=4K")
        self.fails(BUSY, str(holder.pid), "remove", "busy")
        self.fails(BUSY, str(holder.pid), "remove", "busy", "--wait=0")
        self.fails(BUSY, str(holder.pid), "remove", "busy", "--wait=1ms")

    def test_hold_create_makes_what_goes_with_its_last_holder(self):
        first = self.hold("short", "--create", "a=4K")
        second = self.hold("short", "--create", "a=4K")
        self.assertEqual(self.describe("short")["environment"]["lifetime"], "attached")
        first.end()
        self.works("show", "short")
        second.end()
        self.broker.err.wait("reclaimed environment short")
        self.fails(NOT_FOUND, "no environment 'short'", "show", "short")

    def test_private_memory_is_held_by_one(self):
        self.hold("mine", "--create", "--backing=private", "a=4K")
        self.fails(BUSY, "mine", "hold", "mine")

    def test_force_removes_what_is_held_and_the_holder_keeps_it(self):
        holder = self.hold("forced", "--create", "a=4K")
        self.works("remove", "forced", "--force")
        self.fails(NOT_FOUND, "forced", "show", "forced")
        self.assertIsNone(holder.process.poll())
        self.assertEqual(holder.end(), DONE)
        self.broker.err.wait("reclaimed environment forced")

    def test_remove_with_wait_goes_on_when_the_holder_leaves(self):
        holder = self.hold("drain", "--create", "a=4K", "--lifetime=persistent")
        for duration in ("infinity", "1h"):
            remover = Process(REGIONCTL, "remove", "drain", f"--wait={duration}", env=self.environment)
            self.addCleanup(remover.end, signal.SIGKILL)
            self.wait_until_drained("drain")
            holder.end()
            self.assertEqual(remover.wait(), DONE, remover.err.lines)
            self.assertEqual(remover.out.lines, ["removed drain: 4K"])
            holder = self.hold("drain", "--create", "a=4K", "--lifetime=persistent")

    def wait_until_drained(self, name):
        """Until nobody new is let in."""
        call = "call", "Open", json.dumps({"environment": name, "waitUSec": 0})
        self.wait_until(lambda: self.ctl(*call).returncode != DONE)

    def test_a_killed_holder_leaves_nothing(self):
        holder = self.hold("killed", "--create", "a=4K", "b=4K,sysv", "c=4K,posix")
        path = self.describe("killed")["environment"]["regions"][2]["path"]
        self.assertTrue(os.path.exists(path))
        holder.end(signal.SIGKILL)
        self.broker.err.wait("reclaimed environment killed")
        self.assertFalse(os.path.exists(path))
        self.fails(NOT_FOUND, "killed", "show", "killed")

    def test_hold_does_not_claim_to_have_repaired(self):
        self.works("create", "broken", "a=4K", "--recovery")
        self.assertEqual(self.describe("broken")["environment"]["recovery"], True)
        self.hold("broken").end(signal.SIGKILL)
        self.wait_until_dirty("broken")
        self.fails(FAILED, "has to be repaired", "hold", "broken")


class Living(WithBroker):
    """What becomes of an environment: watch, explain, stat."""

    def watch(self, *words):
        process = Process(REGIONCTL, "watch", *words, env=self.environment)
        self.addCleanup(process.end, signal.SIGKILL)
        return process

    user = pwd.getpwuid(os.getuid()).pw_name

    def kill_holder(self, name, until=lambda: None):
        """It is waited for after that: until then every kernel can tell how it ended."""
        holder = self.hold(name)
        os.kill(holder.pid, signal.SIGKILL)
        until()
        holder.wait()
        return holder.pid

    def test_watch_prints_a_line_for_each_event_until_a_signal(self):
        for how in (signal.SIGINT, signal.SIGTERM):
            watch = self.watch()
            watch.out.wait(r"\Awatching all environments after event \d+\Z")
            self.works("create", "seen", "a=4K", "--recovery")
            dirty = r" dirty +seen  -  a process died while attached for writing"
            pid = self.kill_holder("seen", until=lambda: watch.out.wait(dirty))
            self.works("remove", "seen")
            watch.out.wait(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  reclaimed +seen  -  removed on request; 4K$")
            line = watch.out.wait(" died ")
            self.assertIn(f"seen  regionctl (pid {pid}, {self.user})  killed by signal 9", line)
            self.assertIn("was attached for writing to a", line)
            self.assertEqual([row.split()[2] for row in watch.out.lines[1:]],
                             ["created", "attached", "ready", "detached", "attached", "died", "dirty", "removed",
                              "reclaimed"])
            self.assertEqual((watch.end(how), watch.err.lines), (DONE, []))

    def test_watch_of_one_environment_tells_of_no_other(self):
        watch = self.watch("mine")
        watch.out.wait("^watching mine after event")
        self.works("create", "other", "a=4K")
        self.works("create", "mine", "a=4K")
        watch.out.wait("ready")
        self.assertEqual([line for line in watch.out.lines if "other" in line], [])

    def test_watch_since_begins_with_what_was(self):
        self.works("create", "earlier", "a=4K")
        watch = self.watch("earlier", "--since=0", "--no-legend")
        watch.out.wait("detached")
        self.assertRegex(watch.out.lines[0], "created +earlier ")

    def test_watch_prints_the_replies_as_json_lines(self):
        watch = self.watch("--json=short")
        first = json.loads(watch.out.wait("^{"))
        self.assertEqual(list(first), ["sequence", "instance"])
        self.works("create", "lines", "a=4K")
        watch.out.wait("detached")
        replies = [json.loads(line) for line in watch.out.lines[1:]]
        self.assertEqual([reply["event"]["kind"] for reply in replies], ["created", "attached", "ready", "detached"])
        self.assertEqual([reply["sequence"] for reply in replies],
                         list(range(first["sequence"] + 1, first["sequence"] + 5)))
        self.assertEqual(watch.end(), DONE)

    def test_watch_ends_with_its_broker(self):
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            path = os.path.join(folder, "socket")
            broker = Process(BROKER, "--user", "--runtime-directory", os.path.join(folder, "run"),
                             "--state-directory", os.path.join(folder, "state"), "--listen", path)
            self.addCleanup(broker.end, signal.SIGKILL)
            broker.err.wait("listening on")
            watch = self.watch(f"--socket={path}")
            watch.out.wait("watching")
            self.assertEqual(broker.end(), DONE)
            self.assertEqual(watch.wait(), NO_BROKER)
            self.assertRegex(watch.err.lines[0], "regionctl: ")

    def test_explain_says_why_it_is_there_who_holds_it_and_what_happened(self):
        self.works("create", "why", "a=4K", "b=4K", "--recovery")
        holder = self.hold("why")
        text = self.works("explain", "why")
        self.assertIn("Its lifetime is persistent: it stays until it is removed.\n", text)
        self.assertIn("1 process is attached to it.\n", text)
        self.assertRegex(text, rf"(?m)^ *{holder.pid} +regionctl +\S+ +write +connected .* [ab], [ab]$")
        self.assertRegex(text, r"(?m)^TIME +EVENT +WHO +WHAT$")
        self.assertRegex(text, rf"(?m)^20\S+ \S+ attached +regionctl \(pid {holder.pid}, \w+\) +-$")
        self.assertIn("1 process is attached to it.\n", self.works("explain", "why", "a"))
        self.assertEqual(list(json.loads(self.works("explain", "why", "-j"))), ["reasons", "attachments", "history"])
        holder.end(signal.SIGKILL)
        self.wait_until_dirty("why")
        self.assertIn(f"regionctl (pid {holder.pid}) died while attached for writing; the next to open it",
                      self.works("explain", "why"))

    def test_explain_knows_what_is_gone(self):
        self.works("create", "past", "a=4K")
        self.works("remove", "past")
        text = self.works("explain", "past")
        self.assertRegex(text, r"\AIt is gone: reclaimed at .* UTC, by the rule: removed on request.\n\nNobody holds it.")
        self.assertRegex(text, r"(?m)^20\S+ \S+ removed ")
        self.fails(NOT_FOUND, "never", "explain", "never")
        self.works("create", "past", "a=4K")
        self.fails(NOT_FOUND, "region 'b'", "explain", "past", "b")

    def test_stat_has_a_value_and_a_label_on_each_line(self):
        self.works("create", "numbers", "a=1048K", "b=4K,sysv", "--recovery", "--schema=text 1")
        self.kill_holder("numbers")
        self.wait_until_dirty("numbers")
        env = self.describe("numbers")["environment"]
        self.assertEqual(env["deaths"], 1)
        sections = re.split(r"(?m)^(?:=-)+=\n", self.works("stat", "numbers"))
        self.assertEqual([section.split("\n")[0] for section in sections], ["Environment:", "Region a:", "Region b:"])
        rows = [{label: value for value, label in (line.split("\t") for line in section.splitlines()[1:])}
                for section in sections]
        for label, value in (("Name", "numbers"), ("Environment ID", env["id"]), ("State", "dirty"),
                             ("Generation", "1"), ("Mode", "0600"), ("Recovery", "yes"), ("Schema", "text 1"),
                             ("Attached processes", "0"), ("Processes that died while attached", "1"),
                             ("Regions", "2"), ("Total size", "1MB 28KB")):
            self.assertEqual(rows[0][label], value)
        region = env["regions"][1]
        self.assertEqual((rows[1]["Size"], rows[1]["Region ID"]), ("1MB 24KB", env["regions"][0]["id"]))
        self.assertEqual((rows[2]["Segment key"], rows[2]["Segment ID"], rows[2]["Size"]),
                         (f"0x{region['shmKey']:08x}", str(region["shmId"]), "4KB"))

    def test_stat_names_each_process_once(self):
        self.works("create", "held", "a=4K", "b=4K")
        holders = [self.hold("held").pid for _ in range(2)]
        text = self.works("stat", "held")
        self.assertIn("2\tAttached processes\n", text)
        self.assertEqual(text.split("Processes:\n")[1],
                         "".join(f"{pid}\tregionctl, connected\n" for pid in sorted(holders)))
        self.fails(NOT_FOUND, "none", "stat", "none")
        self.assertEqual(json.loads(self.works("stat", "held", "-j"))["environment"]["name"], "held")


class Calling(WithBroker):
    def test_call_prints_the_reply(self):
        reply = json.loads(self.works("call", "GetStatistics"))
        self.assertEqual(reply["environments"], 0)
        self.assertEqual(json.loads(self.works("call", "org.regionbroker.GetStatistics", "{}"))["environments"], 0)
        self.assertIn("org.regionbroker", json.loads(self.works("call", "org.varlink.service.GetInfo"))["interfaces"])

    def test_call_prints_one_reply_to_a_line_or_pretty(self):
        for name in ("one", "two", "three"):
            self.works("create", name, "a=4K")
        lines = self.works("call", "List", "--more").splitlines()
        self.assertEqual(sorted(json.loads(line)["environment"]["name"] for line in lines), ["one", "three", "two"])
        self.assertGreater(len(self.works("call", "List", "--more", "-j").splitlines()), 60)

    def test_a_call_without_result_prints_an_empty_object(self):
        self.works("create", "empty", "a=4K")
        self.assertEqual(self.works("call", "DeleteRegion", '{"environment":"empty","region":"a"}'), "{}\n")

    def test_errors_of_calls_have_their_exit_status(self):
        self.fails(USAGE, "`more`", "call", "List")
        self.fails(FAILED, "does not know org.regionbroker.Nonsense", "call", "Nonsense")
        self.fails(FAILED, "does not know", "call", "org.example.Nonsense")
        self.fails(USAGE, "environment", "call", "Describe", "{}")
        self.fails(USAGE, "wrong", "call", "Describe", '{"environment":"a","wrong":1}')


@unittest.skipUnless(os.geteuid() == 0, "needs root to become somebody else")
class Permissions(WithBroker):
    scope = "--system"

    def nobody(self):
        folder = REGIONCTL
        while folder != "/":
            folder = os.path.dirname(folder)
            if not os.stat(folder).st_mode & 0o001:
                self.skipTest(f"another user cannot reach what is built below {folder}")
        return {"user": 65534, "group": 65534, "extra_groups": []}

    def test_what_the_mode_does_not_allow_is_exit_status_6(self):
        self.works("create", "secret", "a=4K", "--mode=0600")
        self.works("create", "shown", "a=4K", "--mode=0604")
        self.fails(NOT_FOUND, "secret", "hold", "secret", "--read", **self.nobody())
        self.fails(DENIED, "secret", "create", "secret", "a=4K", **self.nobody())
        self.fails(DENIED, "shown", "hold", "shown", **self.nobody())
        self.fails(DENIED, "shown", "remove", "shown", **self.nobody())
        self.assertIn("shown", self.works("list", **self.nobody()))
        self.assertNotIn("secret", self.works("list", **self.nobody()))


if __name__ == "__main__":
    for program in (REGIONCTL, BROKER):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is not built; BUILD names the build directory")
    unittest.main()
