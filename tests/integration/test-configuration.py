#!/usr/bin/env python3
"""What the configuration files do to a running broker: every kind of rule, every kind of wrong line, reading them anew.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-configuration.py [-v] [Class.test]

Each test has a fresh directory. Nothing here sleeps: what has to happen is waited for.
"""

import json
import os
import sys
import unittest

sys.dont_write_bytecode = True
from configured import ALICE, BOB, BROKER, CLUB, NAME_NOT_ALLOWED, QUOTA_EXCEEDED, Configuration, environment_of


class Files(Configuration):
    def test_the_standard_files_are_read_in_their_order_and_the_command_line_counts_more(self):
        config = self.path("config/region-broker")
        self.environment["XDG_CONFIG_HOME"] = self.path("config")
        main = f"{config}/region-broker.conf"
        self.write(main, "[limits]", "sessions=11", "watchesPerUser=11", "regionBytes=1G", "outputBytes=8K")
        self.write(f"{config}/region-broker.conf.d/20-b.conf", "[limits]", "sessions=22", "watchesPerUser=22")
        self.write(f"{config}/region-broker.conf.d/10-a.conf", "[limits]", "sessions=33", "stallUSec=2min")
        for name in "30-c.conf~", ".hidden.conf", "README":
            self.write(f"{config}/region-broker.conf.d/{name}", "[limits]", "sessions=44")
        with self.running("--user", "--limit", "watchesPerUser=55", standard=True):
            settings = self.peer().settings()
            limits = self.peer().limits()
        self.assertEqual(settings["limits.sessions"], ("22", f"{config}/region-broker.conf.d/20-b.conf:2"))
        self.assertEqual(settings["limits.stallUSec"], ("2min", f"{config}/region-broker.conf.d/10-a.conf:3"))
        self.assertEqual(settings["limits.watchesPerUser"], ("55", "command line"))
        self.assertEqual(settings["limits.regionBytes"], ("1G", f"{main}:4"))
        self.assertEqual(settings["limits.sessionsPerUser"], ("8000", "default"))
        self.assertEqual(settings["daemon.runtimeDirectory"], (self.path("run"), "command line"))
        self.assertEqual([limits[name] for name in ("sessions", "watchesPerUser", "regionBytes", "outputBytes")],
                         [22, 55, 1 << 30, 8192])
        self.assertEqual(limits["stallUSec"], 120 * 10**6)

    def test_a_user_has_them_in_the_home_too(self):
        self.environment["HOME"] = self.folder
        self.write(self.path(".config/region-broker/region-broker.conf"), "[limits]", "sessions=11")
        with self.running("--user", standard=True):
            self.assertEqual(self.peer().limits()["sessions"], 11)

    def test_none_are_read_where_that_is_asked_for(self):
        self.environment["XDG_CONFIG_HOME"] = self.path("config")
        self.write(self.path("config/region-broker/region-broker.conf"), "[limits]", "sessions=11", "wrong")
        with self.running("--user", "--no-config", standard=True) as broker:
            self.assertEqual(self.peer().limits()["sessions"], 9000)
        self.assertNotIn("wrong", broker.said)

    def test_others_can_be_named_and_the_last_counts(self):
        self.configure("[limits]", "sessions=11", "regionBytes=4K")
        self.write(self.path("more.conf"), "[limits]", "sessions=22")
        with self.running("--config", self.path("more.conf")):
            limits = self.peer().limits()
        self.assertEqual((limits["sessions"], limits["regionBytes"]), (22, 4096))

    def test_a_file_that_cannot_be_believed_is_passed_over_and_named(self):
        self.configure("[limits]", "sessions=11")
        self.write(self.path("open.conf"), "[limits]", "sessions=22", mode=0o666)
        self.write(self.path("group.conf"), "[limits]", "sessions=22", mode=0o664)
        self.write(self.path("large.conf"), "[limits]", "sessions=22", "#" * (256 * 1024))
        with open(self.path("nul.conf"), "wb") as file:
            file.write(b"[limits]\nsessions=22\n\0\n")
        os.mkfifo(self.path("fifo.conf"))
        os.mkdir(self.path("directory.conf"))
        why = {"open": "writable by nobody else", "group": "writable by nobody else", "large": "larger than 256 KiB",
               "nul": "no plain file of text", "fifo": "no plain file of text", "directory": "no plain file of text",
               "absent": "No such file or directory"}
        options = [word for name in why for word in ("--config", self.path(f"{name}.conf"))]
        with self.running(*options) as broker:
            self.assertEqual(self.peer().limits()["sessions"], 11)
        for name, reason in why.items():
            self.assertRegex(broker.said, f"{self.path(name)}.conf: not read: .*{reason}")

    def test_a_file_of_another_user_is_passed_over(self):
        self.as_root()
        self.configure("[limits]", "sessions=11")
        os.chown(self.file, ALICE, ALICE)
        result = self.check("--config", self.file)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"broker.conf: not read: it has to belong to root or to the broker's user")

    def test_the_largest_file_is_read(self):
        lines = ["[limits]", "sessions=11"]
        size = sum(len(line) + 1 for line in lines)
        self.configure(*lines, *["#" + "x" * 62] * ((256 * 1024 - size) // 64))
        self.assertEqual(self.check("--config", self.file).stdout, "1 file read, nothing is wrong\n")

    def test_a_drop_in_can_be_masked(self):
        config = self.path("config/region-broker")
        self.environment["XDG_CONFIG_HOME"] = self.path("config")
        self.write(f"{config}/region-broker.conf", "[limits]", "sessions=11")
        os.mkdir(f"{config}/region-broker.conf.d")
        os.symlink("/dev/null", f"{config}/region-broker.conf.d/10-a.conf")
        self.assertEqual(self.check("--user").stdout, "2 files read, nothing is wrong\n")


# line -> what is said of it
WRONG = {
    "[limits]\nsheep=3": "sheep=3 in [limits]: there is no limit of that name",
    "[limits]\nsessions=many": "sessions=many in [limits]: a whole number from 1 to 100000 is expected",
    "[limits]\nsessions=": "sessions= in [limits]: a whole number from 1 to 100000 is expected",
    "[limits]\nsessions=-1": "sessions=-1 in [limits]: a whole number from 1 to 100000 is expected",
    "[limits]\nsessions=0": "the value is out of range; a whole number from 1 to 100000 is expected",
    "[limits]\nsessions=4K": "a whole number from 1 to 100000 is expected",
    "[limits]\nregionBytes=1K": "out of range; a whole number of bytes, with K, M, G or T where that helps, from 4K to 64T",
    "[limits]\nregionBytes=1X": "a whole number of bytes",
    "[limits]\nstallUSec=1 fortnight": "a whole number of microseconds, or one with us, ms, s, min, h or d",
    "[memory]\nbudget=all": "a whole number of bytes",
    "[memory]\nsize=4K": "there is no such key; expected budget",
    "[user root]\nsessions=3": "this limit is not one of each user; it belongs in [limits]",
    "[user root]\nsheep=3": "there is no limit of that name",
    "[user root]\nbytesPerUser=3": "the value is out of range",
    "[user no-such-user]\nbytesPerUser=4K": "there is no user of that name",
    "[user 4294967295]\nbytesPerUser=4K": "there is no user of that name",
    "[user]\nbytesPerUser=4K": "[user ...] is expected, with a user's name or number",
    "[group no-such-group]\nbytesPerUser=4K": "there is no group of that name",
    "[names]\nowner=root": "[names ...] is expected, with how they begin",
    "[names a/b]\nowner=root": "no name can begin so: it has a slash inside",
    "[names db-]\nowner=no-such-user": "there is no user of that name; until there is, these names are not for them",
    "[names db-]\nuser=root": "there is no such key; expected owner or group",
    "[names %s]\nowner=root" % ("x" * 60): "the name of its section is too long",
    "[homes]\nallow=here": "absolute directories are expected",
    "[homes]\nallow=/a::/b": "absolute directories are expected",
    "[homes]\ndeny=/a": "there is no such key; expected allow",
    "[homes all]\nallow=/a": "[homes] is expected, with nothing behind the word",
    "[defaults]\nbacking=private": "memfd, sysv, posix or file is expected",
    "[defaults]\nmode=888": "octal permission bits",
    "[defaults]\nsize=4K": "there is no such key; expected backing or mode",
    "[log]\nlevel=loud": "error, warning, notice, info or debug is expected",
    "[log]\ncolour=red": "there is no such key; expected level",
    "[sheep]\nsessions=3": "there is no such section; expected [limits]",
    "\nsessions=3": "it stands in no section",
    "[limits]\nsessions": "neither a [section] nor KEY=VALUE",
    "[limits]\n[user root": "neither a [section] nor KEY=VALUE",
    "[limits]\n=3": "there is no limit of that name",
    "[limits]\nsessions=%s" % ("1" * 300): "the line is too long",
}


class WrongLines(Configuration):
    def test_each_is_named_with_file_and_line_and_what_is_expected(self):
        for text, complaint in WRONG.items():
            self.configure(*text.split("\n"))
            result = self.check("--config", self.file)
            self.assertEqual((result.returncode, result.stderr), (1, ""), text)
            self.assertTrue(result.stdout.startswith(f"{self.file}:2: "), f"{text}: {result.stdout}")
            self.assertIn(complaint, result.stdout)
            self.assertEqual(result.stdout.count("\n"), 1, result.stdout)

    def test_they_are_skipped_and_all_others_count(self):
        lines = ["[limits]", "sessions=11"]
        for text in WRONG:
            lines += text.split("\n") if text[0] == "[" else ["[sheep]", text.split("\n")[1]]
        self.configure(*lines, "[limits]", "watchesPerUser=22", "[log]", "level=notice")
        with self.running() as broker:
            limits = self.peer().limits()
        self.assertEqual((limits["sessions"], limits["watchesPerUser"]), (11, 22))
        self.assertEqual(broker.said.count("broker.conf:"), len(WRONG), broker.said)

    def test_a_file_full_of_them_is_given_up(self):
        self.configure("[limits]", "sessions=11", *["nonsense"] * 5000)
        result = self.check("--config", self.file)
        self.assertEqual(result.returncode, 1)
        self.assertIn(":103: too many lines are wrong; the file is not used", result.stdout)
        self.assertEqual(result.stdout.count("\n"), 101)

    def test_comments_blank_lines_and_a_last_line_without_an_end_are_fine(self):
        self.configure("; a comment", "# another, " + "long " * 100, "", "[limits] ; here too", "  ", "sessions = 11 ; eleven")
        with open(self.file, "a", encoding="utf-8") as file:
            file.write("watchesPerUser\t=\t22")
        self.assertEqual(self.check("--config", self.file).stdout, "1 file read, nothing is wrong\n")
        with self.running():
            limits = self.peer().limits()
        self.assertEqual((limits["sessions"], limits["watchesPerUser"]), (11, 22))

    def test_more_settings_than_a_message_holds_count_all_the_same(self):
        lines = [line for uid in range(100000, 103500) for line in (f"[user {uid}]", "bytesPerUser=4K")]
        self.configure(*lines, "[limits]", "sessions=11")
        with self.running() as broker:
            peer = self.peer()
            self.assertEqual(peer.limits()["sessions"], 11)
            self.assertGreater(len(peer.settings()), 1000)
        self.assertIn("there are too many settings to tell of this one; it counts all the same", broker.said)


class Rules(Configuration):
    def refused(self, answer, error, **facts):
        self.assertEqual(answer[0], error, answer)
        self.assertEqual({name: answer[1][name] for name in facts}, facts)

    def test_a_budget_bounds_memory_of_all_backings_and_no_files(self):
        self.configure("[memory]", "budget=64K")
        with self.running():
            peer, other = self.peer(), self.peer()
            self.assertIsNone(peer.open("a", 16384, backing="memfd")[0])
            self.assertIsNone(peer.open("b", 16384, backing="sysv")[0])
            self.assertIsNone(peer.open("c", 16384, backing="posix")[0])
            self.refused(other.open("d", 16385), QUOTA_EXCEEDED, limit="memoryBytes", used=49152, wanted=20480,
                         maximum=65536)
            self.assertIsNone(other.open("d", 1 << 20, backing="private")[0])
            grown = peer.ask("AddRegion", environment="a", region={"name": "more", "size": 16385})
            self.refused((grown["error"], grown["parameters"]), QUOTA_EXCEEDED, limit="memoryBytes")
            self.assertIsNone(other.open("e", 16384)[0])
            self.refused(other.open("f", 1), QUOTA_EXCEEDED, used=65536)
            self.assertIsNone(other.open("f")[0], "without regions it takes none")
            self.assertNotIn("error", peer.ask("Remove", environment="a", force=True))
            peer.ask("Detach", environment="b")  # and with it the segment
            self.assertIsNone(other.open("g", 16384)[0])

    def test_one_user_and_one_group_have_limits_of_their_own(self):
        self.as_root()
        self.configure("[limits]", "bytesPerUser=64K", "watchesPerUser=9", f"[user {ALICE}]", "bytesPerUser=128K",
                       f"[group {CLUB}]", "bytesPerUser=32K", "environmentsPerUser=2")
        with self.running("--system"):
            alice = self.peer(ALICE, ALICE, groups=[CLUB])
            bob = self.peer(BOB, BOB)
            self.refused(bob.open("b", 65537), QUOTA_EXCEEDED, limit="bytesPerUser", maximum=65536)
            self.assertIsNone(bob.open("b", 65536)[0])
            self.assertIsNone(alice.open("a", 131072)[0], "what is said of the user counts more than what is of the group")
            self.refused(alice.open("a2", 1), QUOTA_EXCEEDED, limit="bytesPerUser", used=131072, maximum=131072)
            self.assertIsNone(alice.open("a3")[0])
            self.refused(alice.open("a4"), QUOTA_EXCEEDED, limit="environmentsPerUser", maximum=2)
            self.assertIsNone(bob.open("b2")[0])
            self.assertIsNone(bob.open("b3")[0])
            member = self.peer(BOB + 1, CLUB)
            self.refused(member.open("c", 32769), QUOTA_EXCEEDED, limit="bytesPerUser", maximum=32768)
            settings = bob.settings()
            self.assertEqual(settings[f"user.{ALICE}.bytesPerUser"], ("128K", f"{self.file}:5"))
            self.assertEqual(settings[f"group.{CLUB}.environmentsPerUser"], ("2", f"{self.file}:8"))

    def test_sessions_of_one_user(self):
        self.as_root()
        self.configure("[limits]", "sessionsPerUser=1", f"[user {ALICE}]", "sessionsPerUser=2")
        with self.running("--system"):
            for _ in range(2):
                self.peer(ALICE, ALICE).limits()
            self.peer(BOB, BOB).limits()
            for uid, most in (ALICE, 2), (BOB, 1):
                answer = self.peer(uid, uid).ask("GetStatistics")
                self.refused((answer["error"], answer["parameters"]), QUOTA_EXCEEDED, limit="sessionsPerUser", maximum=most)

    def test_reserved_names_are_for_their_user_their_group_and_root(self):
        self.as_root()
        self.configure(f"[names db-]", f"owner={ALICE}", f"group={CLUB}", "[names db-root-]", "owner=0",
                       "[names odd-]", "owner=no-such-user")
        with self.running("--system"):
            root = self.peer()
            alice = self.peer(ALICE, ALICE)
            member = self.peer(BOB + 1, BOB + 1, groups=[CLUB])
            bob = self.peer(BOB, BOB)
            for peer, name in (root, "db-1"), (alice, "db-2"), (member, "db-3"), (bob, "db"), (bob, "Db-4"), \
                    (root, "db-root-1"), (root, "odd-1"):
                self.assertIsNone(peer.open(name, 1)[0], name)
            reason = f"names that begin with 'db-' are reserved for user {ALICE} and group {CLUB}"
            self.refused(bob.open("db-5", 1), NAME_NOT_ALLOWED, name="db-5", reason=reason)
            self.refused(alice.open("db-root-2", 1), NAME_NOT_ALLOWED,
                         reason="names that begin with 'db-root-' are reserved for user 0")
            self.refused(alice.open("odd-2", 1), NAME_NOT_ALLOWED,
                         reason="names that begin with 'odd-' are reserved for root")
            self.assertIsNone(alice.open("db-6", 1, mode=0o666)[0])
            alice.ask("Ready", environment="db-6")
            self.assertNotIn("error", bob.ask("Open", environment="db-6"), "it is about who makes it")
            self.refused(bob.open("db-6", 1), "org.regionbroker.EnvironmentExists")

    def test_homes_are_where_they_are_allowed(self):
        for name in "good/a/b", "good2", "bad":
            os.makedirs(self.path(name))
        os.symlink(self.path("bad"), self.path("good/link"))
        self.configure("[homes]", f"allow={self.path('go?d')}/*:{self.path('nowhere')}", f"allow={self.path('good2')}")
        with self.running():
            peer = self.peer()
            for name in "good/a", "good/a/b", "good2":
                self.assertIsNone(peer.open(name.replace("/", "-"), 1, home=self.path(name))[0], name)
            for name in "bad", "good/link", "good":
                self.refused(peer.open("e", 1, home=self.path(name)), NAME_NOT_ALLOWED, name=self.path(name))
                self.refused(peer.open("e", 1, regionDirectory=self.path(name), backing="file"), NAME_NOT_ALLOWED)
            self.refused(peer.open(self.path("bad"), 1), NAME_NOT_ALLOWED, name=self.path("bad"))
            self.assertIsNone(peer.open("e", 1, backing="file")[0], "without a home it is the broker's own place")
            peer.ask("Remove", environment="e", force=True)

    def test_a_list_of_homes_of_which_nothing_is_right_allows_none(self):
        self.configure("[homes]", "allow=relative")
        os.mkdir(self.path("home"))
        with self.running():
            self.refused(self.peer().open("e", 1, home=self.path("home")), NAME_NOT_ALLOWED)
        self.configure("[homes]", "allow=/nowhere", "allow=")
        with self.running():
            self.assertIsNone(self.peer().open("e", 1, home=self.path("home"))[0])

    def test_defaults_are_for_what_was_not_asked_for(self):
        self.configure("[defaults]", "backing=posix", "mode=640")
        with self.running():
            peer = self.peer()
            made = peer.open("a", 1)[1]["environment"]
            self.assertEqual((made["backing"], made["regions"][0]["backing"], made["mode"]), ("posix", "posix", 0o640))
            made = peer.open("b", 1, backing="memfd", mode=0o600)[1]["environment"]
            self.assertEqual((made["backing"], made["mode"]), ("memfd", 0o600))

    def test_a_level_of_the_log(self):
        self.configure("[log]", "level=notice")
        with self.running() as broker:
            self.peer().open("a", 1)
        self.assertNotIn("created environment", broker.said)
        with self.running("--log-level", "info") as broker:
            self.peer().open("a", 1)
        self.assertIn("created environment", broker.said)


class Reload(Configuration):
    def test_all_that_can_change_does(self):
        self.configure("[limits]", "sessions=11", "[log]", "level=notice")
        os.mkdir(self.path("home"))
        with self.running() as broker:
            peer = self.peer()
            self.assertIsNone(peer.open("a", 1, home=self.path("home"))[0])
            self.assertNotIn("error", peer.ask("Remove", environment="a", force=True))
            self.configure("[limits]", "sessions=22", "regionsPerEnvironment=1", "[homes]", "allow=/nowhere",
                           "[defaults]", "backing=posix", "[log]", "level=info")
            self.reload(broker)
            self.assertEqual(peer.limits()["sessions"], 22)
            self.assertEqual(peer.settings()["limits.sessions"], ("22", f"{self.file}:2"))
            self.assertEqual(peer.open("a", 1, 1)[0], QUOTA_EXCEEDED)
            self.assertEqual(peer.open("a", 1, home=self.path("home"))[0], NAME_NOT_ALLOWED)
            self.assertEqual(peer.open("a", 1)[1]["environment"]["backing"], "posix")
            self.wait_for_line(broker, "created environment a")
            self.configure()
            self.reload(broker)
            self.assertEqual(peer.limits()["sessions"], 9000)
            self.assertEqual(peer.settings()["homes.allow"], ("", "default"))

    def test_lower_limits_take_nothing_away(self):
        self.configure()
        with self.running() as broker:
            peer, other = self.peer(), self.peer()
            self.assertIsNone(peer.open("a", 65536, 65536)[0])
            self.assertIsNone(peer.open("b", 1)[0])
            other.limits()
            self.configure("[limits]", "sessions=1", "sessionsPerUser=1", "environmentsPerUser=1", "regionsPerUser=1",
                           "regionsPerEnvironment=1", "bytesPerUser=4K", "regionBytes=4K", "[memory]", "budget=4K")
            self.reload(broker)
            self.assertEqual(other.ask("Describe", environment="a")["parameters"]["environment"]["bytes"], 131072)
            self.assertNotIn("error", peer.ask("Ready", environment="a"))
            self.assertNotIn("error", other.ask("Open", environment="a"), "joining takes nothing new")
            self.assertEqual(peer.open("c", 1)[0], QUOTA_EXCEEDED)
            self.assertEqual(self.peer().ask("GetStatistics")["error"], QUOTA_EXCEEDED)
            statistics = other.ask("GetStatistics")["parameters"]
            self.assertEqual((statistics["environments"], statistics["sessions"]), (2, 2))

    def test_limits_of_users_and_names_who_are_there_already(self):
        self.as_root()
        self.configure()
        with self.running("--system") as broker:
            alice = self.peer(ALICE, ALICE, groups=[CLUB])
            bob = self.peer(BOB, BOB)
            self.assertIsNone(alice.open("db-a", 8192)[0])
            self.assertIsNone(bob.open("b", 8192)[0])
            self.configure(f"[group {CLUB}]", "bytesPerUser=12K", f"[user {BOB}]", "bytesPerUser=16K", "[names db-]",
                           f"owner={BOB}")
            self.reload(broker)
            for peer, most in (alice, 12288), (bob, 16384):
                error, facts = peer.open("more", 8193)
                self.assertEqual((error, facts["limit"], facts["maximum"]), (QUOTA_EXCEEDED, "bytesPerUser", most))
            self.assertEqual(alice.open("db-b", 1)[0], NAME_NOT_ALLOWED)
            self.assertNotIn("error", alice.ask("Describe", environment="db-a"))
            self.configure()
            self.reload(broker)
            self.assertIsNone(alice.open("db-b", 65536)[0])

    def test_what_cannot_change_says_so(self):
        self.configure("[limits]", "historyEvents=10", "sessions=11")
        with self.running() as broker:
            self.configure("[limits]", "historyEvents=20", "sessions=22")
            said = self.reload(broker)
            self.assertIn("historyEvents stays 10 until the broker is started anew; 20 comes then", said)
            limits = self.peer().limits()
            self.assertEqual((limits["historyEvents"], limits["sessions"]), (10, 22))
            self.assertEqual(self.peer().settings()["limits.historyEvents"], ("10", f"{self.file}:2"))

    def test_wrong_lines_are_named_and_the_rest_counts(self):
        self.configure("[limits]", "sessions=11")
        with self.running() as broker:
            self.configure("[limits]", "sessions=22", "watchesPerUser=none")
            self.assertIn(f"{self.file}:3: watchesPerUser=none in [limits]: a whole number", self.reload(broker))
            self.assertEqual(self.peer().limits()["sessions"], 22)

    def test_a_file_that_cannot_be_read_leaves_all_as_it_was(self):
        self.configure("[limits]", "sessions=11")
        with self.running() as broker:
            os.rename(self.file, self.path("elsewhere"))
            said = self.reload(broker, "the configuration stays as it was")
            self.assertIn(f"{self.file}: not read: No such file or directory", said)
            peer = self.peer()
            self.assertEqual(peer.limits()["sessions"], 11)
            self.assertEqual(peer.settings()["limits.sessions"], ("11", f"{self.file}:2"))
            self.configure("[limits]", "sessions=22")
            os.chmod(self.file, 0o666)
            self.reload(broker, "the configuration stays as it was")
            self.assertEqual(peer.limits()["sessions"], 11)

    def test_the_command_line_still_counts_more(self):
        self.configure()
        with self.running("--limit", "sessions=11", "--log-level", "notice") as broker:
            self.configure("[limits]", "sessions=22", "[log]", "level=debug")
            self.reload(broker)
            self.assertEqual(self.peer().settings()["limits.sessions"], ("11", "command line"))
            self.assertEqual(self.peer().settings()["log.level"], ("notice", "command line"))

    def test_again_and_again_with_sessions_and_calls_that_wait(self):
        self.configure("[names db-]", "owner=0")
        with self.running() as broker:
            first, second = self.peer(), self.peer()
            self.assertIsNone(first.open("a", 1)[0])
            second.process.stdin.write(json.dumps({"method": "org.regionbroker.Open",
                                                   "parameters": {"environment": "a"}}) + "\n")
            second.process.stdin.flush()
            for i in range(20):
                self.configure("[names db-]", "owner=0", "[limits]", f"sessions={100 + i}")
                self.reload(broker)
            first.ask("Ready", environment="a")
            self.assertNotIn("error", json.loads(second.process.stdout.readline()))
            self.assertEqual(first.limits()["sessions"], 119)


class Tool(Configuration):
    def test_config_shows_all_settings_and_where_they_are_from(self):
        self.configure("[limits]", "sessions=11", "[homes]", "allow=/srv/*:/home")
        with self.running("--limit", "stallUSec=2s"):
            result = self.regionctl("config")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
            self.assertEqual(rows["SETTING"], ["VALUE", "SOURCE"])
            self.assertEqual(rows["limits.sessions"], ["11", f"{self.file}:2"])
            self.assertEqual(rows["limits.stallUSec"], ["2s", "command", "line"])
            self.assertEqual(rows["limits.bytesPerUser"], ["4T", "default"])
            self.assertEqual(rows["homes.allow"], ["/srv/*:/home", f"{self.file}:4"])
            settings = json.loads(self.regionctl("--json=short", "config").stdout)["settings"]
            self.assertEqual({setting["name"] for setting in settings} | {"SETTING"}, set(rows))
            self.assertEqual(self.regionctl("config", "sheep").returncode, 2)

    def test_an_empty_value_is_a_dash(self):
        self.configure()
        with self.running():
            self.assertRegex(self.regionctl("config").stdout, r"(?m)^homes.allow +- +default$")


if __name__ == "__main__":
    if not os.access(BROKER, os.X_OK):
        sys.exit(f"{BROKER} is not built; REGION_BROKER names the broker")
    unittest.main()
