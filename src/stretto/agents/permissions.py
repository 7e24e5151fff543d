"""What an agent may do without asking, as the person writes it in stretto.toml.

`permissions = "ask"` asks for whatever the agent itself would ask for; `"skip"` never asks. In between, clauses
separated by `;`: `"allow Write, Edit, Bash(git *); deny WebFetch"`. A rule is a tool's name, perhaps with a pattern in
parentheses, in the words of the agent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stretto.core.errors import UsageError

_RULE = re.compile(r"\s*([\w*-]+(?:\([^()]*\))?)\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class Permissions:
    """The rules of a policy. `skip`: everything is allowed."""

    skip: bool = False
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


def parse_permissions(text: str) -> Permissions:
    """Read a policy. Raises UsageError with the clause that makes no sense."""
    if text.strip() in ("ask", "skip"):
        return Permissions(skip=text.strip() == "skip")
    rules: dict[str, tuple[str, ...]] = {"allow": (), "deny": ()}
    for clause in text.split(";"):
        word, _, rest = clause.strip().partition(" ")
        if word not in rules:
            raise _wrong(clause)
        rules[word] += _rules(rest, clause)
    return Permissions(allow=rules["allow"], deny=rules["deny"])


def _rules(text: str, clause: str) -> tuple[str, ...]:
    rules: list[str] = []
    at = 0
    while at < len(text):
        found = _RULE.match(text, at)
        if not found:
            raise _wrong(clause)
        rules.append(found[1])
        at = found.end()
    if not rules:
        raise _wrong(clause)
    return tuple(rules)


def _wrong(clause: str) -> UsageError:
    return UsageError(
        f"permissions: {clause.strip()!r} is neither ask, skip, `allow RULE, …` nor `deny RULE, …`",
        code="bad_permissions",
        hint='for example permissions = "allow Write, Edit, Bash(git *); deny WebFetch"',
    )
