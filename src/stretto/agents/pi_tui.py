"""pi's own interface in a terminal, as we read it (verified with 0.87.1).

What it shows: a composer between two rules, of which the upper one turns a wheel while it works or waits to try again;
dialogs in its place. Those of our extension (pi_extension.js) begin with its mark and a number, so that no two are the
same, and have numbered options under a cursor. What it writes: a session file, a JSON object a line. A message of the
model carries the usage of its request and why it ended; whether the turn is over after an error, or pi tries again, is
told by the extension among the hooks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stretto.agents.pi_asks import MARK
from stretto.agents.pi_stream import TESTED, outcome, usage_of
from stretto.agents.questions import describe
from stretto.agents.shapes import Json, as_count, as_list, as_object, as_text, parsed
from stretto.agents.tui import Dialog, Place, Tui, View, steered
from stretto.agents.turns import MAX_TEXT
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

_BANNER = re.compile(r"^ (?P<program>pi) v(?P<version>\d+(?:\.\d+)+[\w.-]*)$", re.MULTILINE)
_RULE = re.compile(r"──.*──")
_WORKING = re.compile(r"── [⠀-⣿] \w.*")
_FOLDED = re.compile(r"(\[paste #\d+[^\]]*\]\s*)+")
_OURS = re.compile(rf"{MARK}\d+ (permission|question)")
_OPTION = re.compile(r"(?P<cursor>→ )?\s*(?P<key>\d+)\. (?P<text>\S.*)")
#: the last line of a dialog
_HINTS = re.compile(r"(↑↓ navigate  )?\S+ (select|submit)  \S+ cancel")
#: what our extension calls the option behind which it asks for words, and its answers to a request for permission
OTHER = "Other words"
_PERMITS = ("allow", "always", "deny")


class PiTui(Tui):
    """`type = "pi"` in a pane."""

    interrupt: tuple[str, ...] = ("Escape",)
    banner = _BANNER
    tested = TESTED

    def view(self, screen: Screen) -> View:
        """A composer, or a dialog in its place."""
        rules = [at for at, line in enumerate(screen.lines) if _RULE.fullmatch(line)]
        if len(rules) < 2:
            return View()
        top, bottom = rules[-2:]
        inside = [line.strip() for line in screen.lines[top + 1 : bottom]]
        dialog = _dialog(inside)
        text = "\n".join(line.strip() for line in screen.bright[top + 1 : bottom]).strip()
        return View(
            composer=text if dialog is None else None,
            folded=bool(_FOLDED.fullmatch(text)),
            working=bool(_WORKING.fullmatch(screen.lines[top])),
            dialog=dialog,
        )

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """The session file; its name begins with the time at which it was made."""
        own = place.env.get("PI_CODING_AGENT_DIR") or f"{place.env.get('HOME', '')}/.pi/agent"
        name = f"--{place.cwd.strip('/').replace('/', '-').replace(':', '-')}--"
        return [("session", place.outside(own) / "sessions" / name / f"*_{place.conversation}.jsonl")]

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of a session file; what is not known is passed over."""
        said = parsed(line)
        if said is None:
            return []
        if said.get("type") == "compaction":
            return list(usage_of(said.get("usage"), "", as_text(said.get("id")), state))
        body = as_object(said.get("message"))
        read = {"user": _prompt, "assistant": _work}.get(as_text(body.get("role")))
        return list(read(body, as_text(said.get("id")), state)) if said.get("type") == "message" and read else []


def _dialog(inside: Sequence[str]) -> Dialog | None:
    lines = [line for line in inside if line]
    if not lines or not _HINTS.fullmatch(lines[-1]):
        return None
    options = [(at, match) for at, line in enumerate(lines) if (match := _OPTION.fullmatch(line))]
    mark = next((at for at, line in enumerate(lines) if _OURS.fullmatch(line)), None)
    if mark is None:
        return Dialog("\n".join(lines), ())
    cursor = next((n for n, (_, match) in enumerate(options) if match["cursor"]), None)
    asked = lines[mark].split(" ")
    if not options or cursor is None:
        return Dialog("\n".join(lines[mark + 1 : -2]), (), words=())
    text = "\n".join(lines[mark + 1 : options[0][0]])
    plain = Dialog(text, tuple((match["key"], match["text"]) for _, match in options))
    if asked[1] == "permission" and len(options) == len(_PERMITS):
        named = zip(_PERMITS, options, strict=True)
        plain = Dialog(text, tuple((key, match["text"]) for key, (_, match) in named), permission=True)
    return _numbered(plain, cursor, lines[mark])


def _numbered(dialog: Dialog, cursor: int, mark: str) -> Dialog:
    """With the keys of its answers; the last option of a question stands for words of the person."""
    found = steered(dialog, cursor)
    last = dialog.options[-1]
    if last[1] == OTHER:
        return Dialog(dialog.text, dialog.options[:-1], keys=found.keys, words=found.keys[last[0]], id=mark)
    return Dialog(dialog.text, dialog.options, dialog.permission, keys=found.keys, id=mark)


def _prompt(body: Json, id: str, state: Json) -> Iterator[Signal]:
    content = body.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)
    text = "\n".join(as_text(block.get("text")) for block in map(as_object, parts) if block.get("type") == "text")
    if text:
        yield Signal("turn_started", {"prompt": text, "evidence": "session file"})


def _work(body: Json, id: str, state: Json) -> Iterator[Signal]:
    for block in map(as_object, as_list(body.get("content"))):
        if block.get("type") == "text" and (text := as_text(block.get("text")).strip()[:MAX_TEXT]):
            yield Signal("text", {"text": text})
        elif block.get("type") == "toolCall":
            name = as_text(block.get("name"))
            yield Signal("tool", {"name": name, "detail": describe(name, as_object(block.get("arguments")))[:500]})
    state["at"] = as_count(body.get("timestamp"))
    yield from usage_of(body.get("usage"), as_text(body.get("model")), id, state)
    result, reason, _ = outcome(as_text(body.get("stopReason")), as_text(body.get("errorMessage"))[:1000])
    state["verdict"] = {"result": result.value, "reason": reason}
    if body.get("stopReason") in ("stop", "length", "aborted"):
        state["ending"] = {}
