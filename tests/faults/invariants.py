"""What must hold after any crash (I1 to I10 of the design's research), as functions over a house that has come to rest.

Each raises AssertionError with what is wrong. `check` runs them all; `strict` adds what holds when only the daemon
died: then no turn was cut off, and every turn reached its agent exactly once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stretto.core.model import Check, CheckResult, Delivery, Entry, QueueState, Session, State, Task
from stretto.proctree import start_time
from tests.faults.house import House
from tests.support import processes
from tests.support.waiting import wait_for


def check(house: House, *, strict: bool = True) -> None:
    """All of them."""
    nothing_lost(house)
    nothing_outside(house)
    every_state_has_a_reason(house)
    landed_is_landed(house)
    the_queue_is_right(house)
    no_orphans(house)
    each_turn_once(house, strict=strict)
    one_session_at_a_time(house, strict=strict)
    no_secret(house)
    nothing_half_made(house)


# ---------------------------------------------------------------- I1


def nothing_lost(house: House) -> None:
    """I1: every byte that an agent wrote is reachable: from a ref, or in a bay or the quarantine."""
    reachable = set(house.repo.git("rev-list", "--objects", "--all", "--no-object-names").split())
    lying = {hashlib.sha256(path.read_bytes()).digest() for path in _files(_bays(house))}
    purged = {row["task"] for row in house.removals() if row["purged_at"]}
    tasks = house.tasks()
    for row in house.played():
        if row["event"] != "wrote" or (row["ignored"] and tasks[row["task"]].uid in purged):
            continue
        data = row["text"].encode()
        blob = hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()
        if _overwritten(house, row):
            continue
        assert blob in reachable or hashlib.sha256(data).digest() in lying, f"lost: {row}: {house.story()}"


def _overwritten(house: House, row: dict[str, Any]) -> bool:
    """Whether the same turn wrote the same file again: its agent replaced it, not we."""
    same = [
        other
        for other in house.played(row["task"])
        if other["event"] == "wrote" and other["pid"] == row["pid"] and other["path"] == row["path"]
    ]
    return bool(same) and same[-1]["at"] > row["at"]


def _bays(house: House) -> Path:
    return house.repo.path.with_name(f"{house.repo.path.name}.worktrees")


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


# ---------------------------------------------------------------- I2


def nothing_outside(house: House) -> None:
    """I2: nothing of ours lies outside of the managed folders, and the person's checkout is what its branch says."""
    known = {"repo", "repo.worktrees", "remote.git", "log", "PLAN.md"}
    found = {path.name for path in house.folder.iterdir() if not path.name.startswith("daemon-")}
    assert found <= known, found - known
    person = {path.name for path in house.home.path.with_name("person").iterdir()}
    assert person <= {".gitconfig"}, person
    assert house.repo.status() == []
    assert house.repo.git("symbolic-ref", "HEAD") == "refs/heads/main"


# ---------------------------------------------------------------- I3


def every_state_has_a_reason(house: House) -> None:
    """I3: each task is in exactly one state, with a reason; what is over has a row that says how."""
    with house.rows() as db:
        views = {row["uid"]: row for row in db.rows("SELECT uid, state, reason FROM views")}
        assert db.value("PRAGMA integrity_check") == "ok"
    for task in house.tasks().values():
        view = views[task.uid]
        assert view["reason"], f"{task.uid} is {view['state']} without a reason"
        assert task.outcome is not None, f"{task.uid} is not over"
        assert view["state"] == task.outcome.value
        assert task.outcome_reason


# ---------------------------------------------------------------- I4, I5


def landed_is_landed(house: House) -> None:
    """I4: what landed is in the target with the tree that was tested, once, and on the remote."""
    repo = house.repo
    for task in _landed(house):
        landed = task.landed or {}
        repo.git("merge-base", "--is-ancestor", landed["commit"], "main")
        tree = repo.git("rev-parse", f"{landed['commit']}^{{tree}}")
        assert tree == landed["tested_tree"] == landed["tree"]
        with house.rows() as db:
            gates = db.select(Check, "purpose = 'gate' AND tree = ? ORDER BY id", tree)
        assert gates, f"{task.uid} landed untested"
        assert gates[-1].result is CheckResult.PASSED, f"{task.uid} landed untested: {gates}"
        assert task.head is not None
        repo.git("merge-base", "--is-ancestor", task.head, "main")
    subjects = Counter(repo.subjects("main", first_parent=True))
    wanted = Counter({f"Land {task.id}: {task.title}": 1 for task in _landed(house)})
    assert subjects == wanted + Counter(["Start"]), subjects
    with house.rows() as db:
        pushed = db.value("SELECT MAX(push) FROM runs")
    if pushed:
        assert house.remote.oid("main") == repo.oid("main"), "what landed was not pushed"


def the_queue_is_right(house: House) -> None:
    """I5: one landed entry for each landed task, none for others, none left in the middle."""
    with house.rows() as db:
        entries = db.select(Entry)
        frozen = db.rows("SELECT frozen FROM repos WHERE frozen IS NOT NULL")
        counted = db.value("SELECT SUM(landed) FROM repos")
    assert not [row[0] for row in frozen]
    landed = Counter(entry.task for entry in entries if entry.state is QueueState.LANDED)
    assert landed == Counter(task.uid for task in _landed(house))
    assert counted == len(_landed(house))
    assert not [e for e in entries if e.state not in (QueueState.LANDED, QueueState.EJECTED)]


def _landed(house: House) -> list[Task]:
    return [task for task in house.tasks().values() if task.outcome is State.LANDED]


# ---------------------------------------------------------------- I6


def no_orphans(house: House) -> None:
    """I6: no process without a row, no worktree without one, and no row without its worktree."""
    daemon = house.daemon.pid if house.daemon is not None else 0

    def strangers() -> list[str]:
        found = [p for p in processes.holding(str(house.home.path.parent)) if p.pid != daemon]
        return [processes.described([p]) for p in found]

    wait_for(lambda: not strangers(), what=lambda: f"no process but the daemon: {strangers()}")
    live = [s for s in house.sessions() if s.ended_at is None]
    assert live == [], f"sessions that nobody ended: {live}"
    wanted = {Path(task.workspace) for task in house.tasks().values() if task.workspace}
    bays = _bays(house)
    gates = {path for path in _worktrees(house) if (bays / "gate").exists() and (bays / "gate").resolve() == path}
    assert _worktrees(house) - gates == wanted
    assert {path for path in bays.glob("[0-9]*") if path.is_dir()} - gates == wanted
    known = {row["id"] for row in house.removals() if row["purged_at"] is None and row["undone_at"] is None}
    kept = {path.name for path in (bays / ".quarantine").glob("*")}
    assert kept == known, f"quarantine and rows differ: {kept ^ known}\n{house.story()}"
    branches = set(house.repo.refs("refs/heads/"))
    assert branches == {"refs/heads/main"} | {f"refs/heads/{t.branch}" for t in house.tasks().values() if t.branch}


def _worktrees(house: House) -> set[Path]:
    lines = house.repo.git("worktree", "list", "--porcelain").splitlines()
    found = [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")]
    return set(found[1:])


# ---------------------------------------------------------------- I7


def each_turn_once(house: House, *, strict: bool) -> None:
    """I7: no turn was sent twice; none that is done is missing; what is not known to have arrived says so."""
    rows = [m for m in house.turns() if m.state is not Delivery.QUEUED]
    sent = Counter((m.task, m.text) for m in rows)
    uids = {task.id: task.uid for task in house.tasks().values()}
    got = Counter((uids[row["task"]], row["text"]) for row in house.played() if row["event"] == "begin")
    assert got <= sent, f"sent twice: {_short(got - sent)}"
    if strict:
        wanted = sent - Counter((m.task, m.text) for m in rows if m.state is Delivery.WITHDRAWN)
        assert wanted <= got, f"never arrived: {_short(wanted - got)}: {house.story()}"
    done = Counter((m.task, m.text) for m in rows if m.result == "ok")
    assert done <= got, f"done, and never arrived: {_short(done - got)}"


def _short(counter: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    return [(task, text[:80], count) for (task, text), count in counter.items()]


def one_session_at_a_time(house: House, *, strict: bool) -> None:
    """I7: never two agents of one task, and the daemon's death is nothing that an agent notices."""
    for task in house.tasks():
        begun: dict[tuple[int, int], dict[str, Any]] = {}
        for row in house.played(task):
            who = (row["pid"], row["start"])
            if row["event"] == "begin":
                assert row["alive"] == [], f"a second agent of {task}: {row}"
                begun[who] = row
            if row["event"] == "end":
                assert who in begun, f"another process ended the turn: {row}"
                del begun[who]
        if strict:
            assert not begun, f"cut off: {begun}"
        assert not [who for who in begun if start_time(who[0]) is not None and _is(who)], f"still runs: {begun}"
    with house.rows() as db:
        doubled = db.rows("SELECT task, COUNT(*) AS n FROM sessions WHERE ended_at IS NULL GROUP BY task HAVING n > 1")
    assert not doubled
    if strict:
        again = [s for s in house.sessions() if s.generation > 1 and s.role != "resolver"]
        assert not again, "a session was begun anew"


def _is(who: tuple[int, int]) -> bool:
    try:
        fields = Path(f"/proc/{who[0]}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[19]) == who[1]


# ---------------------------------------------------------------- I9


def no_secret(house: House) -> None:
    """I9: the home's token is in its own file and nowhere else."""
    secret = house.home.token_file.read_text().strip().encode()
    found = [path for path in _files(house.home.path) if path != house.home.token_file and secret in path.read_bytes()]
    assert found == []


# ---------------------------------------------------------------- nothing half-made


def nothing_half_made(house: House) -> None:
    """No lock and no temporary file of a dead process is left where it would be in someone's way."""
    common = house.repo.path / ".git"
    locks = [path for path in common.rglob("*.lock") if path.name not in ("stretto-landing.lock", "stretto.lock")]
    locks = [path for path in locks if "stretto" not in path.name]
    assert locks == [], "git would stumble over these"
    bays = _bays(house)
    journal = [json.loads(path.read_text()) for path in bays.glob(".stretto/**/*.json")]
    half = [row for row in journal if row.get("state") in ("making", "removing", "undoing", "purging")]
    assert half == [], "begun and not finished"
    broken = house.repo.git("fsck", "--strict", "--no-dangling", "--no-progress")
    assert broken == ""


# ---------------------------------------------------------------- I10


def at_rest(house: House) -> dict[str, Any]:
    """All that a restart must leave as it is."""
    with house.rows() as db:
        tables = [
            row[0] for row in db.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        ]
        state: dict[str, Any] = {
            table: [tuple(row) for row in db.rows(f"SELECT * FROM {table} ORDER BY 1, 2")]
            for table in tables
            if table != "events"
        }
        state["events"] = [tuple(row) for row in db.rows("SELECT * FROM events WHERE type NOT LIKE 'daemon.%'")]
    state["refs"] = house.repo.refs()
    state["worktrees"] = _worktrees(house)
    state["status"] = house.repo.status()
    state["remote"] = house.remote.refs()
    state["sessions folders"] = sorted(path.name for path in house.home.sessions.glob("*"))
    state["bays"] = sorted(str(path) for path in _bays(house).glob("*"))
    return state


def _difference(before: Any, after: Any) -> str:
    if not isinstance(before, list):
        return f"{before!r} became {after!r}"
    return f"{[row for row in before if row not in after]} became {[row for row in after if row not in before]}"


def restarts_change_nothing(house: House, times: int = 2) -> None:
    """I10: N restarts are as one."""
    before = at_rest(house)
    for _ in range(times):
        house.kill()
        house.up()
    after = at_rest(house)
    for name, value in before.items():
        assert after[name] == value, f"a restart changed {name}: {_difference(value, after[name])}"
    assert [s for s in house.sessions() if s.ended_at is None] == []


def sessions_of(house: House, task: str) -> list[Session]:
    """The sessions of one task, oldest first."""
    return [s for s in house.sessions() if s.task.endswith(f"/{task}")]
