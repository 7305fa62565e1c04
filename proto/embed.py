#!/usr/bin/env python3
"""Writes interface definitions as rows of C: { "interface", "text" }, one string literal a line of text.

embed.py OUTPUT INTERFACE.varlink..."""

import pathlib
import sys


def literal(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def row(path):
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return "{ %s,\n%s },\n" % (literal(path.stem), "\n".join("  " + literal(line) for line in lines))


def main(output, *inputs):
    pathlib.Path(output).write_text("".join(row(pathlib.Path(path)) for path in inputs), encoding="utf-8")


main(*sys.argv[1:])
