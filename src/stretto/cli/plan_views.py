"""What `stretto plan lint|show|import` print: functions from text to (output, exit code), without any terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stretto.cli.roles import NOBODY, by_who, who_json
from stretto.core import graph, migrations, overlap, schedule
from stretto.core.board_import import Imported, import_files
from stretto.core.finding import Finding, Severity
from stretto.core.lint import MOST_PARTNERS, lint
from stretto.core.model import Kind
from stretto.core.plan import Plan, errors, parse, render

if TYPE_CHECKING:
    from stretto.core.assigned import Assigned

WIDTH = 80
MOST_ROWS = 60
MOST_PAIRS = 10_000
MOST_OPEN_SHOWN = 8
DEFAULT_OPEN = 2


# ---------------------------------------------------------------- lint


def lint_command(
    text: str, strict: bool = False, as_json: bool = False, *, path: str = "", roles: Collection[str] = ()
) -> tuple[str, int]:
    """Findings of a plan; exit code 1 if one is an error. `path` stands before each line number."""
    plan, findings = lint(text, strict=strict, roles=roles)
    code = 1 if errors(findings) else 0
    if as_json:
        return _json({"schema": 1, "findings": [finding.as_json() for finding in findings]}), code
    return "\n".join([*_finding_lines(findings, path), _summary(plan, findings)]) + "\n", code


def _finding_lines(findings: Iterable[Finding], path: str) -> list[str]:
    """As a compiler prints them, so that editors can jump there."""
    lines = []
    for finding in findings:
        place = f"{path}:{finding.line}" if path else f"line {finding.line}"
        lines.append(f"{place}: {finding.severity}: {_printable(finding.message)} [{finding.rule}]")
        lines.append(f"    {_printable(finding.suggestion)}")
    return lines


def _summary(plan: Plan, findings: Sequence[Finding]) -> str:
    wrong = sum(finding.severity is Severity.ERROR for finding in findings)
    parts = [_count(wrong, "error"), _count(len(findings) - wrong, "warning")]
    return (
        f"{_count(len(plan.tasks), 'task')}: {', '.join(parts)}"
        if findings
        else _count(len(plan.tasks), "task") + ": ok"
    )


# ---------------------------------------------------------------- show


def show_command(
    text: str,
    open: int | None = None,  # the word of the command line
    as_json: bool = False,
    *,
    path: str = "",
    minutes: Mapping[Kind, float] = schedule.MINUTES,
    review: float | None = None,
    who: Callable[[Plan], Mapping[str, Assigned]] = lambda plan: {},
) -> tuple[str, int]:
    """Waves, critical path, what can run at once and how long it takes; 1 and the errors if the plan has any.

    `who` tells who does each task, as far as it is known. `open` defaults to the plan's own, else 2. `minutes` are
    those of agent and checks by kind; `review` those of the person for each task: 0 if the plan approves by itself.
    """
    plan, findings = parse(text)
    wrong = errors([*findings, *graph.problems(plan)])
    if wrong:
        if as_json:
            body = {
                "code": "bad_plan",
                "message": wrong[0].message,
                "object": path or None,
                "hint": wrong[0].suggestion,
            }
            details = {"findings": [finding.as_json() for finding in wrong]}
            return _json({"error": {**body, "details": details}}), 1
        return "\n".join([*_finding_lines(wrong, path), _summary(plan, wrong)]) + "\n", 1
    auto = plan.approve == "auto"
    view = _View(plan, open or plan.open or DEFAULT_OPEN, minutes, _review(review, auto), who(plan))
    return (_json(view.as_json()), 0) if as_json else ("\n".join(view.lines()) + "\n", 0)


def _review(given: float | None, auto: bool) -> float:
    if given is not None:
        return given
    return 0.0 if auto else schedule.REVIEW_MINUTES


class _View:
    """A plan with everything that `show` says of it."""

    def __init__(
        self, plan: Plan, open_limit: int, minutes: Mapping[Kind, float], review: float, who: Mapping[str, Assigned]
    ) -> None:
        self.plan, self.open, self.review, self.who = plan, open_limit, review, who
        self.tasks = {task.id: task for task in plan.tasks}
        self.needs = graph.needs_of(plan)
        self.reach = graph.Reach(self.needs)
        self.waves = graph.waves(self.needs)
        self.jobs = schedule.jobs_of(plan, minutes)
        self.minutes = {job.id: job.minutes for job in self.jobs}
        self.path, self.path_minutes = graph.critical_path(self.needs, self.minutes)
        self.schedule = schedule.simulate(self.jobs, self.needs, open_limit, review)
        most = max(min(len(self.jobs), MOST_OPEN_SHOWN), open_limit)
        limits = sorted({*range(1, min(most, MOST_OPEN_SHOWN) + 1), open_limit})
        self.spans = [schedule.simulate(self.jobs, self.needs, n, review) for n in limits]
        working = {task.id: task.files for task in plan.tasks if task.lands}
        self.shared = overlap.claims(working, self.reach.together, MOST_PARTNERS)
        self.checkout = [task.id for task in plan.tasks if task.workspace == "shared"]
        named = {id: migrations.planned(files) for id, files in working.items()}
        found = migrations.clashes((), {id: some for id, some in named.items() if some})
        self.clashes = [one for one in found if self.reach.together(one.one, one.other)]

    def as_json(self) -> dict[str, Any]:
        """For programs. Minutes are estimates."""
        slots = {slot.task: slot for slot in self.schedule.slots}
        pairs = graph.parallel_pairs(self.needs)
        wave = {id: n for n, ids in enumerate(self.waves, 1) for id in ids}
        return {
            "schema": 1,
            "title": self.plan.title,
            "open": self.open,
            "tasks": [
                {
                    "id": task.id,
                    "title": task.title,
                    "kind": str(task.kind),
                    "needs": list(self.needs[task.id]),
                    "wave": wave[task.id],
                    "minutes": self.minutes[task.id],
                    "start": slots[task.id].start,
                    "end": slots[task.id].end,
                    "role": task.role,
                    **(who_json(self.who[task.id]) if task.id in self.who else NOBODY),
                }
                for task in self.plan.tasks
            ],
            "waves": self.waves,
            "critical_path": {"tasks": self.path, "minutes": self.path_minutes},
            "together": [list(pair) for pair in pairs[:MOST_PAIRS]],
            "together_left_off": max(len(pairs) - MOST_PAIRS, 0),
            "overlaps": [
                {"tasks": [one.one, one.other], "files": [list(pair) for pair in one.shared]} for one in self.shared
            ],
            "checkout": self.checkout,
            "clashes": [
                {"tasks": [one.one, one.other], "paths": list(one.paths), "text": one.text} for one in self.clashes
            ],
            "schedules": [{"open": one.open, "minutes": one.makespan} for one in self.spans],
            "serial_minutes": self.schedule.serial,
            "review_minutes": self.review,
        }

    def lines(self) -> list[str]:
        """For a person, in 80 columns."""
        head = f"{self.plan.title or 'Plan'}: {_count(len(self.tasks), 'task')} in {_count(len(self.waves), 'wave')}"
        return [
            *_wrap(head, ""),
            "",
            *self._waves(),
            *self._who(),
            "",
            *_wrap(" -> ".join(self.path), f"critical path  {_minutes(self.path_minutes)}: "),
            *self._together(),
            *self._overlaps(),
            *self._clashes(),
            *self._checkout(),
            "",
            *self._chart(),
            "",
            *self._times(),
        ]

    def _waves(self) -> list[str]:
        lines = []
        wide = min(max(_width(id) for id in self.tasks), 24)
        rows = [(n, id) for n, ids in enumerate(self.waves, 1) for id in ids]
        last = 0
        for n, id in rows[:MOST_ROWS]:
            task = self.tasks[id]
            label = f"wave {n}" if n != last else ""
            last = n
            mark = " *" if task.waits_for_all else ""
            start = f"{label:<9}{_fit(id, wide)}  "
            end = f"  {task.kind:<12}{_minutes(self.minutes[id]):>8}"
            lines.append(start + _fit(task.title + mark, WIDTH - _width(start) - len(end)) + end)
        if len(rows) > MOST_ROWS:
            lines.append(f"{'':<9}… and {len(rows) - MOST_ROWS} more")
        return lines

    def _who(self) -> list[str]:
        """Roles and agents, each with its tasks."""
        lines = []
        for (role, said), ids in list(by_who(self.who).items())[:MOST_ROWS]:
            lines += _wrap(said, f"  {role}: ")
            lines += _wrap(", ".join(ids[:MOST_ROWS]) + (" …" if len(ids) > MOST_ROWS else ""), "      ")
        return ["", "who does what:", *lines] if lines else []

    def _together(self) -> list[str]:
        """The most that can run at once, and with whom each task may run."""
        beside = {id: [other for other in self.tasks if self.reach.together(id, other)] for id in self.tasks}
        if len(self.tasks) == 1:
            return []
        if not any(beside.values()):
            return ["at once        nothing: each task waits for the one before"]
        lines = []
        for id in [id for id in self.tasks if beside[id]][:12]:
            lines += _wrap(
                ", ".join(beside[id]) if len(beside[id]) <= 12 else f"{len(beside[id])} others", f"  {id} beside "
            )
        more = sum(1 for others in beside.values() if others) - 12
        tail = [f"  … and {more} more"] if more > 0 else []
        return ["at once        as far as needs allow:", *lines, *tail]

    def _checkout(self) -> list[str]:
        """Tasks in the main checkout, which must be clean when they begin."""
        if not self.checkout:
            return []
        return _wrap(", ".join(self.checkout), "one at a time in your own checkout, if it is clean: ")

    def _overlaps(self) -> list[str]:
        if not self.shared:
            return []
        lines = ["touch the same files, so that one of them will have to merge:"]
        for one in self.shared[:8]:
            globs = " and ".join(_cut(glob, 60) for glob in dict.fromkeys(one.shared[0]))
            lines += _wrap(f"{one.one} and {one.other} ({globs})", "  ")
        return lines + ([f"  … and {len(self.shared) - 8} more"] if len(self.shared) > 8 else [])

    def _clashes(self) -> list[str]:
        if not self.clashes:
            return []
        lines = ["have migrations that cannot both be applied as they are:"]
        for one in self.clashes[:8]:
            paths = " and ".join(_cut(path, 60) for path in one.paths)
            lines += _wrap(f"{one.one} and {one.other} ({paths}): {one.text}", "  ")
        return lines + ([f"  … and {len(self.clashes) - 8} more"] if len(self.clashes) > 8 else [])

    def _chart(self) -> list[str]:
        """A line of time for each task: working, then waiting for the person and reviewed."""
        span = self.schedule.makespan or 1.0
        wide = min(max(_width(id) for id in self.tasks), 24)
        room = WIDTH - wide - 2
        slots = sorted(self.schedule.slots, key=lambda slot: (slot.start, slot.end))
        what = "= working, - review" if self.review else "= working"
        lines = [f"with {self.open} open ({what}), an estimate:"]
        for slot in slots[:MOST_ROWS]:
            start, ready, end = (round(moment / span * room) for moment in (slot.start, slot.ready, slot.end))
            bar = " " * start + "=" * max(ready - start, 1) + "-" * (end - max(ready, start + 1))
            lines.append(f"{_fit(slot.task, wide)}  {bar}".rstrip())
        return lines + ([f"… and {len(slots) - MOST_ROWS} more"] if len(slots) > MOST_ROWS else [])

    def _times(self) -> list[str]:
        best = min(one.makespan for one in self.spans)
        first = next(one.open for one in self.spans if one.makespan <= best * 1.05)
        lines = ["how long, by the number of open tasks:"]
        for one in self.spans:
            bar = "#" * max(round(one.makespan / (self.spans[0].makespan or 1.0) * 32), 1)
            mark = "  <- more gains little" if one.open == first and len(self.spans) > 1 else ""
            lines.append(f"  {one.open:>3} open  {_minutes(one.makespan):>10}  {bar}{mark}")
        lines.append(f"  one after the other: {_minutes(self.schedule.serial)}")
        person = f", plus {self.review:g} min of one person for each task" if self.review else ""
        return [*lines, *_wrap(f"(minutes by kind of task{person}; yours will differ)", "  ")]


def _minutes(value: float) -> str:
    whole = round(value)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60:02} min"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _width(text: str) -> int:
    """Columns that a terminal gives the text."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _fit(text: str, columns: int) -> str:
    """The text in exactly so many columns."""
    text = _cut(text, columns)
    return text + " " * max(columns - _width(text), 0)


def _cut(text: str, columns: int) -> str:
    """The text in at most so many columns."""
    text = _printable(text)
    if _width(text) <= columns:
        return text
    while text and _width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def _printable(text: str) -> str:
    """Text in which nothing can steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _wrap(text: str, indent: str) -> list[str]:
    """Words in lines of 80 columns; the first begins with `indent`, the others with as many spaces."""
    lines, current = [], indent
    left = min(_width(indent), 20)
    empty = True
    for word in map(_printable, text.split()):
        if not empty and _width(current) + 1 + _width(word) > WIDTH:
            lines.append(current)
            current, empty = " " * left, True
        current += word if empty else f" {word}"
        empty = False
    return [*lines, current.rstrip()]


# ---------------------------------------------------------------- import


def import_command(path: str, text: str) -> tuple[str, int]:
    """A plan made of a board or task file; exit code 1 if nothing in it could become a task."""
    plan, _, code = import_files_command([(path, text)])
    return plan, code


def import_files_command(files: Sequence[tuple[str, str]]) -> tuple[str, list[str], int]:
    """The same for several files, with the notes about what was left out (for stderr)."""
    made: Imported = import_files(files)
    if not made.plan.tasks:
        return "", [*made.notes, "no open task was found: nothing to import"], 1
    return render(made.plan), list(made.notes), 0


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
