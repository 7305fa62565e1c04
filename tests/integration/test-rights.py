#!/usr/bin/env python3
"""Who may do what: every verb, asked by processes of every class of user, on environments of many modes.

    REGION_BROKER=build/daemon/region-broker tests/integration/test-rights.py [-v] [Class.test]

Owner, group and mode give each of them what they would of a file (RIGHTS), and that decides every answer (ANSWERS). Who has
neither the right to read nor to remove is told, word for word, what it is told of an environment that never was.
"""

import contextlib
import json
import os
import sys
import unittest

sys.dont_write_bytecode = True
from puppets import Actor, Connection, Refused, WithBroker, main, perform

OWNER, MATE, FRIEND, OTHER = 4711, 4712, 4713, 4714  # users of the kernel's alone
CLUB = 4799

# uid, gid and more groups of the process that asks, and which bits of the mode are its own
USERS = {
    "root": (0, 0, [], None),
    "owner": (OWNER, OWNER, [CLUB], 0),
    "group": (MATE, CLUB, [], 1),
    "member": (FRIEND, FRIEND, [CLUB], 1),  # of the group too, as one of several
    "other": (OTHER, OTHER, [], 2),
}

# mode -> what the owner, the group and all others have; the first of the three that fits decides, as for a file
RIGHTS = {
    0o600: ("rw", "--", "--"),
    0o640: ("rw", "r-", "--"),
    0o660: ("rw", "rw", "--"),
    0o644: ("rw", "r-", "r-"),
    0o664: ("rw", "rw", "r-"),
    0o666: ("rw", "rw", "rw"),
    0o604: ("rw", "--", "r-"),
    0o606: ("rw", "--", "rw"),
    0o620: ("rw", "-w", "--"),
    0o400: ("r-", "--", "--"),
    0o066: ("--", "rw", "rw"),
    0o777: ("rw", "rw", "rw"),
    0o000: ("--", "--", "--"),
}

OK, NO, ABSENT = "done", "PermissionDenied", "EnvironmentNotFound"
EXISTS, OUTSIDE, NOT_YOURS = "EnvironmentExists", "NotAttached", "NotYourRole"
NEVER = None  # it does not come to that

# What each verb answers: to root; to the owner who has rw, r- or nothing; to another who has rw, r- or nothing. Writing alone
# is nothing. Below the line the caller is a member already, which it has become with what access it could.
COLUMNS = ("root", "owner rw", "owner r-", "owner --", "another rw", "another r-", "another --")
ANSWERS = {
    #                        root       owner: rw  r-         --         another: rw r-         --
    "Open to read":         (OK,        OK,        OK,        NO,        OK,        OK,        ABSENT),
    "Open to write":        (OK,        OK,        NO,        NO,        OK,        NO,        ABSENT),
    "Open or make":         (OK,        OK,        NO,        NO,        OK,        NO,        NO),
    "Open or make to read": (OK,        OK,        OK,        NO,        OK,        OK,        NO),
    "Open anew":            (EXISTS,    EXISTS,    EXISTS,    EXISTS,    EXISTS,    EXISTS,    EXISTS),
    "Adopt":                (OK,        OK,        OK,        NO,        OK,        OK,        ABSENT),
    "Adopt to write":       (OK,        OK,        NO,        NO,        OK,        NO,        ABSENT),
    "Resume":               (OK,        OK,        OK,        NO,        OK,        OK,        ABSENT),
    "Resume to write":      (OK,        OK,        NO,        NO,        OK,        NO,        ABSENT),
    "Ready":                (OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   ABSENT),
    "AddRegion":            (OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   ABSENT),
    "Attach":               (OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   ABSENT),
    "Detach":               (OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   OUTSIDE,   ABSENT),
    "DeleteRegion":         (OK,        OK,        NO,        NO,        OK,        NO,        ABSENT),
    "DeleteRegion by force": (OK,       OK,        NO,        NO,        OK,        NO,        ABSENT),
    "Remove":               (OK,        OK,        OK,        OK,        NO,        NO,        ABSENT),
    "Remove by force":      (OK,        OK,        OK,        OK,        NO,        NO,        ABSENT),
    "Describe":             (OK,        OK,        OK,        OK,        OK,        OK,        ABSENT),
    "Explain":              (OK,        OK,        OK,        OK,        OK,        OK,        ABSENT),
    "List":                 (OK,        OK,        OK,        OK,        OK,        OK,        ABSENT),
    "GetStatistics":        (OK,        OK,        OK,        OK,        OK,        OK,        OK),
    "GetConfiguration":     (OK,        OK,        OK,        OK,        OK,        OK,        OK),
    # ---------------------------------------------------------------------------------------------
    "member: Ready":        (NOT_YOURS, NOT_YOURS, NOT_YOURS, NEVER,     NOT_YOURS, NOT_YOURS, NEVER),
    "member: Attach":       (OK,        OK,        OK,        NEVER,     OK,        OK,        NEVER),
    "member: Attach to write": (OK,     OK,        NO,        NEVER,     OK,        NO,        NEVER),
    "member: AddRegion":    (OK,        OK,        NO,        NEVER,     OK,        NO,        NEVER),
    "member: DeleteRegion": (OK,        OK,        NO,        NEVER,     OK,        NO,        NEVER),
    "member: Remove":       (OK,        OK,        OK,        NEVER,     NO,        NO,        NEVER),
    "member: Detach":       (OK,        OK,        OK,        NEVER,     OK,        OK,        NEVER),
}

DEFINITION = {"reserve": False, "regions": [{"name": "data", "size": 4096}]}
REGION = {"name": "more", "size": 4096}

# the call of each verb; the environment comes to it
CALLS = {
    "Open to read": ("Open", {"access": "read", "waitUSec": 0}),
    "Open to write": ("Open", {"access": "write", "waitUSec": 0}),
    "Open or make": ("Open", {"create": "ifAbsent", "definition": DEFINITION, "waitUSec": 0}),
    "Open or make to read": ("Open", {"create": "ifAbsent", "definition": DEFINITION, "access": "read", "waitUSec": 0}),
    "Open anew": ("Open", {"create": "always", "definition": DEFINITION}),
    "Adopt": ("Adopt", {"access": "read"}),
    "Adopt to write": ("Adopt", {"access": "write"}),
    "Resume to write": ("Resume", {"access": "write"}),
    "AddRegion": ("AddRegion", {"region": REGION}),
    "Attach": ("Attach", {"region": "data", "access": "read"}),
    "Attach to write": ("Attach", {"region": "data", "access": "write"}),
    "DeleteRegion": ("DeleteRegion", {"region": "data"}),
    "DeleteRegion by force": ("DeleteRegion", {"region": "data", "force": True}),
    "Remove by force": ("Remove", {"force": True}),
    "member: DeleteRegion": ("DeleteRegion", {"region": "data", "force": True}),
    "member: Remove": ("Remove", {"force": True}),
}
WITHOUT_ENVIRONMENT = ("GetStatistics", "GetConfiguration")


def call_of(verb):
    name = verb.removeprefix("member: ")
    return CALLS.get(verb) or CALLS.get(name) or (name, {})


class Asker(Actor):
    """One of the users, who keeps nothing of what it is granted."""

    def list(self, pattern):
        """The names that List tells."""
        self.connection.send("List", more=True, pattern=pattern)
        names, done = [], False
        while not done:
            text = b""
            while not text.endswith(b"\0"):
                text += self.connection.socket.recv(1)
            reply = json.loads(text[:-1])
            if "error" in reply:
                raise Refused(reply["error"], reply["parameters"])
            names.append(reply["parameters"]["environment"]["name"])
            done = not reply.get("continues")
        return names

    def ask(self, verb, environment, id):
        """Asks, and leaves again what it came into by that."""
        method, parameters = call_of(verb)
        if method == "List":
            return self.list(environment)
        if method not in WITHOUT_ENVIRONMENT:
            parameters = {**parameters, "environment": environment}
        if method == "Resume":
            parameters["id"] = id
        reply = self.call(method, **parameters)
        if method in ("Open", "Adopt", "Resume"):
            self.call("Detach", environment=environment)
        return reply

    def hears(self, until):
        """The environments of all that is told of before one that it makes itself."""
        connection, names = Connection(self.path), []
        self.call("Open", environment=until, create="always", definition={"regions": []})
        connection.send("Watch", more=True, since=0)
        while until not in names:
            event = connection.receive()[0].get("event")
            if event:
                names.append(event["environment"])
        connection.close()
        self.call("Detach", environment=until)
        return names


def become_and_ask(uid, gid, groups):
    def work(theirs, path):
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        perform(theirs, path, Asker)
    return work


def column_of(user, mode):
    """Which of the columns holds for that user and mode."""
    bits = USERS[user][3]
    if bits is None:
        return 0
    rights = RIGHTS[mode][bits]
    return (1 if user == "owner" else 4) + {"rw": 0, "r-": 1}.get(rights, 2)


@unittest.skipUnless(os.geteuid() == 0, "has to be root, to become other users")
class Rights(WithBroker):
    options = ["--system"]

    def setUp(self):
        super().setUp()
        self.addCleanup(self.remove)
        self.made = "none"
        self.users = {user: self.puppet(work=become_and_ask(*ids)) for user, (*ids, _) in USERS.items()}

    def ask(self, user, verb, environment):
        """The answer by its short name, and its parameters."""
        try:
            return OK, self.users[user].do("ask", verb=verb, environment=environment, id=self.made)
        except Refused as refused:
            return refused.error, refused.parameters

    def remove(self):
        with contextlib.suppress(Refused):
            self.connection().call("Remove", environment=self.env, force=True)

    def make(self, mode):
        """The owner makes it for the group, fills it and goes. What was there goes before that."""
        self.ask("root", "Remove by force", self.env)
        owner = self.users["owner"]
        opened = owner.open(self.env, create="always",
                            definition={**DEFINITION, "mode": mode, "group": str(CLUB), "lifetime": "persistent"})
        owner.do("unmap")
        self.made = opened["environment"]["id"]
        owner.call("Ready", environment=self.env)
        owner.call("Detach", environment=self.env)

    def enter(self, user, column):
        access = "write" if COLUMNS[column] in ("root", "owner rw", "another rw") else "read"
        self.users[user].call("Open", environment=self.env, access=access, regions=[])

    def leave(self, user):
        with contextlib.suppress(Refused):  # it has left by what it asked for
            self.users[user].call("Detach", environment=self.env)

    def try_one(self, mode, user, verb):
        column = column_of(user, mode)
        wanted = ANSWERS[verb][column]
        if wanted is NEVER:
            return
        self.make(mode)
        if verb.startswith("member: "):
            self.enter(user, column)
        answer, facts = self.ask(user, verb, self.env)
        where = f"{verb}, mode {mode:04o}, {user} ({COLUMNS[column]}): {str(facts)[:400]}"
        self.assertEqual(answer, wanted, where)
        if wanted == ABSENT:
            self.check_words(user, verb, facts, where)
        elif COLUMNS[column] == "another --" and verb not in WITHOUT_ENVIRONMENT:
            self.assertEqual(facts, {"environment": self.env} if answer == EXISTS else {}, where)
        if verb.startswith("member: "):
            self.leave(user)

    def check_words(self, user, verb, facts, where):
        """It is told the same of what never was."""
        answer, other = self.ask(user, verb, "never-was")
        self.assertEqual(answer, ABSENT, where)
        self.assertEqual(json.dumps(facts).replace(self.env, "never-was"), json.dumps(other), where)

    def each_by_its_own_name(self, modes):
        """So that nobody remembers another one of that name, of which it could hear."""
        name = self.env
        for mode in modes:
            self.env = f"{name}-{mode:04o}"
            yield mode
            self.remove()

    def try_all(self, modes):
        for mode in self.each_by_its_own_name(modes):
            for user in USERS:
                for verb in ANSWERS:
                    self.try_one(mode, user, verb)

    def test_of_private_ones(self):
        self.try_all([0o600, 0o400, 0o000])

    def test_of_those_of_a_group(self):
        self.try_all([0o640, 0o660, 0o620])

    def test_of_those_that_all_may_read(self):
        self.try_all([0o644, 0o664, 0o604])

    def test_of_those_that_all_may_write(self):
        self.try_all([0o666, 0o606, 0o777])

    def test_the_first_class_that_fits_decides(self):
        self.try_all([0o066])

    def test_the_table_has_every_verb_of_the_contract(self):
        description = Connection(self.socket)
        description.socket.sendall(json.dumps({"method": "org.varlink.service.GetInterfaceDescription", "parameters": {
            "interface": "org.regionbroker"}}).encode() + b"\0")
        text = description.receive()[0]["description"]
        description.close()
        methods = {line.split("(")[0].split()[1] for line in text.splitlines() if line.startswith("method ")}
        asked = {call_of(verb)[0] for verb in ANSWERS}
        self.assertEqual(methods, asked | {"Watch", "Offer"})  # what is offered only a member can have: see test-restart

    def test_who_may_not_see_it_does_not_hear_of_it_either(self):
        for mode in self.each_by_its_own_name(RIGHTS):
            self.make(mode)
            for user in USERS:
                column = column_of(user, mode)
                names = self.users[user].do("hears", until=f"{user}-{mode:04o}")
                self.assertEqual(self.env in names, COLUMNS[column] != "another --", f"mode {mode:04o}, {user}")

    def test_a_pattern_finds_no_more_than_a_name(self):
        self.make(0o640)
        self.assertEqual(self.ask("member", "List", self.env[:-1] + "?"), (OK, [self.env]))
        self.assertEqual(self.ask("other", "List", self.env + "*")[0], ABSENT)

    def test_a_hidden_home_does_not_tell_the_name(self):
        home = os.path.join(self.folder.name, self.env)
        os.mkdir(home)
        os.chmod(home, 0o777)
        owner = self.users["owner"]
        owner.call("Open", environment=self.env, create="always", definition={**DEFINITION, "home": home, "mode": 0o600})
        for verb, wanted in (("Open to read", ABSENT), ("Open or make", NO), ("Open anew", EXISTS), ("Describe", ABSENT),
                             ("Explain", ABSENT), ("Remove", ABSENT), ("Adopt", ABSENT)):
            answer, facts = self.ask("other", verb, home)
            self.assertEqual((answer, facts.get("environment", home)), (wanted, home), verb)
        self.assertEqual(self.refused(EXISTS, self.users["other"].call, "Open", environment="mine", create="ifAbsent",
                                      definition={**DEFINITION, "home": home}), {"environment": home})
        owner.call("Detach", environment=self.env)


if __name__ == "__main__":
    main()
