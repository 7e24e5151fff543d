import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.core import plan_values
from stretto.core.errors import UsageError
from stretto.core.model import CheckSpec, Kind
from stretto.core.plan import PLAN_FIELDS, TASK_FIELDS, Plan, PlanTask, decode, errors, parse, render, render_task

CONTRACT = """\
---
base: main
target: main
checks: ["pytest -q"]
---
# Search release

Everything before the first task is context that every agent of the plan gets.

## schema: Add the search index table
Create the migration and the model for the search index.
Accept: the migration applies and reverts; `pytest tests/test_models.py` passes.
- kind: feature
- files: app/models.py, migrations/**

## search: Full-text search on products
Add server-side full-text search to `GET /products`. Keep the existing response shape.
Accept: `GET /products?q=lamp` returns ranked matches, covered by tests.
- needs: schema
- files: app/search/**, tests/test_search.py
- role: implementer

## release: Bring it together
Wire the feature flags and write the release notes.
Accept: the whole suite passes; CHANGELOG names both features.
- needs: *
"""


def only_task(text: str) -> PlanTask:
    plan, findings = parse(text)
    assert not errors(findings), findings
    (task,) = plan.tasks
    return task


def rules(text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.rule) for finding in parse(text)[1]]


def test_the_plan_of_the_contract():
    plan, findings = parse(CONTRACT)
    assert findings == []
    assert plan.base == plan.target == "main"
    assert plan.checks == (CheckSpec("check-1", "pytest -q"),)
    assert plan.title == "Search release"
    assert plan.context == "Everything before the first task is context that every agent of the plan gets."
    schema, search, release = plan.tasks
    assert (schema.id, schema.title, schema.kind) == ("schema", "Add the search index table", Kind.FEATURE)
    assert schema.spec == "Create the migration and the model for the search index."
    assert schema.accept == "the migration applies and reverts; `pytest tests/test_models.py` passes."
    assert schema.files == ("app/models.py", "migrations/**")
    assert search.needs == ("schema",)
    assert search.role == "implementer"
    assert release.waits_for_all
    assert [task.line for task in plan.tasks] == [10, 16, 23]
    assert search.lines == {"accept": 18, "needs": 19, "files": 20, "role": 21}


def test_the_plan_of_the_contract_renders_to_itself_but_for_defaults():
    assert render(parse(CONTRACT)[0]) == CONTRACT.replace("- kind: feature\n", "").replace("- role: implementer\n", "")


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_change_nothing(ends, mark):
    assert parse(mark + CONTRACT.replace("\n", ends)) == parse(CONTRACT)


def test_tabs_stand_for_spaces_in_headings_and_fields():
    task = only_task("##\tone:\tDo it\n-\tneeds:\ttwo,\tthree\n-\tpriority:\t3\t# urgent\n")
    assert (task.title, task.needs, task.priority) == ("Do it", ("two", "three"), 3)


def test_non_ascii_text_is_kept():
    task = only_task("## one: Suche für „Größe“\n日本語の仕様。\nAccept: ✓ läuft.\n- files: src/größe/**\n")
    assert task.title == "Suche für „Größe“"
    assert (task.spec, task.accept, task.files) == ("日本語の仕様。", "✓ läuft.", ("src/größe/**",))


def test_what_stands_in_a_code_fence_is_text():
    text = "## one: Title\n```md\n## two: no task\nAccept: no\n- kind: bug\n```\nAccept: yes.\n- kind: test\n"
    task = only_task(text)
    assert task.spec == "```md\n## two: no task\nAccept: no\n- kind: bug\n```"
    assert (task.accept, task.kind) == ("yes.", Kind.TEST)


def test_a_longer_fence_holds_a_shorter_one():
    plan, findings = parse("# T\n````\n```\n## no: task\n````\n## one: Title\n")
    assert [task.id for task in plan.tasks] == ["one"]
    assert findings == []


def test_an_unclosed_fence_is_closed_and_reported():
    plan, findings = parse("## one: Title\n- kind: bug\n```py\nx = 1\n\n## two: lost\n\n")
    assert [(finding.line, finding.rule) for finding in findings] == [(3, "text-after-fields"), (3, "unclosed-fence")]
    assert plan.tasks[0].spec == "```py\nx = 1\n\n## two: lost\n```"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("a, b", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ('["a, b"] # two in one', ("a, b",)),
        ('"a, b"', ("a, b",)),
        ("a # b", ("a",)),
        ("a#b", ("a#b",)),
        ("1, 2", ("1", "2")),
        ("7", ("7",)),
        ("[1, 2]", ("1", "2")),
        ("src/{a,b}.py, c", ("src/{a,b}.py", "c")),
        ("[slug]/page.tsx", ("[slug]/page.tsx",)),
        ("a, a, b,", ("a", "b")),
        ("[]", ()),
        ("*", ("*",)),
    ],
)
def test_lists(raw, value):
    assert only_task(f"## one: T\n- files: {raw}\n").files == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("pytest -q", (CheckSpec("check-1", "pytest -q"),)),
        ('["make", "make lint"]', (CheckSpec("check-1", "make"), CheckSpec("check-2", "make lint"))),
        ('["echo # no comment"]  # comment', (CheckSpec("check-1", "echo # no comment"),)),
        ('{"unit": "make"}', (CheckSpec("unit", "make"),)),
        ('{"unit": {"run": "make", "timeout": "30m"}}', (CheckSpec("unit", "make", 1800.0),)),
        ('{"e2e": {"run": "x", "timeout": 5, "serve": ["web"]}}', (CheckSpec("e2e", "x", 5.0, ("web",)),)),
        ("pytest -k 'a or b', c", (CheckSpec("check-1", "pytest -k 'a or b', c"),)),
        ("[]", ()),
    ],
)
def test_checks(raw, value):
    task = only_task(f"## one: T\n- checks: {raw}\n")
    assert task.checks == value
    assert only_task(render_task(task)).checks == value


def test_all_fields():
    task = only_task(
        "## one: T\n- kind: research\n- needs: a\n- files: f\n- tables: t\n- role: scout\n- agent: codex\n"
        "- model: anthropic/opus-5\n- mode: pane\n- checks: make\n"
        '- env: {"A": "1", "B": 2, "C": true}\n- branch: JIRA-12\n'
        "- priority: -3\n- lands: yes\n- workspace: shared\n- sandbox: auto\n- budget: 200000 tokens, 2.5 cost\n"
        "- rounds: 0\n"
    )
    assert set(task.lines) == set(TASK_FIELDS)
    assert (task.kind, task.role, task.lands, task.priority, task.rounds) == (Kind.RESEARCH, "scout", True, -3, 0)
    assert task.extra() == {
        "agent": "codex",
        "model": "anthropic/opus-5",
        "mode": "pane",
        "env": {"A": "1", "B": "2", "C": "true"},
        "branch": "JIRA-12",
        "workspace": "shared",
        "sandbox": "auto",
        "budget": {"tokens": 200000, "cost": 2.5},
        "rounds": 0,
        "checks": [{"name": "check-1", "run": "make", "timeout": 1800.0, "serve": []}],
    }


def test_all_keys_of_the_front_matter():
    text = (
        '---\n# a comment\n\nbase: v1.2\ntarget: main # here\nchecks: make\nenv: {"A": "b"}\nagent: claude\n'
        "model: fast\nmode: stream\nopen: 3\napprove: auto\n---\n## one: T\n"
    )
    plan, findings = parse(text)
    assert findings == []
    assert set(plan.lines) == set(PLAN_FIELDS)
    assert (plan.base, plan.target, plan.open, plan.approve) == ("v1.2", "main", 3, "auto")


@pytest.mark.parametrize(
    ("kind", "role", "lands"),
    [("feature", "implementer", True), ("test", "tester", True), ("research", "researcher", False)],
)
def test_role_and_landing_follow_the_kind(kind, role, lands):
    task = only_task(f"## one: T\n- kind: {kind}\n")
    assert (task.role, task.lands) == (role, lands)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("## one: T\n- kind: bug\n- sise: 3\n", [(3, "unknown-key")]),
        ("## one: T\n- kind: bug\n- files: a\n- kind: bug\n", [(4, "repeated-key")]),
        ("## one: T\nAccept: a\n\nAccept: b\n", [(4, "repeated-key")]),
        ("## one: T\nAccept: a\n- kind: bug\n\nAccept: b\n", [(5, "repeated-key")]),
        ("## One Task: T\n", [(1, "bad-id")]),
        ("## : T\n", [(1, "bad-id")]),
        ("## größe: T\n", [(1, "bad-id")]),
        ("## one: T\n- kind: bugfix\n", [(2, "unreadable-field")]),
        ("## one: T\n- needs: [a, b]\n", [(2, "unreadable-field")]),
        ("## one: T\n- lands: maybe\n", [(2, "unreadable-field")]),
        ("## one: T\n- priority: high\n", [(2, "unreadable-field")]),
        ("## one: T\n- rounds: -1\n", [(2, "unreadable-field")]),
        ('## one: T\n- env: {"A": "1", "A": "2"}\n', [(2, "unreadable-field")]),
        ('## one: T\n- env: {"STRETTO_TASK": "1"}\n', [(2, "unreadable-field")]),
        ('## one: T\n- env: {"A": 1.10}\n', [(2, "unreadable-field")]),
        ("## one: T\n- env: A=1\n", [(2, "unreadable-field")]),
        ("## one: T\n- branch: a..b\n", [(2, "unreadable-field")]),
        ("## one: T\n- mode: panes\n", [(2, "unreadable-field")]),
        ('## one: T\n- agent: "a\\u0000b"\n', [(2, "unreadable-field")]),
        ('## one: T\n- agent: "\\ud800"\n', [(2, "unreadable-field")]),
        ("## one: T\n- agent: " + "[" * 500 + "]" * 500 + "\n", [(2, "unreadable-field")]),
        ("## one: T\n- agent: " + "[" * 5000 + "]" * 5000 + "\n", [(2, "unreadable-field")]),
        ('## one: T\n- checks: {"a/b": "make"}\n', [(2, "unreadable-field")]),
        ('## one: T\n- checks: {"a": {"run": "x", "timeout": "soon"}}\n', [(2, "unreadable-field")]),
        ('## one: T\n- checks: {"a": {"rum": "x"}}\n', [(2, "unreadable-field")]),
        ('## one: T\n- checks: [""]\n', [(2, "unreadable-field")]),
        ("## one: T\n- budget: lots\n", [(2, "unreadable-field")]),
        ("## one: T\n- budget: 10 tokens, 3 apples\n", [(2, "unreadable-field")]),
        ("---\nbase: main\n## one: T\n", [(1, "unreadable-front-matter")]),
        ("---\nchecks:\n  - make\n---\n## one: T\n", [(2, "empty-field"), (3, "unreadable-front-matter")]),
        ("---\nbranch: main\n---\n## one: T\n", [(2, "unknown-key")]),
        ("---\ntarget: a\ntarget: b\n---\n## one: T\n", [(3, "repeated-key")]),
        ("", [(1, "no-tasks")]),
        ("# Title\n\nSome prose.\n", [(1, "no-tasks")]),
        ("## one: T\n- needs:\n", [(2, "empty-field")]),
        ("## one: T\n- kind: bug\n\n- needs: two\n", [(2, "ignored-field")]),
        ("## one: T\n- Kind: bug\n", [(2, "ignored-field")]),
        ("## one: T\n* kind: bug\n", [(2, "ignored-field")]),
        ("## one: T\n- needs: a,\n  b\n", [(3, "text-after-fields")]),
        ("## one: T\n\n## Two\n", [(3, "heading-without-id")]),
        ("## one: T\n- agent: null\n", []),
        ("## one: T\n- tests: pass\n", []),
    ],
)
def test_findings_of_the_parser(text, found):
    _, findings = parse(text)
    assert [(finding.line, finding.rule) for finding in findings] == found
    assert all(finding.message and finding.suggestion for finding in findings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("## one: T\n- kind: bug\n- neds: a\n", "`needs`"),
        ("## one: T\n- kind: bugfix\n", "`bug`"),
        ("## Größe: T\n", "`## grosse: T`"),
        ("## Add Search: T\n", "## add-search: T"),
        ("## one: T\n- needs: [a, b]\n", '`["a", "b"]`'),
        ("## one: T\n- mode: panes\n", "`pane`"),
    ],
)
def test_suggestions_say_what_to_write(text, words):
    (finding,) = parse(text)[1]
    assert words in finding.suggestion


def test_text_around_the_fields_is_spec_and_accept_may_follow():
    task = only_task("## one: T\nBefore.\n- kind: bug\n\nAfter.\n\nAccept:\n- one\n- two\n\nMore.\n")
    assert task.spec == "Before.\n\nAfter.\n\n\nMore."
    assert task.accept == "- one\n- two"
    assert only_task(render_task(task)) == task


def test_a_thousand_tasks_are_read_under_a_second():
    body = "".join(
        f"## task-{n}: Do the thing number {n}\nSome text.\nAccept: it works.\n- needs: task-{max(n - 1, 0)}\n\n"
        for n in range(1000)
    )
    start = time.process_time()
    plan, findings = parse(body)
    assert render(parse(render(plan))[0]) == render(plan)
    assert time.process_time() - start < 3  # three readings and as many writings: one second each
    assert len(plan.tasks) == 1000
    assert findings == []


def test_decode():
    assert decode(b"\xef\xbb\xbf# \xc3\xa4\r\n") == "# ä\r\n"
    with pytest.raises(UsageError, match="byte 4 on line 2"):
        decode(b"# a\n\xff\xfe")


# ---------------------------------------------------------------- properties

FRAGMENTS = st.sampled_from(
    [
        *("---", "# Title", "## one: A", "## two:", "## Two", "##x: y", "Accept: it works", "Accept:", "- kind: bug"),
        *("- kind: research", "- needs: one, two", "- needs: *", '- files: ["a"]', "- x: y", "- tests: pass", "text"),
        *("```", "```py", "````", "~~~", "    ```", "  - files: a", "\t- files: a", "* kind: bug", "", " ", "- a", "#"),
        *('- checks: ["a # b"]', "- checks: a # b", "- lands: no", "- priority: 3", "base: main", "checks: make"),
        *("- role: tester", "\ufeff", "- env: {}", "\x0c", "   Accept: x", "- agent: null", "- files: []", "1. one"),
    ]
)
PLANNISH = st.lists(st.one_of(FRAGMENTS, st.text(max_size=8)), max_size=25).map("\n".join)


def assert_round_trip(text: str) -> None:
    plan, findings = parse(text)
    if errors(findings):
        return
    written = render(plan)
    again, later = parse(written)
    assert again == plan
    assert not errors(later)
    assert render(again) == written


@settings(max_examples=400, deadline=None)
@given(PLANNISH)
def test_what_parses_without_error_round_trips(text):
    assert_round_trip(text)


@settings(max_examples=200, deadline=None)
@given(PLANNISH)
def test_a_body_with_tasks_round_trips(text):
    assert_round_trip(f"# T\n\n## a: b\n{text}\n## c: d\n")


@given(st.text())
def test_no_text_makes_the_parser_fail(text):
    _, findings = parse(text)
    assert all(finding.line >= 1 for finding in findings)


LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), min_size=1, max_size=20)
WORDS = LINES.map(str.strip).filter(bool)
IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)
CHECKS = st.lists(
    st.builds(CheckSpec, IDS, TEXTS, st.sampled_from([1800.0, 5.0]), st.sampled_from([(), ("web",)])),
    max_size=3,
    unique_by=lambda check: check.name,
).map(tuple)
UNIQUE = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
OPTIONAL = {"agent": TEXTS, "model": TEXTS, "mode": st.sampled_from(["stream", "pane"]), "checks": CHECKS}


@st.composite
def tasks(draw):
    kind = draw(st.sampled_from(list(Kind)))
    return PlanTask(
        id=draw(IDS),
        title=draw(WORDS),
        spec=draw(st.sampled_from(["", "Do it.", "- kind: bug", "```\n## a: b\n```", "a\n\nb", "- files: x\n- y: z"])),
        accept=draw(st.sampled_from(["", "It works.", "- a\n- kind: b", "- needs: c", "1. a\n2. b"])),
        kind=kind,
        needs=draw(UNIQUE),
        files=draw(UNIQUE),
        tables=draw(UNIQUE),
        role=draw(IDS),
        env=draw(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), TEXTS, max_size=2)),
        priority=draw(st.integers(-1000, 1000)),
        lands=draw(st.booleans()),
        branch=draw(st.none() | IDS),
        budget=draw(st.none() | st.fixed_dictionaries({"tokens": st.integers(1, 10**9)})),
        rounds=draw(st.none() | st.integers(0, 100)),
        **{key: draw(st.none() | strategy) for key, strategy in OPTIONAL.items()},
    )


@pytest.mark.parametrize("name", ["null", "true", "1", "none", "~", "[]", '"x"', "a # b"])
def test_a_value_that_looks_like_something_else_is_written_so_that_it_stays_itself(name):
    task = PlanTask(id="a", title="b", spec="c", accept="d", tables=(name,), files=(name,), agent=name)
    again, findings = parse(render(Plan("T", "", (task,))))
    assert errors(findings) == []
    assert again.tasks == (task,)


@settings(max_examples=100, deadline=None)
@given(st.lists(tasks(), min_size=1, max_size=4), st.none() | CHECKS, st.none() | st.integers(1, 99), st.none() | IDS)
def test_every_plan_renders_to_a_text_that_means_the_same(made, checks, open_limit, target):
    plan = Plan("Title", "Context.", tuple(made), checks=checks, open=open_limit, target=target)
    again, findings = parse(render(plan))
    assert errors(findings) == []
    assert again == plan


@given(st.recursive(st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=3)))
def test_json_values_are_read_as_written(value):
    _, meaning = plan_values.read_json(plan_values.dump(value) + " # comment")
    assert meaning == value


def test_nul_is_no_part_of_a_plan():
    plan, findings = parse("# P\n\n## one: Do\0 it\nDo\0 it.\nAccept: `true` passes.\n- files: a\0.txt\n")
    (task,) = plan.tasks
    assert (task.title, task.spec.strip(), task.files) == ("Do it", "Do it.", ("a.txt",))
    assert not errors(findings)
