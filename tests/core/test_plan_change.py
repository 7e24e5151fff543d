import json

from stretto.core.plan import parse
from stretto.core.plan_change import PlanChange, Progress, as_json, compare, describe

OLD = "# P\n\n## a: A\nDo a.\n\n## b: B\nDo b.\n\n## c: C\nDo c.\n\n## d: D\nDo d.\n"
PROGRESS = {"a": Progress.OVER, "b": Progress.RUNNING, "c": Progress.UNSTARTED, "d": Progress.RUNNING}


def change_to(text: str) -> PlanChange:
    return compare(parse(OLD)[0], parse(text)[0], PROGRESS)


def test_the_same_plan_in_another_order_and_with_other_lines_changes_nothing():
    change = change_to("# P\n\n\n## d: D\nDo d.\n\n## c: C\nDo c.\n\n## b: B\n\nDo b.\n\n## a: A\nDo a.\n")
    assert change.empty
    assert not change.needs_confirmation
    assert describe(change) == "nothing changes"


def test_every_sort_of_change():
    change = change_to(
        "---\nchecks: make\n---\n# P\n\n## a: A\nOther.\n\n## b: B\nOther.\n- files: x\n\n## c: C\nDo c.\n- needs: a\n"
        "\n## e: E\nDo e.\n"
    )
    assert as_json(change) == {
        "joined": ["e"],
        "replaced": [{"id": "c", "changed": ["needs"]}],
        "told": [{"id": "b", "changed": ["spec", "files"]}],
        "too_late": [{"id": "a", "changed": ["spec"]}],
        "removed": [{"id": "d", "progress": "running"}],
        "plan": ["checks"],
    }
    assert json.dumps(as_json(change))
    assert change.needs_confirmation
    assert describe(change).splitlines() == [
        "+ e: joins the run (E)",
        "~ c: takes its new needs; it has not started",
        "~ b: is running; its agent is told the new spec and files in its next turn",
        "  a: keeps its old spec; it is over",
        "- d: is gone from the plan but running; it goes on until you cancel it",
        "  the plan: the run keeps its old checks; a new run takes the new",
    ]


def test_new_tasks_alone_ask_nothing():
    change = change_to(OLD + "\n## e: E\nDo e.\n")
    assert not change.empty
    assert not change.needs_confirmation


def test_what_a_run_froze_asks_nothing_but_a_new_context_does():
    assert not change_to("---\nchecks: make\n---\n" + OLD).needs_confirmation
    change = change_to(OLD.replace("# P\n", "# P\n\nNew.\n"))
    assert change.needs_confirmation
    assert describe(change) == "~ the plan: its new context is told to tasks from now on"


def test_a_task_that_the_run_does_not_know_has_not_started():
    change = compare(parse(OLD)[0], parse(OLD.replace("Do c", "Do x"))[0], {})
    assert [one.after.id for one in change.replaced] == ["c"]


def test_a_running_task_is_told_words_but_not_fields():
    change = change_to(OLD + "- priority: 3\n")
    assert [one.spoken for one in change.told] == [False]
    assert describe(change) == "~ d: is running; the new priority counts from its next step on"
