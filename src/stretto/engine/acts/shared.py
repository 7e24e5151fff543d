"""A task that works in the person's main checkout: take it, keep its state before each turn, give it back.

Specification. The checkout is given back when the task is over, whatever its end, and when it is removed; before that
its session has ended. What its last turn left and nobody has touched since is committed on the task's branch first.
Anything else that is not committed is the person's: then the checkout stays as it is, and it is tried again until they
have committed it or put it away. A branch that holds no commit of its own goes; any other is kept, by itself or by a
kept ref.
"""

from __future__ import annotations

from pathlib import Path

from stretto.checks import servers
from stretto.core import names
from stretto.core.errors import StrettoError
from stretto.core.facts import Facts
from stretto.core.model import Message, State, Task
from stretto.core.who import in_checkout
from stretto.engine import aftermath, environment
from stretto.engine.parts import Parts
from stretto.interfaces import Git, Workspace
from stretto.landing import checkout
from stretto.workspace import browser


def take(parts: Parts, f: Facts, base: str, branch: str) -> Workspace:
    """Switch the checkout to the task's branch. Raises StrettoError with the next command when it cannot be had."""
    workspaces = parts.repositories.of_task(f.run, f.task).workspaces
    env = environment.captured(parts, f.run)
    git = parts.repositories.git(f.run.root)
    at = git.current_branch()
    if at not in (None, branch) and behind(git) and not changes(git):
        checkout.update(git, str(at))  # it looks changed only because its branch has moved
        with parts.store.write() as tx:
            aftermath.note_checkout(tx, f.task.repo, checkout.look(git, str(at)))
    return workspaces.share(f.task.uid, base, branch, f.run.target, env)


def behind(git: Git) -> frozenset[str]:
    """Paths in which the checkout shows an older state of its branch, which landings have moved."""
    branch = git.current_branch()
    found = checkout.look(git, branch) if branch is not None else None
    if found is None or not found.behind or found.path != git.root:
        return frozenset()
    return frozenset(git.changed_paths(found.shows, found.tip))


def changes(git: Git) -> tuple[str, ...]:
    """Paths in which the checkout differs from its branch, but for those in which it is only behind."""
    old = behind(git)
    return tuple(path for path in git.checkout_changes() if path not in old)


def before_turn(parts: Parts, f: Facts, message: Message) -> None:
    """Keep what is there. Raises StrettoError if the checkout is not on the task's branch (any more)."""
    if not in_checkout(f.task.fields) or message.number is not None:
        return
    git, root = parts.repositories.git(f.run.root), Path(f.run.root)
    if git.holder(str(f.task.branch)) != root:
        raise StrettoError(
            f"your checkout {root} is not on {f.task.branch}",
            code="not_on_branch",
            object=str(root),
            hint=f"git -C {root} switch {f.task.branch}",
        )
    git.snapshot(root, f.task.uid, f"before turn {message.n}")


def changed_meanwhile(path: Path, changed: tuple[str, ...]) -> StrettoError:
    """Why what was checked is not what is there: checks left something in the checkout, or the person edited it."""
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return StrettoError(
        f"your checkout {path} changed while they ran: {', '.join(changed[:5])}{more}; let git ignore what checks"
        " leave, and take away what is no work",
        code="checkout_dirty",
        object=str(path),
    )


def give_back(parts: Parts, f: Facts, reason: str) -> None:
    """Let the checkout show what it showed before the task, and end what the task held there. May be repeated.

    Raises StrettoError (`checkout_dirty`, `branch_gone` …) while that is not possible.
    """
    t, git = f.task, parts.repositories.git(f.run.root)
    if t.workspace is not None:
        servers.end(Path(t.workspace))
        browser.end(t.held.get(browser.PROFILE))
        if t.landed is None:
            _commit_last_turn(git, t)
    shows = parts.repositories.of(f.run).workspaces.give_checkout_back(t.uid)
    if shows is not None:
        with parts.store.write() as tx:
            tx.event("checkout.returned", task=t.uid, shows=shows, reason=reason)
    parts.nudge(None)  # another task may wait for it


def _commit_last_turn(git: Git, t: Task) -> None:
    """What a turn left that was cut off is kept in a snapshot; as long as it is that, it belongs on the branch."""
    root = Path(str(t.workspace))
    if t.branch is None or git.holder(t.branch) != root:
        return
    kept = git.snapshots(t.uid)
    state = git.worktree_state(root)
    if state.clean or state.operation is not None or not kept or kept[-1].tree != git.worktree_tree(root):
        return
    git.commit_all(root, t.branch, f"{t.id}: unfinished\n\nStretto-Task: {t.uid}\n")


def clean_up(parts: Parts, f: Facts) -> None:
    """The task is over: the checkout goes back; of what has landed the branch goes, too."""
    t = f.task
    git = parts.repositories.git(f.run.root)
    give_back(parts, f, t.outcome.value if t.outcome else "over")
    branch = t.branch
    if t.outcome is State.LANDED and not f.run.config.get("keep_landed"):
        drop_branch(git, t, t.head)
        branch = None
    elif branch is not None and git.read_ref(f"refs/heads/{branch}") == t.base:
        drop_branch(git, t, t.base)
        branch = None
    _written(parts, t, branch, _kept(git, t))


def remove(parts: Parts, f: Facts) -> None:
    """The person wants no more of the task: the checkout goes back, the branch goes behind a kept ref."""
    t = f.task
    git = parts.repositories.git(f.run.root)
    if f.unsettled is not None:
        git.snapshot(Path(f.run.root), t.uid, "before remove")
    give_back(parts, f, "removed")
    if t.branch is not None:
        drop_branch(git, t, git.read_ref(f"refs/heads/{t.branch}"))
    _written(parts, t, None, _kept(git, t))


def drop_branch(git: Git, t: Task, known: str | None) -> None:
    """Keep the tip of the task's branch under a ref; then the branch goes, unless it holds more than `known`."""
    ref = f"refs/heads/{t.branch}"
    tip = git.read_ref(ref) if t.branch is not None else None
    if tip is None:
        return
    kept = names.ref_name("landed" if t.landed else "keep", t.uid, "head")
    git.update_ref(kept, tip, git.read_ref(kept), "stretto: over")
    if known is not None and git.is_ancestor(tip, known):
        git.delete_ref(ref, tip)


def _kept(git: Git, t: Task) -> str | None:
    ref = names.ref_name("landed" if t.landed else "keep", t.uid, "head")
    return ref if git.read_ref(ref) else None


def _written(parts: Parts, t: Task, branch: str | None, kept: str | None) -> None:
    with parts.store.write() as tx:
        tx.update(Task, t.uid, workspace=None, bay=None, held={}, branch=branch, kept=kept, cleaned=True)
