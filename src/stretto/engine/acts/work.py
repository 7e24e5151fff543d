"""What a turn left in the worktree: commit it, measure it, check it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stretto import files
from stretto.checks.run import environment_key
from stretto.checks.servers import Fleet
from stretto.core import migrations
from stretto.core.actions import RunChecks, Settle
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.inbox import options
from stretto.core.model import Check, CheckResult, CheckSpec, Delivery, Item, ItemKind, Message, Task, TurnResult
from stretto.core.who import agent_of, in_checkout
from stretto.core.workspace_commands import MIGRATE, words
from stretto.engine import environment, messages, sandboxing
from stretto.engine.acts.rows import end_task, open_item, short_id
from stretto.engine.acts.session import workspace_env
from stretto.engine.acts.shared import changed_meanwhile
from stretto.engine.parts import Parts
from stretto.interfaces import CheckOutcome, Git

_log = logging.getLogger(__name__)
#: how many added migrations of one task are read
MOST_MIGRATIONS = 50


def settle(parts: Parts, f: Facts, action: Settle) -> None:
    """Turn `n` ended: commit what it left (or snapshot it), and record head, tree, patch and note."""
    turn = next((m for m in f.messages if m.n == action.n), None)
    if turn is None or turn.settled or f.task.workspace is None:
        return
    if f.task.paused or f.run.paused:
        environment.rest(parts, f)  # when the pause began this turn still ran
    path = Path(f.task.workspace)
    git = parts.repositories.git(f.run.root)
    if not path.exists():
        raise StrettoError(
            f"the worktree {path} cannot be reached",
            code="worktree_gone",
            object=str(path),
            hint=f"stretto explain {f.task.id}",
        )
    if turn.result is not TurnResult.OK and not f.accepted(f"failure:{turn.n}", "continue"):
        git.snapshot(path, f.task.uid, f"turn {turn.n} {turn.result.value if turn.result else 'ended'}")
        _settled(parts, f, turn, {})
    elif not f.task.lands:
        _settled(parts, f, turn, _read_only(parts, f, git, path))
    else:
        try:
            head = _commit(git, f, path, turn)
        except StrettoError as error:
            if files.is_full(error):
                raise
            git.snapshot(path, f.task.uid, f"turn {turn.n} could not be committed")  # the next turn may change it all
            _cannot_commit(parts, f, turn, error)
            return
        _settled(parts, f, turn, measure(git, f, head))


def _commit(git: Git, f: Facts, path: Path, turn: Message) -> str:
    """Commit what the agent left uncommitted; the head of the branch."""
    branch = str(f.task.branch)
    agent = agent_of(f)
    text = (
        f"{f.task.id}: {f.task.title}\n\n"
        f"Stretto-Task: {f.task.uid}\nStretto-Agent: {agent.name}/{agent.model or 'default'}\n"
    )
    try:
        committed = git.commit_all(path, branch, text)
    except StrettoError as error:
        if error.code == "not_on_branch":
            _require_branch(git, f, branch)
        raise
    return committed or _require_branch(git, f, branch)


def _require_branch(git: Git, f: Facts, branch: str) -> str:
    head = git.read_ref(f"refs/heads/{branch}")
    if head is None:
        last = str(f.task.head or f.task.base)
        raise StrettoError(
            f"the branch {branch} is gone",
            code="branch_gone",
            object=branch,
            hint=f"git -C {f.run.root} branch {branch} {last[:12]}",
        )
    return head


def measure(git: Git, f: Facts, head: str) -> dict[str, Any]:
    """What the work at `head` is, against the target as it is now."""
    target = git.read_ref(f"refs/heads/{f.run.target}") or f.run.base
    base = git.merge_base(target, head) or str(f.task.base)
    patch = git.patch(base, head)
    diff = {
        "base": base,
        "files": patch.files,
        "added": patch.added,
        "deleted": patch.deleted,
        "paths": list(patch.paths[:2000]),
        "scripts": called_by_checks(f.specs, patch.paths),
        "migrations": _added_migrations(git, base, head, patch.paths),
    }
    if private := [path for path in git.private(base, head) if path not in f.task.files]:
        diff["private"] = private
    if f.task.workspace and (left := git.side_branches(Path(f.task.workspace))):
        diff["left_in_clone"] = left
    return {"head": head, "tree": git.tree_of(head), "patch": patch.id, "diff": diff}


def called_by_checks(specs: Sequence[CheckSpec], paths: Sequence[str]) -> list[str]:
    """Changed files that the text of a check names: the person should look at them before approving (DESIGN 5.7)."""
    named = set().union(*(words(spec.run) for spec in specs))
    always = {"Makefile", "stretto.toml", "package.json", "tox.ini", "noxfile.py", "conftest.py", "pyproject.toml"}
    return [p for p in paths if p in named or p.rsplit("/", 1)[-1] in always]


def _added_migrations(git: Git, base: str, head: str, paths: Iterable[str]) -> list[list[Any]]:
    """The migrations that the work adds, as plain values (`core.migrations.plain`)."""
    found = []
    for path in [path for path in paths if migrations.is_migration(path)][:MOST_MIGRATIONS]:
        text = git.show(head, path)
        if text is not None and git.show(base, path) is None:
            found.append(migrations.read(path, text.decode(errors="replace")))
    return [migrations.plain(one) for one in found if one is not None]


def _read_only(parts: Parts, f: Facts, git: Git, path: Path) -> dict[str, Any]:
    """A task that lands nothing: keep its report; any change is snapshotted and shown as a warning."""
    changes: dict[str, Any] = {"head": f.task.base, "diff": {}}
    report = messages.report_file(parts, f.task)
    if report.is_file() and not report.is_symlink():
        changes["report"] = str(report)
    state = git.worktree_state(path)
    if not state.clean or state.head != f.task.base:
        git.snapshot(path, f.task.uid, "a read-only task changed files")
        changes["diff"] = {"warning": f"it changed {len(state.changed)} files, which will not land"}
    return changes


def _settled(parts: Parts, f: Facts, turn: Message, changes: dict[str, Any]) -> None:
    note = messages.result_note(f, turn) if turn.result is TurnResult.OK else f.task.note
    with parts.store.write() as tx:
        tx.update(Message, (turn.task, turn.n), settled=True, head=changes.get("head"))
        tx.update(Task, f.task.uid, note=note, **changes)
        if "patch" in changes:
            diff = changes["diff"]
            tx.event(
                "work.committed",
                task=f.task.uid,
                head=changes["head"],
                files=diff["files"],
                added=diff["added"],
                deleted=diff["deleted"],
            )


def _cannot_commit(parts: Parts, f: Facts, turn: Message, error: StrettoError) -> None:
    text = f"its work could not be committed: {error.message}" + (f" ({error.hint})" if error.hint else "")
    with parts.store.write() as tx:
        tx.update(
            Message, (turn.task, turn.n), settled=True, result=TurnResult.FAILED, state=Delivery.DONE, reason=text
        )


def refresh(parts: Parts, f: Facts) -> bool:
    """Bring the recorded head up to what the worktree holds now; whether it had moved."""
    path = Path(str(f.task.workspace))
    git = parts.repositories.git(f.run.root)
    head = _present_head(git, f, path)
    if head == f.task.head and f.task.patch is not None:
        return False
    changes = measure(git, f, head)
    moved = changes["head"] != f.task.head
    with parts.store.write() as tx:
        tx.update(Task, f.task.uid, **changes)
        if moved:
            tx.event(
                "work.committed",
                task=f.task.uid,
                head=changes["head"],
                files=changes["diff"]["files"],
                added=changes["diff"]["added"],
                deleted=changes["diff"]["deleted"],
            )
    return True


def _present_head(git: Git, f: Facts, path: Path) -> str:
    """The head of the branch after everything in the worktree was committed; of the branch alone if that is gone."""
    turn = f.turn
    if path.exists() and turn is not None:
        state = git.worktree_state(path)
        return str(state.head) if state.clean and state.head == f.task.head else _commit(git, f, path, turn)
    tip = git.read_ref(f"refs/heads/{f.task.branch}")
    return tip or str(f.task.head)


def run_checks(parts: Parts, f: Facts, action: RunChecks) -> None:
    """Run the missing checks in parallel on exactly the committed tree."""
    try:
        if refresh(parts, f):
            return
        environment.wake(parts, f)
        env = environment.for_task(parts, f, workspace_env(parts, f), purpose="task", tree=f.task.tree)
        env.pop("STRETTO_REPORT_FILE", None)
        confined = sandboxing.of_command(parts, f, Path(str(f.task.workspace)), env)
    except StrettoError as error:
        if files.is_full(error):
            raise
        _cannot_check(parts, f, error)
        return
    specs = [s for s in f.specs if s.name in action.names]
    with parts.store.write() as tx:
        attempts = {**f.task.attempts, "check": f.task.attempts.get("check", 0) + 1}
        tx.update(Task, f.task.uid, attempts=attempts)
    with (
        Fleet(
            parts.checks,
            f.run.config,
            Path(str(f.task.workspace)),
            confined.env,
            lambda name: environment.output_path(parts, f.task.uid, name),
            lambda: environment.unwanted(parts, f.task),
            confined=confined,
        ) as fleet,
        ThreadPoolExecutor(max_workers=min(8, len(specs)), thread_name_prefix="check") as pool,
    ):
        for spec in [spec for spec in specs if spec.name == MIGRATE]:
            _run_one(parts, f, spec, confined.env, fleet)  # the others look at what it has made
            specs.remove(spec)
        list(pool.map(lambda spec: _run_one(parts, f, spec, confined.env, fleet), specs))
    _take_leftovers(parts, f)


def _take_leftovers(parts: Parts, f: Facts) -> None:
    """What checks leave behind is no work: it is kept in a snapshot, and the worktree is again what was checked.

    Otherwise it would be taken for work that was added since, be committed, and have to be checked again, for ever.
    """
    path = Path(str(f.task.workspace))
    git = parts.repositories.git(f.run.root)
    try:
        state = git.worktree_state(path)
        if state.clean or state.head != f.task.head or state.operation is not None:
            return
        if in_checkout(f.task.fields):
            _cannot_check(parts, f, changed_meanwhile(path, state.changed))
            return
        kept = git.snapshot(path, f.task.uid, "what the checks left", whole=True)
        git.restore(path, str(f.task.head))
    except StrettoError as error:
        _log.warning("what the checks of %s left: %s", f.task.uid, error.message)
        return
    with parts.store.write() as tx:
        tx.event(
            "work.cleaned",
            task=f.task.uid,
            paths=list(state.changed[:20]),
            count=len(state.changed),
            ref=kept.ref if kept else None,
        )


def _cannot_check(parts: Parts, f: Facts, error: StrettoError) -> None:
    text = f"its checks cannot run: {error.message}"
    with parts.store.write() as tx:
        if f.auto:
            end_task(tx, f.task, environment.FAILED, text)
            return
        tries = sum(1 for i in f.items if i.key.startswith("worktree:"))
        open_item(
            tx,
            Item(
                id=short_id(),
                task=f.task.uid,
                kind=ItemKind.FAILURE,
                key=f"check-error:worktree:{tries}",
                text=text,
                options=options(ItemKind.FAILURE),
                payload={"check": ""},
                opened_at=tx.now,
            ),
        )


def _run_one(parts: Parts, f: Facts, spec: CheckSpec, env: dict[str, str], fleet: Fleet) -> None:
    output = environment.output_path(parts, f.task.uid, spec.name)
    with parts.store.write() as tx:
        number = tx.insert(
            Check(
                task=f.task.uid,
                name=spec.name,
                purpose="task",
                command=spec.run,
                tree=str(f.task.tree),
                environment=environment_key(env),
                result=None,
                started_at=tx.now,
                head=f.task.head,
                output=str(output),
            )
        )
        tx.event("check.started", task=f.task.uid, name=spec.name, tree=f.task.tree, purpose="task")
    try:
        outcome = fleet.run(spec, output)
        if outcome.result is not CheckResult.PASSED:
            # on a full disk it says nothing of the work: it is run again when there is space
            files.require_space(Path(str(f.task.workspace)), parts.home.path)
    except BaseException:  # no row may say that it still runs; raised again
        with parts.store.write() as tx:
            tx.execute("DELETE FROM checks WHERE id = ?", number)
        raise
    record_check(parts, f.task.uid, number, spec, outcome, "task")


def record_check(
    parts: Parts, uid: str, number: int, spec: CheckSpec, outcome: CheckOutcome, purpose: str
) -> CheckResult:
    """Write how a check went."""
    with parts.store.write() as tx:
        tx.update(Check, number, result=outcome.result, seconds=round(outcome.seconds, 3), reason=outcome.reason)
        tx.event(
            "check.finished",
            task=uid,
            name=spec.name,
            result=outcome.result,
            seconds=round(outcome.seconds, 3),
            purpose=purpose,
            reason=outcome.reason,
        )
    return outcome.result
