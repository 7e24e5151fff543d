"""The scripted agent: played as the shim plays it, one real process a turn in a real worktree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stretto import agents
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext
from stretto.prompts.header import header
from stretto.testing.script import load_script
from tests.support.agent_api import served
from tests.support.repository import Repository
from tests.support.waiting import wait_for


class Stage:
    """A worktree and a script; `turn` starts the process that the adapter describes."""

    def __init__(self, repo: Repository, folder: Path) -> None:
        self.repo, self.folder, self.number = repo, folder, 0
        self.env: dict[str, str] = {}

    def script(self, *turns: Any, task: str = "search") -> Path:
        path = self.folder / "script.json"
        wrapped = [turn if isinstance(turn, dict) else {"steps": turn} for turn in turns]
        path.write_text(json.dumps({"tasks": {task: {"turns": wrapped}}}))
        return path

    def start(self, script: Path, prompt: str = "") -> subprocess.Popen[str]:
        self.number += 1
        spec = AgentSpec("player", "scripted", command=(str(script),))
        context = SessionContext(
            "s", "r/search", self.repo.path, self.folder, self._env(prompt), None, False, None, "ask"
        )
        agent = agents.find("scripted")
        assert agent.probe(spec, context.env) is None
        launch = agent.launch(spec, context)
        return subprocess.Popen(
            launch.argv,
            cwd=self.repo.path,
            env=launch.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def turn(self, script: Path, prompt: str = "") -> tuple[int, str]:
        with self.start(script, prompt) as process:
            out, _ = process.communicate(timeout=30)
            return process.returncode, out

    def _env(self, prompt: str) -> dict[str, str]:
        file = self.folder / f"{self.number}.prompt"
        file.write_text(prompt)
        own = {"STRETTO_TASK": "search", "STRETTO_TURN": str(self.number), "STRETTO_PROMPT_FILE": str(file)}
        needed = {k: os.environ[k] for k in ("PATH", "HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM")}
        run = {k: v for k, v in os.environ.items() if k == "STRETTO_TEST_RUN"}
        return {**needed, **run, **own, **self.env}


@pytest.fixture
def stage(repo: Repository, tmp_path: Path) -> Stage:
    folder = tmp_path / "session"
    folder.mkdir()
    return Stage(repo, folder)


def test_files_commits_and_reports(stage: Stage) -> None:
    script = stage.script(
        [
            {"write": {"path": "a/b.py", "text": "x = 1\r\n"}},
            {"write": {"path": "run.sh", "text": "#!/bin/sh\n", "executable": True}},
            {"append": {"path": "a/b.py", "text": "y = '{{task}} {{turn}} {{other}}'\n"}},
            {"replace": {"path": "README.md", "old": "sample", "new": "example"}},
            {"run": ["sh", "-c", "echo built; exit 3"], "if": {"task": "other"}},
            {"run": {"argv": ["sh", "-c", "echo built; exit 3"], "exit": 3}},
            {"commit": "Add b"},
            {"delete": "README.md"},
            {"report": "All is well.\n"},
            {"print": {"text": "ab", "repeat": 3, "end": ""}},
        ]
    )
    stage.env["STRETTO_REPORT_FILE"] = str(stage.folder / "report.md")
    code, out = stage.turn(script)
    assert (code, out) == (0, "built\nababab")
    assert (stage.repo.path / "a/b.py").read_bytes() == b"x = 1\r\ny = 'search 1 {{other}}'\n"
    assert stage.repo.subjects() == ["Add b", "Start"]
    assert stage.repo.show("HEAD", "README.md") == "# example"
    assert os.access(stage.repo.path / "run.sh", os.X_OK)
    assert stage.repo.status() == [" D README.md"]
    assert (stage.folder / "report.md").read_text() == "All is well.\n"


def test_turns_are_chosen_by_number_origin_and_prompt(stage: Stage) -> None:
    script = stage.script(
        [{"print": "first"}],
        [{"print": "second"}],
        {"when": {"origin": "check", "prompt": "test_b"}, "steps": [{"print": "fix b"}]},
        {"when": {"origin": "check"}, "steps": [{"print": "fix"}]},
        {"when": {"turn": 5}, "steps": [{"print": "fifth"}]},
    )
    check = header(origin="check") + "\n"
    said = [stage.turn(script, prompt) for prompt in ("", "hello", check + "test_b", check, "")]
    assert [out for code, out in said if code == 0] == ["first\n", "second\n", "fix b\n", "fix\n", "fifth\n"]
    code, out = stage.turn(script, header(origin="gate"))
    assert code == 2
    assert "task 'search' has nothing for turn 6 (origin gate)" in out


def test_a_forged_header_below_the_first_line_is_text(stage: Stage) -> None:
    script = stage.script([{"print": "first"}], {"when": {"origin": "check"}, "steps": [{"print": "fooled"}]})
    assert stage.turn(script, "Do this:\n" + header(origin="check")) == (0, "first\n")


def test_any_task(stage: Stage) -> None:
    assert stage.turn(stage.script([{"print": "{{task}}"}], task="*")) == (0, "search\n")
    code, out = stage.turn(stage.script([{"print": "x"}], task="other"))
    assert code == 2
    assert "no task 'search' and no task '*'" in out


def test_a_conflict_is_resolved_by_a_merge(stage: Stage) -> None:
    repo = stage.repo
    base = repo.commit("Base", {"app.py": "one\ntwo\nthree\n", "note.txt": "a\n"})
    theirs = repo.commit("Theirs", {"app.py": "one\nTHEIRS\nthree\n", "note.txt": "a\nt\n", "new.py": ""})
    repo.git("switch", "-q", "-c", "work", base)
    repo.commit("Ours", {"app.py": "one\nOURS\nthree\n", "note.txt": "a\no\n"})
    resolve = {"merge": {"resolve": {"app.py": "one\nBOTH\nthree\n"}, "take": {"note.txt": "both"}}}
    script = stage.script([], {"when": {"origin": "conflict"}, "steps": [resolve]})
    prompt = header(origin="conflict", merge=theirs)
    stage.number = 1
    code, out = stage.turn(script, prompt)
    assert code == 0, out
    assert repo.git("rev-parse", "HEAD^2") == theirs
    assert repo.show("HEAD", "app.py") == "one\nBOTH\nthree"
    assert sorted(repo.show("HEAD", "note.txt").split()) == ["a", "o", "t"]
    assert repo.status() == []


def test_an_unresolved_conflict_fails_the_turn_and_names_the_files(stage: Stage) -> None:
    repo = stage.repo
    base = repo.head
    theirs = repo.commit("Theirs", {"app.py": "theirs\n"})
    repo.git("switch", "-q", "-c", "work", base)
    repo.commit("Ours", {"app.py": "ours\n"})
    stage.env["STRETTO_MERGE"] = theirs
    code, out = stage.turn(stage.script([{"merge": True}]))
    assert code == 1
    assert "tasks.search.turns[1].steps[1] (merge)" in out
    assert "['app.py']" in out


def test_a_clean_merge_needs_no_resolution(stage: Stage) -> None:
    repo = stage.repo
    base = repo.head
    theirs = repo.commit("Theirs", {"b.py": ""})
    repo.git("switch", "-q", "-c", "work", base)
    repo.commit("Ours", {"a.py": ""})
    assert stage.turn(stage.script([{"merge": theirs}]))[0] == 0
    assert repo.files() == ["README.md", "a.py", "b.py"]


def test_questions_notes_and_usage_go_through_the_socket(stage: Stage, short_folder: Path) -> None:
    script = stage.script(
        [
            {"ask": {"text": "Which colour?", "options": ["blue", "red"], "expect": ["blue", "red"], "save": "colour"}},
            {"write": {"path": "colour.txt", "text": "{{colour}} {{answer}}\n"}, "if": {"colour": "blue"}},
            {"write": {"path": "red.txt", "text": ""}, "if": {"colour": "red"}},
            {"note": {"text": "painted {{colour}}", "result": True}},
            {"usage": {"input": 1200, "output": 300, "cost": "0.02", "model": "m"}},
        ]
    )
    with served(short_folder, lambda verb, args: {"answer": "blue", "key": "1"} if verb == "ask" else {}) as api:
        stage.env |= api.env()
        code, out = stage.turn(script)
    assert (code, out) == (0, "asked 'Which colour?': 'blue'\n")
    assert (stage.repo.path / "colour.txt").read_text() == "blue blue\n"
    assert not (stage.repo.path / "red.txt").exists()
    assert [(verb, args.get("text"), args.get("cost")) for verb, args in api.calls] == [
        ("ask", "Which colour?", None),
        ("note", "painted blue", None),
        ("usage", None, "0.02"),
    ]


def test_an_unexpected_answer_fails_the_turn(stage: Stage, short_folder: Path) -> None:
    with served(short_folder, lambda *_: {"answer": "green"}) as api:
        stage.env |= api.env()
        code, out = stage.turn(stage.script([{"ask": {"text": "Colour?", "expect": "blue"}}]))
    assert code == 1
    assert "the answer was 'green', expected 'blue'" in out


@pytest.mark.parametrize(
    ("step", "code", "said"),
    [
        ({"fail": 7}, 7, ""),
        ({"fail": {"code": 1, "text": "no idea"}}, 1, "no idea"),
        ({"die": "KILL"}, -signal.SIGKILL, ""),
        ({"run": ["false"]}, 1, "['false'] exited with 1, not 0"),
        ({"run": ["stretto-no-such"]}, 1, "No such file"),
        ({"replace": {"path": "README.md", "old": "nothing", "new": ""}}, 1, "0 times, not once"),
        ({"delete": "gone"}, 1, "(delete)"),
        ({"ask": "anybody?"}, 1, "this is not a session of stretto"),
        ({"report": "x"}, 1, "STRETTO_REPORT_FILE is not set"),
    ],
)
def test_bad_ends(stage: Stage, step: dict[str, Any], code: int, said: str) -> None:
    ended, out = stage.turn(stage.script([step, {"print": "never"}]))
    assert ended == code
    assert said in out
    assert "never" not in out


def test_hanging_agents_can_be_interrupted_unless_they_are_deaf(stage: Stage) -> None:
    script = stage.script([{"print": "ready"}, {"hang": True}], [{"hang": {"ignore": ["INT", "TERM"]}}])
    with stage.start(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stdout.read() == ""
    with stage.start(script) as process:
        deaf = f"/proc/{process.pid}/status"
        wait_for(lambda: "SigIgn:\t0000000001005002" in Path(deaf).read_text() or _ignores(deaf), what="deafness")
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()


def _ignores(status: str) -> bool:
    mask = next(int(line.split()[1], 16) for line in Path(status).read_text().splitlines() if line.startswith("SigIgn"))
    return all(mask >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))


def test_a_hundred_megabytes_are_printed_in_a_moment(stage: Stage) -> None:
    script = stage.script([{"print": {"text": "x" * 1000, "repeat": 100_000, "end": ""}}])
    with stage.start(script) as process:
        assert process.stdout is not None
        total = 0
        while block := process.stdout.read(1 << 20):
            total += len(block)
        assert (process.wait(30), total) == (0, 100_000_000)


def test_toml_is_read_as_json_is(tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(
        '''
schema = 1

[[tasks.search.turns]]
steps = [
  { write = { path = "a.py", text = """
x = 1
""" } },
  { commit = "Add a" },
]

[[tasks.search.turns]]
when = { origin = "check" }
steps = [{ replace = { path = "a.py", old = "1", new = "2" } }]
'''
    )
    first, second = load_script(path).tasks["search"]
    assert [(step.verb, step.args) for step in first.steps] == [
        ("write", {"path": "a.py", "text": "x = 1\n"}),
        ("commit", {"message": "Add a"}),
    ]
    assert (second.when.origin, second.place) == ("check", "tasks.search.turns[2]")


@pytest.mark.parametrize(
    ("data", "mistake"),
    [
        ([], "there is no table `tasks`"),
        ({"tasks": {}, "schema": 2}, "schema: 2 is not 1"),
        ({"tasks": {}, "task": {}}, "task: unknown key; did you mean 'tasks'?"),
        ({"tasks": {"a": []}}, "tasks.a: is not a table with a list `turns`"),
        ({"tasks": {"a": {"turns": [{"step": []}]}}}, "tasks.a.turns[1]: is not a table with `steps`"),
        ({"tasks": {"a": {"turns": [{"steps": [], "when": {"origin": "gates"}}]}}}, "'gates' is none of start, check"),
        (
            {"tasks": {"a": {"turns": [{"steps": [], "when": {"turns": 2}}]}}},
            "unknown key 'turns'; did you mean 'turn'?",
        ),
        ({"tasks": {"a": {"turns": [{"steps": [], "when": {}}]}}}, "turns[1].when: is not a table with some of"),
    ],
)
def test_mistakes_of_structure_are_told_with_their_place(tmp_path: Path, data: Any, mistake: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as wrong:
        load_script(path)
    assert mistake in wrong.value.message


@pytest.mark.parametrize(
    ("step", "mistake"),
    [
        ({"wirte": {}}, "unknown step 'wirte'; did you mean 'write'?"),
        ({"write": {"path": "a"}}, "write: `text` is missing"),
        ({"write": {"path": "../a", "text": ""}}, "write.path: is not a relative path inside the worktree"),
        ({"write": {"path": "/a", "text": ""}}, "write.path: is not a relative path"),
        ({"write": "a"}, "write: is not a table"),
        ({"write": {"path": "a", "text": "", "mode": 1}}, "unknown key 'mode'"),
        ({"run": "make test"}, 'run.argv: is not a list of words such as ["make", "test"]'),
        ({"run": ["x"], "commit": "y"}, "is not a table with one step"),
        ({"commit": "x", "if": {"a": 1}}, ".if: is not a table of name = text"),
        ({"sleep": -1}, "sleep.seconds: is not a number of at least 0"),
        ({"fail": True}, "fail.code: is not a whole number"),
        ({"merge": {"take": {"a": "mine"}}}, 'merge.take: is not a table of path = "ours", "theirs" or "both"'),
        ("commit", "is not a table with one step"),
    ],
)
def test_mistakes_in_steps_are_told_with_their_place(tmp_path: Path, step: Any, mistake: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"tasks": {"a": {"turns": [{"steps": [{"hang": True}, step]}]}}}))
    with pytest.raises(UsageError) as wrong:
        load_script(path)
    assert "tasks.a.turns[1].steps[2]" in wrong.value.message
    assert mistake in wrong.value.message
    assert agents.find("scripted").probe(AgentSpec("p", "scripted", command=(str(path),)), {}) == wrong.value.message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"tasks": {"a": {"turns": [{"steps": [{"x": 1}, {"y": 1}]}]}}}))
    with pytest.raises(UsageError, match="has 2 mistakes"):
        load_script(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("a = \n")
    probe = agents.find("scripted").probe
    env = {"STRETTO_ROOT": str(tmp_path)}
    assert "No such file" in str(probe(AgentSpec("p", "scripted", command=("gone.toml",)), env))
    assert "line 1" in str(probe(AgentSpec("p", "scripted", command=("bad.toml",)), env))
    assert "exactly one script" in str(probe(AgentSpec("p", "scripted"), env))
