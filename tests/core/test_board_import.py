from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.core.board_import import import_files
from stretto.core.plan import errors, parse, render

BOARD = """\
# Sprint 12

Tests run with `make test`.

## Open
- [ ] feature/search — ann — Add full-text search to `GET /products`. Keep the response shape.
  Accept: `GET /products?q=lamp` returns matches.
  - files: app/search/**
- [ ] fix/login -- bob -- Stop logging people out
- [~] docs | | Write the release notes
- [ ] Rename the column qty

## Done
- [x] feature/schema — ann — Add the index table
"""

TASK = """\
---
kind: bug
needs: search
owner: ann
---
# Stop logging people out

The session cookie expires too early.

## Notes
See `auth.py`.

## Acceptance criteria
- [ ] the cookie lives 30 days;
- `pytest tests/test_auth.py` passes
"""


def test_a_board():
    made = import_files([("TASKS.md", BOARD)])
    search, login, docs, rename = made.plan.tasks
    assert (made.plan.title, made.plan.context) == ("Sprint 12", "Tests run with `make test`.")
    assert (search.id, search.branch, search.title) == (
        ("search", "feature/search", "Add full-text search to `GET /products`")
    )
    assert search.spec == (
        "Add full-text search to `GET /products`. Keep the response shape.\n\nOwner on the board: ann."
    )
    assert search.accept == "`GET /products?q=lamp` returns matches."
    assert search.files == ("app/search/**",)
    assert (login.id, login.branch, login.title) == ("login", "fix/login", "Stop logging people out")
    assert (docs.id, docs.title) == ("docs", "Write the release notes")
    assert (rename.id, rename.branch) == ("rename-the-column-qty", None)
    assert made.notes == (
        "taken as open, though marked [~]: docs | | Write the release notes",
        "left out, it has landed: feature/schema — ann — Add the index table",
    )


def test_a_task_file():
    made = import_files([(".agent-tasks/login fix.md", TASK)])
    (task,) = made.plan.tasks
    assert (task.id, task.title, task.kind, task.needs) == ("login-fix", "Stop logging people out", "bug", ("search",))
    assert task.spec == "The session cookie expires too early.\n\n### Notes\nSee `auth.py`."
    assert task.accept == "the cookie lives 30 days; `pytest tests/test_auth.py` passes"
    assert made.notes == ("left out of .agent-tasks/login fix.md: owner: ann",)


def test_several_files_become_one_plan_with_ids_of_their_own():
    made = import_files([("a/x.md", "Do a.\n"), ("b/x.md", "# T\nDo b.\n"), ("c.md", "\n")])
    assert [(task.id, task.title, task.spec) for task in made.plan.tasks] == [
        ("x", "X", "Do a."),
        ("x-2", "T", "Do b."),
    ]
    assert made.notes == ("left out, it is empty: c.md",)


def test_wrong_fields_become_text():
    made = import_files([("a.md", "# T\nDo it.\n\n- kind: chore\n- status: open\n")])
    (task,) = made.plan.tasks
    assert task.spec == "Do it.\n\n* kind: chore\n* status: open"
    assert made.notes == ("kept as text in `a`: - kind: chore", "kept as text in `a`: - status: open")


LINES = st.sampled_from(
    [
        *("# T", "## a: b", "## x", "- [ ] a — b — c", "- [x] done", "  Accept: x", "Accept: y", "- kind: bug", "text"),
        *("  - kind: nope", "- status: x", "```", "---", "needs: a", "", "  more", "## Acceptance", "- one", "~~~"),
        *("- [ ] ../x | y | z", "- [ ] `", "\t- needs: a", "- files: [a]", "* kind: bug", "- kind: bug"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["x.md", ".agent-tasks/x.md"]),
    st.lists(st.one_of(LINES, st.text(max_size=6)), max_size=12).map("\n".join),
)
def test_whatever_is_imported_renders_to_a_plan_without_errors(path, text):
    made = import_files([(path, text)])
    again, findings = parse(render(made.plan))
    assert [one for one in errors(findings) if one.rule != "no-tasks"] == []
    assert again.tasks == made.plan.tasks
