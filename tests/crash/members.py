"""Processes that hold memory of the broker's, and know what has to be in it."""

import ctypes
import hashlib
import json
import mmap
import os
import select
import signal
import socket

from puppets import Actor, Connection, Page, Puppet, Refused, libc

libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.shmdt.argtypes = [ctypes.c_void_p]


def pattern(region):
    """What is in a region: it tells which one it is, and each of its bytes counts."""
    return hashlib.sha256(region["id"].encode()).digest() * (region["size"] // 32)


class Descriptor:
    """Memory behind a descriptor."""

    def __init__(self, descriptor, size, access):
        self.bytes = mmap.mmap(descriptor, size, access=mmap.ACCESS_WRITE if access == "write" else mmap.ACCESS_READ)

    def read(self):
        return self.bytes[:]

    def write(self, text):
        self.bytes[:] = text

    def unmap(self):
        self.bytes.close()


class Segment:
    """System V memory."""

    def __init__(self, shm_id, size):
        self.address, self.size = libc.shmat(shm_id, None, 0), size
        if self.address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "shmat")

    def read(self):
        return ctypes.string_at(self.address, self.size)

    def write(self, text):
        ctypes.memmove(self.address, text, self.size)

    def unmap(self):
        libc.shmdt(self.address)


class Member(Actor):
    """What one of them can do, each in its own process."""

    def __init__(self):
        self.memory = {}  # by the region's id: its environment, the region, the mapping
        self.environments = set()  # that it ever was in, here
        self.pages = {}

    def begin(self, path):
        self.path = path
        self.connection = Connection(path)

    def part(self):
        """From all that it is in."""
        while self.environments:
            environment = min(self.environments)
            self.unmap(environment)
            try:
                reply = self.call("Detach", environment=environment)
            except Refused:
                reply = {}
            if "lost" in reply:
                return reply
            self.environments.remove(environment)
        return {}

    def rest(self):
        """Until it begins anew, elsewhere."""
        self.connection.close()

    def connect(self):
        """A session of its own."""
        self.connection.close()
        self.connection = Connection(self.path)

    def again(self):
        """Where the session is over. It may also have waited to be accepted all the while."""
        if not self.connection.is_quiet():
            self.connect()

    def call(self, method, fill=False, **parameters):
        """Whatever is granted is mapped. A call that the broker did not survive is lost."""
        try:
            self.connection.send(method, **parameters)
            reply, descriptors = self.connection.receive()
        except (EOFError, ConnectionError):
            return {"lost": True}
        environment = parameters.get("environment")
        if method in ("Open", "Adopt"):
            self.environments.add(environment)
        if "controlFileDescriptor" in reply:
            self.pages[environment] = Page(descriptors[reply["controlFileDescriptor"]])
        for grant in reply.get("grants", []) + [reply[key] for key in ["grant"] if key in reply]:
            self.take(environment, grant, descriptors, fill)
        for descriptor in descriptors:
            os.close(descriptor)
        return reply

    def take(self, environment, grant, descriptors, fill):
        region, known = grant["region"], self.memory.get(grant["region"]["id"])
        if region["backing"] == "private":
            return
        if region["backing"] == "sysv":
            mapping = Segment(region["shmId"], region["size"])
        else:
            mapping = Descriptor(descriptors[grant["regionFileDescriptor"]], region["size"], grant["access"])
        if known:  # it has to be the same memory
            same = mapping.read() == known[2].read()
            mapping.unmap()
            assert same, f"{environment}/{region['name']} was granted again, and is another"
            return
        if fill:
            mapping.write(pattern(region))
        self.memory[region["id"]] = environment, region, mapping

    def wrong(self):
        """Regions whose bytes are not what they have to be."""
        return [f"{environment}/{region['name']}" for environment, region, mapping in self.memory.values()
                if mapping.read() != pattern(region)]

    def unmap(self, environment, region=None):
        for key, (of, what, mapping) in list(self.memory.items()):
            if of == environment and region in (None, what["name"]):
                mapping.unmap()
                del self.memory[key]

    def is_draining(self, environment):
        return self.pages[environment].draining

    def beget(self, path):
        """A child that has all that we have; it is told what to do at the path."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            pid = os.fork()
            if pid == 0:
                channel = listening.accept()[0]
                listening.close()
                os.dup2(channel.fileno(), 3)  # our parent's, which is not ours to read
                channel.detach()
                serve(socket.socket(fileno=3), self)
        return pid


def serve(channel, member):
    for line in channel.makefile():
        what, parameters = json.loads(line)
        try:
            answer = "done", getattr(member, what)(**parameters)
        except Refused as refused:
            answer = "refused", refused.args
        except Exception as error:
            answer = "failed", repr(error)
        channel.sendall(json.dumps(answer).encode() + b"\n")
    os._exit(0)


def live(channel, _):
    serve(channel, Member())


class Child(Puppet):
    """One that a member begot."""

    def __init__(self, path, pid):
        self.pid, self.pidfd, self.alive, self.buffer = pid, os.pidfd_open(pid), True, b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)

    def murder(self):
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self):
        select.select([self.pidfd], [], [])
        os.close(self.pidfd)
        self.alive = False
        self.socket.close()
