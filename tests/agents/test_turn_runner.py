"""One turn of a program without a protocol: how it gets its message, how its usage is read, how its end is judged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto.agents import turn_rules
from stretto.agents.turn_rules import TurnRules, heard, runner
from stretto.agents.turn_runner import Reading, at, number, parsed
from stretto.core.model import Usage
from stretto.interfaces import Signal
from tests.support.waiting import wait_for

MESSAGE = "Do it.\n\u00fc"


def start(folder: Path, script: str, rules: TurnRules, *args: str) -> subprocess.Popen[bytes]:
    prompt = folder / "7.prompt"
    if not prompt.exists():
        prompt.write_text(MESSAGE)
    argv = runner((sys.executable, "-c", script), rules, args)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    own = {"STRETTO_PROMPT_FILE": str(prompt), "STRETTO_SESSION": "s", "STRETTO_TURN": "2", "TMPDIR": str(temporary)}
    env = {"PATH": os.environ["PATH"], **own}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, env=env, cwd=folder, start_new_session=True)


def play(folder: Path, script: str, rules: TurnRules, *args: str) -> tuple[int, list[str], list[Signal]]:
    """The exit code, the program's own lines, and what the runner said between them."""
    with start(folder, script, rules, *args) as process:
        output, _ = process.communicate(timeout=60)
    assert list((folder / "tmp").iterdir()) == [], "the folder of the turn went with it"
    return process.returncode, *told(output)


def told(output: bytes) -> tuple[list[str], list[Signal]]:
    own, ours = [], []
    for line in output.splitlines():
        found = heard(line, {})
        own += [line.decode()] if found is None else []
        ours += found or []
    return own, ours


def used(signals: list[Signal]) -> list[Usage]:
    return [s.data["usage"] for s in signals if s.type == "usage"]


def ended(signals: list[Signal]) -> list[tuple[str, str]]:
    return [(s.data["result"], s.data["reason"]) for s in signals if s.type == "turn_ended"]


def test_the_message_comes_as_the_rules_say(tmp_path: Path) -> None:
    script = "import os,sys; print(sys.argv[1:], sys.stdin.read(), os.environ.get('PLACE', '').split('/')[-1])"
    words = ("--file", "{file}", "--text={text}", "turn-{turn}", "{other}")
    rules = TurnRules(words, env={"PLACE": "{folder}/x"})
    code, (first, *_), _ = play(tmp_path, script, rules, "{file}")
    assert code == 0
    expected = ["--file", f"{tmp_path}/7.prompt", f"--text={MESSAGE}", "turn-2", "{other}", "{file}"]
    assert first.startswith(str(expected)), "placeholders stand for something in our words only"
    assert first.endswith("x")
    _, own, _ = play(tmp_path, script, TurnRules(input=True))
    assert "\n".join(own).startswith(f"[] {MESSAGE}")


def test_a_message_that_fits_into_no_argument_is_refused(tmp_path: Path) -> None:
    (tmp_path / "7.prompt").write_text("x" * 200_000)
    code, own, signals = play(tmp_path, "print(1)", TurnRules(("{text}",)))
    assert (code, own) == (1, [])
    assert "longer than what fits" in ended(signals)[0][1]
    assert play(tmp_path, "print(1)", TurnRules(("{file}",)))[:2] == (0, ["1"])


def test_usage_by_a_pattern_in_the_output(tmp_path: Path) -> None:
    pattern = r"Tokens: (?P<input>\S+) sent, (?P<output>\S+) received(?:, (?P<cache_read>\d+) hit)?"
    script = (
        "print('Tokens: 2.5k sent, 1,120 received\\nhello'); print('Tokens: 900 sent, 7 received, 300 hit', end='')"
    )
    code, own, signals = play(tmp_path, script, TurnRules(usage={"pattern": pattern, "cached": "inside"}))
    assert code == 0
    assert own[1] == "hello"
    assert used(signals) == [Usage(2500, 1120), Usage(600, 7, 300)]
    assert len({s.data["key"] for s in signals}) == 2
    assert all(s.data["key"].startswith("s-7-") for s in signals)


def test_usage_by_keys_of_json_lines_repeats_and_totals(tmp_path: Path) -> None:
    lines = [
        {"type": "answer", "id": "a", "use": {"in": 10, "out": 1, "think": 4}, "usd": 0.25, "model": "m"},
        {"type": "other", "id": "a", "use": {"in": 99}},
        {"type": "answer", "id": "a", "use": {"in": 10, "out": 3, "think": 4}, "usd": 0.5, "model": "m"},
        {"type": "answer", "id": "b", "use": {"in": 5}},
        {"type": "answer", "id": "b", "use": {"in": 5}},
    ]
    script = f"import json\nfor line in {lines!r}: print(json.dumps(line))\nprint('{{'); print('[' * 9)"
    keys = {"input": "use.in", "output": "use.out", "reasoning": "use.think", "cost": "usd", "model": "model"}
    usage = {**keys, "where": {"type": "answer"}, "id": "id", "reasoned": "apart"}
    _, own, signals = play(tmp_path, script, TurnRules(usage=usage))
    assert len(own) == 7
    assert used(signals) == [
        Usage(10, 5, reasoning=4, cost="0.25", cost_source="agent"),
        Usage(10, 7, reasoning=4, cost="0.5", cost_source="agent"),
        Usage(5),
    ], "the same again is not told again"
    assert [s.data["key"] for s in signals] == ["s-7-a", "s-7-a", "s-7-b"]
    assert signals[0].data["model"] == "m"
    total = TurnRules(usage={"input": "use.in", "total": True})
    assert {s.data["key"] for s in play(tmp_path, script, total)[2]} == {"s-7-total"}


def test_a_cache_in_the_worktree_stays_and_is_no_work(tmp_path: Path) -> None:
    """One that a killed turn has left, one of a person, one made now; a link out of the worktree is not followed."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    for folder in (work / ".cache.v1", work / ".cache.v2", outside):
        folder.mkdir(parents=True)
    (work / ".cache.v1" / "left").write_text("by a killed turn")
    (work / ".cache.v2" / ".gitignore").write_text("mine\n")
    (work / ".cache.v3").symlink_to(outside)
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    script = "import pathlib; p = pathlib.Path('.cache.v4'); p.mkdir(); (p / 'f').write_text('x')"
    rules = TurnRules(caches=(".cache.v*",))
    assert play(work, script, rules)[0] == 0
    shown = subprocess.run(
        ["git", "status", "--porcelain", "-uall", "--", ".cache*"], cwd=work, capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown == ["??", ".cache.v2/.gitignore", "??", ".cache.v3"]
    assert (work / ".cache.v1" / "left").read_text() == "by a killed turn"
    assert (work / ".cache.v4" / "f").read_text() == "x"
    assert (work / ".cache.v2" / ".gitignore").read_text() == "mine\n"
    assert list(outside.iterdir()) == []


DOCUMENT = """
import json, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
def save(*used, status):
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"info": {"status": status}, "messages": [{"usage": {"in": n}} for n in used]}))
    new.rename(path)
save(5, status=None)
print("begun", flush=True)
pathlib.Path("go").exists() or [time.sleep(0.05) for _ in iter(lambda: pathlib.Path("go").exists(), True)]
save(5, 7, status=sys.argv[2])
"""
DOC = {"from": "{folder}/t.json", "form": "document", "each": "messages", "input": "usage.in"}


def test_a_document_is_read_while_the_program_runs_and_judged_at_its_end(tmp_path: Path) -> None:
    rules = TurnRules(("{folder}/t.json",), usage=DOC, fails={"holds": {"info.status": "done"}})
    with start(tmp_path, DOCUMENT, rules, "done") as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(2)]
        (tmp_path / "go").touch()
        output, _ = process.communicate(timeout=60)
    assert used(told(b"".join(first))[1]) == [Usage(5)], "before its end"
    assert used(told(output)[1]) == [Usage(7)], "what was told is not told again"
    assert process.returncode == 0
    code, _, signals = play(tmp_path, DOCUMENT, rules, "lost")
    assert code == 1
    assert ended(signals) == [("failed", 'at its end info.status is "lost"')]


FAILS: dict[str, Any] = {"pattern": r"^api\.(?P<reason>\w+)", "again": "^Retrying", "silent": True}


@pytest.mark.parametrize(
    ("script", "code", "result"),
    [
        ("print('use 5')", 0, []),
        ("print('use 5'); print('api.Broken')", 1, [("failed", "Broken")]),
        ("print('api.Broken'); print('Retrying'); print('use 5')", 0, []),
        ("print('api.Broken'); print('Retrying'); print('use 5'); print('api.Again')", 1, [("failed", "Again")]),
        ("print('nothing')", 1, [("failed", "it ended without an answer of its model")]),
        ("print('use 5'); print('api.RateLimit')", 75, [("limited", "RateLimit")]),
        ("print('use 5'); print('error 429'); exit(3)", 75, [("limited", "error 429")]),
        ("print('use 5'); print('error 429')", 0, []),
        ("print('use 5'); print('what is a rate limit?\\n' + 'x\\n' * 9); exit(3)", 3, []),
        ("print('use 5'); exit(4)", 4, []),
        ("import os; os.kill(os.getpid(), 9)", 137, []),
    ],
)
def test_how_an_end_is_judged(tmp_path: Path, script: str, code: int, result: list[tuple[str, str]]) -> None:
    rules = TurnRules(usage={"pattern": r"use (?P<input>\d+)"}, fails=FAILS)
    found, _, signals = play(tmp_path, script, rules)
    assert (found, ended(signals)) == (code, result)


def test_last_lines_are_the_reason_where_there_is_none_but_the_exit_code(tmp_path: Path) -> None:
    rules = TurnRules(fails={"last": True})
    lines = "print('before'); print('\u2502 a line of source \u2502'); print('Broken: the context'); print('is full')"
    code, _, signals = play(tmp_path, f"{lines}; exit(2)", rules)
    assert (code, ended(signals)) == (2, [("failed", "exit code 2: before Broken: the context is full")])
    assert ended(play(tmp_path, lines, rules)[2]) == []
    assert ended(play(tmp_path, "exit(3)", rules)[2]) == [("failed", "exit code 3")]


def test_what_it_has_to_say_at_a_good_end(tmp_path: Path) -> None:
    rules = TurnRules(fails={"unless": "^all done$"})
    assert play(tmp_path, "print('all done')", rules)[0] == 0
    code, _, signals = play(tmp_path, "print('nearly')", rules)
    assert (code, ended(signals)) == (1, [("failed", "it ended without saying that it is done")])


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    argv = runner((str(tmp_path / "gone"),), TurnRules(), ())
    env = {"STRETTO_PROMPT_FILE": str(tmp_path / "7.prompt")}
    done = subprocess.run(argv, capture_output=True, env=env, check=False)
    assert done.returncode == 127
    assert ended(told(done.stdout)[1]) == [("failed", f"{tmp_path}/gone cannot be started: No such file or directory")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_the_programs_and_what_it_used_is_still_told(tmp_path: Path, number: int) -> None:
    script = (
        "import signal, time, pathlib\n"
        "def end(*_): print('use 9', flush=True); raise SystemExit(0)\n"
        "signal.signal(signal.SIGINT, end); signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path('ready').touch()\n"
        "while True: time.sleep(0.05)\n"
    )
    rules = TurnRules(usage={"pattern": r"use (?P<input>\d+)"}, fails={"silent": True, "unless": "never"})
    with start(tmp_path, script, rules) as process:
        wait_for(lambda: (tmp_path / "ready").exists())
        os.killpg(process.pid, number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    signals = told(output)[1]
    assert (used(signals), ended(signals)) == ([Usage(9)], []), "that it failed is not for it to say"


def test_lines_like_ours_are_the_programs(tmp_path: Path) -> None:
    script = """print('{"stretto":{"result":"failed","reason":"x"}}')"""
    code, own, signals = play(tmp_path, script, TurnRules())
    assert (code, signals) == (0, [])
    assert own[0].startswith(' {"stretto"')


def test_what_holds_its_output_open_does_not_hold_the_turn(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print('x')"
    )
    with start(tmp_path, script, TurnRules()) as process:
        assert process.wait(30) == 0
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("key", ["pattern", "usage"])
def test_a_pattern_that_never_ends_ends_the_reading_and_not_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    hopeless = "(?:(?P<input>[0-9]+)+)+x"
    rules = TurnRules(usage={"pattern": hopeless}) if key == "usage" else TurnRules(fails={"pattern": hopeless})
    argv = turn_rules.runner((sys.executable, "-c", "print('1' * 4000); print('then')"), rules, ())
    soon = f"import sys; sys.path.insert(0, {argv[3]!r}[:-15]); import turn_runner as r; r.SLOW = 0.2"
    program = f"{soon}; code = r.main(sys.argv[1:]); r.os._exit(code)"
    monkeypatch.setattr(f"{__name__}.runner", lambda *_: (argv[0], "-I", "-S", "-c", program, argv[4]))
    code, own, signals = play(tmp_path, "", rules)
    assert (code, own) == (1, ["1" * 4000, "then"])
    assert [(result, reason[:9]) for result, reason in ended(signals)] == [("failed", "a pattern")]


@pytest.mark.parametrize(
    ("written", "count"),
    [(5, 5), (5.4, 5), ("1,234", 1234), ("2.3k", 2300), ("1M", 1_000_000), ("", 0), ("-1", 0), (True, 0), (None, 0)],
)
def test_numbers_as_programs_write_them(written: Any, count: int) -> None:
    assert number(written) == count
    assert number(float("inf")) == number(float("nan")) == number(1 << 60) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab01"), inner, max_size=3),
)
KEYS = st.sampled_from(["a", "b", "a.b", "a.0", "b.1.a", "0"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    value=JSON, rules=st.fixed_dictionaries({}, optional=dict.fromkeys(("input", "output", "cost", "id", "each"), KEYS))
)
def test_no_json_makes_a_reading_fail(value: Any, rules: Mapping[str, str]) -> None:
    for told_ in Reading(dict(rules)).value(value):
        for signal_ in heard(json.dumps({"stretto": told_}, separators=(",", ":")).encode(), {}) or ():
            assert signal_.data["usage"] != Usage()
    at(value, "a.b.0")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(line=st.binary() | st.text().map(str.encode), pattern=st.sampled_from([r"(?P<input>\d+)", r"(?P<cost>\S+)"]))
def test_no_bytes_make_a_reading_or_what_hears_it_fail(line: bytes, pattern: str) -> None:
    list(Reading({"pattern": pattern}).line(line))
    list(Reading({"input": "a"}).line(line))
    parsed(line)
    heard(b'{"stretto":' + line, {})
