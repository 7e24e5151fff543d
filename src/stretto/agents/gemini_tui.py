"""Gemini CLI's own interface in a terminal, as we read it (verified with 0.61.0).

What it shows: a composer below the last rule, dialogs with numbered options in a frame, `esc to cancel` while it works;
the terminal's title tells the same in a sign, and also that it is not ready yet. It draws its composer before it reads
keys: a paste would then arrive as single ones, and some of them switch modes. What it writes: a recording, a JSON
object a line, to which a conversation that is resumed goes on. A request stands there twice, without and then with the
tools that it called; no line says that a turn is over: it is when the model called no tool and the screen is calm.
Hooks would need a settings file that it reads from nowhere but folders of root, or the person's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stretto.agents.gemini import TESTED, usage
from stretto.agents.shapes import as_list, as_object, as_text, parsed
from stretto.agents.tui import Dialog, Place, Tui, View, numbered, permitting, unnumbered
from stretto.core import delivery
from stretto.core.evidence import What
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

_BANNER = re.compile(r"(?P<program>Gemini CLI) v(?P<version>\d+(?:\.\d+)+[\w.-]*)")
_RULE = re.compile(r"─{20,}")
_PROMPT = re.compile(r" [>*](?: (?P<text>.*))?")
_MENTION = re.compile(r"\s*@\S*")
_HINT = "Type your message or @path/to/file"
_FOLDED = re.compile(r"(\[Pasted Text: \d+ (lines|chars)[^\]]*\]\s*)+")
_FRAME = re.compile(r"\s*[│╭╰](?P<inside>.*?)[│╮╯]?\s*")
_EDGE = re.compile(r"[▀▄]{20,}")
_LINE = re.compile(r"[─╭╮╰╯│\s]*")
#: what stands below a dialog, and answers that need more than a key
_HINTS, _OWN = re.compile(r"\b(Enter|Esc|Tab) to \w+"), ("Enter a custom", "Modify with")
#: the signs with which the title begins
_BUSY, _ASKS = ("✦", "⏲"), "✋"
_CANCELLED = "Request cancelled."
#: how the first message of a conversation begins, which nobody wrote
_CONTEXT = "<session_context>"
#: how the words begin with which it goes on by itself when a tool was the last of a turn, of a cancelled one as well
_NUDGE = "[System: "


class GeminiTui(Tui):
    """`type = "gemini"` in a pane."""

    interrupt: tuple[str, ...] = ("Escape",)
    banner = _BANNER
    tested = TESTED
    marked = True

    def view(self, screen: Screen) -> View:
        """A composer, or a dialog in its place; what is drawn before it reads keys is neither yet."""
        if not screen.taken:
            return View(working=True)
        text = _composer(screen)
        if text is None:
            return View(dialog=_dialog(screen))
        working = "esc to cancel" in screen.foot or screen.title.lstrip().startswith(_BUSY)
        return View(composer=text, folded=bool(_FOLDED.fullmatch(text)), working=working)

    def same(self, text: str, prompt: str) -> bool:
        """But for what stands behind an @: it takes that for a file, and writes its name as it found it."""
        return delivery.same(_MENTION.sub("", text), _MENTION.sub("", prompt))

    def title(self, title: str) -> What | None:
        """Its sign; what it says when nobody has told it anything yet is no end of a turn."""
        sign = title.strip()[:1]
        return What.WORKING if sign in _BUSY else What.PERMISSION if sign == _ASKS else None

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """The recording of the conversation; its name holds the beginning of the id, its folder one of the project."""
        home = place.env.get("GEMINI_CLI_HOME") or place.env.get("HOME", "")
        folder = place.outside(f"{home}/.gemini") / "tmp"
        return [("recording", folder / "*" / "chats" / f"session-*-{place.conversation[:8]}.jsonl")]

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of the recording; what is not known is passed over."""
        said = parsed(line)
        read = _LINES.get(as_text(said.get("type"))) if said is not None else None
        return list(read(said, state)) if read is not None and said is not None else []


def _composer(screen: Screen) -> str | None:
    """What stands behind the prompt below the last rule; None if none is seen."""
    rule = next((at for at in reversed(range(len(screen.lines))) if _RULE.fullmatch(screen.lines[at].strip())), None)
    below = screen.lines[rule + 1 :] if rule is not None else ()
    found = next(((at, match) for at, line in enumerate(below) if (match := _PROMPT.fullmatch(line))), None)
    if found is None:
        return None
    at, match = found
    rows = [(match["text"] or "").strip()]
    for line in below[at + 1 :]:
        foot = line[:1] == " " and line[1:2].strip()  # it is set in by one, the message by three
        if foot or _EDGE.fullmatch(line.strip()):
            break
        rows.append(line.strip())
    text = "\n".join(rows).strip()
    return "" if text == _HINT else text


def _dialog(screen: Screen) -> Dialog | None:
    """The last dialog, without its frames."""
    top = next((at for at in reversed(range(len(screen.lines))) if screen.lines[at].lstrip(" ").startswith("╭")), None)
    inside = screen.lines[top:] if top is not None else ()
    rows = [row for line in inside if not _LINE.fullmatch(row := _unframed(_unframed(line)))]
    found = numbered(Screen(tuple(rows), tuple(rows)))
    if found is None:
        return None if "esc to cancel" in screen.foot else unnumbered(screen, _HINTS)
    options = tuple(option for option in found.options if not option[1].startswith(_OWN))
    dialog = replace(found, options=options)
    return permitting(dialog, always=True) if options[0][1].startswith("Allow") else dialog


def _unframed(line: str) -> str:
    found = _FRAME.fullmatch(line)
    return found["inside"] if found else line


# ---------------------------------------------------------------- the recording


def _user(said: dict[str, Any], state: dict[str, Any]) -> Iterator[Signal]:
    text = "\n".join(as_text(as_object(part).get("text")) for part in as_list(said.get("content")))
    if text.startswith(_NUDGE):
        yield Signal("goes_on", {})
    elif text.strip() and not text.startswith(_CONTEXT):
        yield Signal("turn_started", {"prompt": text, "evidence": "recording"})


def _model(said: dict[str, Any], state: dict[str, Any]) -> Iterator[Signal]:
    if not isinstance(said.get("content"), str):
        return  # a conversation that is written down anew, after a turn that was cancelled
    yield from _fresh(usage(said, state), state)
    calls, text = [as_object(call) for call in as_list(said.get("toolCalls"))], as_text(said.get("content")).strip()
    if calls:
        state.pop("ending", None)
        for call in calls:
            yield Signal("tool", {"name": as_text(call.get("name"))[:100], "detail": ""})
        return
    state["ending"] = {"result": "ok", "reason": ""}
    if text:
        yield Signal("text", {"text": text})


def _fresh(found: Sequence[Signal], state: dict[str, Any]) -> Iterator[Signal]:
    """A request is told once, however often it stands there."""
    told = state.setdefault("told", [])
    for signal in found:
        if signal.data["key"] not in told:
            told.append(signal.data["key"])
            del told[:-200]
            yield signal


def _error(said: dict[str, Any], state: dict[str, Any]) -> Iterator[Signal]:
    state["ending"] = {"result": "failed", "reason": as_text(said.get("content"))[:300] or "the model gave an error"}
    yield from ()


def _info(said: dict[str, Any], state: dict[str, Any]) -> Iterator[Signal]:
    if as_text(said.get("content")).strip() == _CANCELLED:
        yield Signal("turn_ended", {"result": "interrupted", "reason": "by you"})


_LINES = {"user": _user, "gemini": _model, "error": _error, "info": _info}
