#!/usr/bin/env python3
"""Python's multiprocessing.shared_memory.

usage: peer-python.py ROUNDS
"""

import sys
import time
from multiprocessing import resource_tracker, shared_memory

SIZE = 4096


def create():
    before = time.process_time_ns()
    memory = shared_memory.SharedMemory(create=True, size=SIZE)
    memory.buf[0] = 1
    memory.close()
    memory.unlink()
    return time.process_time_ns() - before


def attach(name):
    before = time.process_time_ns()
    memory = shared_memory.SharedMemory(name=name)
    memory.buf[0] = 1
    spent = time.process_time_ns() - before
    memory.close()
    return spent


def tell(key, samples):
    samples.sort()
    print(f"{key}.p50 {samples[len(samples) // 2]}")
    print(f"{key}.p99 {samples[len(samples) * 99 // 100]}")


def main():
    n = int(sys.argv[1]) * 20
    tell("create", [create() for _ in range(n + 20)][20:])
    holder = shared_memory.SharedMemory(create=True, size=SIZE)
    resource_tracker.register = lambda name, kind: None  # it would take each attachment for a leak
    tell("attach", [attach(holder.name) for _ in range(n + 20)][20:])
    holder.close()
    holder.unlink()


main()
