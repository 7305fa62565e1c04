#!/usr/bin/env python3
"""What shells offer for the command lines of regionctl and region-broker is what their --help says."""

import os
import re
import shutil
import subprocess
import sys
import unittest

from puppets import WithBroker

SOURCE, BUILD = os.environ["SOURCE"], os.environ["BUILD"]
REGIONCTL = os.path.join(BUILD, "client/ctl/regionctl")
BROKER = os.environ["REGION_BROKER"]
BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
GROUPS = "Options:", "Options of create and hold --create:", "Options of create, hold and remove:"

# A line, and its words as readline cuts them, the last one being completed; what is offered is printed.
BASH = """
. "$1" && . "$2" || exit
COMP_LINE=$3 COMP_POINT=${#3}
shift 3
compopt() { :; } # outside of a completion it complains
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$FUNCTION
printf '%s\\n' "${COMPREPLY[@]}"
"""

# _arguments is told what there is; here it says so, and that a verb was found.
ZSH = """
_arguments() { print -rl -- "$@"; state=$STATE line=($VERB) }
_describe() { print -rl -- $verbs }
. "$1"
"""


def said_by(*command, **variables):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120,
                          env={**os.environ, **variables}).stdout


class Help:
    """What regionctl says of itself."""

    def __init__(self):
        text = said_by(REGIONCTL, "--help")
        self.verbs = re.findall(r"^  (\w+) .*  (\S.*)$", text.split("Verbs:\n")[1].split("\n\n")[0], re.M)
        self.names = [name for name, _ in self.verbs]
        self.groups = {title + ":": rows for title, rows in re.findall(r"^(Options.*):\n((?:  .*\n)*)", text, re.M)}

    @staticmethod
    def options(rows):
        """With = where there is a value."""
        return {re.sub("=.*", "=", option)
                for row in rows.splitlines() for option in re.findall(r"(?<=[ ,])--?[\w-]+=?(?=.*  )", row[:31] + "  ")}

    def options_of(self, verb):
        found = self.options(self.groups["Options:"])
        for title, rows in self.groups.items():
            if verb in re.findall(r"\w+", title.replace("--create", "")):
                found |= self.options(rows)
        rows = self.groups["Options of one verb:"].splitlines(True)
        return found | self.options("".join(row for row in rows if row[31:].startswith(verb + ":")))


def need_bash():
    if not shutil.which("bash") or not os.path.exists(BASH_COMPLETION):
        raise unittest.SkipTest("there is no bash-completion")


def offered(*words):
    """By bash, for the last of the words."""
    name = os.path.basename(words[0])
    script = os.path.join(SOURCE, "completions/bash", name)
    cut = [part for word in words for part in re.split("(=)", word) if part or not word]
    said = said_by("bash", "-c", BASH, "bash", BASH_COMPLETION, script, " ".join(words), *cut,
                   FUNCTION="_" + name.replace("-", "_"))
    return set(said.split("\n")) - {""}


class Bash(unittest.TestCase):
    setUpClass = staticmethod(need_bash)

    def test_bash_offers_the_verbs_of_regionctl(self):
        self.assertEqual(offered(REGIONCTL, ""), set(Help().names))

    def test_bash_offers_the_options_of_each_verb(self):
        for verb in Help().names:
            self.assertEqual(offered(REGIONCTL, verb, "-"), Help().options_of(verb), verb)

    def test_bash_offers_the_words_that_an_option_takes(self):
        for option, words in (("--backing", "memfd sysv posix file private"), ("--json", "short pretty off"),
                              ("--lifetime", "creator attached persistent")):
            self.assertEqual(offered(REGIONCTL, "hold", option + "="), set(words.split()), option)

    def test_bash_offers_the_options_of_region_broker(self):
        self.assertEqual(offered(BROKER, "-"), broker_options())

    def test_bash_offers_the_limits(self):
        limits = said_by(BROKER, "--help").split("Limits, with their defaults:\n")[1]
        self.assertEqual(offered(BROKER, "--limit", ""), {row.split()[0] + "=" for row in limits.splitlines()})


class Environments(WithBroker):
    @classmethod
    def setUpClass(cls):
        need_bash()
        super().setUpClass()

    def test_bash_offers_the_environments_of_the_broker_and_expands_nothing(self):
        for name in "plain", "two words", "$(echo expanded)":
            said_by(REGIONCTL, "--socket", self.socket, "create", name, "r=4K")
        ask = REGIONCTL, f"--socket={self.socket}", "show"
        self.assertEqual(offered(*ask, ""), {"plain", r"two\ words", r"\$\(echo\ expanded\)"})
        self.assertEqual(offered(*ask, "p"), {"plain"})
        self.assertEqual(offered(*ask, "plain", ""), set())


class Zsh(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("zsh"):
            raise unittest.SkipTest("there is no zsh")

    def said(self, name, state="", verb=""):
        return said_by("zsh", "-f", "-c", ZSH, "zsh", os.path.join(SOURCE, "completions/zsh", name), STATE=state, VERB=verb)

    @staticmethod
    def options(said):
        specs = [re.sub(r"^\([^)]*\)", "", line).lstrip("*") for line in said.splitlines()]
        return {spec.split("[")[0] for spec in specs if spec.startswith("-") and "[" in spec}

    def test_zsh_offers_the_verbs_of_regionctl(self):
        said = self.said("_regionctl", "verb").splitlines()
        for name, explained in Help().verbs:
            self.assertIn(f"{name}:{explained}", said)
        self.assertEqual(len([line for line in said if re.match(r"[a-z]+:", line)]), len(Help().verbs))

    def test_zsh_offers_the_options_of_each_verb(self):
        for verb in Help().names:
            self.assertEqual(self.options(self.said("_regionctl", "rest", verb)), Help().options_of(verb), verb)

    def test_zsh_offers_the_options_of_region_broker(self):
        self.assertEqual(self.options(self.said("_region-broker")), broker_options())


def broker_options():
    text = said_by(BROKER, "--help").split("Limits,")[0]
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*(?=[ ,]|$)",
                          "\n".join(row[:26] for row in text.splitlines() if row.startswith("  -")), re.M))


if __name__ == "__main__":
    done = unittest.main(exit=False).result
    if not done.wasSuccessful():
        sys.exit(1)
    for _, reason in done.skipped:
        print(reason)
    sys.exit(77 if done.testsRun == 0 else 0)
