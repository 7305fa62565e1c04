#!/usr/bin/env python3
"""How many instructions the broker and the library take for a call, counted by callgrind. Nothing is timed, so that a
busy machine changes nothing; the bounds leave half as much again for other compilers and libraries. Whoever makes a
call dearer than that finds out here, and looks at docs/performance.md.

    REGION_BROKER=build/daemon/region-broker BUILD=build tests/integration/test-instructions.py
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import puppets
from puppets import BROKER, PATIENCE, WithBroker, main

ROUNDS = 20
REGIONS = [{"name": f"r{i}", "size": 65536} for i in range(5)]


def counting(marker, directory):
    """Writes down what was counted, and begins anew, each time the function is called."""
    return ["valgrind", "-q", "--tool=callgrind", f"--dump-before={marker}",
            f"--callgrind-out-file={directory}/counted"]


def counted(directory, which):
    """The `which`-th of what was written down."""
    with open(f"{directory}/counted.{which}", encoding="utf-8", errors="replace") as counts:
        return next(int(line.split()[1]) for line in counts if line.startswith("totals:"))


class Broker(WithBroker):
    @classmethod
    def setUpClass(cls):
        cls.counts = tempfile.TemporaryDirectory(prefix="instructions-")
        cls.wrapper = counting("run_get_statistics", cls.counts.name)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.counts.cleanup()

    def setUp(self):
        super().setUp()
        self.holder, self.peer = self.connection(), self.connection()
        self.holder.call("Open", environment=self.env, create="always", definition={"regions": REGIONS})
        self.holder.call("Ready", environment=self.env)

    def mark(self):
        self.peer.call("GetStatistics")
        return len(glob.glob(f"{self.counts.name}/counted.*"))

    def between(self, work):
        self.mark()
        for _ in range(ROUNDS):
            work()
        return counted(self.counts.name, self.mark()) / ROUNDS

    def check(self, bound, work):
        work()
        count = self.between(work) - self.between(lambda: None)
        print(f"{self.env}: {count:.0f} instructions, at most {bound}", file=sys.stderr)
        self.assertLess(count, bound)

    def call(self, method, **parameters):
        return self.peer.call(method, environment=self.env, **parameters)

    def test_an_environment_is_opened_and_left(self):
        def work():
            self.call("Open")
            self.call("Detach")

        self.check(260000, work)

    def test_a_region_is_attached_and_left(self):
        def work():
            self.call("Attach", region="r0")
            self.call("Detach", region="r0")

        self.call("Open", regions=[])
        self.check(190000, work)

    def test_an_environment_is_made_and_goes(self):
        def work():
            self.peer.call("Open", environment="made", create="always", definition={"regions": REGIONS[:1]})
            self.peer.call("Detach", environment="made")

        self.check(300000, work)

    def test_an_environment_is_described(self):
        self.check(120000, lambda: self.call("Describe"))


class Library(WithBroker):
    def test_an_environment_is_opened_mapped_and_closed(self):
        holder, client = self.connection(), os.path.join(os.environ["BUILD"], "tests/counted-client")
        holder.call("Open", environment="five", create="always", definition={"regions": REGIONS})
        holder.call("Ready", environment="five")
        with tempfile.TemporaryDirectory(prefix="instructions-") as counts:
            subprocess.run([*counting("region_broker_socket", counts), client, self.socket, "five", str(ROUNDS)],
                           check=True, timeout=PATIENCE)
            count = counted(counts, 2) / ROUNDS
        print(f"library: {count:.0f} instructions", file=sys.stderr)
        self.assertLess(count, 980000)


if not shutil.which("valgrind"):
    print("skipped: valgrind is not installed")
    sys.exit(77)
main()
