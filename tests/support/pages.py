"""Play the code blocks of a page as its reader would, from top to bottom, in one scratch repository.

What a block is for stands on its first line, behind the three ticks:

    sh                    commands, run by `bash -euo pipefail`
    console               `$ command` lines, each followed by what it prints
    LANGUAGE FILE         a file: written into the repository, and read as its language says
    yaml FILE             a file, read as Compose reads it
    javascript FILE       a file, checked by node
    markdown              a plan: parsed and linted, without errors
    toml                  stretto.toml, or a script of the scripted agent
    json $ COMMAND        keys and types that COMMAND prints
    python                run

In the output of a `console` block times and ids may differ, blanks count once, and `…` stands for anything:
within a line, or alone for any number of lines.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto import config
from stretto.core import lint, plan
from stretto.testing.script import parse_script
from stretto.workspace import compose
from tests.support.repository import Repository
from tests.support.world import ROOT

#: how long one block may take, in seconds
LIMIT = 120
LANGUAGES = ("sh", "console", "markdown", "toml", "json", "python", "javascript", "yaml")
_FENCE = re.compile(r"^(`{3,})(\w*)[ ]?([^\n]*)\n(.*?)^\1$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `words` is what stands behind the language, `line` where it begins (from 1)."""

    page: str
    line: int
    language: str
    words: str
    body: str

    def __str__(self) -> str:
        """Where to look."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """The pages whose blocks must run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [Block(name, text.count("\n", 0, m.start()) + 1, m[2], m[3].strip(), m[4]) for m in _FENCE.finditer(text)]


class Reader:
    """Somebody who follows a page: a repository, and `stretto` and `make` on the PATH."""

    def __init__(self, repository: Repository, programs: Path) -> None:
        self.repository = repository
        programs.mkdir()
        _program(programs / "stretto", f'exec {shlex.quote(sys.executable)} -m stretto "$@"')
        # the interpreter that has what the pages ask for
        _program(programs / "python", f'exec {shlex.quote(sys.executable)} "$@"')
        # the real Makefile, with these programs in place of those that `make setup` installs
        _program(programs / "make", f'exec {_make()} -C {shlex.quote(str(ROOT))} -o setup BIN={programs} "$@"')
        self.env = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def play(self, block: Block) -> None:
        """Do what the block says; AssertionError if it does not work."""
        assert block.language in LANGUAGES, f"{block}: no test can run a block of `{block.language}`"
        getattr(self, f"_{block.language}")(block)

    def leave(self) -> None:
        """End what still runs."""
        self._bash("stretto down --all")

    def _sh(self, block: Block) -> None:
        if block.words:
            self._write(block)
            return
        done = self._bash(block.body)
        assert done.returncode == 0, f"{block}: exit {done.returncode}\n{block.body}\n{done.stdout}"

    def _console(self, block: Block) -> None:
        for command, expected in _commands(block.body):
            done = self._bash(command)
            assert matches(done.stdout, expected), f"{block}: $ {command}\n{done.stdout}\nis not\n{expected}"

    def _markdown(self, block: Block) -> None:
        parsed, findings = lint.lint(block.body)
        wrong = plan.errors(findings)
        assert parsed.tasks, f"{block}: no task"
        assert not wrong, f"{block}: {wrong}"
        self._write(block)

    def _toml(self, block: Block) -> None:
        data = tomllib.loads(block.body)
        if "tasks" in data:
            assert parse_script(data, Path(block.words or "script.toml")).tasks
        else:
            mistakes = config.parse(block.body)[1]
            assert not mistakes, f"{block}: {[str(mistake) for mistake in mistakes]}"
        self._write(block)

    def _yaml(self, block: Block) -> None:
        assert block.words, f"{block}: which file is this?"
        assert list(compose.parsed([block.body])), f"{block}: this cannot be read"
        self._write(block)

    def _javascript(self, block: Block) -> None:
        assert block.words, f"{block}: which file is this?"
        self._write(block)
        done = self._bash(f"node --check {shlex.quote(block.words)}")
        assert done.returncode == 0, f"{block}\n{done.stdout}"

    def _json(self, block: Block) -> None:
        assert block.words.startswith("$ "), f"{block}: which command prints this?"
        done = self._bash(block.words[2:])
        assert done.stdout.strip(), f"{block}: {block.words[2:]} printed nothing"
        actual, said = json.loads(done.stdout.splitlines()[-1]), json.loads(block.body)
        wrong = list(differences(said, actual))
        assert not wrong, f"{block}: {wrong}\n{done.stdout}"

    def _python(self, block: Block) -> None:
        compile(block.body, str(block), "exec")
        if block.words:
            self._write(block)
            return
        done = self._bash(f"{shlex.quote(sys.executable)} - <<'END-OF-BLOCK'\n{block.body}END-OF-BLOCK")
        assert done.returncode == 0, f"{block}\n{done.stdout}"

    def _write(self, block: Block) -> None:
        if block.words:
            self.repository.write({block.words: block.body})

    def _bash(self, commands: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.repository.path,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )


def matches(actual: str, expected: str) -> bool:
    """Whether the output is what the page says, but for what differs each time."""
    lines = [re.escape(_plain(line)).replace("…", ".*") for line in expected.splitlines()]
    pattern = "".join(r"(?:[^\n]*\n)*" if line == ".*" else line + r"\n" for line in lines)
    return re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in actual.splitlines())) is not None


def differences(said: Any, actual: Any, at: str = "") -> list[str]:
    """What a page says of JSON and is not so: keys that are not there, values of another type."""
    if isinstance(said, Mapping):
        if not isinstance(actual, Mapping):
            return [f"{at or 'it'} is no object"]
        missing = [f"{at}.{key} is not there" for key in said if key not in actual]
        return missing + [
            d for key in said if key in actual for d in differences(said[key], actual[key], f"{at}.{key}")
        ]
    if isinstance(said, list) and said:
        if not isinstance(actual, list) or not actual:
            return [f"{at} is no list with elements"]
        return differences(said[0], actual[0], f"{at}[0]")
    numbers = (int, float)
    same = type(said) is type(actual) or (isinstance(said, numbers) and isinstance(actual, numbers))
    return [] if same or actual is None else [f"{at} is {actual!r}, not like {said!r}"]


def _plain(line: str) -> str:
    """A line without what is another each time: ids, times, numbers of seconds, widths."""
    line = re.sub(r"\b([a-z][a-z0-9-]*)-[a-z2-7]{4}\b(?=[/ :,]|$)", r"\1-RUN", line)
    line = re.sub(r"\b[0-9a-f]{7,40}\b", "OID", line)
    line = re.sub(r"\b(stretto answer|undo) [a-z0-9]{5,}", r"\1 ITEM", line)
    line = re.sub(r"^[a-z0-9]{5}( · \w+ · )", r"ITEM\1", line)
    line = re.sub(r"\b\d+(\.\d+)?( ?)(ms|s|min|m|h|kB|MB)\b", r"N\2\3", line)
    line = re.sub(r"\b\d\d:\d\d:\d\d\b", "TIME", line)
    return re.sub(r"[ \t]+", " ", line).strip()


def _commands(body: str) -> list[tuple[str, str]]:
    """Each command of a console block (lines that end in a backslash go on) with its output."""
    found: list[tuple[str, str]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0][:-1]}{line.removeprefix('> ')}", "")
        else:
            assert found, f"output before a command: {line}"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def _make() -> str:
    found = shutil.which("make")
    assert found, "make is not installed"
    return shlex.quote(found)


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
