"""What the tests in Python share: sessions that speak the contract themselves, puppets (forked processes that do what
they are told), watches, the control page, and a broker for each class.

REGION_BROKER names the broker to try. Nothing here sleeps to be in time: what has to happen is waited for, within
bounds.
"""

import contextlib
import ctypes
import json
import mmap
import os
import platform
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

BROKER = os.path.abspath(os.environ.get("REGION_BROKER", "build/daemon/region-broker"))
PATIENCE = 120  # seconds, for anything
# a sanitizer keeps what was freed; so little of it that growing is still seen
SANITIZER = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
INITIALIZING, READY, DIRTY, RECOVERING, RETIRED = range(1, 6)


# --- speaking with the broker ---------------------------------------------------------------------------------------

class Refused(Exception):
    def __init__(self, error, parameters):
        super().__init__(error, parameters)
        self.error = error.split(".")[-1]
        self.parameters = parameters


class Connection:
    """One session."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)

    def send(self, method, more=False, **parameters):
        call = {"method": "org.regionbroker." + method, "parameters": parameters, "more": more}
        self.socket.sendall(json.dumps(call).encode() + b"\0")

    def receive(self):
        """The parameters of one reply, and its descriptors. Reads no further than its end."""
        text, descriptors = b"", []
        while not text.endswith(b"\0"):
            ahead = self.socket.recv(65536, socket.MSG_PEEK)
            if not ahead:
                raise EOFError("the broker closed the connection")
            part, received, flags, _ = socket.recv_fds(self.socket, ahead.find(b"\0") + 1 or len(ahead), 253)
            assert not flags & socket.MSG_CTRUNC
            text += part
            descriptors += received
        reply = json.loads(text[:-1])
        if "error" in reply:
            raise Refused(reply["error"], reply.get("parameters", {}))
        return reply.get("parameters", {}), descriptors

    def call(self, method, **parameters):
        self.send(method, **parameters)
        reply, descriptors = self.receive()
        for descriptor in descriptors:
            os.close(descriptor)
        return reply

    def is_quiet(self):
        """Nothing has come by now. A call of another session that was answered since makes this more than a guess."""
        return not select.select([self.socket], [], [], 0)[0]

    def close(self):
        self.socket.close()


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.syscall.restype = ctypes.c_long
SYS_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}[platform.machine()]


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class Page:
    """The control page, mapped read-only. It is left mapped: it is one page."""

    def __init__(self, descriptor):
        self.address = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        assert self.address != ctypes.c_void_p(-1).value, "mmap"
        assert self.word(0) == 0x4C525443

    def word(self, offset):
        return ctypes.c_uint32.from_address(self.address + offset).value

    def long(self, offset):
        return ctypes.c_uint64.from_address(self.address + offset).value

    change = property(lambda self: self.word(8))
    state = property(lambda self: self.word(12))
    generation = property(lambda self: self.long(16))
    deaths = property(lambda self: self.long(24))
    draining = property(lambda self: self.word(32) & 1 != 0)

    def sleep(self, change, seconds):
        """Until it is no longer as it was, or the time is over."""
        end = Timespec(int(seconds), int(seconds % 1 * 1e9))
        libc.syscall(SYS_FUTEX, ctypes.c_void_p(self.address + 8), 0, ctypes.c_uint(change), ctypes.byref(end), None, 0)

    def wait_until(self, is_so):
        end = time.monotonic() + PATIENCE
        while True:
            change = self.change
            if is_so():
                return
            if time.monotonic() > end:
                raise AssertionError(f"the page stays at state {self.state}, generation {self.generation}")
            self.sleep(change, 1)

    def wait(self, state):
        self.wait_until(lambda: self.state == state)


# --- processes ------------------------------------------------------------------------------------------------------

class Actor:
    """What a puppet can do; each runs in its own process."""

    def __init__(self, path):
        self.path = path
        self.connection = Connection(path)
        self.memory = []
        self.kept = None  # a list: of the descriptors that came with Open

    def call(self, method, **parameters):
        return self.connection.call(method, **parameters)

    def send(self, method, **parameters):
        """Without waiting for what it says."""
        self.connection.send(method, **parameters)

    def open(self, **parameters):
        """Open, and map what was granted."""
        self.connection.send("Open", **parameters)
        reply, descriptors = self.connection.receive()
        for grant in reply["grants"]:
            access = mmap.ACCESS_WRITE if grant["access"] == "write" else mmap.ACCESS_READ
            if "regionFileDescriptor" in grant:
                descriptor = descriptors[grant["regionFileDescriptor"]]
                self.memory.append(mmap.mmap(descriptor, grant["region"]["size"], access=access))
        if self.kept is not None:
            self.kept += [descriptors[grant["regionFileDescriptor"]] for grant in reply["grants"]]
        for descriptor in descriptors:
            if descriptor not in (self.kept or []):
                os.close(descriptor)
        return reply

    def unmap(self):
        for memory in self.memory:
            memory.close()
        self.memory = []

    def fill(self):
        for memory in self.memory:
            memory[:] = b"x" * len(memory)

    def leave(self, environment):
        self.unmap()
        self.call("Detach", environment=environment)

    def hang_up(self):
        """Leaves in an orderly way, as far as the broker can see, and keeps what it has mapped."""
        self.connection.close()

    def exit(self, status):
        os._exit(status)


class Puppet:
    """A process that does what it is told, one thing at a time; the answers may be waited for later."""

    def __init__(self, test, path, uid=None, work=None):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.live(theirs, path, uid, work or perform)
            finally:
                os._exit(99)
        theirs.close()
        self.socket = ours
        self.socket.settimeout(PATIENCE)
        self.buffer = b""
        self.alive = True
        test.addCleanup(self.end)

    @staticmethod
    def live(theirs, path, uid, work):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(theirs.fileno(), 3)
        theirs.detach()
        os.closerange(4, 4096)  # nothing of the test's, nor of its other puppets
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        work(socket.socket(fileno=3), path)

    def tell(self, what, **parameters):
        self.socket.sendall(json.dumps([what, parameters]).encode() + b"\n")

    def answer(self):
        """What it says next; what was refused to it is raised here."""
        while b"\n" not in self.buffer:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(f"puppet {self.pid} is gone")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        kind, value = json.loads(line)
        if kind == "refused":
            raise Refused(*value)
        assert kind == "done", value
        return value

    def has_answer(self):
        return b"\n" in self.buffer or bool(select.select([self.socket], [], [], 0)[0])

    def do(self, what, **parameters):
        self.tell(what, **parameters)
        return self.answer()

    def call(self, method, **parameters):
        return self.do("call", method=method, **parameters)

    def open(self, environment, **parameters):
        return self.do("open", environment=environment, **parameters)

    def kill(self):
        """As soon as this returns it is dead; what the broker makes of it follows."""
        self.murder()
        self.reap()

    def murder(self):
        """It is not waited for: until reap() every kernel can tell how it ended."""
        os.kill(self.pid, signal.SIGKILL)

    def reap(self):
        self.alive = False
        self.socket.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self):
        if self.alive:
            self.kill()


def perform(theirs, path, kind=None):
    actor = (kind or Actor)(path)  # which may have been given more to do
    for line in theirs.makefile():
        what, parameters = json.loads(line)
        try:
            answer = "done", getattr(actor, what)(**parameters)
        except Refused as refused:
            answer = "refused", refused.args
        except Exception as error:
            answer = "failed", repr(error)
        theirs.sendall(json.dumps(answer).encode() + b"\n")
    os._exit(0)


class Watch:
    """Events as they are told."""

    def __init__(self, path, **parameters):
        self.connection = Connection(path)
        self.connection.send("Watch", more=True, **parameters)
        try:
            self.first = self.connection.receive()[0]
        except Refused:
            self.connection.close()
            raise

    def next(self):
        reply = self.connection.receive()[0]
        return {**reply["event"], "missed": reply.get("missed")}

    def until(self, kind, environment=None):
        """All events up to one of that kind."""
        events = []
        while not events or events[-1]["kind"] != kind or environment not in (None, events[-1]["environment"]):
            events.append(self.next())
        return events


class WithBroker(unittest.TestCase):
    options = ["--user"]
    wrapper = []  # a program to run it in

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="life-")
        os.chmod(cls.folder.name, 0o755)
        cls.socket = os.path.join(cls.folder.name, "socket")
        cls.log = open(os.path.join(cls.folder.name, "log"), "w+")
        cls.start()

    @classmethod
    def start(cls):
        """Also again, in the same directories."""
        cls.broker = subprocess.Popen(
            [*cls.wrapper, BROKER, "--no-config", *cls.options, "--runtime-directory", os.path.join(cls.folder.name, "run"),
             "--state-directory", os.path.join(cls.folder.name, "state"), "--listen", cls.socket],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "ASAN_OPTIONS": SANITIZER})
        for line in cls.broker.stderr:
            cls.log.write(line.decode())
            if b"listening on " + cls.socket.encode() in line:
                break
        cls.log.flush()
        # what it says later is not read: into a file, so that it does not stand in the pipe
        cls.reader = subprocess.Popen(["cat"], stdin=cls.broker.stderr, stdout=cls.log)
        cls.broker.stderr.close()

    @classmethod
    def tearDownClass(cls):
        code = cls.stop(signal.SIGINT)  # not to be gone on with
        cls.log.seek(0)
        log = cls.log.read()
        cls.log.close()
        cls.folder.cleanup()
        if code != 0 or "ERROR" in log or "runtime error" in log:
            raise AssertionError(f"the broker ended with {code}: {log[-4000:]}")

    @classmethod
    def stop(cls, how):
        cls.broker.send_signal(how)
        code = cls.broker.wait(PATIENCE)
        cls.reader.wait(PATIENCE)
        return code

    def setUp(self):
        self.env = self.id().split(".")[-1]

    def wait_until_all_is_gone(self):
        """What another test left is reclaimed, and tells no more events."""
        connection, end = self.connection(), time.monotonic() + PATIENCE
        while (figures := connection.call("GetStatistics"))["environments"]:
            self.assertLess(time.monotonic(), end, figures)
            select.select([], [], [], 0.001)  # others need the processor, too

    def puppet(self, **more):
        return Puppet(self, self.socket, **more)

    def connection(self):
        connection = Connection(self.socket)
        self.addCleanup(connection.close)
        return connection

    def watch(self, **parameters):
        watch = Watch(self.socket, **parameters)
        self.addCleanup(watch.connection.close)
        return watch

    def create(self, puppet=None, ready=True, **definition):
        """An environment of the test's own name with a puppet in it, its initializer."""
        puppet = puppet or self.puppet()
        definition.setdefault("regions", [{"name": "data", "size": 4096}, {"name": "more", "size": 8192}])
        puppet.open(self.env, create="always", definition=definition)
        if ready:
            puppet.call("Ready", environment=self.env)
        return puppet

    def join(self, **parameters):
        puppet = self.puppet()
        puppet.open(self.env, **parameters)
        return puppet

    def page(self, environment=None):
        """The control page, mapped by one who then leaves."""
        connection = Connection(self.socket)
        connection.send("Open", environment=environment or self.env, access="read", regions=[])
        _, descriptors = connection.receive()
        page = Page(descriptors[0])
        os.close(descriptors[0])
        connection.call("Detach", environment=environment or self.env)
        connection.close()
        return page

    def refused(self, error, do, *words, **parameters):
        with self.assertRaises(Refused) as caught:
            do(*words, **parameters)
        self.assertEqual(caught.exception.error, error, caught.exception.parameters)
        return caught.exception.parameters

    def describe(self):
        return self.connection().call("Describe", environment=self.env)

    def explain(self, **parameters):
        return self.connection().call("Explain", environment=self.env, **parameters)

    def says(self, pattern, **parameters):
        explanation = self.explain(**parameters)
        self.assertTrue(any(re.search(pattern, reason) for reason in explanation["reasons"]), explanation["reasons"])
        return explanation

    def barrier(self):
        """What was sent to the broker before this has been looked at after it."""
        self.connection().call("GetStatistics")


class Stray:
    """A process that is not this one's child, but its own to end; known by more than a number, which others get in time."""

    def __init__(self, test, pid):
        self.pidfd = os.pidfd_open(pid)
        test.addCleanup(self.end)

    def kill(self):
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        os.close(self.pidfd)


def main():
    if not os.access(BROKER, os.X_OK):
        sys.exit(f"{BROKER} is not built; REGION_BROKER names it")
    unittest.main()
