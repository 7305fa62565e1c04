#!/usr/bin/env python3
"""Fails when the tables of proto/ and the .varlink files say different things.

contract.py CONTRACT-DUMP TERMS.H INTERFACE.varlink...

The contract is rendered in the lines that contract-dump prints, and both are compared: every method, error, type, field
and enum word, their types and their order. Of a method that is not implemented only its name and its 'more' flag count,
and of the types those that something implemented uses. The enums of terms.h have to count as the contract does."""

import difflib
import re
import subprocess
import sys

TOKEN = re.compile(r"\s+|#[^\n]*|->|[A-Za-z][A-Za-z0-9_.-]*|[()\[\],:?]")
PLAIN = {"bool", "int", "float", "string", "object"}


class Interface:
    """One parsed .varlink file. Fields are lists of (name, type); an enum is a list of words."""

    def __init__(self, path):
        self.types, self.methods, self.errors, self.more = {}, {}, {}, set()
        self.path = path
        with open(path, encoding="utf-8") as file:
            self.tokens = self.tokenise(file.read())
        self.comments = []
        self.expect("interface")
        self.name = self.next()
        while self.peek():
            self.read_member()

    def tokenise(self, text):
        tokens, at = [], 0
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match:
                sys.exit("%s: cannot read %r" % (self.path, text[at : at + 20]))
            if not match[0].isspace():
                tokens.append(match[0])
            at = match.end()
        return tokens

    def peek(self):
        while self.tokens and self.tokens[0].startswith("#"):
            self.comments.append(self.tokens.pop(0))
        return self.tokens[0] if self.tokens else None

    def next(self):
        token = self.peek()
        if token is None:
            sys.exit("%s: ends in the middle" % self.path)
        return self.tokens.pop(0)

    def expect(self, wanted):
        found = self.next()
        if found != wanted:
            sys.exit("%s: %r where %r should be" % (self.path, found, wanted))

    def read_member(self):
        keyword = self.next()
        more = "# [Requires 'more' flag]" in self.comments
        name = self.next()
        if keyword == "method":
            taken = self.read_list()
            self.expect("->")
            self.methods[name] = (taken, self.read_list())
            if more:
                self.more.add(name)
        elif keyword == "error":
            self.errors[name] = self.read_list()
        elif keyword == "type":
            self.types[name] = self.read_list()
        else:
            sys.exit("%s: %r is not a member" % (self.path, keyword))
        self.peek_after_member()

    def peek_after_member(self):
        """What was said inside of a member does not belong to the next one."""
        self.comments = []
        self.peek()

    def read_list(self):
        items = []
        self.expect("(")
        while self.peek() != ")":
            if items:
                self.expect(",")
            name = self.next()
            if self.peek() == ":":
                self.next()
                items.append((name, self.read_type()))
            else:
                items.append(name)
        self.next()
        return items

    def read_type(self):
        token = self.next()
        if token == "?":
            return "?" + self.read_type()
        if token == "[":
            key = self.next() if self.peek() == "string" else ""
            self.expect("]")
            return "[%s]" % key + self.read_type()
        return token


def used_types(interface, fields, found):
    for item in fields:
        if isinstance(item, str):
            continue
        name = re.sub(r"[?]|\[\w*\]", "", item[1])
        if name not in PLAIN and name not in found:
            found.add(name)
            used_types(interface, interface.types[name], found)


def field_lines(prefix, fields):
    return ["%s %s: %s" % (prefix, name, kind) for name, kind in fields]


def type_lines(name, items):
    if items and isinstance(items[0], str):
        return ["type %s %d %s" % (name, value, word) for value, word in enumerate(items, 1)]
    return field_lines("type " + name, items)


def method_lines(interface, unimplemented, used):
    lines = []
    for name, (taken, given) in interface.methods.items():
        full = "method %s.%s" % (interface.name, name)
        skip = full in unimplemented
        lines.append(full + " more" * (name in interface.more) + " unimplemented" * skip)
        if not skip:
            lines += field_lines(full + " in", taken) + field_lines(full + " out", given)
            used_types(interface, taken + given, used)
    return lines


def error_lines(interface, used):
    lines = []
    for name, fields in interface.errors.items():
        full = "error %s.%s" % (interface.name, name)
        lines += [full] + field_lines(full, fields)
        used_types(interface, fields, used)
    return lines


def contract_lines(interfaces, unimplemented):
    methods, errors, types = [], [], []
    for interface in interfaces:
        used = set()
        methods += method_lines(interface, unimplemented, used)
        errors += error_lines(interface, used)
        for name in used:
            types += type_lines(name, interface.types[name])
    return methods + errors + sorted_types(types)


def sorted_types(lines):
    return sorted(lines, key=lambda line: line.split()[1])


def sort_dump(lines):
    types = [line for line in lines if line.startswith("type ")]
    return [line for line in lines if not line.startswith("type ")] + sorted_types(types)


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)


def enum_lines(interfaces):
    """The enums as terms.h has to spell them, by their tags."""
    lines = {}
    for interface in interfaces:
        for name, words in interface.types.items():
            if words and isinstance(words[0], str):
                constants = [snake(name + "_" + word).upper() for word in words]
                constants[0] += " = 1"
                tag = snake(name).lower()
                lines[tag] = "enum %s { %s };" % (tag, ", ".join(constants))
    return lines


def terms_lines(path):
    with open(path, encoding="utf-8") as file:
        found = re.findall(r"(enum (\w+) \{[^}]*\};)", file.read())
    return {tag: re.sub(r",? *\}", " }", re.sub(r"\s+", " ", text)) for text, tag in found}


def compare(what, wanted, found):
    diff = list(difflib.unified_diff(wanted, found, "the contract", what, lineterm="", n=0))
    if diff:
        print("\n".join(diff))
    return not diff


def main(dump, terms, *paths):
    interfaces = [Interface(path) for path in paths]
    printed = subprocess.run([dump], check=True, capture_output=True, text=True).stdout.splitlines()
    unimplemented = {" ".join(line.split()[:2]) for line in printed if line.endswith(" unimplemented")}
    implemented = {snake(line.split()[1]).lower() for line in printed if line.startswith("type ")}
    wanted, found = enum_lines(interfaces), terms_lines(terms)
    expected = {line for tag, line in wanted.items() if tag in found or tag in implemented}

    same = compare("the tables", contract_lines(interfaces, unimplemented), sort_dump(printed))
    same &= compare("terms.h", sorted(expected), sorted(found.values()))
    sys.exit(0 if same else 1)


main(*sys.argv[1:])
