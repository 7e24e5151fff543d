"""Claude Code's own interface in a terminal, as we read it (verified with 2.1.329).

What it shows: a composer between two rules, `esc to interrupt` while it works, dialogs with numbered options. What it
writes: a transcript, a JSON object a line, and one for each sub-agent. A request's tokens stand on each of its lines,
the same each time. The end of a turn is the last message's `end_turn`; `turn_duration` follows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stretto.agents.claude_stream import TESTED
from stretto.agents.hooks import Report
from stretto.agents.shapes import as_count, as_list, as_object, as_text, parsed
from stretto.agents.tui import Dialog, Place, Tui, View, boxed, numbered, permitting, unnumbered
from stretto.core.evidence import What
from stretto.core.model import Usage
from stretto.interfaces import Signal
from stretto.terminal.screen import Screen

_BANNER = re.compile(r"(?P<program>Claude Code) v(?P<version>\d+(?:\.\d+)+[\w.-]*)")
_FOLDED = re.compile(r"(\[(Pasted text|\.\.\.Truncated text) #\d+[^\]]*\]\s*)+")
#: what stands below a dialog, with numbered options or without
_KEYS = re.compile(r"\b(Enter|Esc|Tab|Space) to \w+|Press Enter|any key", re.IGNORECASE)
_CHECKBOX = re.compile(r"\[.\] ")
_HINT = re.compile(r'Try ".*"')
_NAME = re.compile(r"[^A-Za-z0-9]")
_INTERRUPTED = "[Request interrupted by user"
_SYNTHETIC = "<synthetic>"
_TOKENS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
}


class ClaudeTui(Tui):
    """`type = "claude"` in a pane."""

    interrupt: tuple[str, ...] = ("Escape",)
    banner = _BANNER
    tested = TESTED

    def view(self, screen: Screen) -> View:
        """A composer, or a dialog in its place."""
        text = boxed(screen, "❯>")
        if text is not None and _HINT.fullmatch(text):
            text = ""
        return View(
            composer=text,
            folded=text is not None and bool(_FOLDED.fullmatch(text)),
            working="esc to interrupt" in screen.foot,
            dialog=_dialog(screen) if text is None else None,
        )

    def title(self, title: str) -> What | None:
        """Nothing: it stays the same."""
        return None

    def conversation(self, report: Report) -> str | None:
        """None: we choose its name."""
        return None

    def sources(self, place: Place) -> Sequence[tuple[str, Path]]:
        """The transcript of the conversation and those of its sub-agents."""
        own = place.env.get("CLAUDE_CONFIG_DIR") or f"{place.env.get('HOME', '')}/.claude"
        folder = place.outside(own) / "projects" / _NAME.sub("-", place.cwd)
        return [
            ("transcript", folder / f"{place.conversation}.jsonl"),
            ("side", folder / place.conversation / "subagents" / "agent-*.jsonl"),
        ]

    def line(self, source: str, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """A line of a transcript; what is not known is passed over."""
        said = parsed(line)
        if said is None:
            return []
        message = as_object(said.get("message"))
        if said.get("type") == "assistant":
            return [*_usage(message, state), *(_work(said, message, state) if source == "transcript" else ())]
        if source != "transcript" or said.get("isSidechain") or said.get("isMeta"):
            return []
        if said.get("type") == "user":
            return list(_prompt(message))
        if said.get("type") == "system" and said.get("subtype") == "turn_duration" and "ending" in state:
            return [Signal("turn_ended", as_object(state.pop("ending")))]
        return []


def _dialog(screen: Screen) -> Dialog | None:
    """A permission, a question, or something that can only be answered where it stands."""
    dialog = numbered(screen)
    if dialog is None:
        return None if "esc to interrupt" in screen.foot else unnumbered(screen, _KEYS)
    if any(_CHECKBOX.match(words) for _, words in dialog.options):  # a digit there answers nothing yet
        return unnumbered(screen, _KEYS) or Dialog(dialog.text, ())
    return permitting(dialog) if "Do you want" in dialog.text else dialog


def _prompt(message: dict[str, Any]) -> Iterator[Signal]:
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)
    blocks = [as_object(part) for part in parts]
    text = "\n".join(as_text(block.get("text")) for block in blocks if block.get("type") == "text")
    if text.startswith(_INTERRUPTED):
        yield Signal("turn_ended", {"result": "interrupted", "reason": "by you"})
    elif text and not any(block.get("type") == "tool_result" for block in blocks):
        yield Signal("turn_started", {"prompt": text, "evidence": "transcript"})


def _work(said: dict[str, Any], message: dict[str, Any], state: dict[str, Any]) -> Iterator[Signal]:
    words: list[str] = []
    for block in map(as_object, as_list(message.get("content"))):
        if block.get("type") == "text":
            words.append(as_text(block.get("text")))
        elif block.get("type") == "tool_use":
            yield Signal("tool", {"name": as_text(block.get("name")), "detail": ""})
    text = "\n".join(words)
    if said.get("isApiErrorMessage"):
        state["ending"] = {"result": "failed", "reason": text[:300] or "the model gave an error"}
    elif text:
        yield Signal("text", {"text": text})
    if not said.get("isApiErrorMessage"):
        last = message.get("stop_reason") in ("end_turn", "stop_sequence", "max_tokens", "refusal")
        if last:
            state["ending"] = {"result": "ok", "reason": ""}
        else:
            state.pop("ending", None)


def _usage(message: dict[str, Any], state: dict[str, Any]) -> Iterator[Signal]:
    id, model, told = as_text(message.get("id")), as_text(message.get("model")), as_object(message.get("usage"))
    tokens: dict[str, Any] = {name: as_count(told[key]) for name, key in _TOKENS.items() if key in told}
    seen = state.setdefault("usage", {})
    if not id or model == _SYNTHETIC or not any(tokens.values()) or seen.get(id) == tokens:
        return
    seen[id] = tokens
    while len(seen) > 200:
        del seen[next(iter(seen))]
    yield Signal("usage", {"key": id, "model": model, "usage": Usage(**tokens)})
