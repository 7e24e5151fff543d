"""The gate with real bays and real checks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stretto.checks import CheckRunner
from stretto.core.model import CheckResult, CheckSpec
from stretto.interfaces import CheckOutcome
from stretto.landing import gate
from stretto.workspace import Bays
from tests.support.landing import FILES, Yard

SETUP = [{"run": "echo set-up >> ../setups; mkdir -p deps; cat requirements.txt > deps/installed", "timeout": 30.0}]


class Bench:
    """A yard with bays, a runner and a record of what the gate reported."""

    def __init__(self, yard: Yard, folder: Path) -> None:
        self.yard = yard
        self.bays = Bays(yard.git, folder / "bays", "home-1")
        self.runner = CheckRunner("home-1", grace=0.5)
        self.logs = folder / "logs"
        self.started: list[tuple[str, str]] = []
        self.envs: list[dict[str, str]] = []
        self.finished: dict[str, CheckOutcome] = {}
        self.setups = folder / "bays" / "setups"
        self.stopped = False

    def run(self, commit: str, *texts: str, setup=SETUP, timeout: float = 120.0, ids: str = "one") -> gate.GateOutcome:
        self.started.clear()
        self.finished.clear()

        def started(name: str, command: str, env: dict[str, str], output: Path) -> None:
            self.started.append((name, command))
            self.envs.append(env)

        return gate.run(
            self.bays,
            self.runner,
            {"setup": setup},
            commit=commit,
            tree=self.yard.repo.git("rev-parse", f"{commit}^{{tree}}"),
            ids=ids,
            specs=[CheckSpec(f"check-{number}", text, timeout) for number, text in enumerate(texts, 1)],
            env={"PATH": os.environ["PATH"], "STRETTO_TEST_RUN": os.environ["STRETTO_TEST_RUN"], "SECRET": "s3"},
            output=lambda name: self.logs / f"{name}.log",
            started=started,
            finished=lambda spec, outcome: self.finished.update({spec.name: outcome}),
            stop=lambda: self.stopped,
        )

    def warm(self, setup=SETUP) -> bool:
        return gate.warm(
            self.bays,
            self.runner,
            {"setup": setup},
            commit=self.yard.target.tip(),
            env={"PATH": os.environ["PATH"], "STRETTO_TEST_RUN": os.environ["STRETTO_TEST_RUN"]},
            output=lambda name: self.logs / f"{name}.log",
            stop=lambda: self.stopped,
        )

    def results(self) -> dict[str, CheckResult]:
        return {name: outcome.result for name, outcome in self.finished.items()}

    def times(self) -> int:
        return len(self.setups.read_text().splitlines()) if self.setups.exists() else 0


@pytest.fixture
def bench(make_repo, tmp_path: Path) -> Bench:
    files = {**FILES, ".gitignore": "deps/\n", "requirements.txt": "one\n"}
    return Bench(Yard(make_repo("repo", files), tmp_path / "home"), tmp_path)


def candidate(bench: Bench, id: str, files: dict[str, str | bytes | None]) -> str:
    return str(bench.yard.built(id, bench.yard.branch(id, files)).candidate)


def test_all_checks_pass_on_exactly_the_candidate(bench: Bench):
    commit = candidate(bench, "one", {"new.txt": "new\n"})
    outcome = bench.run(
        commit,
        f'test $(git rev-parse HEAD) = {commit} && test -z "$(git status --porcelain)" && cat new.txt deps/installed',
        'test "$STRETTO_TASK/$STRETTO_PURPOSE/$SECRET" = "one,two/gate/s3" && '
        'test "$STRETTO_TREE" = $(git rev-parse HEAD^{tree}) && test -z "$STRETTO_BRANCH$PORT"',
        ids="one,two",
    )
    assert outcome == gate.GateOutcome(CheckResult.PASSED)
    assert bench.results() == {"check-1": CheckResult.PASSED, "check-2": CheckResult.PASSED}
    assert sorted(name for name, _ in bench.started) == ["check-1", "check-2"]
    assert (bench.logs / "check-1.log").read_text() == "new\none\n"
    assert bench.yard.repo.status() == []


def test_a_red_check_fails_the_gate_and_the_others_still_report(bench: Bench):
    outcome = bench.run(candidate(bench, "one", {"a": "a"}), "true", "echo why; exit 3", "no-such-command")
    assert outcome == gate.GateOutcome(CheckResult.FAILED, "check-2: exit 3", bench.logs / "check-2.log")
    assert [bench.results()[f"check-{n}"] for n in (1, 2, 3)] == [
        CheckResult.PASSED,
        CheckResult.FAILED,
        CheckResult.ERROR,
    ]


def test_a_check_that_cannot_run_is_an_error_and_no_verdict(bench: Bench):
    outcome = bench.run(candidate(bench, "one", {"a": "a"}), "true", "sleep 60", timeout=0.5)
    assert (outcome.result, outcome.reason) == (CheckResult.ERROR, "check-2: timed out after 0.5 s")


def test_the_set_up_runs_once_and_again_when_dependencies_or_commands_change(bench: Bench):
    assert bench.run(candidate(bench, "one", {"a": "a"}), "true").result is CheckResult.PASSED
    assert bench.run(candidate(bench, "two", {"b": "b"}), "test -e deps/installed").result is CheckResult.PASSED
    assert bench.times() == 1
    needs = candidate(bench, "three", {"sub/requirements-dev.txt": "x\n", "requirements.txt": "two\n"})
    assert bench.run(needs, "grep two deps/installed").result is CheckResult.PASSED
    assert bench.times() == 2
    again = candidate(bench, "four", {"c": "c"})
    assert bench.run(again, "grep one deps/installed").result is CheckResult.PASSED
    assert bench.times() == 3
    assert bench.run(again, "true", setup=[{"run": "true"}, *SETUP]).result is CheckResult.PASSED
    assert bench.times() == 4


def test_a_gate_that_was_made_ready_beforehand_has_its_set_up_behind_it(bench: Bench):
    assert bench.warm()
    assert bench.times() == 1
    assert bench.run(candidate(bench, "one", {"a": "a"}), "test -e a && test -e deps/installed").failed is None
    assert bench.times() == 1
    assert bench.run(candidate(bench, "two", {"requirements.txt": "two\n"}), "grep two deps/installed").failed is None
    assert bench.times() == 2


def test_a_set_up_that_fails_beforehand_is_no_verdict(bench: Bench):
    setup = [{"run": "test -e a && touch deps-ready"}]
    assert not bench.warm(setup=setup)
    assert bench.started == []
    outcome = bench.run(candidate(bench, "one", {"a": "a", ".gitignore": "deps*\n"}), "test -e deps-ready", setup=setup)
    assert outcome == gate.GateOutcome(CheckResult.PASSED)


def test_a_set_up_that_was_cut_off_runs_again(bench: Bench):
    commit = candidate(bench, "one", {"a": "a"})
    outcome = bench.run(commit, "true", setup=[{"run": "echo half > deps-half; exit 9"}])
    assert outcome.result is CheckResult.ERROR
    assert "'echo half > deps-half; exit 9' did not pass: exit 9" in outcome.reason
    assert bench.results() == {"check-1": CheckResult.ERROR}
    assert bench.run(commit, "true").result is CheckResult.PASSED
    assert bench.times() == 1


def test_a_set_up_that_this_entry_broke_is_a_red_gate(bench: Bench):
    setup = [{"run": "! grep broken requirements.txt"}]
    assert bench.run(candidate(bench, "one", {"a": "a"}), "true", setup=setup).result is CheckResult.PASSED
    broken = candidate(bench, "two", {"requirements.txt": "broken\n"})
    outcome = bench.run(broken, "true", setup=setup)
    assert outcome.result is CheckResult.FAILED
    assert outcome.failed == bench.logs / "setup-1.log"
    assert bench.results() == {"check-1": CheckResult.FAILED}
    fine = candidate(bench, "three", {"c": "c"})
    assert bench.run(fine, "true", setup=setup).result is CheckResult.PASSED


def test_a_set_up_that_changes_the_tree_is_an_error(bench: Bench):
    outcome = bench.run(candidate(bench, "one", {"a": "a"}), "true", setup=[{"run": "echo x > f0.txt; echo y > stray"}])
    assert outcome.result is CheckResult.ERROR
    assert "f0.txt, stray" in outcome.reason
    assert ".gitignore" in outcome.reason


def test_what_checks_leave_behind_is_gone_before_the_next_candidate(bench: Bench):
    bench.run(candidate(bench, "one", {"a": "a"}), "echo x > stray; echo x > f0.txt; echo x > deps/cache; rm f1.txt")
    outcome = bench.run(
        candidate(bench, "two", {"b": "b"}), 'test -z "$(git status --porcelain)" && test -e deps/cache'
    )
    assert outcome.result is CheckResult.PASSED


def test_a_gate_without_workspace_is_an_error_of_every_check(bench: Bench):
    commit = candidate(bench, "one", {"a": "a"})
    bench.bays.folder.path.write_text("in the way")
    outcome = bench.run(commit, "true", "false")
    assert outcome.result is CheckResult.ERROR
    assert "is not a folder" in outcome.reason
    assert list(bench.results().values()) == [CheckResult.ERROR, CheckResult.ERROR]


def test_a_cancelled_gate_gives_no_result(bench: Bench):
    commit = candidate(bench, "one", {"a": "a"})
    flag = bench.logs.parent / "flag"
    bench.run(commit, "true")
    original = bench.runner.run

    class Stopping(CheckRunner):
        def run(self, spec, cwd, env, output, stop, wrapper=()):
            bench.stopped = True
            return original(spec, cwd, env, output, stop, wrapper)

    bench.runner = Stopping("home-1", grace=0.5)
    outcome = bench.run(commit, f"touch {flag}; sleep 60")
    assert (outcome.result, outcome.reason) == (CheckResult.ERROR, "check-1: cancelled")
    assert bench.results() == {}
