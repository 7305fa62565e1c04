#!/usr/bin/env python3
"""A client that is not from this project (main.go: Go, with Debian's varlink-go) against the real broker.

    REGION_BROKER=build/daemon/region-broker tests/foreign/run.py [-v]

Exits with 77 where Go or that library is not installed. Nothing is downloaded.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PROTO = os.path.join(HERE, "../../proto")
BROKER = os.path.abspath(os.environ.get("REGION_BROKER", "build/daemon/region-broker"))
GOPATH = "/usr/share/gocode"
LIBRARY = os.path.join(GOPATH, "src/github.com/varlink/go/varlink")
PATIENCE = 600  # seconds, for anything
SKIP = 77
PAGES = 8192    # what a region of 5000 bytes takes


def build(folder):
    """The client, built from what is on this machine and nothing else."""
    client = os.path.join(folder, "client")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": GOPATH, "GOFLAGS": "", "GOPROXY": "off",
                   "CGO_ENABLED": "0", "GOCACHE": os.path.join(folder, "cache")}
    subprocess.run(["go", "build", "-o", client, os.path.join(HERE, "main.go")], env=environment, check=True,
                   timeout=PATIENCE)
    return client


@contextlib.contextmanager
def running_broker(folder):
    """Listening; its socket. Says on leaving what it logged, where that is of interest."""
    path = os.path.join(folder, "socket")
    command = [BROKER, "--no-config", "--user", "--listen", path, "--runtime-directory", os.path.join(folder, "run"),
               "--state-directory", os.path.join(folder, "state")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as broker:
        try:
            while "listening on" not in (line := broker.stderr.readline()):
                if not line:
                    raise AssertionError("the broker ended before it listened")
            yield path
        finally:
            broker.send_signal(signal.SIGINT)  # not to be gone on with
            said = broker.communicate(timeout=PATIENCE)[1]
    if broker.returncode != 0:
        raise AssertionError(f"the broker ended with {broker.returncode}:\n{said}")


def contract(interface):
    with open(os.path.join(PROTO, interface + ".varlink"), encoding="utf-8") as file:
        return file.read()


class ForeignClient(unittest.TestCase):
    """What main.go printed, call by call."""

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(prefix="foreign-") as folder, running_broker(folder) as path:
            run = subprocess.run([build(folder), "unix:" + path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True, timeout=PATIENCE)
        if run.returncode != 0 or run.stderr:
            raise AssertionError(f"the client ended with {run.returncode}: {run.stderr}")
        cls.replies = [json.loads(line) for line in run.stdout.splitlines()]

    def replies_to(self, call):
        return [reply for reply in self.replies if reply["call"] == call]

    def results_of(self, call):
        return [reply["result"] for reply in self.replies_to(call) if "result" in reply]

    def errors_of(self, call):
        return [(reply["error"].rsplit(".", 1)[1], reply.get("parameters"))
                for reply in self.replies_to(call) if "error" in reply]

    def test_the_service_introduces_itself(self):
        info, = self.results_of("GetInfo")
        self.assertEqual(info["product"], "region-broker")
        self.assertEqual(info["interfaces"], ["org.varlink.service", "org.regionbroker"])

    def test_each_interface_is_described_as_it_was_written(self):
        self.assertEqual(self.results_of("GetInterfaceDescription"),
                         [contract("org.varlink.service"), contract("org.regionbroker")])

    def test_what_is_unknown_is_refused_by_name(self):
        self.assertEqual(self.errors_of("GetInterfaceDescription"), [("InterfaceNotFound", None)])
        self.assertEqual(self.errors_of("NoSuchMethod"), [("MethodNotFound", None)])

    def test_the_creator_is_told_to_initialise(self):
        memfd, sysv = self.results_of("Open")
        for opened, backing in (memfd, "memfd"), (sysv, "sysv"):
            self.assertEqual(opened["role"], "initializer")
            self.assertEqual(opened["environment"]["state"], "initializing")
            self.assertEqual(opened["environment"]["bytes"], PAGES)
            grant, = opened["grants"]
            self.assertEqual((grant["access"], grant["region"]["name"], grant["region"]["backing"]),
                             ("write", "counters", backing))
        self.assertEqual((memfd["controlFileDescriptor"], memfd["grants"][0]["regionFileDescriptor"]), (0, 1))
        self.assertNotIn("regionFileDescriptor", sysv["grants"][0])
        self.assertGreater(sysv["grants"][0]["region"]["shmKey"], 0)
        self.assertEqual(self.results_of("Ready"), [{"generation": 1}] * 2)

    def test_descriptors_that_the_client_cannot_take_do_no_harm(self):
        memfd, sysv = self.results_of("Attach")
        self.assertEqual(memfd["grant"]["regionFileDescriptor"], 0)
        self.assertNotIn("regionFileDescriptor", sysv["grant"])

    def test_the_holder_is_named(self):
        for described, name in zip(self.results_of("Describe"), ("foreign-memfd", "foreign-sysv"), strict=True):
            self.assertEqual((described["environment"]["name"], described["environment"]["state"]), (name, "ready"))
            holder, = described["attachments"]
            self.assertEqual((holder["command"], holder["region"], holder["standing"], holder["access"]),
                             ("client", "counters", "connected", "write"))

    def test_a_list_comes_as_one_reply_each(self):
        self.assertEqual([result["environment"]["name"] for result in self.results_of("List")],
                         ["foreign-memfd", "foreign-sysv"])
        self.assertEqual(self.errors_of("List"),
                         [("EnvironmentNotFound", {"environment": "*"}), ("ExpectedMore", None)])

    def test_what_is_free_is_removed_and_what_is_held_only_by_force(self):
        self.assertEqual(self.results_of("Remove"), [{"bytes": PAGES}] * 2)
        (name, parameters), = self.errors_of("Remove")
        self.assertEqual((name, parameters["environment"]), ("Busy", "foreign-sysv"))
        self.assertEqual([holder["command"] for holder in parameters["attachments"]], ["client"])

    def test_nothing_is_left(self):
        self.assertEqual(len(self.replies_to("Detach")), len(self.results_of("Detach")))
        statistics, = self.results_of("GetStatistics")
        for what in "environments", "regions", "attachments", "bytes":
            self.assertEqual(statistics[what], 0, what)
        self.assertEqual(statistics["sessions"], 1)


class WithoutRoomForDescriptors(unittest.TestCase):
    """Why that works: the kernel closes what a reader leaves no room for, says so to those who look, and goes on."""

    def call(self, peer, method, **parameters):
        """The reply, and whether descriptors of it were lost."""
        peer.sendall(json.dumps({"method": "org.regionbroker." + method, "parameters": parameters}).encode() + b"\0")
        text, flags = b"", 0
        while not text.endswith(b"\0"):
            part, _, more, _ = peer.recvmsg(65536)
            self.assertNotEqual(part, b"", "the broker hung up")
            text, flags = text + part, flags | more
        return json.loads(text[:-1]), bool(flags & socket.MSG_CTRUNC)

    def test_descriptors_are_closed_and_the_connection_goes_on(self):
        with tempfile.TemporaryDirectory(prefix="foreign-") as folder, running_broker(folder) as path, \
                socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(PATIENCE)
            peer.connect(path)
            before = len(os.listdir("/proc/self/fd"))
            opened, lost = self.call(peer, "Open", environment="lost", create="ifAbsent",
                                     definition={"regions": [{"name": str(i), "size": 1} for i in range(250)]})
            self.assertEqual(len(opened["parameters"]["grants"]), 250)
            self.assertTrue(lost)
            self.assertEqual(len(os.listdir("/proc/self/fd")), before)

            self.assertEqual(self.call(peer, "Ready", environment="lost"), ({"parameters": {"generation": 1}}, False))
            # none of the 250 is anywhere: with the attachment the memory goes
            self.assertEqual(self.call(peer, "Detach", environment="lost"), ({}, False))
            statistics, _ = self.call(peer, "GetStatistics")
            self.assertEqual(statistics["parameters"]["regions"], 0)


def skip(reason):
    print("skipped:", reason)
    sys.exit(SKIP)


if __name__ == "__main__":
    if not shutil.which("go"):
        skip("go is not installed (golang-go)")
    if not os.path.isdir(LIBRARY):
        skip(f"{LIBRARY} is not there (golang-github-varlink-go-dev)")
    if not os.access(BROKER, os.X_OK):
        sys.exit(f"{BROKER} is not built; REGION_BROKER names the broker")
    unittest.main()
