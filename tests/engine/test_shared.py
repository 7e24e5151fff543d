"""`workspace: shared`: a task works in the main checkout, and nothing of the person's is ever lost there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def spine(home, make_repo, tmp_path: Path) -> Iterator[Spine]:
    files = {"README.md": "hello\n", ".gitignore": "*.log\n", "stretto.toml": CONFIG}
    with running(make_repo("repo", files), tmp_path) as spine:
        yield spine


CONFIG = """\
[workspace]
copy = [".env"]
setup = ["touch set-up-ran.log"]
env_file = ".env.local"
[workspace.ports]
api = 1
[workspace.env]
API_URL = "http://127.0.0.1:{port.api}"
DB = "{database.url}"
[database]
url = "sqlite:///app.db.log"
"""


def shared(id: str, **fields: str) -> str:
    return task(id, workspace="shared", **fields)


def branch(spine: Spine) -> str:
    return spine.repo.git("branch", "--show-current")


def status(spine: Spine) -> str:
    return spine.repo.git("status", "--porcelain")


def holds(spine: Spine, name: str, text: str) -> bool:
    """Whether a file of the checkout is written, as a whole."""
    path = spine.repo.path / name
    return path.exists() and path.read_text() == text


def given_back(spine: Spine, id: str) -> None:
    spine.wait(lambda: spine.task(id).cleaned)


def held(spine: Spine) -> list[str]:
    """What the status says of checkouts that could not be given back."""
    return [n["text"] for n in spine.call_read("status")["notices"] if "still on" in n["text"]]


def test_it_works_in_the_checkout_on_its_branch_and_the_checkout_goes_back(spine: Spine) -> None:
    (spine.repo.path / "hot.log").write_text("of the person's server\n")
    steps = [
        write("one.txt", "1"),
        {"run": ["sh", "-c", "pwd > where.log; git branch --show-current >> where.log; env >> where.log"]},
    ]
    said = spine.run(plan(shared("one", files="one.txt")), {"one": turns(steps)}, approve="human")
    assert any("in your checkout" in notice for notice in said["notices"])
    item = spine.wait_item("review")
    row = spine.task("one")
    assert row.workspace == str(spine.repo.path)
    assert branch(spine) == row.branch
    where = (spine.repo.path / "where.log").read_text().splitlines()
    assert where[:2] == [str(spine.repo.path), row.branch]
    env = dict(line.split("=", 1) for line in where[2:] if "=" in line)
    assert env["API_URL"] == f"http://127.0.0.1:{env['PORT_API']}"
    assert "DB" not in env
    assert "DATABASE_URL" not in env
    assert not {".env.local", "set-up-ran.log"} & {path.name for path in spine.repo.path.iterdir()}
    assert [s["reason"] for s in spine.call_read("snapshots", task="one")["snapshots"]][-1] == "before turn 1"
    spine.call("answer", item=item.id, answer="approve")
    assert spine.wait_over(60) == {"one": "landed"}
    given_back(spine, "one")
    assert (branch(spine), status(spine)) == ("main", "")
    assert (spine.repo.path / "one.txt").read_text() == "1"
    assert (spine.repo.path / "hot.log").exists()
    assert spine.repo.refs("refs/heads/") == {"refs/heads/main": spine.repo.head}
    (event,) = spine.events("checkout.returned")
    assert event.data["shows"] == "main"


def test_two_of_them_and_one_of_its_own(spine: Spine) -> None:
    script = {id: turns([write(f"{id}.txt", id)]) for id in ("one", "two", "own")}
    spine.run(plan(shared("one"), shared("two"), task("own")), script, open=3)
    assert spine.wait_over(90) == {"one": "landed", "two": "landed", "own": "landed"}, "\n".join(spine.story())
    for id in ("one", "two"):
        given_back(spine, id)
    reasons = [e.data["reason"] for e in spine.events("task.state") if e.task == spine.task("two").uid]
    assert any(reason == "waits for your checkout, in which one works" for reason in reasons)
    assert (branch(spine), status(spine)) == ("main", "")
    assert {"one.txt", "two.txt", "own.txt"} <= set(spine.repo.files("main"))


def test_a_dirty_checkout_is_refused_with_the_next_command(spine: Spine) -> None:
    (spine.repo.path / "PLAN.md").write_text("mine\n")
    with pytest.raises(StrettoError) as refused:
        spine.run(plan(shared("one")), {"one": turns([])})
    assert (refused.value.code, spine.tasks()) == ("checkout_dirty", [])
    assert "PLAN.md" in refused.value.message
    assert "git -C" in str(refused.value.hint)
    spine.run(plan(task("first"), shared("one", needs="first")), {"*": turns([write("x.txt", "1")])}, approve="human")
    spine.wait_item("review")
    spine.call("approve", task="first")
    item = spine.wait_item("setup", 60)
    assert "changes of its own in PLAN.md" in item.text
    assert branch(spine) == "main"
    assert not [ref for ref in spine.repo.refs("refs/heads/") if "/one/" in ref]
    (spine.repo.path / "PLAN.md").unlink()
    spine.call("answer", item=item.id, answer="retry")
    spine.wait(lambda: branch(spine) == spine.task("one").branch)


def test_a_sandbox_is_refused_and_auto_means_none(spine: Spine) -> None:
    with pytest.raises(StrettoError) as refused:
        spine.run(plan(shared("one", sandbox="bubblewrap")), {"one": turns([])})
    assert refused.value.code == "sandbox_refused"
    spine.run(plan(shared("one", sandbox="auto")), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    row = next(t for t in spine.call_read("status")["tasks"] if t["id"] == "one")
    assert (row["workspace"]["sandbox"], row["badges"]) == ("none", ["unsandboxed"])


def test_work_outside_its_files_goes_back_and_then_to_the_person(spine: Spine) -> None:
    script = {
        "one": turns(
            [write("src/one.txt", "1"), write("README.md", "changed\n")],
            {"when": {"origin": "check"}, "steps": [write("README.md", "hello\n")]},
        )
    }
    spine.run(plan(shared("one", files="src/**")), script)
    assert spine.wait_over(60) == {"one": "landed"}
    told = spine.messages("one")[1]
    assert told.origin.value == "check"
    assert "README.md" in told.text
    assert "may change only src/**" in told.text
    given_back(spine, "one")
    assert "README.md" not in spine.repo.git("diff", "--name-only", "HEAD^1", "HEAD").split()


def test_work_outside_its_files_that_stays_fails_without_a_person(spine: Spine) -> None:
    script = {"one": turns([write("README.md", "changed\n")], {"when": {"origin": "check"}, "steps": []})}
    spine.run(plan(shared("one", files="src/**", rounds="1")), script)
    assert spine.wait_over(60) == {"one": "failed"}
    assert "outside of its files" in spine.task("one").outcome_reason
    given_back(spine, "one")
    assert (branch(spine), status(spine)) == ("main", "")
    assert spine.repo.git("show", f"{spine.task('one').branch}:README.md") == "changed"


def test_cancelled_in_the_middle_its_work_is_on_the_branch_and_it_can_go_on(spine: Spine) -> None:
    steps = [write("half.txt", "half"), {"note": "begun"}, {"sleep": 600}]
    spine.run(plan(shared("one")), {"one": turns(steps, [write("whole.txt", "1")])})
    spine.wait(lambda: holds(spine, "half.txt", "half"))
    spine.call("cancel", task="one")
    assert spine.wait_over(60) == {"one": "cancelled"}
    given_back(spine, "one")
    row = spine.task("one")
    assert (branch(spine), status(spine), row.workspace) == ("main", "", None)
    assert spine.repo.git("show", f"{row.branch}:half.txt") == "half"
    spine.call("retry", task="one")
    assert spine.wait_over(60) == {"one": "landed"}
    given_back(spine, "one")
    assert {"half.txt", "whole.txt"} <= set(spine.repo.files("main"))
    assert (branch(spine), status(spine)) == ("main", "")


def test_what_the_person_edits_at_the_end_is_waited_for(spine: Spine) -> None:
    spine.run(plan(shared("one")), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    (spine.repo.path / "README.md").write_text("of the person\n")
    spine.call("cancel", task="one")
    assert spine.wait_over(60) == {"one": "cancelled"}
    (text,) = spine.wait(lambda: held(spine))
    assert "changes of its own in README.md" in text
    row = spine.task("one")
    assert branch(spine) == row.branch
    assert (spine.repo.path / "README.md").read_text() == "of the person\n"
    spine.repo.git("commit", "-qam", "by the person")
    spine.engine.reconciler.nudge(row.uid)
    given_back(spine, "one")
    assert (branch(spine), held(spine)) == ("main", [])
    assert spine.repo.git("show", f"{row.branch}:README.md") == "of the person"


def test_a_branch_that_the_person_switched_is_asked_about_and_switched_again(spine: Spine) -> None:
    spine.run(plan(shared("one")), {"one": turns([write("one.txt", "1")], [write("two.txt", "2")])}, approve="human")
    item = spine.wait_item("review")
    row = spine.task("one")
    spine.repo.git("switch", "-q", "-c", "elsewhere", "main")
    spine.call("request_changes", task="one", text="more")
    asked = spine.wait_item("setup")
    assert f"is not on {row.branch} any more" in asked.text
    assert branch(spine) == "elsewhere"
    spine.call("answer", item=asked.id, answer="retry")
    again = spine.wait(lambda: next((i for i in spine.items() if i.kind.value == "review" and i.id != item.id), None))
    assert branch(spine) == row.branch
    spine.call("answer", item=again.id, answer="approve")
    assert spine.wait_over(60) == {"one": "landed"}
    given_back(spine, "one")
    assert (branch(spine), status(spine)) == ("elsewhere", "")


def test_what_the_person_commits_on_its_branch_after_the_approval_stays(spine: Spine) -> None:
    spine.run(plan(shared("one")), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    row = spine.task("one")
    (spine.repo.path / "mine.txt").write_text("mine\n")
    spine.repo.git("add", "-A")
    spine.repo.git("commit", "-qm", "mine")
    mine = spine.repo.git("rev-parse", "HEAD")
    with pytest.raises(StrettoError) as refused:
        spine.call("approve", task="one")
    assert refused.value.code == "changed"
    item = spine.wait(
        lambda: next((i for i in spine.items() if i.kind.value == "review" and "2 files" in i.text), None)
    )
    spine.call("answer", item=item.id, answer="approve")
    assert spine.wait_over(60) == {"one": "landed"}
    given_back(spine, "one")
    assert spine.repo.git("merge-base", "--is-ancestor", mine, "main") == ""
    assert row.branch not in spine.repo.refs("refs/heads/")


def test_what_checks_leave_is_neither_cleaned_nor_landed(spine: Spine) -> None:
    spine.run(
        plan(shared("one"), checks='["echo x > left.txt"]'), {"one": turns([write("one.txt", "1")])}, approve="human"
    )
    item = spine.wait_item("failure")
    assert "left.txt" in item.text
    assert (spine.repo.path / "left.txt").read_text() == "x\n"


def test_removed_it_leaves_its_commits_behind_a_kept_ref(spine: Spine) -> None:
    steps = [write("one.txt", "1"), {"commit": "c"}, write("2", "2"), {"note": "2"}, {"sleep": 600}]
    spine.run(plan(shared("one")), {"one": turns(steps)})
    spine.wait(lambda: holds(spine, "2", "2"))
    done = spine.call("remove", task="one")
    assert (branch(spine), status(spine)) == ("main", "")
    assert (done["undo"], spine.task("one").branch) == (None, None)
    assert spine.repo.git("show", f"{done['kept']}:one.txt") == "1"
    assert spine.repo.git("show", f"{done['kept']}:2") == "2"
    assert spine.repo.refs("refs/heads/") == {"refs/heads/main": spine.repo.head}
    assert spine.call("purge", list=True)["removals"] == []


def test_it_is_the_main_checkout_also_from_a_linked_worktree(spine: Spine, tmp_path: Path) -> None:
    other = tmp_path / "linked"
    spine.repo.git("worktree", "add", "-q", "-b", "mine", str(other))
    (other / "dirty.txt").write_text("mine")
    spine.run(plan(shared("one")), {"one": turns([write("one.txt", "1")])}, cwd=str(other), target="main")
    assert spine.wait_over(60) == {"one": "landed"}
    given_back(spine, "one")
    assert (other / "dirty.txt").read_text() == "mine"
    assert (branch(spine), status(spine)) == ("main", "")


def test_the_files_of_a_snapshot_are_not_laid_into_it(spine: Spine) -> None:
    spine.run(plan(shared("one")), {"one": turns([write("one.txt", "1")])}, approve="human")
    spine.wait_item("review")
    with pytest.raises(StrettoError, match="your own checkout") as refused:
        spine.call("restore", task="one", ref="latest")
    assert "--to" in str(refused.value.hint)


def test_a_checkout_that_is_only_behind_is_brought_along(spine: Spine) -> None:
    script = {"own": turns([write("own.txt", "1")]), "one": turns([write("one.txt", "1")])}
    spine.run(plan(task("own"), shared("one", needs="own")), script, checkout="leave")
    assert spine.wait_over(60) == {"own": "landed", "one": "landed"}
    given_back(spine, "one")
    assert (branch(spine), status(spine)) == ("main", "")
    assert {"own.txt", "one.txt"} <= {path.name for path in spine.repo.path.iterdir()}
    spine.run(plan(task("own")), {"own": turns([write("own.txt", "2")])}, checkout="leave")
    spine.wait(lambda: spine.task("own").cleaned)
    assert status(spine) != ""
    own = spine.repo.path / "own.txt"
    own.write_text("of the person\n")
    spine.run(plan(shared("one")), {"one": turns([])}, checkout="leave", approve="human")
    assert "changes of its own in own.txt" in spine.wait_item("setup").text
    assert (branch(spine), own.read_text()) == ("main", "of the person\n")


HIDDEN = "git add -f .env.log && git commit -qm all && git rm -q --cached .env.log && git commit -qm x"
FORCED = [write("one.txt", "1"), {"run": ["sh", "-c", HIDDEN]}, {"run": ["git", "add", "-f", ".env.log"]}]
SOFT = {"run": ["sh", "-c", "git reset -q --soft $STRETTO_BASE && git rm -q --cached --ignore-unmatch .env.log"]}


@pytest.mark.parametrize("place", ["shared", "own"])
def test_an_ignored_file_of_the_person_is_in_no_commit_that_lands(spine: Spine, place: str) -> None:
    secret = spine.repo.path / ".env.log"
    secret.write_text("KEY=1\n")
    script = {"one": turns(FORCED, {"when": {"origin": "check"}, "steps": [SOFT]})}
    config = CONFIG.replace(".env", ".env.log", 1)
    spine.repo.commit("config", {"stretto.toml": config})
    spine.run(plan(shared("one") if place == "shared" else task("one")), script)
    assert spine.wait_over() == {"one": "landed"}, "\n".join(spine.story())
    told = spine.messages("one")[1]
    assert (told.origin.value, ".env.log" in told.text, "git rm --cached" in told.text) == ("check", True, True)
    assert secret.read_text() == "KEY=1\n"
    assert spine.repo.git("log", "--format=%h", "main", "--", ".env.log") == ""
    assert "one.txt" in spine.repo.files("main")


def test_one_that_goes_on_committing_it_does_not_land_unless_its_plan_names_it(spine: Spine) -> None:
    (spine.repo.path / "mine.log").write_text("mine\n")
    stubborn = turns([{"run": ["git", "add", "-f", "mine.log"]}], {"when": {"origin": "check"}, "steps": []})
    spine.run(plan(shared("one", rounds="1")), {"one": stubborn})
    assert spine.wait_over() == {"one": "failed"}
    assert "committed mine.log, which your repository ignores" in spine.task("one").outcome_reason
    given_back(spine, "one")
    assert (spine.repo.path / "mine.log").read_text() == "mine\n"
    spine.run(plan(shared("one", files="mine.log")), {"one": stubborn})
    assert spine.wait_over() == {"one": "landed"}
    given_back(spine, "one")
    assert (spine.repo.path / "mine.log").read_text() == "mine\n"
