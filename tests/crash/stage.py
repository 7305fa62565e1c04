"""One broker after the other in the same directories, the service manager that starts them, and the world around."""

import contextlib
import ctypes
import glob
import os
import re
import select
import signal
import socket
import subprocess
import time

import members
from manager import Manager
from puppets import PATIENCE, Connection, Puppet, Refused, libc

LIBRARY = os.environ["CRASH_LIBRARY"]
LEDGER_KEYS = os.environ["LEDGER_KEYS"]
IPC_STAT = 2


class Cleanups(contextlib.ExitStack):
    """As those of a test."""

    def addCleanup(self, function, *words):
        self.callback(function, *words)


company = {}  # members by their names; they end with us
company_cleanups = Cleanups()


def dismiss():
    """Who knows what they are doing."""
    for member in company.values():
        member.end()


class Lost(Exception):
    """The broker died before it answered."""


class Stage(Manager):
    """`kept`: the manager keeps descriptors. `at`: where the first broker is killed; `chain`: and each one after it, a
    little later each time."""

    def __init__(self, test, kept, at=None, chain=False, pages=False):
        super().__init__(test)
        self.kept_there, self.at, self.chain, self.pages = kept, at, chain, pages
        self.crashes, self.killed_at, self.pidfd = 0, None, None
        self.puppets = {}
        os.mkdir(self.path("home"))
        self.begin()
        self.observer = Connection(self.path("socket"))
        test.addCleanup(lambda: self.observer.close())

    # --- the broker -------------------------------------------------------------------------------------------------

    def begin(self):
        variables = {"LD_PRELOAD": LIBRARY, "CRASH_LOG": self.path("effects"), "CRASH_AT": self.at,
                     "CRASH_PAGES": "1" if self.pages else None}
        if not self.kept_there:
            variables["NOTIFY_SOCKET"] = None
        with open(self.path("effects"), "a", encoding="utf-8") as file:
            file.write("begin\n")
        self.start(**variables)
        self.pidfd = os.pidfd_open(self.pid)

    def on_death(self):
        """It is dead, and the next one begins; a session of each of the others is over."""
        os.close(self.pidfd)
        code = self.reap()
        effects = self.effects()
        if code != -signal.SIGKILL or self.at is None or not effects or effects[-1][0] != int(self.at.split(":")[0]):
            raise AssertionError(f"the broker ended with {code}:\n{self.log()[-4000:]}")
        self.crashes += 1
        self.killed_at = self.killed_at or effects[-1]
        self.at = f"{self.crashes}:before" if self.chain else None
        for puppet in self.puppets.values():
            puppet.is_stale = True
        self.begin()

    def effects(self):
        """Of the broker that runs, or ran last: number, kind and operation."""
        with open(self.path("effects"), encoding="utf-8") as file:
            lines = file.read().split("begin\n")[-1].splitlines()
        rows = [line.split() for line in lines if not line.startswith("made ")]
        return [(int(n), kind, operation) for n, kind, operation in rows]

    def made(self, what):
        with open(self.path("effects"), encoding="utf-8") as file:
            return set(re.findall(rf"^made {what} (.*)$", file.read(), re.MULTILINE))

    def end(self):
        if self.pid:
            os.close(self.pidfd)
        super().end()

    def stop(self):
        """In order. What it does then counts too."""
        while True:
            self.view()  # one that only begins knows no signals yet
            os.kill(self.pid, signal.SIGTERM)
            while not select.select([self.pidfd], [], [], 0.001)[0]:
                self.hear_all()
            if self.at is not None and self.effects()[-1][0] == int(self.at.split(":")[0]):
                self.on_death()
                continue
            os.close(self.pidfd)
            assert self.reap() == 0, self.log()[-4000:]
            return

    # --- members ----------------------------------------------------------------------------------------------------

    def member(self, name):
        """Members that did not die serve on one stage after the other."""
        if not (name in company and company[name].alive):
            company[name] = Puppet(company_cleanups, None, work=members.live)
        member = self.add(name, company[name])
        self.do(member, "begin", path=self.path("socket"))
        return member

    def child(self, name, parent):
        path = self.path(name)
        company[name] = members.Child(path, self.do(parent, "beget", path=path))
        return self.add(name, company[name])

    def add(self, name, puppet):
        puppet.name, puppet.is_stale, puppet.waits = name, False, False
        self.puppets[name] = puppet
        return puppet

    def name_of(self, pid):
        return next((name for name, puppet in self.puppets.items() if puppet.pid == pid), "?")

    def wait(self, is_so, what):
        """`what`: a descriptor that tells of it. Meanwhile brokers may come and go."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            ready = select.select([what, self.notify, self.pidfd], [], [], end - time.monotonic())[0]
            if not ready:
                raise AssertionError(f"waited in vain; the broker:\n{self.log()[-4000:]}")
            if self.notify in ready:
                self.hear()
            elif self.pidfd in ready:
                self.on_death()

    def tell(self, puppet, what, **parameters):
        if puppet.is_stale and what in ("call", "part"):
            puppet.is_stale = False
            self.do(puppet, "again")
        puppet.tell(what, **parameters)
        puppet.waits = True

    def answer(self, puppet):
        self.wait(puppet.has_answer, puppet.socket)
        puppet.waits = False
        answer = puppet.answer()
        if isinstance(answer, dict) and "lost" in answer:
            if not puppet.is_stale:  # it heard of it before we did
                select.select([self.pidfd], [], [], PATIENCE)
                self.on_death()
            raise Lost
        return answer

    def do(self, puppet, what, **parameters):
        self.tell(puppet, what, **parameters)
        return self.answer(puppet)

    def forget_waiting(self):
        """Whose calls were lost with the broker, or were answered and do not matter."""
        for puppet in self.puppets.values():
            if puppet.alive and puppet.waits:
                try:
                    self.answer(puppet)
                except (Lost, Refused):
                    pass

    def end_of(self, name):
        if self.puppets[name].alive:
            self.puppets[name].kill()

    # --- the world --------------------------------------------------------------------------------------------------

    def view(self):
        """All that the broker says there is, and by whom what has a name is held."""
        while True:
            try:
                return self.look()
            except (EOFError, ConnectionError):
                self.observer.close()
                self.observer = Connection(self.path("socket"))

    def look(self):
        environments = self.list()
        named = [environment for environment in environments if environment["state"] != "retired"]
        for environment in named:
            self.observer.send("Describe", environment=environment["name"])
        for environment in named:
            with contextlib.suppress(Refused):  # it went just now
                environment["holders"] = self.receive()["attachments"]
        return environments

    def list(self):
        environments = []
        self.observer.send("List", more=True)
        self.observer.send("GetStatistics")  # what follows the last of them
        while True:
            try:
                reply = self.receive()
            except Refused:  # there is none
                continue
            if "version" in reply:
                return environments
            environments.append(reply["environment"])

    def receive(self):
        observer = self.observer
        self.wait(lambda: not observer.is_quiet(), observer.socket)
        return observer.receive()[0]

    def snapshot(self):
        """What the broker says there is, so that it can be compared with that of another run; and where the world has
        something else."""
        view = self.view()
        # memory that has no name any more is lost where nobody keeps it
        lasting = [environment for environment in view if self.kept_there or environment["state"] != "retired"]
        return {"environments": sorted((self.normal(environment) for environment in lasting), key=repr),
                "files": self.files()}, self.strays(view), view

    def normal(self, environment):
        holders = [[self.name_of(holder["pid"]), holder.get("region"), holder["access"],
                    holder["standing"] == "inherited"] for holder in environment.get("holders", [])]
        regions = [[region["number"], region["name"], region["size"], region["backing"], region["attachments"],
                    "shmKey" in region, "path" in region] for region in environment["regions"]]
        facts = [environment.get(key) for key in ("state", "generation", "deaths", "lifetime", "attachments", "bytes")]
        return [environment["name"].replace(self.folder, ""), facts, regions, sorted(holders, key=repr)]

    @staticmethod
    def names_in(directory):
        """A description that is in force already and one that was not yet are the same: Ready was called, and not answered."""
        return sorted({name.removesuffix(".new") for name in os.listdir(directory)})

    def files(self):
        """Names in directories of the members', and in those that the broker made for environments."""
        homes = {os.path.basename(home): names for home in glob.glob(self.path("home/*"))
                 if (names := self.names_in(home))}
        own = sorted(self.names_in(path) for path in glob.glob(self.path("state/environment.*")))
        return {"homes": homes, "own": own}

    def strays(self, view):
        regions = [region for environment in view for region in environment["regions"]]
        there = {segment for segment in map(int, self.made("segment"))
                 if libc.shmctl(segment, IPC_STAT, self.buffer) == 0}
        names = {name for name in self.made("name") if os.path.exists(name)}
        told = {region["shmId"] for region in regions if "shmId" in region}
        paths = {region["path"] for region in regions if "path" in region and region["backing"] == "posix"}
        pages = len(glob.glob(self.path("run/control.*")))
        wrong = [f"segment {segment} is {'left' if segment in there else 'missing'}" for segment in there ^ told]
        wrong += [f"{name} is {'left' if name in names else 'missing'}" for name in names ^ paths]
        if pages != len(view):
            wrong.append(f"{pages} pages of {len(view)} environments")
        return wrong

    buffer = ctypes.create_string_buffer(256)

    def has_sessions(self, name):
        """And nothing else: those of who is still connected are for the next broker."""
        with socket.socket(fileno=os.dup(self.kept[name])) as queue:
            queue.setblocking(False)
            names = []
            with contextlib.suppress(BlockingIOError):
                while names[-1:] != [b""]:
                    names.append(queue.recv(64))
        return set(names) - {b""} and all(name.startswith(b"s") for name in names if name)

    def left(self):
        """When all is over."""
        left = self.strays([]) + [f"descriptor {name} is kept" for name in self.kept if not self.has_sessions(name)]
        keys = subprocess.run([LEDGER_KEYS, self.path("run")], capture_output=True, text=True, check=True).stdout
        left += [f"record {key} in the ledger" for key in keys.splitlines()
                 if key[0] not in ("AVS" if self.kept_there else "AV")]
        files = self.files()
        return left + [f"file {name} in {home}" for home, names in files["homes"].items() for name in names] + \
            [f"directory of {names}" for names in files["own"]]
