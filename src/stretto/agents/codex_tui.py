"""Codex' own interface in a terminal, as we read it (verified with 0.169.0).

What it shows: a composer (`›`) above a footer, a line with the seconds and `esc to interrupt` while it works, requests
for approval and questions with numbered options in the place of the composer, and in the title a wheel or
`Action Required`. At the start, in a folder that is not trusted, it says that the settings of the folder are left
alone: that is as we want it, and passed by. What it writes: a rollout, a JSON object a line. A thread has the id that
Codex gives it; its first hook tells it. A request's tokens stand in a record of their own, with the id of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stretto.agents import quotas
from stretto.agents.codex_stream import TESTED, ended
from stretto.agents.hooks import Report
from stretto.agents.questions import describe
from stretto.agents.shapes import Json, as_count, as_list, as_object, as_text, parsed
from stretto.agents.tui import Dialog, Place, Tui, View, numbered, permitting, unnumbered
from stretto.agents.turns import MAX_TEXT
from stretto.core.evidence import What
from stretto.core.model import TurnResult, Usage
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

_BANNER = re.compile(r">_ OpenAI (?P<program>Codex) \(v(?P<version>\d+(?:\.\d+)+[\w.-]*)\)")
_WORKING = re.compile(r"\s*[•◦] .*\((\d+h )?(\d+m )?\d+s • esc to interrupt\).*")
_FOLDED = re.compile(r"(\[Pasted Content \d+ chars\]( #\d+)?\s*)+")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ASKED = re.compile(r"\s*Question \d+/\d+ \(.*")
_DETAIL = re.compile(r"\s{2,}.*")
_KEY = re.compile(r" \((esc|[a-z])\)$")
#: the last line of a screen on which a key is waited for; below a composer stands something else
_HINTS = re.compile(
    r"(?!.*\bqueue\b).*\b(enter|esc|tab)( or (enter|esc|tab))? to \w+|enter continue|press any key", re.IGNORECASE
)
#: the option for everything that is no option, and what stands where words are typed to it
_NONE, _NOTES = "None of the above", "to clear notes"
#: what a thread has used, in the order in which the stream mode remembers it
_COUNTS = (
    *("input_tokens", "cached_input_tokens", "cache_write_input_tokens"),
    *("output_tokens", "reasoning_output_tokens"),
)
_APPROVALS = ("Would you like to", "Do you want to", "needs your approval")


class CodexTui(Tui):
    """`type = "codex"` in a pane. It remembers that it saw work in the title: a title without a wheel ends it."""

    interrupt: tuple[str, ...] = ("Escape",)
    banner = _BANNER
    tested = TESTED

    def __init__(self) -> None:
        self._worked = False

    def view(self, screen: Screen) -> View:
        """A composer, or a dialog in its place."""
        if "Folder access" in screen.foot and re.search(r"› 1\. Open restricted", screen.foot):
            return View(pass_by=("Enter",))
        dialog = _dialog(screen)
        text = None if dialog is not None else _composer(screen)
        working = dialog is None and any(_WORKING.fullmatch(line) for line in screen.foot.split("\n"))
        return View(text, text is not None and bool(_FOLDED.fullmatch(text)), working, dialog)

    def title(self, title: str) -> What | None:
        """A wheel is work; that nothing turns any more is a sign only after one."""
        if "Action Required" in title:
            return What.ASKING
        if "⠀" <= title[:1] <= "⣿":
            self._worked = True
            return What.WORKING
        if not self._worked:
            return None
        self._worked = False
        return What.DONE

    def conversation(self, report: Report) -> str | None:
        """The id of the thread, as its first hook says it."""
        id = as_text(report.said.get("session_id"))
        return id if report.event == "SessionStart" and _ID.fullmatch(id) else None

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """The rollout of the thread: where it is if there is one, else in the folder of these days."""
        if not _ID.fullmatch(place.conversation):
            return []
        own = place.env.get("CODEX_HOME") or f"{place.env.get('HOME', '')}/.codex"
        sessions, name = place.outside(own) / "sessions", f"rollout-*-{place.conversation}.jsonl"
        found = sorted(sessions.glob(f"*/*/*/{name}"))
        today = datetime.now(UTC)
        days = [today + timedelta(days=n) for n in (-1, 0, 1)]
        return [("rollout", at) for at in found or [sessions / f"{day:%Y/%m/%d}" / name for day in days]]

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of a rollout; what is not known is passed over."""
        said = parsed(line)
        if said is None:
            return []
        body = as_object(said.get("payload"))
        kind = as_text(said.get("type"))
        read = _READERS.get(as_text(body.get("type")) if kind in ("event_msg", "response_item") else kind)
        return list(read(body, state)) if read else []


# ---------------------------------------------------------------- the screen


def _composer(screen: Screen) -> str | None:
    """What stands behind the last prompt; the last block below it is the footer.

    Without the model and the folder in the footer it is still loading, and loses what is typed.
    """
    at = next((n for n in reversed(range(len(screen.lines))) if screen.lines[n][:1] == "›"), None)
    if at is None:
        return None
    last = max(n for n, line in enumerate(screen.lines) if line.strip())
    foot = next((n for n in range(last, at, -1) if not screen.lines[n].strip()), None)
    footer = () if foot is None else screen.lines[foot + 1 : last + 1]
    if foot is None or not any(" · " in line and "for shortcuts" not in line for line in footer[:4]):
        return None
    return "\n".join(line.strip() for line in [screen.bright[at][1:], *screen.bright[at + 1 : foot]]).strip()


def _dialog(screen: Screen) -> Dialog | None:
    """What waits for a key at the foot: an approval, a question, something else."""
    other = unnumbered(screen, _HINTS, 1)
    if other is None or any(_WORKING.fullmatch(line) for line in screen.foot.split("\n")):
        return None
    if _NOTES in other.text:
        return Dialog(_question(screen) or other.text, (), words=())
    dialog = numbered(screen)
    if dialog is None:
        return other
    if any(word in dialog.text for word in _APPROVALS):
        return permitting(_approval(dialog), always=True)
    asked = _question(screen)
    if asked is None:
        return dialog
    options = tuple((key, _DETAIL.sub("", words)) for key, words in dialog.options)
    at = next((n for n, (_, words) in enumerate(options) if words == _NONE), None)
    if at is None:
        return replace(dialog, text=asked, options=options)
    cursor = next((n for n, line in enumerate(_rows(screen)) if line.lstrip().startswith("›")), 0)
    moves = ("Down" if at > cursor else "Up",) * abs(at - cursor)
    rest = (*options[:at], *options[at + 1 :])  # it stands for what words say better
    return replace(dialog, text=asked, options=rest, words=(*moves, "Tab"))


def _rows(screen: Screen) -> list[str]:
    """The lines of the options that `numbered` finds."""
    rows = [line for line in screen.lines if re.match(r"\s*›?\s*\d\. ", line)]
    first = max((n for n, line in enumerate(rows) if re.match(r"\s*›?\s*1\. ", line)), default=0)
    return rows[first:]


def _approval(dialog: Dialog) -> Dialog:
    """What it wants to do, and why: the line with the command first."""
    lines = dialog.text.split("\n")
    start = next((n for n, line in enumerate(lines) if any(word in line for word in _APPROVALS)), 0)
    about = [line for line in lines[start:] if not line.startswith("Environment:")]
    command = next((n for n, line in enumerate(about) if line.startswith("$ ")), None)
    reason = next((line.removeprefix("Reason: ") for line in about if line.startswith("Reason: ")), "")
    options = tuple((key, _KEY.sub("", words)) for key, words in dialog.options)
    if command is None:
        return replace(dialog, text="\n".join(about), options=options)
    said = " ".join([about[command].removeprefix("$ "), *about[command + 1 :]])
    return replace(dialog, text=f"command: {said}" + (f" ({reason})" if reason else ""), options=options)


def _question(screen: Screen) -> str | None:
    """The words of the question, between its number and its options."""
    at = next((n for n in reversed(range(len(screen.lines))) if _ASKED.fullmatch(screen.lines[n])), None)
    if at is None:
        return None
    words = []
    for line in screen.lines[at + 1 :]:
        if re.match(r"\s*›?\s*\d\. ", line):
            break
        words.append(line.strip())
    return " ".join(filter(None, words))


# ---------------------------------------------------------------- the rollout


def _meta(body: Json, state: Json) -> Iterator[Signal]:
    if _ID.fullmatch(id := as_text(body.get("id"))):
        yield Signal("started", {"conversation": id})


def _context(body: Json, state: Json) -> Iterator[Signal]:
    model = as_text(body.get("model"))
    if model and state.get("model") != model:
        state["model"] = model
        yield Signal("started", {"model": model})


def _item(body: Json, state: Json) -> Iterator[Signal]:
    item = as_object(body.get("item"))
    words = [as_text(as_object(one).get("text")) for one in as_list(item.get("content"))]
    if item.get("type") == "UserMessage":
        yield Signal("turn_started", {"prompt": "\n".join(words), "evidence": "session file"})
    elif item.get("type") == "AgentMessage" and (text := "\n".join(words).strip()[:MAX_TEXT]):
        yield Signal("text", {"text": text})


def _call(body: Json, state: Json) -> Iterator[Signal]:
    name, given = as_text(body.get("name")), parsed(as_text(body.get("arguments"))) or {}
    detail = as_text(given.get("cmd")) or describe(name, given)
    yield Signal("tool", {"name": name, "detail": detail[:500]})


def _used(body: Json, state: Json) -> Iterator[Signal]:
    """Input contains what was read from and written to the cache; output contains the reasoning."""
    told, id = as_object(body.get("usage")), as_text(body.get("response_id"))
    read, write = as_count(told.get("cached_input_tokens")), as_count(told.get("cache_write_input_tokens"))
    entire, output = as_count(told.get("input_tokens")), as_count(told.get("output_tokens"))
    usage = Usage(max(0, entire - read - write), output, read, write, as_count(told.get("reasoning_output_tokens")))
    if id and usage != Usage():
        about = {"key": id, "model": as_text(state.get("model")), "usage": usage}
        total = as_object(body.get("thread_token_usage"))
        thread = as_text(body.get("thread_id"))
        yield Signal("usage", {**about, "totals": {thread: [as_count(total.get(name)) for name in _COUNTS]}})


def _count(body: Json, state: Json) -> Iterator[Signal]:
    yield from quotas.codex(as_object(body.get("rate_limits")))


def _complete(body: Json, state: Json) -> Iterator[Signal]:
    error = as_object(body.get("error"))
    yield ended(
        {"message": error.get("message"), "codexErrorInfo": _camel(error.get("codex_error_info"))} if error else {}
    )


def _aborted(body: Json, state: Json) -> Iterator[Signal]:
    result = TurnResult.INTERRUPTED if body.get("reason") == "interrupted" else TurnResult.FAILED
    reason = "by you" if result is TurnResult.INTERRUPTED else f"aborted: {as_text(body.get('reason'))[:200]}"
    yield Signal("turn_ended", {"result": result.value, "reason": reason})


def _camel(value: Any) -> Any:
    """The words of a rollout as its protocol writes them."""
    if isinstance(value, dict):
        return {_camel(name): _camel(one) if isinstance(one, dict) else one for name, one in value.items()}
    if not isinstance(value, str):
        return value
    first, *more = value.split("_")
    return first + "".join(word.capitalize() for word in more)


_READERS: dict[str, Callable[[Json, Json], Iterator[Signal]]] = {
    "session_meta": _meta,
    "turn_context": _context,
    "token_usage_record": _used,
    "item_completed": _item,
    "function_call": _call,
    "custom_tool_call": _call,
    "token_count": _count,
    "task_complete": _complete,
    "turn_aborted": _aborted,
}
