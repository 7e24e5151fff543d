"""Replay: real commits of any clone become tasks of one run; the final tree must equal the serial one.

    python benchmarks/replay.py --repo PATH --commits N --gate CMD [--open K] [--search M]

Specification. The base is the M-th first parent of HEAD (M = 4 N, or `--search`). Its descendants up to HEAD are looked
at in order; one is taken if its change applies to the base alone and, by three-way merge, on top of those taken before,
and leaves something there. All that happens in memory, by `git merge-tree`: the tree after the last one is the serial
tree. Then a clone in a scratch folder gets one task for each (the `command` agent applies the diff of the commit), and
a real daemon with a home of its own runs them with `--open K --approve auto`, each from that one base. It is a success
when all landed, the target's tree is the serial tree, and every landing is there once. PATH is only read. Reports
counts as one line of JSON; exit code 1 when something is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in {None, ""}:
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "src")]

from benchmarks.world import STRETTO, World, world

#: changes neither names nor contents: what a diff needs to be applied byte for byte
DIFF = ("diff", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
AGENT = 'exec git apply --whitespace=nowarn "{diffs}/$STRETTO_TASK.diff"\n'


@dataclass(frozen=True, slots=True)
class Taken:
    """A commit that is replayed as task `id`."""

    id: str
    commit: str
    subject: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="replay.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--repo", type=Path, required=True, help="any clone; it is only read")
    parser.add_argument("--commits", type=int, default=12, help="how many to replay")
    parser.add_argument("--gate", default="true", help="the check that each task and each landing must pass")
    parser.add_argument("--open", type=int, default=6, help="tasks that are open at once")
    parser.add_argument("--search", type=int, help="how many first parents of HEAD to look at (default: 4 N)")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for the whole run")
    asked = parser.parse_args()
    with world() as here:
        found = replay(here, asked.repo, asked.commits, asked.gate, asked.open, asked.search, asked.timeout)
    print(json.dumps(found))
    return 0 if found["equal"] else 1


def replay(
    here: World, source: Path, commits: int, gate: str, width: int, search: int | None = None, timeout: float = 1800.0
) -> dict[str, Any]:
    """Choose, run, compare; the counts."""
    repo = here.folder / "replayed"
    here.run("git", "clone", "-q", "--no-local", "--single-branch", str(source.resolve()), str(repo))
    base, taken, serial = choose(here, repo, commits, search or commits * 4)
    here.git(repo, "checkout", "-q", "-B", "main", base)
    plan, agent = _lay_out(here, repo, base, taken, gate)
    started = time.monotonic()
    code = _run(here, repo, plan, agent, width, timeout)
    seconds = time.monotonic() - started
    events = Counter(_kind(event) for event in here.events(repo))
    landings = here.git(repo, "rev-list", "--count", "--merges", "--first-parent", f"{base}..main")
    tree = here.git(repo, "rev-parse", "main^{tree}")
    whole = here.git(repo, "fsck", "--connectivity-only", "--no-dangling") == ""
    return {
        "schema": 1, "repo": source.name, "base": base, "commits": len(taken), "open": width, "gate": gate,
        "landed": events["queue.landed"], "landings": int(landings), "conflicts": events["ejected: conflict"],
        "red": events["ejected: gate"], "seconds": round(seconds, 1), "exit": code, "tree": tree, "serial": serial,
        "equal": code == 0 and tree == serial and whole and int(landings) == len(taken) == events["queue.landed"],
    }  # fmt: skip


# ---------------------------------------------------------------- choose


def choose(here: World, repo: Path, commits: int, search: int) -> tuple[str, list[Taken], str]:
    """The base, the commits that apply on it alone and one after the other, and the tree after the last."""
    line = here.git(repo, "rev-list", "--first-parent", f"--max-count={search + 1}", "HEAD").split()
    base = line[-1]
    tip, tree, taken = base, here.git(repo, "rev-parse", f"{base}^{{tree}}"), list[Taken]()
    for commit in reversed(line[:-1]):
        if len(taken) == commits:
            break
        alone = _picked(here, repo, commit, base)
        after = _picked(here, repo, commit, tip)
        if alone is None or after in (None, tree):
            continue
        tree = str(after)
        tip = here.git(repo, "commit-tree", "-p", tip, "-m", "serial", tree)
        subject = here.git(repo, "show", "-s", "--format=%s", commit)
        taken.append(Taken(f"c{len(taken) + 1:02}", commit, subject))
    if not taken:
        raise SystemExit(f"none of the last {search} commits applies to {base[:12]} alone")
    return base, taken, tree


def _picked(here: World, repo: Path, commit: str, onto: str) -> str | None:
    """The tree of `commit` cherry-picked onto another commit, made in memory; None if it conflicts or is empty there.

    A commit with the tree of `onto` and the parent of `commit` would be a rebase; git 2.39 has no `--merge-base`, so a
    child of the parent is made whose tree is that of `onto`, and merged with the commit.
    """
    parent = here.git(repo, "rev-parse", f"{commit}^")
    other = here.git(repo, "commit-tree", "-p", parent, "-m", "onto", f"{onto}^{{tree}}")
    done = subprocess.run(
        ["git", "merge-tree", "--write-tree", "--no-messages", other, commit],
        cwd=repo,
        env=dict(here.env),
        capture_output=True,
        text=True,
    )
    tree = done.stdout.split("\n", 1)[0]
    return tree if done.returncode == 0 and tree != here.git(repo, "rev-parse", f"{onto}^{{tree}}") else None


# ---------------------------------------------------------------- run


def _lay_out(here: World, repo: Path, base: str, taken: list[Taken], gate: str) -> tuple[Path, Path]:
    """The plan, and the agent with the diffs that it applies."""
    diffs = here.folder / "diffs"
    diffs.mkdir()
    tasks = []
    for each in taken:
        tree = _picked(here, repo, each.commit, base)
        change = subprocess.run(
            ["git", *DIFF, f"{base}^{{tree}}", str(tree)], cwd=repo, env=dict(here.env), capture_output=True, check=True
        )
        (diffs / f"{each.id}.diff").write_bytes(change.stdout)
        title = " ".join(each.subject.replace("`", "'").split())[:80] or each.commit[:12]
        tasks.append(f"## {each.id}: {title}\nApply the change of {each.commit}.\nAccept: it is applied.\n")
    agent = here.folder / "agent.sh"
    agent.write_text(AGENT.format(diffs=diffs))
    plan = here.folder / "PLAN.md"
    plan.write_text(f"---\nchecks: [{json.dumps(gate)}]\n---\n# Replay of {repo.name}\n\n" + "\n".join(tasks))
    return plan, agent


def _run(here: World, repo: Path, plan: Path, agent: Path, width: int, timeout: float) -> int:
    words = ["--agent", f"command:sh {agent}", "--approve", "auto", "--trust", "--leave-checkout", "--no-fetch"]
    words += ["--pin-base", "--open", str(width), "--wait", "--timeout", f"{timeout:g}"]
    done = subprocess.run(
        [*STRETTO, "run", str(plan), *words], cwd=repo, env=_person(here.env), capture_output=True, text=True
    )
    if done.returncode != 0:
        print(done.stdout[-4000:], done.stderr[-2000:], file=sys.stderr)
    return done.returncode


def _person(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, "PYTHONDONTWRITEBYTECODE": "1", "TERM": os.environ.get("TERM", "dumb")}


def _kind(event: Mapping[str, Any]) -> str:
    if event["type"] == "queue.ejected":
        return f"ejected: {event['data']['cause']}"
    return str(event["type"])


if __name__ == "__main__":
    sys.exit(main())
