"""What is not built yet is refused or told, never passed over in silence."""

from __future__ import annotations

import pytest

from stretto import config
from stretto.core.errors import StrettoError
from stretto.core.plan import parse
from stretto.engine.operations import unbuilt
from tests.engine.spine import Spine, running, turns


@pytest.fixture
def spine(home, make_repo, tmp_path):
    with running(make_repo("repo", {"README.md": "hello\n"}), tmp_path) as spine:
        yield spine


PLAN = "# P\n## a: A thing\nDo it.\nAccept: it is done.\n"


def frozen(text: str, fields: str = ""):
    plan = parse(PLAN + fields)[0]
    return config.resolve(config.load(text), plan), plan


@pytest.mark.parametrize(
    ("text", "fields", "object"),
    [
        ('[pipeline]\nstages = ["implement", "check", "review", "approve", "land"]\n', "", "[pipeline] stages"),
        ('[pipeline]\nstages = ["implement", "land"]\n', "", "[pipeline] stages"),
    ],
)
def test_what_would_be_done_otherwise_is_refused(text: str, fields: str, object: str) -> None:
    with pytest.raises(StrettoError) as caught:
        unbuilt.refuse(*frozen(text, fields))
    assert (caught.value.code, caught.value.object) == ("not_built", object)
    assert caught.value.hint


def test_the_usual_is_neither_refused_nor_told() -> None:
    text = '[workspace]\nsandbox = "none"\n[pipeline]\nstages = ["implement", "check", "approve", "land"]\n'
    found = frozen(text, "- sandbox: none\n- workspace: own\n- mode: stream\n")
    unbuilt.refuse(*found)
    assert unbuilt.notices(*found) == []


@pytest.mark.parametrize(
    ("fields", "front", "expected"),
    [("- model: mine", "model: plans", "mine"), ("", "model: plans", "plans"), ("", "", "roles")],
)
def test_the_model_is_the_tasks_else_the_plans_else_the_roles(spine: Spine, fields: str, front: str, expected: str):
    settings = '[roles.implementer]\nmodel = "roles"\n'
    spine.repo.commit("Settings", {"stretto.toml": settings})
    spine.run(f"---\n{front}\n---\n{PLAN}{fields}\n", {"a": turns([{"sleep": 60}])})
    assert spine.wait(lambda: models(spine)) == [expected]


def models(spine: Spine) -> list[str]:
    with spine.engine.store.read() as db:
        return [row["model"] for row in db.rows("SELECT model FROM sessions")]


def test_what_is_only_missing_is_told_in_one_line() -> None:
    text = '[roles.tester]\nfallback = ["claude"]\n'
    found = frozen(text, '- branch: PROJ-1\n- env: {"A": "1"}\n')
    unbuilt.refuse(*found)
    assert unbuilt.notices(*found) == ["not used yet: branch of task a"]
