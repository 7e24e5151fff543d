"""The examples of docs/scripted-agent.md work, and its tables name everything that there is."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from stretto import agents
from stretto.testing.scenario import Block, next_answer, setting
from stretto.testing.script import ORIGINS, VERBS, parse_script
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


def test_the_agents_are_tested_in_the_versions_that_they_declare() -> None:
    page = (ROOT / "docs" / "agents-tested.md").read_text(encoding="utf-8")
    heads = [line for line in page.splitlines() if line.startswith("| |")]
    tested = [f"{name} {agents.declared(name).tested[-1]}" for name in agents.ready()]
    told = [head for line in heads for head in line.strip("| ").split(" | ") if "-acp " not in head]
    assert sorted(told) == sorted(tested), "run `make test-agents-all`"
    assert "failed" not in page
    assert "not run" not in page


def test_the_table_of_the_agents_names_tests_that_there_are() -> None:
    found = runpy.run_path(str(ROOT / "scripts" / "test_agents.py"))
    folder = ROOT / "tests" / "e2e"
    text = "".join((folder / name).read_text() for name in found["SUITES"])
    assert [test for test in found["ROWS"] if f"def {test}(" not in text] == []
    assert {test for _, test in found["LIMITS"]} <= set(found["ROWS"])
    outcomes = {(test, "claude"): test != "test_a_permission_is_allowed_and_denied" for test in found["ROWS"]}
    lines = found["table"](outcomes, "2026-01-01").splitlines()
    (row,) = [line for line in lines if line.startswith("| a permission is allowed, another denied |")]
    assert row.split(" | ")[1:3] == ["**failed**", "not run"]
    assert any(line.startswith("| in a pane: ") for line in lines)


def test_the_table_keeps_an_adapter_apart_from_the_agent_that_it_drives(tmp_path: Path) -> None:
    found = runpy.run_path(str(ROOT / "scripts" / "test_agents.py"))
    test = "test_a_permission_is_allowed_and_denied"
    report = tmp_path / "report.xml"
    variants = {"codex": "", "codex-shim.delivered": "", "codex-acp": "<failure/>", "codex-acp-shim.x": "", "pi": ""}
    cases = "".join(f'<testcase name="{test}[{name}]">{what}</testcase>' for name, what in variants.items())
    report.write_text(f"<testsuite>{cases}</testsuite>")
    outcomes = found["outcomes"](report)
    assert outcomes == {(test, "codex"): True, (test, "codex-acp"): False, (test, "pi"): True}
    page = found["table"](outcomes, "2026-01-01")
    assert "no whole run" not in page
    rows = [line for line in page.splitlines() if line.startswith("| a permission is allowed, another denied |")]
    assert [row.split(" | ")[1:] for row in rows] == [
        ["not run", "yes", "yes", "not run", "not run |"],
        ["not run", "**failed** |"],
    ]
    assert "| | claude-acp 0.100.0 | codex-acp 2.6.0 |" in page
    assert "no whole run" in found["table"]({(test, "pi"): True}, "2026-01-01")
