#!/usr/bin/env python3
"""Clients that speak the contract themselves, and have something under way when the broker is another.

talker: a session that is an initializer, one that waits for it, one that waits and has asked more meanwhile, a watch, and an
idle one. Says "PID talks", and again for each line that it reads, until that is "end"; then it goes on with all of them, and
says "well".

talker many N: N idle sessions. Says "PID talks"; for each line then it asks on each, and says "well", or "ended".
"""

import json
import os
import socket
import sys

PATHS = [os.path.join(folder, "region-broker/org.regionbroker")
         for folder in (os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "/run")]
PATIENCE = 60


class Session:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(next(path for path in PATHS if os.path.exists(path)))

    def send(self, *calls):
        """In one write; each a method and its parameters."""
        texts = [json.dumps({"method": "org.regionbroker." + method, "parameters": parameters, "more": method == "Watch"})
                 for method, parameters in calls]
        self.socket.sendall("".join(text + "\0" for text in texts).encode())

    def receive(self):
        text, descriptors = b"", []
        while not text.endswith(b"\0"):
            ahead = self.socket.recv(65536, socket.MSG_PEEK)
            assert ahead, "the broker closed the connection"
            part, received, _, _ = socket.recv_fds(self.socket, ahead.find(b"\0") + 1 or len(ahead), 253)
            text += part
            descriptors += received
        reply = json.loads(text[:-1])
        assert "error" not in reply, reply
        return reply["parameters"] if "parameters" in reply else {}, descriptors

    def call(self, method, **parameters):
        self.send((method, parameters))
        return self.receive()


def attachments(session):
    return [(row["pid"], row["standing"]) for row in session.call("Describe", environment="talk")[0]["attachments"]]


def talk():
    owner, waiter, asker, watcher, idle = [Session() for _ in range(5)]
    watcher.send(("Watch", {"environment": "talk"}))
    first = watcher.receive()[0]["sequence"]
    owner.call("Open", environment="talk", create="always",
               definition={"lifetime": "attached", "regions": [{"name": "data", "size": 4096}]})
    wait = "Open", {"environment": "talk", "waitUSec": 3600 * 1000000}
    waiter.send(wait)
    asker.send(wait, ("GetStatistics", {}), ("Describe", {"environment": "talk"}))
    idle.call("GetStatistics")
    line = ""
    while line != "end\n":
        print(os.getpid(), "talks", flush=True)
        line = sys.stdin.readline()
    assert attachments(idle) == [(os.getpid(), "connected")]
    owner.call("Ready", environment="talk")
    for session in waiter, asker:
        reply, descriptors = session.receive()
        assert reply["role"] == "member" and len(descriptors) == 2
    assert asker.receive()[0]["environments"] >= 1
    assert asker.receive()[0]["environment"]["state"] == "ready"
    told = [watcher.receive()[0] for _ in range(5)]
    assert [reply["event"]["kind"] for reply in told] == ["created", "attached", "ready", "attached", "attached"]
    assert [reply["sequence"] for reply in told] == list(range(first + 1, first + 6)), told
    assert attachments(idle) == [(os.getpid(), "connected")] * 3
    print("well", flush=True)


def be_many(n):
    sessions = [Session() for _ in range(n)]
    for session in sessions:
        session.call("GetStatistics")
    print(os.getpid(), "talks", flush=True)
    for _ in sys.stdin:
        try:
            for session in sessions:
                session.call("GetStatistics")
            print("well", flush=True)
        except (AssertionError, OSError):
            print("ended", flush=True)


if len(sys.argv) > 1:
    be_many(int(sys.argv[2]))
else:
    talk()
