#!/usr/bin/env python3
"""The broker is killed at each effect that it has on what is outside of it, in a run of a scenario for each; then the
next one goes on. First the scenario is played to its end without that, and what there is after each step is noted. In
each other run there has to be, after the crash, what there was before the step that it cut off, or after it; all memory
that a live process has is as it was; the step is done again and the scenario goes on to its end; then nothing is left.

    CRASH_ONLY=kept:Files:17:before    one run again, as it was reported
    CRASH_ONLY=kept:Files              all of that scenario
    CRASH_FULL=1                       more: torn commits, both ends of each effect, more crashes of recoveries
    CRASH_PATIENCE=5                   so many seconds until what does not come is taken for lost

Kinds of effects: what is made (memory, files, names, sizes, owners), what is removed, commits of the ledger, pages of
control, descriptors for the service manager, answers; and, again and again, each broker a few effects after its start.
"""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(1, os.path.join(os.environ["SOURCE"], "tests/integration"))

from puppets import PATIENCE, libc  # noqa: E402
from scenario import chapters  # noqa: E402
from stage import Cleanups, Lost, Stage, dismiss  # noqa: E402

FULL = "CRASH_FULL" in os.environ
WORKERS = 2
PATIENCE = float(os.environ.get("CRASH_PATIENCE", PATIENCE / 2))
SKIP = 77
is_over = False
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Run:
    """One run. `expected`: what there is after each step, and before the first; None: it is found out."""

    def __init__(self, stage, scenario, expected=None):
        self.stage, self.expected, self.found = stage, expected, []
        self.scenario = scenario
        self.known = {}  # of each region, by its id, what never changes; of each named one, which it is
        self.crashed_in = None

    def play(self):
        self.note()
        for number, step in enumerate(self.scenario.steps(), 1):
            self.do(step, number)
            self.note(step.makes)
        self.stage.stop()
        left = self.stage.left()
        assert not left, f"left at the end: {left}"

    def note(self, makes=None):
        if self.expected is None:
            self.found.append(self.settle(None, makes))

    def do(self, step, number):
        scenario, stage = self.scenario, self.stage
        before = after = None
        if self.expected:
            before, after = self.expected[number - 1], self.expected[number]
        scenario.may_be_done, crashes = False, stage.crashes
        while True:
            try:
                step(scenario)
                break
            except Lost:
                self.crashed_in = step.__name__
                stage.forget_waiting()
                there = self.settle(step.also and [before, after, *step.also(before, after)], step.makes)
                # what becomes of memory without a name is not seen where nobody keeps it
                scenario.may_be_done = scenario.may_be_done or there != before or not stage.kept_there
        if stage.crashes != crashes or number == len(scenario.steps()):
            self.crashed_in = self.crashed_in or step.__name__
            self.settle([after] if after else None, step.makes)

    def settle(self, allowed, makes):
        """Something follows by itself: it is waited for. What is there is returned."""
        end = time.monotonic() + PATIENCE
        while True:
            there, strays, view = self.stage.snapshot()
            if not strays and (allowed is None or there in allowed):
                break
            if time.monotonic() > end:
                raise AssertionError(f"{strays}\nthere is     {there}\nthere may be " +
                                     "\n             ".join(map(str, allowed or [])) + f"\n{self.stage.log()[-3000:]}")
            time.sleep(0.005)
        self.check_identities(view, makes)
        self.check_memory()
        return there

    def check_identities(self, view, makes):
        for environment in view:
            named = environment["state"] != "retired"
            name = environment["name"].replace(self.stage.folder, "")
            for region in environment["regions"]:
                facts = {key: region[key] for key in ("name", "number", "size", "shmKey", "shmId") if key in region}
                known = self.known.setdefault(region["id"], facts)
                # a segment that was removed is gone with its last holder, though that has not said so yet
                assert facts == known or facts.items() <= known.items() and not named, f"{region} was {known}"
                if not named:
                    continue
                key = name, region["name"]
                assert self.known.setdefault(key, region["id"]) == region["id"] or name == makes, f"{key} is another"
                self.known[key] = region["id"]

    def check_memory(self):
        for puppet in self.stage.puppets.values():
            if puppet.alive and not puppet.waits:
                wrong = self.stage.do(puppet, "wrong")
                assert not wrong, f"the memory of {puppet.name} is not what it was: {wrong}"


def reap_orphans():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def play(chapter, kept, at=None, expected=None):
    """One run: the effect it was killed at (None: it was not), how often, and what went wrong."""
    n, _, side = at.partition(":") if at else ("", "", "")
    run = None
    try:
        with Cleanups() as cleanups:
            stage = Stage(cleanups, kept, f"{n}:before" if side == "chain" else at, side == "chain", pages=FULL)
            run = Run(stage, chapter(stage, "memfd" if kept else "posix", worker_key), expected)
            run.play()
            return stage.killed_at, stage.crashes, None
    except Exception:
        dismiss()
        return run and run.stage.killed_at, 1, f"in {run and run.crashed_in}:\n{traceback.format_exc()}"
    finally:
        reap_orphans()
        if is_over:
            os._exit(1)


def rehearse(chapter, kept):
    """What there is after each step; and how many effects there are in a second run, in which nobody looks at that."""
    expected = None
    for _ in range(2):
        with Cleanups() as cleanups:
            stage = Stage(cleanups, kept, pages=FULL)
            run = Run(stage, chapter(stage, "memfd" if kept else "posix", worker_key), expected)
            run.play()
            expected, effects = run.found or expected, len(stage.effects())
    return effects, expected


def free_key(worker):
    """System V keys that nobody has, nor the broker by itself takes."""
    with open("/proc/sysvipc/shm", encoding="utf-8") as file:
        taken = {int(line.split()[0]) for line in file.readlines()[1:]}
    key = 0x43000000 + (os.getpid() % 0x10000) * 0x100 + worker * 0x10
    while any(key + i in taken for i in range(8)):
        key += 0x1000000
    return key


def end_worker(*_):
    """The pool would make a result of what ends a run, and go on."""
    global is_over
    is_over = True
    sys.exit(1)


def begin_worker(numbers):
    global worker_key
    with numbers.get_lock():
        numbers.value += 1
        worker_key = free_key(numbers.value)
    # what a dead member leaves behind is ours to bury; and we end in order when the test is ended
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, end_worker)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def ends(effects):
    """After one is before the next, so half of them are enough."""
    sides = ("before", "after") if FULL else ("before",)
    yield from (f"{n}:{side}" for n in range(1, effects + 1) for side in sides)
    yield f"{effects}:after"
    yield from (f"{n}:chain" for n in range(1, effects + 1, 5 if FULL else 50))


class Tally:
    def __init__(self):
        self.tried, self.good = collections.Counter(), collections.Counter()
        self.missed, self.failures = 0, []

    def note(self, name, at, killed_at, crashes, failure):
        kind = "again and again" if at.endswith("chain") else killed_at and killed_at[1]
        self.tried[kind] += crashes
        self.good[kind] += 0 if failure else crashes
        self.missed += not (killed_at or failure)
        if failure:
            self.failures.append(f"{name}:{at}")
            print(f"CRASH_ONLY={name}:{at}, killed at {killed_at}, {failure}", flush=True)

    def show(self, seconds):
        for kind in filter(self.tried.get, self.tried):
            print(f"{kind}: {self.tried[kind]} tried, {self.good[kind]} good")
        print(f"{sum(self.tried.values())} tried, {sum(self.good.values())} good, {self.missed} did not come to it, "
              f"{seconds:.0f} seconds")
        for failure in self.failures:
            print(f"CRASH_ONLY={failure}")


def name_of(chapter, kept):
    return f"{'kept' if kept else 'alone'}:{chapter.__name__}"


def stories():
    """Without a manager only that is different which he keeps."""
    yield from ((chapter, True) for chapter in chapters)
    yield from ((chapter, False) for chapter in chapters if FULL or chapter.uses_memory)


def try_all(pool, tally, only):
    plain = {story: pool.submit(rehearse, *story) for story in stories() if only in (None, name_of(*story))}
    futures = {}
    for story, future in plain.items():
        effects, expected = future.result()
        for at in ends(effects):
            futures[pool.submit(play, *story, at, expected)] = name_of(*story), at
    for future in concurrent.futures.as_completed(futures):
        tally.note(*futures[future], *future.result())


def try_one(pool, tally, only):
    name, at = re.fullmatch(r"(\w+:\w+):(.*)", only).groups()
    story = next(story for story in stories() if name_of(*story) == name)
    expected = pool.submit(rehearse, *story).result()[1]
    tally.note(name_of(*story), at, *pool.submit(play, *story, at, expected).result())


def main():
    if "SANITIZED" in os.environ:
        print("no library can be loaded before that of a sanitizer")
        return SKIP
    only, begin, tally, numbers = os.environ.get("CRASH_ONLY"), time.monotonic(), Tally(), multiprocessing.Value("i", 0)
    with concurrent.futures.ProcessPoolExecutor(
            WORKERS, multiprocessing.get_context("fork"), begin_worker, (numbers,)) as pool:
        if only and only.count(":") > 1:
            try_one(pool, tally, only)
        else:
            try_all(pool, tally, only)
    tally.show(time.monotonic() - begin)
    return bool(tally.failures)


if __name__ == "__main__":
    sys.exit(main())
