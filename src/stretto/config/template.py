"""The first stretto.toml: what was found, set; all else commented, with what it means."""

from __future__ import annotations

import json

from stretto.config.detect import Detected

_TEMPLATE = """\
# stretto.toml: how agents work on this repository. Every line may go; no file is needed to start.
# {languages}
# Commands in this file run only after you trusted their exact text: stretto trust
schema = 1

[project]
{target}
# base = "main"                     # what tasks start from; the target if not said
# worktrees = "../worktrees"        # folder of the worktrees; ../<repository>.worktrees if not said
# branch_prefix = "stretto"         # branches are called <prefix>/<run>/<task>/work
# keep_landed = false               # keep the branches of landed tasks

[workspace]
{copy}
{dependencies}
{setup}
# browser = "port"                  # a browser profile for each workspace; "pipe": without a port
# env_file = ".env.local"           # also write the environment to this file, which git must ignore
# sandbox = "auto"                  # confine agents and checks where this machine can; "none" if not said

# [workspace.env]                   # for every process in a workspace
# DATABASE_PATH = "var/{{task}}.sqlite3"
# API_KEY = {{from = "API_KEY", secret = true}}   # taken from your environment, never stored

# [workspace.ports]                 # a block of 20 ports for each workspace: PORT is its first
# api = 1                           # PORT_API is the second

# [workspace.serve]                 # servers for `stretto serve`, and for checks that name them
# web = {{run = "make serve", port = "api", ready = "/health", timeout = "30s"}}

# [database]                        # a database of its own for each workspace, copied from yours
# url = "sqlite:///var/app.sqlite3" # or "postgresql://USER@HOST/NAME"
# migrate = "make migrate"

# [sandbox]                         # what a sandbox lets through
# network = ["packages.example.org", "localhost:5432"]
# read = ["~/.rustup"]

[checks]                            # each must pass in the task's worktree, and again on the merged state
{checks}
# slow = {{run = "make e2e", timeout = "30m", serve = ["web"]}}

[pipeline]
# approve = "human"                 # or "auto"
# check_rounds = 3                  # how often a red check goes back to its agent

[limits]
# open = 2                          # tasks open at once, those that wait for you included
# tokens = 2000000
# minutes = 120
# silence = "30m"                   # a turn that says nothing for so long is put before you
# task = {{tokens = 500000}}          # of each task; its own `budget` wins

# [roles.implementer]
# agent = "claude"
# permissions = "ask"               # or "skip", "allow Edit, Bash(make test)", "deny WebFetch"
# fallback = ["codex"]              # who takes over when the vendor takes no more

# [agents.mine]
# type = "command"
# command = ["python3", "agent.py"]
"""


def template(found: Detected) -> str:
    """A commented stretto.toml with what was found in the repository."""
    languages = ", ".join(found.languages) or "no language that stretto knows"
    checks = [f"{_key(name)} = {_text(command)}" for name, command in found.checks.items()]
    return _TEMPLATE.format(
        languages=f"Found: {languages}.",
        target=f"target = {_text(found.target)}" if found.target else '# target = "main"',
        copy=_line("copy", list(found.copy), [".env"], "ignored files to copy into each worktree"),
        dependencies=_flag("dependencies", found.dependencies, "install what lock files name, in each new worktree"),
        setup=_line("setup", list(found.setup), ["make setup"], "once in each new worktree"),
        checks="\n".join(checks) or '# test = "make test"',
    )


def _line(key: str, found: list[str], example: list[str], means: str) -> str:
    value = f"{key} = [{', '.join(_text(one) for one in found or example)}]"
    return f"{value if found else '# ' + value:<34}  # {means}"


def _flag(key: str, found: bool, means: str) -> str:
    value = f"{key} = true"
    return f"{value if found else '# ' + value:<34}  # {means}"


def _text(value: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if all(letter.isalnum() or letter in "-_" for letter in name) else _text(name)
