#!/usr/bin/env python3
"""The Debian packages in a real systemd: built, installed, used, upgraded under living clients, removed and purged.

LAB_CLIENTS says how many clients live through what happens to the broker (200), LAB_REGIONS with how many regions it is
started (10000), LAB_PACKAGES where packages of both versions are that were built before.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

systemd = importlib.import_module("test-systemd")
wait_until = systemd.wait_until

SOURCE = os.environ["SOURCE"]
CLIENTS = int(os.environ.get("LAB_CLIENTS", "200"))
REGIONS = int(os.environ.get("LAB_REGIONS", "10000"))
USERS = 4711, 4712  # the second one is in no file
NEXT = "0.1.0+next"


# --- the packages ---------------------------------------------------------------------------------------------------

def rules(tree, target):
    with open(os.path.join(tree, "../log"), "ab") as log:
        done = subprocess.run(["debian/rules", target], cwd=tree, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              env={**os.environ, "DEB_BUILD_OPTIONS": f"noautodbgsym parallel={os.cpu_count()}", "DEB_RULES_REQUIRES_ROOT": "no",
                                   "DPKG_DEB_COMPRESSOR_TYPE": "none"})
    if done.returncode != 0:
        with open(os.path.join(tree, "../log"), encoding="utf-8", errors="replace") as log:
            raise AssertionError("the packages cannot be built:\n" + log.read()[-4000:])


def build_packages():
    """Of the tree as it is, and once more from the same objects with a higher version."""
    if not shutil.which("dpkg-checkbuilddeps"):
        raise unittest.SkipTest("dpkg-dev is not installed")
    missing = subprocess.run(["dpkg-checkbuilddeps"], cwd=SOURCE, capture_output=True, text=True)
    if missing.returncode != 0:
        raise unittest.SkipTest(missing.stderr.strip())
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="region-broker-packages-")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    tree = os.path.join(folder, "source")
    shutil.copytree(SOURCE, tree, symlinks=True, ignore=shutil.ignore_patterns("build*", "obj-*", ".git"))
    rules(tree, "binary")
    subprocess.run(["dh_clean"], cwd=tree, check=True)
    path = os.path.join(tree, "debian/changelog")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"\(.*?\)", f"({NEXT})", text, count=1))
    rules(tree, "binary")
    shutil.rmtree(tree)
    print(f"built packages of two versions: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return folder


class Lab(systemd.Lab):
    def __init__(self, packages):
        self.packages = packages
        super().__init__()

    def lay(self, stage):
        os.makedirs(os.path.join(stage, "usr/local/bin"))
        shutil.copy(os.environ["HERD"], os.path.join(stage, "usr/local/bin/herd"))
        shutil.copytree(self.packages, os.path.join(stage, "packages"))

    def dpkg(self, *words):
        return self.run("sh", "-c", "dpkg --force-unsafe-io " + " ".join(words) + " 2>&1")

    def install(self, version):
        self.dpkg("-i", f"/packages/*_{version}_*.deb")


def setUpModule():
    global lab
    if os.environ.get("SANITIZED"):
        raise unittest.SkipTest("a sanitizer does not work in the sandbox of the unit")
    lab = Lab(os.environ.get("LAB_PACKAGES") or build_packages())
    unittest.addModuleCleanup(lab.down)
    if not lab.pid:
        raise unittest.SkipTest(f"no systemd to try it with: {lab.reason}")
    lab.run("ldconfig")


# --- clients --------------------------------------------------------------------------------------------------------

class Herd:
    """Many clients of one user, over all backings."""

    def __init__(self, first, count, user):
        self.count = count
        self.process = subprocess.Popen(lab.command(["herd", first, count], user), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        return [int(number) for number in re.findall(r"\d+", self.process.stdout.readline())]

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Packages(unittest.TestCase):
    def setUp(self):
        self.service = systemd.Service(lab)
        if not lab.run("sh", "-c", "command -v regionctl || :"):
            lab.install("0.1.0")
        self.herds = []
        self.addCleanup(self.clean)

    def clean(self):
        for herd in self.herds:
            herd.end()
        if self.service.is_active():
            self.service.systemctl("kill", "--signal=INT", "region-broker")
            self.service.systemctl("stop", "region-broker")
        lab.run("sh", "-c", "rm -rf /var/lib/region-broker/*")  # files of persistent ones
        self.service.unset()

    def start_clients(self):
        half = CLIENTS // 2
        self.herds = [Herd(0, half, USERS[0]), Herd(half, CLIENTS - half, USERS[1])]
        for herd in self.herds:
            self.assertEqual(herd.hear(), [herd.count])

    def tell(self, line):
        """The sums of what the herds answer."""
        for herd in self.herds:
            herd.tell(line)
        return [sum(numbers) for numbers in zip(*(herd.hear() for herd in self.herds))]

    def attachments(self):
        """(environment, region, pid, access) of all that are shown, each of which has a session."""
        found = set()
        for environment in json.loads(lab.run("regionctl", "list", "--json=short"))["environments"]:
            for row in self.service.call("Describe", environment=environment["name"])["attachments"]:
                self.assertEqual(row["standing"], "connected")
                found.add((environment["name"], row.get("region"), row["pid"], row["access"]))
        return found

    def check_nothing_is_lost_by(self, name, happens):
        before, main = self.attachments(), self.service.main()
        self.assertEqual(len(before), CLIENTS, name)
        for herd in self.herds:
            herd.tell("call")
        began = time.monotonic()
        happens(main)
        self.service.wait_for_another(main)
        took = time.monotonic() - began
        well, calls, failed = self.tell("check")
        self.assertEqual((well, failed), (CLIENTS, 0), name)
        self.assertGreater(calls, CLIENTS, name)
        self.assertEqual(self.attachments(), before, name)
        counters = self.service.call("GetStatistics")["counters"]
        self.assertEqual(counters["reclaimed"], 0, name)
        print(f"{name}: {CLIENTS} clients of {len(USERS)} users: 0 regions lost, 0 attachments lost, 0 wrong frees, "
              f"{well} slots as they were, {calls} calls, {failed} failed; another broker after {took:.1f} s",
              file=sys.stderr)

    @staticmethod
    def hang(main):
        lab.run("kill", "-STOP", main)

    def test_the_first_program_that_is_built_with_it_starts_the_broker(self):
        self.assertEqual(self.service.show("ActiveState", "region-broker.socket"), "active")
        self.assertEqual(self.service.main(), "0")
        said = lab.run("sh", "-ec", "cd /tmp && cp /usr/share/doc/libregion-dev/examples/hello.c . && "
                       "cc hello.c -o hello $(pkg-config --cflags --libs libregion) && ./hello </dev/null")
        self.assertIn("process number 1", said)
        self.assertTrue(self.service.is_active())
        self.assertIn("Environments: 1\n", lab.run("regionctl", "status", user=USERS[0]))

    def test_nothing_is_lost_whatever_becomes_of_the_broker(self):
        self.start_clients()
        self.check_nothing_is_lost_by("kill -9", lambda main: lab.run("kill", "-KILL", main))
        self.check_nothing_is_lost_by("systemctl restart", lambda main: self.service.systemctl("restart", "region-broker"))
        self.check_nothing_is_lost_by("package upgrade", lambda main: lab.install(NEXT))
        self.service.set("[Service]\nWatchdogSec=2\n")
        self.service.systemctl("restart", "region-broker")
        self.check_nothing_is_lost_by("watchdog", self.hang)
        self.check_who_dies_meanwhile_is_found_dead()

    def check_who_dies_meanwhile_is_found_dead(self):
        main = self.service.main()
        lab.run("kill", "-STOP", main)
        killed, = self.tell(f"kill {CLIENTS // 10}")
        lab.run("kill", "-KILL", main)
        self.service.wait_for_another(main)
        well, _, failed = self.tell("check")
        self.assertEqual((well, failed), (CLIENTS - killed, 0))
        wait_until(lambda: len(self.attachments()) == CLIENTS - killed, "the dead are found dead")
        print(f"{killed} died while there was no broker: found dead", file=sys.stderr)
        self.tell(f"kill {CLIENTS}")
        wait_until(lambda: self.service.call("GetStatistics")["environments"] == 0, "all is given back")
        self.assertNotIn("0x", lab.run("ipcs", "-m"))
        self.assertEqual(lab.run("ls", "/dev/shm"), "")

    def test_it_is_ready_soon_with_many_regions(self):
        each = 250
        for i in range(REGIONS // each):
            backing = ("memfd", "sysv", "posix", "file")[i % 4]
            lab.run("regionctl", "create", f"many-{i}", "--sparse", f"--backing={backing}",
                    *(f"r{n}=4K" for n in range(each)))
        main = self.service.main()
        self.service.systemctl("restart", "region-broker")
        self.service.wait_for_another(main)
        self.assertEqual(self.service.call("GetStatistics")["regions"], REGIONS // each * each)
        began, ready = (int(self.service.show(name)) for name in
                        ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"))
        print(f"from start to ready with {REGIONS // each * each} regions: {(ready - began) / 1000:.0f} ms", file=sys.stderr)

    def test_removal_and_purge_leave_nothing_but_what_is_held(self):
        self.start_clients()
        for backing in "memfd", "sysv", "posix", "file":
            lab.run("regionctl", "create", f"kept-{backing}", f"r=4K,{backing}", "--lifetime=persistent")
        lab.dpkg("--remove", "region-broker libregion-dev")
        # who has memory keeps it, without names and keys, and the files of persistent ones stay
        self.assertEqual(self.tell("look")[0], CLIENTS)
        self.assertEqual(lab.run("ls", "/dev/shm"), "")
        self.assertEqual(self.segments(), [CLIENTS // 5])
        self.assertEqual(sorted(lab.run("find", "/var/lib/region-broker", "-type", "f", "-printf", "%f ").split()),
                         ["__db.001", "__db.environment"])
        self.tell(f"kill {CLIENTS}")
        wait_until(lambda: self.segments() == [], "the last holder is gone")
        lab.dpkg("--purge", "region-broker")
        self.assertEqual(lab.run("find", "/run", "/etc", "/usr", "/lib/systemd", "/var/lib/region-broker", "/var/lib/dpkg/info", "/var/lib/systemd",
                                 "-mindepth", "1", "-xdev", "(", "-name", "*region-broker*", "-o", "-path", "/var/lib/region-broker/*", "-o",
                                 "-name", "regionctl*", ")"), "")
        self.assertEqual(lab.run("systemctl", "list-units", "--all", "--no-legend", "region-broker*"), "")

    @staticmethod
    def segments():
        """How many have each System V segment."""
        lines = lab.run("ipcs", "-m").splitlines()
        return [int(line.split()[5]) for line in lines if re.match("0x", line)]


if __name__ == "__main__":
    done = unittest.main(exit=False).result
    if not done.wasSuccessful():
        sys.exit(1)
    for _, reason in done.skipped:
        print(reason)
    sys.exit(77 if done.testsRun == 0 else 0)
