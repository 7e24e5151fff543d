import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core.errors import UsageError
from stretto.core.model import Kind
from stretto.core.names import is_task_id
from stretto.core.one_task import one_task
from stretto.core.plan import errors


def test_one_line():
    task, findings = one_task("Add a debounce of 300 ms to this input, keep the existing onChange contract")
    assert task.id == "add-a-debounce-of-300-ms-to-this-input-k"
    assert task.title == "Add a debounce of 300 ms to this input, keep the existing onChange …"
    assert task.spec == "Add a debounce of 300 ms to this input, keep the existing onChange contract"
    assert findings == []


def test_words_with_acceptance_and_fields():
    task, _ = one_task("\n\nFix the login. It logs people out.\nAccept: `make` passes.\n- kind: bug\n")
    assert (task.id, task.title, task.kind) == ("fix-the-login", "Fix the login", Kind.BUG)
    assert (task.spec, task.accept) == ("Fix the login. It logs people out.", "`make` passes.")


@pytest.mark.parametrize(
    ("text", "id", "title"),
    [
        ("## login: Fix the login\nIt logs people out.", "login", "Fix the login"),
        ("### Fix the login\nIt logs people out.", "fix-the-login", "Fix the login"),
        ("## Fix the login\r\nIt logs people out.", "fix-the-login", "Fix the login"),
    ],
)
def test_a_section_of_a_markdown_file(text, id, title):
    task, findings = one_task(text)
    assert (task.id, task.title, task.spec) == (id, title, "It logs people out.")
    assert errors(findings) == []


def test_the_given_title_wins_and_ids_do_not_collide():
    task, _ = one_task("Do it.", title="Fix", taken=["fix"])
    assert (task.id, task.title, task.spec) == ("fix-2", "Fix", "Do it.")


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_no_words(text):
    with pytest.raises(UsageError, match="no words"):
        one_task(text)


def test_several_sections_are_refused():
    with pytest.raises(UsageError, match="2 tasks: a, b"):
        one_task("## a: A\n\n## b: B\n")


def test_wrong_fields_are_found():
    _, findings = one_task("Fix it.\n- kind: bugfix\n")
    assert [finding.rule for finding in errors(findings)] == ["unreadable-field"]


@given(st.text())
def test_any_words_are_a_task_or_refused(text):
    try:
        task, findings = one_task(text)
    except UsageError:
        return
    assert is_task_id(task.id) or errors(findings)
