"""An agent's own interface in a terminal, as we read it: what a screen shows, what its session files report.

A `Tui` stands beside its adapter, one for each agent that can run in a pane. It is pure: screens and lines in, views
and signals out. It runs in the pane's host (pane_host.py), so what it keeps lives as long as the pane.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from stretto.agents.hooks import Report
from stretto.agents.shapes import untried
from stretto.core import delivery
from stretto.core.evidence import Source, What
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen, unframed

_RULE = re.compile(r"[─━]{8,}.*[─━]|[─━]{8,}")
_OPTION = re.compile(r"\s*(?P<cursor>[❯›●>→])?\s*(?P<key>\d)\.\s+(?P<text>\S.*)")


@dataclass(frozen=True, slots=True)
class Dialog:
    """Something that waits for an answer. `options`: key of an answer -> words; none: only its terminal answers it.

    `permission`: it asks to be allowed something; its answers are `allow`, `deny`, perhaps `always`, as far as they are
    known. `keys`: what is pressed for an answer, in tmux's words. `words`: what is pressed before free words, which
    Enter ends; None: it takes none. `id`: what tells it from another one that says the same.
    """

    text: str
    options: tuple[tuple[str, str], ...]
    permission: bool = False
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    words: tuple[str, ...] | None = field(default=None, compare=False)
    id: str = ""

    @property
    def told(self) -> str:
        """Its text without what is only drawn around it; that itself where nothing else stands there."""
        return unframed(self.text) or self.text

    @property
    def answerable(self) -> bool:
        """Whether it can be answered from elsewhere than its terminal."""
        return bool(self.options) or self.words is not None


@dataclass(frozen=True, slots=True)
class View:
    """What a screen says. `composer` None: none is seen; `folded`: it shows only that something was pasted.

    `pass_by`: a screen of the program's start that asks nothing of the person; these keys leave it as it stands.
    """

    composer: str | None = None
    folded: bool = False
    working: bool = False
    dialog: Dialog | None = None
    pass_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pane's agent works: `cwd` and `env` as the agent sees them, `home` as we see its home folder.

    `shared`: a folder that we and the agent see under the same name, and both may fill. `conversation`: empty while the
    agent has not told it.
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
    """How to read one agent's interface, and to speak with it. `interrupt`: the keys that end its turn.

    `witness`: what its lines are worth. `marked`: it may show a composer before it has asked for marks around pastes.
    `banner`: how it names its program and version at its start; `tested`: the versions that are known.
    """

    interrupt: tuple[str, ...] = ()
    witness: Source = Source.FILE
    marked: bool = False
    banner: re.Pattern[str] | None = None
    tested: Sequence[str] = ()

    def met(self, screen: Screen, state: dict[str, Any]) -> list[Signal]:
        """A notice, once, if the screen names a version that nobody has tried; it is used all the same."""
        found = self.banner.search(screen.text) if self.banner is not None else None
        return untried(found["program"], found["version"], self.tested, state) if found is not None else []

    def same(self, text: str, prompt: str) -> bool:
        """Whether a prompt that arrived at the agent holds this message."""
        return delivery.same(text, prompt)

    def view(self, screen: Screen) -> View:
        """What a screen says."""
        ...

    def title(self, title: str) -> What | None:
        """What the title of its terminal says that it does; None: nothing."""
        return None

    def conversation(self, report: Report) -> str | None:
        """The conversation that a hook tells of, for an agent that gives it its name; anybody may have written this."""
        return None

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """Files to which the agent adds lines while it works, each with the word by which `line` knows it.

        A last part that is a pattern stands for all files that it matches.
        """
        ...

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """What a new line of a source reports. `turn_started` carries `prompt`, as it arrived at the agent; `goes_on`
        says that it goes on by words of its own, which nobody wrote.

        While `state` holds `ending`, a turn has said its last word: `turn_ended` with that data is due once the screen
        shows no work any more; what `verdict` holds then replaces parts of it.
        """
        ...

    def channel(self, place: Place) -> Path | None:
        """A file that the agent reads while it works: what is said to it becomes a line there. None: keys are pressed.

        What a person has typed is not in the way of such an agent. That a line was taken is told by `turn_started`, as
        of a message that was pasted; that it was not, by `refused` with the `reason`.
        """
        return None

    def turn(self, text: str, state: Mapping[str, Any]) -> str:
        """The line that gives it a message, for one with a channel."""
        return text

    def stop(self, state: Mapping[str, Any]) -> str:
        """The line that ends its turn, for one with a channel."""
        return ""


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
    """The dialog at the foot of a screen whose options have numbers, one of them under the cursor: a digit answers."""
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
    options = tuple((match["key"], match["text"].strip()) for _, match in own)
    return Dialog("\n".join(words), options, keys={key: (key,) for key, _ in options})


def permitting(dialog: Dialog, *, always: bool = False) -> Dialog:
    """The same dialog as a request for permission: its first answer allows, the first one with No (or the last) denies.

    `always`: an answer in between that is the only one allows for longer.
    """
    first, *more = dialog.options
    no = next((option for option in more if option[1].startswith("No")), more[-1])
    between = [option for option in more[: more.index(no)] if always]
    named = [("allow", first), *([("always", between[0])] if len(between) == 1 else []), ("deny", no)]
    return replace(
        dialog,
        options=tuple((name, "No" if name == "deny" else option[1]) for name, option in named),
        permission=True,
        keys={name: dialog.keys[option[0]] for name, option in named},
    )


def steered(dialog: Dialog, cursor: int) -> Dialog:
    """The same dialog for an interface that knows no digits: the cursor, at option `cursor`, is moved, then Enter."""
    moves = {
        key: (*("Down" if at > cursor else "Up",) * abs(at - cursor), "Enter")
        for at, (key, _) in enumerate(dialog.options)
    }
    return replace(dialog, keys=moves)


def unnumbered(screen: Screen, hints: re.Pattern[str], within: int = 4) -> Dialog | None:
    """Something that, by one of these hints in the last lines, waits for a key: only its own terminal answers it."""
    lines = [line.strip() for line in screen.lines if line.strip()]
    if not any(hints.search(line) for line in lines[-within:]):
        return None
    return Dialog("\n".join(line for line in lines[-10:] if not _RULE.fullmatch(line)), ())
