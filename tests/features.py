#!/usr/bin/env python3
"""Fails unless each row of docs/features.md names a test of its own that is there and is run.

usage: features.py ROOT BUILD   check the table of the tree, with what meson knows of its tests
       features.py --self-test  check this check, on small trees made up for it

A row ends in `suite:test`: the name of a test in tests/meson.build and a function in one of its sources, START_TEST in
C, `def test_` in Python.
"""

import json
import os
import re
import sys
import tempfile

TABLE = "docs/features.md"
HEADER = "Feature"
COLUMNS = 10  # the feature, seven others, ourselves, the test


# --- the table ------------------------------------------------------------------------------------------------------

def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_rows(path):
    """Line number and cells of each row, whichever heading it stands under."""
    in_table = False
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.startswith("|"):
                in_table = False
            elif cells_of(line)[0] == HEADER:
                in_table = True
            elif in_table and not re.fullmatch(r"[|\s:-]+", line):
                yield number, cells_of(line)


# --- the tests ------------------------------------------------------------------------------------------------------

def read_json(build, name):
    with open(os.path.join(build, "meson-info", name), encoding="utf-8") as file:
        return json.load(file)


def sources_of_tests(build):
    """The name of each test that meson runs, and the files that it is made of."""
    programs = {}
    for target in read_json(build, "intro-targets.json"):
        sources = [source for part in target["target_sources"] for source in part.get("sources", ())]
        programs.update({program: sources for program in target["filename"]})
    return {test["name"]: [os.path.realpath(source) for word in test["cmd"]
                           for source in programs.get(word, [word] if word.endswith(".py") else [])]
            for test in read_json(build, "intro-tests.json")}


def has_test(path, function):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if path.endswith(".py"):
        return re.search(rf"^ *def {function}\(", text, re.M) is not None
    return (re.search(rf"^START_TEST\({function}\)", text, re.M) is not None and
            re.search(rf"\btcase_add(_loop)?_test\(\s*\w+,\s*{function}\b", text) is not None)


# --- one against the other ------------------------------------------------------------------------------------------

def problem_of(cells, tests, known):
    """What is wrong with a row, or None; a good one is added to those that are known."""
    if len(cells) != COLUMNS:
        return f"{len(cells)} cells and not {COLUMNS}"
    if "" in cells:
        return "an empty cell"
    match = re.fullmatch(r"`([\w-]+):(\w+)`", cells[-1])
    if not match:
        return "it names no test"
    suite, function = match.groups()
    if suite not in tests:
        return f"no test '{suite}' in tests/meson.build"
    if not any(has_test(source, function) for source in tests[suite]):
        return f"'{suite}' runs no '{function}'"
    if match[0] in known:
        return f"{match[0]} proves '{known[match[0]]}' already"
    known[match[0]] = cells[0]
    return None


def check_table(root, tests):
    known, problems, n = {}, [], 0
    for number, cells in read_rows(os.path.join(root, TABLE)):
        n += 1
        problem = problem_of(cells, tests, known)
        if problem:
            problems.append(f"{TABLE}:{number}: {cells[0]}: {problem}")
    return problems, n


# --- the check of the check -----------------------------------------------------------------------------------------

GOOD = "| a | no | no | no | no | no | no | no | yes | `suite:there` |"
MADE_UP = (
    # rows, what is said of them
    ([GOOD], []),
    ([GOOD, GOOD.replace("suite:there", "python:test_it")], []),
    ([GOOD.replace("`suite:there`", "")], ["an empty cell"]),
    ([GOOD.replace("`suite:there`", "surely")], ["it names no test"]),
    ([GOOD.replace("suite:", "other:")], ["no test 'other' in tests/meson.build"]),
    ([GOOD.replace("there", "absent")], ["'suite' runs no 'absent'"]),
    ([GOOD.replace("there", "forgotten")], ["'suite' runs no 'forgotten'"]),
    ([GOOD.replace("suite:there", "python:test_its")], ["'python' runs no 'test_its'"]),
    ([GOOD, GOOD.replace("| a", "| b")], ["`suite:there` proves 'a' already"]),
    ([GOOD.replace("| yes", "")], ["9 cells and not 10"]),
)
C_SOURCE = """START_TEST(there)
START_TEST(forgotten)
        tcase_add_loop_test(tcase,
                            there, 0, 4);
"""


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def check_made_up(folder, rows):
    write(os.path.join(folder, TABLE), "\n".join(["# Title", "| Feature | … |", "|---|", *rows, "", "| not | one |"]))
    source = write(os.path.join(folder, "test.c"), C_SOURCE)
    script = write(os.path.join(folder, "test.py"), "class Case:\n    def test_it(self):\n")
    write(os.path.join(folder, "meson-info/intro-targets.json"),
          json.dumps([{"filename": ["/build/suite"], "target_sources": [{"sources": [source]}]}]))
    write(os.path.join(folder, "meson-info/intro-tests.json"),
          json.dumps([{"name": "suite", "cmd": ["/build/suite"]}, {"name": "python", "cmd": ["python3", script]}]))
    return check_table(folder, sources_of_tests(folder))


def self_test():
    problems = []
    for rows, wanted in MADE_UP:
        with tempfile.TemporaryDirectory(prefix="features-") as folder:
            found, n = check_made_up(folder, rows)
        if [problem.split(": ", 2)[2] for problem in found] != wanted or n != len(rows):
            problems.append(f"{rows}: {found} and not {wanted}")
    return problems, len(MADE_UP)


def main(arguments):
    if arguments == ["--self-test"]:
        problems, n = self_test()
        what = "made-up tables"
    elif len(arguments) == 2:
        problems, n = check_table(arguments[0], sources_of_tests(arguments[1]))
        what = "rows"
    else:
        sys.exit(__doc__)
    for problem in problems:
        print(problem)
    if not n:
        sys.exit("nothing to check")
    print(f"features: {n} {what}, {len(problems)} wrong")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
