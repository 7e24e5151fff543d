"""Workspaces without a task: made, adopted, listed and removed by name, for people who drive agents by hand.

Specification. A row is written before anything is made, so that a call that died is completed by the same call again.
The set-up commands must be trusted; they are run by the caller, on the person's own terminal, who then says that they
passed. `remove` keeps all, as that of a task does, and `undo` and `purge` go on from there; the files of an adopted
worktree are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stretto import trust
from stretto.core import names
from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import BY_HAND, Space, Task
from stretto.core.workspace_commands import TIMEOUT, due_specs, setup_specs
from stretto.engine.engine import Engine
from stretto.engine.operations import common, serving, trusting
from stretto.engine.operations.captures import captured
from stretto.engine.operations.settings import resolve
from stretto.git.repository import Repository
from stretto.interfaces import Git, Removal, Workspace, Workspaces
from stretto.reads.find import find_space
from stretto.store.sqlite import Writer

#: what may run or apply when a workspace is made
_KINDS = ("dependencies", "setup", "env", "database", "migrate", "seed", "serve")


def new(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Make the workspace NAME, or find it as it is. `setup`: the trusted commands that the caller is to run in it.

    `continues`: the commit of a branch that was there already, on which it goes on.
    """
    git = common.repository(engine, args)
    name = _name(args, common.words(args, "name"))
    space = _known(engine, git, name)
    if space is not None and space.adopted:
        raise StrettoError(
            f"{name} is an adopted worktree", code="in_the_way", object=name, hint=f"stretto path {name}"
        )
    continues = None
    if space is None:
        _refuse_task(engine, git, name)
        space = _row(engine, git, args, name)
        _refuse_other_base(git, space, args)
        engine.check_bays(git, space.config)
        continues = git.read_ref(f"refs/heads/{space.branch}")
    else:
        _refuse_another(git, space, args)
    trusting.require_all(engine, space.repo, _commands(space.config), args.get("trust"))
    with engine.store.write() as tx:
        tx.insert(space, ignore=True)
    env = captured(space.config, args)
    try:
        made = _workspaces(engine, space).ensure(space.owner, "task", space.base, space.branch, env)
        to_run = [] if made.ready is not None else _to_run(engine, space, made)
    except StrettoError:
        if space.path is None:  # nothing was ever made: nothing is left of the try
            with engine.store.write() as tx:
                tx.execute("DELETE FROM spaces WHERE repo = ? AND name = ? AND path IS NULL", space.repo, name)
        raise
    told = _told(_written(engine, space, made, env, ready=not to_run), made, to_run)
    return {**told, "continues": continues}


def _refuse_another(git: Repository, space: Space, args: common.Args) -> None:
    """A workspace that is there already has its branch and its base: others that are asked for are not passed over."""
    branch, base = args.get("branch"), args.get("base")
    if branch not in (None, space.branch):
        asked, has = f"--branch {branch}", f"is on {space.branch}"
    elif base is not None and git.resolve(str(base)) != space.base:
        asked, has = f"--base {base}", f"started from {space.base[:12]}"
    else:
        return
    raise StrettoError(
        f"the workspace {space.name} is there already, and {has}",
        code="in_the_way",
        object=space.name,
        hint=f"leave {asked} out, choose another name, or: stretto workspace remove {space.name}",
    )


def _refuse_other_base(git: Repository, space: Space, args: common.Args) -> None:
    """A branch that an earlier workspace has left is gone on with, but not when another commit was asked for."""
    tip = git.read_ref(f"refs/heads/{space.branch}")
    if args.get("base") and tip not in (None, space.base):
        raise StrettoError(
            f"the branch {space.branch} is there already, at {str(tip)[:12]}",
            code="in_the_way",
            object=str(space.branch),
            hint=f"leave --base out to go on there, or: git branch -m {space.branch} NAME",
        )


def adopt(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Give the worktree at `path` what a workspace holds; its files stay where and as they are."""
    git = common.repository(engine, args)
    path = Path(common.words(args, "path"))
    name = _name(args, str(args.get("name") or names.slugify(path.name)))
    space = _known(engine, git, name)
    if space is None:
        _refuse_task(engine, git, name)
        space = _row(engine, git, args, name, adopted=True)
    elif not space.adopted or (space.path is not None and Path(space.path) != path.resolve()):
        raise StrettoError(
            f"there is another workspace {name}", code="in_the_way", object=name, hint="choose a name with --name"
        )
    trusting.require_all(engine, space.repo, _commands(space.config), args.get("trust"))
    env = captured(space.config, args)
    made = _workspaces(engine, space).adopt(space.owner, path, env)
    with engine.store.write() as tx:
        tx.insert(space, ignore=True)
    return _told(_written(engine, space, made, env, ready=True), made, [])


def ready(engine: Engine, args: common.Args) -> dict[str, Any]:
    """The caller has run the set-up of the workspace NAME, and it passed."""
    space = _space(engine, args)
    if space.path is not None:
        workspaces = _workspaces(engine, space)
        env = {**captured(space.config, args), **space.env}
        state = common.repository(engine, args).worktree_state(Path(space.path))
        untouched = state.clean and state.head == space.base  # what was edited here is no start for others
        for dependency in workspaces.dependencies(Path(space.path), env):
            if dependency.commands:
                workspaces.installed(Path(space.path), dependency, env, keep=untouched)
        workspaces.set_ready(Path(space.path), "by hand")
        workspaces.filled(Path(space.path), space.base)
    with engine.store.write() as tx:
        tx.update(Space, (space.repo, space.name), ready=True)
    return {"workspace": space.name, "ready": True}


def remove(engine: Engine, args: common.Args) -> dict[str, Any]:
    """Take the workspace NAME away; all of it is kept, and `undo` brings it back.

    A branch that we made for it goes with it unless it holds commits of its own: `kept` is the branch that stays.
    """
    space = _space(engine, args)
    removal: Removal | None = None
    git = engine.parts.repositories.git(space.root)
    branch = None if space.adopted or _holds_work(git, space) else space.branch
    if space.path is not None:
        serving.end(space.path, space.held)
        removal = _workspaces(engine, space).remove(space.owner, Path(space.path), branch, "removed")
    with engine.store.write() as tx:
        tx.execute("DELETE FROM spaces WHERE repo = ? AND name = ?", space.repo, space.name)
        if removal is not None:
            record_removal(tx, space, removal)
    stays = not space.adopted and space.branch is not None and git.read_ref(f"refs/heads/{space.branch}") is not None
    return {
        "workspace": space.name,
        "undo": removal.id if removal is not None and removal.whole else None,
        "adopted": space.adopted,
        "kept": space.branch if stays else None,
    }


def _holds_work(git: Git, space: Space) -> bool:
    """Whether its branch is the person's, or holds a commit that neither its base nor their checkout holds."""
    prefix = str(space.config.get("branch_prefix") or names.DEFAULT_PREFIX)
    tip = git.read_ref(f"refs/heads/{space.branch}") if space.branch is not None else None
    if tip is None or space.branch != names.branch_name(space.owner, prefix):
        return True
    known = [space.base, git.resolve("HEAD")]
    return not any(oid is not None and git.is_ancestor(tip, oid) for oid in known)


def record_removal(tx: Writer, space: Space, removal: Removal) -> None:
    """Write how a removed workspace comes back."""
    data = {"path": str(removal.path), "branch": space.branch, "root": space.root, "space": asdict(space)}
    tx.execute(
        "INSERT OR IGNORE INTO removals (id, task, repo, kind, data, at) VALUES (?, ?, ?, 'space', ?, ?)",
        removal.id,
        space.owner,
        space.repo,
        data,
        tx.now,
    )
    tx.event("workspace.removed", repo=space.repo, undo=removal.id, reason="removed", name=space.name)


def brought_back(tx: Writer, data: Mapping[str, Any], made: Workspace | None) -> None:
    """Write the row of a workspace that `undo` brought back, with what it holds now."""
    row = dict(data["space"])
    if made is not None:
        row |= {"held": made.held, "env": made.env}
    tx.insert(Space(**row), ignore=True)


# ---------------------------------------------------------------- parts


def _name(args: common.Args, name: str) -> str:
    name = name.removeprefix(f"{BY_HAND}/")
    if not names.is_task_id(name):
        raise UsageError(
            f"{name!r} cannot name a workspace: small letters, digits and `-`, at most 40",
            code="bad_name",
            object=name,
            hint=f"for example: {names.slugify(name)}",
        )
    return name


def _known(engine: Engine, git: Repository, name: str) -> Space | None:
    with engine.store.read() as db:
        return db.one(Space, "repo = ? AND name = ?", common.key_of(git), name)


def _space(engine: Engine, args: common.Args) -> Space:
    git = common.repository(engine, args)
    with engine.store.read() as db:
        found = find_space(db, common.words(args, "name"), common.key_of(git))
    if found is None:
        raise UsageError(
            f"there is no workspace {args['name']} here",
            code="unknown_workspace",
            object=str(args["name"]),
            hint="stretto workspace list",
        )
    return found


def _refuse_task(engine: Engine, git: Repository, name: str) -> None:
    """A name means one thing: not the id of a task that is not over."""
    with engine.store.read() as db:
        task = db.one(Task, "repo = ? AND id = ? AND outcome IS NULL", common.key_of(git), name)
    if task is not None:
        raise StrettoError(
            f"{name} is a task here: {task.uid}", code="in_the_way", object=task.uid, hint="choose another name"
        )


def _row(engine: Engine, git: Repository, args: common.Args, name: str, *, adopted: bool = False) -> Space:
    """What is wanted, before it is made. Raises StrettoError for an unusable configuration, base or branch."""
    found = resolve(git, args)
    owner = f"{BY_HAND}/{name}"
    prefix = str(found.config.get("branch_prefix") or names.DEFAULT_PREFIX)
    branch = str(args["branch"]) if args.get("branch") else names.branch_name(owner, prefix)
    if not adopted:
        if not names.is_branch(branch):
            raise UsageError(f"{branch!r} is not a branch name", code="bad_target", object=branch, hint="git branch")
        git.require_writable()
        common.refuse_filters(git, found.base)
    return Space(
        repo=common.key_of(git),
        name=name,
        root=str(git.root),
        path=None,
        branch=None if adopted else branch,
        base=found.base,
        held={},
        env={},
        config=found.config,
        adopted=adopted,
        ready=False,
        created_at=engine.clock.now(),
    )


def _commands(config: Mapping[str, Any]) -> list[trust.Command]:
    return [command for command in trust.commands(config) if command.kind in _KINDS]


def _workspaces(engine: Engine, space: Space) -> Workspaces:
    return engine.parts.repositories.workspaces(space.root, space.config)


def _written(engine: Engine, space: Space, made: Workspace, env: Mapping[str, str], *, ready: bool) -> Space:
    own = {name: value for name, value in made.env.items() if env.get(name) != value}
    with engine.store.write() as tx:
        tx.update(
            Space,
            (space.repo, space.name),
            path=str(made.path),
            branch=made.branch,
            held=made.held,
            env=own,
            ready=ready,
        )
        tx.event("workspace.made", repo=space.repo, name=space.name, path=str(made.path), adopted=space.adopted)
        return tx.one(Space, "repo = ? AND name = ?", space.repo, space.name) or space


def _to_run(engine: Engine, space: Space, made: Workspace) -> list[dict[str, Any]]:
    """The trusted commands that make a workspace ready: its packages, set-up, then what fills its database."""
    installs = [
        {"run": " || ".join(f"{{ {text}; }}" for _, text in one.commands), "timeout": TIMEOUT}
        for one in _workspaces(engine, space).dependencies(made.path, made.env)
        if one.commands
    ]
    found = [*setup_specs(space.config), *due_specs(space.config, made.due)]
    return [*installs, *({"run": spec.run, "timeout": spec.timeout} for spec in found)]


def _told(space: Space, made: Workspace, to_run: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "workspace": space.name,
        "path": space.path,
        "branch": space.branch,
        "env": space.env,
        "fresh": made.fresh and not space.adopted,
        "ready": space.ready,
        "setup": to_run,
    }
