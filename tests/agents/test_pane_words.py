"""What a pane's host reads of files that the agent can write, and what of it reaches the daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stretto import agents
from stretto.agents.claude_tui import ClaudeTui
from stretto.agents.codex_tui import CodexTui
from stretto.agents.gemini_tui import GeminiTui
from stretto.agents.pane import PaneAgent
from stretto.agents.pi_tui import PiTui
from stretto.agents.tails import Tails
from stretto.agents.tui import Tui
from stretto.terminal.screen import Screen

HUGE = [10**30, -1, True, "7", 1.5, None]


def transcript(count: object) -> bytes:
    usage = {"input_tokens": count, "output_tokens": 5}
    return json.dumps({"type": "assistant", "message": {"id": "m1", "model": "big", "usage": usage}}).encode()


@pytest.mark.parametrize("count", HUGE)
def test_a_count_that_is_none_is_not_counted(count: object) -> None:
    found = [s for s in ClaudeTui().line("transcript", transcript(count), {}) if s.type == "usage"]
    assert [(s.data["usage"].input, s.data["usage"].output) for s in found] == [(0, 5)]


@pytest.mark.parametrize("count", [10**30, -1, "7", 1.5, None])
def test_the_daemon_takes_no_such_count_from_a_host(count: object) -> None:
    line = json.dumps({"signal": "usage", "data": {"key": "m1", "usage": {"input": count}}}).encode()
    assert [s.type for s in PaneAgent(agents.find("claude")).parse(line, {})] != ["usage"]
    whole = json.dumps({"signal": "usage", "data": {"key": "m1", "usage": {"input": 7}}}).encode()
    assert [s.type for s in PaneAgent(agents.find("claude")).parse(whole, {})] == ["usage"]


def test_words_without_bottom_are_passed_over() -> None:
    assert ClaudeTui().line("transcript", b"[" * 100_000, {}) == []


def test_only_plain_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "link.jsonl").symlink_to("/etc/passwd")
    (tmp_path / "plain.jsonl").write_text("one\n")
    tails = Tails([("transcript", tmp_path / "*.jsonl")], old=False)
    assert list(tails.read()) == [("transcript", b"one")]


def test_no_link_leads_out_of_the_home_of_a_sandbox(tmp_path: Path) -> None:
    house, secret = tmp_path / "house", tmp_path / "secret"
    for folder in (house / "projects" / "own", house / "real", secret):
        folder.mkdir(parents=True)
    for path in (secret / "one.jsonl", house / "real" / "one.jsonl", house / "projects" / "own" / "one.jsonl"):
        path.write_text(f"{path.parent.name}\n")
    (house / "projects" / "out").symlink_to(secret)
    (house / "projects" / "in").symlink_to("../real")
    sources = [("transcript", house / "projects" / "*" / "one.jsonl"), ("side", house / "projects/out/one.jsonl")]
    assert list(Tails(sources, old=False, house=house).read()) == [("transcript", b"own")]
    assert {line for _, line in Tails(sources, old=False).read()} == {b"own", b"real", b"secret"}
    known = Tails(sources, old=True, house=house)
    (house / "projects" / "own").rename(house / "gone")
    (house / "projects" / "own").symlink_to(secret)
    (secret / "one.jsonl").write_text("secret\nmore of it\n")
    assert list(known.read()) == []


@pytest.mark.parametrize(
    ("tui", "line"),
    [
        (ClaudeTui(), " ▐▛███▜▌   Claude Code v{}"),
        (CodexTui(), "│ >_ OpenAI Codex (v{})                      │"),
        (GeminiTui(), " ▝▜▄     Gemini CLI v{}"),
        (PiTui(), " pi v{}"),
    ],
)
def test_a_version_that_nobody_tried_is_told_once(tui: Tui, line: str) -> None:
    def met(version: str, state: dict[str, object]) -> list[str]:
        screen = Screen(("", line.format(version), ""), ("", "", ""))
        return [str(signal.data["text"]) for signal in tui.met(screen, state)]

    state: dict[str, object] = {}
    assert met(tui.tested[-1], state) == []
    (told,) = met("99.0.1-beta.2", state)
    assert "99.0.1-beta.2 was not tried" in told
    assert met("99.0.1-beta.2", state) == []


def test_a_message_is_known_whatever_is_made_of_its_mentions() -> None:
    assert not GeminiTui().same("see @READ now", "look at @README.md now")
    assert GeminiTui().same("mail a@b.c and @READ now", "mail a @b.c and @README.md now\n--- Content")
    assert not ClaudeTui().same("see @READ now", "see @README.md now")
