#!/usr/bin/env python3
"""Environments of files that describe themselves, and brokers that know nothing but that: the machine was started anew, or
the runtime directory was removed.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-reboot.py [-v] [Class.test]
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

sys.dont_write_bytecode = True
import puppets
from puppets import BROKER, PATIENCE, Connection, Refused, WithBroker, libc, main

PAGE = 4096
DESCRIPTION = "__db.environment"
CLONE_NEWNS, CLONE_NEWUSER, MS_BIND, MS_REC_PRIVATE = 0x20000, 0x10000000, 0x1000, 0x44000
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


class Program(puppets.Actor):
    def read(self):
        return "".join(memory[:].decode() for memory in self.memory)


def run_program(theirs, path):
    puppets.perform(theirs, path, Program)


class Reboot(WithBroker):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.begin_anew)
        self.puppets = []
        self.home = self.make_home("home")

    def begin_anew(self):
        if self.broker.poll() is None:
            self.assertEqual(self.stop(signal.SIGINT), 0)
        self.wipe()
        shutil.rmtree(os.path.join(self.folder.name, "state"))
        self.start()

    def make_home(self, name):
        path = os.path.join(self.folder.name, f"{name}-{uuid.uuid4().hex[:8]}")
        os.mkdir(path)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    # --- what a machine does ---

    def reboot(self, how=signal.SIGKILL, meanwhile=None):
        """All processes end with the broker, and nothing in memory is left. Their writers are told by what was written."""
        self.stop(how)
        self.end_programs()
        self.wipe()
        if meanwhile:
            meanwhile()
        self.start()

    def wipe(self):
        shutil.rmtree(os.path.join(self.folder.name, "run"), ignore_errors=True)

    # --- what programs do ---

    def puppet(self):
        puppet = super().puppet(work=run_program)
        self.puppets.append(puppet)
        return puppet

    def end_programs(self):
        for puppet in self.puppets:
            puppet.end()
        self.puppets = []

    def call(self, method, **parameters):
        return self.connection().call(method, **parameters)

    def create(self, name=None, home=True, ready=True, **definition):
        """A process that has an environment of two regions, filled with x; its home is `self.home`, or another, or none."""
        if home:
            definition["home"] = self.home if home is True else home
        definition.setdefault("regions", [{"name": "a", "size": PAGE}, {"name": "b c", "size": 2 * PAGE, "type": "lock"}])
        puppet = self.puppet()
        puppet.open(name or self.env, create="always", definition={"backing": "file", **definition})
        puppet.do("fill")
        if ready:
            puppet.call("Ready", environment=name or self.env)
        return puppet

    def bytes_of(self, name):
        puppet = self.puppet()
        puppet.open(name)
        text = puppet.do("read")
        puppet.do("leave", environment=name)
        return text

    def path(self, name=DESCRIPTION):
        return os.path.join(self.home, name)

    def text(self):
        with open(self.path(), encoding="ascii") as file:
            return file.read()

    def wait_for_text(self, words):
        end = time.monotonic() + PATIENCE
        while words not in self.text():
            self.assertLess(time.monotonic(), end, self.text())
            time.sleep(0.01)

    def edit(self, change, mend=True):
        """As root would, or as a disk that forgets; its sum fits again if it is mended."""
        body = self.text().rpartition("sum: ")[0]
        changed = change(body).encode()
        os.unlink(self.path())
        with open(self.path(), "wb", opener=lambda path, flags: os.open(path, flags, 0o400)) as file:
            file.write(changed + (f"sum: {fnv(changed):016x}\n".encode() if mend else b""))

    def refused(self, words, errno, name=None, **parameters):
        with self.assertRaises(Refused) as caught:
            self.puppet().open(name or self.home, **parameters)
        self.assertEqual(caught.exception.error, "ResourceFailure", caught.exception)
        facts = caught.exception.parameters
        self.assertEqual((facts["operation"], facts["errnoName"]), ("read " + DESCRIPTION, errno), facts)
        self.assertIn(words, facts["message"])

    def is_unknown(self, name=None):
        with self.assertRaises(Refused) as caught:
            self.call("Describe", environment=name or self.env)
        self.assertEqual(caught.exception.error, "EnvironmentNotFound")

    def described(self, name=None):
        return self.call("Describe", environment=name or self.env)["environment"]

    # --- it comes back ---

    def check_same(self, before, **others):
        after = self.described(before["name"])
        self.assertEqual(self.facts(after), {**self.facts(before), **others})

    @staticmethod
    def facts(environment):
        """All but who is there, and who made it: they are of another boot. Deaths are as they were last written."""
        facts = {key: value for key, value in environment.items()
                 if key not in ("creatorPid", "creatorCommand", "attachments", "deaths")}
        facts["regions"] = [{key: value for key, value in region.items() if key != "attachments"}
                            for region in environment["regions"]]
        return facts

    def check_comes_back(self, home):
        puppet = self.create(home=home, schema="shop 3\n", mode=0o640)
        before = self.described()
        self.reboot()
        self.check_same(before)
        self.assertEqual(self.bytes_of(self.env), "x" * 3 * PAGE)
        added = self.puppet()
        added.open(self.env)
        region = added.call("AddRegion", environment=self.env, region={"name": "more", "size": PAGE})["grant"]["region"]
        self.assertEqual(region["number"], 3)
        known = {before["id"], *(region["id"] for region in before["regions"])}
        self.assertNotIn(region["id"], known)
        before = self.described()
        self.reboot()
        self.check_same(before)
        self.call("Remove", environment=self.env)
        self.reboot()
        self.is_unknown()
        self.assertEqual(os.listdir(self.home), [])
        self.assertEqual(os.listdir(os.path.join(self.folder.name, "state")), [])

    def test_with_its_bytes_ids_owner_and_generation_it_comes_back(self):
        self.check_comes_back(True)

    def test_without_a_home_it_comes_back_too(self):
        self.check_comes_back(False)

    def test_with_its_files_elsewhere_it_comes_back_too(self):
        elsewhere = self.make_home("elsewhere")
        self.create(regionDirectory=elsewhere)
        before = self.described()
        self.assertEqual(sorted(os.listdir(self.home)), ["__db.001", DESCRIPTION])
        self.reboot()
        self.check_same(before)
        self.assertEqual(self.bytes_of(self.home), "x" * 3 * PAGE)
        self.call("Remove", environment=self.env)
        self.assertEqual(os.listdir(self.home) + os.listdir(elsewhere), [])

    def test_in_another_boot_the_ledger_is_not_believed_and_the_home_is(self):
        self.create()
        self.create("memory", home=self.make_home("other"), backing="memfd", lifetime="persistent")
        before = self.described()
        self.stop(signal.SIGKILL)
        self.end_programs()
        with self.another_boot():
            self.start()
        self.check_same(before)
        self.is_unknown("memory")
        self.call("Remove", environment=self.env)

    @contextlib.contextmanager
    def another_boot(self):
        """Brokers that are started meanwhile see another boot id."""
        popen = subprocess.Popen
        path = os.path.join(self.folder.name, "boot_id")
        with open(path, "w", encoding="ascii") as file:
            file.write(str(uuid.uuid4()) + "\n")

        def enter():
            uid, gid = os.geteuid(), os.getegid()
            if libc.unshare(CLONE_NEWNS) < 0:
                assert libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0
                for name, value in ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"):
                    with open("/proc/self/" + name, "w", encoding="ascii") as file:
                        file.write(value)
            assert libc.mount(None, b"/", None, MS_REC_PRIVATE, None) == 0
            assert libc.mount(path.encode(), BOOT_ID.encode(), None, MS_BIND, None) == 0

        if popen([sys.executable, "-c", ""], preexec_fn=self.probe(enter)).wait() != 0:
            self.skipTest("it needs a mount namespace of its own")
        subprocess.Popen = lambda *args, **others: popen(*args, **others, preexec_fn=enter if "stderr" in others else None)
        try:
            yield
        finally:
            subprocess.Popen = popen

    @staticmethod
    def probe(enter):
        def run():
            try:
                enter()
            except (AssertionError, OSError):
                os._exit(1)
        return run

    def test_a_reference_of_another_boot_is_not_believed(self):
        self.create(backing="memfd", lifetime="persistent")
        self.stop(signal.SIGKILL)
        self.end_programs()
        self.wipe()
        with self.another_boot():
            self.start()
        self.is_unknown(self.home)
        self.create(backing="memfd", lifetime="persistent").do("leave", environment=self.env)
        self.assertEqual(len(os.listdir(self.home)), 1)
        self.call("Remove", environment=self.env)
        self.assertEqual(os.listdir(self.home), [])

    def test_what_lives_in_memory_does_not_come_back(self):
        for backing in "memfd", "posix":
            self.create(backing, home=None, backing=backing, lifetime="persistent")
        for region in self.described("posix")["regions"]:
            self.addCleanup(os.unlink, region["path"])  # nobody does, where /dev/shm outlives a boot
        self.create("mixed", regions=[{"name": "a", "size": PAGE}, {"name": "b", "size": PAGE, "backing": "memfd"}])
        self.create("attached", home=self.make_home("attached"), lifetime="attached")
        self.assertNotIn(DESCRIPTION, os.listdir(self.home))
        self.reboot()
        for name in "memfd", "posix", "mixed", "attached", self.home:
            self.is_unknown(name)

    # --- what it was ---

    def test_dirty_it_comes_back_where_writers_were_attached(self):
        self.create(recovery=True)
        before = self.described()
        self.assertIn("writing: yes", self.text())
        self.reboot()
        self.check_same(before, state="dirty")
        self.says("^the machine stopped while it was attached for writing; the next to open it")
        event = self.watch(environment=self.env, since=0).until("dirty")[-1]
        self.assertEqual(event["reason"], "the machine stopped while it was attached for writing")
        repairer = self.puppet()
        self.assertEqual(repairer.open(self.env)["role"], "recoverer")
        repairer.call("Ready", environment=self.env)
        self.assertEqual(self.described()["generation"], before["generation"] + 1)
        repairer.do("leave", environment=self.env)
        self.wait_for_text("writing: no")
        self.reboot()
        self.check_same(before, generation=before["generation"] + 1)

    def test_without_recovery_it_comes_back_as_it_was(self):
        self.create()
        before = self.described()
        self.reboot()
        self.check_same(before)

    def test_readers_make_nothing_dirty(self):
        self.create(recovery=True).do("leave", environment=self.env)
        self.wait_for_text("writing: no")
        reader = self.puppet()
        reader.open(self.env, access="read")
        self.assertIn("writing: no", self.text())
        self.reboot()
        self.assertEqual(self.described()["state"], "ready")

    def test_the_first_writer_is_noted_before_it_is_granted(self):
        self.create(recovery=True).do("leave", environment=self.env)
        self.wait_for_text("writing: no")
        written = os.stat(self.path()).st_ino
        writer = self.puppet()
        writer.open(self.env)
        self.assertIn("writing: yes", self.text())
        self.assertNotEqual(os.stat(self.path()).st_ino, written)
        written = os.stat(self.path()).st_ino
        self.puppet().open(self.env)  # not once more
        self.assertEqual(os.stat(self.path()).st_ino, written)

    def test_an_orderly_stop_leaves_it_clean_where_nobody_writes(self):
        puppet = self.create(recovery=True)
        puppet.do("leave", environment=self.env)
        self.reboot(signal.SIGTERM)
        self.assertEqual(self.described()["state"], "ready")

    def test_interrupted_the_broker_leaves_files_to_the_next_one(self):
        self.create()
        before = self.described()
        self.stop(signal.SIGINT)
        self.end_programs()
        self.start()
        self.check_same(before)

    def test_not_ready_it_is_made_anew(self):
        self.create(ready=False)
        self.assertIn(DESCRIPTION + ".new", os.listdir(self.home))
        self.reboot()
        self.is_unknown()
        self.create()
        self.assertEqual(sorted(os.listdir(self.home)), ["__db.001", "__db.002", DESCRIPTION])

    def test_a_deleted_region_stays_deleted(self):
        puppet = self.create()
        puppet.do("unmap")
        puppet.call("Detach", environment=self.env, region="a")
        self.call("DeleteRegion", environment=self.env, region="a")
        puppet.end()
        self.reboot()
        self.assertEqual([region["name"] for region in self.described()["regions"]], ["b c"])
        self.assertEqual(self.bytes_of(self.env), "x" * 2 * PAGE)

    def test_with_a_region_in_memory_it_does_not_come_back_and_without_it_again(self):
        puppet = self.create()
        puppet.call("AddRegion", environment=self.env, region={"name": "memory", "size": PAGE, "backing": "memfd"})
        self.assertNotIn(DESCRIPTION, os.listdir(self.home))
        puppet.call("Detach", environment=self.env, region="memory")
        self.call("DeleteRegion", environment=self.env, region="memory")
        self.assertNotIn(" memory ", self.text())
        before = self.described()
        self.reboot()
        self.check_same(before)

    def test_what_tells_of_it_is_put_right_after_a_crash(self):
        self.create()
        text = self.text()
        for spoil in lambda: os.unlink(self.path()), lambda: self.edit(lambda text: text.replace("deaths: ", "deaths: 7")):
            self.stop(signal.SIGKILL)
            spoil()
            self.start()
            self.assertEqual(self.text(), text)
        self.assertEqual(sorted(os.listdir(self.home)), ["__db.001", "__db.002", DESCRIPTION])

    def test_a_file_that_was_just_made_or_removed_is_removed(self):
        self.create()
        self.reboot(meanwhile=lambda: self.edit(lambda text: text.replace("region: 2", "stray: 2")))
        self.assertEqual([region["name"] for region in self.described()["regions"]], ["a"])
        self.assertEqual(sorted(os.listdir(self.home)), ["__db.001", DESCRIPTION])

    def test_half_removed_it_is_removed_once_nobody_has_it(self):
        puppet = self.create()
        self.puppets = []
        self.reboot(meanwhile=lambda: os.rename(self.path(), self.path(DESCRIPTION + ".new")))
        self.refused("__db.001, which is to be removed, is held", "EBUSY")
        self.assertEqual(sorted(os.listdir(self.home)), ["__db.001", "__db.002", DESCRIPTION + ".new"])
        puppet.kill()
        self.is_unknown(self.home)
        with self.assertRaises(Refused) as caught:
            self.puppet().open(self.home)
        self.assertEqual(caught.exception.error, "EnvironmentNotFound")
        self.assertEqual(os.listdir(self.home), [])

    # --- what is left alone ---

    def check_left_alone(self, spoil, words, errno):
        self.create()
        self.reboot(meanwhile=spoil)
        self.is_unknown()
        there = sorted(os.listdir(self.home))
        self.refused(words, errno)
        self.refused(words, errno, create="ifAbsent", definition={"regions": [{"name": "a", "size": PAGE}]})
        self.assertEqual(sorted(os.listdir(self.home)), there)
        self.log.flush()
        self.wait_for_line(f"left alone what is in {self.home}: ", words)

    def wait_for_line(self, *words):
        end = time.monotonic() + PATIENCE
        while True:
            with open(self.log.name, encoding="utf-8") as log:
                if any(all(word in line for word in words) for line in log):
                    return
            self.assertLess(time.monotonic(), end, words)
            time.sleep(0.01)

    def test_what_was_cut_off_is_left_alone(self):
        self.check_left_alone(lambda: self.edit(lambda text: text[:-40], mend=False), "its sum does not fit", "EBADMSG")

    def test_what_was_edited_is_left_alone(self):
        self.check_left_alone(lambda: self.edit(lambda text: text.replace("owner: ", "owner: 1")
                                                + self.text()[-22:], mend=False), "its sum does not fit", "EBADMSG")

    def test_a_missing_file_is_named(self):
        self.check_left_alone(lambda: os.unlink(self.path("__db.002")), "__db.002, the file of region b c, is not there",
                              "ENOENT")

    def test_a_file_that_was_cut_off_is_named(self):
        self.check_left_alone(lambda: os.truncate(self.path("__db.001"), 100),
                              "__db.001 has 100 bytes, and region a 4096", "ESTALE")

    def test_a_link_is_not_followed(self):
        def spoil():
            os.rename(self.path("__db.001"), self.path("moved"))
            os.symlink(self.path("moved"), self.path("__db.001"))
        self.check_left_alone(spoil, "__db.001 is not a file of uid", "EPERM")

    def test_what_others_could_have_written_is_not_believed(self):
        self.check_left_alone(lambda: os.chmod(self.path(), 0o600), "with mode 0400", "EPERM")

    def test_what_is_no_description_is_left_alone(self):
        def spoil():
            os.unlink(self.path())
            os.mkdir(self.path())
        self.check_left_alone(spoil, "is not a file of uid", "EPERM")

    def test_held_it_is_not_taken_in_before_its_holders_have_gone(self):
        for home in self.home, None:
            with self.subTest(home=home):
                puppet = self.create(home=home)
                self.puppets = []
                self.reboot()
                self.is_unknown()
                name = home or self.env
                self.refused("is held by a process", "EBUSY", name=name)
                self.refused("is held by a process", "EBUSY", name=name, create="ifAbsent",
                             definition={"regions": [{"name": "a", "size": PAGE}]})
                puppet.kill()
                self.assertEqual(self.bytes_of(name), "x" * 3 * PAGE)
                self.call("Remove", environment=self.env)

    def test_a_home_that_is_not_there_is_taken_in_when_it_is_opened_later(self):
        self.create()
        away = self.home + "-away"
        self.addCleanup(shutil.rmtree, away, ignore_errors=True)
        self.reboot(meanwhile=lambda: os.rename(self.home, away))
        self.is_unknown()
        self.wait_for_line(f"left alone what is in {self.home}: it cannot be opened")
        os.rename(away, self.home)
        self.assertEqual(self.bytes_of(self.home), "x" * 3 * PAGE)
        self.assertEqual(self.described()["home"], self.home)

    # --- homes elsewhere ---

    def test_a_home_that_was_moved_is_the_same(self):
        self.create(self.home)
        before = self.described(self.home)
        moved = self.home + "-moved"
        self.addCleanup(shutil.rmtree, moved, ignore_errors=True)
        self.reboot(meanwhile=lambda: os.rename(self.home, moved))
        self.assertEqual(self.bytes_of(moved), "x" * 3 * PAGE)
        for region in before["regions"]:
            region["path"] = region["path"].replace(self.home, moved)
        self.check_same({**before, "name": moved}, home=moved)
        before = self.described(moved)
        self.reboot()
        self.check_same(before)

    def copy(self):
        copy = self.home + "-copy"
        self.addCleanup(shutil.rmtree, copy, ignore_errors=True)
        shutil.copytree(self.home, copy)
        return copy

    def test_a_copy_is_another_environment_and_dirty(self):
        self.create(self.home, recovery=True).do("leave", environment=self.home)
        self.wait_for_text("writing: no")
        before = self.described(self.home)
        copy = self.copy()
        for _ in range(2):  # also as known by then
            role = self.puppet().open(copy)["role"]
            after = self.described(copy)
            ids = {environment["id"] for environment in (before, after)}
            ids |= {region["id"] for environment in (before, after) for region in environment["regions"]}
            self.assertEqual(len(ids), 6)
            self.assertEqual((after["state"], role), ("recovering", "recoverer"))
            self.reboot()

    def test_a_copy_of_what_has_another_name_is_refused_as_long_as_it_is_there(self):
        self.create()
        copy = self.copy()
        self.refused(f"it is called {self.env}, and another environment is called so", "EEXIST", name=copy)
        self.call("Remove", environment=self.env, force=True)
        self.assertEqual(self.bytes_of(copy), "x" * 3 * PAGE)

    def test_restored_from_a_copy_it_comes_back_when_root_opens_it(self):
        self.create()

        def restore():
            copy = self.copy()
            shutil.rmtree(self.home)
            os.rename(copy, self.home)
        self.reboot(meanwhile=restore)
        self.is_unknown()
        self.wait_for_line(f"left alone what is in {self.home}: ", "copies, or restored")
        self.assertEqual(self.bytes_of(self.home), "x" * 3 * PAGE)
        before = self.described()
        self.reboot()
        self.check_same(before)

    def test_another_broker_does_not_take_what_one_has(self):
        self.create(self.home).do("leave", environment=self.home)
        other = OtherBroker(self)
        with self.assertRaises(Refused) as caught:
            other.open(self.home)
        self.assertEqual(caught.exception.parameters["errnoName"], "EBUSY")

    def test_what_another_broker_took_meanwhile_is_lost_and_left_to_it(self):
        self.create(self.home).do("leave", environment=self.home)
        self.stop(signal.SIGKILL)
        other = OtherBroker(self)
        other.open(self.home)
        self.start()
        self.is_unknown(self.home)
        other.open(self.home)
        self.assertEqual(sorted(os.listdir(self.home)), ["__db.001", "__db.002", DESCRIPTION])


class OtherBroker:
    """With directories of its own, for one test."""

    def __init__(self, test):
        self.folder = test.enterContext(tempfile.TemporaryDirectory(prefix="other-"))
        self.socket = os.path.join(self.folder, "socket")
        self.process = subprocess.Popen(
            [BROKER, "--no-config", "--user", "--runtime-directory", os.path.join(self.folder, "run"), "--state-directory",
             os.path.join(self.folder, "state"), "--listen", self.socket], stderr=subprocess.PIPE)
        for line in self.process.stderr:
            if b"listening on" in line:
                break
        test.addCleanup(self.end)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.stderr.read()
        self.process.stderr.close()
        self.process.wait()

    def open(self, name):
        connection = Connection(self.socket)
        try:
            return connection.call("Open", environment=name)
        finally:
            connection.close()


if __name__ == "__main__":
    main()
