"""The landing queue of one target, carried out: `core.landing.step` decides, this does it and writes it down.

Specification. One lander works on a target at a time: a lock in the repository's common dir keeps out landers of other
homes, a lock in memory those of this one. Every pass reads rows and refs anew; a pass that is cut off anywhere is
continued by the next one. The target moves only in `_swap`, by compare-and-swap to a candidate whose tree was gated; a
landing is recorded only after the target was seen to contain it. A landing that does not verify freezes the queue.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path

from stretto.core import approval as approvals
from stretto.core import names
from stretto.core.errors import Conflict, StrettoError
from stretto.core.facts import Facts
from stretto.core.landing import Act, Step, World, step, withdrawn
from stretto.core.model import (
    Check,
    CheckResult,
    Entry,
    Item,
    ItemKind,
    QueueState,
    State,
    Task,
)
from stretto.engine import aftermath, environment, sandboxing
from stretto.engine.acts.rows import close_items, open_item, short_id
from stretto.engine.aside import Aside
from stretto.engine.gate_records import GateRecords
from stretto.engine.parts import Parts
from stretto.failpoints import failpoint
from stretto.files import is_full, lock
from stretto.landing import checkout, gate, verify
from stretto.landing.target import LocalTarget
from stretto.store.facts import check_specs, load
from stretto.store.sqlite import Writer

_log = logging.getLogger(__name__)
MOST_STEPS = 64
#: seconds between looks for new entries while a debt is being paid
LOOK = 0.2


class Lander:
    """Lands the entries of one repository and target."""

    def __init__(self, parts: Parts, repo: str, target: str, stopping: Callable[[], bool]) -> None:
        self._parts = parts
        self._repo = repo
        self._target = target
        self._stopping = stopping
        self._aside = Aside()

    def work(self) -> None:
        """Do one thing after the other until nothing is left to do now."""
        root = self._root()
        if root is None:
            return
        common = self._parts.repositories.git(root).common
        with lock(common / "stretto-landing.lock", wait=5.0), self._aside:
            self._pay()
            steps = 0
            while steps < MOST_STEPS and not self._stopping():
                if self._once():
                    steps += 1
                elif not self._aside.still_paying(LOOK):
                    return

    def _pay(self) -> None:
        aftermath.pay(self._parts, self._repo, self._target, self._freeze)

    def _root(self) -> str | None:
        """The main checkout, if there is anything to do here."""
        facts = self._open()
        if facts:
            return facts[0].run.root
        with self._parts.store.read() as db:
            owed = (self._repo, self._target) in aftermath.debtors(db)
            root: str | None = db.value("SELECT root FROM repos WHERE key = ?", self._repo) if owed else None
        return root

    def _open(self) -> list[Facts]:
        with self._parts.store.read() as db:
            entries = db.select(
                Entry,
                "repo = ? AND target = ? AND state IN ('waiting', 'testing', 'landing') ORDER BY id",
                self._repo,
                self._target,
            )
            tasks = [t for e in entries if (t := db.one(Task, "uid = ?", e.task)) is not None]
            return load(db, tasks, now=self._parts.clock.now())

    def _once(self) -> bool:
        facts = {f.task.uid: f for f in self._open()}
        entries = [f.entry for f in facts.values() if f.entry is not None]
        if not entries:
            return False
        first = next(iter(facts.values()))
        git = self._parts.repositories.git(first.run.root)
        target = LocalTarget(git, self._target)
        if self._target_gone(target, entries):
            return True
        world = self._world(target, entries, facts)
        return self._do(self._decide(entries, world, facts), target, facts)

    @staticmethod
    def _decide(entries: list[Entry], world: World, facts: dict[str, Facts]) -> Step:
        priorities = {uid: f.task.priority for uid, f in facts.items()}
        return step(entries, world, priorities, {uid: [n.uid for n in f.needs] for uid, f in facts.items()})

    def _target_gone(self, target: LocalTarget, entries: list[Entry]) -> bool:
        """Whether the branch was deleted: then each task asks. One that is being landed waits for it to be back."""
        try:
            target.tip()
        except StrettoError as error:
            if error.code != "target_missing" or any(e.state is QueueState.LANDING for e in entries):
                raise
            for entry in entries:
                self._eject(entry, "target", f"{error.message}; make it again ({error.hint}), then retry")
            return True
        return False

    def _world(self, target: LocalTarget, entries: list[Entry], facts: dict[str, Facts]) -> World:
        gone = {}
        for entry in entries:
            f = facts[entry.task]
            approved = approvals.holds(f.approval, entry.patch)
            why = withdrawn(
                entry,
                f.task.head,
                approved,
                cancelled=f.task.wanted == "cancelled" or f.task.outcome is not None,
                working=f.turn is not None and f.turn.result is None,
            )
            if why is not None:
                gone[entry.id] = why
        tip = target.tip()
        # a candidate on top of the tip is not in its history
        asked = [e.candidate for e in entries if e.candidate is not None and e.old != tip]
        return World(
            tip=tip,
            contained=frozenset(c for c in asked if target.contains(c)),
            gates=self._gates([e.tree for e in entries if e.tree is not None], facts),
            withdrawn=gone,
            frozen=self._frozen(),
        )

    def _frozen(self) -> str | None:
        with self._parts.store.read() as db:
            value: str | None = db.value("SELECT frozen FROM repos WHERE key = ?", self._repo)
            return value

    def _gates(self, trees: list[str], facts: dict[str, Facts]) -> dict[str, CheckResult]:
        """What the gate said of each tree, from recorded executions of exactly these commands on it."""
        found: dict[str, CheckResult] = {}
        for tree in trees:
            tested = [f for f in facts.values() if f.entry and f.entry.tree == tree]
            specs = {s.name: s.run for f in tested for s in check_specs(f.run.config, f.task)}
            with self._parts.store.read() as db:
                rows = db.select(Check, "purpose = 'gate' AND tree = ? AND result IS NOT NULL ORDER BY id", tree)
            latest = {r.name: r.result for r in rows if specs.get(r.name) == r.command}
            results = [latest.get(name) for name in specs]
            if any(r is CheckResult.FAILED for r in results):
                found[tree] = CheckResult.FAILED
            elif any(r is CheckResult.ERROR for r in results):
                found[tree] = CheckResult.ERROR
            elif all(r is CheckResult.PASSED for r in results):
                found[tree] = CheckResult.PASSED
        return found

    # ------------------------------------------------------------ what a step asks for

    def _do(self, decided: Step, target: LocalTarget, facts: dict[str, Facts]) -> bool:
        match decided.act:
            case Act.IDLE:
                return False
            case Act.HOLD:
                return self._hold(decided, facts)
            case Act.DROP:
                self._each(decided, QueueState.EJECTED, cause="withdrawn", settled=True)
            case Act.RELEASE:
                self._each(decided, QueueState.WAITING, candidate=None, tree=None, old=None)
            case Act.MERGE:
                self._merge(decided, target, facts)
            case Act.GATE:
                return self._gate_or_wait(decided, facts)
            case Act.EJECT:
                self._eject_red(decided, facts)
            case Act.SWAP:
                self._swap(decided, target, facts)
            case Act.RECORD:
                self._record(decided, target, facts)
        return True

    def _each(self, decided: Step, state: QueueState, **changes: object) -> None:
        with self._parts.store.write() as tx:
            for entry in decided.entries:
                tx.update(Entry, entry.id, state=state, reason=decided.reason, updated_at=tx.now, **changes)
                if state is QueueState.EJECTED:
                    tx.event(
                        "queue.ejected", task=entry.task, cause=changes.get("cause"), files=[], reason=decided.reason
                    )

    def _hold(self, decided: Step, facts: dict[str, Facts]) -> bool:
        """Nothing may go on; a gate that could not run goes to the person."""
        if decided.reason != "the gate could not run":
            self._say_frozen(f"the queue is frozen: {decided.reason}", [f.entry for f in facts.values() if f.entry])
            return False
        for entry in decided.entries:
            self._eject(entry, "gate-error", f"the gate could not run: {self._gate_reason(entry)}", entry.output)
            with self._parts.store.write() as tx:
                tx.execute("DELETE FROM checks WHERE purpose = 'gate' AND tree = ? AND result = 'error'", entry.tree)
        return True

    def _say_frozen(self, reason: str, entries: list[Entry]) -> None:
        stale = [e for e in entries if e.reason != reason]
        if not stale:
            return
        with self._parts.store.write() as tx:
            for entry in stale:
                tx.update(Entry, entry.id, reason=reason)
        for entry in stale:
            self._parts.nudge(entry.task)

    def _gate_reason(self, entry: Entry) -> str:
        with self._parts.store.read() as db:
            row = db.one(Check, "purpose = 'gate' AND tree = ? AND result = 'error' ORDER BY id DESC", entry.tree)
        return f"{row.name}: {row.reason}" if row is not None else "unknown"

    def _eject(
        self, entry: Entry, cause: str, reason: str, output: str | None = None, files: tuple[str, ...] = ()
    ) -> None:
        with self._parts.store.write() as tx:
            tx.update(
                Entry,
                entry.id,
                state=QueueState.EJECTED,
                cause=cause,
                reason=reason,
                output=output,
                files=files,
                updated_at=tx.now,
            )
            tx.event("queue.ejected", task=entry.task, cause=cause, files=list(files), reason=reason)

    def _merge(self, decided: Step, target: LocalTarget, facts: dict[str, Facts]) -> None:
        """Candidates in memory, each on the one before; a conflict ejects its entry in milliseconds."""
        tip = target.tip()
        for entry in decided.entries:
            task = facts[entry.task].task
            git = self._parts.repositories.git(facts[entry.task].run.root)
            made = self._aside.candidate(git, tip, entry, task)
            if made.conflicts:
                with self._parts.store.write() as tx:
                    tx.update(Entry, entry.id, old=tip)
                self._eject(entry, "conflict", f"conflicts in {', '.join(made.conflicts[:4])}", files=made.conflicts)
                return
            keep = names.ref_name("keep", task.uid, "candidate")
            git.update_ref(keep, str(made.commit), git.read_ref(keep), "stretto: candidate")
            failpoint("daemon.landing.merged")
            with self._parts.store.write() as tx:
                tx.update(
                    Entry,
                    entry.id,
                    state=QueueState.TESTING,
                    reason="the gate tests it on the target",
                    old=tip,
                    candidate=made.commit,
                    tree=made.tree,
                    updated_at=tx.now,
                )
                tx.event("queue.testing", task=entry.task, candidate=made.commit, tree=made.tree)
            tip = str(made.commit)

    def _gate_or_wait(self, decided: Step, facts: dict[str, Facts]) -> bool:
        """Run the gate; on a full disk say so and leave it to a later pass."""
        entry = decided.entries[-1]
        try:
            self._gate(decided, facts)
        except (StrettoError, OSError) as error:
            if not is_full(error):
                raise
            why = error.message if isinstance(error, StrettoError) else str(error.strerror)
            with self._parts.store.write() as tx:
                tx.execute("DELETE FROM checks WHERE purpose = 'gate' AND tree = ? AND result IS NULL", entry.tree)
                tx.update(Entry, entry.id, reason=f"disk: {why}", updated_at=tx.now)
            return False
        return True

    def _gate(self, decided: Step, facts: dict[str, Facts]) -> None:
        """The checks on the last tree of the batch, in a workspace with purpose `gate`."""
        entry = decided.entries[-1]
        f = facts[entry.task]
        specs = [s for e in decided.entries for s in check_specs(f.run.config, facts[e.task].task)]
        records = GateRecords(self._parts, entry)
        git = self._parts.repositories.git(f.run.root)
        self._aside.look_ahead(git, entry, self._next(entry, facts), functools.partial(self._landed, f))
        outcome = gate.run(
            self._parts.repositories.of(f.run).workspaces,
            self._parts.checks,
            f.run.config,
            commit=str(entry.candidate),
            tree=str(entry.tree),
            ids=",".join(facts[e.task].task.id for e in decided.entries),
            specs=list({(s.name, s.run): s for s in specs}.values()),
            env={**environment.captured(self._parts, f.run), **self._parts.secrets.of(f.run)},
            output=self._output_of(entry),
            started=records.started,
            finished=records.finished,
            stop=lambda: self._stopping() or self._left(entry),
            confine=sandboxing.for_gate(self._parts, f.run, [facts[e.task] for e in decided.entries]),
        )
        if outcome.failed is not None:
            with self._parts.store.write() as tx:
                tx.update(Entry, entry.id, output=str(outcome.failed))
        failpoint("daemon.landing.gated")

    def _output_of(self, entry: Entry) -> Callable[[str], Path]:
        """Names the file for a command of the gate, which is about to run: from now on this thread only waits."""

        def output(name: str) -> Path:
            self._aside.go()
            return environment.output_path(self._parts, entry.task, f"gate-{name}")

        return output

    def _next(self, tested: Entry, facts: dict[str, Facts]) -> tuple[Entry, Task] | None:
        """The entry that will be merged next if the one at the gate lands."""
        waiting = [f.entry for f in facts.values() if f.entry is not None and f.entry.state is QueueState.WAITING]
        decided = self._decide(waiting, World(tip=str(tested.candidate)), facts)
        entry = decided.entries[0] if decided.act is Act.MERGE else None
        return None if entry is None else (entry, facts[entry.task].task)

    def _left(self, entry: Entry) -> bool:
        with self._parts.store.read() as db:
            return bool(db.value("SELECT state NOT IN ('testing', 'landing') FROM queue WHERE id = ?", entry.id))

    def _eject_red(self, decided: Step, facts: dict[str, Facts]) -> None:
        for entry in decided.entries:
            with self._parts.store.read() as db:
                rows = db.select(
                    Check, "purpose = 'gate' AND tree = ? AND result = 'failed' ORDER BY id DESC", entry.tree
                )
            red = gate.what_failed([r.name for r in rows], [r.reason for r in rows])
            self._eject(
                entry, "gate", f"the gate failed on the merged state: {red}", rows[0].output if rows else entry.output
            )

    def _swap(self, decided: Step, target: LocalTarget, facts: dict[str, Facts]) -> None:
        """The one place where the target moves. What the landing before owes is over first: it may freeze the queue."""
        self._aside.wait()
        if self._frozen() is not None:
            return
        first, last = decided.entries[0], decided.entries[-1]
        f = facts[last.task]
        git = self._parts.repositories.git(f.run.root)
        if danger := checkout.would_revert(git, self._target):
            self._freeze(danger, last.task)
            return
        with self._parts.store.write() as tx:
            if tx.value("SELECT state FROM queue WHERE id = ?", last.id) not in {"testing", "landing"}:
                return
            for entry in decided.entries:
                tx.update(Entry, entry.id, state=QueueState.LANDING, reason="is being landed", updated_at=tx.now)
        try:
            target.land(str(last.candidate), str(first.old))
        except Conflict:
            _log.info("the target %s moved while %s was tested", self._target, last.task)

    def _record(self, decided: Step, target: LocalTarget, facts: dict[str, Facts]) -> None:
        """The target contains the candidate: verify, write it down, bring the checkout and the remote along."""
        for entry in decided.entries:
            f = facts[entry.task]
            git = self._parts.repositories.git(f.run.root)
            mismatches = verify.verify(git, entry, self._landed(f))
            kept = names.ref_name("landed", f.task.uid, "head")
            git.update_ref(kept, entry.head, git.read_ref(kept), "landed")
            if mismatches:
                self._freeze("; ".join(mismatches), entry.task)
            with self._parts.store.write() as tx:
                self._write_landing(tx, f, entry)
                aftermath.owe(tx, entry, f.run)
        self._aside.pay(self._pay)

    def _write_landing(self, tx: Writer, f: Facts, entry: Entry) -> None:
        landed = {
            "commit": entry.candidate,
            "tree": entry.tree,
            "tested_tree": entry.tree,
            "at": tx.now,
            "old": entry.old,
        }
        tx.update(Entry, entry.id, state=QueueState.LANDED, reason="landed", settled=True, updated_at=tx.now)
        tx.update(
            Task,
            f.task.uid,
            landed=landed,
            outcome=State.LANDED,
            outcome_reason=f"landed on {self._target}",
            ended_at=tx.now,
        )
        tx.execute("UPDATE repos SET landed = landed + 1 WHERE key = ?", self._repo)
        close_items(tx, f.task.uid, "landed")
        tx.event(
            "queue.landed",
            task=f.task.uid,
            commit=entry.candidate,
            tree=entry.tree,
            seconds=round(tx.now - entry.enqueued_at, 3),
        )
        tx.event("task.finished", task=f.task.uid, outcome="landed", reason=f"landed on {self._target}")

    def _landed(self, f: Facts) -> list[tuple[str, str, tuple[str, ...]]]:
        """Earlier landings on this target by stretto: (commit, tree, paths)."""
        with self._parts.store.read() as db:
            rows = db.rows(
                "SELECT t.landed, t.diff FROM tasks t JOIN runs r ON r.id = t.run"
                " WHERE t.repo = ? AND r.target = ? AND t.landed IS NOT NULL AND t.uid != ? ORDER BY t.ended_at",
                self._repo,
                self._target,
                f.task.uid,
            )
        found = []
        for row in rows:
            landed, diff = json.loads(row["landed"]), json.loads(row["diff"])
            found.append((str(landed["commit"]), str(landed["tree"]), tuple(diff.get("paths", ()))))
        return found

    def _freeze(self, reason: str, uid: str) -> None:
        """Stop the queue and tell the person; answering the item thaws it."""
        with self._parts.store.write() as tx:
            tx.execute("UPDATE repos SET frozen = ? WHERE key = ?", reason, self._repo)
            tx.event("target.frozen", task=uid, target=self._target, reason=reason)
            count = tx.value("SELECT COUNT(*) FROM items WHERE key LIKE 'frozen:%'")
            open_item(
                tx,
                Item(
                    id=short_id(),
                    task=uid,
                    kind=ItemKind.FAILURE,
                    key=f"frozen:{count}",
                    text=f"the landing queue of {self._target} is frozen: {reason}",
                    options=(("retry", "the cause is removed: go on"),),
                    payload={"frozen": self._repo},
                    opened_at=tx.now,
                ),
            )
