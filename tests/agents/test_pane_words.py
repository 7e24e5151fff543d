"""What a pane's host reads of files that the agent can write, and what of it reaches the daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stretto import agents
from stretto.agents.claude_tui import ClaudeTui
from stretto.agents.pane import PaneAgent
from stretto.agents.tails import Tails

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
