"""The plan: what a plan file means, and how a plan is written down.

`parse` never raises: it returns the plan as far as it could be read, with findings. A plan whose findings hold no
error round-trips: `parse(render(plan))` is the same plan. The grammar is docs/plan-format.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from stretto.core import names, plan_text, plan_values
from stretto.core.errors import UsageError
from stretto.core.finding import Finding, Severity, closest, error, warning
from stretto.core.model import CheckSpec, Kind
from stretto.core.plan_text import Document, Line, Row, Section

MODES = ("stream", "pane")
WORKSPACES = ("own", "shared")
SANDBOXES = ("auto", "bubblewrap", "none")
APPROVALS = ("human", "auto")
ROLES = ("driver", "implementer", "tester", "reviewer", "resolver", "researcher")
EVERYTHING = "*"
_ROLE_OF_KIND = {Kind.RESEARCH: "researcher", Kind.TEST: "tester"}


def role_of_kind(kind: Kind) -> str:
    """The role that does tasks of this kind which name none."""
    return _ROLE_OF_KIND.get(kind, "implementer")


@dataclass(frozen=True, slots=True)
class PlanTask:
    """One task as the plan says it. None means: not said here, the run's configuration decides.

    `line` is the heading's, `lines` those of the fields (and of `Accept`); neither counts when plans are compared.
    """

    id: str
    title: str = ""
    spec: str = ""
    accept: str = ""
    kind: Kind = Kind.FEATURE
    needs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    role: str = "implementer"
    agent: str | None = None
    model: str | None = None
    mode: str | None = None
    checks: tuple[CheckSpec, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    branch: str | None = None
    priority: int = 0
    lands: bool = True
    workspace: str | None = None
    sandbox: str | None = None
    budget: dict[str, float] | None = None
    rounds: int | None = None
    line: int = field(default=0, compare=False)
    lines: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def waits_for_all(self) -> bool:
        """Whether it waits until all others are terminal (`needs: *`)."""
        return EVERYTHING in self.needs

    def at(self, key: str) -> int:
        """The line where a field stands, or the heading's if it is not written."""
        return self.lines.get(key, self.line)

    def extra(self) -> dict[str, Any]:
        """The fields that have no column of their own in a task's row, as JSON, only those that were given."""
        keys = ("agent", "model", "mode", "env", "branch", "workspace", "sandbox", "budget", "rounds")
        given = {key: getattr(self, key) for key in keys if getattr(self, key) not in (None, {})}
        if self.checks is not None:
            given["checks"] = [plan_values.check_json(check) for check in self.checks]
        return given


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan file: what every agent of it is told (`context`), what holds for all its tasks, and the tasks."""

    title: str = ""
    context: str = ""
    tasks: tuple[PlanTask, ...] = ()
    base: str | None = None
    target: str | None = None
    checks: tuple[CheckSpec, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    agent: str | None = None
    model: str | None = None
    mode: str | None = None
    open: int | None = None
    approve: str | None = None
    lines: dict[str, int] = field(default_factory=dict, compare=False)

    def task(self, id: str) -> PlanTask | None:
        """The first task with this id."""
        return next((task for task in self.tasks if task.id == id), None)


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """How one key is read and written."""

    read: Callable[[str], Any]
    write: Callable[[Any], str]
    means: str


def _text(means: str, read: Callable[[str], Any] = plan_values.text) -> FieldSpec:
    return FieldSpec(read, lambda value: plan_values.write_text(str(value), read), means)


def _json(read: Callable[[str], Any], means: str) -> FieldSpec:
    return FieldSpec(read, plan_values.dump, means)


def _list(means: str) -> FieldSpec:
    return FieldSpec(plan_values.texts, plan_values.write_texts, means)


def _truth(value: object) -> str:
    return "yes" if value else "no"


_CHECKS = FieldSpec(plan_values.checks, plan_values.write_checks, "commands that must pass, instead of the plan's")

#: every field of a task, in the order in which they are written
TASK_FIELDS: dict[str, FieldSpec] = {
    "kind": _text("what sort of work it is", plan_values.kind),
    "needs": _list("ids of tasks that must have landed or finished before, or `*`"),
    "files": _list("globs of the files that it may touch"),
    "tables": _list("tables of the database that it changes"),
    "role": _text("which role of the configuration does it", plan_values.word),
    "agent": _text("which agent does it"),
    "model": _text("which model the agent uses"),
    "mode": _text("how the agent is driven", plan_values.choice(*MODES)),
    "checks": _CHECKS,
    "env": _json(plan_values.variables, "environment variables of its workspace"),
    "branch": _text("name to publish its branch under", plan_values.branch),
    "priority": _json(plan_values.whole(-1000, 1000), "higher ones start first"),
    "lands": FieldSpec(plan_values.truth, _truth, "whether its work lands on the target"),
    "workspace": _text("a worktree of its own, or the main checkout", plan_values.choice(*WORKSPACES)),
    "sandbox": _text("what confines the agent", plan_values.choice(*SANDBOXES)),
    "budget": _json(plan_values.budget, "limits in tokens, cost and minutes"),
    "rounds": _json(plan_values.whole(0, 100), "repair turns after a red check"),
}

#: every key of the front matter, in the order in which they are written
PLAN_FIELDS: dict[str, FieldSpec] = {
    "base": _text("the commit or branch that tasks start from"),
    "target": _text("the branch that work lands on", plan_values.branch),
    "checks": _CHECKS,
    "env": _json(plan_values.variables, "environment variables of every workspace"),
    "agent": _text("which agent does the tasks"),
    "model": _text("which model it uses"),
    "mode": _text("how the agent is driven", plan_values.choice(*MODES)),
    "open": _json(plan_values.whole(1, 256), "how many tasks may be open at once"),
    "approve": _text("who approves", plan_values.choice(*APPROVALS)),
}


def decode(data: bytes) -> str:
    """The text of a plan file. Raises UsageError if it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = data[: failure.start].count(b"\n") + 1
        raise UsageError(
            f"the plan is not UTF-8 text: byte {failure.start} on line {line}",
            code="not_utf8",
            hint="save the file as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8 PLAN.md",
        ) from failure


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those findings that keep a plan from running."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


# ---------------------------------------------------------------- parse


def parse(text: str) -> tuple[Plan, list[Finding]]:
    """The plan as far as it can be read, and what cannot be read or is probably not meant, in the order of lines."""
    document = plan_text.read(text)
    findings = _document_findings(document)
    rows = _front_rows(document.front or (), findings)
    values, lines = _read_fields(rows, PLAN_FIELDS, None, findings)
    tasks = tuple(_task(section, findings) for section in document.sections)
    plan = Plan(document.title, plan_text.body(document.preamble), tasks, lines=lines, **values)
    return plan, sorted(findings, key=lambda finding: (finding.line, finding.rule))


def _document_findings(document: Document) -> list[Finding]:
    findings = []
    if document.unclosed_front:
        findings.append(
            error(1, "unreadable-front-matter", "the front matter has no end", "close it with a line `---`")
        )
    if document.unclosed_fence is not None:
        message = "the code fence has no end, so all below it is code"
        findings.append(warning(document.unclosed_fence, "unclosed-fence", message, "close it with the same marks"))
    if not document.sections:
        form = "begin each task with a heading: `## id: Title`"
        findings.append(error(max(document.title_line, 1), "no-tasks", "the plan holds no task", form))
    return findings


def _front_rows(lines: Sequence[Line], findings: list[Finding]) -> list[Row]:
    rows = []
    for line in lines:
        key, colon, raw = line.text.partition(":")
        if line.blank or line.text.lstrip().startswith("#"):
            continue
        if not colon or key != key.lstrip() or key.startswith("- ") or not key.strip():
            form = 'write `key: value` on one line; a list as `["a", "b"]`'
            findings.append(
                error(line.number, "unreadable-front-matter", f"`{line.text.strip()}` is not `key: value`", form)
            )
        else:
            rows.append(Row(line.number, key.strip(), raw))
    return rows


def _task(section: Section, findings: list[Finding]) -> PlanTask:
    if not names.is_task_id(section.id):
        findings.append(_bad_id(section))
    fields_at = _chosen_block(section.lines)
    rows = () if fields_at is None else fields_at[2]
    values, lines = _read_fields(rows, TASK_FIELDS, section.id, findings)
    start, end = (len(section.lines),) * 2 if fields_at is None else fields_at[:2]
    before, accept, accept_line = _take_accept(section.lines[:start], section.id, findings)
    after, late_accept, late_line = _take_accept(section.lines[end:], section.id, findings)
    if accept_line and late_line:
        findings.append(_second_accept(late_line, section.id))
    if accept_line or late_line:
        lines["accept"] = accept_line or late_line
    spec = "\n\n".join(filter(None, (plan_text.body(before), plan_text.body(after))))
    findings.extend(_layout_findings(section, fields_at))
    kind = values.get("kind", Kind.FEATURE)
    defaults = {"role": role_of_kind(kind), "lands": kind is not Kind.RESEARCH}
    head = (section.id, section.title, spec, accept or late_accept)
    return PlanTask(*head, line=section.line, lines=lines, **{**defaults, **values})


def _bad_id(section: Section) -> Finding:
    slug = names.slugify(section.id)
    message = f"`{section.id}` is not a task id: a-z, 0-9 and -, at most {names.MAX_ID} characters"
    form = f"write `## {slug}: {section.title}`, or use `###` if this is no task"
    return error(section.line, "bad-id", message, form, section.id)


def _chosen_block(lines: Sequence[Line]) -> tuple[int, int, tuple[Row, ...]] | None:
    """The last contiguous block of `- key: value` lines whose first key is known."""
    known = [block for block in plan_text.blocks(lines) if block[2][0].key in TASK_FIELDS]
    return known[-1] if known else None


def _take_accept(lines: Sequence[Line], task: str, findings: list[Finding]) -> tuple[list[Line], str, int]:
    """Lines without the Accept block, its text, and its line (0: none). A second block is an error."""
    rest: list[Line] = []
    taken: list[str] | None = None
    number, inside = 0, False
    for line in lines:
        begins = plan_text.begins_accept(line)
        if begins and taken is not None:
            findings.append(_second_accept(line.number, task))
        if begins and taken is None:
            taken, number, inside = [line.text.partition(":")[2]], line.number, True
        elif inside and not line.blank and not line.fenced and taken is not None:
            taken.append(line.text.rstrip())
        else:
            inside = False
            rest.append(line)
    return rest, "\n".join(taken or ()).strip(), number


def _second_accept(line: int, task: str) -> Finding:
    return error(line, "repeated-key", "`Accept:` stands twice in this task", "join them to one sentence", task)


def _read_fields(
    rows: Iterable[Row], specs: Mapping[str, FieldSpec], task: str | None, findings: list[Finding]
) -> tuple[dict[str, Any], dict[str, int]]:
    """Values and lines of a block of fields."""
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for row in rows:
        if row.key not in specs:
            findings.append(_unknown_key(row, specs, task))
        elif row.key in lines:
            message = f"`{row.key}` stands twice, first on line {lines[row.key]}"
            findings.append(error(row.line, "repeated-key", message, "keep one of the two lines", task))
        else:
            lines[row.key] = row.line
            _read_field(row, specs[row.key], task, values, findings)
    return values, lines


def _read_field(row: Row, spec: FieldSpec, task: str | None, values: dict[str, Any], findings: list[Finding]) -> None:
    try:
        _, meaning = plan_values.read_json(row.raw)
        if meaning is plan_values.NOTHING:
            message = f"`{row.key}` has no value"
            findings.append(warning(row.line, "empty-field", message, "write a value or remove the line", task))
        elif meaning is not None:
            values[row.key] = spec.read(row.raw)
    except plan_values.Unreadable as failure:
        message = f"`{row.key}` cannot be read: {failure.message}"
        findings.append(error(row.line, "unreadable-field", message, failure.suggestion, task))


def _unknown_key(row: Row, specs: Mapping[str, FieldSpec], task: str | None) -> Finding:
    guess = closest(row.key, specs)
    form = f"write `{guess}`" if guess else f"known keys: {', '.join(specs)}"
    where = "a field of a task" if task is not None else "a key of the front matter"
    return error(row.line, "unknown-key", f"`{row.key}` is not {where}", form, task)


def _layout_findings(section: Section, chosen: tuple[int, int, tuple[Row, ...]] | None) -> list[Finding]:
    """What is read as text although it was probably meant otherwise."""
    findings = []
    blocks = [block for block in plan_text.blocks(section.lines) if block != chosen]
    for _, _, rows in [*blocks, *plan_text.starred_blocks(section.lines)]:
        known = next((row for row in rows if row.key.lower() in TASK_FIELDS), None)
        if known is not None:
            message = f"`{known.key}` is read as text: only the last block of `- key: value` lines counts"
            form = f"put `- {known.key.lower()}:{known.raw}` into one block at the end, without blank lines"
            findings.append(warning(known.line, "ignored-field", message, form, section.id))
    if chosen is not None and chosen[1] < len(section.lines) and not section.lines[chosen[1]].blank:
        line = section.lines[chosen[1]].number
        message = "this line follows the fields and is read as part of the spec"
        findings.append(warning(line, "text-after-fields", message, "keep each value on one line", section.id))
    for line, text in plan_text.subheadings(section.lines):
        form = f"write `## {names.slugify(text)}: {text}` if it is a task, `### {text}` if not"
        message = f"`## {text}` begins no task and belongs to `{section.id}`"
        findings.append(warning(line, "heading-without-id", message, form, section.id))
    return findings


# ---------------------------------------------------------------- render


def render(plan: Plan) -> str:
    """The plan as a file, ending in a newline."""
    front = _front_matter(plan)
    head = [f"# {plan.title}"] if plan.title else []
    parts = [*head, *filter(None, [plan.context]), *(render_task(task) for task in plan.tasks)]
    text = "\n\n".join(parts) + "\n"
    if not front and text.startswith("---"):
        front = "---\n---\n"
    return front + text


def _front_matter(plan: Plan) -> str:
    rows = _rows(plan, Plan(), PLAN_FIELDS)
    return "".join(["---\n", *(f"{row}\n" for row in rows), "---\n"]) if rows else ""


def render_task(task: PlanTask) -> str:
    """A task's section, without a newline at its end."""
    head = f"## {task.id}: {task.title}".rstrip()
    accept = _accept(task.accept)
    rows = [f"- {row}" for row in _rows(task, _default(task), TASK_FIELDS)]
    text = "\n".join(filter(None, (task.spec, accept)))
    lines, _ = plan_text.mark_fences(text.split("\n"))
    if not rows and _chosen_block(lines) is not None:
        rows = [f"- kind: {task.kind}"]  # else the text's own list would be read as fields
    gap = [""] if rows and plan_text.blocks(lines[-1:]) else []
    return "\n".join([head, *filter(None, (task.spec, accept)), *gap, *rows])


def _accept(accept: str) -> str:
    if not accept:
        return ""
    return f"Accept:\n{accept}" if accept.startswith(("- ", "* ", "1. ")) else f"Accept: {accept}"


def _default(task: PlanTask) -> PlanTask:
    return PlanTask(task.id, role=role_of_kind(task.kind), lands=task.kind is not Kind.RESEARCH)


def _rows(value: Plan | PlanTask, default: Plan | PlanTask, specs: Mapping[str, FieldSpec]) -> list[str]:
    """`key: value` for each field that differs from its default."""
    known = {one.name for one in fields(value)}
    pairs = [(key, getattr(value, key), getattr(default, key)) for key in specs if key in known]
    return [f"{key}: {specs[key].write(given)}" for key, given, usual in pairs if given != usual]
