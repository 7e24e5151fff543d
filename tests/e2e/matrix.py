"""What came of the tests of the real agents, agent by agent and row by row: docs/agents-tested.json, and its page.

    python -m tests.e2e.matrix [REPORT…]      take in pytest's reports (--junitxml), and write the page anew

Every variant of a test that is collected has an entry for its agent and mode: how it ended, in which version, on which
day; or null while it has not been run. A report replaces the entries of the tests that it holds and no others, so that
runs of some agents, or of one mode, add up. The page is made of the entries alone. An entry of another version than the
pinned one counts as not run, and a cell says so unless all that belongs to it was run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from stretto import agents

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "agents-tested.md"
RESULTS = PAGE.with_suffix(".json")
#: the agents with an adapter of their own that keeps a conversation, the adapters of the Agent Client Protocol for two
#: of them (tests/NAME pins them), and those that are run once for each turn
FIRST = ("claude", "codex", "pi", "opencode", "gemini")
ADAPTERS = ("claude-acp", "codex-acp")
TURNS = ("qwen", "aider", "mini")
AGENTS = (*FIRST, *ADAPTERS, *TURNS)
#: suite -> its mode; those whose tests name no agent have that of the second table
SUITES = {
    "test_agents_real": "stream",
    "test_agents_answers": "stream",
    "test_agents_turns": "stream",
    "test_agents_trouble": "stream",
    "test_agents_cost": "stream",
    "test_sandboxed_real": "stream",
    "test_sandboxed_more": "stream",
    "test_agents_sandboxed": "stream",
    "test_agents_pane": "pane",
}

Entry = dict[str, str] | None
#: agent -> mode -> test -> variant -> entry
Results = dict[str, dict[str, dict[str, dict[str, Entry]]]]


@dataclass(frozen=True)
class Row:
    """What agents must do, and the tests that show it: each agent has one of them, or `LACKS` says why not."""

    key: str
    words: str
    tests: tuple[str, ...]


STREAM = (
    Row(
        "edit",
        "two at once edit, commit and land; nothing mixes, nothing is written elsewhere, no process is left",
        ("test_two_at_once_land_and_never_mix_and_nothing_is_written_elsewhere",),
    ),
    Row("question", "a question is answered inside the turn", ("test_a_question_is_answered_inside_the_turn",)),
    Row("permission", "a permission is allowed, another denied", ("test_a_permission_is_allowed_and_denied",)),
    Row(
        "interrupt",
        "an interrupt, then it goes on",
        (
            "test_interrupt_and_continue_keep_conversation_and_process",
            "test_an_interrupt_loses_the_turn_and_nothing_else",
        ),
    ),
    Row(
        "asking",
        "an interrupt while it asks takes the request back",
        ("test_an_interrupt_while_it_asks_ends_the_turn",),
    ),
    Row(
        "kill",
        "kill -9 of the agent, of the shim: it goes on",
        (
            "test_kill_9_of_agent_or_shim_resumes_the_conversation",
            "test_kill_9_of_agent_or_shim_loses_the_turn_and_nothing_else",
        ),
    ),
    Row(
        "daemon",
        "kill -9 of the daemon: nothing lost or sent twice",
        ("test_kill_9_of_the_daemon_changes_nothing_for_the_agent",),
    ),
    Row(
        "daemon answer",
        "kill -9 of the daemon while it answers: given once",
        ("test_an_answer_is_given_once_whenever_the_daemon_dies",),
    ),
    Row(
        "shim answer",
        "kill -9 of the shim while it answers: not given twice",
        ("test_an_answer_that_may_have_arrived_is_not_given_again",),
    ),
    Row("budget", "a budget is overshot by one call at most", ("test_a_budget_is_overshot_by_one_call_at_most",)),
    Row(
        "cost",
        "its cost to the last digit: its own figure, else by your prices, else unknown; a budget of money stops it",
        (
            "test_what_it_costs_is_right_to_the_last_digit",
            "test_without_a_figure_of_its_own_it_is_priced_by_the_table",
            "test_a_budget_of_money_stops_it_before_the_next_turn",
        ),
    ),
    Row(
        "trouble",
        "a torn answer, a refused key",
        (
            "test_trouble_with_the_model_is_survived_or_put_before_the_person",
            "test_a_refused_key_fails_the_turn_whatever_the_exit_code_says",
        ),
    ),
    Row(
        "passes",
        "429, 529, 500, a cut answer, garbage: tried again, no trace is left",
        ("test_errors_that_pass_leave_no_trace",),
    ),
    Row(
        "stays",
        "a full context, a limit that stays: told as they are",
        ("test_errors_that_stay_are_told_as_they_are",),
    ),
    Row("mcp", "a configured MCP server is called", ("test_a_tool_server_of_the_configuration_is_called",)),
    Row(
        "sandbox",
        "in a sandbox, with a part of the repository and in a clone: it lands, and sees its login and nothing else",
        (
            "test_it_starts_asks_edits_commits_and_leaves_nothing",
            "test_in_a_sandbox_it_has_its_login_and_its_model_and_nothing_else",
            "test_it_works_and_lands_inside",
        ),
    ),
)
PANE = (
    Row(
        "pane edit",
        "two at once edit, commit and land; nothing mixes, nothing is written elsewhere, no process is left",
        ("test_two_at_once_land_from_panes_and_usage_is_exact",),
    ),
    Row(
        "pane question",
        "a question is answered inside the turn",
        ("test_a_question_is_answered_inside_the_turn_of_a_pane",),
    ),
    Row(
        "pane permission",
        "a permission is allowed, another denied",
        ("test_a_permission_is_allowed_in_a_pane_and_another_denied",),
    ),
    Row(
        "pane rules",
        "a rule that denies is kept without a question, and the turn goes on",
        ("test_a_rule_that_denies_is_kept_in_a_pane_without_a_question",),
    ),
    Row(
        "pane interrupt",
        "an interrupt, then the same program goes on",
        ("test_an_interrupt_ends_the_turn_of_a_pane_and_the_same_program_goes_on",),
    ),
    Row(
        "pane kill",
        "kill -9 of the agent, of its host, of the shim, of its tmux: it goes on, the prompt is not sent again",
        ("test_kill_9_in_a_pane_resumes_the_conversation_and_never_the_prompt",),
    ),
    Row(
        "pane daemon",
        "kill -9 of the daemon: nothing lost or sent twice",
        ("test_kill_9_of_the_daemon_changes_nothing_in_a_pane",),
    ),
    Row(
        "pane trouble",
        "a torn answer, a refused key",
        ("test_trouble_with_the_model_is_survived_in_a_pane_or_told",),
    ),
    Row(
        "pane attach",
        "a stream session is taken over in its interface, and handed back",
        ("test_a_stream_session_is_taken_over_in_its_interface_and_handed_back",),
    ),
    Row(
        "pane draft",
        "a draft of the person is neither sent nor overwritten",
        ("test_a_draft_of_the_person_is_neither_sent_nor_overwritten",),
    ),
    Row(
        "pane words",
        "100 kB, other scripts, control characters, what looks like a command: as it is, once",
        ("test_words_arrive_as_they_are_and_once",),
    ),
    Row(
        "pane version",
        "a version that nobody tried works with a notice",
        ("test_a_version_that_nobody_tried_works_with_a_notice",),
    ),
)
#: (agent, row) -> how what passes is otherwise than for the others
LIMITS = {
    ("pi", "mcp"): "knows none: refused",
    ("opencode", "asking"): "yes, but its tokens are not told",
    ("codex-acp", "permission"): "yes; a denial ends the turn",
    ("gemini", "question"): "cannot: asks at its end",
    ("gemini", "interrupt"): "yes, but forgets the turn",
    ("gemini", "kill"): "yes, or begins anew",
    ("gemini", "daemon"): "yes; its permissions wait",
    **{(name, "passes"): "yes; a cut answer counts as it is" for name in ("claude", "claude-acp")},
    **{(name, "passes"): "yes; 429 ends its turn" for name in ("codex", "codex-acp")},
    **{(name, "passes"): "yes; garbage ends its turn" for name in ("pi", "qwen")},
    ("gemini", "passes"): "yes; the cut answer in the row above",
    ("opencode", "stays"): "sums up and goes on; tries for ever",
    ("qwen", "stays"): "yes; at a limit it tries for long",
    ("gemini", "pane rules"): "takes none: refused",
    ("gemini", "pane attach"): "yes, or begins anew",
    **{(name, "pane permission"): "yes; a no ends its turn" for name in ("claude", "codex", "gemini")},
    **{(name, "pane words"): "yes, but spaces for tabs" for name in ("claude", "pi")},
    ("gemini", "pane words"): "yes, but reads what an @ names",
    ("opencode", "pane draft"): "yes; messages pass by it",
    **{(name, "budget"): "at the turn's end" for name in ADAPTERS},
    **{(name, "cost"): "its own figure" for name in ("claude",)},
    **{(name, "cost"): "its own figure, or by your prices" for name in ("pi", "opencode")},
    **{(name, "interrupt"): "the turn is lost, the next has the task" for name in TURNS},
    **{(name, "kill"): "the turn is lost, the next has the task" for name in TURNS},
}
#: (agent, row) -> why there is no test
LACKS = {
    **{(name, "question"): "not offered: it asks nothing" for name in TURNS},
    **{(name, "permission"): "not offered: only with `skip`" for name in TURNS},
    **{(name, row): "not offered: it asks nothing" for name in TURNS for row in ("asking", "daemon answer")},
    **{(name, "shim answer"): "not offered: it asks nothing" for name in TURNS},
    **{(name, "mcp"): "not offered: refused" for name in TURNS},
    **{(name, "cost"): "not compared: tells a part" for name in ADAPTERS},
}
HEAD = """# Agents as they were tested

Written by `make test-agents-all` from [its results](agents-tested.json): the real programs against the scripted model
server, with loopback as the only network where that can be had. Where work was done, the usage that stretto counted is
compared with what the server served, token by token; after each test, no process may be left. A cell that was not run
in this version says so.

"""
TURN_WORDS = """
These are started once for each turn, without a conversation: they ask nothing and know no MCP servers through stretto.

"""
ADAPTER_WORDS = """
The adapters of the Agent Client Protocol for Claude Code and Codex, each with the program of its vendor. They leave out
what their agents use beside the conversation, so their usage is compared as a part of what was served.

"""
PANE_WORDS = """
Each in a pane, by its own interface:

"""
FOOT = """
aider does not tell which tokens came from a cache, nor which were for reasoning: all that it sent are counted as input.
"""


# ---------------------------------------------------------------- results


def agent_of(variant: str) -> str | None:
    """The agent of a variant: `codex-acp-shim.delivered` is of codex-acp; None for one that none of ours has."""
    names = [name for name in AGENTS if f"{variant}-".startswith(f"{name}-")]
    return max(names, key=len, default=None)


def pinned(agent: str) -> str:
    """The version that is installed for the tests."""
    if agent not in ADAPTERS:
        return agents.declared(agent).tested[-1]
    pins = json.loads((ROOT / "tests" / agent / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return " ".join(map(str, pins.values()))


def reported(report: Path) -> Iterator[tuple[str, str, str, bool]]:
    """(suite, test, variant, passed) of each test that was run to its end, as pytest's report tells it."""
    ends: dict[tuple[str, str, str], bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        suite = str(case.get("classname")).rpartition(".")[2]
        test, _, variant = str(case.get("name")).removesuffix("]").partition("[")
        if suite not in SUITES or case.find("skipped") is not None:
            continue
        passed = not any(part.tag in ("failure", "error") for part in case)
        key = (suite, test, variant)  # a test whose tear-down fails stands there twice
        ends[key] = ends.get(key, True) and passed
    for (suite, test, variant), passed in ends.items():
        yield suite, test, variant, passed


def merged(
    results: Results, collected: Iterable[tuple[str, str, str]], ended: Iterable[tuple[str, str, str, bool]], day: str
) -> Results:
    """The results with an entry for each test that there is, and with what a report says of those that it holds."""
    new: Results = {}
    for suite, test, variant in collected:
        agent, mode = agent_of(variant), SUITES[suite]
        if agent is not None:
            old = results.get(agent, {}).get(mode, {}).get(test, {}).get(variant)
            new.setdefault(agent, {}).setdefault(mode, {}).setdefault(test, {})[variant] = old
    for suite, test, variant, passed in ended:
        agent = agent_of(variant)
        if agent is not None:
            entry = {"result": "passed" if passed else "failed", "version": pinned(agent), "day": day}
            new.setdefault(agent, {}).setdefault(SUITES[suite], {}).setdefault(test, {})[variant] = entry
    return new


def collected() -> list[tuple[str, str, str]]:
    """(suite, test, variant) of all tests of the real agents, as pytest finds them."""
    paths = [str(path) for suite in SUITES if (path := Path("tests", "e2e", f"{suite}.py")).exists()]
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "agents", "-p", "no:cacheprovider", *paths]
    env = {**os.environ, "STRETTO_AGENTS": " ".join(AGENTS)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    found = re.findall(r"^tests/e2e/(\w+)\.py::(\w+)(?:\[(.*)\])?$", done.stdout, re.MULTILINE)
    return [(suite, test, variant) for suite, test, variant in found]


# ---------------------------------------------------------------- the page


def page(results: Results) -> str:
    """The page: a row for each thing that an agent must do, a column for each agent with its version."""
    parts = [
        HEAD + _table(results, "stream", STREAM, FIRST),
        ADAPTER_WORDS + _table(results, "stream", STREAM, ADAPTERS),
        TURN_WORDS + _table(results, "stream", STREAM, TURNS) + FOOT,
        PANE_WORDS + _table(results, "pane", PANE, FIRST),
    ]
    return "".join(parts)


def _table(results: Results, mode: str, rows: Iterable[Row], names: tuple[str, ...]) -> str:
    heads = [f"{name} {pinned(name)}" for name in names]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(names)]
    for row in rows:
        cells = [cell(results.get(name, {}).get(mode, {}), row, name) for name in names]
        lines.append(f"| {row.words} | {' | '.join(cells)} |")
    days = [_days(results.get(name, {}).get(mode, {}), pinned(name)) for name in names]
    lines.append(f"| run on | {' | '.join(days)} |")
    return "\n".join(lines) + "\n"


def cell(tests: Mapping[str, Mapping[str, Entry]], row: Row, agent: str) -> str:
    """What one agent's column says of a row."""
    entries = [entry for test in row.tests for entry in tests.get(test, {}).values()]
    if not entries:
        return LACKS.get((agent, row.key), "not tested")
    told = [entry["result"] for entry in entries if entry is not None and entry["version"] == pinned(agent)]
    if "failed" in told:
        return "**failed**"
    if len(told) < len(entries):
        return "partly run" if told else "not run"
    return LIMITS.get((agent, row.key), "yes")


def _days(tests: Mapping[str, Mapping[str, Entry]], version: str) -> str:
    entries = [entry for variants in tests.values() for entry in variants.values() if entry is not None]
    days = sorted({entry["day"] for entry in entries if entry["version"] == version})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "never"


# ---------------------------------------------------------------- files


def load() -> Results:
    """What is kept of earlier runs."""
    told: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"results": {}}
    found: Results = told["results"]
    return found


def written(results: Results) -> str:
    """The results as the file holds them: an entry a line, so that two runs merge."""
    text = json.dumps({"schema": 1, "results": results}, indent=1, sort_keys=True)
    return re.sub(r"\{\s+(\"day\"[^}]*?)\s+\}", lambda one: "{" + re.sub(r"\s*\n\s*", " ", one[1]) + "}", text) + "\n"


def take(reports: Iterable[Path]) -> str:
    """Take in these reports; the page, which is written too."""
    day = datetime.now(UTC).date().isoformat()
    results = load()
    if ends := [end for report in reports for end in reported(report)]:
        results = merged(results, collected(), ends, day)
        RESULTS.write_text(written(results), encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    return page(results)


if __name__ == "__main__":
    print(take(map(Path, sys.argv[1:])))
