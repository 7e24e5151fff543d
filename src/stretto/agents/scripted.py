"""An agent that plays a script (docs/scripted-agent.md): for demos, tests and benchmarks, without any model.

`type = "scripted"`, `command = ["script.toml"]`; a relative path starts at the main checkout (`STRETTO_ROOT`).
It runs as any other agent of style `turns` does, in a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stretto.agents.declaration import Declaration
from stretto.agents.turns import TurnsAgent, environment, launch_turns
from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import AgentSpec
from stretto.interfaces import Launch, SessionContext

#: started by path, so that it needs no installed package, PYTHONPATH or site-packages
COMPOSER = Path(__file__).resolve().parent.parent / "testing" / "composer.py"
PLAYER = Path(__file__).resolve().parent.parent / "testing" / "play.py"


class ScriptedAgent(TurnsAgent):
    """Plays the turns of a TOML or JSON file."""

    type = "scripted"
    declaration = Declaration(
        type="scripted",
        about="plays a file, for rehearsals and tests",
        can=frozenset({"pane", "questions", "usage"}),
    )

    def probe(self, spec: AgentSpec, env: Mapping[str, str]) -> str | None:
        """None if the script can be read and makes sense, else all its mistakes with their places."""
        from stretto.testing.script import load_script

        try:
            load_script(_script(spec, env))
        except StrettoError as error:
            return error.message
        return None

    def launch(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """One process a turn. Raises UsageError for a spec without a script."""
        argv = (sys.executable, "-I", str(PLAYER), str(_script(spec, context.env)))
        return launch_turns(argv, spec, context)

    def pane(self, spec: AgentSpec, context: SessionContext) -> Launch:
        """A small interface of its own, in which each message plays a turn. Raises UsageError without a script."""
        play = (sys.executable, "-I", str(PLAYER), str(_script(spec, context.env)))
        argv = (sys.executable, "-I", str(COMPOSER), *play)
        return Launch("pane", argv, environment(spec, context), context.conversation, tui="scripted")


def _script(spec: AgentSpec, env: Mapping[str, str]) -> Path:
    words = spec.command + spec.args
    if len(words) != 1:
        raise UsageError(
            f"agent {spec.name} wants exactly one script, got {len(words)} words",
            object=spec.name,
            hint=f'set `command = ["script.toml"]` in [agents.{spec.name}]',
        )
    return Path(env.get("STRETTO_ROOT") or Path.cwd()) / Path(words[0]).expanduser()
