import time
from pathlib import Path

import pytest

from stretto.core import wording
from stretto.core.finding import Severity
from stretto.core.lint import lint
from stretto.core.plan import errors
from stretto.core.rules import RULES

PLANS = Path(__file__).parent / "plans"
ROOT = Path(__file__).parents[2]


def found(text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.rule) for finding in lint(text)[1]]


def task(spec: str, title: str = "Add a thing", fields: str = "") -> str:
    return f"## one: {title}\n{spec}\nAccept: `make test` passes.\n{fields}"


def test_the_good_plan_has_no_finding():
    assert lint((PLANS / "good.md").read_text())[1] == []


@pytest.mark.parametrize("text", ["", "# A title and no task\n", "---\nopen: 2\n---\n"])
def test_a_plan_without_a_task_is_a_finding(text: str):
    assert [rule for _, rule in found(text)] == ["no-tasks"]


def test_the_bad_plan_has_all_of_these():
    got = found((PLANS / "bad.md").read_text())
    assert got == [
        (3, "no-acceptance"),
        (3, "no-files"),
        (4, "open-question"),
        (4, "placeholder"),
        (6, "no-files"),
        (6, "vague-verb"),
        (8, "vague-acceptance"),
        (11, "open-question"),
        (12, "long-acceptance"),
        (16, "several-tasks"),
        (17, "open-question"),
        (17, "placeholder"),
        (17, "unnamed-need"),
        (18, "vague-acceptance"),
        (19, "outside-files"),
        (19, "overlapping-files"),
        (20, "shared-tables"),
        (21, "unknown-role"),
        (22, "secret-in-plan"),
        (24, "no-acceptance"),
        (24, "vague-verb"),
        (25, "overlapping-files"),
        (25, "touches-too-much"),
        (27, "ignored-field"),
        (27, "text-after-fields"),
        (29, "heading-without-id"),
        (31, "duplicate-id"),
        (31, "duplicate-title"),
        (31, "long-spec"),
        (31, "no-acceptance"),
        (31, "vague-verb"),
        (37, "unreadable-field"),
        (38, "unknown-key"),
        (39, "unknown-need"),
        (41, "bad-id"),
        (41, "no-acceptance"),
        (41, "no-files"),
        (41, "no-spec"),
        (42, "unreadable-field"),
        (43, "repeated-key"),
    ]


def test_every_finding_says_where_why_and_what_instead_and_its_rule_is_listed():
    for finding in lint((PLANS / "bad.md").read_text())[1]:
        assert finding.rule in RULES
        assert finding.severity is RULES[finding.rule][0]
        assert finding.message
        assert finding.suggestion
        assert set(finding.as_json()) == {"line", "severity", "rule", "task", "message", "suggestion"}


def test_strict_makes_every_warning_an_error():
    _, findings = lint("## one: T\n", strict=True)
    assert {finding.severity for finding in findings} == {Severity.ERROR}
    assert errors(lint("## one: T\n")[1]) == []


@pytest.mark.parametrize(
    "spec",
    [
        "Add a debounce of 300 ms to this input, keep the existing onChange contract.",
        "Rename the column `qty` to `quantity` and migrate the rows.",
        "Improve the error of `parse()` so that it names the line.",
        "Refactor `OrderService` into `orders/service.py` and `orders/prices.py`.",
        "Add `GET /health?full=1`; it answers 200 with the version, e.g. 1.2.0.",
        "Show the design tokens of the theme on the settings page.",
        "Explain in README.md how to run the tests.",
        "Support three formats: CSV, JSON and YAML.",
        "```\nwhy is this slow? TODO maybe\n```\nAdd the query above as a regression test.",
        "Délai de 300 ms sur ce champ.",
    ],
)
def test_good_specs(spec):
    assert found(task(spec)) == []


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("Figure out how to cache products.", "open-question"),
        ("Decide whether we need Redis.", "open-question"),
        ("Find out why the login test is flaky.", "open-question"),
        ("Why is the login slow?", "open-question"),
        ("Investigate the memory leak.", "open-question"),
        ("Use Redis or should we take SQLite?", "open-question"),
        ("Choose between REST and GraphQL.", "open-question"),
        ("Perhaps add an index.", "open-question"),
        ("Which index is right?", "open-question"),
        ("design the caching layer", "design-work"),
        ("Architect a new billing module.", "design-work"),
        ("Plan the migration to Postgres.", "design-work"),
        ("Improve the code.", "vague-verb"),
        ("Make the page faster.", "vague-verb"),
        ("Make it more robust.", "vague-verb"),
        ("Clean up the code base.", "vague-verb"),
        ("Fix all bugs.", "vague-verb"),
        ("Handle edge cases.", "vague-verb"),
        ("Add the columns name, price, etc. to the export.", "placeholder"),
        ("Add the TBD column.", "placeholder"),
        ("Add a column for <your name>.", "placeholder"),
    ],
)
def test_bad_specs(spec, rule):
    assert [one for _, one in found(task(spec))] == [rule]


@pytest.mark.parametrize("fields", ["- kind: research\n", "- kind: architecture\n", "- role: driver\n"])
def test_questions_are_for_driver_research_and_architecture(fields):
    assert "open-question" not in [rule for _, rule in found(task("Find out why login is flaky.", fields=fields))]


@pytest.mark.parametrize(
    ("accept", "vague"),
    [
        ("it works", True),
        ("works as expected.", True),
        ("Everything works fine", True),
        ("Done.", True),
        ("no bugs", True),
        ("the feature is done", True),
        ("it works with an empty cart", False),
        ("`make test` passes", False),
        ("no request is sent within 300 ms", False),
    ],
)
def test_vague_acceptance(accept, vague):
    assert wording.vague_acceptance(accept) is vague


@pytest.mark.parametrize(
    ("accept", "long"),
    [
        ("the migration applies and reverts; `pytest tests/test_models.py` passes.", False),
        ("`GET /products?q=lamp. And more.` returns matches, e.g. lamps.", False),
        ("version 1.2 is shown", False),
        ("One. Two.", True),
        ("- one\n- two", True),
        ("word " * 41, True),
    ],
)
def test_long_acceptance(accept, long):
    assert bool(wording.too_long_acceptance(accept)) is long


def test_the_line_of_a_finding_is_that_of_its_words():
    text = "# T\n\n## one: Add it\nAdd the column.\n\nMaybe an index.\nAccept: `make` passes.\n"
    assert found(text) == [(6, "open-question")]


def test_overlap_counts_only_between_tasks_that_may_run_together():
    a = "## a: Add a\nAdd a.\nAccept: `a` passes.\n- files: app/**\n- tables: users\n"
    b = "## b: Add b\nAdd b.\nAccept: `b` passes.\n- files: app/b.py\n- tables: users\n"
    assert [rule for _, rule in found(a + b)] == ["overlapping-files", "shared-tables"]
    assert found(a + b + "- needs: a\n") == []
    assert found(a + b + "- kind: research\n") == []


def test_one_finding_for_a_task_that_overlaps_with_many():
    text = "".join(f"## t{n}: Add {n}\nAdd it.\nAccept: `{n}` passes.\n- files: app/**\n" for n in range(6))
    findings = lint(text)[1]
    assert len(findings) == 5
    assert "`t0`, `t1`, `t2` and 2 more" in findings[-1].message


def test_a_chain_gains_nothing():
    text = "".join(
        f"## t{n}: Add {n}\nAdd it.\nAccept: `{n}` passes.\n" + (f"- needs: t{n - 1}\n" if n else "") for n in range(3)
    )
    assert found(text) == [(1, "nothing-parallel")]


def test_a_task_in_a_comment():
    text = "<!--\n## one: Add it\nAdd it.\nAccept: `make` passes.\n-->\n\n## two: Add b\nAdd b.\nAccept: `b` passes.\n"
    assert (2, "commented-task") in found(text)
    assert (7, "commented-task") not in found(text)


def test_a_cycle_does_not_stop_the_other_rules():
    text = "## a: A\nAdd it.\n- needs: b\n\n## b: B\nAdd it.\n- needs: a\n\n## c: Add c\nImprove.\n"
    assert {"cycle", "vague-verb", "no-acceptance"} <= {rule for _, rule in found(text)}


@pytest.mark.parametrize("files", ["src/m{n}/**", "src/**"])
def test_a_thousand_tasks_are_linted_in_seconds(files):
    text = "".join(
        f"## task-{n}: Add the thing number {n}\nAdd it as the task `task-{n}` says.\nAccept: `t{n}` passes.\n"
        f"- files: {files.format(n=n)}\n"
        for n in range(1000)
    )
    start = time.process_time()
    findings = lint(text)[1]
    assert time.process_time() - start < 10
    assert len(findings) in (0, 999)


@pytest.mark.parametrize(
    "line",
    [
        "`a ``b ",
        "make ",
        "why is ",
        "Add and ",
        "... ",
        "<a ",
        "a_",
        "word? ",
        "- x\n",
        "```\nx\n~~~\n",
        "Accept: ok ",
        "[{(",
        "{a,b}",
    ],
)
def test_hostile_text_ends(line):
    body = line * (60_000 // len(line))
    start = time.process_time()
    lint(f"## a: {line.strip()}\n{body}\n- files: {body if '{' in line else 'x'}\n\n## b: T\n- files: x\n")
    assert time.process_time() - start < 10


def test_known_roles_come_from_the_configuration():
    text = task("Add it to `x`.", fields="- role: scout\n")
    assert found(text) == [(4, "unknown-role")]
    assert lint(text, roles=["scout"])[1] == []


def test_the_documentation_lists_every_rule_and_field():
    from stretto.core.plan import PLAN_FIELDS, TASK_FIELDS

    text = (ROOT / "docs" / "plan-format.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for name, (severity, means) in RULES.items():
        assert f"| {severity} | {means} |" in rows[name]
    for name, spec in {**TASK_FIELDS, **PLAN_FIELDS}.items():
        assert name in rows, name
        assert spec.means
    assert set(rows) == {*RULES, *TASK_FIELDS, *PLAN_FIELDS}
