"""What is wrong with a text that a person wrote, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """An error keeps the plan from running; a warning does not (unless the caller is strict)."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend in a plan. `line` counts from 1, `rule` is a name of the table in `core.rules`."""

    line: int
    severity: Severity
    rule: str
    task: str | None
    message: str
    suggestion: str

    def as_json(self) -> dict[str, Any]:
        """The element of `findings` in `plan lint --json` (CONTRACTS)."""
        return {
            "line": self.line,
            "severity": str(self.severity),
            "rule": self.rule,
            "task": self.task,
            "message": self.message,
            "suggestion": self.suggestion,
        }


def error(line: int, rule: str, message: str, suggestion: str, task: str | None = None) -> Finding:
    """A finding that keeps the plan from running."""
    return Finding(line, Severity.ERROR, rule, task, message, suggestion)


def warning(line: int, rule: str, message: str, suggestion: str, task: str | None = None) -> Finding:
    """A finding that a person may leave as it is."""
    return Finding(line, Severity.WARNING, rule, task, message, suggestion)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or None."""
    words = list(known)
    found = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return found[0] if found else None


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
