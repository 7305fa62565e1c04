#!/usr/bin/env python3
"""Measures the broker beside its limits and its peers: one run, one table. See docs/performance.md.

usage: bench.py [--json] [--quick] [ROW...]

Without ROW all rows; else those whose names begin with one of these words.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("BUILD") or os.path.join(os.path.dirname(__file__), "../../build")
BENCH = os.path.join(BUILD, "tests/bench")
PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers")
BROKER = os.path.join(BUILD, "daemon/region-broker")
REGIONS_MANY = 100000
CLIENTS_MANY = 9900  # each costs the broker two descriptors, of which the machine here allows 20000


class Table:
    """The rows, printed as they come to be known."""

    def __init__(self, wanted, as_json):
        self.wanted = wanted
        self.as_json = as_json
        self.missed = []

    def wants(self, *names):
        return not self.wanted or any(n.startswith(w) or w.startswith(n) for n in names for w in self.wanted)

    def head(self):
        self.line("name", "value", "unit", "reference", "ratio", "goal", "")

    def line(self, *cells):
        # beside the JSON, for people
        print("%-32s %12s %-6s %12s %9s  %-16s %s" % cells, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def row(self, name, value, unit, reference=None, goal=None, least=None, most=None):
        """`goal`: of the ratio at most; `least`: of the ratio at least; `most`: of the value itself."""
        if self.wanted and not any(name.startswith(w) for w in self.wanted):
            return
        ratio = value / reference if reference else None
        words, reached = None, None
        if goal is not None:
            words, reached = f"ratio <= {goal}", ratio <= goal
        elif least is not None:
            words, reached = f"ratio >= {least}", ratio >= least
        elif most is not None:
            words, reached = f"value <= {most}", value <= most
        if reached is False:
            self.missed.append(name)
        self.line(name, number(value), unit, number(reference), number(ratio), words or "",
                  "" if reached is None else "reached" if reached else "MISSED")
        if self.as_json:
            print(json.dumps({"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio,
                              "goal": words, "reached": reached}), flush=True)


def number(value):
    return "" if value is None else "%.4g" % value if abs(value) < 1000 else "%.0f" % value


# --- programs ---------------------------------------------------------------------------------------------------------

def before_exec():
    """What is measured goes before what else the machine does, where we may ask for that; and it ends with us."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


def start(command, **options):
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], preexec_fn=before_exec, **options)


def run(*command, **options):
    """What it tells: keys and values."""
    process = start([str(word) for word in command], stdout=subprocess.PIPE, text=True, **options)
    output, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"bench: {command[0]} failed")
    lines = (line.split() for line in output.splitlines())
    return {words[0]: float(words[1]) for words in lines if len(words) == 2}


def program(name):
    return os.path.join(BENCH, name)


def has(peer):
    return os.path.exists(program("peer-" + peer))


class Broker:
    """One in a directory of its own, which is on a tmpfs as /run is."""

    def __init__(self, directory, *options):
        os.makedirs(os.path.join(directory, "state"), mode=0o700)
        os.makedirs(os.path.join(directory, "runtime"), mode=0o700)
        self.directory = directory
        self.socket = os.path.join(directory, "socket")
        self.options = options
        self.process = None
        self.begin()

    def begin(self):
        """Returns how long it took until it answered."""
        before = time.monotonic()
        self.process = start([BROKER, "--user", "--no-config", "--listen", self.socket,
                              "--runtime-directory", os.path.join(self.directory, "runtime"),
                              "--state-directory", os.path.join(self.directory, "state"), *self.options],
                             stderr=subprocess.DEVNULL)
        while True:
            try:
                self.ask("org.varlink.service.GetInfo")
                return time.monotonic() - before
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("bench: the broker does not start") from None
                time.sleep(0.0005)

    def ask(self, method):
        import socket
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.socket)
            peer.sendall(json.dumps({"method": method}).encode() + b"\0")
            reply = b""
            while not reply.endswith(b"\0"):
                part = peer.recv(65536)
                if not part:
                    raise ConnectionResetError
                reply += part
        return json.loads(reply[:-1])

    def stay_on(self, cpu):
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setaffinity(int(task), {cpu})

    def memory(self, field="Pss"):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith(field + ":"))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Crowd:
    """Gives a broker much to do with."""

    def __init__(self, broker):
        self.process = start([program("bench-crowd"), broker.socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)

    def make(self, what, n):
        self.process.stdin.write(f"{what} {n}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise SystemExit(f"bench: the crowd could not make {n} {what}")

    def end(self):
        self.process.stdin.close()
        self.process.wait()


# --- rows ---------------------------------------------------------------------------------------------------------------

def micro(nsec):
    return nsec / 1000


class Bench:
    def __init__(self, table, directory, quick):
        self.table = table
        self.directory = directory
        self.quick = quick
        self.n_brokers = 0
        self.join5 = self.open5 = self.attach1 = self.create = None
        cpus = sorted(os.sched_getaffinity(0))
        self.cpus = cpus[0], cpus[-1]

    def scaled(self, n, quick):
        return quick if self.quick else n

    def broker(self, *options):
        self.n_brokers += 1
        return Broker(os.path.join(self.directory, f"broker{self.n_brokers}"), *options)

    def all(self):
        for rows, step in (
                (("open5", "attach1", "join5", "create", "throughput"), self.verbs),
                (("first_touch", "health"), self.touch),
                (("memory",), self.memory),
                (("growth", "restart"), self.growth),
                (("death", "mass_death"), self.deaths),
                (("open5", "attach1", "join5", "create", "death", "memory"), self.peers)):
            if self.table.wants(*rows):
                step()

    def verbs(self):
        broker = self.broker()
        places = [("", self.cpus[0])]
        if self.cpus[1] != self.cpus[0]:
            places.append(("/two-cpus", self.cpus[1]))
        for suffix, cpu in places:
            broker.stay_on(cpu)
            told = run(program("bench-verbs"), broker.socket, os.path.join(self.directory, "limit"), self.cpus[0], cpu,
                       self.scaled(20, 1), program("bench-join"))
            self.tell_verbs(told, suffix)
        broker.end()

    def tell_verbs(self, told, suffix):
        table = self.table
        for name, goal in (("open5", 1.6), ("attach1", 1.5), ("join5", 1.5)):
            table.row(name + suffix, micro(told[name + ".p50"]), "us", micro(told[name + ".limit.p50"]), goal=goal)
            table.row(name + suffix + "/p99", micro(told[name + ".p99"]), "us", micro(told[name + ".limit.p99"]))
        for backing in "memfd", "sysv", "posix":
            reference = told[f"raw.{backing}.p50"] + told["limit.p50"]
            name = "create" + ("" if backing == "memfd" else "/" + backing) + suffix
            table.row(name, micro(told[f"create.{backing}.p50"]), "us", micro(reference), goal=2.5)
            table.row(name + "/p99", micro(told[f"create.{backing}.p99"]), "us")
            table.row(name + "/raw", micro(told[f"raw.{backing}.p50"]), "us")
        table.row("create/file" + suffix + "/raw", micro(told["raw.file.p50"]), "us")
        for name, key in (("throughput", "pipelined"), ("throughput/connections", "connections")):
            table.row(name + suffix, 1e9 / told[key + ".p50"], "call/s", 1e9 / told[key + ".limit.p50"], least=0.5)
        if not suffix:
            self.open5, self.attach1, self.join5 = (micro(told[n + ".p50"]) for n in ("open5", "attach1", "join5"))
            self.create = micro(told["create.memfd.p50"])

    def touch(self):
        broker = self.broker()
        told = run(program("bench-memory"), broker.socket, self.scaled(9, 1))
        broker.end()
        table = self.table
        table.row("first_touch", told["first_touch.creator.p50"] / 1e6, "ms", told["first_touch.raw.p50"] / 1e6,
                  goal=0.15)
        table.row("first_touch/joiner", told["first_touch.joiner.p50"] / 1e6, "ms",
                  told["first_touch.raw_again.p50"] / 1e6, goal=0.15)
        table.row("health", told["health.state.p50"] / 1000, "ns", most=2)
        table.row("health/all", told["health.all.p50"] / 1000, "ns")
        table.row("health/mutex", told["mutex.p50"] / 1000, "ns", told["mutex.plain.p50"] / 1000)
        table.row("health/robust-pthread-mutex", told["mutex.robust.p50"] / 1000, "ns", told["mutex.plain.p50"] / 1000)

    def memory(self):
        broker = self.broker("--limit", "sessionsPerUser=9000")
        table = self.table
        table.row("memory", broker.memory() / 1e6, "MB", most=4)
        table.row("memory/resident", broker.memory("Rss") / 1e6, "MB")
        crowd = Crowd(broker)
        crowd.make("sessions", 100)
        n = self.scaled(5000, 200)
        each = {}
        for what, count in (("sessions", n), ("members", n), ("attach", n), ("environments", n), ("regions", 4 * n)):
            before = broker.memory()
            crowd.make(what, count)
            each[what] = (broker.memory() - before) / (count * (20 if what == "attach" else 1))
        crowd.end()
        broker.end()
        table.row("memory/session", each["sessions"], "byte", most=1024)
        table.row("memory/region", each["regions"], "byte", most=512)
        table.row("memory/attachment", each["attach"], "byte", most=256)
        table.row("memory/member", each["members"], "byte")
        table.row("memory/environment", each["environments"], "byte")

    def growth(self):
        limits = ("--limit", "sessions=15000", "--limit", "sessionsPerUser=15000", "--limit", "regionsPerUser=1000000")
        brokers = [self.broker(*limits) for _ in range(3)]
        crowds = [Crowd(broker) for broker in brokers]
        n = self.scaled(REGIONS_MANY, 1000)
        crowds[0].make("regions", 100)
        crowds[1].make("regions", n)
        crowds[2].make("sessions", self.scaled(10000, 300))
        rounds = self.scaled(15, 1)
        for suffix, large in (("", brokers[1]), ("/sessions", brokers[2])):
            told = run(program("bench-growth"), brokers[0].socket, large.socket, rounds)
            verbs = [key[:-len(".small.p50")] for key in told if key.endswith(".small.p50")]
            ratio = {verb: told[verb + ".large.p50"] / told[verb + ".small.p50"] for verb in verbs}
            worst = max(verbs, key=ratio.get)
            self.table.row("growth" + suffix, micro(told[worst + ".large.p50"]), "us", micro(told[worst + ".small.p50"]),
                           goal=1.2)
            for verb in verbs:
                self.table.row(f"growth{suffix}/{verb}", micro(told[verb + ".large.p50"]), "us",
                               micro(told[verb + ".small.p50"]), goal=1.2)
        self.restart(brokers[1], n)
        for crowd, broker in zip(crowds, brokers):
            crowd.end()
            broker.end()

    def restart(self, broker, n):
        times = []
        for _ in range(3):
            broker.kill()
            times.append(broker.begin())
            if broker.ask("org.regionbroker.GetStatistics")["parameters"]["regions"] < n:
                raise SystemExit("bench: regions were lost")
        self.table.row("restart", sorted(times)[1], "s", most=1)

    def deaths(self):
        limits = ("--limit", "sessions=15000", "--limit", "sessionsPerUser=15000")
        table = self.table
        for name, n in (("death/alone", 1), ("death/1000", 1000), ("death", CLIENTS_MANY)):
            if self.quick and n > 1:
                n = 30
            broker = self.broker(*limits)
            told = run(program("bench-death"), broker.socket, n, self.scaled(60, 2))
            broker.end()
            table.row(name, micro(told["death.p50"]), "us", micro(told["death.pidfd.p50"]), goal=1.5)
            table.row(name + "/p99", micro(told["death.p99"]), "us", micro(told["death.pidfd.p99"]), goal=1.5)
        table.row("mass_death", told["mass_death"] / 1e6, "ms", told["mass_death.kernel"] / 1e6, goal=1.5)
        table.row("mass_death/longest-wait", told["mass_death.wait.max"] / 1e6, "ms", most=50)
        table.row("mass_death/wait-p99", told["mass_death.wait.p99"] / 1e6, "ms")

    # --- peers: how long they take beside what we take, on the same CPU ---

    def peers(self):
        directory = os.path.join(self.directory, "peers")
        os.makedirs(directory)
        rounds = self.scaled(20, 1)
        pin = ["taskset", "-c", str(self.cpus[0])]

        def peer(name, *arguments):
            return run(*pin, program("peer-" + name), *arguments, cwd=directory)

        if has("db"):
            for kind in "file", "sysv":
                told = peer("db", kind, rounds)
                self.beside("open5", f"berkeley-db-{kind}", told["join.p50"], self.open5)
                self.beside("create", f"berkeley-db-{kind}", told["create.p50"], self.create)
        for name in "nspr", "boost", "qt":
            if has(name):
                told = peer(name, rounds)
                self.beside("attach1", name, told["attach.p50"], self.attach1)
                self.beside("create", name, told["create.p50"], self.create)
        told = run(*pin, sys.executable, os.path.join(PEERS, "peer-python.py"), rounds, cwd=directory)
        self.beside("attach1", "python", told["attach.p50"], self.attach1)
        self.beside("create", "python", told["create.p50"], self.create)
        if has("s6") and shutil.which("s6-fdholder-daemon"):
            self.s6(directory, rounds)
        if has("iceoryx") and shutil.which("iox-roudi"):
            self.iceoryx(directory)

    def beside(self, row, peer, nsec, ours):
        """The ratio is theirs to ours."""
        self.table.row(f"{row}/{peer}", micro(nsec), "us", ours)

    def s6(self, directory, rounds):
        rules = os.path.join(directory, "rules/uid/default")
        os.makedirs(os.path.join(rules, "env"))
        open(os.path.join(rules, "allow"), "w").close()
        for verb in "STORE", "RETRIEVE":
            with open(os.path.join(rules, f"env/S6_FDHOLDER_{verb}_REGEX"), "w", encoding="ascii") as regex:
                regex.write(".*")
        socket = os.path.join(directory, "s6")
        holder = start(["taskset", "-c", str(self.cpus[0]), "s6-fdholder-daemon", "-1", "-i",
                        os.path.join(directory, "rules"), socket], stdout=subprocess.PIPE)
        holder.stdout.readline()  # it listens
        told = run("taskset", "-c", self.cpus[0], program("peer-s6"), socket, holder.pid, rounds)
        holder.kill()
        holder.wait()
        self.beside("attach1", "s6-fdholder", told["attach.p50"], self.attach1)

    def iceoryx(self, directory):
        roudi = start(["iox-roudi", "--log-level", "warning"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                      text=True, cwd=directory)
        for line in roudi.stdout:
            if "ready for clients" in line:
                break
        quiet = {"stderr": subprocess.DEVNULL}
        joins = sorted(run(program("peer-iceoryx"), f"joiner{i}", **quiet)["join"] for i in range(self.scaled(9, 1)))
        join = micro(joins[len(joins) // 2])
        with open(f"/proc/{roudi.pid}/smaps_rollup", encoding="ascii") as rollup:
            memory = next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
        victim = start([program("peer-iceoryx"), "victim", "wait"], stdout=subprocess.PIPE, **quiet)
        victim.stdout.readline()
        before = time.monotonic()
        victim.kill()
        victim.wait()
        for line in roudi.stdout:
            if "victim not responding" in line:
                break
        death = time.monotonic() - before
        roudi.terminate()
        roudi.wait()
        if self.join5:
            self.table.row("join5/to-iceoryx", self.join5, "us", join, goal=0.2)
        self.table.row("death/iceoryx", death * 1e6, "us")
        self.table.row("memory/iceoryx", memory / 1e6, "MB")


def main():
    parser = argparse.ArgumentParser(description="Measures the broker beside its limits and its peers.")
    parser.add_argument("--json", action="store_true", help="a JSON object a row, beside the table on standard error")
    parser.add_argument("--quick", action="store_true", help="few of everything: shows that it runs, and measures nothing")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows whose names begin so; all without")
    options = parser.parse_args()
    table = Table(options.rows, options.json)
    directory = tempfile.mkdtemp(prefix="region-broker-bench.", dir="/dev/shm")
    try:
        table.head()
        Bench(table, directory, options.quick).all()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("bench: " + (f"not reached: {', '.join(table.missed)}" if table.missed else "all goals are reached"),
          file=sys.stderr)


main()
