#!/usr/bin/env python3
"""Declared environments: made at the start or when they are used, for their owners, and never changed behind anybody's back.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-declared.py [-v] [Class.test]
"""

import json
import os
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
from configured import ALICE, BOB, BROKER, CLUB, NAME_NOT_ALLOWED, PATIENCE, QUOTA_EXCEEDED, Configuration

NOT_FOUND = "org.regionbroker.EnvironmentNotFound"
EXISTS = "org.regionbroker.EnvironmentExists"
DENIED = "org.varlink.service.PermissionDenied"
DATA = ("[region data]", "size=8K")


class Declared(Configuration):
    """A broker that finds its declared environments in a directory of the test."""

    def setUp(self):
        super().setUp()
        self.declared = self.path("environments")
        os.mkdir(self.declared)
        self.configure()

    def declare(self, name, *lines):
        self.write(f"{self.declared}/{name}.conf", *lines)

    def running(self, *options, **more):
        return super().running("--environments", self.declared, *options, **more)

    def find(self, name, peer=None):
        """What Describe tells; None where there is none."""
        reply = (peer or self.peer()).ask("Describe", environment=name)
        if "error" in reply:
            self.assertEqual(reply["error"], NOT_FOUND)
            return None
        return reply["parameters"]["environment"]

    def opens(self, peer, name, **more):
        """The role that an Open gives, or the name of the error."""
        reply = peer.ask("Open", environment=name, **more)
        return reply.get("error") or reply["parameters"]["role"]


class Making(Declared):
    def test_it_is_there_from_the_start_with_all_that_was_said(self):
        home = self.path("home")
        os.mkdir(home)
        self.declare("db", "[environment]", f"owner={os.geteuid()}", f"group={os.getegid()}", "mode=0640", "backing=sysv",
                     f"home={home}", "shm-key=0x7b2d0010", "lifetime=attached", "linger=2min", "recovery=yes",
                     "schema=db 5", "lock=yes", "huge-pages=yes", "[region locks]", "size=4K", "type=lock",
                     "[region cache]", "size=5000", "type=mpool", "backing=file")
        with self.running() as broker:
            found = self.find("db")
            self.assertEqual(self.find(home)["id"], found["id"])
        self.assertIn(f"created environment db: 2 regions, 12288 bytes, for uid {os.geteuid()}, as declared in "
                      f"{self.declared}/db.conf", broker.said)
        self.assertLess(broker.said.index("created environment db"), broker.said.index("listening on"))
        wanted = {"state": "ready", "generation": 1, "uid": os.geteuid(), "gid": os.getegid(), "mode": 0o640,
                  "backing": "sysv", "home": home, "lifetime": "attached", "lingerUSec": 120 * 10**6, "recovery": True,
                  "schema": "db 5", "lock": True, "hugePages": True, "reserve": False, "attachments": 0}
        self.assertEqual({key: found[key] for key in wanted}, wanted)
        regions = [(r["name"], r["type"], r["size"], r["backing"]) for r in found["regions"]]
        self.assertEqual(regions, [("locks", "lock", 4096, "sysv"), ("cache", "mpool", 8192, "file")])
        self.assertEqual(found["regions"][0]["shmKey"], 0x7b2d0010)
        self.assertEqual(found["regions"][1]["path"], f"{home}/__db.002")

    def test_without_more_than_a_region_it_is_ready_and_stays(self):
        self.declare("plain", *DATA)
        with self.running():
            peer = self.peer()
            self.assertEqual(self.opens(peer, "plain"), "member")
            peer.ask("Detach", environment="plain")
            found = self.find("plain", peer)
        self.assertEqual((found["lifetime"], found["mode"], found["backing"]), ("persistent", 0o600, "memfd"))

    def test_defaults_are_those_of_the_configuration(self):
        self.configure("[defaults]", "mode=0660", "backing=posix")
        self.declare("plain", *DATA)
        with self.running():
            found = self.find("plain")
        self.assertEqual((found["mode"], found["backing"]), (0o660, "posix"))

    def test_the_first_use_makes_it_even_by_one_who_would_not(self):
        home = self.path("home")
        os.mkdir(home)
        self.declare("lazy", "[environment]", "create=first-use", *DATA)
        self.declare("placed", "[environment]", "create=first-use", f"home={home}", *DATA)
        with self.running():
            peer = self.peer()
            self.assertIsNone(self.find("lazy", peer))
            self.assertEqual(self.opens(peer, "lazy", create="never"), "member")
            self.assertEqual(self.find("lazy", peer)["regions"][0]["size"], 8192)
            self.assertEqual(self.opens(peer, f"{home}/../home"), "member")
            self.assertEqual(self.find("placed", peer)["home"], home)

    def test_its_definition_is_the_declared_one_and_nobody_makes_another_of_its_name(self):
        self.declare("lazy", "[environment]", "create=first-use", "schema=5", *DATA)
        other = {"schema": "5", "mode": 0o666, "regions": [{"name": "data", "size": 4096}]}
        with self.running():
            peer = self.peer()
            self.assertEqual(self.opens(peer, "lazy", create="always", definition=other), EXISTS)
            self.assertIsNone(self.find("lazy", peer))
            reply = peer.ask("Open", environment="lazy", create="ifAbsent", definition=other)["parameters"]
            self.assertEqual([d["field"] for d in reply["differences"]], ["mode", "regions.data"])
            self.assertEqual(self.opens(peer, "lazy", create="always", definition=other), EXISTS)

    def test_the_first_opener_fills_it_where_that_is_said(self):
        self.declare("filled", "[environment]", "content=opener", *DATA)
        with self.running() as broker:
            reader, writer, next_writer = self.peer(), self.peer(), self.peer()
            self.assertEqual(self.find("filled", reader)["state"], "initializing")
            self.assertIn("It is declared", reader.ask("Explain", environment="filled")["parameters"]["reasons"][0])
            self.assertEqual(self.opens(reader, "filled", access="read", waitUSec=0), "org.regionbroker.NotReady")
            self.assertEqual(self.opens(writer, "filled"), "initializer")
            self.assertEqual(self.opens(next_writer, "filled", waitUSec=0), "org.regionbroker.NotReady")
            writer.process.kill()  # before it is ready: the next one begins anew
            self.wait_for_line(broker, "its initializer left before it was ready")
            self.assertEqual(self.opens(next_writer, "filled"), "initializer")
            self.assertEqual(next_writer.ask("Ready", environment="filled")["parameters"]["generation"], 1)
            self.assertEqual(self.opens(reader, "filled", access="read"), "member")

    def test_who_removes_it_has_it_made_anew_by_the_next(self):
        self.declare("e", *DATA)
        with self.running() as broker:
            peer = self.peer()
            first = self.find("e", peer)["id"]
            self.assertEqual(peer.ask("Remove", environment="e"), {"parameters": {"bytes": 8192}})
            self.assertIsNone(self.find("e", peer))
            self.assertEqual(self.opens(peer, "e"), "member")
            self.assertNotEqual(self.find("e", peer)["id"], first)
            peer.ask("Detach", environment="e")
            peer.ask("Remove", environment="e")
            self.reload(broker)
            self.assertIsNotNone(self.find("e", peer))

    def test_one_that_goes_with_its_last_holder_comes_back_with_the_next(self):
        self.declare("e", "[environment]", "lifetime=attached", *DATA)
        with self.running() as broker:
            peer = self.peer()
            self.assertEqual(self.opens(peer, "e"), "member")
            peer.ask("Detach", environment="e")
            self.wait_for_line(broker, "reclaimed environment e")
            self.assertEqual(self.opens(peer, "e"), "member")


class Rights(Declared):
    def setUp(self):
        self.as_root()
        super().setUp()

    def test_owner_group_and_mode_decide_and_the_owner_pays(self):
        self.declare("e", "[environment]", f"owner={ALICE}", f"group={CLUB}", "mode=0640", "create=first-use", *DATA)
        self.configure(f"[user {ALICE}]", "bytesPerUser=8K")
        with self.running():
            alice, bob = self.peer(ALICE, ALICE), self.peer(BOB, BOB)
            member = self.peer(BOB, BOB, groups=[CLUB])
            self.assertEqual(self.opens(bob, "e"), NOT_FOUND)
            self.assertEqual(self.opens(bob, "e", create="ifAbsent", definition={"regions": []}), DENIED)
            self.assertEqual(self.opens(member, "e"), DENIED)  # for writing
            self.assertIsNone(self.find("e"))  # for none of them was it made
            self.assertEqual(self.opens(member, "e", access="read"), "member")
            self.assertEqual(self.opens(bob, "e"), NOT_FOUND)
            self.assertEqual(self.opens(alice, "e"), "member")
            self.assertEqual(alice.open("more", 4096)[0], QUOTA_EXCEEDED)
            self.assertIsNone(member.open("more", 4096)[0])

    def test_what_a_caller_may_not_see_the_configuration_does_not_tell(self):
        self.declare("hidden", "[environment]", f"owner={ALICE}", f"group={CLUB}", "mode=0640", *DATA)
        with self.running():
            for user, groups, sees in ((ALICE, [], True), (BOB, [CLUB], True), (BOB, [], False), (0, [], True)):
                settings = self.peer(user, user, groups=groups).settings()
                self.assertEqual("environment.hidden.mode" in settings, sees)
                self.assertEqual(any("hidden" in name for name in settings), sees)

    def test_limits_and_reserved_names_hold_and_are_named(self):
        self.configure(f"[user {ALICE}]", "bytesPerUser=8K", "[names db-]", f"owner={BOB}", "[homes]", "allow=/srv/none")
        owner = ("[environment]", f"owner={ALICE}", f"group={ALICE}")
        home = self.path("home")
        os.mkdir(home)
        os.chown(home, ALICE, ALICE)
        self.declare("large", *owner, "[region data]", "size=16K")
        self.declare("db-a", *owner, "[region data]", "size=4K")
        self.declare("homeless", *owner, f"home={home}", "[region data]", "size=4K")
        self.declare("fine", *owner, "[region data]", "size=4K")
        self.declare("linger", *owner, "lifetime=attached", "linger=2s", "[region data]", "size=4K")
        self.declare("keys", *owner, "backing=sysv", "shm-key=0x7fffffff", *DATA[:1], "size=4K", "[region b]", "size=4K")
        with self.running("--limit", "lingerUSec=1s") as broker:
            peer = self.peer()
            self.assertEqual(self.opens(peer, "large"), QUOTA_EXCEEDED)
            reply = peer.ask("Open", environment="db-a")
            self.assertEqual(reply["error"], NAME_NOT_ALLOWED)
            self.assertEqual(reply["parameters"]["name"], "db-a")
            self.assertEqual(self.opens(peer, "homeless"), NAME_NOT_ALLOWED)
            self.assertIsNotNone(self.find("fine", peer))
        for name, why in (("keys", "its System V keys go past the last there is"),
                          ("linger", "its owner's limit lingerUSec is 1000000, of which 0 are used, and it takes 2000000"),
                          ("large", "its owner's limit bytesPerUser is 8192, of which 4096 are used, and it takes 16384"),
                          ("db-a", f"names that begin with 'db-' are reserved for user {BOB}"),
                          ("homeless", "the broker's configuration allows homes and region directories elsewhere only")):
            self.assertIn(f"environment {name}, declared in {self.declared}/{name}.conf, is not made: {why}", broker.said)

    def test_a_home_has_to_be_one_of_its_owner(self):
        home = self.path("home")
        os.mkdir(home, 0o700)
        self.declare("e", "[environment]", f"owner={ALICE}", f"group={ALICE}", f"home={home}", *DATA)
        with self.running() as broker:
            os.chown(home, ALICE, ALICE)
            self.reload(broker)
            self.assertEqual(self.find("e")["home"], home)
        self.assertIn("is not made: its owner may not write to its home", broker.said)


class Changes(Declared):
    def test_a_reload_makes_what_is_new_and_leaves_what_is_not_declared_any_more(self):
        self.declare("old", *DATA)
        with self.running() as broker:
            first = self.find("old")["id"]
            os.unlink(f"{self.declared}/old.conf")
            self.declare("new", *DATA)
            self.reload(broker)
            self.assertEqual(self.find("old")["id"], first)
            self.assertIsNotNone(self.find("new"))
            peer = self.peer()
            peer.ask("Remove", environment="old")
            self.assertEqual(self.opens(peer, "old"), NOT_FOUND)

    def test_what_is_there_is_compared_and_left_as_it_is(self):
        self.declare("e", "[environment]", "schema=1", *DATA, "[region more]", "size=4K")
        with self.running() as broker:
            before = self.find("e")
            self.assertNotIn("is not as", self.reload(broker))
            self.declare("e", "[environment]", "owner=4711", "group=4711", "mode=0640", "backing=sysv", "schema=2",
                         "lifetime=attached", "linger=1s", "recovery=yes", "[region data]", "size=16K", "type=lock",
                         "[region another]", "size=4K")
            said = self.reload(broker)
            self.assertEqual(self.find("e"), before)
        for difference in ("owner is %d, not 4711" % os.geteuid(), "group is %d, not 4711" % os.getegid(),
                           "mode is 0600, not 0640", "backing is memfd, not sysv", "schema is 1, not 2",
                           "lifetime is persistent, not attached", "lingerUSec is 0, not 1000000",
                           "recovery is false, not true", "regions.data is 8192, not 16384",
                           "regions.data is user, not lock", "regions.another is absent, not present"):
            self.assertIn(f"environment e is not as {self.declared}/e.conf declares it: its {difference}; it stays so "
                          "until it is removed", said)

    def test_a_restart_finds_what_there_is_and_makes_the_rest(self):
        self.declare("kept", "[environment]", "backing=posix", *DATA)
        self.declare("lost", *DATA)
        with subprocess.Popen([BROKER, *self.directories, "--config", self.file, "--environments", self.declared],
                              env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as broker:
            broker.said = ""
            self.wait_for_line(broker, "listening on")
            ids = [self.find(name)["id"] for name in ("kept", "lost")]
            broker.kill()
            broker.communicate(timeout=PATIENCE)
        self.declare("kept", "[environment]", "backing=posix", "mode=0666", *DATA)
        with self.running() as broker:
            self.assertEqual(self.find("kept")["id"], ids[0])
            self.assertNotEqual(self.find("lost")["id"], ids[1])  # memory without a name, and nobody kept it
        self.assertIn("environment kept is not as", broker.said)

    def test_a_file_that_cannot_be_read_leaves_all_as_it_was(self):
        self.declare("e", *DATA)
        with self.running() as broker:
            self.declare("new", *DATA)
            os.chmod(f"{self.declared}/e.conf", 0o666)
            said = self.reload(broker, "the configuration stays as it was")
            self.assertIsNone(self.find("new"))
        self.assertIn(f"{self.declared}/e.conf: not read: it has to belong to root", said)


# lines -> what is said of the last of them
WRONG = {
    ("[environment]", "owner=no-such-user"): "owner=no-such-user in [environment]: there is no user of that name",
    ("[environment]", "group=no-such-group"): "there is no group of that name",
    ("[environment]", "mode=888"): "octal permission bits from 1 to 777, as in 0660 are expected",
    ("[environment]", "create=never"): "start or first-use is expected",
    ("[environment]", "content=ones"): "zeros or opener is expected",
    ("[environment]", "backing=private"): "memfd, sysv, posix or file is expected; private memory is of one process",
    ("[environment]", "lifetime=creator"): "attached or persistent is expected; its creator is the broker itself",
    ("[environment]", "home=here"): "an absolute directory is expected",
    ("[environment]", "region-directory=here"): "an absolute directory is expected",
    ("[environment]", "shm-key=0"): "the value is out of range; a System V key from 1 to 0x7fffffff",
    ("[environment]", "linger=long"): "a whole number with us, ms, s, min, h or d",
    ("[environment]", "recovery=maybe"): "yes or no is expected",
    ("[environment]", "sparse=maybe"): "yes or no is expected",
    ("[environment]", "schema="): "a text of 1 to 255 bytes is expected",
    ("[environment]", "name=x"): "there is no such key; expected one of owner, group, create",
    ("[environment x]", "mode=0600"): "there is no such section; expected [environment] or [region NAME]",
    ("[limits]", "sessions=3"): "there is no such section; expected [environment] or [region NAME]",
    ("", "mode=0600"): "it stands in no section; expected [environment] or [region NAME]",
    ("[region]", "size=4K"): "there is no such section; expected [environment] or [region NAME]",
    ("[region a/b]", "size=4K"): "no region can have that name: it has a slash inside",
    ("[region a]", "size=0"): "the value is out of range; a whole number above zero",
    ("[region a]", "size=much"): "a whole number above zero",
    ("[region a]", "type=" + "x" * 64): "a word of 1 to 63 bytes is expected",
    ("[region a]", "backing=private"): "memfd, sysv, posix or file is expected",
    ("[region a]", "mode=0600"): "there is no such key; expected one of size, type, backing",
    ("[environment]", "mode"): "neither a [section] nor KEY=VALUE",
    ("[environment]", "linger=1s"): "linger: it goes with lifetime=attached alone",
    ("[environment]", "sparse=no"): "sparse: no is for content=opener alone",
    ("[environment]", "backing=file", "hugetlb=yes"): "hugetlb: it is for memfd and sysv alone",
}


class WrongFiles(Declared):
    def setUp(self):
        super().setUp()
        self.configure("[limits]", "sessions=100")

    def check_declared(self):
        return self.check("--config", self.file, "--environments", self.declared)

    def test_each_wrong_line_is_named_and_its_environment_left_out(self):
        file = f"{self.declared}/e.conf"
        for lines, complaint in WRONG.items():
            self.declare("e", *lines, *DATA)
            result = self.check_declared()
            said = result.stdout.splitlines()
            self.assertEqual((result.returncode, len(said)), (1, 2), result.stdout)
            self.assertTrue(said[0].startswith(f"{file}:{len(lines)}: "), said[0])
            self.assertIn(complaint, said[0])
            self.assertEqual(said[1], f"{file}: its environment is left out until that is right")

    def test_what_is_missing_is_named(self):
        for lines, complaint in ((("[environment]", "mode=0600"), "at least one [region NAME] is expected"),
                                 (("[region a]", "type=lock"), "size= is expected in [region a]"),
                                 (("[environment]", "owner=4711", *DATA), "group= is expected, for nothing is known of "
                                                                          "user 4711")):
            self.declare("e", *lines)
            self.assertIn(f"{self.declared}/e.conf: {complaint}\n", self.check_declared().stdout)

    def test_the_broker_serves_all_others(self):
        for i, lines in enumerate(WRONG):
            self.declare(f"wrong-{i}", *lines, *DATA)
        self.declare("right", *DATA)
        with self.running() as broker:
            peer = self.peer()
            self.assertIsNotNone(self.find("right", peer))
            self.assertEqual(self.opens(peer, "wrong-0"), NOT_FOUND)
            self.assertFalse(any("wrong" in name for name in peer.settings()))
        self.assertEqual(broker.said.count("is left out until that is right"), len(WRONG))

    def test_a_file_that_becomes_wrong_leaves_its_environment(self):
        self.declare("e", *DATA)
        with self.running() as broker:
            first = self.find("e")["id"]
            self.declare("e", "[environment]", "mode=none", *DATA)
            said = self.reload(broker)
            self.assertEqual(self.find("e")["id"], first)
        self.assertIn("e.conf: its environment is left out until that is right", said)

    def test_files_are_found_and_masked_like_drop_ins(self):
        base = self.path("config/region-broker/environments.d")
        self.environment["XDG_CONFIG_HOME"] = self.path("config")
        self.write(f"{base}/one.conf", *DATA)
        self.write(f"{base}/comments.conf", "# nothing", "; is said")
        self.write(f"{base}/empty.conf")
        for name in ("two.conf~", ".three.conf", "README"):
            self.write(f"{base}/{name}", *DATA)
        os.symlink("/dev/null", f"{base}/null.conf")
        with Configuration.running(self, "--user", standard=True):
            listed = [name for name in self.peer().settings() if name.startswith("environment.")]
            self.assertIsNotNone(self.find("one"))
        self.assertEqual(listed, ["environment.one.region.data.size"])
        self.assertEqual(self.check("--user").stdout, "4 files read, nothing is wrong\n")
        self.assertEqual(self.check("--user", "--no-config").stdout, "0 files read, nothing is wrong\n")

    def test_a_name_that_no_environment_can_have_is_named(self):
        self.declare("a\tb", *DATA)
        self.assertIn("no environment can have that name: it has a control character", self.check_declared().stdout)

    def test_there_are_as_many_regions_as_an_environment_can_have(self):
        lines = [line for i in range(250) for line in (f"[region r{i}]", "size=4K")]
        self.declare("e", *lines)
        self.assertEqual(self.check_declared().returncode, 0)
        self.declare("e", *lines, "[region one-more]", "size=4K")
        self.assertIn(f"{self.declared}/e.conf:502: size=4K in [region one-more]: an environment has 250 regions at the most",
                      self.check_declared().stdout)

    def test_a_file_has_a_bound(self):
        self.declare("e", *DATA, *["#" + "x" * 62] * 4096)
        self.assertIn("e.conf: not read: it is larger than 256 KiB", self.check_declared().stdout)

    def test_so_have_the_files(self):
        for i in range(1001):
            self.declare(f"e{i:04}", "[environment]", "create=first-use", *DATA)
        self.assertEqual(self.check_declared().stdout.splitlines()[-1],
                         f"{self.declared}/e1000.conf: not read, as those after it: up to 1000 environments can be declared")
        with self.running():
            peer = self.peer()
            self.assertEqual(self.opens(peer, "e0000"), "member")
            self.assertEqual(self.opens(peer, "e0999"), "member")
            self.assertEqual(self.opens(peer, "e1000"), NOT_FOUND)

    def test_regionctl_shows_where_each_is_declared(self):
        self.declare("e", "[environment]", "mode=0640", *DATA)
        with self.running():
            settings = json.loads(self.regionctl("--json=short", "config").stdout)["settings"]
        self.assertIn({"name": "environment.e.mode", "value": "0640", "source": f"{self.declared}/e.conf:2"}, settings)
        self.assertIn({"name": "environment.e.region.data.size", "value": "8K", "source": f"{self.declared}/e.conf:4"},
                      settings)


if __name__ == "__main__":
    if not os.access(BROKER, os.X_OK):
        sys.exit(f"{BROKER} is not built; REGION_BROKER names the broker")
    unittest.main()
