"""A tool that failed is told in one form, whichever agent it is of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stretto import agents
from stretto.agents.failures import CALLS, called, failed
from stretto.cli.logs import _print_text, _Told


def claude(error: bool, said: str) -> list[dict[str, Any]]:
    use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "cat x"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": error, "content": said}
    return [
        {"type": "assistant", "message": {"id": "m", "content": [use]}, "parent_tool_use_id": None},
        {"type": "user", "message": {"role": "user", "content": [result]}},
    ]


def codex(error: bool, said: str) -> list[dict[str, Any]]:
    item = {"type": "commandExecution", "id": "c", "command": "cat x", "commandActions": [{"command": "cat x"}]}
    over = {"status": "failed", "exitCode": 1, "aggregatedOutput": said.replace("Exit code 1\n", "")}
    over = over if error else {"status": "completed", "exitCode": 0, "aggregatedOutput": said}
    return [
        {"method": "item/started", "params": {"item": item}},
        {"method": "item/completed", "params": {"item": {**item, **over}}},
    ]


def pi(error: bool, said: str) -> list[dict[str, Any]]:
    call = {"toolCallId": "c", "toolName": "bash"}
    text = "cat: x: No such file\n\nCommand exited with code 1" if error else said
    result = {"content": [{"type": "text", "text": text}]}
    return [
        {"type": "tool_execution_start", **call, "args": {"command": "cat x"}},
        {"type": "tool_execution_end", **call, "result": result, "isError": error},
    ]


def acp(error: bool, said: str) -> list[dict[str, Any]]:
    over = {"status": "failed" if error else "completed", "rawOutput": {"exitCode": 1 if error else 0}}
    words = [{"type": "content", "content": {"type": "text", "text": said}}]
    updates: list[dict[str, Any]] = [
        {"sessionUpdate": "tool_call", "toolCallId": "c", "kind": "execute", "title": "cat x", "status": "pending"},
        {"sessionUpdate": "tool_call_update", "toolCallId": "c", **over, "content": words},
    ]
    return [{"method": "session/update", "params": {"sessionId": "s", "update": update}} for update in updates]


SPOKEN = {"claude": (claude, "Bash"), "codex": (codex, "command"), "pi": (pi, "bash"), "acp": (acp, "execute")}
SPOKEN |= {"qwen": (claude, "Bash"), "gemini": (acp, "execute")}


def told(agent: str, lines: list[dict[str, Any]]) -> str:
    logs = _Told(agents.find(agent))
    logs._state |= {"session": "s"}
    return logs.take(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


@pytest.mark.parametrize("agent", SPOKEN)
def test_logs_tell_the_command_its_exit_code_and_the_first_that_it_said(agent: str) -> None:
    speak, name = SPOKEN[agent]
    shown = told(agent, speak(True, "Exit code 1\ncat: x: \x1b[31mNo such file\x1b[0m\nand more"))
    assert shown == f"  [{name}] cat x\n  [{name} failed] cat x: exit code 1: cat: x: No such file\n"


@pytest.mark.parametrize("agent", SPOKEN)
def test_what_went_well_is_told_once(agent: str) -> None:
    speak, name = SPOKEN[agent]
    assert told(agent, speak(False, "fine")) == f"  [{name}] cat x\n"


def test_opencode_tells_a_failure_once_whatever_it_repeats() -> None:
    """Its server sends each part several times."""

    def part(**how: Any) -> dict[str, Any]:
        call = {"type": "tool", "tool": "bash", "callID": "c", "sessionID": "s", "messageID": "m"}
        about = {"part": {**call, "state": {"input": {"command": "cat x"}, **how}}}
        return {"event": {"type": "message.part.updated", "properties": about}}

    logs = _Told(agents.find("opencode"))
    logs._state |= {"session": "s", "message": "m"}
    over = part(status="completed", metadata={"exit": 1}, output="cat: x: No such file\n")
    lines = [part(status="running"), over, over]
    shown = logs.take(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert shown == "  [bash] cat x\n  [bash failed] cat x: exit code 1: cat: x: No such file\n"


def test_a_sandbox_that_cannot_start_is_told_in_its_own_words() -> None:
    shown = told("codex", codex(True, "bwrap: No permissions to create a new namespace\n"))
    assert shown.endswith("[command failed] cat x: exit code 1: bwrap: No permissions to create a new namespace\n")


def test_half_a_character_of_an_agent_is_printed_as_a_mark(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as stands where somebody cut a text in the middle of a picture."""
    said = {"type": "assistant", "message": {"id": "m", "content": [{"type": "text", "text": "done \ud83d"}]}}
    _print_text(told("claude", [{**said, "parent_tool_use_id": None}]))
    assert capsys.readouterr().out == "done ?\n"


def test_calls_are_forgotten_in_the_end() -> None:
    state: dict[str, Any] = {}
    for n in range(3 * CALLS):
        called(f"c{n}", "bash", "x" * 1000, state)
    assert len(state["calls"]) == CALLS
    assert len(json.dumps(state)) < 300 * CALLS


@pytest.mark.parametrize("said", ["", "\n", "Exit code 3", "error: code: 7 things", "\x1b[31m"])
def test_whatever_it_says_is_one_line(said: str) -> None:
    signal = failed("bash", "x", said)
    assert "\n" not in signal.data["said"]
    assert signal.data["code"] in (None, 3)


@pytest.mark.parametrize("said", ["\n" * 1_000_000, ("*" * 50 + "\n") * 20_000, "* " * 500_000, "code: " * 200_000])
def test_a_long_output_is_no_work(said: str) -> None:
    """Of a text that is not looked through in time as it is long, this would take hours."""
    assert failed("Bash", "x", said + "\nexit code 7").data["code"] == 7
