import os
from pathlib import Path

import pytest

from stretto.core.errors import StrettoError, UsageError
from stretto.core.model import State
from stretto.reads import find
from stretto.store.sqlite import Store
from tests.support import rows


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "stretto.db", lambda: 1000.0)
    yield store
    store.close()


def add(store, *values):
    with store.write() as tx:
        for value in values:
            tx.insert(value)


def test_the_repository_of_a_folder_is_what_git_says(repo, tmp_path):
    (repo.path / "a" / "b").mkdir(parents=True)
    bay = tmp_path / "bay"
    repo.git("worktree", "add", "-q", str(bay))
    link = tmp_path / "link"
    link.symlink_to(repo.path)
    for folder in (repo.path, repo.path / "a" / "b", bay, link / "a", repo.path / ".git", repo.path / ".git" / "refs"):
        said = repo.git("rev-parse", "--git-common-dir", cwd=folder)
        expected = os.path.realpath(folder / said)
        assert find.repository(str(folder)) == expected == os.path.realpath(repo.path / ".git")


def test_bare_repositories_and_submodules_have_keys_of_their_own(repo, make_repo):
    bare = make_repo("bare.git", bare=True)
    assert find.repository(str(bare.path / "refs")) == os.path.realpath(bare.path)
    other = make_repo("other", {"x": "1"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path), "sub")
    inside = repo.git("rev-parse", "--absolute-git-dir", cwd=repo.path / "sub")
    assert find.repository(str(repo.path / "sub")) == os.path.realpath(inside)


def test_a_separate_git_folder_and_a_broken_git_file(tmp_path, make_repo):
    repo = make_repo("moved", {"x": "1"})
    elsewhere = tmp_path / "elsewhere.git"
    repo.git("init", "--quiet", f"--separate-git-dir={elsewhere}")
    assert find.repository(str(repo.path)) == os.path.realpath(elsewhere)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / ".git").write_text("gitdir: /nowhere/at/all\n")
    assert find.repository(str(broken)) is None


def test_outside_of_a_repository_there_is_none(tmp_path):
    assert find.repository(str(tmp_path)) is None
    assert find.repository(str(tmp_path / "missing")) is None
    with pytest.raises(StrettoError) as caught:
        find.require_repository({"cwd": str(tmp_path)})
    assert (caught.value.code, caught.value.exit_code) == ("not_a_repository", 1)
    assert caught.value.hint


def test_an_id_is_looked_for_in_the_newest_unfinished_run(store):
    add(
        store,
        rows.run(id="old-aaaa", created_at=1.0),
        rows.run(id="mid-bbbb", created_at=2.0),
        rows.run(id="new-cccc", created_at=3.0),
        rows.task("one", run="old-aaaa"),
        rows.task("one", run="mid-bbbb"),
        rows.task("one", run="new-cccc", outcome=State.LANDED),
        rows.task("two", run="new-cccc", outcome=State.FAILED),
    )
    with store.read() as db:
        assert find.find_run(db, None, "/r/.git").id == "mid-bbbb"
        assert find.find_task(db, "one", "/r/.git").uid == "mid-bbbb/one"
        assert find.find_task(db, "two", "/r/.git").uid == "new-cccc/two"
        assert find.find_task(db, "old-aaaa/one", "/other").uid == "old-aaaa/one"


def test_when_all_is_over_the_newest_run_is_meant(store):
    add(
        store,
        rows.run(id="old-aaaa", created_at=1.0),
        rows.run(id="new-cccc", created_at=3.0),
        rows.task("one", run="old-aaaa", outcome=State.LANDED),
        rows.task("one", run="new-cccc", outcome=State.LANDED),
    )
    with store.read() as db:
        assert find.find_run(db, None, "/r/.git").id == "new-cccc"
        assert find.find_task(db, "one", "/r/.git").uid == "new-cccc/one"


def test_what_can_mean_several_is_refused_with_the_candidates(store):
    add(
        store,
        rows.run(id="a-aaaa", created_at=1.0),
        rows.run(id="b-bbbb", created_at=2.0),
        rows.run(id="c-cccc", created_at=3.0),
        rows.task("one", run="a-aaaa"),
        rows.task("one", run="b-bbbb"),
        rows.task("two", run="c-cccc"),
    )
    with store.read() as db:
        with pytest.raises(UsageError) as caught:
            find.find_task(db, "one", "/r/.git")  # the newest unfinished run has no `one`
        assert caught.value.exit_code == 2
        assert sorted(caught.value.details["candidates"]) == ["a-aaaa/one", "b-bbbb/one"]
        assert "b-bbbb/one" in caught.value.message
        with pytest.raises(UsageError):
            find.find_task(db, "one", None)
        assert find.find_task(db, "two", None).uid == "c-cccc/two"


@pytest.mark.parametrize("name", ["nothing", "demo-abcd/none", "../../etc", "a/b/c", "'; DROP TABLE tasks; --"])
def test_unknown_names_are_words_of_the_call(store, name):
    with store.read() as db, pytest.raises(UsageError) as caught:
        find.find_task(db, name, "/r/.git")
    assert caught.value.code == "unknown_task"


def test_other_repositories_are_not_searched(store):
    add(store, rows.run(repo="/other/.git"), rows.task("one", repo="/other/.git"))
    with store.read() as db:
        with pytest.raises(UsageError):
            find.find_task(db, "one", "/r/.git")
        with pytest.raises(StrettoError) as caught:
            find.find_run(db, None, "/r/.git")
        assert caught.value.code == "no_run"
        assert find.find_run(db, "demo-abcd", "/r/.git").id == "demo-abcd"


def test_a_run_without_tasks_is_not_unfinished(store):
    add(store, rows.run())
    with store.read() as db:
        assert find.unfinished(db, None) == []
        assert find.newest(db, None) is not None
        assert Path(find.find_run(db, None, "/r/.git").root) == Path("/r")
