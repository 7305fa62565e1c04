"""A service manager for tests: it starts brokers as systemd does, and keeps what they ask it to keep."""

import fcntl
import os
import select
import shutil
import signal
import socket
import tempfile
import time

from puppets import BROKER, PATIENCE, SANITIZER


def wait_until(is_so, what):
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.01)  # nothing tells of it


def regions(n):
    return [{"name": f"region-{i}", "size": 4096} for i in range(n)]


class Manager:
    """Starts brokers as systemd does, and keeps what they ask it to keep."""

    def __init__(self, test):
        self.folder = tempfile.mkdtemp(prefix="activation-")
        test.addCleanup(shutil.rmtree, self.folder)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path("notify"))
        self.notify.settimeout(PATIENCE)
        test.addCleanup(self.notify.close)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path("socket"))
        self.listening.listen()
        test.addCleanup(self.listening.close)
        self.kept = {}
        self.messages = []
        self.pid = None
        test.addCleanup(self.end)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, *options, passed=None, **variables):
        """`passed`: (name, descriptor)s; by default the listening socket, and what was kept. A variable that is None is not
        there at all."""
        if passed is None:
            passed = [("region-broker.socket", self.listening.fileno())]
        passed = passed + list(self.kept.items())
        words = [BROKER, "--no-config", "--user", "--runtime-directory", self.path("run"),
                 "--state-directory", self.path("state"), *options]
        variables = {**os.environ, "ASAN_OPTIONS": SANITIZER, "NOTIFY_SOCKET": self.path("notify"), **variables}
        if passed:
            variables.update(LISTEN_FDS=str(len(passed)), LISTEN_FDNAMES=":".join(name for name, _ in passed))
        variables = {name: value for name, value in variables.items() if value is not None}
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 1000) for _, fd in passed]
        log = os.open(self.path("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self.pid = os.posix_spawn(
            "/bin/sh", ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *words], variables,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 2)] +
            [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(high)])
        for fd in [log, *high]:
            os.close(fd)

    def hear(self):
        """One message; what is to be kept is kept."""
        text, descriptors, _, _ = socket.recv_fds(self.notify, 4096, 16)
        said = dict(line.split("=", 1) for line in text.decode().splitlines())
        if "FDSTOREREMOVE" in said:
            os.close(self.kept.pop(said["FDNAME"]))
        elif "FDSTORE" in said:
            assert said["FDPOLL"] == "0" and len(descriptors) == 1
            os.set_inheritable(descriptors[0], False)  # only as what is passed
            self.kept[said["FDNAME"]] = descriptors[0]
        self.messages.append(said)
        return said

    def hear_all(self):
        """What it has said by now. It waits for us where that is more than a few messages."""
        while select.select([self.notify], [], [], 0)[0]:
            self.hear()

    def hear_until(self, is_so):
        while not is_so(self.hear()):
            pass

    def wait_ready(self):
        self.hear_until(lambda said: "READY" in said)

    def wait_status(self, line):
        self.hear_until(lambda said: said.get("STATUS") == line)

    def log(self):
        with open(self.path("log"), encoding="utf-8") as file:
            return file.read()

    def reap(self):
        """How it ended."""
        end = time.monotonic() + PATIENCE
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                self.hear_all()
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, "the broker does not end: " + self.log()
            # it may wait for us to hear
            if select.select([self.notify], [], [], 0.02)[0]:
                self.hear()

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        return self.reap()

    def end(self):
        if self.pid:
            self.kill(signal.SIGINT)
        for descriptor in self.kept.values():
            os.close(descriptor)
        self.kept = {}
