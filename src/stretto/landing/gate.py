"""The gate: the checks on the tree that would land, in a workspace of its own.

Specification.
- One bay with purpose `gate` for each repository, kept between runs: each candidate is switched to, what is ignored
  (dependencies, build output) stays. HEAD is the candidate, and the tree is clean before any check starts.
- The set-up runs in a fresh bay, when its commands change, and when a file that names dependencies differs from the
  candidate that it last ran for. That it is complete is recorded in the bay, so a crash in the middle repeats it.
- `warm` does the same for the tip of the target, before there is a candidate: it is a saving of time and nothing else.
- The gate's database is fresh for every candidate, a clone of what the target's migrations make; the merged migrations
  run on it before any check. That they do not pass is a red gate: the entry broke them.
- A gate that could not run is an error of all its checks, never a failure of the work. But a set-up that fails just
  after the entry changed what names dependencies is a red gate: the entry broke it. So is a candidate that holds a
  link in the place of the database.
- Only `started` and `finished` record anything, for each check; the caller decides from its records. What was
  cancelled (the daemon stops, the entry left the queue) has no result, and runs again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from stretto import files
from stretto.checks import packages
from stretto.checks.servers import Fleet
from stretto.core.errors import StrettoError
from stretto.core.model import CheckResult, CheckSpec
from stretto.core.workspace_commands import due_specs, setup_specs
from stretto.interfaces import CheckOutcome, Checks, Confinement, Workspace, Workspaces

#: owner of the gate's bay; a uid in form, so that its refs have a place
OWNER = "landing-gate/gate"

_MANIFESTS = frozenset(
    """package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb deno.lock
    pyproject.toml setup.py setup.cfg uv.lock poetry.lock pdm.lock Pipfile Pipfile.lock environment.yml
    Cargo.toml Cargo.lock go.mod go.sum Gemfile Gemfile.lock composer.json composer.lock mix.exs mix.lock
    pom.xml build.gradle build.gradle.kts gradle.lockfile Package.swift Package.resolved pubspec.yaml pubspec.lock
    Makefile CMakeLists.txt conanfile.txt conanfile.py vcpkg.json flake.nix flake.lock .tool-versions""".split()  # noqa: SIM905 - read as text
)

#: reason of a check that `stop` ended
CANCELLED = "cancelled"
#: how the reason of a check says that it was not run, as something before it failed
_BEFORE = "did not pass"

Started = Callable[[str, str, dict[str, str], Path], None]
Finished = Callable[[CheckSpec, CheckOutcome], None]


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """How the gate went as a whole. `failed`: the output of the first check or set-up that did not pass."""

    result: CheckResult
    reason: str = ""
    failed: Path | None = None


def names_dependencies(path: str) -> bool:
    """Whether a change of this file may change what the set-up installs.

    >>> [names_dependencies(path) for path in ("web/package.json", "requirements-dev.txt", "app/main.py")]
    [True, True, False]
    """
    name = PurePosixPath(path).name
    return name in _MANIFESTS or (name.startswith("requirements") and name.endswith((".txt", ".in")))


def run(
    workspaces: Workspaces,
    checks: Checks,
    config: Mapping[str, Any],
    *,
    commit: str,
    tree: str,
    ids: str,
    specs: Sequence[CheckSpec],
    env: Mapping[str, str],
    output: Callable[[str], Path],
    started: Started,
    finished: Finished,
    stop: Callable[[], bool],
    jobs: int = 2,
    confine: Callable[[Workspace], Confinement] | None = None,
) -> GateOutcome:
    """Test the candidate `commit`. `ids`: the entries, comma-separated; `env`: captured variables, secrets included.

    `config["setup"]`: trusted commands `{run, timeout}`; `confine` says how commands are started in that workspace.
    Never raises for what the commands do; an unusable workspace is an error outcome too. Only a full disk is raised:
    it says nothing of anybody's work.
    """
    gate = _Gate(workspaces, checks, commit, specs, output, started, finished, stop)
    gate.config = config
    captured = {**env, "STRETTO_TASK": ids, "STRETTO_TREE": tree}
    try:
        return _through(gate, captured, jobs, confine)
    finally:
        with suppress(StrettoError, OSError):  # the next candidate's workspace is made anew in any case
            workspaces.rest(OWNER, "gate")


def _through(
    gate: _Gate, captured: Mapping[str, str], jobs: int, confine: Callable[[Workspace], Confinement] | None
) -> GateOutcome:
    try:
        space = gate.workspace(captured)
        if confine is not None:
            space = gate.confined(space, confine(space))
        ready = (
            gate.bring(space)
            or gate.set_up(space, setup_specs(gate.config))
            or gate.fill(space, due_specs(gate.config, space.due))
        )
        if ready is not None:
            return gate.abandon(ready, space.env)
        if dirt := gate.dirt(space):
            return gate.abandon(_dirty(dirt), space.env)
    except (StrettoError, OSError) as error:
        if files.is_full(error):
            raise
        if isinstance(error, StrettoError) and error.details.get("committed"):
            reason = f"making the database {_BEFORE}: {error.message}; the link has no place in the commit"
            return gate.abandon(GateOutcome(CheckResult.FAILED, reason), captured)
        return gate.abandon(GateOutcome(CheckResult.ERROR, _said(error)), captured)
    return gate.test(space, jobs)


def what_failed(names: Sequence[str], reasons: Sequence[str]) -> str:
    """What turned a gate red, from the records of its checks: what did not pass before them, else their names."""
    before = [reason for reason in reasons if _BEFORE in reason]
    return before[0] if before else ", ".join(sorted(set(names)))


def warm(
    workspaces: Workspaces,
    checks: Checks,
    config: Mapping[str, Any],
    *,
    commit: str,
    env: Mapping[str, str],
    output: Callable[[str], Path],
    stop: Callable[[], bool],
    confine: Callable[[Workspace], Confinement] | None = None,
) -> bool:
    """Make the gate's bay and run its set-up on `commit` while nothing waits for it; whether both are complete.

    A set-up that does not pass is no verdict: the gate runs it again, and says so of the entry that it tests. Raises
    StrettoError as `Workspaces.ensure` does.
    """
    gate = _Gate(workspaces, checks, commit, (), output, _unrecorded, _unrecorded, stop)
    try:
        space = gate.workspace(env)
        if confine is not None:
            space = gate.confined(space, confine(space))
        ready = (
            gate.bring(space)
            or gate.set_up(space, setup_specs(config))
            or gate.fill(space, due_specs(config, space.due))
        )
        return ready is None
    finally:
        with suppress(StrettoError, OSError):  # as after a gate
            workspaces.rest(OWNER, "gate")


def _unrecorded(*_: object) -> None:
    """There is no check to be recorded."""


def _dirty(paths: Sequence[str]) -> GateOutcome:
    shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    reason = f"the set-up leaves files that git does not ignore: {shown}; list them in .gitignore"
    return GateOutcome(CheckResult.ERROR, reason)


def _said(error: StrettoError | OSError) -> str:
    if isinstance(error, StrettoError):
        return error.message if error.hint is None else f"{error.message} ({error.hint})"
    return f"no workspace for the gate: {error.strerror}"


class _Gate:
    """One run of the gate."""

    def __init__(
        self,
        workspaces: Workspaces,
        checks: Checks,
        commit: str,
        specs: Sequence[CheckSpec],
        output: Callable[[str], Path],
        started: Started,
        finished: Finished,
        stop: Callable[[], bool],
    ) -> None:
        self._workspaces = workspaces
        self._checks = checks
        self._commit = commit
        self._specs = specs
        self._output = output
        self._started = started
        self._finished = finished
        self._stop = stop
        self.config: Mapping[str, Any] = {}
        self._confined: Confinement | None = None

    def workspace(self, env: Mapping[str, str]) -> Workspace:
        """The gate's workspace, at the candidate."""
        return self._workspaces.ensure(OWNER, "gate", self._commit, None, env)

    def dirt(self, space: Workspace) -> Sequence[str]:
        """What differs from the candidate in it."""
        return self._workspaces.changes(space.path)

    def confined(self, space: Workspace, found: Confinement) -> Workspace:
        """The workspace as its commands see it from here on."""
        self._confined = found
        return replace(space, env=found.env)

    def _run(self, space: Workspace, spec: CheckSpec, output: Path) -> CheckOutcome:
        words = self._confined.words if self._confined is not None else ()
        return self._checks.run(spec, space.path, space.env, output, self._stop, words)

    def _fleet(self, space: Workspace) -> Fleet:
        given = (self._checks, self.config, space.path, space.env, self._output, self._stop)
        return Fleet(*given, confined=self._confined)

    def bring(self, space: Workspace) -> GateOutcome | None:
        """Bring in the packages that lock files name. None: they are there. Else the entry's lock file is at fault."""
        lost = packages.bring(
            self._workspaces,
            space.path,
            space.env,
            lambda spec: self._run(space, spec, self._output(spec.name)),
            lambda brought: None,
            keep=False,
        )
        if lost is None or lost.outcome is None:
            return None
        files.require_space(space.path, lost.outcome.output)
        reason = f"the install of {lost.dependency.name} {_BEFORE}: {lost.outcome.reason}"
        # that this machine cannot install (no network, no program) says nothing of the entry that did not touch it
        moved = self._moved((space.ready or "").partition("@")[2])
        broken = space.ready is not None and moved and lost.outcome.result is CheckResult.FAILED
        return GateOutcome(CheckResult.FAILED if broken else CheckResult.ERROR, reason, lost.outcome.output)

    def set_up(self, space: Workspace, commands: Sequence[CheckSpec]) -> GateOutcome | None:
        """Run the set-up if it is due. None: it is complete."""
        if not commands:
            return None  # what an earlier set-up noted stands: it says what the bay still holds
        key = _setup_key(commands)
        done, _, at = (space.ready or "").partition("@")
        moved = at != self._commit and self._moved(at)
        if done != key or moved:
            for spec in commands:
                output = self._output(spec.name)
                found = self._run(space, spec, output)
                if found.result is not CheckResult.PASSED:
                    files.require_space(space.path, output)
                    return self._setup_failed(spec, found, broken=done == key and moved)
        if space.ready != f"{key}@{self._commit}":
            self._workspaces.set_ready(space.path, f"{key}@{self._commit}")
        return None

    def fill(self, space: Workspace, commands: Sequence[CheckSpec]) -> GateOutcome | None:
        """Run the merged migrations on the gate's fresh database. None: they pass. Else the entry broke them."""
        for spec in commands:
            output = self._output(spec.name)
            found = self._run(space, spec, output)
            if found.result is not CheckResult.PASSED:
                files.require_space(space.path, output)
                return GateOutcome(found.result, f"{spec.name} {_BEFORE}: {found.reason}", found.output)
        self._workspaces.filled(space.path, self._commit)
        return None

    def _moved(self, at: str) -> bool:
        """Whether what names dependencies differs from the candidate that the set-up last ran for."""
        paths = self._workspaces.difference(at, self._commit) if at else None
        return paths is None or any(map(names_dependencies, paths))

    def _setup_failed(self, spec: CheckSpec, found: CheckOutcome, *, broken: bool) -> GateOutcome:
        red = broken and found.result is CheckResult.FAILED
        reason = f"the set-up command {spec.run!r} {_BEFORE}: {found.reason}"
        return GateOutcome(CheckResult.FAILED if red else CheckResult.ERROR, reason, found.output)

    def abandon(self, outcome: GateOutcome, env: Mapping[str, str]) -> GateOutcome:
        """No check can run: each gets the outcome's result, so that the records say so. Cancelled: no record."""
        if self._stop():
            return GateOutcome(CheckResult.ERROR, CANCELLED)
        for spec in self._specs:
            output = outcome.failed or self._output(spec.name)
            self._started(spec.name, spec.run, dict(env), output)
            self._finished(spec, CheckOutcome(outcome.result, 0.0, output, outcome.reason))
        return outcome

    def test(self, space: Workspace, jobs: int) -> GateOutcome:
        """Run all checks, a few at a time; the first that does not pass names the outcome."""
        with (
            self._fleet(space) as fleet,
            ThreadPoolExecutor(max(1, jobs), thread_name_prefix="gate") as pool,
        ):
            found = list(pool.map(lambda spec: self._one(space, spec, fleet), self._specs))
        for wanted in (CheckResult.FAILED, CheckResult.ERROR):
            for spec, outcome in zip(self._specs, found, strict=True):
                if outcome.result is wanted:
                    return GateOutcome(wanted, f"{spec.name}: {outcome.reason}", outcome.output)
        return GateOutcome(CheckResult.PASSED)

    def _one(self, space: Workspace, spec: CheckSpec, fleet: Fleet) -> CheckOutcome:
        output = self._output(spec.name)
        self._started(spec.name, spec.run, dict(space.env), output)
        found = fleet.run(spec, output)
        if found.result is not CheckResult.PASSED:
            files.require_space(space.path, output)
        if found.reason != CANCELLED:
            self._finished(spec, found)
        return found


def _setup_key(commands: Sequence[CheckSpec]) -> str:
    return hashlib.sha256(json.dumps([spec.run for spec in commands]).encode()).hexdigest()[:16]
