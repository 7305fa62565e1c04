"""What the tests of the configuration have in common: a broker with files of the test, and sessions of other users."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

BROKER = os.path.abspath(os.environ.get("REGION_BROKER", "build/daemon/region-broker"))
REGIONCTL = os.path.join(os.environ.get("BUILD", "build"), "client/ctl/regionctl")
PATIENCE = 60  # seconds, for anything
ALICE, BOB = 4711, 4712  # users of the kernel's alone; nobody has to know their names
CLUB = 4799
NAME_NOT_ALLOWED = "org.regionbroker.NameNotAllowed"
QUOTA_EXCEEDED = "org.regionbroker.QuotaExceeded"

# A session of its own, as another user where one is named: a call a line, an answer a line.
OTHER = """
import os, socket, sys
if len(sys.argv) > 2:
    uid, gid, *groups = map(int, sys.argv[2:])
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(%d)
peer.connect(sys.argv[1])
for line in sys.stdin:
    try:
        peer.sendall(line.encode() + b"\\0")
    except OSError:
        pass  # turned away; it was said why
    text = b""
    while not text.endswith(b"\\0"):
        part = peer.recv(65536)
        if not part:
            sys.exit("the broker hung up")
        text += part
    print(text[:-1].decode(), flush=True)
""" % PATIENCE


def environment_of(*sizes, **definition):
    regions = [{"name": f"r{i}", "size": size} for i, size in enumerate(sizes)]
    return {"create": "always", "definition": {"reserve": False, "regions": regions, **definition}}


class Peer:
    """One session, of a process of its own."""

    def __init__(self, path, user=(), groups=()):
        ids = map(str, [*user, *groups])
        self.process = subprocess.Popen([sys.executable, "-c", OTHER, path, *ids], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def ask(self, method, **parameters):
        call = {"method": f"org.regionbroker.{method}", "parameters": parameters}
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"no answer to {method}")
        return json.loads(line)

    def open(self, name, *sizes, **definition):
        """Makes an environment; the name of the error, or None, and its parameters."""
        reply = self.ask("Open", environment=name, **environment_of(*sizes, **definition))
        return reply.get("error"), reply["parameters"]

    def settings(self):
        found = self.ask("GetConfiguration")["parameters"]["settings"]
        return {setting["name"]: (setting["value"], setting["source"]) for setting in found}

    def limits(self):
        return self.ask("GetStatistics")["parameters"]["limits"]


class Configuration(unittest.TestCase):
    def setUp(self):
        self.folder = os.path.realpath(self.enterContext(tempfile.TemporaryDirectory(prefix="configuration-")))
        os.chmod(self.folder, 0o755)
        self.socket = self.path("run/org.regionbroker")
        self.file = self.path("broker.conf")
        self.directories = ["--runtime-directory", self.path("run"), "--state-directory", self.path("state")]
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("XDG_") and name not in ("HOME", "JOURNAL_STREAM")}

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, path, *lines, mode=0o644):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        os.chmod(path, mode)

    def configure(self, *lines):
        self.write(self.file, *lines)

    def check(self, *options):
        return subprocess.run([BROKER, "--check-config", *options], env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE)

    def wait_for_line(self, broker, text):
        while text not in broker.said:
            line = broker.stderr.readline()
            self.assertNotEqual(line, "", f"the broker ended without saying '{text}': {broker.said}")
            broker.said += line

    @contextlib.contextmanager
    def running(self, *options, standard=False):
        """A broker with the file of the test; it has to end in order. Its log is in broker.said."""
        options = [*self.directories, *([] if standard else ["--config", self.file]), *options]
        with subprocess.Popen([BROKER, *options], env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as broker:
            try:
                broker.said = ""
                self.wait_for_line(broker, "listening on")
                yield broker
            finally:
                broker.send_signal(signal.SIGINT)
                broker.said += broker.communicate(timeout=PATIENCE)[1]
        self.assertEqual(broker.returncode, 0, broker.said)

    def reload(self, broker, outcome="read the configuration anew"):
        seen = len(broker.said)
        broker.send_signal(signal.SIGHUP)
        while outcome not in broker.said[seen:]:
            line = broker.stderr.readline()
            self.assertNotEqual(line, "", f"the broker ended: {broker.said}")
            broker.said += line
        return broker.said[seen:]

    def peer(self, *user, groups=()):
        """A session; of a user, uid and gid, in more groups."""
        return self.enterContext(Peer(self.socket, user, groups))

    def regionctl(self, *options):
        environment = {**self.environment, "REGION_BROKER_SOCKET": self.socket, "LC_ALL": "C.UTF-8"}
        return subprocess.run([REGIONCTL, *options], env=environment, capture_output=True, text=True, timeout=PATIENCE)

    def as_root(self):
        if os.geteuid() != 0:
            self.skipTest("has to be root, to become other users")
