"""A plan that is worked on in sandboxes, from its first turn to its landing, with what must stay possible inside."""

from __future__ import annotations

import json

import pytest

from stretto.core.errors import StrettoError
from stretto.workspace import sandbox
from stretto.workspace.sandbox import Found, probe
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def spine(home, make_repo, tmp_path):
    settings = '[workspace]\nsandbox = "bubblewrap"\nsetup = "touch set-up.ignored"\n'
    files = {"README.md": "hello\n", "a.txt": "one\n", "stretto.toml": settings, ".gitignore": "*.ignored\n"}
    with running(make_repo("repo", files), tmp_path) as spine:
        yield spine


def test_a_plan_becomes_landed_commits(spine: Spine):
    commits = 'test ! -e "$HOME/.gitconfig" && echo 2 > two.txt && git add two.txt && git commit -qm "By hand"'
    checks = json.dumps(['test "$(hostname)" = sandbox && test -e one.txt -o -e two.txt'])
    spine.run(
        plan(task("one"), task("two", needs="one"), checks=checks),
        {"one": turns([write("one.txt", "1")]), "two": turns([{"run": {"argv": ["sh", "-c", commits]}}])},
    )
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
    assert {"one.txt", "two.txt"} <= set(spine.repo.files("main"))
    assert "By hand" in spine.repo.git("log", "--format=%s", "main")
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
    common = spine.repo.path / ".git"
    assert not [*common.glob("refs/heads/stretto/**/.keep"), *common.glob("logs/refs/heads/stretto/**/*")]


def test_the_agent_asks_reports_and_sees_only_its_own(spine: Spine, home):
    look = f"""ls -A {home} {home}/sessions
    cat "$STRETTO_PROMPT_FILE" > prompt.txt
    stretto agent note --result "found it" && stretto agent status > status.txt
    ls -A "$HOME" > home.txt; ls -A "$STRETTO_ROOT" > root.txt; mkdir "$HOME/kept"
    """
    spine.run(
        plan(task("one")),
        {"one": turns([{"ask": {"text": "Red or blue?", "save": "colour"}}, {"run": {"argv": ["sh", "-c", look]}}])},
    )
    item = spine.wait_item("question")
    status = spine.call_read("status")["tasks"][0]
    assert status["workspace"]["sandbox"] == "bubblewrap"
    assert status["badges"] == []
    assert status["workspace"]["isolation"] == "worktree"
    spine.call("answer", item=item.id, answer="red")
    assert spine.wait_over() == {"one": "landed"}
    assert spine.task("one").note == "found it"
    assert "Do one in its file" in spine.repo.show("main", "prompt.txt")
    assert spine.repo.show("main", "root.txt").split() == [".git"]
    assert spine.repo.show("main", "home.txt").split() == []
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
    house = home / "houses" / spine.task("one").uid.replace("/", "__")
    assert (house / "kept").is_dir()
    spine.call("purge", yes=True, all=True)
    assert not house.exists()


def test_a_task_that_lands_nothing_writes_its_report(spine: Spine):
    write_it = 'echo "It is so." > "$STRETTO_REPORT_FILE"'
    spine.run(plan(task("one", kind="research")), {"one": turns([{"run": {"argv": ["sh", "-c", write_it]}}])})
    assert spine.wait_over() == {"one": "finished"}
    assert spine.call_read("task", task="one")["report"]["text"] == "It is so.\n"


def test_a_check_finds_an_empty_home_and_no_credentials(spine: Spine):
    checks = json.dumps(['test -z "$(ls -A "$HOME")" && test -z "$STRETTO_AGENT_TOKEN" && ! ls "$STRETTO_HOME"'])
    spine.run(
        plan(task("one"), checks=checks), {"one": turns([write("a", "1"), {"run": {"argv": ["mkdir", "-p", "x"]}}])}
    )
    assert spine.wait_over() == {"one": "landed"}


# ---------------------------------------------------------------- what is refused, and what is shown


SKIP = '[roles.implementer]\npermissions = "skip"\n'


@pytest.fixture
def nothing_there(monkeypatch):
    """A machine on which no sandbox can be made."""
    found = Found(None, "bubblewrap is not installed", "install it: apt-get install bubblewrap")
    monkeypatch.setattr(probe, "look", lambda **_: found)
    monkeypatch.setattr(sandbox, "look", lambda **_: found)


def test_who_never_asks_needs_a_sandbox_or_the_persons_word(spine: Spine):
    spine.repo.commit("Settings", {"stretto.toml": SKIP})
    script = {"one": turns([write("a", "1")])}
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one")), script)
    assert (caught.value.code, caught.value.object) == ("unconfined", "one")
    assert "--unsandboxed" in str(caught.value.hint)
    assert spine.tasks() == []
    spine.run(plan(task("one")), script, unsandboxed=True)
    assert spine.call_read("status")["tasks"][0]["badges"] == ["unsandboxed"]
    assert spine.wait_over() == {"one": "landed"}


def test_a_sandbox_that_is_named_is_never_left_out(spine: Spine, nothing_there):
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one")), {"one": turns([write("a", "1")])})
    assert caught.value.code == "sandbox_impossible"
    assert "apt-get install bubblewrap" in str(caught.value.hint)
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one", sandbox="none"), task("two", sandbox="bubblewrap")), {"*": turns([])})
    assert caught.value.code == "sandbox_impossible"


def test_auto_without_one_is_shown(spine: Spine, nothing_there):
    spine.repo.commit("Settings", {"stretto.toml": '[workspace]\nsandbox = "auto"\n'})
    said = spine.run(plan(task("one")), {"one": turns([{"sleep": 30}])})
    assert any("there is no sandbox: bubblewrap is not installed" in notice for notice in said["notices"])
    spine.wait(lambda: spine.task("one").workspace)
    shown = spine.call_read("status")["tasks"][0]
    assert (shown["badges"], shown["workspace"]["sandbox"]) == (["unsandboxed"], "none")
    assert shown["workspace"]["isolation"] == "none"
    told = {row["signal"]: row["value"] for row in spine.call_read("explain", task="one")["evidence"]}
    assert told["isolation"] == "none: its agent can do what you can"


def test_auto_with_one_uses_it_even_for_who_never_asks(spine: Spine):
    spine.repo.commit("Settings", {"stretto.toml": f'{SKIP}[workspace]\nsandbox = "auto"\n'})
    spine.run(plan(task("one")), {"one": turns([write("a", "1"), {"run": {"argv": ["sh", "-c", "hostname > b"]}}])})
    assert spine.wait_over() == {"one": "landed"}
    assert spine.repo.show("main", "b") == "sandbox"


@pytest.mark.parametrize("path", ["~/..", "/", "~/h/sessions"])
def test_what_must_not_be_shown_is_refused(spine: Spine, home, path: str):
    named = {"~/..": str(home.parent), "/": "/", "~/h/sessions": str(home / "sessions")}[path]
    rules = f'[workspace]\nsandbox = "bubblewrap"\n[sandbox]\nread = ["{named}"]\n'
    spine.repo.commit("Settings", {"stretto.toml": rules})
    spine.run(plan(task("one")), {"one": turns([write("a", "1")])})
    assert spine.wait_over() == {"one": "failed"}
    assert "[sandbox] read cannot show" in spine.task("one").outcome_reason


def test_what_a_sandbox_lets_through_must_be_trusted(spine: Spine):
    rules = '[workspace]\nsandbox = "auto"\n[sandbox]\nnetwork = ["*.example.org"]\nread = ["/srv"]\n'
    spine.repo.commit("Settings", {"stretto.toml": rules})
    with pytest.raises(StrettoError) as caught:
        spine.run(plan(task("one"), checks="[]"), {"one": turns([])}, trust=None)
    assert caught.value.code == "untrusted"
    found = {(c["kind"], c["text"]) for c in caught.value.details["commands"]}
    assert found == {("sandbox", "reach *.example.org"), ("sandbox", "read /srv")}


def test_a_check_reaches_the_server_of_its_task_through_two_sandboxes(spine: Spine):
    serve = "python3 -m http.server --bind 127.0.0.1 $PORT"
    rules = (
        '[workspace]\nsandbox = "bubblewrap"\n'
        f"[workspace.serve.web]\nrun = '{serve}'\nready = '/one.txt'\n"
        "[checks]\ne2e = {run = '/usr/bin/python3 fetch.py $PORT', serve = ['web']}\n"
    )
    fetch = (
        "import sys, urllib.request\n"
        "url = f'http://127.0.0.1:{sys.argv[1]}/one.txt'\n"
        "assert urllib.request.urlopen(url, timeout=20).read() == b'1'\n"
    )
    spine.repo.commit("Settings", {"stretto.toml": rules, "fetch.py": fetch})
    plain = task("one").join(["# A plan\n\n", ""])
    spine.run(plain, {"one": turns([write("one.txt", "1")])})
    assert spine.wait_over(60) == {"one": "landed"}
    assert {e.data["purpose"] for e in spine.events("check.finished")} == {"task", "gate"}
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
