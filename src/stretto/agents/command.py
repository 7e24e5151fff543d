"""Any program as an agent (CONTRACTS, "The `command` agent"): started once a turn in the worktree.

It finds its message in STRETTO_PROMPT_FILE, the number of the turn in STRETTO_TURN and the agent API in
STRETTO_AGENT_SOCKET and STRETTO_AGENT_TOKEN. Exit 0 ends the turn well; everything else fails it.

`prompt`, `usage` and `fails` of its table say how else it gets its message, how its usage is read, and how a failure is
known that the exit code hides (`turn_rules.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stretto.agents.declaration import Declaration
from stretto.agents.programs import why_not_startable
from stretto.agents.turn_rules import heard, of_table, runner
from stretto.agents.turns import TurnsAgent, launch_turns
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec
from stretto.interfaces import Launch, SessionContext, Signal


class CommandAgent(TurnsAgent):
    """`type = "command"`, `command = ["python3", "agent.py"]`."""

    type = "command"
    declaration = Declaration(
        type="command",
        about="any program, once for each turn",
        can=frozenset({"questions", "usage"}),
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started, else why not."""
        if not spec.command or not spec.command[0]:
            return f'agent {spec.name} has no command: set `command = ["PROG", "ARG"]` in [agents.{spec.name}]'
        return why_not_startable(spec.command[0], {**env, **spec.env}, f"agent {spec.name}")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process a turn. Raises UsageError for a spec without a command."""
        if not spec.command:
            raise UsageError(f"agent {spec.name} has no command", object=spec.name, hint="see [agents.NAME] command")
        if not spec.turn:
            return launch_turns(spec.command + spec.args, spec, context)
        return launch_turns(runner(spec.command, of_table(spec.turn), spec.args), spec, context)

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Lines of the runner are usage and ends of turns; each other line that is not blank is text."""
        found = heard(line, state)
        return super().parse(line, state) if found is None else found
