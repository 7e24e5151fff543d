"""The person's checkout while its branch moves underneath (DECISIONS 25), case by case."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from stretto.landing import checkout
from tests.support.landing import FILES, Yard


@pytest.fixture
def yard(make_repo, tmp_path: Path) -> Yard:
    return Yard(make_repo("repo", FILES), tmp_path / "home")


def land(yard: Yard, id: str, files: dict[str, str | bytes | None], choice: str) -> str | None:
    entry = yard.land(id, files)
    came = checkout.follow(yard.git, "main", str(entry.old), str(entry.candidate), choice)
    assert came.checkout == checkout.look(yard.git, "main")
    return came.note


def marks(yard: Yard) -> dict[str, str]:
    return yard.repo.refs("refs/stretto/checkout/")


def test_which_checkout_has_the_target_out(yard: Yard, tmp_path: Path):
    assert checkout.holder(yard.git, "main") == yard.repo.path
    yard.repo.git("switch", "-q", "-c", "mine")
    assert checkout.holder(yard.git, "main") is None
    yard.repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "main")
    assert checkout.holder(yard.git, "main") == tmp_path / "linked"


def test_a_clean_one_is_fast_forwarded_when_that_was_chosen(yard: Yard):
    (yard.repo.path / "untracked.txt").write_text("mine")
    assert land(yard, "one", {"new.txt": "new\n", "f0.txt": None}, "update") is None
    assert (yard.repo.path / "new.txt").read_text() == "new\n"
    assert not (yard.repo.path / "f0.txt").exists()
    assert yard.repo.status() == ["?? untracked.txt"]
    assert marks(yard) == {}
    assert land(yard, "two", {"newer.txt": "newer\n"}, "update") is None
    assert yard.repo.status() == ["?? untracked.txt"]


def test_unrelated_changes_of_the_person_stay_where_they_are(yard: Yard):
    (yard.repo.path / "f3.txt").write_text("mine\n")
    said = land(yard, "one", {"new.txt": "new\n"}, "update")
    assert (yard.repo.path / "f3.txt").read_text() == "mine\n"
    if said is not None:
        assert "f3.txt" in said
    found = checkout.look(yard.git, "main")
    assert found is not None
    assert found.behind == (0 if said is None else 2)


@pytest.mark.parametrize("blocker", ["f0.txt", "new.txt"])
def test_one_with_changes_in_the_way_is_left_and_told(yard: Yard, blocker):
    (yard.repo.path / blocker).write_text("mine\n")
    said = land(yard, "one", {"new.txt": "new\n", "f0.txt": "landed\n"}, "update")
    assert said is not None
    assert said.startswith("your checkout could not be updated: ")
    assert blocker in said
    assert (yard.repo.path / blocker).read_text() == "mine\n"
    found = checkout.look(yard.git, "main")
    assert found is not None
    assert found.behind > 0
    assert "stretto update-checkout" in found.sentence


def test_one_that_was_to_be_left_is_left_and_its_distance_told(yard: Yard):
    start = yard.target.tip()
    said = land(yard, "one", {"new.txt": "new\n"}, "leave")
    assert said == f"your checkout {yard.repo.path} is 2 behind main; before you commit there: stretto update-checkout"
    assert land(yard, "two", {"f1.txt": "landed\n"}, "leave") == said.replace("2 behind", "4 behind")
    assert not (yard.repo.path / "new.txt").exists()
    found = checkout.look(yard.git, "main")
    assert found is not None
    assert (found.shows, found.behind, found.tip) == (start, 4, yard.target.tip())
    before = checkout.update(yard.git, "main")
    assert before.behind == 4
    assert (yard.repo.path / "f1.txt").read_text() == "landed\n"
    assert yard.repo.status() == []
    assert marks(yard) == {}
    assert checkout.look(yard.git, "main") == checkout.Checkout(yard.repo.path, "main", found.tip, found.tip, 0)
    assert checkout.update(yard.git, "main").behind == 0


@pytest.mark.parametrize("how", ["reset", "switch"])
def test_one_that_the_person_brought_up_to_date_is_not_behind(yard: Yard, how):
    land(yard, "one", {"new.txt": "new\n"}, "leave")
    if how == "reset":
        yard.repo.git("reset", "-q", "--hard")
    else:
        yard.repo.git("reset", "-q", "--hard", "HEAD~1")
        yard.repo.git("merge", "-q", "--ff-only", "ORIG_HEAD")
    (yard.repo.path / "f3.txt").write_text("the person goes on\n")
    found = checkout.look(yard.git, "main")
    assert found is not None
    assert found.behind == 0
    start = yard.target.tip()
    said = land(yard, "two", {"f1.txt": "landed\n"}, "leave")
    assert said is not None
    assert "is 2 behind" in said
    assert yard.repo.oid("refs/stretto/checkout/main/shows") == start


def test_without_a_checkout_of_the_target_there_is_nothing_to_say(yard: Yard):
    yard.repo.git("switch", "-q", "-c", "mine")
    assert land(yard, "one", {"new.txt": "new\n"}, "leave") is None
    assert marks(yard) == {}
    assert checkout.look(yard.git, "main") is None
    with pytest.raises(StrettoError, match="no checkout has main out"):
        checkout.update(yard.git, "main")


def test_a_linked_checkout_is_told_how_and_never_written(yard: Yard, tmp_path: Path):
    linked = tmp_path / "linked"
    yard.repo.git("switch", "-q", "-c", "mine")
    yard.repo.git("worktree", "add", "-q", str(linked), "main")
    said = land(yard, "one", {"new.txt": "new\n"}, "update")
    assert said is not None
    assert str(linked) in said
    assert not (linked / "new.txt").exists()
    with pytest.raises(StrettoError) as caught:
        checkout.update(yard.git, "main")
    for command in (caught.value.hint or "").split(" && "):
        yard.repo.git(*command.split()[1:])
    assert (linked / "new.txt").read_text() == "new\n"
    assert yard.repo.status(linked) == []
    found = checkout.look(yard.git, "main")
    assert found is not None
    assert found.behind == 0


# ------------------------------------------------------------------ a commit made in a checkout that was behind


def test_a_commit_that_takes_a_landing_back_stops_the_queue(yard: Yard):
    land(yard, "one", {"new.txt": "new\n", "f1.txt": "landed\n"}, "leave")
    assert checkout.would_revert(yard.git, "main") is None
    (yard.repo.path / "f3.txt").write_text("mine\n")
    yard.repo.git("commit", "-qam", "my own work")
    assert "new.txt" not in yard.repo.files("main")
    danger = checkout.would_revert(yard.git, "main")
    assert danger is not None
    assert "f1.txt, new.txt" in danger
    assert "stretto update-checkout" in danger


def test_a_record_is_settled_only_when_nothing_was_taken_back(yard: Yard):
    land(yard, "one", {"new.txt": "new\n"}, "leave")
    checkout.settle(yard.git, "main")
    assert marks(yard) != {}
    yard.repo.git("commit", "-qm", "my own work", "--allow-empty")
    checkout.settle(yard.git, "main")
    assert checkout.would_revert(yard.git, "main") is not None
    yard.repo.git("reset", "-q", "--hard", "HEAD~1")
    assert checkout.would_revert(yard.git, "main") is None
    checkout.settle(yard.git, "main")
    assert marks(yard) == {}


def test_it_goes_on_once_the_content_is_back(yard: Yard):
    entry = yard.land("one", {"new.txt": "new\n", "f1.txt": "landed\n"})
    checkout.follow(yard.git, "main", str(entry.old), str(entry.candidate), "leave")
    (yard.repo.path / "f3.txt").write_text("mine\n")
    yard.repo.git("commit", "-qam", "my own work")
    yard.repo.git("checkout", str(entry.candidate), "--", "f1.txt", "new.txt")
    yard.repo.git("commit", "-qm", "bring it back")
    assert checkout.would_revert(yard.git, "main") is None


def test_it_goes_on_if_it_was_meant(yard: Yard):
    land(yard, "one", {"new.txt": "new\n"}, "leave")
    yard.repo.git("commit", "-qm", "my own work", "--allow-empty")
    assert checkout.would_revert(yard.git, "main") is not None
    checkout.update(yard.git, "main")
    assert checkout.would_revert(yard.git, "main") is None
    assert marks(yard) == {}


def test_a_commit_of_named_paths_is_fine(yard: Yard):
    land(yard, "one", {"new.txt": "new\n"}, "leave")
    (yard.repo.path / "f3.txt").write_text("mine\n")
    yard.repo.git("commit", "-qm", "only mine", "--", "f3.txt")
    assert checkout.would_revert(yard.git, "main") is None
    assert yard.repo.show("main", "new.txt") == "new"
    found = checkout.look(yard.git, "main")
    assert found is not None
    assert found.behind == 3


def test_a_later_change_of_a_landed_file_is_not_a_revert(yard: Yard):
    land(yard, "one", {"new.txt": "new\n"}, "update")
    yard.repo.commit("goes on", {"new.txt": "newer\n"})
    assert checkout.would_revert(yard.git, "main") is None


def test_a_crash_before_the_follow_up_loses_no_mark(yard: Yard):
    entry = yard.land("one", {"new.txt": "new\n"})
    assert yard.repo.oid("refs/stretto/checkout/main/shows") == entry.old
    found = checkout.look(yard.git, "main")
    assert found is not None
    assert found.behind == 2
    for _ in range(2):
        checkout.follow(yard.git, "main", str(entry.old), str(entry.candidate), "update")
    assert yard.repo.status() == []
    assert marks(yard) == {}
