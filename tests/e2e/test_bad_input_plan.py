"""Plans, settings and words that are wrong, through the program and its daemon: told with places, nothing made."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import world
from tests.support.refusals import AGENT, PLAN, Person, new_person, refusal
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def shared() -> Iterator[Person]:
    person = new_person()
    assert person("up", "--json").code == 0
    yield person
    person.close()


@pytest.fixture
def person(shared: Person) -> Person:
    shared.repository()
    return shared


def task(id: str, *fields: str) -> str:
    return f"## {id}: Do {id}\nDo it.\nAccept: it is done.\n" + "".join(f"- {field}\n" for field in fields)


# ---------------------------------------------------------------- plans


def test_a_plan_with_windows_line_ends_a_byte_order_mark_and_tabs_is_run(person: Person) -> None:
    plan = "\ufeff" + "---\ntarget:\tmain\n---\n# T\n\n## a: Do a\nDo\tit.\nAccept: done.\n-\tfiles:\ta.txt\n"
    (uid,) = person.started(plan.replace("\n", "\r\n").encode(), "--approve", "auto")
    assert person("prompt", uid).code == 0
    person.wait("landed")
    assert person.repo is not None
    assert person.repo.show("main", "a.txt") == "a"


@pytest.mark.parametrize(
    ("plan", "said", "line"),
    [
        (PLAN.replace("## a:", "## größe:"), "größe", 3),
        (PLAN.replace("## a:", "## ../x:"), "../x", 3),
        (PLAN + "- needs: b\n", "b", 7),
        (PLAN + "- needs: a\n", "a", 7),
        (task("a", "needs: b") + task("b", "needs: a"), "wait for each other", 4),
        (task("a") + task("a"), "a", 4),
        (task("a", "files: x", "colour: red"), "colour", 5),
        (task("a", "priority: high"), "priority", 4),
        ("---\nbase: x\nbase: y\n---\n" + PLAN, "base", 3),
    ],
    ids=["non-ascii", "path", "unknown-need", "itself", "cycle", "duplicate", "unknown-key", "no-number", "repeated"],
)
def test_mistakes_of_a_plan_are_told_with_their_lines(person: Person, plan: str, said: str, line: int) -> None:
    error = person.refused_run("bad_plan", plan)
    assert said in error["message"]
    found = error["details"]["findings"][0]
    assert (found["line"], found["severity"]) == (line, "error"), error
    assert found["suggestion"]


def test_the_hint_of_a_bad_plan_shows_all_its_mistakes(person: Person) -> None:
    assert person.repo is not None
    path = person.repo.path / "my plan.md"
    path.write_text(task("a", "needs: x") + task("a", "needs: y"))
    error = person.refused("bad_plan", "run", path.name, "--agent", AGENT, "--leave-checkout", exit_code=2)
    done = subprocess.run(
        error["hint"].replace("stretto", " ".join(world.STRETTO), 1),
        shell=True,
        cwd=person.repo.path,
        env=person.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done
    assert "my plan.md:" in done.stdout
    assert done.stdout.count(": error: ") == 3, done.stdout


@pytest.mark.parametrize(
    ("content", "code"), [(b"# T\n\n## a: caf\xe9\n", "usage"), (b"", "bad_plan"), (b"# Only words\n", "bad_plan")]
)
def test_a_plan_that_holds_nothing_to_read(person: Person, content: bytes, code: str) -> None:
    assert person.refused_run(code, content)["hint"]
    assert person.repo is not None
    (person.repo.path / "P.md").write_bytes(content)
    error = refusal(person("run", "P.md", "--agent", AGENT, "--json"), code)
    assert "UTF-8" in error["hint"] or error["hint"] == f"stretto plan lint {person.repo.path}/P.md"


def test_a_plan_that_is_no_file(person: Person) -> None:
    for name in (".", "missing.md", "README.md/x"):
        assert refusal(person("plan", "lint", name, "--json"))["object"]
        person.refused(None, "run", name)


def test_a_plan_with_control_characters_has_no_power_over_the_terminal(person: Person) -> None:
    done = person("run", "-", "--agent", AGENT, "--leave-checkout", input=task("a", "needs: \x1b]0;x\x07"))
    assert done.code == 2
    assert "\x1b" not in done.out + done.err


def test_a_thousand_tasks_are_taken_and_shown_in_reasonable_time(person: Person) -> None:
    """Ten times what a person waits for gladly: the machine that runs the tests may be busy."""
    plan = "".join(task(f"t{n}", f"files: {n}.txt", f"needs: t{n - 1}" if n else "priority: 1") for n in range(1000))
    begin = time.monotonic()
    tasks = person.started(plan, "--open", "1", agent="command:sh -c 'exec sleep 600'")
    taken = time.monotonic() - begin
    assert len(tasks) == 1000
    begin = time.monotonic()
    assert len(person("status", "--json").json["tasks"]) == 1000
    assert person("status").code == 0
    assert person("explain", "t999").code == 0
    shown = time.monotonic() - begin
    begin = time.monotonic()
    assert person("cancel", "--run", tasks[0].partition("/")[0], "--json").code == 0
    wait_for(
        lambda: set(person.states().values()) == {"cancelled"}, 60, what=lambda: str(set(person.states().values()))
    )
    cancelled = time.monotonic() - begin
    assert max(taken, shown, cancelled) < 30, (taken, shown, cancelled)


def test_a_cycle_of_a_thousand_and_a_line_of_a_megabyte(person: Person) -> None:
    plan = "".join(task(f"t{n}", f"needs: t{(n + 1) % 1000}") for n in range(1000))
    error = person.refused_run("bad_plan", plan)
    assert "wait for each other" in error["message"]
    assert len(error["message"]) < 2000, "a person reads it"
    error = person.refused_run("bad_plan", task("a", "needs: " + "x" * 1_000_000))
    assert len(error["message"]) < 2000


# ---------------------------------------------------------------- stretto.toml


SETTINGS = """\
schema = 2
[project]
target = "a..b"
colour = "red"
[checks]
unit = 3
[limits]
open = 0
[pipeline]
approve = "maybe"
[agents.mine]
type = "comand"
"""


def test_all_mistakes_of_the_settings_at_once_with_their_places(person: Person) -> None:
    assert person.repo is not None
    person.repo.write({"stretto.toml": SETTINGS})
    error = person.refused_run("bad_config")
    lines = {(mistake["line"], mistake["place"]) for mistake in error["details"]["mistakes"]}
    assert lines >= {
        (1, "schema"),
        (3, "project.target"),
        (4, "project.colour"),
        (6, "checks.unit"),
        (8, "limits.open"),
        (10, "pipeline.approve"),
        (12, "agents.mine.type"),
    }
    assert all(f"line {line}" in error["message"] for line, _ in lines)
    person.refused("bad_config", "trust")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"schema = 1\n[project\n"])
def test_settings_that_are_no_toml(person: Person, content: bytes) -> None:
    assert person.repo is not None
    person.repo.write({"stretto.toml": content})
    error = refusal(person.run(), "config" if content.startswith(b"\xff") else "bad_config")
    assert "stretto.toml" in error["message"]
    person.repo.commit("Settle it", {"stretto.toml": content})
    refusal(person.run(), error["code"])
    assert person.rows("SELECT COUNT(*) FROM runs WHERE repo = ?", str(person.repo.path / ".git")) == [(0,)]


def test_settings_that_are_a_folder(person: Person) -> None:
    assert person.repo is not None
    (person.repo.path / "stretto.toml").mkdir()
    error = person.refused_run("config")
    assert "stretto.toml" in error["object"]


def test_commands_that_nobody_trusted_do_not_run(person: Person, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    plan = task("a", f'checks: ["touch {canary}"]')
    assert person.repo is not None
    person.repo.commit(
        "With commands",
        {
            "stretto.toml": f'schema = 1\n[workspace]\nsetup = ["touch {canary}"]\n[checks]\nunit = "touch {canary}"\n'
            f'[agents.evil]\ntype = "command"\ncommand = ["touch", "{canary}"]\n'
        },
    )
    error = person.refused_run("untrusted", plan)
    listed = [command["text"] for command in error["details"]["commands"]]
    assert sum(str(canary) in text for text in listed) == 3, listed
    assert "stretto trust" in error["hint"]
    person.refused("untrusted", "add", "Do it", "--agent", AGENT, "--leave-checkout")
    person.refused("untrusted", "run", "-", "--agent", "evil", "--leave-checkout", "--no-fetch", input=PLAN)
    assert not canary.exists()
    person.started(plan, "--approve", "auto", "--trust")
    person.wait("landed")
    assert canary.exists(), "the canary would have sung"


def test_what_was_trusted_is_exactly_its_text(person: Person) -> None:
    assert person.repo is not None
    person.repo.commit("c", {"stretto.toml": 'schema = 1\n[checks]\nunit = "true"\n'})
    assert person("trust", "--yes").code == 0
    person.repo.commit("c", {"stretto.toml": 'schema = 1\n[checks]\nunit = "true "\n'})
    person.refused_run("untrusted")


# ---------------------------------------------------------------- words of the call


@pytest.mark.parametrize(
    "words",
    [
        ("lnad", "a"),
        ("run", "--colour"),
        ("run", "-", "--open", "0"),
        ("run", "-", "--approve", "maybe"),
        ("events", "--since", "yesterday"),
        ("events", "--since", "-1"),
        ("events", "--limit", "0"),
        ("wait", "--for", "godot"),
        ("answer",),
    ],
)
def test_wrong_words_are_a_usage_error(person: Person, words: tuple[str, ...]) -> None:
    error = refusal(person(*words, "--json", input=PLAN), "usage", 2)
    assert error["hint"].endswith("--help")


def test_names_that_mean_nothing(person: Person) -> None:
    person.started(PLAN, agent="command:sh -c 'exec sleep 600'")
    named = [(verb, "nobody") for verb in ("approve", "diff", "explain", "logs", "path", "retry", "remove")]
    for verb, name in (*named, ("cancel", "../../etc"), ("cancel", "a\nb"), ("cancel", "x/a")):
        refusal(person(verb, name, "--json"), "unknown_task", 2)
    refusal(person("cancel", os.fsdecode(b"caf\xe9"), "--json"), "usage", 2)
    refusal(person("add", os.fsdecode(b"caf\xe9"), "--agent", AGENT, "--json"), "usage", 2)
    refusal(person("answer", "no-such-item", "1", "--json"), "no_item")
    refusal(person("cancel", "--run", "no-such-run", "--json"), "unknown_run")
    refusal(person("undo", "no-such-removal", "--json"), "no_removal")
    refusal(person("send", "a", "", "--json"), "usage", 2)
    assert person("events", "--since", "99999999", "--json").out == ""
    assert person("events", "--since", "9" * 30, "--json").code == 2
    assert person("cancel", "a").code == 0


def test_a_reader_that_leaves_early_is_no_failure(person: Person) -> None:
    person.started("".join(task(f"t{n}") for n in range(300)), "--open", "1", agent="command:sh -c 'exec sleep 600'")
    assert person.repo is not None
    for words in ("events --json", "status --json", "events --json --follow"):
        command = f"{' '.join(world.STRETTO)} {words} | head -c 1"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=person.repo.path,
            env={**os.environ, **person.environment},
            capture_output=True,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (0, b""), words
    assert person("cancel", "--run", person("status", "--json").json["tasks"][0]["run"]).code == 0
