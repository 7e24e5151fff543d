"""Play the demo: lay out the sample repository, run its plan, answer what is asked, prove the result, sum up.

It plays the person: it starts `stretto` and `git` as a person at a terminal would, in a folder of its own with a home
of its own, and reads nothing but their output. It is red when any task does not land, when nothing was asked, repaired
or ejected on the way, or when the tests do not pass on the target afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from stretto import process, spawn
from stretto.core.errors import StrettoError
from stretto.core.model import Event
from stretto.core.stats import Summary, summarize

#: seconds that the whole run may take with the scripted agent, and with a real one
TIMEOUT, REAL_TIMEOUT = 120, 3600
#: what a real claude may do without asking in the demo's own repository; the demo denies all else
CLAUDE = """
[agents.claude]
permissions = "allow Read, Glob, Grep, Write, Edit, Bash(git *), Bash(python3 -m unittest *)"
"""
DENIED = "deny the demo allows edits, git and the unit tests; do it with these"
#: how long a question is shown before the demo answers it, in seconds
THINKING = 1.5


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: its folder, the repository in it, and the environment of all its commands."""

    folder: Path
    repository: Path
    env: dict[str, str]

    def run(self, *argv: str, timeout: float = 60.0) -> process.Completed:
        """One command of the person, its output captured."""
        return process.run(list(argv), cwd=self.repository, env=self.env, timeout=timeout)

    def stretto(self, *words: str, timeout: float = 60.0) -> process.Completed:
        """`stretto WORDS`."""
        return self.run(sys.executable, "-m", "stretto", *words, timeout=timeout)


def main(agent: str | None = None, *, keep_home: bool = True) -> int:
    """Play it; 0 if everything landed and the tests pass on the target."""
    folder = Path(tempfile.mkdtemp(prefix="stretto-demo-"))
    stage = lay_out(folder, agent)
    print(f"The demo plays in {folder}\n")
    try:
        code = _play(stage, agent)
    finally:
        stage.stretto("down", "--all")
    print(f"\nEverything is in {folder}; delete it when you have seen enough.")
    return code


def lay_out(folder: Path, agent: str | None = None) -> Stage:
    """A repository with one commit, made from the sample; configured for `agent` if it is a real one."""
    repository = folder / "shelf"
    with resources.as_file(resources.files("stretto.demo") / "sample") as sample:
        shutil.copytree(sample, repository, ignore=shutil.ignore_patterns("__pycache__"))
    with resources.as_file(resources.files("stretto.demo")) as package:
        shutil.copy(package / "plan.md", folder / "PLAN.md")
        shutil.copy(package / "script.toml", folder / "script.toml")
    if agent == "claude":
        with (repository / "stretto.toml").open("a") as file:
            file.write(CLAUDE)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "STRETTO_"))}
    env |= {"STRETTO_HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    stage = Stage(folder, repository, env)
    for words in (
        ("init", "-q", "-b", "main"),
        ("config", "user.name", "Demo"),
        ("config", "user.email", "demo@localhost"),
        ("add", "-A"),
        ("commit", "-q", "-m", "Shelf as it was"),
    ):
        _must(stage.run("git", *words))
    return stage


def _play(stage: Stage, agent: str | None) -> int:
    scripted = agent is None
    words = [
        "run", str(stage.folder / "PLAN.md"), "--agent", agent or f"scripted:{stage.folder / 'script.toml'}",
        "--approve", "auto", "--open", "4", "--trust", "--update-checkout", "--wait",
    ]  # fmt: skip
    limit = TIMEOUT if scripted else REAL_TIMEOUT
    words += ["--timeout", str(limit)]
    threading.Thread(target=_be_the_person, args=(stage, limit), daemon=True).start()
    code = spawn.inherited([sys.executable, "-m", "stretto", *words], cwd=stage.repository, env=stage.env)
    events = _events(stage)
    print("\n$ git log --oneline --graph main")
    print(_must(stage.run("git", "log", "--oneline", "--graph", "main")).stdout.decode())
    tests = stage.run(sys.executable, "-m", "unittest", "discover", "-s", "tests", "-q")
    print("$ python3 -m unittest discover -s tests -q")
    print((tests.stdout + tests.stderr).decode())
    summary = summarize(events)
    print(describe(summary))
    problems = _problems(stage, code, tests, summary, scripted)
    for problem in problems:
        print(f"NOT AS IT SHOULD BE: {problem}")
    return 1 if problems else 0


def _be_the_person(stage: Stage, limit: float) -> None:
    """Look at the inbox, think, take the first option of a question, and allow nothing that was not allowed before."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = stage.stretto("inbox", "--json")
        items = json.loads(found.stdout).get("inbox", []) if found.ok else []
        for item in items:
            if item["kind"] == "question":
                time.sleep(THINKING)
                stage.stretto("answer", item["id"], "1")
            elif item["kind"] == "permission":
                stage.stretto("answer", item["id"], DENIED)
        time.sleep(0.4)


def _events(stage: Stage) -> list[Event]:
    found = _must(stage.stretto("events", "--since", "0", "--json"))
    return [_event(json.loads(line)) for line in found.stdout.decode().splitlines() if line.strip()]


def _event(raw: dict[str, Any]) -> Event:
    at = raw["at"]
    seconds = at if isinstance(at, int | float) else _epoch(str(at))
    return Event(raw["id"], seconds, raw.get("repo"), raw.get("run"), raw.get("task"), raw["type"], raw["data"])


def _epoch(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _problems(stage: Stage, code: int, tests: process.Completed, summary: Summary, scripted: bool) -> list[str]:
    problems = []
    if code != 0:
        problems.append(f"the run ended with exit code {code}")
    if summary.outcomes.get("landed", 0) != 6:
        problems.append(f"of six tasks these landed: {summary.outcomes}")
    if not tests.ok:
        problems.append("the tests do not pass on the target")
    if scripted and (summary.rounds < 2 or summary.ejected < 1 or summary.human <= 0):
        problems.append("the check, the conflict or the question of the script did not happen")
    if stage.run("git", "status", "--porcelain").stdout.strip():
        problems.append("the checkout is not clean")
    return problems


def describe(s: Summary) -> str:
    """The summary in words."""
    stages = ", ".join(f"{name} {seconds / 60:.2f}" for name, seconds in s.stages.items())
    ratio = f" ({s.ratio:.1f} times the wall time)" if s.ratio else ""
    per_task = f"{s.tokens_per_landed:,.0f}" if s.tokens_per_landed is not None else "none"
    return "\n".join(
        [
            "Summary",
            f"  landed              {s.outcomes.get('landed', 0)} of {sum(s.outcomes.values())} tasks",
            f"  wall time           {s.wall:.1f} s",
            f"  serial equivalent   {s.serial:.1f} s{ratio}",
            f"  minutes per stage   {stages}",
            f"  waited for you      {s.waiting:.1f} s",
            f"  repair turns        {s.rounds}, ejected from the queue {s.ejected}",
            f"  tokens per landed   {per_task}",
        ]
    )


def _must(done: process.Completed) -> process.Completed:
    if not done.ok:
        raise StrettoError(
            f"{' '.join(done.argv[:4])} failed: {done.stderr.decode(errors='replace').strip()}", code="demo"
        )
    return done
