"""The answers of the read operations, from a real database, through the door that daemon and client use."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import (
    CheckResult,
    Delivery,
    Item,
    ItemKind,
    Message,
    QueueState,
    Run,
    Session,
    SessionStatus,
    State,
    TurnResult,
)
from stretto.reads import READS, function, read
from stretto.reads.picture import places
from stretto.reads.spending import with_spending
from stretto.store.sqlite import Store, open_readonly
from tests.support import rows

NOW = 1000.0


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "stretto.db", lambda: NOW)
    yield store
    store.close()


class Asker:
    """Asks read operations as the daemon does, about rows of one repository."""

    def __init__(self, store, repo):
        self.store, self.repo, self.key = store, repo, str(repo.path / ".git")

    def __call__(self, verb, **args):
        with self.store.read() as db:
            answer = read(verb, db, {"cwd": str(self.repo.path), "now": NOW, "live": True, **args})
        assert answer["schema"] == 1
        return json.loads(json.dumps(answer))

    def add(self, *values):
        with self.store.write() as tx:
            for value in values:
                tx.insert(replace(value, repo=self.key) if hasattr(value, "repo") else value)


@pytest.fixture
def ask(store, repo):
    return Asker(store, repo)


def states(answer):
    return {t["id"]: t["state"] for t in answer["tasks"]}


def test_every_verb_has_a_function():
    for verb in READS:
        assert callable(function(verb))
    with pytest.raises(UsageError):
        function("nonsense")


def test_status_has_the_promised_shape(ask, store):
    ask.add(rows.run(), rows.started(), rows.session(status=SessionStatus.WORKING, status_at=NOW - 2))
    ask.add(rows.turn(), rows.check(CheckResult.PASSED), rows.item(ItemKind.REVIEW, "review:x:0", opened_at=NOW - 12))
    with store.write() as tx:
        tx.execute(
            "INSERT INTO views VALUES (?, 'approve', 'waiting', 'r', ?)",
            rows.UID,
            NOW - 60,
        )
        names = "task, key, input, output, cache_read, cache_write, reasoning, cost, cost_source, at"
        for key, cost in (("a", "0.01"), ("b", "0.0147"), ("c", None)):
            values = "(?, ?, 10, 1, 2, 3, 0, ?, 'agent', 1.0)"
            tx.execute(f"INSERT INTO usage ({names}) VALUES {values}", rows.UID, key, cost)
        tx.event("task.state", task=rows.UID)
    answer = ask("status")
    assert answer["cursor"] == 1
    assert answer["daemon"] is None
    (t,) = answer["tasks"]
    assert t["uid"] == rows.UID
    assert (t["stage"], t["state"], t["paused"]) == ("approve", "waiting", False)
    assert t["since"] == "1970-01-01T00:15:40Z"
    assert t["workspace"] == {
        "path": "/bays/1",
        "slot": 1,
        "ports": {},
        "database": None,
        "sandbox": "none",
        "git": "worktree",
        "isolation": "none",
    }
    assert t["session"]["status"] == "working"
    assert t["session"]["age_s"] == 2.0
    assert t["checks"][0] | {"at": 0} == {
        "name": "unit",
        "head": rows.HEAD,
        "tree": rows.TREE,
        "purpose": "task",
        "result": "passed",
        "seconds": 2.0,
        "at": 0,
        "reason": "",
    }
    assert t["attempts"] == {"implement": 1, "check": 1}
    assert t["usage"] == {
        "input": 30,
        "output": 3,
        "cache_read": 6,
        "cache_write": 9,
        "reasoning": 0,
        "cost": {"amount": "0.0247", "currency": "USD", "source": "agent"},
    }
    (i,) = answer["inbox"]
    assert (i["id"], i["task"], i["kind"], i["waiting_s"]) == ("i1", rows.UID, "review", 12.0)
    (r,) = answer["runs"]
    assert (r["id"], r["open"], r["limit"], r["counts"]) == (rows.RUN, 1, 2, {"waiting": 1})


def test_without_a_daemon_the_session_is_unknown(ask):
    ask.add(rows.run(), rows.started(), rows.session(status=SessionStatus.WORKING))
    ask.add(rows.turn(state=Delivery.DELIVERED, result=None))
    assert ask("status", live=False)["tasks"][0]["session"]["status"] == "unknown"
    assert "unknown" in json.dumps(ask("explain", task="one", live=False)["evidence"])


def test_terminal_tasks_keep_their_branch_and_have_no_workspace(ask):
    ask.add(rows.run(), rows.started(outcome=State.CANCELLED, ended_at=NOW - 1, wanted="cancelled"))
    (t,) = ask("status")["tasks"]
    assert t["workspace"] is None
    assert t["worktree"] == "/bays/1"
    assert t["branch"] == f"stretto/{rows.RUN}/one/work"


def test_needs_are_shown_expanded(ask):
    ask.add(rows.run(), rows.task("one"), rows.task("two", position=1), rows.task("end", needs=("*",), position=2))
    shown = {t["id"]: t["needs"] for t in ask("status")["tasks"]}
    assert shown["end"] == [f"{rows.RUN}/one", f"{rows.RUN}/two"]


def test_a_ready_task_says_why_it_has_no_place(ask):
    ask.add(rows.run(open_limit=1), rows.started("one", patch=None), rows.task("two", position=1))
    ask.add(rows.turn(state=Delivery.DELIVERED, result=None))
    answer = ask("explain", task="two")
    assert answer["state"] == "ready"
    assert "1 of 1 places are taken by one" in answer["reason"]
    assert "place" in answer["next"]
    assert ask("status")["runs"][0]["open"] == 1


def test_status_shows_what_is_not_over_what_is_new_and_what_is_recent(ask):
    day = 86400.0
    ask.add(rows.run(id="old-aaaa", created_at=1.0), rows.run(id="open-bbbb", created_at=2.0))
    ask.add(rows.run(id="fresh-cccc", created_at=3.0), rows.run(id="new-dddd", created_at=4.0))
    over = {"outcome": State.LANDED, "cleaned": True}
    ask.add(rows.task("a", run="old-aaaa", ended_at=10.0, **over), rows.task("b", run="open-bbbb"))
    ask.add(rows.task("c", run="fresh-cccc", ended_at=5 * day - 10, **over))
    ask.add(rows.task("d", run="new-dddd", ended_at=11.0, **over))
    assert list(states(ask("status", now=5 * day))) == ["b", "c", "d"]
    assert list(states(ask("status", run="old-aaaa"))) == ["a"]


def test_outside_of_a_repository_status_needs_all(ask, tmp_path):
    ask.add(rows.run(), rows.task())
    with pytest.raises(StrettoError) as caught:
        ask("status", cwd=str(tmp_path))
    assert caught.value.code == "not_a_repository"
    assert states(ask("status", cwd=str(tmp_path), all=True)) == {"one": "ready"}


def test_the_inbox_is_ranked_and_next_is_its_first(ask):
    ask.add(rows.run(open_limit=4), rows.started("one"), rows.started("two"), rows.task("three", needs=("two",)))
    ask.add(rows.turn(), rows.check())
    review: dict[str, Any] = {
        "kind": ItemKind.REVIEW,
        "options": (("approve", "let it land"),),
        "payload": {"patch": rows.PATCH},
    }
    ask.add(rows.item(id="r1", key="review:1", **review))
    ask.add(rows.item(id="r2", key="review:1", task=f"{rows.RUN}/two", **review))
    assert [i["id"] for i in ask("inbox")["inbox"]] == ["r2", "r1"]  # two holds up three
    step = ask("next")
    assert step["next"]["command"] == "stretto answer r2 approve"
    assert step["next"]["look"] == f"stretto diff {rows.RUN}/two"
    assert step["others"] == 1


def test_next_is_nothing_or_a_frozen_queue_or_a_pause(ask, store):
    ask.add(rows.run(paused=True), rows.task())
    assert ask("next")["next"]["command"] == f"stretto resume --run {rows.RUN}"
    with store.write() as tx:
        tx.execute("UPDATE runs SET paused = 0")
    assert ask("next")["next"] is None
    with store.write() as tx:
        tx.execute("INSERT INTO repos VALUES (?, '/r', 0, 'the push was refused', '{}', 1.0)", ask.key)
    assert ask("next")["next"]["kind"] == "frozen"
    assert ask("queue")["frozen"] == "the push was refused"


def test_waiting_tells_why_the_queue_of_what_is_not_over_stands_still(ask, store):
    ask.add(rows.run(), rows.task())
    with store.write() as tx:
        tx.execute("INSERT INTO repos VALUES (?, '/r', 0, 'the push was refused', '{}', 1.0)", ask.key)
    assert ask("wait")["frozen"] == ["the push was refused"]
    with store.write() as tx:
        tx.execute("UPDATE tasks SET outcome = 'landed', ended_at = 1.0")
    assert ask("wait")["frozen"] == []


def test_a_landed_task_can_hold_the_item_of_a_frozen_queue(ask):
    ask.add(rows.run(), rows.started(outcome=State.LANDED, cleaned=True, ended_at=NOW))
    ask.add(rows.item(ItemKind.FAILURE, "frozen:0", options=(("retry", "go on"),)))
    assert [i["id"] for i in ask("inbox")["inbox"]] == ["i1"]
    assert ask("next")["next"]["command"] == "stretto answer i1 retry"
    assert ask("wait", **{"for": "inbox"})["result"] == "reached"


@pytest.mark.parametrize("packed", [False, True])
def test_a_checkout_that_a_landing_left_behind_is_told_until_its_record_goes(ask, store, repo, packed):
    ask.add(rows.run(), rows.task())
    with store.write() as tx:
        tx.event("checkout.behind", task=rows.UID, text="your checkout is 3 behind: stretto update-checkout")
    assert ask("status")["notices"] == []
    ref = "refs/stretto/checkout/main/shows"
    repo.git("update-ref", ref, "HEAD")
    if packed:
        repo.git("pack-refs", "--all")
    (notice,) = ask("status")["notices"]
    assert notice["text"] == "your checkout is 3 behind: stretto update-checkout"
    assert ask("next")["next"]["command"] == "stretto update-checkout"
    repo.git("update-ref", "-d", ref)
    assert ask("status")["notices"] == []


def test_the_queue_is_shown_in_the_order_of_landing(ask):
    ask.add(rows.run(open_limit=9))
    kinds = [("a", QueueState.LANDED), ("b", QueueState.WAITING), ("c", QueueState.TESTING), ("d", QueueState.EJECTED)]
    for n, (id, state) in enumerate(kinds, 1):
        ask.add(rows.started(id), rows.entry(state, id=n, task=f"{rows.RUN}/{id}", enqueued_at=100.0 + n))
    ask.add(rows.started("e", priority=5), rows.entry(id=9, task=f"{rows.RUN}/e", enqueued_at=200.0))
    answer = ask("queue")
    assert [e["task"][-1] for e in answer["queue"]] == ["c", "e", "b", "d", "a"]
    assert answer["in_work"] == [f"{rows.RUN}/c"]


def test_events_are_paged_by_their_ids(ask, store):
    with store.write() as tx:
        for n in range(5):
            tx.event("task.state", repo=ask.key if n % 2 else "/other", n=n)
    first = ask("events", since=0, limit=2)
    assert [e["id"] for e in first["events"]] == [1, 2]
    assert first["more"]
    rest = ask("events", since=first["cursor"])
    assert [e["data"]["n"] for e in rest["events"]] == [2, 3, 4]
    assert (rest["cursor"], rest["more"]) == (5, False)
    mine = ask("events", since=0, repo=ask.key)
    assert ([e["data"]["n"] for e in mine["events"]], mine["cursor"]) == ([1, 3], 5)
    with pytest.raises(UsageError):
        ask("events", since="yesterday")


def test_messages_and_prompt(ask):
    ask.add(rows.run(), rows.started(), rows.turn(1), rows.turn(2, Delivery.UNDELIVERED, None))
    found = ask("messages", task="one")["messages"]
    assert [(m["n"], m["kind"], m["state"], m["origin"], m["result"]) for m in found] == [
        (1, "turn", "done", "start", "ok"),
        (2, "turn", "undelivered", "start", None),
    ]
    assert [m["text"] for m in ask("prompt", task="one")["messages"]] == ["message 1", "message 2"]


def test_explain_tells_the_evidence_with_its_age(ask, tmp_path):
    ask.add(rows.run(), rows.started(workspace=str(tmp_path)), rows.session(status=SessionStatus.IDLE, status_at=990.0))
    ask.add(rows.turn(ended_at=980.0), rows.check(CheckResult.FAILED))
    answer = ask("explain", task="one")
    signals = {e["signal"]: e for e in answer["evidence"]}
    assert signals["session"] == {"signal": "session", "value": "idle", "age_s": 10.0}
    assert signals["worktree"]["value"] == str(tmp_path)
    assert signals["turn 1 result"] == {"signal": "turn 1 result", "value": "ok", "age_s": 20.0}
    assert signals["check unit"]["value"] == "failed"
    assert answer["action"] == "compose"
    assert all(set(e) == {"signal", "value", "age_s"} for e in answer["evidence"])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"outcome": State.FAILED}, "retry"),
        ({"outcome": State.CANCELLED}, "retry"),
        ({"outcome": State.FINISHED, "report": "/h/reports/x.md"}, "/h/reports/x.md"),
        ({"outcome": State.LANDED, "landed": {"commit": "cafe"}, "cleaned": True}, "cafe"),
        ({"needs": ("two",)}, "two"),
        ({"paused": True}, "resume"),
        ({}, "starts now"),
    ],
)
def test_explain_says_what_comes_next(ask, changes, word):
    ask.add(rows.run(), rows.task(**changes), rows.task("two"))
    assert word in ask("explain", task="one")["next"]


def test_task_tells_everything(ask, tmp_path):
    report = tmp_path / "report.md"
    report.write_text("found it\n")
    ask.add(rows.run(context="about"), rows.started(report=str(report)), rows.session(), rows.turn(), rows.check())
    ask.add(rows.approval(), rows.entry(), rows.item(answer={"key": "1"}, answered_at=5.0))
    answer = ask("task", task="one")
    assert answer["task"]["uid"] == rows.UID
    assert answer["report"] == {"path": str(report), "text": "found it\n", "cut": False}
    assert answer["sessions"][0]["folder"] == "/h/sessions/s1"
    assert answer["items"][0]["answer"] == {"key": "1"}
    assert [len(answer[k]) for k in ("messages", "checks", "approvals", "entries")] == [1, 1, 1, 1]
    assert (answer["spec"], answer["context"]) == ("do it", "about")


def test_path_logs_and_env(ask, tmp_path):
    ask.add(rows.run(env={"PATH": "/bin"}), rows.started(workspace=str(tmp_path)), rows.task("two"), rows.session())
    ask.add(rows.started("gone", workspace="/nowhere/at/all"))
    assert ask("path", task="one")["path"] == str(tmp_path)
    for name, code in (("two", "no_worktree"), ("gone", "worktree_gone")):
        with pytest.raises(StrettoError) as caught:
            ask("path", task=name)
        assert caught.value.code == code
    found = ask("logs", task="one")
    assert (found["folder"], found["streams"], found["over"]) == ("/h/sessions/s1", ["out", "err"], False)
    values = ask("env", task="one")
    assert values["env"]["STRETTO_UID"] == rows.UID
    assert values["env"]["STRETTO_SLOT"] == "1"
    assert values["captured"] == ["PATH"]


def test_why_a_workspace_has_no_database(ask, tmp_path):
    with_one = rows.started("with", workspace=str(tmp_path), held={"DATABASE_URL": "sqlite:///a"})
    shared = rows.started("shared", workspace=str(tmp_path), fields={"workspace": "shared"})
    ask.add(rows.run(), with_one, shared, rows.started("making", workspace=None), rows.task("later"))
    ask.add(rows.started("over", workspace=None, outcome="landed", cleaned=True), rows.started(workspace=str(tmp_path)))
    assert [one["url"] for one in ask("databases", task="with")["databases"]] == ["sqlite:///a"]
    for name, code, words in (
        ("making", "no_worktree", "still being made"),
        ("later", "no_worktree", "not started"),
        ("over", "no_worktree", "any more"),
        ("shared", "no_database", "your own database"),
        ("one", "no_database", "has no database"),
    ):
        with pytest.raises(StrettoError, match=words) as caught:
            ask("databases", task=name)
        assert caught.value.code == code
    for name, words in (("with", "sqlite:///a"), ("shared", "in your checkout a task has none of its own")):
        (told,) = (e["value"] for e in ask("explain", task=name)["evidence"] if e["signal"] == "database")
        assert words in told


def test_a_workspace_whose_folder_is_gone_is_marked(ask, tmp_path):
    ask.add(rows.run(), rows.started(workspace=str(tmp_path)), rows.started("gone", workspace=str(tmp_path / "gone")))
    assert [(one["name"], one["gone"]) for one in ask("workspaces")["workspaces"]] == [("one", False), ("gone", True)]


def test_the_rate_is_that_of_the_time_in_which_agents_worked(ask, store):
    began = rows.turn(session="s1", delivered_at=NOW - 1000, ended_at=NOW - 290)
    now = rows.turn(n=2, session="s1", delivered_at=NOW - 40, result=None, ended_at=None, state=Delivery.DELIVERED)
    ask.add(rows.run(), rows.started(), rows.session(agent="claude"), began, now)
    with store.write() as tx:
        sql = "INSERT INTO usage (task, session, key, model, input, output, cache_read, cache_write, reasoning, at)"
        tx.execute(f"{sql} VALUES (?, 's1', 'a', 'm', 80, 20, 7000, 300, 0, ?)", rows.UID, NOW - 10)
        tx.execute(f"{sql} VALUES (?, 's1', 'b', 'm', 9000, 20, 0, 0, 0, ?)", rows.UID, NOW - 900)
    # in five minutes 100 tokens besides those of a cache, and 10 seconds of one turn and 40 of the other
    assert ask("usage")["rate"] == {"tokens_per_s": 2.0, "agents": {"claude": 2.0}}
    nothing = {"tokens_per_s": 0.0, "agents": {}}
    with store.write() as tx:
        tx.insert(rows.item(ItemKind.PERMISSION, session="s1"))
    assert ask("usage")["rate"] == nothing, "it waits for the person"
    with store.write() as tx:
        tx.update(Item, "i1", answered_at=NOW)
    assert ask("usage")["rate"]["tokens_per_s"] == 2.0
    with store.write() as tx:
        tx.update(Session, "s1", status=SessionStatus.WAITING)
    assert ask("usage")["rate"] == nothing, "it waits, as its screen says"
    with store.write() as tx:
        tx.update(Session, "s1", status=SessionStatus.WORKING)
        tx.update(Message, (rows.UID, 2), ended_at=NOW - 1, result=TurnResult.OK)
    assert ask("usage")["rate"] == {"tokens_per_s": 0.0, "agents": {}}, "a task that is over counts no longer"


def test_usage_is_summed_by_what_is_asked(ask, store):
    ask.add(rows.run(config={"limits": {"tokens": 1000}}), rows.started(), rows.session(agent="claude"))
    with store.write() as tx:
        sql = "INSERT INTO usage (task, session, key, model, input, output, cache_read, cache_write, reasoning, at)"
        for key, model, at in (("a", "big", NOW - 10), ("b", "small", 1.0)):
            tx.execute(f"{sql} VALUES (?, 's1', ?, ?, 100, 20, 0, 0, 0, ?)", rows.UID, key, model, at)
    answer = ask("usage")
    assert answer["total"]["input"] == 200
    assert answer["limit"] == {"tokens": 1000}
    assert answer["rate"] == {"tokens_per_s": 0.0, "agents": {}}, "nobody works"
    assert answer["budgets"] == [
        {"scope": "run", "of": rows.RUN, "measure": "tokens", "used": 240.0, "limit": 1000.0, "share": 0.24}
    ]
    assert (answer["unpriced"], answer["strong"]) == (["big", "small"], None)
    assert len(ask("usage", by="day")["by"]) == 1
    for by, keys in {
        "task": [rows.UID],
        "model": ["big", "small"],
        "agent": ["claude"],
        "role": ["implementer"],
    }.items():
        assert list(ask("usage", by=by)["by"]) == keys
    assert list(ask("usage", by="run", task="one")["by"]) == [rows.RUN]
    with pytest.raises(UsageError):
        ask("usage", by="moon")


def spent(store, *found: tuple[str, str, str, int | None, int, str | None]) -> None:
    """Usage: of a task, in a session, of a model, in a turn, so many tokens of input, its agent's figure."""
    with store.write() as tx:
        sql = "INSERT INTO usage (task, session, key, model, n, input, output, cache_read, cache_write, reasoning, cost"
        for task, session, model, n, count, cost in found:
            key = f"k{len(tx.rows('SELECT 1 FROM usage'))}"
            args = (task, session, key, model, n, count, cost, cost and "agent", NOW - 10)
            tx.execute(f"{sql}, cost_source, at) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?)", *args)


def test_usage_is_told_of_each_turn_and_session(ask, store):
    ask.add(rows.run(), rows.started(), rows.session(agent="claude"), rows.session(id="s2", generation=2))
    ask.add(rows.turn(session="s1"), rows.turn(n=2, session="s1"), rows.turn(n=3, session="s2"))
    spent(store, (rows.UID, "s1", "m", 1, 100, None), (rows.UID, "s1", "m", 2, 20, "0.5"))
    spent(store, (rows.UID, "s1", "other", 2, 3, None), (rows.UID, "s2", "m", None, 4, None))
    turns = {key: one["input"] for key, one in ask("usage", by="turn")["by"].items()}
    assert turns == {f"{rows.UID}#1": 100, f"{rows.UID}#2": 23, f"{rows.UID}#unknown": 4}
    assert {key: one["input"] for key, one in ask("usage", by="session")["by"].items()} == {"s1": 123, "s2": 4}
    messages = ask("messages", task="one")["messages"]
    assert [one["usage"]["input"] for one in messages] == [100, 23, 0]
    assert [one["usage"]["cost"] and one["usage"]["cost"]["amount"] for one in messages] == [None, "0.5", None]
    assert [one["usage"]["input"] for one in ask("task", task="one")["sessions"]] == [123, 4]


def test_what_an_agent_says_by_its_own_means_is_priced_word_by_word(ask, store):
    ask.add(rows.run(config={"prices": {"m": {"input": 1, "output": 1}}}), rows.started(), rows.session())
    spent(store, (rows.UID, "s1", "m", 1, 1_000_000, "0.25"), (rows.UID, "s1", "m", 1, 1_000_000, None))
    assert ask("usage")["total"]["cost"]["amount"] == "0.25", "the figure of a turn is that of all its requests"
    with store.write() as tx:
        tx.execute("UPDATE usage SET key = 'agent:s1:' || key")
    assert ask("usage")["total"]["cost"]["amount"] == "1.25", "each word of `stretto agent usage` stands for itself"


def test_a_sum_says_what_its_cost_leaves_out(ask, store):
    ask.add(rows.run(config={"prices": {"m": {"input": 1, "output": 1}}}), rows.started(), rows.session())
    spent(store, (rows.UID, "s1", "m", 1, 1_000_000, None), (rows.UID, "s1", "mystery", 1, 7, None))
    answer = ask("usage")
    (row,) = answer["by"].values()
    assert (row["cost"]["amount"], row["unpriced"], answer["unpriced"]) == ("1", ["mystery"], ["mystery"])
    assert (answer["cursor"], answer["daemon"]) == (0, None)


def test_each_repository_has_its_own_prices(ask, store):
    def config(price: int) -> dict[str, Any]:
        return {"prices": {"m": {"input": price, "output": 1}}}

    ask.add(rows.run(config=config(1)), rows.started(), rows.session())
    with store.write() as tx:
        tx.insert(rows.run(id="other-abcd", repo="/elsewhere/.git", created_at=NOW, config=config(5)))
        tx.insert(rows.started("two", run="other-abcd", repo="/elsewhere/.git"))
    spent(store, (rows.UID, "s1", "m", 1, 1_000_000, None), ("other-abcd/two", "s9", "m", 1, 1_000_000, None))
    by = ask("usage", by="run", all=True)["by"]
    assert {key: one["cost"]["amount"] for key, one in by.items()} == {rows.RUN: "1", "other-abcd": "5"}


def test_what_the_strong_model_would_cost_or_why_that_is_not_known(ask, store):
    prices = {"big": {"input": 10, "output": 1}, "m": {"input": 1, "output": 1}}
    config = {"roles": {"driver": {"agent": "a"}}, "agents": {"a": {"type": "claude", "models": {"strong": "big"}}}}
    ask.add(rows.run(config={**config, "prices": prices}), rows.started(), rows.session())
    assert ask("usage")["strong"] is None, "nothing was used"
    spent(store, (rows.UID, "s1", "m", 1, 1_000_000, None))
    told = {"amount": "10", "currency": "USD", "models": ["big"], "unpriced": [], "priced_as": {}}
    assert ask("usage")["strong"] == told
    with store.write() as tx:
        tx.update(Run, rows.RUN, config={**config, "prices": {"m": prices["m"]}})
    assert ask("usage")["strong"] == {**told, "amount": None, "unpriced": ["big"]}


def test_budgets_of_the_day_are_those_of_each_run(ask, store):
    ask.add(rows.run(config={"limits": {"day": {"tokens": 1000}}}), rows.started(), rows.session())
    ask.add(rows.run(id="other-abcd", created_at=NOW, config={"limits": {"day": {"tokens": 50}}}))
    ask.add(rows.started("two", run="other-abcd"))
    spent(store, (rows.UID, "s1", "m", 1, 40, None))
    found = with_spending_of(store)
    assert found == {"one": [(40, 1000)], "two": [(40, 50)]}, "one day's use, held against each run's own limit"


def with_spending_of(store) -> dict[str, list[tuple[float, float]]]:
    with store.read() as db:
        facts = [place.facts for place in places(db, [rows.RUN, "other-abcd"], NOW).values()]
        found = with_spending(db, facts, NOW)
    return {f.task.id: [(level.used, level.limit) for level in f.spent.levels] for f in found if f.spent}


def test_wait_reads_one_look(ask):
    over = {"outcome": State.FAILED, "ended_at": NOW}
    ask.add(rows.run(), rows.task("one", **over), rows.task("two", needs=("one",)), rows.task("three", needs=("two",)))
    assert ask("wait", **{"for": "landed"})["result"] == "impossible"
    assert ask("wait", **{"for": "idle"})["result"] == "reached"
    assert ask("wait", tasks=["one"], **{"for": "terminal"})["result"] == "reached"
    ask.add(rows.task("four"))
    assert ask("wait", **{"for": "landed"})["result"] == "pending"
    assert ask("wait", **{"for": "idle"})["result"] == "pending"
    assert ask("wait", **{"for": "inbox"})["result"] == "pending"
    with pytest.raises(UsageError):
        ask("wait", **{"for": "godot"})


def test_waiting_for_a_landing_waits_for_the_checkout_and_the_push(ask, store):
    ask.add(rows.run(), rows.task("one", outcome=State.LANDED, ended_at=NOW))
    assert ask("wait", **{"for": "landed"})["result"] == "reached"
    with store.write() as tx:
        tx.execute("INSERT OR IGNORE INTO repos (key, root, created_at) VALUES (?, '/', 0)", ask.key)
        tx.execute("""UPDATE repos SET data = '{"owed": {"main": {"push": true}}}'""")
    assert ask("wait", **{"for": "landed"})["result"] == "pending"
    assert ask("wait", **{"for": "terminal"})["result"] == "pending"
    assert ask("wait", **{"for": "idle"})["result"] == "reached"
    with store.write() as tx:
        tx.execute("UPDATE repos SET frozen = 'the remote said no'")
    assert ask("wait", **{"for": "landed"})["result"] == "reached"


def test_a_thousand_tasks_are_read_with_a_fixed_number_of_queries(ask, store):
    ask.add(rows.run(), *(rows.task(f"t{n}", position=n, needs=(f"t{n - 1}",) if n else ()) for n in range(1000)))
    counted: list[str] = []
    with store.read() as db:
        db.connection.set_trace_callback(counted.append)
        try:
            answer = read("status", db, {"all": True, "now": NOW})
        finally:
            db.connection.set_trace_callback(None)
    assert len(answer["tasks"]) == 1000
    assert len([c for c in counted if c.startswith("SELECT")]) < 40


def test_a_reader_without_a_daemon_sees_one_moment(ask, store, tmp_path):
    ask.add(rows.run(), rows.task())
    db = open_readonly(tmp_path / "stretto.db")
    try:
        answer = read("status", db, {"all": True})
        assert states(answer) == {"one": "ready"}
        assert not db.connection.in_transaction
        with pytest.raises(UsageError):
            read("task", db, {"task": "missing", "cwd": "/"})
        assert not db.connection.in_transaction
    finally:
        db.connection.close()


def test_status_imports_little(store, tmp_path):
    store.close()
    code = (
        "import sys; from pathlib import Path; from stretto.store.sqlite import open_readonly;"
        f"from stretto.reads import read; read('status', open_readonly(Path({str(tmp_path / 'stretto.db')!r})),"
        " {'all': True}); print(' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"asyncio", "subprocess", "psutil", "click", "rich", "starlette", "uvicorn", "decimal", "http.client"}
    assert not loaded & heavy
    assert not {m for m in loaded if m.startswith(("stretto.git", "stretto.engine", "stretto.daemon", "stretto.cli"))}


def test_turn_results_are_told_in_words(ask):
    ask.add(rows.run(), rows.started(), rows.turn(1, result=TurnResult.FAILED, reason="exit 3"))
    values = {e["signal"]: e["value"] for e in ask("explain", task="one")["evidence"]}
    assert values["turn 1 result"] == "failed exit 3"
