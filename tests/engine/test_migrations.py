"""Migrations of two live tasks that cannot both be applied are told before either lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stretto.reads import read
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support.repository import Repository

DJANGO = "class Migration:\n    dependencies = [('shop', '0001_initial')]\n"


@pytest.fixture
def spine(home: Path, make_repo: Callable[..., Repository], tmp_path: Path) -> Iterator[Spine]:
    repo = make_repo("repo", {"shop/migrations/0001_initial.py": "class Migration:\n    dependencies = []\n"})
    with running(repo, tmp_path) as spine:
        yield spine


def told(spine: Spine, id: str) -> list[str]:
    with spine.engine.store.read() as db:
        answer = read("explain", db, {"cwd": str(spine.repo.path), "task": spine.task(id).uid})
    return [one["value"] for one in answer["evidence"] if one["signal"] == "migrations"]


def test_two_leaf_nodes_are_told_and_no_more_once_one_is_over(spine: Spine) -> None:
    files = {"lamp": "shop/migrations/0002_lamp.py", "chair": "shop/migrations/0002_chair.py", "plain": "a.txt"}
    script = {id: turns([write(path, DJANGO)]) for id, path in files.items()}
    spine.run(plan(*map(task, files)), script, approve="human", open=3)
    spine.wait(lambda: sum(item.kind.value == "review" for item in spine.items()) == 3, 60)
    (lamp,), (chair,) = told(spine, "lamp"), told(spine, "chair")
    assert lamp == (
        "shop/migrations/0002_lamp.py and shop/migrations/0002_chair.py of chair: both follow the same migration: "
        "shop would have two leaf nodes; who lands second: python manage.py makemigrations --merge"
    )
    assert "of lamp" in chair
    assert told(spine, "plain") == []
    tasks = {one["id"]: one for one in spine.call_read("status")["tasks"]}
    assert tasks["lamp"]["clashes"] == [
        {
            "task": tasks["chair"]["uid"],
            "paths": [files["lamp"], files["chair"]],
            "text": "both follow the same migration: shop would have two leaf nodes",
            "remedy": "python manage.py makemigrations --merge",
        }
    ]
    assert [tasks[id]["badges"][-1:] for id in files] == [["migrations clash"], ["migrations clash"], []]
    spine.call("cancel", task=spine.task("chair").uid)
    spine.wait(lambda: spine.task("chair").outcome is not None)
    assert told(spine, "lamp") == []
