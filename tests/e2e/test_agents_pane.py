"""Every first-class agent in a pane: the real program in its own interface, through the whole of stretto.

One suite: what one agent must do there, all must; where one cannot, its `Face` says so. The model server is the judge
of usage, and of what arrived. Run by `make test-agents-all`: what an interface of others does by chance on a machine
that does much else is no verdict on stretto.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stretto import agents
from stretto.core import delivery
from stretto.testing.modelserver import ModelServer
from tests.e2e.claude_stage import task
from tests.e2e.pane_stage import FACES, PaneStage
from tests.e2e.real_agents import KINDS, chosen
from tests.e2e.test_agents_real import BUSY, EDIT, files
from tests.support.newer import newer
from tests.support.repository import Repository
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.agents, pytest.mark.e2e]

#: what a composer, a shell or a tool could take for something else than words
COMMANDS = """/exit
!touch bang
@README.md and a.person@example.com
# A heading, $HOME, `id`, $(id), \\n, "quotes", 'single', %s, {{braces}}
-rf --help
~/.profile; exit"""
ENDS = (
    "see @README.md",
    "look at @READ",
    "the word\n/exit",
    "the word /he",
    "spend $PA",
    "!ls",
    "- ",
    "end with #",
)
SCRIPTS = """العربية من اليمين إلى اليسار, עברית, 漢字かな交じり文, 한국어, ไทยกำลังดี, हिन्दी क्षत्रिय
e\u0301 a\u0308 n\u0303 — precomposed é ä ñ; 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️ ☎︎ \U0001d538 ﷽"""
LINES = "\n".join(f"{'    ' * (n % 4)}line {n} of {'many ' * (n % 7)}".rstrip() for n in range(300))
BIG = "\n".join(f"{n:05d} " + "the quick brown fox jumps over the lazy dog " * 2 for n in range(1100)).rstrip()
CONTROL = "one\x1b[201~two\x1b]0;title\x07three\rfour\x7ffive\x9b31msix\x03seven\x04eight"
TABS = "a\tb\n\tindented by a tab\n\n\nthree lines further"


@pytest.fixture(params=[name for name in FACES if name in chosen()])
def stage(request: pytest.FixtureRequest, home: Path, repo: Repository, tmp_path: Path) -> Iterator[PaneStage]:
    """Everything stands but the daemon. Afterwards all is ended as a person ends it, and nothing may be left."""
    KINDS[request.param].program()
    with ModelServer(listen=True) as server:
        stage = PaneStage(repo, tmp_path, server, kind=KINDS[request.param])
        yield stage
        stage.end(home)


def test_two_at_once_land_from_panes_and_usage_is_exact(stage: PaneStage, tmp_path: Path) -> None:
    stage.configure()
    before, around = files(stage.repo.path), {path.name for path in tmp_path.iterdir()}
    long = "-- Ünïcödé 漢字: a very long spec. " * 400
    first = task("one", f"{long}\n{EDIT.format('one')}")
    stage.run(first, task("two", EDIT.format("two")), approve="auto", words=("--open", "2"))
    for id, other in (("one", "two"), ("two", "one")):
        stage.wait_state(id, "landed")
        assert stage.repo.show("main", f"{id}.txt") == id
        assert stage.usage_is_right(id)["input"] == 3 * 1200, "write, commit, the last text"
        (session,) = stage.told(id)["sessions"]
        assert session["mode"] == "pane"
        assert f"{other}.txt".encode() not in stage.output(session["id"])
        assert f"Added {id}." in stage.told(id)["note"]
    assert len(set(stage.conversations("one") + stage.conversations("two"))) == 2
    assert files(stage.repo.path) == before, "the checkout of the person is as it was"
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} - around <= {"repo", "PLAN"}
    wrote = {name.split("/")[0] for name in files(tmp_path / "agent-home")}
    assert wrote <= stage.kind.folders, "nothing but the agent's own folder"


def test_a_permission_is_allowed_in_a_pane_and_another_denied(stage: PaneStage) -> None:
    stage.configure(permissions="ask")
    yes, no = (stage.face.asking.format(f"touch {word}") for word in ("yes", "no"))
    stage.run(task("one", f"[[as=one]] x {yes} {no} [[say=I did what I may.]] [[on=resume say=Finished.]]"))

    def asked(command: str) -> str:
        text = stage.face.asked.format(command)
        item = stage.wait(lambda: next((i for i in stage.inbox() if text in i["text"]), None))
        assert item["kind"] == "permission"
        assert {"allow", "deny"} <= {option["key"] for option in item["options"]}
        return str(item["id"])

    first = asked("touch yes")
    worktree = Path(stage.task("one")["worktree"])
    assert not (worktree / "yes").exists()
    stage.wait(lambda: stage.task("one")["session"]["status"] == "waiting")
    stage.stretto("answer", first, "allow")
    stage.stretto("answer", asked("touch no"), "deny")
    if stage.face.no_ends:
        stage.stretto("answer", stage.wait_item("interrupted")["id"], "continue")
    stage.wait_item("review")
    found = stage.repo.files(stage.task("one")["head"])
    assert "yes" in found
    assert "no" not in found
    stage.usage_is_right("one")


def test_a_rule_that_denies_is_kept_in_a_pane_without_a_question(stage: PaneStage) -> None:
    stage.configure(permissions="allow Write, Edit, Bash; deny Bash(touch no*)")
    one = task("one", "[[as=one]] x [[sh=touch yes]] [[sh=touch no]] [[say=I did what I may.]]")
    if not stage.face.rules:
        words = ("run", str(stage.plan(one)), "--trust", "--leave-checkout", "--no-fetch", "--json", "--mode", "pane")
        assert "in words that a rule could be held against" in stage.stretto(*words, "--agent", stage.kind.name, code=1)
        return
    stage.run(one)
    stage.wait_item("review")
    found = stage.repo.files(stage.task("one")["head"])
    assert "yes" in found
    assert "no" not in found
    assert "I did what I may." in stage.told("one")["note"], "the turn went on"
    assert not [e for e in stage.events("item.opened") if e["data"]["kind"] != "review"]
    stage.usage_is_right("one")


def test_a_question_is_answered_inside_the_turn_of_a_pane(stage: PaneStage) -> None:
    stage.configure()
    colour = '[[ask q="Which colour?" options="Blue|Red"]] [[write path=colour.txt text="{{result}}"]]'
    shape = '[[ask q="Which shape?" options="Round|Square"]] [[write path=shape.txt text="{{result}}"]]'
    stage.run(task("one", f"[[as=one]] x {colour} {shape if stage.face.words else ''} [[say=Asked.]]"))
    item = stage.wait_item("question")
    assert "Which colour?" in item["text"]
    assert [option["text"].split()[0] for option in item["options"]][:2] == ["Blue", "Red"]
    stage.stretto("answer", item["id"], "2")
    assert "item_closed" in stage.stretto("answer", item["id"], "1", "--json", code=1)
    if stage.face.words:
        other = stage.wait(lambda: next((i for i in stage.inbox() if "Which shape?" in i["text"]), None))
        stage.stretto("answer", other["id"], "a strange one")
    stage.wait_item("review")
    told = stage.repo.show(stage.task("one")["head"], "colour.txt")
    assert "Red" in told
    assert "Blue" not in told
    if stage.face.words:
        assert "a strange one" in stage.repo.show(stage.task("one")["head"], "shape.txt")
    assert len(stage.messages("one")) == 1, "it was answered inside the turn"
    stage.usage_is_right("one")


def test_an_interrupt_ends_the_turn_of_a_pane_and_the_same_program_goes_on(stage: PaneStage) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    session = stage.session("one")
    pid = stage.tmux(session, "display-message", "-p", "#{pane_pid}")
    stage.stretto("interrupt", "one")
    item = stage.wait_item("interrupted")
    assert stage.messages("one")[0]["result"] == "interrupted"
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    assert stage.session("one") == session
    assert stage.tmux(session, "display-message", "-p", "#{pane_pid}") == pid
    stage.usage_is_right("one")


@pytest.mark.parametrize("who", ["agent", "host", "shim", "tmux"])
def test_kill_9_in_a_pane_resumes_the_conversation_and_never_the_prompt(stage: PaneStage, who: str) -> None:
    stage.configure()
    stage.run(task("one", BUSY))
    stage.wait_edited("one", "a.txt")
    edited = Path(stage.task("one")["worktree"]) / "a.txt"
    stage.wait(lambda: edited.read_text() == "a\n")  # it is there before it is written
    first = stage.session("one")
    pid = {
        "agent": lambda: int(stage.tmux(first, "display-message", "-p", "#{pane_pid}")),
        "host": lambda: stage.pid(first, "agent"),
        "shim": lambda: stage.pid(first, "shim"),
        "tmux": lambda: int(stage.tmux(first, "display-message", "-p", "#{pid}")),
    }[who]()
    program = psutil.Process(int(stage.tmux(first, "display-message", "-p", "#{pane_pid}")))
    os.kill(pid, signal.SIGKILL)
    item = stage.wait_item("interrupted")
    wait_for(lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE, what="the end of the agent")
    stage.stretto("answer", item["id"], "continue")
    stage.wait_item("review")
    one, two = stage.told("one")["sessions"]
    assert one["conversation"] == two["conversation"]
    assert [m["origin"] for m in stage.messages("one")] == ["start", "resume"]
    assert not [text for text in stage.prompts(two["id"]) if BUSY in text], "the first prompt is never sent again"
    assert stage.repo.show(stage.task("one")["head"], "a.txt") == "a"
    stage.usage_is_right("one")


def test_kill_9_of_the_daemon_changes_nothing_in_a_pane(stage: PaneStage) -> None:
    stage.configure()
    spec = '[[as=one]] Go. [[write path=a.txt text="a\\n"]] [[slow=3]] [[write path=b.txt text="b\\n"]] [[say=Both.]]'
    stage.run(task("one", spec))
    stage.wait_edited("one", "a.txt")
    session = stage.session("one")
    stage.kill_daemon()
    wait_for(lambda: stage.said(session, b'"turn_ended"'), what="the turn's end")
    stage.up()
    stage.wait_item("review")
    assert stage.repo.show(stage.task("one")["head"], "b.txt") == "b"
    assert len(stage.prompts(session)) == len(stage.told("one")["sessions"]) == 1
    stage.usage_is_right("one")


def test_trouble_with_the_model_is_survived_in_a_pane_or_told(stage: PaneStage) -> None:
    stage.configure()
    stage.run(
        task("one", f"[[as=one]] x [[write path=a text=1]] [[{stage.kind.torn}]] [[say=fine]]"),
        task("two", "[[as=two]] x [[write path=b text=1]] [[err=401x9]] [[say=never]]"),
        words=("--open", "2"),
    )
    failure = stage.wait_item("failure")
    assert stage.kind.refused in failure["text"]
    assert failure["task"].endswith("/two")
    stage.wait_item("review")
    stage.usage_is_right("one")
    stage.usage_is_right("two")


def test_a_stream_session_is_taken_over_in_its_interface_and_handed_back(stage: PaneStage) -> None:
    stage.configure()
    stage.run_in_stream(task("one", '[[as=one]] x [[write path=a.txt text="a\\n"]] [[say=Said in stream.]]'))
    stage.wait_item("review")
    screen = stage.attach("one")
    stage.wait(lambda: stage.told("one")["sessions"][-1]["mode"] == "pane")
    stage.wait(lambda: stage.shows("one", "Said in stream."))
    stage.wait(lambda: stage.ready("one"))
    stage.type("one", screen, '[[as=one]] y [[write path=b.txt text="b"]] [[say=By hand.]]')
    stage.stretto("send", "one", '[[as=one]] z [[write path=c.txt text="c\\n"]] [[say=Back.]]')
    stage.wait(lambda: "in its terminal" in stage.task("one")["reason"])
    screen.keys(b"\r")
    worktree = Path(stage.task("one")["worktree"])
    stage.wait(lambda: (worktree / "b.txt").exists())
    stage.wait(lambda: stage.served("one") == 4)
    assert not (worktree / "c.txt").exists()
    stage.leave(screen)
    stage.wait(lambda: (worktree / "c.txt").exists())
    stage.wait_item("review")
    told = [(s["mode"], s["generation"]) for s in stage.told("one")["sessions"]]
    anew = stage.events("conversation.refused")  # by one that forgets
    assert told == [("stream", 1), ("pane", 2), ("stream", 3), *[("stream", 4)][: len(anew)]]
    assert len(set(stage.conversations("one"))) == 1 or anew
    assert not anew or stage.kind.forgets
    assert {"a.txt", "b.txt", "c.txt"} <= set(stage.repo.files(stage.task("one")["head"]))
    stage.usage_is_right("one")


def test_a_draft_of_the_person_is_neither_sent_nor_overwritten(stage: PaneStage) -> None:
    stage.configure()
    stage.run(task("one", '[[as=one]] x [[write path=a.txt text="a\\n"]] [[say=Written.]]'))
    stage.wait_item("review")
    draft, words = "a draft of mine", "Do [[as=one]] this as well. [[say=As well.]]"
    screen = stage.attach("one")
    stage.wait(lambda: stage.shows("one", "Written."))
    stage.type("one", screen, draft)
    stage.leave(screen)
    stage.stretto("send", "one", words)
    if stage.face.composer:
        item = stage.wait_item("undelivered")
        assert "a draft stands in the agent's composer" in item["text"]
        assert stage.shows("one", draft)
        assert not [text for texts in stage.server.heard() for text in texts if words in text]
        screen = stage.attach("one")
        screen.keys(b"\x7f" * len(draft))
        stage.wait(lambda: not stage.shows("one", draft))
        stage.leave(screen)
        stage.stretto("answer", item["id"], "retry")
    stage.wait(lambda: [m["result"] for m in stage.messages("one")] == ["ok", "ok"])
    assert stage.face.composer or stage.shows("one", draft)
    texts = stage.server.heard()[-1]
    assert sum(text.count(words) for text in texts) == 1
    assert not [text for text in texts if draft in text]
    stage.usage_is_right("one")


def lost(stage: PaneStage, text: str) -> str:
    """Send a message; what is wrong with it where it should stand once, as it is, in what the model server gets."""
    count = len(stage.messages("one"))
    stage.stretto("send", "one", "--", text)
    stage.wait(lambda: len(stage.messages("one")) > count)
    stage.wait(lambda: stage.messages("one")[-1]["result"] or stage.messages("one")[-1]["state"] == "undelivered")
    last = stage.messages("one")[-1]
    if last["result"] != "ok":
        return f"{text[:60]!r}: {last}"
    texts = stage.server.heard()[-1]
    expected = re.escape(delivery.clean(text).strip().replace("\t", stage.face.tab))
    if stage.face.mentions:
        expected = re.sub(r"@\S*", r"\\s?@\\S*", expected)
    whole = re.compile(rf"\n\n{expected}$", re.MULTILINE)
    times = sum(len(whole.findall(one)) for one in texts)
    return "" if times == 1 else f"{text[:60]!r} stands there {times} times: {[one[-600:] for one in texts[-4:]]!r}"


def test_words_arrive_as_they_are_and_once(stage: PaneStage) -> None:
    stage.configure()
    stage.run(task("one", '[[as=one]] x [[write path=a.txt text="a\\n"]] [[say=Written.]]'))
    stage.wait_item("review")
    worktree = Path(stage.task("one")["worktree"])
    found = [lost(stage, text) for text in (COMMANDS, *ENDS, SCRIPTS, LINES, TABS, CONTROL, BIG)]
    assert not [one for one in found if one], "\n".join([*filter(None, found), stage.story()])
    assert not (worktree / "bang").exists()
    told = [event["data"]["text"] for event in stage.events("session.notice")]
    assert len([text for text in told if "control characters" in text]) == 1
    changed = len([text for text in told if "otherwise than it was written" in text])
    assert changed == (stage.face.tab != "\t" or stage.face.mentions)
    assert len(stage.told("one")["sessions"]) == 1
    stage.usage_is_right("one")


def test_a_version_that_nobody_tried_works_with_a_notice(stage: PaneStage) -> None:
    known = agents.declared(stage.kind.name).tested[-1]
    program, version = newer(stage.kind.program(), known, stage.folder / "programs")
    stage.configure(command=[str(program)])
    stage.run(task("one", EDIT.format("one")))
    stage.wait_item("review")
    (told,) = [event["data"]["text"] for event in stage.events("session.notice")]
    assert f" {version} was not tried with this stretto, {known} was" in told
    assert stage.repo.show(stage.task("one")["head"], "one.txt") == "one"
    stage.usage_is_right("one")
