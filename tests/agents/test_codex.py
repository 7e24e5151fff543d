"""Codex' adapter without the program: recorded lines, hostile lines, rules, its command line and its handshake."""

from __future__ import annotations

import json
import shlex
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.agents import codex_rules
from stretto.agents.codex import CodexAgent, toml
from stretto.agents.codex_asks import COMMAND, EDIT, ELICITATION, PERMISSIONS, QUESTION
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal
from tests.agents.test_claude import JSON
from tests.support.stream import total

GOLDEN = Path(__file__).parent / "golden" / "codex"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))
ONE = Usage(1200, 54, 5000, 600)


def parsed(lines: list[Any], state: dict[str, Any] | None = None) -> list[Signal]:
    state = {} if state is None else state
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return [signal for line in encoded for signal in CodexAgent().parse(line, state)]


def golden(name: str) -> list[Any]:
    return (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_recorded_lines_give_the_recorded_signals(name: str) -> None:
    expected = json.loads((GOLDEN / f"{name}.signals.json").read_text())
    found = [[signal.type, signal.data] for signal in parsed(golden(name), {"handshake": True})]
    assert json.loads(json.dumps(found, default=asdict)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_keys_and_unknown_lines_change_nothing(name: str) -> None:
    strange: list[Any] = [{"method": "new/thing", "params": []}, {"id": "x"}, {"id": 7, "result": 1}, {}, b" "]
    turned = [dict(reversed(json.loads(line).items())) | {"new": 1} for line in golden(name)]
    assert parsed([one for line in turned for one in (line, *strange)]) == parsed(golden(name))


def test_usage_of_the_recordings() -> None:
    """As many requests as the conversations had; a compaction is one of them, an overflow begins the totals anew."""
    for name, count in {"edit": 5, "questions": 4, "interrupt": 1, "trouble": 4}.items():
        found = total(parsed(golden(name)))
        assert found == Usage(*(count * getattr(ONE, n) for n in ("input", "output", "cache_read", "cache_write")))
    reasoning = [s.data["usage"].reasoning for s in parsed(golden("edit")) if s.type == "usage"]
    assert reasoning == [20] * 5


def used(thread: str, *counts: int) -> dict[str, Any]:
    names = ("inputTokens", "cachedInputTokens", "cacheWriteInputTokens", "outputTokens", "reasoningOutputTokens")
    usage = {"total": dict(zip(names, counts, strict=True)), "last": {}}
    return {"method": "thread/tokenUsage/updated", "params": {"threadId": thread, "turnId": "t", "tokenUsage": usage}}


def test_totals_are_counted_once_over_processes_and_sub_agents() -> None:
    state: dict[str, Any] = {}
    first = parsed([used("a", 100, 60, 10, 5, 1), used("a", 100, 60, 10, 5, 1), used("b", 7, 0, 0, 1, 0)], state)
    assert [s.data["usage"] for s in first] == [Usage(30, 5, 60, 10, 1), Usage(7, 1)]
    # the next process tells what the thread has used, some of it while nobody listened
    second = parsed([used("a", 150, 60, 10, 9, 1), used("a", 150, 60, 10, 9, 1)], {"kept": state["kept"]})
    assert [s.data["usage"] for s in second] == [Usage(50, 4)]
    assert len({s.data["key"] for s in first + second}) == 3


def test_totals_that_begin_anew_are_counted_from_zero() -> None:
    found = parsed([used("a", 100, 0, 0, 5, 0), used("a", 0, 0, 0, 0, 0), used("a", 40, 0, 0, 2, 0)])
    assert [s.data["usage"] for s in found] == [Usage(100, 5), Usage(40, 2)]


def test_what_is_remembered_of_threads_is_bounded() -> None:
    state: dict[str, Any] = {}
    parsed([used(f"t{n}", 1, 0, 0, 1, 0) for n in range(500)], state)
    assert len(json.dumps(state)) < 10_000


def test_the_threads_of_sub_agents_do_not_end_the_turn() -> None:
    turn = {"threadId": "other", "turn": {"id": "1", "status": "completed"}}
    state: dict[str, Any] = {"thread": "own", "turn": "1"}
    assert (
        parsed([{"method": "turn/started", "params": turn}, {"method": "turn/completed", "params": turn}], state) == []
    )


@given(st.data())
def test_no_shape_of_json_makes_it_fail(data: st.DataObject) -> None:
    """A recorded line in which any value was replaced by anything."""
    line = json.loads(data.draw(st.sampled_from(golden("edit") + golden("trouble") + golden("questions"))))
    place: Any = line
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key][0] if isinstance(place[key], list) else place[key]
    state: dict[str, Any] = {"thread": "x", "allow": ["Bash(git *)"], "deny": ["Write"]}
    for signal in parsed([line, line], state):
        if signal.type == "asked":
            assert CodexAgent().answer(json.loads(json.dumps(signal.data)), {"key": "1", "text": "x"})
    json.dumps(state)


# ---------------------------------------------------------------- the handshake


def context(**changes: Any) -> SessionContext:
    values = {"session": "s", "task": "r/t", "workspace": Path("/w"), "folder": Path("/f"), "env": {"A": "1"}}
    more = {"conversation": "ours", "resume": False, "model": None, "permissions": "ask"}
    return SessionContext(**{**values, **more, **changes})


def first(spec: AgentSpec, **changes: Any) -> list[dict[str, Any]]:
    return [json.loads(data) for _, data in CodexAgent().launch(spec, context(**changes)).first]


def test_the_handshake_starts_a_thread_or_takes_one_up() -> None:
    hello, ready, start = first(AgentSpec("c", "codex", model="big"))
    assert hello["method"] == "initialize"
    assert ready == {"method": "initialized"}
    assert start["method"] == "thread/start"
    assert start["params"] == {"cwd": "/w", "model": "big", "approvalPolicy": "on-request"}
    resume = first(AgentSpec("c", "codex"), conversation="t1", resume=True, model="small")[2]
    assert resume["method"] == "thread/resume"
    assert (resume["params"]["threadId"], resume["params"]["model"]) == ("t1", "small")


def test_turns_and_interrupts_name_what_the_program_has_told() -> None:
    agent = CodexAgent()
    turn = json.loads(agent.turn("hello\n", {"thread": "t1"}))
    assert turn["params"] == {"threadId": "t1", "input": [{"type": "text", "text": "hello\n"}]}
    _, data = agent.interrupt(4, {"thread": "t1", "turn": "u1"})
    assert json.loads(data)["params"] == {"threadId": "t1", "turnId": "u1"}
    assert json.loads(agent.interrupt(4, {"thread": "t1"})[1])["params"]["turnId"] == "", "whichever is about to start"


def test_what_keeps_it_from_beginning_is_told() -> None:
    state: dict[str, Any] = {"handshake": True}
    unknown = {"id": "thread", "error": {"code": -32600, "message": "no rollout found for thread id x"}}
    (refused,) = parsed([unknown], state)
    assert (refused.type, refused.data["code"]) == ("turn_ended", "no_conversation")
    assert "handshake" not in state
    (unfit,) = parsed([{"id": "thread", "error": {"message": "no such model"}}])
    assert unfit == Signal("unfit", {"reason": "the agent cannot begin: no such model"})
    assert [s.type for s in parsed([{"id": "initialize", "error": {}}, {"id": "thread", "result": {}}])] == [
        "unfit"
    ] * 2
    (failed,) = parsed([{"id": "turn", "error": {"message": "thread not found"}}])
    assert (failed.type, failed.data["result"]) == ("turn_ended", "failed")


@pytest.mark.parametrize(("version", "told"), [("0.169.0", 0), ("0.170.1", 1), ("1.0.0-alpha.2", 1)])
def test_a_version_that_was_not_tried_works_with_a_notice(version: str, told: int) -> None:
    lines = [line.replace(b"stretto/0.169.0", f"stretto/{version}".encode()) for line in golden("edit")]
    found = parsed(lines)
    notices = [s.data["text"] for s in found if s.type == "notice"]
    assert len(notices) == told
    assert all(version in text for text in notices)
    assert [s for s in found if s.type != "notice"] == parsed(golden("edit"))


# ---------------------------------------------------------------- what it asks


def ask(method: str, state: dict[str, Any] | None = None, **params: Any) -> Signal:
    (signal,) = parsed([{"id": 3, "method": method, "params": params}], state)
    return signal


def response(signal: Signal, **answer: Any) -> Any:
    data = CodexAgent().answer(json.loads(json.dumps(signal.data)), answer)
    assert data is not None
    found = json.loads(data)
    assert found["id"] == 3
    return found.get("result") or found["error"]


def shell(script: str) -> dict[str, Any]:
    return {"command": f"/bin/bash -lc {shlex.quote(script)}"}


def test_a_command_is_shown_and_decided() -> None:
    signal = ask(COMMAND, command="/bin/bash -lc 'touch \"a b\"'", reason="for the test")
    assert signal.data["text"] == 'command: touch "a b" (for the test)'
    assert response(signal, key="allow") == {"decision": "accept"}
    assert response(signal, key="always") == {"decision": "acceptForSession"}
    assert response(signal, key="deny") == response(signal, text="not here") == {"decision": "decline"}


def test_edits_permissions_and_forms() -> None:
    assert response(ask(EDIT, grantRoot="/w"), key="allow") == {"decision": "accept"}
    wanted = {"network": {"enabled": True}, "fileSystem": None}
    signal = ask(PERMISSIONS, permissions=wanted, reason="to look it up")
    assert response(signal, key="always") == {"permissions": {"network": {"enabled": True}}, "scope": "session"}
    assert response(signal, key="deny") == {"permissions": {}, "scope": "turn"}
    form = ask(ELICITATION, serverName="tickets", message="Open one?")
    assert form.data["text"] == "mcp: tickets: Open one?"
    assert response(form, key="allow") == {"action": "accept", "content": {}}
    assert response(form, key="deny")["action"] == "decline"


def test_requests_of_a_newer_protocol_can_be_refused() -> None:
    signal = ask("item/new/request", what="?")
    assert signal.data["options"] == [["deny", "Refuse"]]
    assert response(signal, key="deny") == {"code": -32601, "message": "refused by the person"}


def test_questions_are_answered_by_their_ids() -> None:
    questions = [
        {"id": "q1", "question": "Colour?", "header": "h", "options": [{"label": "Blue"}, {"label": "Red"}]},
        {"id": "q2", "question": "Name?", "header": "h", "options": None},
    ]
    one = ask(QUESTION, questions=questions[:1])
    assert one.data["options"] == [["1", "Blue"], ["2", "Red"]]
    assert response(one, key="2") == {"answers": {"q1": {"answers": ["Red"]}}}
    assert response(one, text="neither") == {"answers": {"q1": {"answers": ["neither"]}}}
    both = ask(QUESTION, questions=questions)
    assert response(both, text="1\nZoë") == {"answers": {"q1": {"answers": ["Blue"]}, "q2": {"answers": ["Zoë"]}}}


RULES = {"allow": ["Bash(git *)", "Bash(make test)", "Edit"], "deny": ["Bash(git push*)", "Bash(curl *)"]}


@pytest.mark.parametrize(
    ("script", "decision"),
    [
        ("git status", "accept"),
        ("make test", "accept"),
        ("make all", None),
        ("git push origin", "decline"),
        ("git add -A && git push origin", "decline"),
        ("(curl http://x)", "decline"),
        ("git status; rm -rf x", None),
        ("git log | sh", None),
        ("git log > /etc/x", None),
        ("git log $(rm x)", None),
        ("git log `rm x`", None),
        ("git status\nrm x", None),
        ("gitk", None),
    ],
)
def test_rules_decide_single_commands_and_leave_the_rest_to_the_person(script: str, decision: str | None) -> None:
    signal = ask(COMMAND, dict(RULES), **shell(script))
    if decision is None:
        assert signal.type == "asked"
    else:
        assert signal.type == "reply"
        assert json.loads(signal.data["data"]) == {"id": 3, "result": {"decision": decision}}


@pytest.mark.parametrize(
    ("script", "decision"),
    [("mkdir -p x && printf x > x/y", "accept"), ("make", "accept"), ("make; curl http://x", "decline")],
)
def test_a_rule_without_a_pattern_allows_every_command(script: str, decision: str) -> None:
    signal = ask(COMMAND, {"allow": ["Bash"], "deny": ["Bash(curl *)"]}, **shell(script))
    assert json.loads(signal.data["data"]) == {"id": 3, "result": {"decision": decision}}


def test_what_is_no_shell_is_judged_whole() -> None:
    assert ask(COMMAND, dict(RULES), command="git status").type == "reply"
    assert ask(COMMAND, dict(RULES), command="env git status").type == "asked"
    assert ask(COMMAND, dict(RULES), command="'unbalanced").type == "asked"


def test_rules_of_other_kinds() -> None:
    assert ask(EDIT, dict(RULES), itemId="x").type == "reply"
    assert ask(EDIT, {"allow": ["Edit"], "deny": ["Write"]}).data["data"].count("decline") == 1
    assert ask(PERMISSIONS, {"allow": ["permissions"]}, permissions={}).type == "asked"
    assert ask(EDIT, {"allow": [None, 3, "(", "Bash"]}).type == "asked"


@pytest.mark.parametrize(
    ("tool", "given", "refused"),
    [
        ("Bash", {"command": "git push origin"}, True),
        ("Bash", {"command": "cd x && curl http://y"}, True),
        ("Bash", {"command": "git status"}, False),
        ("Bash", {}, True),
        ("Bash", "git status", True),
        ("Bash", {"command": ["git", "status"]}, True),
        ("exec_command", {"cmd": "curl x"}, True),
        ("view_image", {"path": "curl x"}, False),
        ("apply_patch", {"command": "*** Begin Patch"}, False),
        ("mcp__server__tool", {"command": "curl x"}, False),
    ],
)
def test_a_hook_before_each_tool_judges_the_same_rules(tool: str, given: Any, refused: bool) -> None:
    said = json.dumps({"tool_name": tool, "tool_input": given, "unknown": [1]}).encode()
    assert bool(codex_rules.refusal(said, json.dumps(RULES["deny"]))) is refused


def test_a_hook_refuses_what_it_cannot_judge() -> None:
    edit = json.dumps({"tool_name": "apply_patch", "tool_input": {"command": "*** Begin Patch"}}).encode()
    assert "Write" in str(codex_rules.refusal(edit, '["Write"]'))
    for said in (
        b"",
        b"[",
        b"[]",
        b"{}",
        b'{"tool_name": "Bash"}',
        b'{"tool_name": 1, "tool_input": {}}',
        b"[" * 100_000,
    ):
        assert codex_rules.refusal(said, '["Bash(curl *)"]')


# ---------------------------------------------------------------- the command line


def settings(argv: tuple[str, ...]) -> dict[str, Any]:
    flags = [argv[at + 1] for at, word in enumerate(argv) if word == "-c"]
    return tomllib.loads("\n".join(flags))


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /r/.git/worktrees/bay-1\n")
    spec = AgentSpec("c", "codex", args=("-c", "x=1"), env={"B": "2"}, mcp={"p-q": {"type": "stdio", "command": "x"}})
    launch = CodexAgent().launch(spec, context(workspace=tmp_path))
    assert launch.argv[:2] == ("codex", "app-server")
    assert launch.argv[-2:] == ("-c", "x=1"), "the person's words are the last"
    found = settings(launch.argv)
    assert found["sandbox_mode"] == "workspace-write"
    assert found["sandbox_workspace_write"] == {"writable_roots": ["/r/.git/worktrees/bay-1", "/r/.git"]}
    assert found["projects"] == {str(tmp_path): {"trust_level": "untrusted"}}
    assert found["mcp_servers"] == {"p-q": {"command": "x"}}
    assert launch.env == {"A": "1", "B": "2"}
    assert launch.conversation is None
    assert launch.state == {"handshake": True, "allow": [], "deny": []}


@pytest.mark.parametrize(
    ("permissions", "asks", "sandbox"),
    [
        ("ask", "on-request", "workspace-write"),
        ("skip", "never", "danger-full-access"),
        ("allow Edit, Bash(git *); deny Bash(curl *)", "untrusted", "workspace-write"),
    ],
)
def test_permissions(permissions: str, asks: str, sandbox: str) -> None:
    launch = CodexAgent().launch(AgentSpec("c", "codex"), context(permissions=permissions))
    assert settings(launch.argv)["sandbox_mode"] == sandbox
    assert json.loads(launch.first[2][1])["params"]["approvalPolicy"] == asks


@given(JSON)
def test_any_value_is_one_line_of_toml(value: Any) -> None:
    def without_null(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: without_null(inner) for key, inner in one.items() if inner is not None}
        return [without_null(inner) for inner in one] if isinstance(one, list) else one

    if isinstance(value, dict) and not _odd(value):
        text = toml(value)
        assert "\n" not in text
        assert tomllib.loads(f"x={text}")["x"] == without_null(value)


def _odd(value: Any) -> bool:
    """What TOML cannot say as JSON does: null in lists, numbers that are none."""
    if isinstance(value, dict):
        return any(_odd(one) for one in value.values() if one is not None)
    if isinstance(value, list):
        return any(one is None or _odd(one) for one in value)
    return isinstance(value, float)


def test_probing() -> None:
    probe = CodexAgent().probe
    assert probe(AgentSpec("c", "codex", command=("/bin/sh",)), {}) is None
    assert "not on PATH" in str(probe(AgentSpec("c", "codex"), {"PATH": "/nowhere"}))
    assert "neither ask" in str(probe(AgentSpec("c", "codex", permissions="maybe"), {}))
    odd = AgentSpec("c", "codex", command=("/bin/sh",), mcp={"p.q": {"command": "x"}})
    assert "'p.q'" in str(probe(odd, {}))
