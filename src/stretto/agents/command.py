"""Any program as an agent (CONTRACTS, "The `command` agent"): started once a turn in the worktree.

It finds its message in STRETTO_PROMPT_FILE, the number of the turn in STRETTO_TURN and the agent API in
STRETTO_AGENT_SOCKET and STRETTO_AGENT_TOKEN. Exit 0 ends the turn well; everything else fails it.

`prompt`, `usage` and `fails` of its table say how else it gets its message, how its usage is read, and how a failure is
known that the exit code hides (`turn_rules.py`). Agents of ours that are run like this are such rules with a
declaration: `DescribedAgent`.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from stretto.agents.declaration import Declaration
from stretto.agents.programs import why_not_startable
from stretto.agents.turn_rules import TurnRules, heard, of_table, runner
from stretto.agents.turns import TurnsAgent, environment, launch_turns
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec
from stretto.core.who import SKIP
from stretto.interfaces import Launch, SessionContext, Signal

PANE = Path(__file__).resolve().parent / "command_pane.py"


class CommandAgent(TurnsAgent):
    """`type = "command"`, `command = ["python3", "agent.py"]`."""

    type = "command"
    declaration: ClassVar[Declaration] = Declaration(
        type="command",
        about="any program, once for each turn",
        can=frozenset({"pane", "questions", "usage"}),
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started, else why not."""
        program = self._program(spec)
        if not program or not program[0]:
            return f'agent {spec.name} has no command: set `command = ["PROG", "ARG"]` in [agents.{spec.name}]'
        return why_not_startable(program[0], {**env, **spec.env}, f"agent {spec.name}")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process a turn. Raises UsageError for a spec without a command."""
        program = self._program(spec)
        if not program:
            raise UsageError(f"agent {spec.name} has no command", object=spec.name, hint="see [agents.NAME] command")
        if not spec.turn:
            return launch_turns(program + spec.args, spec, context)
        return launch_turns(runner(program, of_table(spec.turn), spec.args), spec, context, program)

    def pane(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """The same in a terminal, on which it shows what it likes. Raises UsageError for a spec without a command."""
        turns = self.launch(spec, context)
        argv = (sys.executable, "-I", "-S", str(PANE), *turns.argv)
        program = turns.program or turns.argv
        return Launch("pane", argv, environment(spec, context), context.conversation, tui="command", program=program)

    def _program(self, spec: AgentSpec) -> tuple[str, ...]:
        """The configuration's command, else the program of the declaration; empty if neither names one."""
        return spec.command or ((self.declaration.program,) if self.declaration.program else ())

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Lines of the runner are usage and ends of turns; each other line that is not blank is text."""
        found = heard(line, state)
        return super().parse(line, state) if found is None else found


class DescribedAgent(CommandAgent, ABC):
    """A program without a protocol whose rules we know; it asks for nothing, so its policy has to be `skip`.

    `rules(model)` are those for a turn with this model (None: the program's own choice). `command` of the configuration
    replaces the program, `args` are added at the end.
    """

    @abstractmethod
    def rules(self, model: str | None) -> TurnRules:
        """How a turn is run and read."""

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the program can be started with these permissions, else why not."""
        if spec.permissions != SKIP:
            return (
                f"agent {spec.name}: {self.type} asks for nothing when nobody sits there, so it cannot keep to "
                f'`{spec.permissions}`: write permissions = "skip" in [agents.{spec.name}], and give it a sandbox '
                "(or --unsandboxed)"
            )
        if spec.mcp:
            return f"agent {spec.name}: stretto has no way to give {self.type} MCP servers: take `mcp` out"
        return why_not_startable(self._program(spec)[0], {**env, **spec.env}, f"agent {spec.name}")

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process a turn."""
        rules = self.rules(context.model or spec.model)
        program = self._program(spec)
        return launch_turns(runner(program, rules, spec.args), spec, context, program)
