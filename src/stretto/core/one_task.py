"""A single task from words: a line, a paragraph, or a section of a Markdown file (`stretto add`)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection
from dataclasses import replace

from stretto.core import names, plan_text
from stretto.core.errors import UsageError
from stretto.core.finding import Finding
from stretto.core.plan import PlanTask, parse

MAX_TITLE = 72
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(\S.*)")


def one_task(text: str, *, title: str | None = None, taken: Collection[str] = ()) -> tuple[PlanTask, list[Finding]]:
    """The task that the words mean, with an id that is not in `taken`, and the findings of its text.

    A heading `## id: Title` gives id and title, any other heading the title; else the first sentence is the title and
    the whole text the spec. `Accept:` and fields count as in a plan. Raises UsageError for no words or several tasks.
    """
    lines = "\n".join(plan_text.split_lines(text)).strip("\n").split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        raise UsageError("there are no words to make a task of", code="no_words", hint='stretto add "What to do"')
    section = lines if plan_text.read("\n".join(lines[:1])).sections else _with_heading(lines, title)
    plan, findings = parse("\n".join(section))
    if len(plan.tasks) != 1:
        raise UsageError(
            f"the text holds {len(plan.tasks)} tasks: {', '.join(task.id for task in plan.tasks)}",
            code="several_tasks",
            hint="give one section, or write all of them to a file and run: stretto run PLAN.md",
        )
    task = plan.tasks[0]
    id = names.suggest_id(task.id, taken) if task.id in taken else task.id
    return replace(task, id=id, title=title or task.title), findings


def _with_heading(lines: list[str], title: str | None) -> list[str]:
    """The lines under a heading that begins a task."""
    heading = _HEADING.fullmatch(lines[0])
    if heading:
        name, body = heading[1].strip(), lines[1:]
    else:
        name, body = first_sentence(lines[0]), lines
    return [f"## {names.slugify(title or name)}: {title or name}", *body]


def first_sentence(words: str) -> str:
    """The first sentence, if it is short enough to be a title; else its beginning."""
    first = re.split(r"(?<=[.!?])\s", words.strip(), maxsplit=1)[0].rstrip(". ")
    return first if len(first) <= MAX_TITLE else textwrap.shorten(first, MAX_TITLE, placeholder=" …")
