#!/usr/bin/env python3
"""Fails on an include that points back, and on an outside library that comes in by another door than its own.

usage: layers.py [ROOT]        check the tree (default: the one that this file is in)
       layers.py --self-test   check this check, on small trees made up for it

A file belongs to the first room whose pattern fits its path. A room sees itself, the rooms named beside it and the
vocabulary; tests see everything.
"""

import os
import re
import sys
import tempfile
from fnmatch import fnmatch

ROOMS = (
    # room, its files, the rooms it sees
    ("main", ("daemon/main.c", "daemon/options.[ch]", "daemon/configuring.[ch]"), ("server", "broker", "host", "core", "log")),
    ("log", ("daemon/log.[ch]",), ()),
    ("server", ("daemon/server/*",), ("broker", "host", "core", "log", "proto")),
    ("host", ("daemon/host/*",), ("core",)),
    ("core", ("daemon/core/*",), ()),
    ("broker", ("daemon/*",), ("host", "core", "log")),
    ("proto", ("proto/*",), ()),
    ("api", ("client/libregion.h",), ()),
    ("ctl", ("client/ctl/*",), ("api", "proto")),
    ("examples", ("client/examples/*",), ("api",)),
    ("client", ("client/*",), ("api", "proto")),
    ("tests", ("tests/**",), None),
)

# Plain words and helpers, which every room may use.
VOCABULARY = ("proto/util.h", "proto/terms.h", "proto/control.h", "proto/quantities.h")
# The public header is installed alone and may be all a program has.
NO_VOCABULARY = ("api", "examples")

# Where the compiler looks for a quoted name, after the folder of the file itself.
INCLUDE_DIRS = ("", "daemon", "client", "tests")
GENERATED = ("version.h", "contract-text.h")

DOORS = (
    # outside library, its headers, the files that may include them
    ("jansson", ("jansson.h",), ("proto/*",)),
    ("libuv", ("uv.h",), ("daemon/server/*", "daemon/main.c")),
    ("LMDB", ("lmdb.h",), ("daemon/host/store.c",)),
    ("systemd's journal", ("systemd/sd-journal.h",), ("daemon/log.c",)),
    ("systemd", ("systemd/*",), ("daemon/host/notify.c",)),
    ("libsmartcols", ("libsmartcols.h", "libsmartcols/*"), ("client/ctl/*",)),
    ("inih", ("ini.h",), ("client/configuration.c", "daemon/host/inifile.c")),
    ("libmd", ("md5.h", "sha*.h"), ("client/examples/*",)),
    ("libbsd's containers", ("bsd/sys/*",), ("daemon/**", "proto/*", "client/**")),
    ("libbsd", ("bsd/*",), ("daemon/main.c", "daemon/options.c", "daemon/server/*", "daemon/host/*", "client/ctl/*")),
)

# Calls and words that have one door like a library. The client maps and reserves, so mmap and fallocate are the
# daemon's affair only.
MAKING = "memfd_create shmget shm_open shm_unlink"
USING = "mmap munmap mremap madvise shmat shmdt shmctl fallocate posix_fallocate ftruncate F_SETLEASE F_ADD_SEALS"
CALLS = (
    # words, the files that must not use them, except these
    (MAKING, ("daemon/**", "client/**", "proto/*"), ("daemon/host/*",)),
    (USING, ("daemon/**", "proto/*"), ("daemon/host/*",)),
    ("NOTIFY_SOCKET", ("daemon/**", "client/**", "proto/*"), ("daemon/host/notify.[ch]",)),
)

# What libc and the kernel bring; any other header is an outside library and needs a door above.
LIBC = set("""
    assert ctype dirent dlfcn endian err errno error fcntl fenv float fnmatch getopt glob grp inttypes iso646
    langinfo libgen limits link locale malloc math mntent netdb netinet/in paths poll pthread pwd regex sched
    semaphore setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string
    strings syslog termios threads time ucontext uchar unistd utime wchar wctype
""".split())
LIBC_FOLDERS = ("sys/", "linux/", "asm/", "arpa/")

COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)


def fits(path, patterns):
    """`*` stays within one folder; `**` at the end is anything below."""
    return any(fnmatch(path, p) and (p.endswith("**") or p.count("/") == path.count("/")) for p in patterns)


def room_of(path):
    for room, files, sees in ROOMS:
        if fits(path, files):
            return room, sees
    return None, ()


def without_comments(text):
    """Comments become as many empty lines, so that line numbers stay right."""
    def keep(match):
        found = match.group()
        return "\n" * found.count("\n") if found.startswith("/") else found
    return COMMENT_OR_STRING.sub(keep, text)


def resolve(path, name, tree):
    for folder in (os.path.dirname(path),) + INCLUDE_DIRS:
        candidate = os.path.normpath(os.path.join(folder, name))
        if candidate in tree:
            return candidate
    return None


def check_own(path, target):
    """What is wrong with `path` including `target`, a file of this tree; or None."""
    room, sees = room_of(path)
    there, _ = room_of(target)
    if sees is None or there == room or there in sees:
        return None
    if target in VOCABULARY and room not in NO_VOCABULARY:
        return None
    return f"{room} must not see {there} ({target})"


def check_outside(path, name):
    """What is wrong with `path` including <name>; or None."""
    if room_of(path)[0] == "tests":
        return None
    if name.startswith(LIBC_FOLDERS) or (name.endswith(".h") and name[:-2] in LIBC):
        return None
    for library, headers, doors in DOORS:
        if fits(name, headers):
            return None if fits(path, doors) else f"{library} <{name}> comes in at {', '.join(doors)} only"
    return f"<{name}> is of no library known here: give it a door in tests/layers.py"


def check_calls(path, text):
    for words, rooms, doors in CALLS:
        if not fits(path, rooms) or fits(path, doors):
            continue
        for match in re.finditer(r"\b(?:" + "|".join(words.split()) + r")\b", text):
            yield match.start(), f"{match.group()} belongs to {', '.join(doors)}"


def check_file(path, text, tree):
    text = without_comments(text)
    if room_of(path)[0] is None:
        yield 0, "this file belongs to no room: say in tests/layers.py to which"
        return
    for match in INCLUDE.finditer(text):
        quote, name = match.groups()
        target = resolve(path, name, tree)
        if target:
            problem = check_own(path, target)
        elif quote == "<":
            problem = check_outside(path, name)
        else:
            problem = None if name in GENERATED else f'"{name}" is not in the tree'
        if problem:
            yield match.start(), problem
    yield from check_calls(path, text)


def read_tree(root):
    tree = {}
    for folder, folders, names in os.walk(root):
        # built files and hidden folders are no part of the tree
        folders[:] = [f for f in folders if not f.startswith((".", "build"))]
        for name in names:
            if name.endswith((".c", ".h")):
                full = os.path.join(folder, name)
                with open(full, encoding="utf-8") as file:
                    tree[os.path.relpath(full, root)] = file.read()
    return tree


def check_tree(root):
    tree = read_tree(root)
    problems = []
    for path, text in sorted(tree.items()):
        stripped = without_comments(text)
        for position, problem in check_file(path, text, tree):
            problems.append(f"{path}:{stripped.count(chr(10), 0, position) + 1}: {problem}")
    return problems, len(tree)


# --- the check of the check ------------------------------------------------------------------------------------------

GOOD = {
    "proto/util.h": "#include <unistd.h>\n",
    "proto/terms.h": "#include <stdint.h>\n",
    "proto/args.h": '#include "terms.h"\n#include <jansson.h>\n',
    "daemon/core/registry.h": '#include "proto/terms.h"\n#include <bsd/sys/tree.h>\n#include <sys/queue.h>\n',
    "daemon/host/memory.c": '#include "core/registry.h"\nint f(void)\n{\n        return memfd_create("x", 0);\n}\n',
    "daemon/host/memory.h": "#pragma once\n",
    "daemon/log.h": "#pragma once\n",
    "daemon/broker.h": '#include "host/memory.h"\n#include "daemon/log.h"\n',
    "daemon/server/server.h": '#include "broker.h"\n#include "proto/args.h"\n#include <uv.h>\n',
    "daemon/options.h": "#include <stdbool.h>\n",
    "daemon/main.c": '#include "server/server.h"\n#include "options.h"\n#include "version.h"\n#include <uv.h>\n',
    "client/libregion.h": "#include <stdbool.h>\n",
    "client/session.c": '#include "libregion.h"\n#include "proto/args.h"\n/* not memfd_create() */\n',
    "client/ctl/print.c": '#include "client/libregion.h"\n#include <libsmartcols/libsmartcols.h>\n',
    "client/examples/hello.c": "#include <libregion.h>\n",
    "tests/unit/test-registry.c": '#include "core/registry.h"\n#include <check.h>\n#include <uv.h>\n',
}

BAD = (
    # one more file, its text, a part of the only line that has to come
    ("daemon/core/lease.c", '#include "host/memory.h"\n', "core must not see host"),
    ("daemon/core/lease.c", '#include "../host/memory.h"\n', "core must not see host"),
    ("daemon/core/lease.c", '# include  "host/memory.h"\n', "core must not see host"),
    ("daemon/core/lease.c", '#include "proto/args.h"\n', "core must not see proto"),
    ("daemon/core/lease.c", '#include "log.h"\n', "core must not see log"),
    ("daemon/core/lease.c", "#include <bsd/string.h>\n", "libbsd <bsd/string.h> comes in"),
    ("daemon/core/lease.c", "#include <uv.h>\n", "libuv <uv.h> comes in"),
    ("daemon/host/store.c", '#include "broker.h"\n', "host must not see broker"),
    ("daemon/host/record.c", "#include <lmdb.h>\n", "LMDB <lmdb.h> comes in"),
    ("daemon/reclaim.c", '#include "server/server.h"\n', "broker must not see server"),
    ("daemon/reclaim.c", '#include "proto/args.h"\n', "broker must not see proto"),
    ("daemon/reclaim.c", "#include <uv.h>\n", "libuv <uv.h> comes in"),
    ("daemon/reclaim.c", "void *p = mmap();\n", "mmap belongs to daemon/host/*"),
    ("daemon/server/methods.c", "#include <jansson.h>\n", "jansson <jansson.h> comes in"),
    ("daemon/server/methods.c", '#include "options.h"\n', "server must not see main"),
    ("daemon/server/methods.c", '\n\n#include "client/libregion.h"\n', "methods.c:3: server must not see api"),
    ("daemon/server/methods.c", '/* one\n * two */\nchar *s = "/*"; int i = shmget();\n', "methods.c:3: shmget belongs"),
    ("daemon/options.c", '#include "server/lost.h"\n', '"server/lost.h" is not in the tree'),
    ("proto/stream.c", '#include "daemon/broker.h"\n', "proto must not see broker"),
    ("proto/stream.c", '#include "client/libregion.h"\n', "proto must not see api"),
    ("client/calls.c", '#include "daemon/core/registry.h"\n', "client must not see core"),
    ("client/calls.c", "int fd = shm_open();\n", "shm_open belongs to daemon/host/*"),
    ("client/libregion.h", '#include "proto/terms.h"\n', "api must not see proto"),
    ("client/ctl/verbs.c", '#include "daemon/broker.h"\n', "ctl must not see broker"),
    ("client/ctl/verbs.c", "#include <jansson.h>\n", "jansson <jansson.h> comes in"),
    ("client/examples/more.c", '#include "proto/util.h"\n', "examples must not see proto"),
    ("client/request.c", "#include <ini.h>\n", "inih <ini.h> comes in at client/configuration.c, daemon/host/inifile.c only"),
    ("client/calls.c", "#include <glib.h>\n", "<glib.h> is of no library known here"),
    ("extra/thing.c", "", "belongs to no room"),
    ("daemon/extra/thing.c", "", "belongs to no room"),
)


def check_made_up(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        return check_tree(root)[0]


def self_test():
    wrong = [f"the good tree: {problem}" for problem in check_made_up(GOOD)]
    for path, text, expected in BAD:
        problems = check_made_up({**GOOD, path: text})
        if len(problems) != 1 or expected not in problems[0]:
            wrong.append(f"{path} {text!r}: expected {expected!r}, got {problems}")
    return wrong, len(BAD) + 1


def main(arguments):
    if arguments == ["--self-test"]:
        problems, n = self_test()
        what = "made-up trees"
    elif len(arguments) <= 1 and not (arguments and arguments[0].startswith("-")):
        here = os.path.dirname(os.path.abspath(__file__))
        problems, n = check_tree(arguments[0] if arguments else os.path.dirname(here))
        what = "files"
    else:
        sys.exit(__doc__)
    for problem in problems:
        print(problem)
    if not n:
        sys.exit("nothing to check")
    print(f"layers: {n} {what}, {len(problems)} wrong")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
