#!/usr/bin/env python3
"""What is written for readers agrees with the code: manual pages with header, options, limits and constants.

    BUILD=build tests/manual.py [-v] [Class.test]

A page is man/NAME.SECTION.scd; `man` shows what scdoc makes of it.
"""

import functools
import glob
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

SOURCE = os.path.abspath(os.environ.get("SOURCE", os.path.join(os.path.dirname(__file__), "..")))
BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
CC = shlex.split(os.environ.get("CC", "cc"))
BROKER = os.path.join(BUILD, "daemon/region-broker")
REGIONCTL = os.path.join(BUILD, "client/ctl/regionctl")

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "TiB": 1 << 40, "PiB": 1 << 50,
         "ms": 1000, "s": 10**6, "seconds": 10**6, "day": 86400 * 10**6}

# What is written of constants that nobody can set: where the constant is, and each sentence that tells its value.
CONSTANTS = (
    ("proto/message.h", "MESSAGE_MAX", "man/region-broker.8.scd", r"message is at most (\d+ KiB)"),
    ("proto/message.h", "MESSAGE_MAX", "docs/protocol.md", r"A message, in either direction: (\d+ KiB)"),
    ("proto/message.h", "MESSAGE_VALUES_MAX", "man/region-broker.8.scd", r"at most (\d+) JSON values"),
    ("proto/message.h", "MESSAGE_VALUES_MAX", "docs/protocol.md", r"and (\d+) JSON values"),
    ("proto/fdset.h", "FDSET_MAX", "docs/protocol.md", r"One reply carries up to (\d+) descriptors"),
    ("proto/fdset.h", "FDSET_MAX", "docs/protocol.md", r"CMSG_SPACE\((\d+) \* 4\)"),
    ("daemon/core/limits.h", "NAME_MAX_BYTES", "docs/protocol.md", r"A name has up to (\d+) bytes"),
    ("daemon/core/limits.h", "NAME_MAX_BYTES", "man/region-environment.7.scd", r"A name has up to (\d+) bytes"),
    ("daemon/core/limits.h", "NAME_MAX_BYTES", "man/region_last_error.3.scd", r"Names have up to (\d+) bytes"),
    ("daemon/core/limits.h", "NAME_MAX_BYTES", "man/region_env_open.3.scd", r"own choice, up to (\d+) bytes"),
    ("daemon/core/limits.h", "TYPE_MAX_BYTES", "man/region_env_open.3.scd", r"program's own, up to (\d+) bytes"),
    ("daemon/core/limits.h", "TYPE_MAX_BYTES", "man/region_env_attach.3.scd", r"a type of more than (\d+) bytes"),
    ("daemon/options.h", "LISTEN_MAX", "man/region-broker.8.scd", r"runtime directory. May be given up to (\d+) times"),
    ("daemon/options.h", "CONFIG_MAX", "man/region-broker.8.scd", r"An absolute path. May be given up to (\d+) times"),
    ("daemon/core/declaration.h", "DECLARATIONS_MAX", "man/region-broker.environment.5.scd", r"Up to (\d+) environments"),
    ("daemon/core/declaration.h", "DECLARED_REGIONS_MAX", "man/region-broker.environment.5.scd", r"and up to (\d+)\."),
    ("daemon/log.h", "LOG_BURST", "docs/operation.md", r"More than (\d+) lines"),
    ("daemon/log.h", "LOG_INTERVAL_USEC", "docs/operation.md", r"info and debug in (\d+ seconds)"),
    ("daemon/creation.c", "FIRST_KEY", "docs/operation.md", r"with keys between (0x[0-9a-f]+)"),
    ("daemon/creation.c", "LAST_KEY", "docs/operation.md", r"and (0x[0-9a-f]+) unless"),
    ("daemon/server/session.c", "HANG_UP_USEC", "docs/operation.md", r"only after (\d+ ms)"),
    ("daemon/server/explain.h", "EXPLAIN_EVENTS_MAX", "docs/operation.md", r"Explain tells them, (\d+) at most"),
    ("daemon/server/explain.h", "EXPLAIN_EVENTS_MAX", "docs/protocol.md", r"`history` has up to (\d+) events"),
    ("daemon/server/explain.h", "EXPLAIN_EVENTS_MAX", "man/region_list.3.scd", r"are the latest, (\d+) at most"),
    ("daemon/server/report.h", "REPORT_ATTACHMENTS_MAX", "man/region_list.3.scd", r"They are (\d+) at most"),
    ("client/subsystems.h", "SUBSYSTEMS_CACHES_MAX", "man/region_env_open.3.scd", r"_mpool_caches_ above 1, at most (\d+)"),
    ("client/subsystems.h", "SUBSYSTEMS_CACHES_MAX", "man/regionctl.1.scd", r"mpool2 and so on, at most (\d+)"),
    ("client/subsystems.h", "SUBSYSTEMS_CACHES_MAX", "man/region-environment.conf.5.scd", r"so many caches, at most (\d+)"),
    ("client/configuration.c", "FILE_MAX", "man/region-environment.conf.5.scd", r"the file (\d+)\."),
    ("client/configuration.c", "FILE_MAX", "man/region-environment.conf.5.scd", r"not larger than (\d+) bytes"),
    ("client/session.c", "TIMEOUT_USEC", "man/region_broker_connect.3.scd", r"The default is (\d+ seconds)"),
)


@functools.cache
def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def said_by(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def without_comments(c):
    return re.sub(r"/\*.*?\*/", "", c, flags=re.S)


def squeezed(c):
    """C with spaces only where they part two words."""
    return re.sub(r"\s*(\W)\s*", r"\1", re.sub(r"\s+", " ", c)).strip()


def prototypes(c):
    """The functions of the library that are declared in some C, by name."""
    found = re.findall(r"^((?!#|typedef)[a-z][^;{}()]*?\b(region_\w+)\s*\([^;{}]*\));", without_comments(c), re.M)
    return {name: squeezed(text) for text, name in found}


def structs(c):
    """Those that are defined in some C, by name: their fields."""
    return {name: squeezed(fields) for name, fields in
            re.findall(r"^struct (region_\w+) \{\n(.*?)^\}", without_comments(c), re.M | re.S)}


def evaluate(expression):
    """A whole number of C."""
    return eval(expression, {"INT64_C": int, "INT64_MAX": 2**63 - 1})


def quantity(text):
    number, _, unit = text.partition(" ")
    return int(number, 0) * UNITS[unit]


class Page:
    def __init__(self, path):
        self.path = path
        self.file = os.path.basename(path).removesuffix(".scd")
        self.name, _, self.section = self.file.rpartition(".")
        self.text = read(path)
        parts = re.split(r"^# (.*)\n", self.text, flags=re.M)
        self.sections = dict(zip(parts[1::2], parts[2::2]))
        self.names = " ".join(self.sections["NAME"].split()).split(" - ")[0].split(", ")

    @property
    def c(self):
        """The C that it shows, programs aside."""
        return "\n".join(block for block in self.blocks(self.text) if "int main(" not in block)

    def programs(self):
        """The programs that it shows, as the reader sees them."""
        return [block.replace("\\\\", "\\") for block in self.blocks(self.text) if "int main(" in block]

    def entries(self, title):
        """The terms that a section explains: lines above an indented one, without their markup."""
        lines = re.findall(r"^(\*.*)\n\t", self.sections[title], re.M)
        return [re.sub(r"\\(.)", r"\1", re.sub(r"\*|(?<![\\\w])_|_(?!\w)", "", line)) for line in lines]

    @staticmethod
    def blocks(text):
        return re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)


PAGES = [Page(os.path.relpath(path, SOURCE)) for path in sorted(glob.glob(os.path.join(SOURCE, "man/*.scd")))]
BY_FILE = {page.file: page for page in PAGES}
HEADER = read("client/libregion.h")


class Library(unittest.TestCase):
    """What the pages say of libregion.h."""

    def test_a_page_is_called_by_its_first_name(self):
        for page in PAGES:
            self.assertEqual(page.names[0], page.name, page.path)
            self.assertEqual(len(page.names), len(set(page.names)), page.path)

    def test_every_function_has_one_page(self):
        named = sorted(name for page in PAGES for name in page.names if name.startswith("region_"))
        self.assertEqual(named, sorted(prototypes(HEADER)))

    def test_prototypes_are_those_of_the_header(self):
        declared = prototypes(HEADER)
        for page in PAGES:
            wanted = {name: declared[name] for name in page.names if name in declared}
            self.assertEqual(prototypes("\n".join(page.blocks(page.sections.get("SYNOPSIS", "")))), wanted, page.path)

    def test_structs_are_those_of_the_header_and_each_is_shown_once(self):
        shown = {}
        for page in PAGES:
            for name, fields in structs(page.c).items():
                self.assertNotIn(name, shown, page.path)
                shown[name] = fields
        defined = structs(HEADER)
        del defined["region_mutex"]  # nobody's business
        self.assertEqual(shown, defined)

    def test_every_constant_is_told_of_and_none_is_made_up(self):
        constants = set(re.findall(r"\bREGION_[A-Z_]+\b", without_comments(HEADER)))
        told = set(re.findall(r"\bREGION_[A-Z_]*[A-Z]", "".join(page.text for page in PAGES)))
        self.assertEqual(told - {"REGION_BROKER_SOCKET", "REGION_ENVIRONMENT"}, constants)

    def test_every_failure_has_its_entry(self):
        codes = re.findall(r"\bREGION_E_[A-Z_]+\b", without_comments(HEADER))
        entries = BY_FILE["region_last_error.3"].entries("ERRORS")
        self.assertEqual(sorted(entries), sorted(codes))

    def test_a_call_that_can_fail_has_a_page_with_errors(self):
        for page in PAGES:
            if any(declared.startswith("enum region_result ") for declared in prototypes(page.c).values()):
                self.assertIn("ERRORS", page.sections, page.path)
                self.assertIn("RETURN VALUE", page.sections, page.path)


class Programs(unittest.TestCase):
    """What the pages say of the command lines."""

    def options(self, help_text):
        """The long options with the names of their values, and the letters."""
        lines = [re.split(r"\s{2,}(?!-)", line.strip())[0] for line in help_text.splitlines()
                 if line.lstrip().startswith("-")]
        return sorted(option for line in lines for option in re.findall(r"--?[a-z][a-z-]*(?:[= ][A-Z=]+)?", line))

    def agree(self, help_text, page):
        explained = "\n".join(page.entries("OPTIONS"))
        self.assertEqual(sorted(re.findall(r"--?[a-z][a-z-]*(?:[= ][A-Z=]+)?", explained)), self.options(help_text))

    def test_regionctl_has_the_options_of_its_page(self):
        self.agree(said_by(REGIONCTL, "--help"), BY_FILE["regionctl.1"])

    def test_region_broker_has_the_options_of_its_page(self):
        self.agree(said_by(BROKER, "--help"), BY_FILE["region-broker.8"])

    def test_regionctl_has_the_verbs_of_its_page(self):
        verbs = re.findall(r"^  ([a-z]+) +(.*?)  ", said_by(REGIONCTL, "--help"), re.M)
        self.assertEqual([f"{verb} {operands}".strip() for verb, operands in verbs],
                         BY_FILE["regionctl.1"].entries("VERBS"))

    def test_regionctl_has_the_exit_statuses_of_its_page(self):
        said = said_by(REGIONCTL, "--help").split("Exit status:")[1]
        self.assertEqual(re.findall(r"\b(\d) ", said),
                         re.findall(r"^(\d+)\n\t", BY_FILE["regionctl.1"].sections["EXIT STATUS"], re.M))


class Configuration(unittest.TestCase):
    def test_the_file_in_a_home_has_the_settings_of_its_page(self):
        subsystems = re.findall(r'^ +\{ REGION_SUBSYSTEM_\w+, "(\w+)",', read("client/subsystems.c"), re.M)
        rules = re.findall(r'^ +IN_(\w+)\("([\w-]+)",', read("client/override.c"), re.M)
        settings = [name for section, name in rules if section == "ENVIRONMENT"] + subsystems + \
                   [name for section, name in rules if section == "REGION"]
        entries = BY_FILE["region-environment.conf.5"].entries("FORMAT")
        self.assertEqual([name for entry in entries for name in entry.split(" = ")[0].split(", ")], settings)


class Figures(unittest.TestCase):
    """Limits and constants."""

    def test_the_limits_of_the_page_are_those_of_the_code(self):
        rows = re.findall(r'^ +X\(\w+, "(\w+)", (.*), (.*), (.*)\) *\\?$', read("daemon/core/limits.h"), re.M)
        wanted = {name: tuple(evaluate(figure) for figure in figures) for name, *figures in rows}
        told = re.findall(r"^\*(\w+)\* \(default (\d+), from (\d+) to (\d+)\)$",
                          BY_FILE["region-broker.8"].sections["LIMITS"], re.M)
        self.assertEqual({name: tuple(map(int, figures)) for name, *figures in told}, wanted)

    def test_defaults_in_words_are_those_in_figures(self):
        limits = BY_FILE["region-broker.8"].sections["LIMITS"]
        told = re.findall(r"\(default (\d+), [^\n]*\n\t[^*]*?The default is (\d+ \w+)\.", limits)
        self.assertGreater(len(told), 0)
        for figure, words in told:
            self.assertEqual(quantity(words), int(figure), words)

    def test_the_help_has_the_same_limits(self):
        shown = re.findall(r"^  (\w+) +(\d+)$", said_by(BROKER, "--help").split("Limits")[1], re.M)
        self.assertEqual(dict(shown), dict(re.findall(r"^\*(\w+)\* \(default (\d+),",
                                                      BY_FILE["region-broker.8"].sections["LIMITS"], re.M)))

    def test_constants_in_sentences_are_those_of_the_code(self):
        for source, name, document, sentence in CONSTANTS:
            with self.subTest(name, document=document):
                value = re.search(rf"\b{name}(?: =)? ([^,\n]+?) *(?:,|}}|\n)", without_comments(read(source)))
                told = re.findall(sentence, " ".join(read(document).split()))
                self.assertEqual([quantity(text) for text in told], [evaluate(value[1])])


class References(unittest.TestCase):
    def test_a_page_of_ours_that_is_pointed_to_exists(self):
        pages = {(name, page.section) for page in PAGES for name in page.names}
        documents = ["README.md", "CONTRIBUTING.md", *sorted(glob.glob("docs/*.md", root_dir=SOURCE))]
        for path in [page.path for page in PAGES] + documents:
            pointers = re.findall(r"\b((?:lib)?region[\w.-]*)\*?\((\d)\)", read(path))
            self.assertEqual([pointer for pointer in pointers if pointer not in pages], [], path)

    def test_every_page_points_to_others_and_not_to_itself(self):
        for page in PAGES:
            self.assertRegex(page.sections["SEE ALSO"], r"\w", page.path)
            self.assertNotIn(f"*{page.name}*({page.section})", page.sections["SEE ALSO"], page.path)


class Examples(unittest.TestCase):
    def compiles(self, program, path):
        result = subprocess.run([*CC, "-Wall", "-Wextra", "-Werror", "-O2", "-I", os.path.join(SOURCE, "client"), "-c",
                                 "-x", "c", "-", "-o", "/dev/null"], input=program, capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (0, ""), path)

    def test_programs_in_the_pages_compile(self):
        programs = [(program, page.path) for page in PAGES for program in page.programs()]
        self.assertGreater(len(programs), 0)
        for program, path in programs:
            self.compiles(program, path)

    def test_the_program_of_the_readme_compiles(self):
        blocks = re.findall(r"(?:^    .*\n|^\n)+", read("README.md"), re.M)
        programs = [re.sub(r"^    ", "", block, flags=re.M) for block in blocks if "int main(" in block]
        self.assertEqual(len(programs), 1)
        self.compiles(programs[0], "README.md")


class Rendered(unittest.TestCase):
    """What `man` makes of the pages as they are built."""

    def setUp(self):
        # where manual pages were left out of an installation, something else is called man
        if not shutil.which("man") or not self.man("--version").stdout.startswith("man "):
            self.skipTest("there is no man(1) here")

    def man(self, *words):
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFSEQ": "", "MANPAGER": "cat"}
        return subprocess.run(["man", *words], env=environment, capture_output=True, text=True, timeout=30)

    def test_every_page_is_built_and_renders_without_a_warning(self):
        for page in PAGES:
            result = self.man("--warnings", "-l", os.path.join(BUILD, "man", page.file))
            self.assertEqual((result.returncode, result.stderr), (0, ""), page.path)
            self.assertIn(page.name, result.stdout)

    def test_no_page_is_wider_than_a_terminal(self):
        for page in PAGES:
            lines = self.man("-l", os.path.join(BUILD, "man", page.file)).stdout.splitlines()
            self.assertEqual([line for line in lines if len(line) > 80], [], page.path)

    def test_man_finds_a_page_by_each_of_its_names(self):
        with tempfile.TemporaryDirectory(prefix="manual-") as folder:
            for page in PAGES:
                shelf = os.path.join(folder, "man" + page.section)
                os.makedirs(shelf, exist_ok=True)
                for name in page.names:
                    file = f"{name}.{page.section}"
                    os.symlink(os.path.join(BUILD, "man", file), os.path.join(shelf, file))
            for page in PAGES:
                for name in page.names:
                    found = self.man("-M", folder, "-w", page.section, name).stdout.strip()
                    self.assertEqual(os.path.basename(found), page.file, name)


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    unittest.main()
