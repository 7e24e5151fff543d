"""What must be true of a house whatever was done to it: the reference model of the state machine, and its invariants.

Specification. The model is a few dicts of what was asked for and what was seen; it predicts no timing. An invariant
raises AssertionError with what is wrong. They are looked at when the house is quiet: nothing goes on but agents that
were told to work until someone interrupts them.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto.core.model import TERMINAL, Entry, QueueState, Stage, State, Task
from tests.faults.machine_house import House, Json, Token, stripped
from tests.support.waiting import wait_for

#: seconds in which a house must become quiet after anything, on a machine that has other things to do
PATIENCE = 60.0


@dataclass(slots=True)
class Model:
    """What was asked for, and what was seen of it."""

    tasks: dict[str, str] = field(default_factory=dict)  # id -> uid
    limits: dict[str, int] = field(default_factory=dict)  # run -> open
    background: set[str] = field(default_factory=set)  # uids that take no place
    human: set[str] = field(default_factory=set)  # runs that the person approves
    approved: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # uid -> patches consented to
    ended: dict[str, str] = field(default_factory=dict)  # uid -> terminal state seen
    reopened: set[str] = field(default_factory=set)  # uids that may leave a terminal state in this step
    landed: dict[str, Json] = field(default_factory=dict)
    by_hand: set[str] = field(default_factory=set)  # commits that the person made on the target
    forgiven: set[Token] = field(default_factory=set)  # what the person deleted by name or by hand
    waited_long: bool = False  # the clock was moved: places were given away
    events: list[Json] = field(default_factory=list)
    seen: int = 0


def quiet(house: House) -> Json | None:
    """The status if nothing goes on by itself, else None."""
    before = house.status()
    if not all(_rests(house, task) for task in before["tasks"]):
        return None
    time.sleep(0.12)
    after = house.status()
    return after if after["cursor"] == before["cursor"] else None


def _rests(house: House, task: Json) -> bool:
    state, session = task["state"], task["session"]
    live = session is not None and session["status"] != "exited"
    if state in TERMINAL:
        cleaned = "SELECT cleaned FROM tasks WHERE uid = ?"
        return not live and (state != State.LANDED or bool(house.query(cleaned, task["uid"])[0][0]))
    if state in {State.WAITING, State.BLOCKED}:
        return True
    if state == State.READY:
        return task["paused"] or "in line" in task["reason"]
    if state == State.QUEUED:
        return False
    return bool(works_on(house, task) or (task["paused"] and task["reason"].startswith("paused")))


def works_on(house: House, task: Json) -> bool:
    """Whether its agent is in a turn that only an interrupt ends."""
    session = task["session"]
    if session is None or session["status"] != "working":
        return False
    try:
        turn = int((house.log / f"{task['id']}.turn").read_text() or 0)
        letters = (house.log / f"{task['id']}.letters").read_text().split()
        written = (house.log / f"{task['id']}.tokens").read_text()
    except (OSError, ValueError):
        return False
    slow = 0 < turn <= len(letters) and letters[turn - 1] == "s"
    return slow and f" {task['id']}-{turn}-" in written and "being interrupted" not in task["reason"]


def settle(house: House) -> Json:
    """Wait until the house is quiet; its status then."""
    return wait_for(lambda: quiet(house), PATIENCE, what=house.story)


def check(house: House, model: Model) -> None:
    """All invariants, once the house is quiet."""
    state = settle(house)
    one_state_each(model, state)
    the_end_is_the_end(model, state)
    the_stored_facts_are_the_same(house)
    events_only_grow(house, model)
    one_effect_each(model)
    admission_keeps_the_limit(model)
    landed_is_landed(house, model, state)
    consent_to_what_landed(house, model)
    one_session_at_a_time(house)
    no_worktree_without_a_task(house, state)
    nothing_lost(house, model)


def one_state_each(model: Model, state: Json) -> None:
    """Every task is there once, in a known state and stage, with a reason."""
    assert Counter(t["uid"] for t in state["tasks"]) == Counter(model.tasks.values())
    for task in state["tasks"]:
        assert task["state"] in set(State), task
        assert task["stage"] is None or task["stage"] in set(Stage), task
        assert task["reason"], task
        items = [i for i in state["inbox"] if i["task"] == task["uid"]]
        if task["state"] == State.WAITING:
            assert items, f"{task['uid']} waits for the person, who is asked nothing: {task['reason']}"


def the_end_is_the_end(model: Model, state: Json) -> None:
    """A task that was over is over in the same way, unless it was taken up again; what landed stays landed."""
    for task in state["tasks"]:
        uid, now = task["uid"], task["state"]
        was = model.ended.pop(uid, None)
        if was is not None and uid not in model.reopened:
            assert now == was, f"{uid} was {was} and is {now}"
        if now in TERMINAL:
            model.ended[uid] = now
        if not task["lands"]:
            model.background.add(uid)
        assert (now == State.LANDED) == (task["landed"] is not None), task
        if uid in model.landed:
            assert task["landed"] == model.landed[uid], task
        elif task["landed"] is not None:
            model.landed[uid] = task["landed"]
    model.reopened.clear()


def the_stored_facts_are_the_same(house: House) -> None:
    """`status` says the same with the daemon and without it."""

    def same() -> bool:
        return bool(stripped(house.status()) == stripped(house.stored()))

    wait_for(same, 60, what=lambda: f"{stripped(house.status())}\n!=\n{stripped(house.stored())}")


def events_only_grow(house: House, model: Model) -> None:
    """Ids strictly increase, what was told stays told, and a replay from any cursor gives the rest of the list."""
    found = house.events()
    ids = [event["id"] for event in found]
    assert ids == sorted(set(ids))
    assert found[: len(model.events)] == model.events, "the past was rewritten"
    cut = (len(found) * (model.seen % 7)) // 7
    since = ids[cut - 1] if cut else 0
    assert house.events(since)[: len(found) - cut] == found[cut:]
    model.seen += 1
    model.events = found


def one_effect_each(model: Model) -> None:
    """An item is answered once; a turn ends once; a task lands once."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for event in model.events:
        match event["type"]:
            case "item.answered":
                counts["answered", event["data"]["item"]] += 1
            case "queue.landed":
                counts["landed", event["task"]] += 1
            case "turn.ended":
                counts["ended", event["task"], event["data"]["n"]] += 1
    twice = [key for key, count in counts.items() if count > 1]
    assert not twice, twice


def admission_keeps_the_limit(model: Model) -> None:
    """Replayed from the events: whenever a task began, a place was free (no place was given away meanwhile)."""
    if model.waited_long:
        return
    places: dict[str, set[str]] = defaultdict(set)
    retried: set[str] = set()
    for event in model.events:
        run, uid = event["run"], event["task"]
        match event["type"]:
            case "task.admitted":
                places[run].add(uid)
                others = (
                    places[run] - retried - model.background
                )  # a task that is taken up again stops no other, and is not stopped
                assert len(others) <= model.limits[run], f"event {event['id']}: {others} of {model.limits[run]}"
            case "task.finished":
                places[run].discard(uid)
            case "task.retried":
                retried.add(uid)


def landed_is_landed(house: House, model: Model, state: Json) -> None:
    """Only landings and the person moved the target; each landing is there once, with the tree that was tested."""
    repo, landings = house.repo, {landed["commit"]: uid for uid, landed in model.landed.items()}
    assert len(landings) == len(model.landed), "two tasks share a landing"
    chain = repo.git("log", "--first-parent", "--format=%H %T %P", "main").splitlines()
    rows = {words[0]: words[1:] for words in (line.split() for line in chain)}
    strangers = set(rows) - set(landings) - model.by_hand - {house.base}
    assert not strangers, f"moved by whom? {strangers}"
    assert set(landings) <= set(rows), f"landed and not on the target: {set(landings) - set(rows)}"
    tasks = {t["uid"]: t for t in state["tasks"]}
    for commit, uid in landings.items():
        tree, *parents = rows[commit]
        landed = model.landed[uid]
        assert tree == landed["tree"] == landed["tested_tree"], uid
        assert parents[1:] == [tasks[uid]["head"]], f"{uid} landed another commit than its head"
        gate = house.query("SELECT result FROM checks WHERE purpose = 'gate' AND tree = ? ORDER BY id", tree)
        assert gate, f"{uid} landed untested"
        assert gate[-1]["result"] == "passed", f"{uid} landed on a red gate"


def consent_to_what_landed(house: House, model: Model) -> None:
    """The patch of each landing was consented to: by the person in runs that ask, and never revoked before."""
    with house.rows() as db:
        entries = [e for e in db.select(Entry) if e.state is QueueState.LANDED]
        tasks = {t.uid: t for t in db.select(Task)}
    assert Counter(e.task for e in entries) == Counter(list(model.landed))
    for entry in entries:
        assert entry.patch == tasks[entry.task].patch, f"{entry.task} landed another patch than its own"
        if tasks[entry.task].run in model.human:
            assert entry.patch in model.approved[entry.task], f"nobody consented to what {entry.task} landed"


def one_session_at_a_time(house: House) -> None:
    """Never two sessions of one task."""
    sql = "SELECT task, COUNT(*) AS n FROM sessions WHERE ended_at IS NULL GROUP BY task HAVING n > 1"
    assert not [tuple(row) for row in house.query(sql)]


def no_worktree_without_a_task(house: House, state: Json) -> None:
    """Every worktree is the one of a task that knows it, or the gate's; no two tasks share one."""
    known = [Path(t["worktree"]) for t in state["tasks"] if t["worktree"]]
    assert len(known) == len(set(known)), known
    lines = house.repo.git("worktree", "list", "--porcelain").splitlines()
    found = {Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")}
    gate = house.bays / "gate"
    rest = {path for path in found if path.is_dir()} - set(known) - {house.repo.path}
    assert rest <= ({gate.resolve()} if gate.exists() else set()), f"whose are these? {rest}"


def nothing_lost(house: House, model: Model) -> None:
    """Every token that was ever written is somewhere, but for those that the person deleted."""
    lost = house.missing() - model.forgiven
    assert not lost, f"lost: {sorted((t.task, t.path, t.text) for t in lost)}"
