"""Other boards as plans: `TASKS.md` with its check boxes, and the files of `.agent-tasks/`.

What cannot be said by a plan is not lost silently: each such thing is a note for the person. The plan that comes out
always renders to a file that parses without errors.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from stretto.core import names, plan_text
from stretto.core.one_task import first_sentence
from stretto.core.plan import TASK_FIELDS, Plan, PlanTask, errors, parse

_ITEM = re.compile(r"[-*+][ \t]+\[(?P<mark>.)\][ \t]+(?P<text>.*\S)[ \t]*")
_SEPARATOR = re.compile(r"[ \t]+(?:[\u2014\u2013|]|--?-?)(?=[ \t])")
_ACCEPTANCE = re.compile(
    r" {0,3}#{1,6}[ \t]+(?:acceptance(?: criteria)?|definition of done|done when)\b.*", re.IGNORECASE
)
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(?:\[.\]\s+)?")


@dataclass(frozen=True, slots=True)
class Imported:
    """A plan made of other files, and notes about what was left out or changed."""

    plan: Plan
    notes: tuple[str, ...]


def import_files(files: Sequence[tuple[str, str]]) -> Imported:
    """A plan of files, given as (path, text): one task for a file of `.agent-tasks/` or one without check boxes."""
    plan, notes = Plan(), list[str]()
    for path, text in files:
        lines = _lines(text)
        single = ".agent-tasks" in PurePosixPath(path.replace("\\", "/")).parts
        if not single and any(line.match(_ITEM) for line in lines):
            plan = _add_board(plan, lines, notes)
        else:
            plan = _add_file(plan, path, text, notes)
    return Imported(plan, tuple(notes))


def _lines(text: str) -> list[plan_text.Line]:
    return plan_text.mark_fences(plan_text.split_lines(text))[0]


# ---------------------------------------------------------------- TASKS.md


def _add_board(plan: Plan, lines: Sequence[plan_text.Line], notes: list[str]) -> Plan:
    title, context, items = _board_parts(lines)
    tasks = list(plan.tasks)
    for mark, text, below in items:
        if mark in "xX":
            notes.append(f"left out, it has landed: {text}")
            continue
        if mark != " ":
            notes.append(f"taken as open, though marked [{mark}]: {text}")
        tasks.append(_board_task(text, below, [task.id for task in tasks], notes))
    both = "\n\n".join(filter(None, (plan.context, context)))
    return replace(plan, title=plan.title or title, context=both, tasks=tuple(tasks))


def _board_parts(lines: Sequence[plan_text.Line]) -> tuple[str, str, list[tuple[str, str, list[str]]]]:
    """Title, other text, and the items with the indented lines below each."""
    title, text = "", list[str]()
    items: list[tuple[str, str, list[str]]] = []
    inside = False
    for line in lines:
        item, heading = line.match(_ITEM), line.match(_HEADING)
        if item:
            items.append((item["mark"], item["text"], []))
        elif inside and (line.blank or line.text.startswith(("  ", "\t"))):
            items[-1][2].append(line.text)
        elif heading:
            title = title or (heading[2].strip() if heading[1] == "#" else "")
        else:
            text.append(line.text)
        inside = bool(item) or (inside and (line.blank or line.text.startswith(("  ", "\t"))))
    return title, _paragraphs(text), items


def _paragraphs(lines: Iterable[str]) -> str:
    return re.sub(r"\n\s*\n+", "\n\n", "\n".join(lines)).strip()


def _board_task(text: str, below: Sequence[str], taken: Sequence[str], notes: list[str]) -> PlanTask:
    parts = [part.strip() for part in _SEPARATOR.split(text, maxsplit=2)]
    branch, owner, words = parts if len(parts) == 3 else (parts[0], "", parts[-1])
    if len(parts) == 1:
        branch = ""
    branch = branch.strip("`*")
    id = names.suggest_id(branch.rsplit("/", 1)[-1] or words, taken)
    title = first_sentence(words)
    body = [words if words != title else "", *textwrap.dedent("\n".join(below)).split("\n")]
    if owner and owner.strip("-?_ "):
        body.append(f"\nOwner on the board: {owner}.")
    task = _section(id, title, body, notes)
    return replace(task, branch=branch) if names.is_branch(branch) and task.branch is None else task


# ---------------------------------------------------------------- .agent-tasks/*.md


def _add_file(plan: Plan, path: str, text: str, notes: list[str]) -> Plan:
    document = plan_text.read(text)
    if not text.strip():
        notes.append(f"left out, it is empty: {path}")
        return plan
    fields = _front_fields(document.front or (), path, notes)
    lines = _lines(text)[len(document.front) + 2 :] if document.front is not None else _lines(text)
    at = next((n for n, line in enumerate(lines) if line.match(_HEADING)), None)
    stem = PurePosixPath(path).stem
    heading = None if at is None else lines[at].match(_HEADING)
    title = heading[2].strip() if heading else stem.replace("-", " ").replace("_", " ").strip().capitalize()
    rest = [line for n, line in enumerate(lines) if n != at]
    body, acceptance = _without_acceptance(rest)
    wanted = [*body, "", *([f"Accept: {acceptance}", ""] if acceptance else []), *fields]
    id = names.suggest_id(stem, [task.id for task in plan.tasks])
    return replace(plan, tasks=(*plan.tasks, _section(id, title, wanted, notes)))


def _front_fields(front: Sequence[plan_text.Line], path: str, notes: list[str]) -> list[str]:
    fields = []
    for line in front:
        key, colon, value = line.text.partition(":")
        if colon and key in TASK_FIELDS:
            fields.append(f"- {key}:{value}")
        elif line.text.strip():
            notes.append(f"left out of {path}: {line.text.strip()}")
    return fields


def _without_acceptance(lines: Sequence[plan_text.Line]) -> tuple[list[str], str]:
    """The text without its acceptance section, and that section as one line; other headings one level lower."""
    body, taken = list[str](), list[str]()
    inside = False
    for line in lines:
        heading = line.match(_HEADING)
        if heading:
            inside = line.match(_ACCEPTANCE) is not None
            if not inside:
                body.append(f"{'#' * max(3, len(heading[1]))} {heading[2]}")
        elif inside:
            taken.append(_BULLET.sub("", line.text).strip())
        else:
            body.append(line.text)
    return body, "; ".join(part.rstrip(";") for part in taken if part)


# ---------------------------------------------------------------- common


def _section(id: str, title: str, body: Sequence[str], notes: list[str]) -> PlanTask:
    """A task of its text; lines that would be wrong fields become text, and are noted."""
    lines = [line if line.match(_HEADING) is None else None for line in plan_text.mark_fences(list(body))[0]]
    texts = [line.text if line else f"### {body[n].strip().lstrip('#').strip()}" for n, line in enumerate(lines)]
    while True:
        plan, findings = parse("\n".join([f"## {id}: {title}", *texts]))
        wrong = {finding.line - 2 for finding in errors(findings)}
        if not wrong:
            return plan.tasks[0]
        for at in sorted(wrong):
            notes.append(f"kept as text in `{id}`: {texts[at].strip()}")
            texts[at] = (
                f"* {texts[at].strip().lstrip('- ')}" if texts[at].lstrip().startswith("-") else f"_{texts[at]}_"
            )
