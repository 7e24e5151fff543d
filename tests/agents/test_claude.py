"""Claude Code's adapter without the program: recorded lines, hostile lines, its command line."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.agents.claude import ClaudeAgent
from stretto.agents.permissions import Permissions, parse_permissions
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec, Usage
from stretto.interfaces import SessionContext, Signal
from tests.support.stream import total

GOLDEN = Path(__file__).parent / "golden" / "claude"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))


def parsed(lines: list[Any], state: dict[str, Any] | None = None) -> list[Signal]:
    state = {} if state is None else state
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return [signal for line in encoded for signal in ClaudeAgent().parse(line, state)]


def golden(name: str) -> list[Any]:
    return (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_recorded_lines_give_the_recorded_signals(name: str) -> None:
    expected = json.loads((GOLDEN / f"{name}.signals.json").read_text())
    found = [[signal.type, signal.data] for signal in parsed(golden(name))]
    assert json.loads(json.dumps(found, default=asdict)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_keys_does_not_matter(name: str) -> None:
    turned = [dict(reversed(json.loads(line).items())) for line in golden(name)]
    assert parsed(turned) == parsed(golden(name))


@pytest.mark.parametrize("name", NAMES)
def test_lines_of_unknown_types_change_nothing(name: str) -> None:
    strange: list[Any] = [{"type": "keep_alive"}, {"type": ["x"]}, {}, {"type": "system", "subtype": "new_thing"}, b" "]
    lines = [one for line in golden(name) for one in (line, *strange)]
    assert parsed(lines) == parsed(golden(name))


@pytest.mark.parametrize("name", NAMES)
def test_without_the_modern_total_the_difference_of_the_old_one_counts(name: str) -> None:
    old = [{k: v for k, v in json.loads(line).items() if k != "model_usage_since_last_result"} for line in golden(name)]
    assert total(parsed(old)) == total(parsed(golden(name)))


def test_a_version_that_was_not_tried_works_with_a_notice_for_each_session() -> None:
    lines = [
        line.replace(b'"claude_code_version":"2.1.329"', b'"claude_code_version":"2.2.0"') for line in golden("edit")
    ]
    found = parsed(lines)
    assert [s.data["text"] for s in found if s.type == "notice"] == [
        "Claude Code 2.2.0 was not tried with this stretto, 2.1.329 was"
    ]
    assert [s for s in found if s.type != "notice"] == parsed(golden("edit"))


def test_usage_of_the_recordings() -> None:
    """As many requests as the conversations had, each 1200 + 34 + 5000 + 700 tokens."""
    requests = {"edit": 4, "questions": 4, "interrupt": 2, "sub_agent": 3}
    for name, count in requests.items():
        assert total(parsed(golden(name))) == Usage(1200 * count, 34 * count, 5000 * count, 700 * count)


def test_a_message_counts_once_however_often_its_lines_come() -> None:
    lines = golden("edit")
    doubled = [line for line in lines for _ in range(2) if b'"type":"result"' not in line]
    assert total(parsed(doubled)).input == 4 * 1200


def test_a_killed_turn_keeps_what_it_used_and_the_next_process_starts_at_zero() -> None:
    lines = golden("edit")
    cut = next(at for at, line in enumerate(lines) if b'"type":"result"' in line)
    state: dict[str, Any] = {}
    first = parsed(lines[:cut], state)
    fresh = [line.replace(b"msg_", b"msg_2").replace(b'"uuid":"', b'"uuid":"2') for line in lines]
    second = parsed(fresh, state)
    assert total(first).input == 3 * 1200
    assert total(second).input == 4 * 1200
    assert total(first + second).input == 7 * 1200


def test_garbage_is_counted_and_told_seldom() -> None:
    found = parsed([b"npm warn: something\xff"] * 1000)
    assert [signal.data["lines"] for signal in found] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert found[-1].data["bytes"] == 512 * 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
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
    state: dict[str, Any] = {}
    for signal in parsed([line, line], state):
        if signal.type == "asked":
            assert ClaudeAgent().answer(signal.data, {"key": "1", "text": "x"})
    json.dumps(state)


def ask(**request: Any) -> Signal:
    (signal,) = parsed([{"type": "control_request", "request_id": "r1", "request": request}])
    return signal


def response(signal: Signal, **answer: Any) -> Any:
    data = ClaudeAgent().answer(signal.data, answer)
    assert data is not None
    return json.loads(data)["response"]


def test_a_whole_file_does_not_travel_back_with_the_permission() -> None:
    signal = ask(subtype="can_use_tool", tool_name="Write", input={"file_path": "/a", "content": "x" * 10**6})
    assert len(json.dumps(signal.data)) < 5000
    assert response(signal, key="allow") == {
        "subtype": "success",
        "request_id": "r1",
        "response": {"behavior": "allow"},
    }
    assert [key for key, _ in signal.data["options"]] == ["allow", "deny"], "nothing to allow for longer"


def test_what_is_allowed_for_longer_never_changes_the_persons_files() -> None:
    rule = {"type": "addRules", "rules": [{"toolName": "Bash", "ruleContent": "git *"}], "destination": "localSettings"}
    signal = ask(subtype="can_use_tool", tool_name="Bash", input={"command": "git x"}, permission_suggestions=[rule])
    assert signal.data["options"][1] == ["always", "Allow for this session: Bash(git *)"]
    answered = response(signal, key="always")["response"]
    assert answered["updatedPermissions"] == [{**rule, "destination": "session"}]


def test_a_refusal_says_why() -> None:
    signal = ask(subtype="can_use_tool", tool_name="Bash", input={"command": "x"})
    assert response(signal, text="use make")["response"] == {"behavior": "deny", "message": "use make"}
    assert response(signal, key="deny", text="no")["response"]["message"] == "no"
    assert response(signal, key="nonsense")["response"]["behavior"] == "deny"


def test_requests_of_a_newer_protocol_can_be_refused() -> None:
    signal = ask(subtype="elicitation", message="who are you?")
    assert signal.data["options"] == [["deny", "Refuse"]]
    assert response(signal, key="deny")["subtype"] == "error"


QUESTIONS = [
    {"question": "Colour?", "options": [{"label": "Blue"}, {"label": "Red"}], "multiSelect": False},
    {"question": "Sizes?", "options": [{"label": "S"}, {"label": "M"}, {"label": "L"}], "multiSelect": True},
]


@pytest.mark.parametrize(
    ("questions", "answer", "expected"),
    [
        (QUESTIONS[:1], {"key": "2"}, {"Colour?": "Red"}),
        (QUESTIONS[:1], {"text": "1"}, {"Colour?": "Blue"}),
        (QUESTIONS[:1], {"text": "1, 2"}, {"Colour?": "1, 2"}),
        (QUESTIONS[:1], {"text": "a\nb"}, {"Colour?": "a\nb"}),
        (QUESTIONS[1:], {"text": "1, 3"}, {"Sizes?": "S, L"}),
        (QUESTIONS[1:], {"text": "1, 9"}, {"Sizes?": "1, 9"}),
        (QUESTIONS, {"text": "2\n1,2\n"}, {"Colour?": "Red", "Sizes?": "S, M"}),
        (QUESTIONS, {"text": "as you like"}, {"Colour?": "as you like", "Sizes?": "as you like"}),
        (QUESTIONS, {"answers": {"Colour?": "1", "Sizes?": "huge"}}, {"Colour?": "Blue", "Sizes?": "huge"}),
        (QUESTIONS, {"answers": {"Colour?": "1"}}, {"Colour?": "Blue", "Sizes?": ""}),
    ],
)
def test_answers_to_questions(questions: list[Any], answer: dict[str, Any], expected: dict[str, str]) -> None:
    signal = ask(subtype="can_use_tool", tool_name="AskUserQuestion", input={"questions": questions, "more": 1})
    given = response(signal, **answer)["response"]
    assert given["behavior"] == "allow"
    assert given["updatedInput"] == {"questions": questions, "more": 1, "answers": expected}


def context(**changes: Any) -> SessionContext:
    values = {"session": "s", "task": "r/t", "workspace": Path("/w"), "folder": Path("/f"), "env": {"A": "1"}}
    more = {"conversation": None, "resume": False, "model": None, "permissions": "ask"}
    return SessionContext(**{**values, **more, **changes})


def test_the_command_line() -> None:
    agent, spec = ClaudeAgent(), AgentSpec("c", "claude", args=("--effort", "high"), env={"DISABLE_AUTOUPDATER": "0"})
    launch = agent.launch(spec, context())
    assert launch.argv[:7] == (
        "claude",
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
    )
    assert launch.argv[-4:] == ("--session-id", launch.conversation, "--effort", "high")
    assert "--model" not in launch.argv
    assert launch.env == {"A": "1", "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1", "DISABLE_AUTOUPDATER": "0"}
    (first,) = launch.first
    assert json.loads(first[1])["request"] == {"subtype": "initialize"}

    resumed = agent.launch(spec, context(conversation="c1", resume=True, model="opus")).argv
    at = resumed.index("--resume")
    assert resumed[at : at + 4] == ("--resume", "c1", "--model", "opus")


def test_permissions_and_servers_on_the_command_line() -> None:
    agent = ClaudeAgent()
    spec = AgentSpec("c", "claude", mcp={"p": {"command": "x", "env": {"KEY": "${KEY}"}}})
    argv = agent.launch(spec, context(permissions="allow Write, Bash(git *); deny WebFetch")).argv
    assert argv[argv.index("--allowedTools") + 1] == "Write,Bash(git *)"
    assert argv[argv.index("--disallowedTools") + 1] == "WebFetch"
    assert json.loads(argv[argv.index("--mcp-config") + 1]) == {"mcpServers": spec.mcp}
    assert argv[-1] == "--strict-mcp-config"
    assert "--dangerously-skip-permissions" not in argv
    assert agent.launch(spec, context(permissions="skip")).argv.count("--dangerously-skip-permissions") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ask", Permissions()),
        ("skip", Permissions(skip=True)),
        ("allow Write", Permissions(allow=("Write",))),
        (
            "allow Bash(git *), mcp__x__* ; deny WebFetch;allow Edit",
            Permissions(allow=("Bash(git *)", "mcp__x__*", "Edit"), deny=("WebFetch",)),
        ),
    ],
)
def test_policies(text: str, expected: Permissions) -> None:
    assert parse_permissions(text) == expected


@pytest.mark.parametrize("text", ["", "yes", "allow", "allow ,", "allow a b", "allow Write; skip", "allow --model x"])
def test_policies_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="neither ask, skip"):
        parse_permissions(text)
    assert "neither ask" in str(ClaudeAgent().probe(AgentSpec("c", "claude", permissions=text), {}))


def test_probing() -> None:
    probe = ClaudeAgent().probe
    assert "not on PATH" in str(probe(AgentSpec("c", "claude"), {"PATH": "/nowhere"}))
    skipping = AgentSpec("c", "claude", command=("/bin/sh",), permissions="skip")
    assert probe(skipping, {"IS_SANDBOX": "1"}) is None
    if os.geteuid() == 0:
        assert "as root" in str(probe(skipping, {}))


@pytest.mark.parametrize(("permissions", "asks"), [("ask", True), ("allow Edit", True), ("skip", False)])
def test_its_own_face_asks_as_it_was_told(permissions: str, asks: bool, tmp_path: Path) -> None:
    """With some models it would begin in its auto mode, which does not ask."""
    spec = AgentSpec("claude", "claude", permissions=permissions)
    values: dict[str, Any] = {"session": "s", "task": "r/t", "workspace": tmp_path, "folder": tmp_path, "env": {}}
    context = SessionContext(**values, conversation=None, resume=False, model="opus", permissions=permissions)
    face, pane = ClaudeAgent().tui(spec, context, None).argv, ClaudeAgent().pane(spec, context).argv
    settings = [
        json.loads(words[words.index("--settings") + 1]) if "--settings" in words else {} for words in (face, pane)
    ]
    assert [one.get("permissions") for one in settings] == [{"defaultMode": "default"} if asks else None] * 2
    assert "hooks" in settings[1]
    assert ("--dangerously-skip-permissions" in face) == (not asks)
