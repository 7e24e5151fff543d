"""Is this plan fit to hand over? Everything that parser, graph and words give away, in the order of lines."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from stretto.core import graph, overlap, plan_text, wording
from stretto.core.finding import Finding, Severity, closest, warning
from stretto.core.model import Kind
from stretto.core.plan import ROLES, Plan, PlanTask, parse

MAX_TITLE = 72
MAX_GLOBS = 10
MAX_FOLDERS = 4
MAX_TABLES = 5
MOST_PARTNERS = 20
_ASKING_KINDS = (Kind.RESEARCH, Kind.ARCHITECTURE)
_ASKING_ROLES = ("driver", "researcher")
_SECRET = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|APIKEY|API_KEY|PRIVATE_KEY|CREDENTIALS)(?:$|_)", re.IGNORECASE
)


def lint(text: str, *, strict: bool = False, roles: Collection[str] = ()) -> tuple[Plan, list[Finding]]:
    """The plan and all its findings. `strict` makes every warning an error; `roles` are those of the configuration."""
    plan, findings = parse(text)
    lines = plan_text.split_lines(text)
    findings += graph.problems(plan)
    findings += _commented(lines, plan)
    findings += _together(plan)
    titles: dict[str, PlanTask] = {}
    bounds = [*(task.line for task in plan.tasks[1:]), len(lines) + 1][: len(plan.tasks)]
    known = {*ROLES, *roles}
    ids = {task.id for task in plan.tasks}
    for task, end in zip(plan.tasks, bounds, strict=True):
        below = Below(task, lines[task.line - 1 : end - 1])
        findings += [*_words(below), *_fields(task, known), *_unnamed_needs(below, ids)]
        first = titles.setdefault(task.title.casefold(), task)
        if first is not task and task.title:
            message = f"`{first.id}` on line {first.line} has the same title"
            findings.append(warning(task.line, "duplicate-title", message, "say how they differ", task.id))
    findings.sort(key=lambda finding: (finding.line, finding.rule))
    if strict:
        findings = [replace(finding, severity=Severity.ERROR) for finding in findings]
    return plan, findings


class Below:
    """A task with the lines of the file that it stands on, to find where words are."""

    def __init__(self, task: PlanTask, lines: Sequence[str]) -> None:
        self.task = task
        self.words = f"{task.title}.\n{task.spec}"
        self._lines = lines

    def at(self, words: str) -> int:
        """The line that holds the words (their first line), or the heading's."""
        first = words.split("\n")[0].replace("`x_y`", "`").split("`")[0].strip()
        found = (n for n, line in enumerate(self._lines) if first and first in line)
        return self.task.line + next(found, 0)


# ---------------------------------------------------------------- words


def _words(below: Below) -> Iterator[Finding]:
    task = below.task
    yield from _title(task)
    yield from _spec(below)
    yield from _acceptance(task)
    if task.kind in _ASKING_KINDS or task.role in _ASKING_ROLES:
        return
    yield from _handed_over(below)


def _title(task: PlanTask) -> Iterator[Finding]:
    if not task.title:
        yield warning(task.line, "no-title", "the heading has no title", f"write `## {task.id}: What to do`", task.id)
    elif len(task.title) > MAX_TITLE:
        message = f"the title has {len(task.title)} characters"
        yield warning(task.line, "long-title", message, f"say it in {MAX_TITLE}, the rest in the spec", task.id)
    if wording.joined(task.title):
        message = "the title orders more than one thing"
        yield warning(task.line, "several-tasks", message, "make a task of each, with `needs` between them", task.id)


def _spec(below: Below) -> Iterator[Finding]:
    task = below.task
    if not task.spec:
        yield warning(
            task.line, "no-spec", "nothing but a title", "say in a few sentences what to do and keep", task.id
        )
    elif why := wording.too_long(task.spec):
        form = "split the task, or move what all tasks need to know above the first one"
        yield warning(task.line, "long-spec", f"the spec is more than a short paragraph: {why}", form, task.id)
    count = wording.items(task.spec)
    if count > wording.MAX_ITEMS:
        message = f"the spec lists {count} things"
        yield warning(task.line, "several-tasks", message, "make tasks of those that can be done alone", task.id)
    if words := wording.placeholder(below.words):
        message = f"`{words}` leaves something out"
        yield warning(below.at(words), "placeholder", message, "say what it stands for", task.id)


def _acceptance(task: PlanTask) -> Iterator[Finding]:
    line = task.at("accept")
    if not task.accept:
        if task.lands:
            form = "add a line `Accept:` with one sentence that a test or a look can prove"
            yield warning(task.line, "no-acceptance", "nothing says when it is done", form, task.id)
    elif wording.vague_acceptance(task.accept):
        form = "name what can be seen: a command that passes, a response, a file"
        yield warning(line, "vague-acceptance", f"`{_short(task.accept)}` cannot be checked", form, task.id)
    elif why := wording.too_long_acceptance(task.accept):
        form = "keep the one sentence that decides; move the rest to the spec or split the task"
        yield warning(line, "long-acceptance", f"the acceptance is longer than a sentence: {why}", form, task.id)


def _handed_over(below: Below) -> Iterator[Finding]:
    """What an implementer cannot do without asking."""
    task = below.task
    if words := wording.question(below.words):
        form = "answer it in the spec, or ask it first: `- kind: research`, or the driver"
        yield warning(below.at(words), "open-question", f"`{_short(words)}` leaves a decision open", form, task.id)
    elif words := wording.design(below.words):
        form = "settle the design with the driver or a task of `- kind: architecture`, then say what to build"
        yield warning(below.at(words), "design-work", f"`{_short(words)}` asks for a design", form, task.id)
    if words := wording.vague(below.words):
        form = "name the object and the measure: what, where, by how much"
        yield warning(
            below.at(words), "vague-verb", f"`{_short(words)}` says nothing that can be checked", form, task.id
        )


def _short(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= 60 else line[:57] + "..."


# ---------------------------------------------------------------- fields


def _fields(task: PlanTask, known_roles: Collection[str]) -> Iterator[Finding]:
    if task.role not in known_roles:
        guess = closest(task.role, known_roles)
        form = f"write `{guess}`" if guess else f"add [roles.{task.role}] to stretto.toml"
        yield warning(task.at("role"), "unknown-role", f"no role is called `{task.role}`", form, task.id)
    for name in task.env:
        if _SECRET.search(name):
            form = f"take it from your environment: `{name} = {{secret = true}}` in [workspace.env] of stretto.toml"
            yield warning(task.at("env"), "secret-in-plan", f"`{name}` looks like a secret", form, task.id)
    for glob in task.files:
        if glob.startswith(("/", "~")) or ".." in glob.split("/") or "\\" in glob:
            message = f"`{glob}` is no path inside of the repository"
            yield warning(task.at("files"), "outside-files", message, "write it from the root, with `/`", task.id)
    if why := _too_much(task):
        form = "narrow the globs, or split the task"
        yield warning(task.at("files"), "touches-too-much", f"it touches too much: {why}", form, task.id)
    if task.workspace == "shared" and not task.files:
        form = "add `- files:` with what it may change"
        message = "it works in the main checkout without saying on which files"
        yield warning(task.at("workspace"), "shared-without-files", message, form, task.id)


def _too_much(task: PlanTask) -> str | None:
    if task.waits_for_all or not task.lands:
        return None
    if any(overlap.is_everything(glob) for glob in task.files):
        return "a glob covers the whole repository"
    if len(task.files) > MAX_GLOBS:
        return f"{len(task.files)} globs"
    folders = {glob.split("/")[0] for glob in task.files if "/" in glob}
    if len(folders) > MAX_FOLDERS:
        return f"{len(folders)} top folders"
    return f"{len(task.tables)} tables" if len(task.tables) > MAX_TABLES else None


def _unnamed_needs(below: Below, ids: Collection[str]) -> Iterator[Finding]:
    task = below.task
    if task.waits_for_all:
        return
    for other in wording.spoken_of(task.spec):
        if other in ids and other != task.id and other not in task.needs:
            form = f"add `- needs: {', '.join([*task.needs, other])}` if it must come first"
            message = f"it speaks of `{other}`, which it does not need"
            yield warning(below.at(other), "unnamed-need", message, form, task.id)


# ---------------------------------------------------------------- tasks beside each other


def _together(plan: Plan) -> Iterator[Finding]:
    """What tasks that may run at the same time would both touch."""
    needs = graph.needs_of(plan)
    tasks = {task.id: task for task in reversed(plan.tasks)}
    working = [task for task in (tasks[id] for id in needs) if task.lands]
    reach = graph.Reach(needs)
    yield from _missing_files(working, reach)
    files = overlap.claims({task.id: task.files for task in working}, reach.together, MOST_PARTNERS)
    yield from _shared(files, "files", "overlapping-files", "touch the same files", tasks)
    names = overlap.shared_names({task.id: task.tables for task in working}, reach.together, MOST_PARTNERS)
    yield from _shared(names, "tables", "shared-tables", "change the same tables", tasks)
    if len(needs) > 2 and not graph.cycles(needs) and all(len(wave) == 1 for wave in graph.waves(needs)):
        message = "all tasks form one chain: nothing can run at the same time"
        line = plan.tasks[0].line
        yield warning(line, "nothing-parallel", message, "remove needs that are only habit, or use one agent", None)


def _missing_files(working: Sequence[PlanTask], reach: graph.Reach) -> Iterator[Finding]:
    for task in working:
        beside = not task.files and any(reach.together(task.id, other.id) for other in working)
        if beside:
            form = "add `- files: folder/**, tests/test_x.py` with what it may change"
            message = "it may run beside others, but does not say which files it touches"
            yield warning(task.line, "no-files", message, form, task.id)


def _shared(
    found: Sequence[overlap.Overlap],
    key: str,
    rule: str,
    what: str,
    tasks: Mapping[str, PlanTask],
) -> Iterator[Finding]:
    """One finding for each task that shares something with earlier ones."""
    partners: dict[str, list[overlap.Overlap]] = {}
    for pair in found:
        partners.setdefault(pair.other, []).append(pair)
    for id, pairs in partners.items():
        others = [f"`{pair.one}`" for pair in pairs[:3]]
        rest = "others" if len(pairs) >= MOST_PARTNERS else f"{len(pairs) - 3} more"
        more = f" and {rest}" if len(pairs) > 3 else ""
        both = " and ".join(f"`{part}`" for part in dict.fromkeys(pairs[0].shared[0]))
        message = f"`{id}` and {', '.join(others)}{more} may run together and {what} ({both})"
        form = f"let one need the other (`- needs: {pairs[0].one}`), or divide them otherwise"
        yield warning(tasks[id].at(key), rule, message, form, id)


def _commented(lines: Sequence[str], plan: Plan) -> Iterator[Finding]:
    """Tasks in HTML comments, which Markdown hides and we do not."""
    headings = {task.line: task for task in plan.tasks}
    inside = False
    for number, line in enumerate(lines, 1):
        if inside and number in headings:
            form = "cut it out of the file, or write `###` instead of `##`"
            message = "this task stands in a comment, and would be run all the same"
            yield warning(number, "commented-task", message, form, headings[number].id)
        if "<!--" in line or "-->" in line:
            inside = line.rfind("<!--") > line.rfind("-->")
