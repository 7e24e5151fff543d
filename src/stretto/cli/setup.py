"""`init`: a first stretto.toml from what is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from stretto.cli.common import emit, json_option, note, on_terminal, together
from stretto.cli.text import clean
from stretto.client import folder
from stretto.config import Detected, detect, template
from stretto.core.errors import StrettoError
from stretto.git import run
from stretto.git.discover import Found, discover

FILE = "stretto.toml"


@click.command("init")
@click.option("--print", "only_print", is_flag=True, help="Print it instead of writing it.")
@json_option
def init_command(only_print: bool, as_json: bool) -> None:
    """Write a commented stretto.toml from what is found here. No file is needed to start."""
    together(
        ("--print", only_print), ("--json", as_json), why="--print shows the file as it is", hint="say one of them"
    )
    found = discover(Path(folder()))
    tracked = _tracked(found)
    there = [entry for folder in (found.root, found.root / "config") if folder.is_dir() for entry in folder.iterdir()]
    beside = {entry.relative_to(found.root).as_posix() for entry in there if entry.is_file()} - tracked
    detected = detect(tracked, lambda name: _text(found, name), beside, _branch(found))
    wanted = detected.copy
    if wanted and not only_print:
        detected = _asked(detected) if not as_json and on_terminal() else replace(detected, copy=())
    text = template(detected)
    if only_print:
        click.echo(text, nl=False)
        return
    path = found.root / FILE
    _write(path, text)
    if as_json:
        told = {"checks": detected.checks, "dependencies": detected.dependencies, "copy": list(detected.copy)}
        told["proposed"] = {"copy": list(wanted)} if wanted != detected.copy else {}
        emit({"path": str(path), **told})
        return
    click.echo(f"wrote {path}")
    for name, command in detected.checks.items():
        note(f"  check {name}: {command}")
    if not detected.checks:
        note("  no test command was recognised: set one under [checks], or changes land unchecked")
    if detected.copy:
        note(f"  copied into each worktree, though git ignores it: {clean(', '.join(detected.copy))}")
    elif wanted and not on_terminal():
        line = f"copy = {json.dumps(list(wanted), ensure_ascii=False)}"
        note(f"  not copied, as nobody could be asked; to have it in each worktree, add to [workspace]: {clean(line)}")
    note("commit it to your target branch, then write a plan and: stretto run PLAN.md")


def _asked(detected: Detected) -> Detected:
    """The same, without the ignored files if the person does not want them in each worktree: they may be secrets."""
    note(f"These files, which git ignores, would be copied into each worktree: {', '.join(detected.copy)}")
    if click.confirm("Copy them?", default=True, err=True):
        return detected
    return replace(detected, copy=())


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StrettoError(
            f"{path} is there already",
            code="exists",
            object=str(path),
            hint="see a fresh one with: stretto init --print",
        ) from None
    except OSError as error:
        raise StrettoError(
            f"{path} cannot be written: {error.strerror}", code="unwritable", object=str(path)
        ) from error


def _tracked(found: Found) -> set[str]:
    return set(run.fields(run.run(run.Place(found.common), "ls-tree", "-r", "-z", "--name-only", "HEAD").stdout))


def _text(found: Found, name: str) -> str | None:
    """A tracked file's text as the last commit has it."""
    done = run.run(run.Place(found.common), "cat-file", "blob", f"HEAD:{name}", ok=(0, 128))
    return done.stdout.decode("utf-8", "replace") if done.ok else None


def _branch(found: Found) -> str | None:
    done = run.run(run.Place(found.common), "symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1, 128))
    return run.text(done) if done.ok else None
