"""Agents of the Agent Client Protocol through a whole engine: real shims and processes, an agent of our own."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import Item, TurnResult, Usage
from stretto.reads.shapes import usage_of
from stretto.testing.acpagent import USAGE
from tests.checks.test_keeper import sleeping
from tests.engine.spine import Spine, plan, running, task
from tests.support.world import SOURCES

AGENT = [sys.executable, "-m", "stretto.testing.acpagent"]
EDIT = '[[write path={0}.txt text="{0}\\n"]] [[commit=Add {0}]] [[say=Added {0}.]]'
BUSY = '[[write path=a.txt text="a\\n"]] [[on=start slow=60]] [[say=never]] [[on=resume say=Finished.]]'


@pytest.fixture
def spine(home, make_repo, tmp_path) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n"})
    with running(repo, tmp_path) as spine:
        yield spine


def configure(spine: Spine, permissions: str = "skip", *words: str, through: str = "") -> None:
    argv = [*AGENT, str(spine.folder / "talks"), *words]
    command = json.dumps(["/bin/sh", "-c", f"{shlex.join(argv)} | {through}"] if through else argv)
    identity = {name: os.environ[name] for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM") if name in os.environ}
    env = "\n".join(f"{n} = {json.dumps(v)}" for n, v in {"PYTHONPATH": str(SOURCES), **identity}.items())
    text = f'schema = 1\n[agents.own]\ntype = "acp"\ncommand = {command}\npermissions = "{permissions}"\n'
    (spine.repo.path / "stretto.toml").write_text(f"{text}[agents.own.env]\n{env}\n")
    spine.repo.git("add", "-A")
    spine.repo.git("commit", "-q", "-m", "Configure")


def does(id: str, spec: str) -> str:
    return task(id).replace(f"Do {id} in its file.", spec)


def used(spine: Spine, id: str) -> Usage:
    uid = spine.task(id).uid
    with spine.engine.store.read() as db:
        return usage_of(db, "task", [uid]).get(uid, Usage())


def item(spine: Spine, kind: str) -> Item:
    return spine.wait_item(kind)


def answer(spine: Spine, kind: str, words: str) -> None:
    spine.call("answer", item=item(spine, kind).id, answer=words)


def test_half_of_a_character_in_what_an_agent_says_holds_up_nothing(spine: Spine) -> None:
    configure(spine, through=r"sed -u 's/CUT/\\ud83d/g'")
    spine.run(plan(does("a", EDIT.format("a").replace("Added", "CUT added"))), agent="own", unsandboxed=True)
    assert spine.wait_over(60) == {"a": "landed"}
    assert "\ufffd added" in spine.messages("a")[0].output


def test_two_at_once_edit_commit_land_and_count(spine: Spine) -> None:
    configure(spine)
    spine.run(
        plan(does("one", EDIT.format("one")), does("two", EDIT.format("two"))), agent="own", unsandboxed=True, open=2
    )
    assert spine.wait_over(60) == {"one": "landed", "two": "landed"}
    for id in ("one", "two"):
        assert spine.repo.show("main", f"{id}.txt") == id
        assert f"Added {id}." in spine.task(id).note, "the pieces of a text are one"
        steps = 3
        told = used(spine, id)
        assert (told.input, told.output) == (USAGE["inputTokens"] * steps, USAGE["outputTokens"] * steps)
        assert (told.cache_read, told.cache_write) == (4000 * steps, 200 * steps)
    assert spine.session("one").conversation != spine.session("two").conversation
    assert str(spine.session("one").conversation).startswith("acp-")


def test_permissions_are_asked_allowed_kept_and_denied(spine: Spine) -> None:
    configure(spine, "ask")
    spec = "[[sh=touch one]] [[sh=touch one]] [[sh=touch two]] [[say={{result}}]]"
    spine.run(plan(does("one", spec)), agent="own", unsandboxed=True, approve="human")
    first = item(spine, "permission")
    assert (first.text, [key for key, _ in first.options]) == ("execute: touch one", ["allow", "always", "deny"])
    worktree = Path(str(spine.task("one").workspace))
    assert not (worktree / "one").exists()
    answer(spine, "permission", "always")
    spine.wait(lambda: [i for i in spine.items() if i.text == "execute: touch two"])
    assert (worktree / "one").exists()
    answer(spine, "permission", "not that one")
    item(spine, "review")
    assert not (worktree / "two").exists()
    assert "did not allow" in spine.task("one").note
    assert len([e for e in spine.events("item.opened") if e.data["kind"] == "permission"]) == 2


def test_interrupt_and_continue_keep_the_process(spine: Spine) -> None:
    configure(spine)
    spine.run(plan(does("one", BUSY)), agent="own", unsandboxed=True, approve="human")
    spine.wait(lambda: (ws := spine.task("one").workspace) and (Path(ws) / "a.txt").exists())
    spine.call("interrupt", task="one")
    answer(spine, "interrupted", "continue")
    item(spine, "review")
    assert [m.result for m in spine.messages("one")] == [TurnResult.INTERRUPTED, TurnResult.OK]
    assert spine.session("one").generation == 1


@pytest.mark.parametrize("loads", [True, False], ids=["loads", "forgets"])
def test_a_pause_ends_an_idle_agent_unless_it_would_forget(spine: Spine, loads: bool) -> None:
    configure(spine, "skip", *(() if loads else ("--no-load",)))
    number = str(1_000_000 + secrets.randbelow(1_000_000_000))
    spec = f"[[sh=setsid sleep {number} > /dev/null 2>&1 &]] {EDIT.format('one')} [[on=comment say=Went on.]]"
    spine.run(plan(does("one", spec)), agent="own", unsandboxed=True, approve="human")
    item(spine, "review")
    conversation = spine.session("one").conversation
    assert sleeping(int(number)), "while it is looked at, what its agent has started goes on"
    spine.call("pause", task="one")
    if loads:
        spine.wait(lambda: not sleeping(int(number)))
        spine.wait(lambda: spine.session("one").end_reason == "paused")
    assert item(spine, "review"), "it still waits for you"
    spine.call("resume", task="one")
    spine.call("send", task="one", text="Go on.")
    spine.wait(lambda: len(spine.messages("one")) == 2 and spine.messages("one")[1].settled)
    after = spine.session("one")
    assert spine.messages("one")[1].result is TurnResult.OK
    assert (after.conversation, after.generation) == (conversation, 2 if loads else 1)
    if not loads:
        assert sleeping(int(number))


def test_an_interrupt_takes_back_what_is_asked(spine: Spine) -> None:
    """An agent of the protocol ends its turn only when each of its requests has an answer."""
    configure(spine, "ask")
    spec = "[[sh=touch never]] [[on=start slow=60]] [[on=resume say=Finished.]]"
    spine.run(plan(does("one", spec)), agent="own", approve="human")
    asked = item(spine, "permission")
    spine.call("interrupt", task="one")
    answer(spine, "interrupted", "continue")
    with pytest.raises(StrettoError) as refused:
        spine.call("answer", item=asked.id, answer="allow")
    assert refused.value.code == "item_closed"
    item(spine, "nochange")
    records = (Path(spine.session("one").folder) / "in.jsonl").read_text()
    assert records.count("cancelled") == 1
    assert not (Path(str(spine.task("one").workspace)) / "never").exists()


@pytest.mark.parametrize("loads", [True, False])
def test_kill_9_of_the_agent_is_followed_by_its_conversation_or_a_new_one(spine: Spine, loads: bool) -> None:
    configure(spine, "skip", *(() if loads else ("--no-load",)))
    spine.run(plan(does("one", "[[say=Hello.]] " + BUSY)), agent="own", unsandboxed=True, approve="human")
    spine.wait(lambda: (ws := spine.task("one").workspace) and (Path(ws) / "a.txt").exists())
    before = spine.session("one")
    pid = spine.engine.parts.shims.state(Path(before.folder)).agent_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    answer(spine, "interrupted", "continue")
    item(spine, "review")
    after = spine.session("one")
    assert (after.conversation == before.conversation) is loads
    assert [m.result for m in spine.messages("one")] == [TurnResult.INTERRUPTED, TurnResult.OK]
    assert [e.data["reason"] for e in spine.events("conversation.refused")] == ([] if loads else ["no_conversation"])
    assert spine.messages("one")[1].output.count("Finished.") == 1, "what is repeated while loading is not heard"
    told = json.loads((spine.folder / "talks" / f"{after.conversation}.json").read_text())
    assert sum("Do one" in text for kind, text in told if kind == "text") == 1, "the task was told once"


def test_errors_fail_the_turn_and_limits_are_known(spine: Spine) -> None:
    configure(spine)
    spine.run(
        plan(does("one", "[[err=500]] [[say=no]]"), does("two", "[[err=429]] [[say=no]]")),
        agent="own",
        unsandboxed=True,
        open=2,
    )
    spine.wait(lambda: spine.task("one").outcome is not None)
    spine.wait(lambda: spine.state("two")[1].startswith("limited until "))
    assert spine.task("one").outcome == "failed"
    assert spine.messages("one")[0].result is TurnResult.FAILED
    assert "500 pretended" in spine.messages("one")[0].reason
    assert spine.messages("two")[0].result is TurnResult.LIMITED


def test_an_agent_that_speaks_no_protocol_is_put_before_the_person(spine: Spine) -> None:
    configure(spine)
    toml = spine.repo.path / "stretto.toml"
    toml.write_text(toml.read_text().replace(str(spine.folder / "talks"), "/dev/null/nowhere"))
    spine.repo.git("commit", "-q", "-a", "-m", "Break it")
    spine.run(plan(does("one", "x")), agent="own", unsandboxed=True)
    assert spine.wait_over(60) == {"one": "failed"}
    assert "exit code 1" in spine.task("one").outcome_reason
