"""An agent's own interface in a terminal, as we read it: what a screen shows, what its session files report.

A `Tui` stands beside its adapter, one for each agent that can run in a pane. It is pure: screens and lines in, views
and signals out. It runs in the pane's host (pane_host.py), so what it keeps lives as long as the pane.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

_RULE = re.compile(r"[─━]{8,}.*[─━]|[─━]{8,}")
_OPTION = re.compile(r"\s*(?P<cursor>[❯›●>])?\s*(?P<key>\d)\.\s+(?P<text>\S.*)")


@dataclass(frozen=True, slots=True)
class Dialog:
    """Something that waits for an answer. `options`: key to press -> words."""

    text: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class View:
    """What a screen says. `composer` None: none is seen; `folded`: it shows only that something was pasted."""

    composer: str | None = None
    folded: bool = False
    working: bool = False
    dialog: Dialog | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pane's agent works: `cwd` and `env` as the agent sees them, `home` as we see its home folder.

    `shared`: a folder that we and the agent see under the same name, and both may fill.
    """

    cwd: str
    env: Mapping[str, str]
    home: str
    conversation: str
    shared: str

    def outside(self, path: str) -> Path:
        """A path that the agent knows, as it is known outside of its sandbox."""
        home = self.env.get("HOME", "")
        if home and (path == home or path.startswith(f"{home}/")):
            return Path(self.home + path[len(home) :])
        return Path(path)


class Tui(Protocol):
    """How to read one agent's interface. `interrupt`: the keys that end its turn."""

    interrupt: tuple[str, ...]

    def view(self, screen: Screen) -> View:
        """What a screen says."""
        ...

    def permission(self, dialog: Dialog) -> bool:
        """Whether a dialog asks to be allowed something."""
        ...

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """Files to which the agent adds lines while it works, each with the word by which `line` knows it.

        A last part that is a pattern stands for all files that it matches.
        """
        ...

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """What a new line of a source reports. `turn_started` carries `prompt`, as it arrived at the agent.

        While `state` holds `ending`, a turn has said its last word: `turn_ended` with that data is due once the screen
        shows no work any more.
        """
        ...


def boxed(screen: Screen, prompts: str) -> str | None:
    """What stands in the composer between the last two rules of a screen; None if there is none."""
    rules = [at for at, line in enumerate(screen.lines) if _RULE.fullmatch(line.strip())]
    for top, bottom in reversed(list(pairwise(rules))):
        inside = screen.lines[top + 1 : bottom]
        if inside and inside[0][:1] and inside[0][0] in prompts:
            lit = screen.bright[top + 1 : bottom]
            return "\n".join([lit[0][1:].strip(), *(line.strip() for line in lit[1:])]).strip()
        if inside:
            return None
    return None


def numbered(screen: Screen) -> Dialog | None:
    """The dialog at the foot of a screen whose options have numbers, one of them under the cursor."""
    found = [(at, match) for at, line in enumerate(screen.lines) if (match := _OPTION.fullmatch(line))]
    last = next((at for at, match in reversed(found) if match["key"] == "1"), None)
    own = [(at, match) for at, match in found if last is not None and at >= last]
    keys = [match["key"] for _, match in own]
    if len(own) < 2 or keys != [str(n + 1) for n in range(len(own))] or not any(match["cursor"] for _, match in own):
        return None
    above = [line.strip() for line in screen.lines[: own[0][0]] if line.strip()]
    words: list[str] = []
    for line in reversed(above[-8:]):
        if _RULE.fullmatch(line):
            break
        words.insert(0, line)
    return Dialog("\n".join(words), tuple((match["key"], match["text"].strip()) for _, match in own))
