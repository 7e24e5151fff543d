"""A removal that the daemon carried out and could not write down any more can be undone all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.house import House, armed
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults
PLAN = "# One\n\n## doomed: Is taken away\nWrite something.\nAccept: it is there.\n"


@pytest.mark.parametrize("op", ["undo", "purge"])
def test_a_removal_that_was_not_written_down_is_known_again(house: House, op: str) -> None:
    house.up(**armed(["daemon.workspace.remove.after"]))
    house.run(PLAN)
    wait_for(lambda: any(item.kind.value == "review" for item in house.items()), 30, what=house.story)
    path = Path(str(house.tasks()["doomed"].workspace))
    assert house.call("remove", task="doomed") is None
    assert wait_for(house.died)
    assert not path.exists()
    assert house.removals() == []
    house.up()
    if op == "undo":
        done = house.call("undo")
        assert done is not None, house.said
        assert done["path"] == str(path)
        assert (path / "loose.log").read_text() == "ignored, and yet to be kept\n"
        assert house.repo.refs(f"refs/heads/{done['branch']}")
    else:
        done = house.call("purge")
        assert done is not None, house.said
        assert [row["path"] for row in done["removals"]] == [str(path)]
