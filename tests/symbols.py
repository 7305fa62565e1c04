#!/usr/bin/env python3
"""The calls that libregion.h declares, those that libregion.sym and Debian's list name and those that the library exports
are the same.

usage: symbols.py HEADER SYM DEBIAN LIBRARY
"""

import re
import subprocess
import sys

VERSION = "REGION_0"


def declared(path):
    text = re.sub(r"/\*.*?\*/", "", open(path, encoding="utf-8").read(), flags=re.S)
    return set(re.findall(r"\b(region_\w+)\s*\((?!\s*\*)", text))


def named(path):
    text = open(path, encoding="utf-8").read()
    match = re.search(VERSION + r"\s*\{\s*global:(.*?)local:\s*\*;\s*\};", text, re.S)
    return set(re.findall(r"(\w+);", match.group(1))) if match else set()


def listed(path):
    """For each the version of the package since which it is there."""
    return set(re.findall(rf"^ (region_\w+)@{VERSION} \S+$", open(path, encoding="utf-8").read(), re.M))


def exported(path):
    lines = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True).stdout
    names = [line.split()[-1] for line in lines.splitlines()]
    # the version itself is a symbol too; under the sanitizers so are their own
    return {re.sub("@@" + VERSION + "$", "", name) for name in names
            if name != VERSION and not name.startswith(("__asan", "__ubsan", "__odr_asan", "___asan"))}


def main():
    header, sym, debian, library = sys.argv[1:]
    sets = {header: declared(header), sym: named(sym), debian: listed(debian), library: exported(library)}
    everything = set().union(*sets.values())
    wrong = [f"{name} is not in {path}" for path, names in sets.items() for name in sorted(everything - names)]
    if not everything:
        wrong = [f"{header} declares nothing"]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
