"""Run the suite of the real agents (`make test-agents`) where loopback is the only network, if that can be had.

usage: test_agents.py [--all] [PYTEST ARGUMENTS]

A network namespace of its own proves that no agent needs, or reaches, anything but the model server. Root makes one;
any other user needs a user namespace for it, which some machines forbid: then the suite runs all the same, and says so.
A program that is not installed fails the run: this command promises the real ones. STRETTO_AGENTS names others than
claude, codex and pi. `--all` (`make test-agents-all`) takes every agent that the suite knows, and writes what came of
it into docs/agents-tested.md.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
#: every agent that the suite knows, in the order of the table
AGENTS = ("claude", "codex", "pi", "opencode", "gemini")
#: those that are run once for each turn, which have a suite of their own
TURNS = ("qwen", "aider", "mini")
TURN_SUITE = "test_agents_turns.py"
#: adapters of the Agent Client Protocol, which the first suite can be led through (tests/NAME holds their pins)
ADAPTERS = ("claude-acp", "codex-acp")
#: where the tests of real agents are, and those of their own interfaces, which only `--all` runs with them
SUITES = ("test_agents_real.py", "test_agents_answers.py")
PANE_SUITES = ("test_agents_pane.py", "test_claude_pane.py", "test_more_agents.py")
#: test -> what it shows
ROWS = {
    "test_two_at_once_land_and_never_mix_and_nothing_is_written_elsewhere": (
        "two at once edit, commit and land; nothing mixes, nothing is written elsewhere"
    ),
    "test_a_question_is_answered_inside_the_turn": "a question is answered inside the turn",
    "test_a_permission_is_allowed_and_denied": "a permission is allowed, another denied",
    "test_interrupt_and_continue_keep_conversation_and_process": "an interrupt, then the same process goes on",
    "test_an_interrupt_while_it_asks_ends_the_turn": "an interrupt while it asks takes the request back",
    "test_kill_9_of_agent_or_shim_resumes_the_conversation": "kill -9 of the agent, of the shim: taken up again",
    "test_kill_9_of_the_daemon_changes_nothing_for_the_agent": "kill -9 of the daemon: nothing lost or sent twice",
    "test_an_answer_is_given_once_whenever_the_daemon_dies": "kill -9 of the daemon while it answers: given once",
    "test_an_answer_that_may_have_arrived_is_not_given_again": "kill -9 of the shim while it answers: not given twice",
    "test_a_budget_is_overshot_by_one_call_at_most": "a budget is overshot by one call at most",
    "test_trouble_with_the_model_is_survived_or_put_before_the_person": "a torn answer, a refused key",
    "test_a_tool_server_of_the_configuration_is_called": "a configured MCP server is called",
}
#: what it shows -> the tests of an agent's own interface in a pane: agent, or "" for all that a suite has, -> test
PANES = {
    "edit, commit and land; usage is exact": {
        "": "test_two_at_once_land_from_panes_and_usage_is_exact",
        "claude": "test_it_lands_from_a_pane_and_its_usage_is_exact",
    },
    "a permission, a question, an interrupt": {
        "": "test_a_question_a_permission_and_an_interrupt_reach_it",
        "claude": "test_a_permission_a_question_and_an_interrupt_reach_it",
    },
    "kill -9 of its tmux: the conversation goes on, the prompt is not sent again": {
        "": "test_kill_9_resumes_the_conversation_and_never_the_prompt",
        "claude": "test_kill_9_of_tmux_resumes_the_conversation_and_never_the_prompt",
    },
    "kill -9 of the daemon changes nothing; a refused key is told": {
        "": "test_kill_9_of_the_daemon_changes_nothing_and_trouble_is_told"
    },
    "taken over in its interface, and handed back": {
        "": "test_a_stream_session_is_taken_over_in_its_interface_and_handed_back"
    },
}
#: the same for those that are run once for each turn
TURN_ROWS = {
    "test_two_at_once_land_and_never_mix_and_nothing_is_written_elsewhere": (
        "two at once edit and land; nothing mixes, nothing is written elsewhere"
    ),
    "test_a_refused_key_fails_the_turn_whatever_the_exit_code_says": "a refused key fails the turn",
    "test_an_interrupt_and_a_kill_9_lose_the_turn_and_nothing_else": (
        "an interrupt, kill -9 of the agent, of the shim: the turn is lost, the next one has the task"
    ),
    "test_kill_9_of_the_daemon_changes_nothing_for_the_agent": "kill -9 of the daemon: nothing lost or sent twice",
}
#: what passes otherwise than for the others
LIMITS = {
    ("pi", "test_a_tool_server_of_the_configuration_is_called"): "knows none: refused",
    ("opencode", "test_an_interrupt_while_it_asks_ends_the_turn"): "yes, but its tokens are not told",
    ("gemini", "test_a_question_is_answered_inside_the_turn"): "cannot: asks at its end",
    ("gemini", "test_interrupt_and_continue_keep_conversation_and_process"): "yes, but forgets the turn",
    ("gemini", "test_kill_9_of_agent_or_shim_resumes_the_conversation"): "yes, or begins anew",
    ("gemini", "test_kill_9_of_the_daemon_changes_nothing_for_the_agent"): "yes; its permissions wait",
}
HEAD = """# Agents as they were tested

Written by `make test-agents-all` on {day}: the real programs against the scripted model server, with loopback as the
only network where that can be had. Where work was done, the usage that stretto counted is compared with what the server
served, token by token; after each test, no process may be left.

"""
BETWEEN = """
These are started once for each turn, without a conversation: they ask nothing and know no MCP servers through stretto.

"""
FOOT = """
aider does not tell which tokens came from a cache, nor which were for reasoning: all that it sent are counted as input.
"""
UNTRIED = """The adapters of the Agent Client Protocol for Claude Code and Codex can be put through the first suite by
STRETTO_AGENTS (`claude-acp codex-acp`); no whole run of it is told here yet.
"""
TRIED = """
The adapters of the Agent Client Protocol for Claude Code and Codex, each with the program of its vendor. They leave out
what their agents use beside the conversation, so their usage is compared as a part of what was served.

"""
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def cut_off() -> str | None:
    """Leave the network for one that has only loopback. None when that is done, else why it cannot be."""
    if sys.platform != "linux":
        return "there are no network namespaces here"
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER) != 0:
        return os.strerror(ctypes.get_errno())
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(sock, SIOCGIFFLAGS, asked))[0]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
    return None


def main(arguments: list[str]) -> None:
    """Become pytest, or run it and write the table."""
    why = cut_off()
    print("network: loopback only" if why is None else f"network: as it is ({why})", flush=True)
    os.environ["STRETTO_CI"] = "1"  # a skip is a failure
    every = arguments[:1] == ["--all"]
    os.environ.setdefault("STRETTO_AGENTS", " ".join((*AGENTS, *TURNS)) if every else "claude codex pi")
    workers = str(min(4, max(2, os.cpu_count() or 1)))
    os.chdir(ROOT)
    names = (*SUITES, *PANE_SUITES, TURN_SUITE) if every else SUITES
    suites = [str(path) for name in names if (path := Path("tests", "e2e", name)).exists()]
    argv = ["-m", "pytest", "-q", "-m", "agents", "-n", workers, "--dist", "worksteal", *suites]
    if not every:
        os.execv(sys.executable, [sys.executable, *argv, *arguments])
    report = ROOT / ".cache" / "agents-tested.xml"
    code = subprocess.run([sys.executable, *argv, f"--junitxml={report}", *arguments[1:]], check=False).returncode
    text = table(outcomes(report), datetime.now(UTC).date().isoformat())
    (ROOT / "docs" / "agents-tested.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(code)


def outcomes(report: Path) -> dict[tuple[str, str], bool]:
    """(test, agent) -> whether all of its variants passed, as pytest's report tells it."""
    found: dict[tuple[str, str], bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        test, _, variant = str(case.get("name")).removesuffix("]").partition("[")
        passed = not any(part.tag in ("failure", "error", "skipped") for part in case)
        key = (test, agent_of(variant))
        found[key] = found.get(key, True) and passed
    return found


def agent_of(variant: str) -> str:
    """The agent of a variant of a test: `codex-acp-shim.delivered` is of codex-acp, `codex-shim.delivered` of codex."""
    names = (name for name in (*AGENTS, *TURNS, *ADAPTERS) if f"{variant}-".startswith(f"{name}-"))
    return max(names, key=len, default=variant)


def table(found: dict[tuple[str, str], bool], day: str) -> str:
    """The page: a row for each thing that an agent must do, a column for each agent with its version."""
    from stretto import agents

    heads = [f"{name} {agents.declared(name).tested[-1]}" for name in AGENTS]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(AGENTS)]
    for test, words in ROWS.items():
        cells = [_cell(found.get((test, name)), name, test) for name in AGENTS]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    for words, tests in PANES.items():
        cells = [_pane_cell(found, tests, name) for name in AGENTS]
        lines.append(f"| in a pane: {words} | {' | '.join(cells)} |")
    return HEAD.format(day=day) + "\n".join(lines) + "\n" + BETWEEN + _turns(found) + FOOT + _adapters(found)


def _adapters(found: dict[tuple[str, str], bool]) -> str:
    """A table of their own for the adapters; a sentence if none of them was run."""
    if not {agent for _, agent in found} & {*ADAPTERS}:
        return UNTRIED
    heads = [f"{name} {_pinned(name)}" for name in ADAPTERS]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(ADAPTERS)]
    for test, words in ROWS.items():
        lines.append(f"| {words} | {' | '.join(_cell(found.get((test, name)), name, test) for name in ADAPTERS)} |")
    return TRIED + "\n".join(lines) + "\n"


def _pinned(adapter: str) -> str:
    """The version of an adapter that its lock pins."""
    pins = json.loads((ROOT / "tests" / adapter / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return " ".join(map(str, pins.values()))


def _turns(found: dict[tuple[str, str], bool]) -> str:
    from stretto import agents

    heads = [f"{name} {agents.declared(name).tested[-1]}" for name in TURNS]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(TURNS)]
    for test, words in TURN_ROWS.items():
        lines.append(f"| {words} | {' | '.join(_cell(found.get((test, name)), name, test) for name in TURNS)} |")
    return "\n".join(lines) + "\n"


def _pane_cell(found: dict[tuple[str, str], bool], tests: dict[str, str], agent: str) -> str:
    """A test of one agent alone has no variants in its name."""
    from stretto import agents

    if "pane" not in agents.declared(agent).can:
        return "no pane"
    own = found.get((tests[agent], "")) if agent in tests else None
    passed = own if own is not None else found.get((tests.get("", ""), agent))
    return _cell(passed, agent, "")


def _cell(passed: bool | None, agent: str, test: str) -> str:
    if passed is None:
        return "not run"
    return (LIMITS.get((agent, test)) or "yes") if passed else "**failed**"


if __name__ == "__main__":
    main(sys.argv[1:])
