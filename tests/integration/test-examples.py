#!/usr/bin/env python3
"""The example programs and the client in the documentation, as a reader would run them, against the real broker.

    BUILD=build tests/integration/test-examples.py [-v]

demo.sh is the larger half of the test: it fails by itself when anything is not as it promises.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
EXAMPLES = os.path.join(BUILD, "client/examples")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
SOURCE = os.path.join(ROOT, "client/examples")
PATIENCE = 600  # seconds, for anything


class WithBroker(unittest.TestCase):
    """A broker of its own for each test, which has to end in order."""

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="examples-"))
        socket = os.path.join(folder, "socket")
        for name in ("run", "state"):
            os.mkdir(os.path.join(folder, name))
        command = [os.path.join(BUILD, "daemon/region-broker"), "--user", "--listen", socket,
                   "--runtime-directory", os.path.join(folder, "run"),
                   "--state-directory", os.path.join(folder, "state")]
        self.environment = {**os.environ, "REGION_BROKER_SOCKET": socket}
        broker = self.enterContext(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        self.addCleanup(broker.send_signal, signal.SIGINT)  # not to be gone on with
        while "listening on" not in (line := broker.stderr.readline()):
            self.assertNotEqual(line, "", "the broker ended before it listened")

    def run_one(self, *command, **more):
        return subprocess.run(command, env=self.environment, check=True, timeout=PATIENCE, text=True,
                              stdout=subprocess.PIPE, **more).stdout


class Hello(WithBroker):
    def test_hello_counts_processes_until_it_is_removed(self):
        said = [self.run_one(os.path.join(EXAMPLES, "hello")) for _ in range(3)]
        self.assertEqual(said, [f"process number {i}\n" for i in (1, 2, 3)])
        regionctl = os.path.join(BUILD, "client/ctl/regionctl")
        self.assertEqual(self.run_one(regionctl, "remove", "hello"), "removed hello: 4K\n")


class Documentation(WithBroker):
    def test_the_client_without_libregion_runs(self):
        with open(os.path.join(ROOT, "docs/protocol.md"), encoding="utf-8") as file:
            programs = re.findall(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)
        self.assertEqual(len(programs), 1)
        self.assertIn("run 1 times", self.run_one(sys.executable, "-c", programs[0], input="\n"))


class Demo(unittest.TestCase):
    def test_the_demo_keeps_its_promises(self):
        result = subprocess.run([os.path.join(SOURCE, "demo.sh")], env={**os.environ, "BUILD": BUILD},
                                timeout=PATIENCE, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        self.assertEqual(result.returncode, 0, result.stdout)


if __name__ == "__main__":
    if not os.access(os.path.join(EXAMPLES, "hello"), os.X_OK):
        sys.exit(f"{EXAMPLES}/hello is not built; BUILD names the build directory")
    unittest.main()
