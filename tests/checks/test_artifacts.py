"""What checks leave besides their output: kept beside it, bounded, never a link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stretto.checks import CheckRunner, artifacts
from stretto.checks.servers import Fleet
from stretto.core.model import CheckResult, CheckSpec
from stretto.interfaces import CheckOutcome


def run(folder: Path, text: str, number: int = 1) -> CheckOutcome:
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    env = {"PATH": os.environ["PATH"], "STRETTO_TEST_RUN": os.environ["STRETTO_TEST_RUN"]}
    runner = CheckRunner(f"home-{folder.name}", grace=0.5)
    output = folder / "out" / f"{number:04d}-e2e.log"
    with Fleet(runner, {}, tree, env, lambda name: folder / "out" / f"{name}.log", lambda: False) as fleet:
        return fleet.run(CheckSpec("e2e", text, 30.0), output)


def left(outcome: CheckOutcome) -> dict[str, int]:
    folder = artifacts.folder_of(outcome.output)
    return {os.path.relpath(str(one["path"]), folder): one["bytes"] for one in artifacts.listed(outcome.output)}  # type: ignore[misc]  # plain JSON


def test_they_lie_beside_the_output_whether_it_passed_or_not(tmp_path: Path) -> None:
    script = 'mkdir "$STRETTO_ARTIFACTS/shots" && printf 12345 > "$STRETTO_ARTIFACTS/shots/a.png" && exit 3'
    outcome = run(tmp_path, script)
    assert outcome.result is CheckResult.FAILED
    assert left(outcome) == {"shots/a.png": 5}
    assert artifacts.folder_of(outcome.output).stat().st_mode & 0o777 == 0o700


def test_the_report_of_playwright_has_a_place_there(tmp_path: Path) -> None:
    outcome = run(tmp_path, 'mkdir "$PLAYWRIGHT_HTML_OUTPUT_DIR" && echo 1 > "$PLAYWRIGHT_HTML_OUTPUT_DIR/index.html"')
    assert left(outcome) == {"playwright-report/index.html": 2}


def test_a_folder_that_stays_empty_goes(tmp_path: Path) -> None:
    outcome = run(tmp_path, 'test -d "$STRETTO_ARTIFACTS" && mkdir "$STRETTO_ARTIFACTS/empty"')
    assert outcome.result is CheckResult.PASSED
    assert not artifacts.folder_of(outcome.output).exists()
    assert left(outcome) == {}


def test_links_and_pipes_do_not_stay(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    script = f'cd "$STRETTO_ARTIFACTS" && ln -s {secret} folder && ln -s {secret}/key key && mkfifo pipe && echo 1 > a'
    outcome = run(tmp_path, script)
    assert left(outcome) == {"a": 2}
    assert [path.name for path in artifacts.folder_of(outcome.output).iterdir()] == ["a"]
    assert (secret / "key").read_text() == "key"


def test_of_too_much_the_largest_go_and_the_output_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "LIMIT", 1000)
    script = 'cd "$STRETTO_ARTIFACTS" && for n in 100 900 300; do head -c $n /dev/zero > $n.bin; done; echo done'
    outcome = run(tmp_path, script)
    assert left(outcome) == {"100.bin": 100, "300.bin": 300}
    assert "1 files in $STRETTO_ARTIFACTS were too much" in outcome.output.read_text()
    monkeypatch.setattr(artifacts, "MOST", 2)
    assert len(left(run(tmp_path, 'cd "$STRETTO_ARTIFACTS" && touch a b c d'))) == 2


def test_all_of_a_task_is_bounded_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "TASK_LIMIT", 250)
    outcomes = [run(tmp_path, 'head -c 100 /dev/zero > "$STRETTO_ARTIFACTS/a"', number) for number in (1, 2, 3)]
    assert [len(left(outcome)) for outcome in outcomes] == [0, 1, 1]
    assert all(outcome.output.exists() for outcome in outcomes)
    artifacts.forget(tmp_path / "out")
    assert [len(left(outcome)) for outcome in outcomes] == [0, 0, 0]
    assert all(outcome.output.exists() for outcome in outcomes)


def test_a_check_whose_folder_cannot_be_made_says_nothing_of_the_work(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    artifacts.folder_of(tmp_path / "out" / "0001-e2e.log").write_text("in the way")
    outcome: Any = run(tmp_path, "true")
    assert outcome.result is CheckResult.ERROR
    assert "could not be kept" in outcome.reason
