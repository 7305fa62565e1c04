#!/usr/bin/env python3
"""The example programs, as a reader would run them, against the real broker.

    BUILD=build tests/integration/test-examples.py [-v]

demo.sh is the larger half of the test: it fails by itself when anything is not as it promises.
"""

import os
import subprocess
import sys
import tempfile
import unittest

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
EXAMPLES = os.path.join(BUILD, "client/examples")
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../client/examples")
PATIENCE = 60  # seconds, for anything


class Hello(unittest.TestCase):
    def test_hello_counts_processes_until_it_is_removed(self):
        with tempfile.TemporaryDirectory(prefix="examples-") as folder:
            socket = os.path.join(folder, "socket")
            for name in ("run", "state"):
                os.mkdir(os.path.join(folder, name))
            command = [os.path.join(BUILD, "daemon/region-broker"), "--user", "--listen", socket,
                       "--runtime-directory", os.path.join(folder, "run"),
                       "--state-directory", os.path.join(folder, "state")]
            environment = {**os.environ, "REGION_BROKER_SOCKET": socket}
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as broker:
                try:
                    while "listening on" not in (line := broker.stderr.readline()):
                        self.assertNotEqual(line, "", "the broker ended before it listened")
                    said = [self.run_one([os.path.join(EXAMPLES, "hello")], environment) for _ in range(3)]
                    self.assertEqual(said, [f"process number {i}\n" for i in (1, 2, 3)])
                    regionctl = os.path.join(BUILD, "client/ctl/regionctl")
                    self.assertEqual(self.run_one([regionctl, "remove", "hello"], environment), "removed hello: 4K\n")
                finally:
                    broker.terminate()

    def run_one(self, command, environment):
        return subprocess.run(command, env=environment, check=True, timeout=PATIENCE, text=True,
                              stdout=subprocess.PIPE).stdout


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
