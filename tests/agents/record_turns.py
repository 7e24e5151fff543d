"""Record what the runner of a turn writes: `PYTHONPATH=src:. python -m tests.agents.record_turns [NAME…]`.

A file holds the lines of the runner around a real program and, as the last one, the exit code.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from stretto import agents
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext
from stretto.testing.modelserver import ModelServer
from tests.agents.record import GOLDEN, scrubbed
from tests.e2e.turn_agents import KINDS, Turns
from tests.support.repository import Repository
from tests.support.stream import clean_environment

TURNS = {
    "edit": "[[as=x]] Do it. {edit}",
    "priced": "[[as=x]] Do it. {edit}",
    "overflow": "[[as=x]] [[bare]] x [[overflow=99]] [[say=never]]",
    "refused": "[[as=x]] [[bare]] x [[err=401x99]] [[say=never]]",
}
#: a model whose price the programs know
PRICED = "openai/gpt-4o"


def record_turn(kind: Turns, name: str, server: ModelServer, folder: Path) -> None:
    """What the runner of a turn wrote, and the signals that the adapter made of it."""
    repo = Repository.create(folder / "repo", {"README.md": "# sample\n"})
    home = folder / "home"
    env = {**clean_environment(home, server.url), **kind.environment(home, server.url), "STRETTO_SESSION": "s1"}
    spec = AgentSpec(
        kind.name, kind.name, (str(kind.program()),), tuple(kind.arguments(server.url)), permissions="skip"
    )
    model = PRICED if name == "priced" else kind.model
    context = SessionContext("s1", "r/t", repo.path, folder, env, None, False, model, "skip")
    agent = agents.find(kind.name)
    launch = agent.launch(spec, context)
    prompt = folder / "1.prompt"
    prompt.write_text(TURNS[name].format(edit=kind.edit("one.txt", "one")))
    own = {**launch.env, "STRETTO_PROMPT_FILE": str(prompt), "STRETTO_TURN": "1"}
    done = subprocess.run(launch.argv, cwd=repo.path, env=own, stdout=subprocess.PIPE, timeout=300, check=False)
    lines = [scrubbed(line, folder) for line in done.stdout.splitlines() if b"HTTPSConnectionPool" not in line][-40:]
    into = GOLDEN / kind.name
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{name}.out").write_text("\n".join([*lines, f"exit {done.returncode}"]) + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    with ModelServer() as server:
        for kind in names or list(KINDS):
            for name in [one for one in TURNS if one != "priced" or kind != "qwen"]:
                with tempfile.TemporaryDirectory(prefix="record-") as folder:
                    record_turn(KINDS[kind], name, server, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
