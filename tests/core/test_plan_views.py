import json
import time
from pathlib import Path

import pytest

from stretto.cli.plan_views import (
    WIDTH,
    _width,
    import_command,
    import_files_command,
    lint_command,
    show_command,
)
from stretto.core.plan import parse

PLANS = Path(__file__).parent / "plans"
GOOD = (PLANS / "good.md").read_text(encoding="utf-8")
BAD = (PLANS / "bad.md").read_text(encoding="utf-8")
SHOWN = """\
Shop: search that does not flicker: 5 tasks in 3 waves

wave 1   debounce     Debounce the search input             feature       20 min
         empty-query  Answer an empty query with 400        bug           15 min
         flaky-login  Why the login test is flaky           research      15 min
wave 2   ranking      Rank exact matches first              feature       20 min
wave 3   notes        Write the release notes *             docs           8 min

critical path  43 min: empty-query -> ranking -> notes
at once        as far as needs allow:
  debounce beside empty-query, flaky-login, ranking
  empty-query beside debounce, flaky-login
  flaky-login beside debounce, empty-query, ranking
  ranking beside debounce, flaky-login

with 2 open (= working, - review), an estimate:
flaky-login  ================-----
empty-query  ================-----------
debounce     =====================-----------
ranking                                 =====================-----
notes                                                             =========-----

how long, by the number of open tasks:
    1 open  1 h 23 min  ################################
    2 open  1 h 03 min  ########################  <- more gains little
    3 open  1 h 03 min  ########################
    4 open  1 h 03 min  ########################
    5 open  1 h 03 min  ########################
  one after the other: 1 h 43 min
  (minutes by kind of task, plus 5 min of one person for each task; yours will
  differ)
"""


def test_show():
    assert show_command(GOOD) == (SHOWN, 0)


LONG = "# " + "Ein sehr langer Titel " * 9 + "\n\n" + "".join(
    f"## {'task-with-a-rather-long-name'}-{n}: 日本語の題 {'and very long words ' * 6}\n- files: src/{'deep/' * 12}**\n"
    for n in range(80)
)  # fmt: skip


@pytest.mark.parametrize("text", [GOOD, LONG, "## a: A\n", "## a: \x1b[2J\n"])
def test_show_fits_into_80_columns_and_holds_no_escape(text):
    output, code = show_command(text, open=3)
    assert code == 0
    assert max(_width(line) for line in output.splitlines()) <= WIDTH
    assert "\x1b" not in output


def test_show_as_json():
    output, code = show_command(GOOD, open=3, as_json=True)
    value = json.loads(output)
    assert code == 0
    assert value["schema"] == 1
    assert value["open"] == 3
    assert value["waves"] == [["debounce", "empty-query", "flaky-login"], ["ranking"], ["notes"]]
    assert value["critical_path"] == {"tasks": ["empty-query", "ranking", "notes"], "minutes": 43.0}
    assert ["debounce", "ranking"] in value["together"]
    assert value["tasks"][4]["needs"] == ["debounce", "empty-query", "flaky-login", "ranking"]
    assert {one["open"] for one in value["schedules"]} == {1, 2, 3, 4, 5}
    assert value["serial_minutes"] == 78.0 + 5 * 5.0


def test_open_and_approval_of_the_plan_count():
    text = "---\nopen: 4\napprove: auto\n---\n" + "".join(f"## t{n}: T\n" for n in range(4))
    value = json.loads(show_command(text, as_json=True)[0])
    assert (value["open"], value["review_minutes"]) == (4, 0.0)
    assert json.loads(show_command(text, open=1, as_json=True)[0])["schedules"][0]["minutes"] == 80.0


def test_show_names_what_would_collide():
    output, _ = show_command("## a: A\n- files: app/**\n\n## b: B\n- files: app/x.py\n")
    assert "  a and b (app/** and app/x.py)\n" in output


def test_show_of_a_chain():
    output, _ = show_command("## a: A\n\n## b: B\n- needs: a\n")
    assert "nothing: each task waits for the one before" in output
    assert "at once" not in show_command("## a: A\n")[0], "one task has none beside it"


def test_show_of_a_plan_with_errors_prints_them():
    output, code = show_command("## a: A\n- needs: b\n\n## b: B\n- needs: a\n", path="P.md")
    assert code == 1
    assert output.startswith("P.md:2: error: tasks wait for each other: a -> b -> a [cycle]\n")
    output, code = show_command("", as_json=True)
    assert code == 1
    error = json.loads(output)["error"]
    assert error["code"] == "bad_plan"
    assert error["details"]["findings"][0]["rule"] == "no-tasks"


def test_a_thousand_tasks_are_shown_in_seconds():
    text = "".join(f"## task-{n}: Add {n}\n" + (f"- needs: task-{n - 7}\n" if n > 6 else "") for n in range(999))
    text += "## last: All\n- needs: *\n"
    start = time.process_time()
    show_command(text)
    show_command(text, as_json=True)
    assert time.process_time() - start < 8


def test_lint_of_a_good_plan():
    assert lint_command(GOOD) == ("5 tasks: ok\n", 0)


def test_lint_prints_line_severity_reason_rule_and_suggestion():
    output, code = lint_command("# T\n\n## one: Add it\nAdd the column `x`.\n- lands: maybe\n", path="P.md")
    assert code == 1
    assert output == (
        "P.md:3: warning: nothing says when it is done [no-acceptance]\n"
        "    add a line `Accept:` with one sentence that a test or a look can prove\n"
        "P.md:5: error: `lands` cannot be read: `maybe` is neither yes nor no [unreadable-field]\n"
        "    write `yes` or `no`\n"
        "1 task: 1 error, 1 warning\n"
    )


def test_lint_exits_1_only_for_errors_unless_strict():
    warned = "## one: Add it\nAdd the column `x`.\n"
    assert lint_command(warned)[1] == 0
    assert lint_command(warned, strict=True)[1] == 1
    assert lint_command(BAD)[1] == 1


def test_lint_as_json():
    output, code = lint_command(BAD, as_json=True)
    findings = json.loads(output)["findings"]
    assert code == 1
    assert set(findings[0]) == {"line", "severity", "rule", "task", "message", "suggestion"}
    assert json.loads(lint_command(GOOD, as_json=True)[0])["findings"] == []


def test_import_prints_a_plan():
    output, code = import_command("TASKS.md", "# Board\n- [ ] feature/x — ann — Add the thing\n")
    assert code == 0
    assert parse(output)[0].tasks[0].branch == "feature/x"


def test_import_of_nothing():
    assert import_command("TASKS.md", "- [x] a — b — c\n") == ("", 1)
    _, notes, code = import_files_command([("TASKS.md", "- [x] a — b — c\n")])
    assert code == 1
    assert notes == ["left out, it has landed: a — b — c", "no open task was found: nothing to import"]


def test_show_names_migrations_that_cannot_both_be_applied():
    """Two that may run together; one that waits for the other is no clash, and a glob tells nothing."""
    tasks = {
        "lamp": ("shop/migrations/0002_lamp.py", ""),
        "chair": ("shop/migrations/0002_chair.py", ""),
        "later": ("shop/migrations/0003_later.py", "- needs: lamp, chair\n"),
        "glob": ("shop/migrations/**", ""),
        "sql": ("db/migrations/7_one.sql, db/migrations/8_two.sql", ""),
        "sequel": ("db/migrations/07_other.sql", ""),
    }
    form = "## {0}: Do {0}\nDo it.\nAccept: done.\n- files: {1}\n{2}"
    text = "# Migrations\n\n" + "\n".join(form.format(id, *given) for id, given in tasks.items())
    told = json.loads(show_command(text, as_json=True)[0])["clashes"]
    assert [one["tasks"] for one in told] == [["lamp", "chair"], ["sql", "sequel"]]
    assert told[0]["text"] == "both follow the same migration: shop would have two leaf nodes"
    shown = show_command(text)[0]
    assert "have migrations that cannot both be applied as they are:" in shown
    assert "sql and sequel" in shown
