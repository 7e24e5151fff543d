"""The `command` agent, and how agents are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stretto import agents
from stretto.agents.command import CommandAgent
from stretto.agents.declaration import Declaration
from stretto.agents.turns import MAX_TEXT
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext, Signal

ENV = {"PATH": os.environ["PATH"]}


def spec(*command: str, **more: object) -> AgentSpec:
    return AgentSpec("mine", "command", command=command, **more)  # type: ignore[arg-type]


def context(tmp_path: Path, **env: str) -> SessionContext:
    return SessionContext("s1", "r/t", tmp_path, tmp_path, env, None, False, None, "ask", report_file="/r/report.md")


def test_adapters_are_found_by_type() -> None:
    for name in agents.types():
        assert agents.find(name).type == name
    with pytest.raises(UsageError, match=r"no type of agent called 'nobody'; there are .*command, .*scripted"):
        agents.find("nobody")


def test_naming_agents_imports_none() -> None:
    names = "sorted(m for m in sys.modules if m.startswith('stretto.agents.'))"
    code = f"import sys, stretto.agents as a; a.types(); print({names})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_launch_merges_the_environments(tmp_path: Path) -> None:
    launch = agents.find("command").launch(
        spec("prog", "a b", args=("--x",), env={"MODE": "agent", "B": "2"}), context(tmp_path, MODE="workspace", A="1")
    )
    assert (launch.style, launch.argv, launch.first) == ("turns", ("prog", "a b", "--x"), ())
    assert launch.env == {"A": "1", "B": "2", "MODE": "agent", "STRETTO_REPORT_FILE": "/r/report.md"}


def test_a_program_that_can_be_started(tmp_path: Path) -> None:
    agent = agents.find("command")
    assert agent.probe(spec("sh", "-c", "true"), ENV) is None
    assert agent.probe(spec(sys.executable), {}) is None
    own = tmp_path / "agent.sh"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert agent.probe(spec("./agent.sh"), {"STRETTO_ROOT": str(tmp_path)}) is None
    assert agent.probe(spec("agent.sh", env={"PATH": str(tmp_path)}), ENV) is None


def test_a_program_that_cannot_be_started_is_named_with_the_reason(tmp_path: Path) -> None:
    agent = agents.find("command")
    (tmp_path / "plain").write_text("")
    env = {"PATH": str(tmp_path), "STRETTO_ROOT": str(tmp_path)}
    assert agent.probe(spec(), env) == 'agent mine has no command: set `command = ["PROG", "ARG"]` in [agents.mine]'
    assert "not on PATH: install it" in str(agent.probe(spec("stretto-no-such"), env))
    assert f"{tmp_path}/plain is not executable (chmod +x" in str(agent.probe(spec("plain"), env))
    assert "is not executable: chmod +x" in str(agent.probe(spec("./plain"), env))
    assert "which does not exist" in str(agent.probe(spec("./gone"), env))
    assert "which is not a file" in str(agent.probe(spec(str(tmp_path)), env))


def test_an_agent_of_another_package_starts_the_program_of_its_declaration(tmp_path: Path) -> None:
    class Scribe(CommandAgent):
        type = "scribe"
        declaration = Declaration(type="scribe", about="writes", program="sh")

    assert Scribe().probe(spec(), ENV) is None
    assert Scribe().launch(spec(args=("-x",)), context(tmp_path)).argv == ("sh", "-x")
    assert Scribe().launch(spec("other"), context(tmp_path)).argv == ("other",)
    assert "which does not exist" in str(Scribe().probe(spec("./gone"), ENV))


def test_its_words_are_data() -> None:
    agent = agents.find("command")
    assert agent.turn("text\n\u00fc", {}) == "text\n\u00fc"
    assert agent.interrupt(3, {}) == ("interrupt", "")
    assert agent.answer({}, {"text": "x"}) is None


def test_free_text_becomes_bounded_signals() -> None:
    agent = agents.find("command")
    assert agent.parse(b"hello \r", {}) == [Signal("text", {"text": "hello"})]
    assert agent.parse(b"  ", {}) == []
    (garbage,) = agent.parse(bytes(range(256)) * 40000, {})
    assert len(garbage.data["text"]) <= MAX_TEXT
