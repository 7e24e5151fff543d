"""The examples of docs/scripted-agent.md work, and its tables name everything that there is."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from stretto import agents
from stretto.testing.scenario import Block, next_answer, setting
from stretto.testing.script import ORIGINS, VERBS, parse_script
from tests.e2e import matrix
from tests.support.world import ROOT

TEXT = (ROOT / "docs" / "scripted-agent.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_script_is_one() -> None:
    script = parse_script(tomllib.loads(next(body for kind, body in BLOCKS if kind == "toml")), Path("doc.toml"))
    assert [len(turns) for turns in script.tasks.values()] == [3, 1]
    assert script.turn("search", 2, "conflict", "").steps[0].verb == "merge"
    assert script.turn("other", 5, "person", "").steps[0].verb == "print"


def test_all_verbs_arguments_and_origins_are_told() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", TEXT, re.MULTILINE))
    assert set(rows) == set(VERBS)
    for name, verb in VERBS.items():
        told = {word.split("*")[0].split(" (")[0].strip() for word in re.sub(r"\([^)]*\)", "", rows[name]).split(",")}
        assert told == {*verb.needs, *verb.takes}
    assert f"`{' '.join(ORIGINS)}`" in TEXT


def test_the_python_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(next(body for kind, body in BLOCKS if kind == "python"), {})
    assert capsys.readouterr().out == "0 []\n"


def test_the_markers_are_markers() -> None:
    table = TEXT[TEXT.index("| marker |") :].replace("\\|", "|")
    found = re.findall(r"`(\[\[.*?\]\])`", table)
    assert len(found) >= 12
    for marker in found:
        answer = next_answer([Block("text", marker)])
        assert "makes no sense" not in str(answer.values)
        silent = answer.word == "say" and not answer.faults and answer.values["text"] == "done"
        named = setting([Block("text", marker)], marker.strip("[]").split("=")[0])
        assert not silent or "[[on=" in marker or named is not None


def test_the_page_of_the_agents_tells_its_results_and_their_versions() -> None:
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert page == matrix.page(matrix.load()), "run `python -m tests.e2e.matrix`"
    assert matrix.RESULTS.read_text(encoding="utf-8") == matrix.written(matrix.load())
    for name in agents.ready():
        assert f" {name} {agents.declared(name).tested[-1]} |" in page
    assert "failed" not in page
    assert "not tested" not in page[: page.index("in a pane")], "what has no test says why"


def test_the_tables_of_the_agents_name_tests_that_there_are() -> None:
    folder = ROOT / "tests" / "e2e"
    text = "".join((folder / f"{name}.py").read_text() for name in matrix.SUITES)
    rows = [*matrix.STREAM, *matrix.PANE]
    assert [test for row in rows for test in row.tests if f"def {test}(" not in text] == []
    assert {key for _, key in (*matrix.LIMITS, *matrix.LACKS)} <= {row.key for row in rows}
    assert {agent for agent, _ in (*matrix.LIMITS, *matrix.LACKS)} <= {*matrix.AGENTS}


TEST = "test_a_permission_is_allowed_and_denied"
ROW = next(row for row in matrix.STREAM if row.tests == (TEST,))


def _report(folder: Path, cases: dict[str, str]) -> Path:
    """A report of pytest: variant -> what stands in its element."""
    lines = [
        f'<testcase classname="tests.e2e.test_agents_real" name="{TEST}[{name}]">{what}</testcase>'
        for name, what in cases.items()
    ]
    path = folder / "report.xml"
    path.write_text(f"<testsuite>{''.join(lines)}</testsuite>")
    return path


def test_a_report_replaces_what_it_holds_and_no_more(tmp_path: Path) -> None:
    there = [("test_agents_real", TEST, name) for name in ("codex", "codex-shim", "codex-acp", "codex-acp-shim", "pi")]
    first = _report(tmp_path, {"codex": "", "codex-acp": "<failure/>", "codex-acp-shim": "", "pi": "<skipped/>"})
    results = matrix.merged({}, there, matrix.reported(first), "2026-01-01")
    cells = {name: matrix.cell(results[name]["stream"], ROW, name) for name in ("codex", "codex-acp", "pi")}
    assert cells == {"codex": "partly run", "codex-acp": "**failed**", "pi": "not run"}
    later = matrix.merged(results, there, matrix.reported(_report(tmp_path, {"codex-shim": ""})), "2026-01-02")
    assert matrix.cell(later["codex"]["stream"], ROW, "codex") == "yes"
    assert later["codex-acp"] == results["codex-acp"]
    assert "2026-01-01 to 2026-01-02" in matrix.page(later)
    assert matrix.merged(later, there[:1], (), "2026-01-03").keys() == {"codex"}, "tests that are gone are forgotten"
    assert json.loads(matrix.written(later))["results"] == later


def test_another_version_counts_as_not_run(tmp_path: Path) -> None:
    there = [("test_agents_real", TEST, "pi")]
    results = matrix.merged({}, there, matrix.reported(_report(tmp_path, {"pi": ""})), "2026-01-01")
    assert matrix.cell(results["pi"]["stream"], ROW, "pi") == "yes"
    old = {**(results["pi"]["stream"][TEST]["pi"] or {}), "version": "0.1"}
    assert matrix.cell({TEST: {"pi": old}}, ROW, "pi") == "not run"
    assert matrix.cell({}, ROW, "qwen").startswith("not offered: ")
