"""A world of values for the simulator: rows, shims, agents, worktrees and a landing queue, without any I/O.

Specification. `rows` are what the store would hold, changed only by whole transactions (plain method calls); `shim`,
`work` and the target are the world, which goes on by itself and is seen only by looking. Effects are generators: each
`yield` is a point at which the daemon may be killed, and then the rest of the effect never happens. What the engine
does is modelled after `stretto.engine`: the order of its writes is the same, so that a hole in `decide` shows here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stretto.core import actions as act
from stretto.core.landing import OPEN
from stretto.core.model import (
    Check,
    CheckResult,
    Delivery,
    Entry,
    ItemKind,
    MessageKind,
    Origin,
    Session,
    SessionStatus,
    State,
    TurnResult,
)
from stretto.core.who import agent_of, role_of
from stretto.testing.simrows import UNDER_WAY, Broken, Effect, Life, Rows, Shim


class World(Rows):
    """The rows with the effects that change the world, and the world that goes on by itself."""

    # ------------------------------------------------------------ effects

    def effect(self, life: Life, action: act.Action) -> Effect:
        """The generator that carries out an effect."""
        match action:
            case act.Prepare():
                return self._prepare(life)
            case act.Deliver(n=n):
                return self._deliver(life, n)
            case act.Recover():
                return self._recover(life)
            case act.Settle(n=n):
                return self._settle(life, n)
            case act.RunChecks(names=names):
                return self._run_checks(life, names)
            case act.Interrupt():
                return self._interrupt(life)
            case act.Stop(reason=reason):
                return self._stop(life, reason)
            case act.Enqueue():
                return self._enqueue(life)
            case act.CleanUp():
                return self._clean_up(life)
        raise Broken(f"nobody carries out {action}")

    def _prepare(self, life: Life) -> Effect:
        yield
        if self.odds(0.1):
            if self.run.approve == "auto":
                if life.task.outcome is None:
                    self.end_task(life, State.FAILED, "no workspace")
                return
            tries = sum(1 for i in life.items.values() if i.key.startswith("prepare:"))
            self.open_item(life, ItemKind.SETUP, f"prepare:{tries}", {})
            return
        if not life.worktree:
            life.work, life.worktree = life.commits[-1], True
        yield
        t = life.task
        head = t.head or "base"
        self.set_task(life, base=t.base or "base", branch=f"b/{t.uid}", workspace=f"/w/{t.uid}", bay=1, head=head)

    def _deliver(self, life: Life, n: int) -> Effect:
        message = life.messages[n]
        if message.state not in {Delivery.QUEUED, Delivery.WRITTEN}:
            return
        session = life.session
        if session is not None and session.ended_at is None:
            folder = life.shims[session.id]
            if folder.started and not folder.alive:
                yield from self._recover(life)
                return
        if message.kind is MessageKind.TURN:
            yield from self._bring_up(life)
        yield from self._append(life, n)

    def _bring_up(self, life: Life) -> Effect:
        session = life.session
        if session is None or session.ended_at is not None:
            f = self.facts(life)
            number = session.generation + 1 if session else 1
            name = f"{life.task.uid}#{number}"
            life.session = Session(
                name,
                life.task.uid,
                role_of(f),
                agent_of(f).name,
                None,
                "stream",
                f"of {life.task.uid}",
                number,
                f"/h/{name}",
                self.now,
                parser={"began": True},
            )
            life.shims[name] = Shim(name)
            self.stamp += 1
            session = life.session
        folder = life.shims[session.id]
        if not folder.started:
            yield
            folder.started = folder.alive = True
            self.stamp += 1

    def _append(self, life: Life, n: int) -> Effect:
        session, message = life.session, life.messages[n]
        if session is None or message.state is Delivery.WITHDRAWN:
            return
        folder = life.shims[session.id]
        if message.number is None or message.session != session.id:
            yield
            taken = [m.number for m in life.messages.values() if m.session == session.id and m.number is not None]
            self.set_message(life, n, session=session.id, number=max(taken, default=0) + 1, state=Delivery.WRITTEN)
            yield
        written = [m for m in life.messages.values() if m.session == session.id and m.number is not None]
        for m in sorted(written, key=lambda m: m.number or 0):
            number = m.number or 0
            if number > (life.messages[n].number or 0):
                return
            if number > len(folder.records) + 1:
                raise Broken(f"record {number} of {session.id} leaves a gap")
            if number == len(folder.records) + 1:
                folder.records.append((number, m.kind, m.n))
                self.stamp += 1
            self.appended.add((session.id, number))

    def _interrupt(self, life: Life) -> Effect:
        session = life.session
        if session is None:
            return
        self.set_task(life, interrupt=False)
        n = self.add_message(life, MessageKind.INTERRUPT, Origin.PERSON, session.id)
        yield
        yield from self._append(life, n)

    def _recover(self, life: Life) -> Effect:
        if life.session is None:
            return
        self._kill(life)
        yield
        self.pump(life)
        if life.worktree:
            life.kept.add(life.work)
        yield
        self._lose_turn(life)
        yield
        self._end_session(life, "its session died")

    def _stop(self, life: Life, reason: str) -> Effect:
        if life.session is None or life.session.ended_at is not None:
            return
        self._kill(life)
        yield
        self.pump(life)
        self._lose_turn(life)
        yield
        self._end_session(life, reason)

    def _kill(self, life: Life) -> None:
        if life.session is not None:
            folder = life.shims[life.session.id]
            folder.alive, folder.running, folder.started = False, None, True
            self.stamp += 1

    def _lose_turn(self, life: Life) -> None:
        session = life.session
        if session is None:
            return
        folder = life.shims[session.id]
        for m in list(life.messages.values()):
            if m.session != session.id:
                continue
            number = m.number or 0
            if m.kind is not MessageKind.TURN:
                if m.state is Delivery.QUEUED:
                    self.set_message(life, m.n, state=Delivery.WITHDRAWN)
                elif m.state in UNDER_WAY:
                    done = number <= folder.delivered
                    self.set_message(life, m.n, state=Delivery.DONE if done else Delivery.WITHDRAWN)
            elif m.state in UNDER_WAY and m.result is None:
                if number <= folder.delivered:
                    result = TurnResult.INTERRUPTED
                    self.set_message(life, m.n, state=Delivery.INTERRUPTED, result=result, ended_at=self.now)
                elif number <= folder.attempting:
                    self.set_message(life, m.n, state=Delivery.UNDELIVERED)
                else:
                    self.set_message(life, m.n, state=Delivery.QUEUED, session=None, number=None)

    def _end_session(self, life: Life, reason: str) -> None:
        if life.session is not None and life.session.ended_at is None:
            life.session = replace(life.session, ended_at=self.now, end_reason=reason, status=SessionStatus.EXITED)
            self.stamp += 1

    def _settle(self, life: Life, n: int) -> Effect:
        turn = life.messages[n]
        if turn.settled or life.task.workspace is None:
            return
        yield
        if not life.worktree:
            return
        adopted = turn.result is TurnResult.OK or self.facts(life).accepted(f"failure:{n}", "continue")
        if not adopted:
            life.kept.add(life.work)
            yield
            self.set_message(life, n, settled=True)
        elif not life.task.lands:
            life.kept.add(life.work)
            yield
            self.set_message(life, n, settled=True, head=life.task.base)
        else:
            yield from self._commit(life)
            self.set_task(life, **self.measured(life))
            self.set_message(life, n, settled=True, head=life.task.head)

    def _commit(self, life: Life) -> Effect:
        if life.commits[-1] != life.work:
            life.commits.append(life.work)
            self.stamp += 1
        yield

    def measured(self, life: Life) -> dict[str, Any]:
        """Head, tree and patch of what is committed."""
        at = f"{life.task.uid}@{len(life.commits) - 1}"
        version = life.commits[-1]
        files = 0 if version == 0 else 1
        return {"head": at, "tree": f"tree {at}", "patch": f"patch {life.task.uid} {version}", "diff": {"files": files}}

    def _run_checks(self, life: Life, names: tuple[str, ...]) -> Effect:
        if not life.worktree:
            self._cannot_check(life)
            return
        if life.work != life.commits[-1] or life.task.patch is None:
            yield from self._commit(life)
            self.set_task(life, **self.measured(life))
            return
        tree, head = life.task.tree, life.task.head
        yield
        for spec in life.specs:
            if spec.name in names:
                result = CheckResult.PASSED
                if self.odds(0.35):
                    result = CheckResult.ERROR if self.rng.random() < 0.2 else CheckResult.FAILED
                row = Check(life.task.uid, spec.name, "task", spec.run, str(tree), "e", result, self.now, 1.0, head)
                life.checks.append(replace(row, id=self.next()))
                self.stamp += 1
                yield

    def _enqueue(self, life: Life) -> Effect:
        begun = life.task
        if life.worktree and life.work != life.commits[-1]:
            yield from self._commit(life)
        if self.measured(life)["head"] != begun.head:
            self.set_task(life, **self.measured(life))
            return
        yield
        self.enqueue(life, begun)

    def _cannot_check(self, life: Life) -> None:
        if self.run.approve == "auto":
            if life.task.outcome is None:
                self.end_task(life, State.FAILED, "its checks cannot run")
            return
        self.open_item(life, ItemKind.FAILURE, f"check-error:worktree:{len(life.items)}", {"check": ""})

    def _clean_up(self, life: Life) -> Effect:
        yield from self._stop(life, "landed")
        yield
        life.kept.add(life.work)
        yield
        life.worktree = False
        self.set_task(life, workspace=None, bay=None, branch=None, kept="kept", cleaned=True)

    # ------------------------------------------------------------ what goes on by itself

    def shim_step(self, life: Life) -> None:
        """The shim hands its agent the next record, or dies between the two marks around that."""
        folder = self.live_shim(life)
        if folder is None or folder.delivered >= len(folder.records):
            return
        number, kind, n = folder.records[folder.delivered]
        if kind is MessageKind.TURN and folder.running is not None:
            return
        folder.attempting = number
        self.stamp += 1
        if self.odds(0.05):
            folder.alive = False
            if self.rng.random() < 0.5:
                life.received[n] += 1
            return
        folder.delivered = number
        if kind is MessageKind.TURN:
            folder.running = number
            life.received[n] += 1
            life.played[n] = life.session.role if life.session is not None else ""
        elif kind is MessageKind.CONTROL:
            folder.waits = False
        elif kind is MessageKind.INTERRUPT and folder.running is not None:
            folder.ended[folder.running] = (TurnResult.INTERRUPTED, "by you")
            folder.running, folder.waits = None, False

    def live_shim(self, life: Life) -> Shim | None:
        """The shim that lives, if one does."""
        return next((s for s in life.shims.values() if s.alive), None)

    def agent_step(self, life: Life) -> None:
        """The agent works, asks, or ends its turn."""
        folder = self.live_shim(life)
        if folder is None or folder.running is None:
            return
        if folder.waits:
            self._read_answer(life, folder)
            return
        self.stamp += 1
        if life.worktree and not self.odds(0.1):
            life.work = self.next()
        if self.odds(0.2):
            kind = self.rng.choice((ItemKind.QUESTION, ItemKind.PERMISSION))
            source = "socket" if kind is ItemKind.QUESTION and self.rng.random() < 0.5 else "protocol"
            folder.asked.append((folder.running, kind, source))
            folder.waits = True
        elif not self.odds(0.4):
            result = TurnResult.FAILED if self.odds(0.15) else TurnResult.OK
            limited = self.odds(0.2) or (self.scarce and self.rng.random() < 0.9)
            folder.ended[folder.running] = (TurnResult.LIMITED if limited else result, "")
            folder.running = None

    def _read_answer(self, life: Life, folder: Shim) -> None:
        """The agent API's client takes its answer; others get theirs as a control record. Some agents do not wait."""
        for item in life.items.values():
            if item.payload.get("source") == "socket" and item.answered_at is not None and item.applied_at is None:
                self.set_item(life, item.id, applied_at=self.now, closed_at=self.now)
                folder.waits = False
                return
        if self.odds(0.05):
            folder.waits = False
            self.stamp += 1

    def pump(self, life: Life) -> None:
        """Take over what the session's folder says."""
        session = life.session
        if session is None or session.ended_at is not None:
            return
        folder = life.shims[session.id]
        for m in list(life.messages.values()):
            if m.session != session.id or m.number is None or m.result is not None:
                continue
            turn = m.kind is MessageKind.TURN
            if m.state is Delivery.WRITTEN and m.number <= folder.delivered:
                state = Delivery.DELIVERED if turn else Delivery.DONE
                self.set_message(life, m.n, state=state, delivered_at=self.now)
            if turn and m.number in folder.ended:
                result, reason = folder.ended[m.number]
                told = result is TurnResult.LIMITED and self.rng.random() < 0.5
                until = self.now + self.rng.choice((5.0, 400.0, 20000.0)) if told else None
                changes = {"result": result, "reason": reason, "ended_at": self.now, "until": until}
                self.set_message(life, m.n, state=Delivery.DONE, **changes)
                life.tries = life.tries if result is TurnResult.LIMITED else 0
                self.set_task(life, interrupt=False)
                for item in list(life.items.values()):
                    if item.kind is ItemKind.PERMISSION and item.answered_at is None and item.closed_at is None:
                        self.set_item(life, item.id, closed_at=self.now)
        for number, kind, source in folder.asked:
            turn_n = next((m.n for m in life.messages.values() if (m.session, m.number) == (session.id, number)), None)
            payload = {"turn": turn_n, "source": source}
            self.open_item(life, kind, f"request:{session.id}:{self.next()}", payload)
        folder.asked = []

    def restart(self) -> None:
        """The daemon dies and starts again: everything under way is forgotten."""
        for life in self.lives.values():
            if life.effect is not None:
                life.effect.close()
            life.effect = None
            life.checks = [c for c in life.checks if c.result is not None]
        self.appended.clear()
        self.stamp += 1

    def entries(self) -> Iterator[tuple[Life, Entry]]:
        """Entries that the landing queue has to deal with: the newest of each task."""
        for life in self.lives.values():
            entry = next(reversed(life.entries.values()), None)
            if entry is not None and entry.state in OPEN:
                yield life, entry
