"""The real claude through the whole of stretto: a plan in, landed commits out, and all that can go wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import Stage, task
from tests.support import claude, processes
from tests.support.repository import Repository
from tests.support.stream import clean_environment
from tests.support.waiting import wait_for
from tests.support.world import STRETTO

pytestmark = [pytest.mark.claude, pytest.mark.e2e]

EDIT = 'Do it. [[write path={0}.txt text="{0}\\n"]] [[commit=Add {0}]] [[say=Added {0}.]]'
#: an edit, then a turn that goes on until it is told otherwise; a turn that resumes it finishes
BUSY = 'Go. [[write path=a.txt text="a\\n"]] [[on=start slow=120x2]] [[say=never]] [[on=resume say=Finished.]]'


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def stage(home: Path, repo: Repository, tmp_path: Path, server: ModelServer) -> Iterator[Stage]:
    """Everything stands but the daemon, which the first command starts; agents and daemon are ended afterwards."""
    yield Stage(repo, tmp_path, server)
    processes.end(processes.holding(str(home)))


# ---------------------------------------------------------------- the whole way


def test_a_plan_of_two_tasks_lands_and_the_usage_is_exact(stage: Stage) -> None:
    stage.configure()
    stage.run(task("one", EDIT.format("one")), task("two", EDIT.format("two"), needs="one"), approve="auto")
    stage.wait_state("two", "landed")
    assert stage.repo.show("main", "one.txt") == "one"
    assert stage.repo.show("main", "two.txt") == "two"
    subjects = stage.repo.subjects("main")
    assert {"Add one", "Add two", "Land one: Do one", "Land two: Do two"} <= set(subjects)
    for id in ("one", "two"):
        usage = stage.usage_is_right(id)
        assert usage["input"] == 3 * 1200, "write, commit, the last text"
        told = stage.task(id)
        assert told["usage"]["cost"]["source"] == "agent"
        assert told["session"]["model"] == "claude-sonnet-4-5"
        found = [(m["n"], m["kind"], m["state"]) for m in json.loads(stage.stretto("messages", id, "--json"))]
        assert found == [(1, "turn", "done"), (2, "control", "done")]
        assert all(m["at"] for m in stage.messages(id))
    stage.wait(lambda: not [p for p in processes.holding(str(stage.home.sessions)) if "claude" in p.name()])


def test_a_failing_check_goes_back_to_the_same_process_and_passes(stage: Stage) -> None:
    stage.configure()
    spec = "Do it. [[write path=bad.txt text=x]] [[on=check write path=good.txt text=x]] [[on=check say=Repaired.]]"
    stage.run(task("one", spec), checks='["test -f good.txt"]', approve="auto")
    stage.wait(lambda: len(stage.messages("one")) == 2)
    stage.wait_state("one", "landed")
    first, second = stage.messages("one")
    assert (first["origin"], second["origin"], second["result"]) == ("start", "check", "ok")
    assert first["session"] == second["session"]
    assert len(stage.told("one")["sessions"]) == 1
    results = [e["data"]["result"] for e in stage.events("check.finished") if e["data"]["purpose"] == "task"]
    assert results == ["failed", "passed"]
    prompts = stage.prompts(first["session"])
    assert len(prompts) == 2
    assert "test -f good.txt" in prompts[1]
    stage.usage_is_right("one")


# ---------------------------------------------------------------- questions and permissions


def test_a_question_is_answered_once_by_its_option(stage: Stage) -> None:
    stage.configure()
    spec = 'x [[ask q="Which colour?" options="Blue|Red"]] [[write path=colour.txt text="{{result}}"]]'
    stage.run(task("one", spec))
    item = stage.wait_item("question")
    assert item["text"] == "Which colour?"
    assert item["options"] == [{"key": "1", "text": "Blue"}, {"key": "2", "text": "Red"}]
    assert stage.task("one")["session"]["status"] == "waiting"
    stage.stretto("answer", item["id"], "2")
    assert "item_closed" in stage.stretto("answer", item["id"], "1", "--json", code=1)
    stage.wait_item("review")
    assert '"Which colour?"="Red"' in stage.repo.show(stage.task("one")["head"], "colour.txt")
    assert [m["state"] for m in stage.messages("one", "control")] == ["done", "done"], "the handshake and one answer"
    assert len(stage.messages("one")) == 1, "the answer was given inside the turn"
    stage.stretto("approve", "one")
    stage.wait_state("one", "landed")


def test_several_questions_at_once_and_free_text(stage: Stage) -> None:
    stage.configure()
    spec = (
        'x [[ask q="Colour?" options="Blue|Red"]] [[ask q="Sizes?" options="S|M|L" multi]] [[sh=true]]'
        ' [[ask q="Name?" options="A|B"]] [[write path=answers.txt text="{{result}}"]]'
    )
    stage.run(task("one", spec.replace("[[sh=true]]", '[[write path=first.txt text="{{result}}"]]')))
    both = stage.wait_item("question")
    assert both["options"] == []
    assert "2. Sizes?\n   1) S" in both["text"]
    stage.stretto("answer", both["id"], "a warm one\n1,3")
    name = stage.wait(lambda: next((i for i in stage.inbox() if i["text"] == "Name?"), None))
    stage.stretto("answer", name["id"], "Call it Zoë; neither of them")
    stage.wait_item("review")
    head = stage.task("one")["head"]
    first = stage.repo.show(head, "first.txt")
    assert '"Colour?"="a warm one"' in first
    assert '"Sizes?"="S, L"' in first
    assert '"Name?"="Call it Zoë; neither of them"' in stage.repo.show(head, "answers.txt")


def test_permissions_are_asked_allowed_denied_and_allowed_for_the_session(stage: Stage) -> None:
    stage.configure(permissions="ask")
    edits = "x [[write path=a text=1]] [[sh=touch b1]] [[sh=touch b1 b2]] [[sh=curl -s file:///]]"
    stage.run(task("one", edits + ' [[write path=said text="{{result}}"]]'))

    def asked(what: str) -> str:
        item = stage.wait(
            lambda: next((i for i in stage.inbox() if i["kind"] == "permission" and i["text"].endswith(what)), None)
        )
        return str(item["id"])

    edit = asked("/a")
    assert not (Path(stage.task("one")["worktree"]) / "a").exists()
    stage.stretto("answer", edit, "allow")
    stage.stretto("answer", asked("Bash: touch b1"), "always")
    # neither `touch b1 b2` nor the last edit are asked for any more
    stage.stretto("answer", asked("curl -s file:///"), "deny not from here, please")
    stage.wait_item("review")
    head = stage.task("one")["head"]
    assert {"a", "b1", "b2", "said"} <= set(stage.repo.files(head))
    assert "not from here, please" in stage.repo.show(head, "said")
    assert len(stage.events("item.opened")) == 4


def test_a_denied_edit_is_not_made(stage: Stage) -> None:
    stage.configure(permissions="ask")
    stage.run(task("one", "x [[write path=a text=1]] [[say=I may not.]]"))
    item = stage.wait_item("permission")
    assert [o["key"] for o in item["options"]] == ["allow", "always", "deny"]
    stage.stretto("answer", item["id"], "deny")
    assert stage.wait_item("nochange")
    assert not (Path(stage.task("one")["worktree"]) / "a").exists()
    assert "I may not." in stage.told("one")["note"]


def test_policies_of_agents_and_roles(stage: Stage) -> None:
    """The role's policy wins over the agent's: one may write without being asked, the other may not run anything."""
    stage.configure(permissions="ask", more='[roles.tester]\npermissions = "allow Write"\n'
                    '[roles.reviewer]\npermissions = "deny Bash"\n')  # fmt: skip
    stage.run(
        task("free", "x [[write path=free text=1]]", role="tester"),
        task("bound", 'x [[sh=touch made]] [[write path=said text="{{result}}"]]', role="reviewer"),
    )
    item = stage.wait_item("permission")
    assert item["task"].endswith("/bound")
    assert item["text"].endswith("/said"), "Bash was refused without asking"
    stage.stretto("answer", item["id"], "allow")
    stage.wait(lambda: [i["kind"] for i in stage.inbox()] == ["review", "review"])
    assert stage.repo.files(stage.task("free")["head"]) >= ["README.md", "free"]
    said = stage.repo.show(stage.task("bound")["head"], "said")
    assert "Bash" in said
    assert "made" not in stage.repo.files(stage.task("bound")["head"])


# ---------------------------------------------------------------- interrupts and crashes


def test_interrupt_and_continue_keep_conversation_and_process(stage: Stage) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    pid = stage.pid(session["id"], "agent")
    stage.stretto("interrupt", "one")
    item = stage.wait_item("interrupted")
    assert [m["state"] for m in stage.messages("one", "interrupt")] == ["done"]
    assert stage.messages("one")[0]["result"] == "interrupted"
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    assert stage.conversations("one") == [session["conversation"]]
    assert stage.pid(session["id"], "agent") == pid
    assert psutil.pid_exists(pid)
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_in_mid_turn_changes_nothing_for_claude(stage: Stage) -> None:
    stage.configure()
    spec = 'Go. [[write path=a.txt text="a\\n"]] [[slow=3]] [[write path=b.txt text="b\\n"]] [[commit=Add both]]'
    stage.run(task("one", spec), approve="auto")
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    agent = psutil.Process(stage.pid(session["id"], "agent"))
    born = agent.create_time()
    stage.kill_daemon()
    assert stage.json("status")["daemon"] is None
    assert not stage.said(session["id"], b'"type":"result"')
    wait_for(lambda: stage.said(session["id"], b'"type":"result"'), 30, what="the turn's end")
    assert agent.is_running()
    assert agent.create_time() == born
    stage.up()
    stage.wait_state("one", "landed")
    assert stage.repo.show("main", "b.txt") == "b"
    assert len(stage.messages("one")) == 1
    assert len(stage.prompts(session["id"])) == 1
    assert len(stage.told("one")["sessions"]) == 1
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_while_claude_asks(stage: Stage) -> None:
    """The question is asked while nobody is there to take it, and the daemon that takes the answer is killed, too."""
    stage.configure()
    stage.run(task("one", 'x [[slow=2]] [[ask q="Which?" options="Blue|Red"]] [[write path=c text="{{result}}"]]'))
    stage.wait(lambda: (stage.messages("one") or [{"state": ""}])[0]["state"] == "delivered")
    session = stage.task("one")["session"]
    stage.kill_daemon()
    assert not stage.said(session["id"], b"AskUserQuestion")
    wait_for(lambda: stage.said(session["id"], b"AskUserQuestion"), 30, what="the question")
    stage.up()
    stage.stretto("answer", stage.wait_item("question")["id"], "1")
    stage.kill_daemon()
    stage.up()
    stage.wait_item("review")
    assert len([r for r in stage.records(session["id"]) if "control_response" in r["data"]]) == 1
    assert '"Which?"="Blue"' in stage.repo.show(stage.task("one")["head"], "c")
    assert len([e for e in stage.events("item.opened") if e["data"]["kind"] == "question"]) == 1
    stage.usage_is_right("one")


def test_kill_9_of_the_shim_in_mid_turn_resumes_the_conversation(stage: Stage) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    agent = psutil.Process(stage.pid(session["id"], "agent"))
    tree = [agent, *agent.children(recursive=True)]
    os.kill(stage.pid(session["id"], "shim"), signal.SIGKILL)
    item = stage.wait_item("interrupted")
    wait_for(lambda: not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])
    kept = json.loads(stage.stretto("snapshots", "one", "--json"))
    assert "its session died" in [s["reason"] for s in kept]
    assert all(stage.repo.show(s["ref"], "a.txt") == "a" for s in kept)
    assert stage.messages("one")[0]["state"] == "interrupted"
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    first, second = stage.told("one")["sessions"]
    assert (first["generation"], second["generation"]) == (1, 2)
    assert first["conversation"] == second["conversation"]
    assert "--resume" in (stage.home.sessions / second["id"] / "spec.json").read_text()
    told = stage.prompts(second["id"])
    assert len(told) == 1
    assert BUSY not in told[0], "the first prompt is never sent again"
    assert stage.repo.show(stage.task("one")["head"], "a.txt") == "a"
    stage.usage_is_right("one")


def test_kill_9_of_claude_in_mid_turn_and_while_it_is_idle(stage: Stage) -> None:
    """The next message goes to a new process of the same conversation, whenever the last one went."""
    stage.configure()
    stage.run(task("one", BUSY + " [[on=comments write path=b.txt text=b]]"))
    stage.wait_edited("one", "a.txt")
    os.kill(stage.pid(stage.task("one")["session"]["id"], "agent"), signal.SIGKILL)
    item = stage.wait_item("interrupted")
    assert "its agent was ended by signal 9" in item["text"]
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    os.kill(stage.pid(stage.task("one")["session"]["id"], "agent"), signal.SIGKILL)
    stage.wait(lambda: stage.task("one")["session"]["status"] == "exited")
    assert [i["kind"] for i in stage.inbox()] == ["review"], "nobody has to care about an idle agent"
    stage.stretto("request-changes", "one", "and b")
    stage.wait(lambda: [m["result"] for m in stage.messages("one")] == ["interrupted", "ok", "ok"])
    stage.wait_item("review")
    assert stage.repo.show(stage.task("one")["head"], "b.txt") == "b"
    assert len(set(stage.conversations("one"))) == 1
    assert [s["generation"] for s in stage.told("one")["sessions"]] == [1, 2, 3]
    stage.usage_is_right("one")


def test_a_question_of_a_lost_session_is_answered_by_the_next_turn(stage: Stage) -> None:
    stage.configure()
    spec = 'x [[ask q="Which colour?" options="Blue|Red"]] [[say=never]] [[on=answer write path=c text=1]]'
    stage.run(task("one", spec))
    item = stage.wait_item("question")
    session = stage.task("one")["session"]
    os.kill(stage.pid(session["id"], "shim"), signal.SIGKILL)
    stage.wait(lambda: stage.messages("one")[0]["result"] == "interrupted")
    stage.stretto("answer", item["id"], "2")
    stage.wait_item("review")
    second = stage.told("one")["sessions"][1]
    (told,) = stage.prompts(second["id"])
    assert "Which colour?" in told
    assert "Red" in told
    assert [m["origin"] for m in stage.messages("one")] == ["start", "answer"]
    assert second["conversation"] == session["conversation"]
    assert stage.repo.show(stage.task("one")["head"], "c") == "1"


def test_a_permission_of_a_lost_session_is_withdrawn(stage: Stage) -> None:
    stage.configure(permissions="ask")
    stage.run(task("one", "x [[write path=a text=1]]"))
    item = stage.wait_item("permission")
    os.kill(stage.pid(stage.task("one")["session"]["id"], "shim"), signal.SIGKILL)
    stage.wait_item("interrupted")
    assert [i["kind"] for i in stage.inbox()] == ["interrupted"]
    assert "item_closed" in stage.stretto("answer", item["id"], "allow", "--json", code=1)


# ---------------------------------------------------------------- conversations that are not what they should be


def test_a_conversation_that_was_never_stored_begins_anew_with_the_task(stage: Stage) -> None:
    """Killed right after the start: the id is ours, but claude knows nothing of it. What it was asked is said again."""
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.task("one")["session"]
    os.kill(stage.pid(session["id"], "shim"), signal.SIGKILL)
    item = stage.wait_item("interrupted")
    for stored in (stage.folder / "agent-home").rglob(f"{session['conversation']}*"):
        stored.rename(stored.with_name("gone"))
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    first, refused, third = stage.told("one")["sessions"]
    assert first["conversation"] == refused["conversation"] != third["conversation"]
    assert refused["end_reason"] == "its agent does not know the conversation"
    assert [e["data"]["reason"] for e in stage.events("conversation.refused")] == ["no_conversation"]
    (told,) = stage.prompts(third["id"])
    assert told.startswith("<!-- stretto: origin=resume -->")
    assert BUSY in told, "the new conversation is told what the task is"
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    stage.usage_is_right("one")


def test_a_conversation_that_exists_already_is_resumed(stage: Stage, tmp_path: Path) -> None:
    """A wrapper pretends that the id was taken when the session began; claude itself says so, word for word."""
    before = tmp_path / "before.sh"
    before.write_text(
        "#!/bin/sh\n"
        f'if ! [ -e "{tmp_path}/once" ]; then touch "{tmp_path}/once"; for a in "$@"; do id=$b; b=$a; '
        'case "$id" in --session-id) '
        f'{claude.program()} -p --session-id "$a" --model claude-sonnet-4-5 "x [[say=earlier]]" </dev/null >&2;; '
        "esac; done; fi\n"
        f'exec {claude.program()} "$@"\n'
    )
    before.chmod(0o755)
    stage.configure(command=[str(before)])
    stage.run(task("one", EDIT.format("one")))
    stage.wait_item("review")
    first, second = stage.told("one")["sessions"]
    assert first["conversation"] == second["conversation"]
    assert [e["data"]["reason"] for e in stage.events("conversation.refused")] == ["conversation_in_use"]
    assert "is already in use" in first["end_reason"]
    assert len(stage.prompts(second["id"])) == 1
    assert len(stage.messages("one")) == 1
    assert stage.repo.show(stage.task("one")["head"], "one.txt") == "one"


def test_lost_secrets_are_asked_for_and_brought_back(stage: Stage) -> None:
    """The key is kept in the daemon's memory only; after a crash of both daemon and session it must be given again."""
    stage.configure(ANTHROPIC_API_KEY="")
    toml = stage.repo.path / "stretto.toml"
    toml.write_text(
        toml.read_text().replace('ANTHROPIC_API_KEY = ""', 'ANTHROPIC_API_KEY = {from = "TEST_KEY", secret = true}')
    )
    stage.repo.git("commit", "-q", "-a", "-m", "Secret")
    os.environ["TEST_KEY"] = "dummy-secret-value"
    try:
        stage.run(task("one", BUSY))
        stage.wait_edited("one", "a.txt")
        stage.kill_daemon()
        os.kill(stage.pid(stage.task("one")["session"]["id"], "shim"), signal.SIGKILL)
        stage.up()
        stage.stretto("answer", stage.wait_item("interrupted")["id"], "continue")
        lost = stage.wait_item("setup")
        assert "TEST_KEY" not in lost["text"]
        assert "ANTHROPIC_API_KEY" in lost["text"]
        assert "stretto retry one" in lost["text"]
        stage.stretto("retry", "one")
    finally:
        del os.environ["TEST_KEY"]
    stage.wait_item("review")
    assert len(set(stage.conversations("one"))) == 1
    secret = b"dummy-secret-value"
    holding = [p for p in stage.home.path.rglob("*") if p.is_file() and secret in p.read_bytes()]
    assert holding == [], "the key is nowhere on disk"


# ---------------------------------------------------------------- trouble with the model and the program


def test_trouble_with_the_model_is_told_and_survived(stage: Stage) -> None:
    stage.configure(CLAUDE_CODE_MAX_RETRIES="4")
    spec = "x [[err=529x2]] [[write path=a text=1]] [[err=429x1]] [[say=fine]]"
    stage.run(task("one", spec), approve="auto")
    stage.wait(
        lambda: any("overloaded (529)" in said for said in (stage.task("one")["session"] or {}).get("evidence") or [])
    )
    assert stage.task("one")["session"]["status"] == "working"
    stage.wait_state("one", "landed")
    assert [e["data"]["reason"] for e in stage.events("session.retry")] == [
        "overloaded (529)",
        "overloaded (529)",
        "rate_limit (429)",
    ]
    stage.usage_is_right("one")


def test_refusals_of_the_model_fail_the_turn_with_their_reason(stage: Stage) -> None:
    stage.configure()
    stage.run(
        task("key", "x [[err=401x2]] [[on=resume write path=key text=1]]"),
        task("long", "x [[overflow=9]] [[say=never]]"),
        words=("--open", "2"),
    )
    stage.wait(lambda: [i["kind"] for i in stage.inbox()] == ["failure", "failure"])
    told = {i["task"].rpartition("/")[2]: i for i in stage.inbox()}
    assert "api_error" in told["key"]["text"]
    assert "401" in told["key"]["text"]
    assert "prompt_too_long" in told["long"]["text"]
    assert [o["key"] for o in told["key"]["options"]] == ["continue", "retry", "send-back", "cancel"]
    stage.stretto("answer", told["key"]["id"], "retry")
    stage.wait_item("review")
    assert len(stage.told("key")["sessions"]) == 1, "the same process took the next turn"
    stage.stretto("answer", told["long"]["id"], "cancel")
    stage.wait_state("long", "cancelled")


def test_a_missing_program_is_refused_before_anything_is_made(stage: Stage) -> None:
    stage.configure(command=["/nonexistent/claude"])
    (stage.folder / "PLAN.md").write_text("# A plan\n\n" + task("one", "x"))
    words = ("run", str(stage.folder / "PLAN.md"), "--trust", "--leave-checkout", "--json")
    error = json.loads(stage.stretto(*words, code=1))["error"]
    assert (error["code"], error["object"]) == ("agent_missing", "claude")
    assert "/nonexistent/claude, which does not exist" in error["message"]
    plain = stage.folder / "claude"
    plain.write_text("#!/bin/sh\n")
    stage.configure(command=[str(plain)])
    assert "chmod +x" in json.loads(stage.stretto(*words, code=1))["error"]["message"]
    assert stage.call("status")["tasks"] == []


def test_a_program_that_goes_away_fails_the_turn_and_is_taken_up_when_it_is_back(stage: Stage) -> None:
    program = stage.folder / "claude"
    program.symlink_to(claude.program())
    stage.configure(command=[str(program)])
    stage.run(task("zero", EDIT.format("zero")), task("one", EDIT.format("one"), needs="zero"), words=("--open", "1"))
    stage.wait_item("review")
    program.unlink()
    stage.stretto("approve", "zero")
    failure = stage.wait_item("failure")
    assert "which does not exist" in failure["text"]
    program.symlink_to(claude.program())
    stage.stretto("answer", failure["id"], "retry")
    stage.wait_item("review")
    assert stage.repo.show(stage.task("one")["head"], "one.txt") == "one"
    (session,) = stage.told("one")["sessions"]
    (told,) = stage.prompts(session["id"])
    assert "[[write path=one.txt" in told, "a conversation begins with the task, also when the first turn failed"


@pytest.mark.parametrize("approve", ["human", "auto"])
def test_a_program_that_ends_at_once_fails_the_turn_with_its_last_words(stage: Stage, approve: str) -> None:
    program = stage.folder / "claude"
    program.write_text("#!/bin/sh\necho 'warming up' >&2\necho 'no licence on this machine' >&2\nexit 3\n")
    program.chmod(0o755)
    stage.configure(command=[str(program)])
    stage.run(task("one", "x"), approve=approve)
    if approve == "auto":
        assert "no licence on this machine" in stage.wait_state("one", "failed")["reason"]
    else:
        assert "its agent ended with exit code 3: no licence on this machine" in stage.wait_item("failure")["text"]
    assert len(stage.told("one")["sessions"]) == 1, "it was not started again by itself"


def test_100_mb_of_garbage_are_passed_over(stage: Stage) -> None:
    """Lines that nobody understands, one of 30 MB, and then a real claude: nothing is lost, little is stored."""
    program = stage.folder / "claude"
    noise = "import sys; w = sys.stdout.buffer.write; [w(b'x' * 1023 + bytes([10])) for _ in range(70 << 10)]; "
    noise += "w(b'y' * (30 << 20) + bytes([10])); w(bytes(range(256)) + bytes([10]))"
    program.write_text(f'#!/bin/sh\npython3 -c "{noise}"\nexec {claude.program()} "$@"\n')
    program.chmod(0o755)
    stage.configure(command=[str(program)])
    stage.run(task("one", EDIT.format("one")))
    stage.wait_item("review", timeout=120)
    stage.usage_is_right("one")
    assert stage.events("session.garbage")
    assert len(stage.events("session.garbage")) < 60
    assert stage.home.database.stat().st_size < 4 << 20
    held = sum(p.stat().st_size for p in (stage.home.sessions / stage.task("one")["session"]["id"]).glob("out.0*"))
    assert held < 90 << 20, "output is bounded"


def test_a_long_line_of_the_protocol_is_understood(stage: Stage) -> None:
    """A permission for a file of more than a megabyte: one line, longer than what is read at once."""
    stage.configure(permissions="ask")
    big = "z" * (5 << 18)
    stage.run(task("one", f'x [[sh=python3 -c "print(1)"]] [[write path=big.txt text="{big}"]]'))
    stage.stretto("answer", stage.wait_item("permission")["id"], "allow")
    item = stage.wait(lambda: next((i for i in stage.inbox() if "big.txt" in i["text"]), None))
    stage.stretto("answer", item["id"], "allow")
    stage.wait_item("review")
    assert len(stage.repo.show(stage.task("one")["head"], "big.txt")) == 5 << 18


# ---------------------------------------------------------------- agents that may do everything


def test_skipping_permissions_needs_trust_and_is_shown(stage: Stage) -> None:
    stage.configure(permissions="skip", IS_SANDBOX="1")
    (stage.folder / "PLAN.md").write_text("# A plan\n\n" + task("one", "x [[sh=touch made]] [[say=done]]"))
    words: tuple[str, ...] = ("run", str(stage.folder / "PLAN.md"), "--leave-checkout", "--no-fetch")
    assert json.loads(stage.stretto(*words, "--json", code=1))["error"]["code"] == "unconfined"
    words = (*words, "--unsandboxed")
    refused = json.loads(stage.stretto(*words, "--json", code=1))["error"]
    assert refused["code"] == "untrusted"
    assert "permissions: skip" in [c["text"] for c in refused["details"]["commands"]]
    assert "permissions: skip" in stage.stretto("trust", code=1)
    stage.stretto("trust", "--hash", refused["details"]["hash"])
    stage.stretto(*words)
    stage.wait_item("review")
    assert stage.task("one")["badges"] == ["unsandboxed"]
    assert "[unsandboxed]" in stage.stretto("status")
    assert "made" in stage.repo.files(stage.task("one")["head"])


# ---------------------------------------------------------------- the demo


def test_the_demo_with_a_real_agent_ends_honestly(stage: Stage) -> None:
    """The model server answers plain text, for the demo's plan has no markers: nothing can land, and it says so."""
    env = clean_environment(stage.folder / "agent-home", stage.server.url)
    env["PATH"] = f"{stage.folder / 'bin'}:{os.environ['PATH']}"
    (stage.folder / "bin").mkdir()
    (stage.folder / "bin" / "claude").symlink_to(claude.program())
    done = subprocess.run(
        [*STRETTO, "demo", "--agent", "claude"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT AS IT SHOULD BE: the run ended with exit code 1" in done.stdout
    assert "no change" in done.stdout
    assert "landed              0 of 6 tasks" in done.stdout
