"""A clone for the user of a worktree: what is brought over both ways, by and to one who may write anything there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError
from stretto.git import clone_objects, foreign
from stretto.git.repository import Repository

UID = "run-abcd/t"
BRANCH = f"stretto/{UID}/work"


class Agent:
    """Who works in the clone: sees the worktree's files, and another git directory."""

    def __init__(self, person: Any, repository: Repository, path: Path) -> None:
        self._person, self.path = person, path
        found = repository.clone(path)
        assert found is not None
        self.git_dir = found.git_dir

    def git(self, *args: str, ok: bool = True) -> str:
        said: str = self._person.git(
            f"--git-dir={self.git_dir}", f"--work-tree={self.path}", *args, cwd=self.path, ok=ok
        )
        return said

    def commit(self, name: str, text: str) -> str:
        (self.path / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", name)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(person: Any) -> Repository:
    person.commit("first", a="1\n")
    opened: Repository = person.open()
    return opened


@pytest.fixture
def place(repository: Repository, tmp_path: Path) -> Path:
    path = tmp_path / "bays" / "01"
    path.parent.mkdir()
    repository.add_worktree(path, BRANCH, str(repository.resolve("main")), "x")
    repository.make_clone(path, BRANCH, UID)
    return path


@pytest.fixture
def agent(person: Any, repository: Repository, place: Path) -> Agent:
    return Agent(person, repository, place)


def test_the_clone_begins_as_the_worktree_is(agent: Agent, repository: Repository, place: Path) -> None:
    assert agent.git("status", "--porcelain", "--branch") == f"## {BRANCH}"
    assert agent.git("for-each-ref", "--format=%(refname)") == f"refs/heads/{BRANCH}"
    assert agent.git("rev-parse", "HEAD") == repository.resolve("main")
    assert not list((agent.git_dir / "objects").glob("??"))  # all borrowed
    repository.make_clone(place, BRANCH, UID)
    assert agent.git("status", "--porcelain") == ""


def test_commits_amendments_and_rebases_come_over(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    first = agent.commit("b", "1\n")
    state = repository.worktree_state(place)
    assert (state.head, state.branch, state.changed) == (first, BRANCH, ())
    assert repository.read_ref(f"refs/heads/{BRANCH}") == first
    assert person.git("status", "--porcelain", cwd=place) == ""  # the index came, too
    agent.git("commit", "-q", "--amend", "-m", "again")
    amended = agent.git("rev-parse", "HEAD")
    assert repository.worktree_state(place).head == amended
    newer = person.commit("meanwhile", c="1\n")
    agent.git("rebase", "-q", newer)
    assert repository.worktree_state(place).head == agent.git("rev-parse", "HEAD")
    assert repository.is_ancestor(newer, agent.git("rev-parse", "HEAD"))
    agent.git("switch", "-qc", f"stretto/{UID}/side")
    side = agent.commit("d", "1\n")
    agent.git("pack-refs", "--all")
    assert repository.worktree_state(place).branch == f"stretto/{UID}/side"
    assert repository.read_ref(f"refs/heads/stretto/{UID}/side") == side
    person.git("fsck", "--strict", "--connectivity-only")


def test_what_we_commit_goes_into_the_clone(agent: Agent, repository: Repository, place: Path) -> None:
    (place / "b").write_text("left\n")
    (place / "c").write_text("staged\n")
    agent.git("add", "c")
    made = repository.commit_all(place, BRANCH, "turn")
    assert made is not None
    assert agent.git("rev-parse", "HEAD") == made
    assert agent.git("status", "--porcelain") == ""
    assert agent.commit("d", "1\n") == repository.worktree_state(place).head


def test_a_merge_that_was_resolved_is_committed_and_over_in_both(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    agent.commit("a", "agent\n")
    theirs = person.commit("other", a="person\n")
    agent.git("merge", "-q", theirs, ok=False)
    assert repository.worktree_operation(place) == "merge"
    with pytest.raises(StrettoError, match="not resolved"):
        repository.commit_all(place, BRANCH, "turn")
    (place / "a").write_text("both\n")
    made = repository.commit_all(place, BRANCH, "turn")
    assert made is not None
    assert repository.parents(made)[1] == theirs
    assert agent.git("status", "--porcelain", "--branch") == f"## {BRANCH}"
    assert not (agent.git_dir / "MERGE_HEAD").exists()
    assert repository.worktree_operation(place) is None


def test_a_rebase_that_goes_on_is_seen_until_it_is_over(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    agent.commit("a", "agent\n")
    theirs = person.commit("other", a="person\n")
    agent.git("rebase", "-q", theirs, ok=False)
    assert repository.worktree_operation(place) == "rebase"
    agent.git("rebase", "--abort")
    assert repository.worktree_operation(place) is None
    assert repository.worktree_state(place).branch == BRANCH


def test_what_is_staged_is_in_a_snapshot(agent: Agent, repository: Repository, place: Path, person: Any) -> None:
    (place / "b").write_text("staged\n")
    agent.git("add", "b")
    (place / "b").write_text("changed\n")
    held = repository.snapshot(place, UID, "x")
    assert held is not None
    kept = [person.git("show", f"{parent}:b", ok=False) for parent in repository.parents(held.commit)]
    assert "staged" in kept


def test_a_commit_of_the_person_goes_into_the_clone(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    mine = person.commit("by hand", cwd=place, b="1\n")
    assert repository.worktree_state(place).head == mine
    assert agent.git("rev-parse", "HEAD") == mine
    assert agent.git("status", "--porcelain") == ""


def test_a_branch_that_moved_on_both_is_told_and_nothing_is_lost(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    theirs = agent.commit("b", "agent\n")
    mine = person.git("commit-tree", "main^{tree}", "-p", "main", "-m", "by hand")
    person.git("update-ref", f"refs/heads/{BRANCH}", mine)
    with pytest.raises(StrettoError) as refused:
        repository.worktree_state(place)
    assert refused.value.code == "clone_diverged"
    kept = str(refused.value.hint).split()[-1]
    assert repository.read_ref(kept) == theirs
    assert repository.snapshot(place, UID, "kept all the same") is not None
    both = person.git("commit-tree", f"{theirs}^{{tree}}", "-p", mine, "-p", theirs, "-m", "both")
    person.git("update-ref", f"refs/heads/{BRANCH}", both)
    assert repository.worktree_state(place).head == both
    assert agent.git("rev-parse", "HEAD") == both


@pytest.mark.parametrize("packed", [False, True])
def test_a_branch_of_the_agents_own_is_seen_as_the_commit_it_is_at(
    agent: Agent, repository: Repository, place: Path, person: Any, packed: bool
) -> None:
    agent.git("switch", "-qc", "feature")
    for name in ("b", "c"):
        made = agent.commit(name, "1\n")
        if packed:
            agent.git("pack-refs", "--all", "--prune")
        state = repository.worktree_state(place)
        assert (state.head, state.branch, state.changed) == (made, None, ())
        assert person.git("cat-file", "-t", "HEAD", cwd=place) == "commit"
    with pytest.raises(StrettoError) as refused:
        repository.commit_all(place, BRANCH, "turn")
    assert refused.value.code == "not_on_branch"
    held = repository.snapshot(place, UID, "x")
    assert held is not None
    assert repository.parents(held.commit) == (made,)
    assert agent.git("symbolic-ref", "HEAD") == "refs/heads/feature"
    agent.git("switch", "-q", BRANCH)
    assert repository.worktree_state(place).branch == BRANCH
    assert person.git("for-each-ref", "refs/heads/feature") == ""


def test_head_never_leads_to_what_is_no_commit_here(agent: Agent, repository: Repository, place: Path) -> None:
    blob = agent.git("rev-parse", "HEAD:a")
    before = repository.worktree_state(place)
    (agent.git_dir / "refs/heads/feature").write_text(f"{blob}\n")
    (agent.git_dir / "HEAD").write_text("ref: refs/heads/feature\n")
    assert repository.worktree_state(place) == before


@pytest.mark.parametrize("said", ["1" * 40, "nonsense"])
def test_a_head_that_leads_nowhere_keeps_no_file_out_of_a_snapshot(
    agent: Agent, repository: Repository, place: Path, person: Any, said: str
) -> None:
    admin = Path(person.git("rev-parse", "--absolute-git-dir", cwd=place))
    (place / "b").write_text("work\n")
    (admin / "HEAD").write_text(f"{said}\n")
    (agent.git_dir / "HEAD").write_text(f"ref: refs/heads/{BRANCH}\n")
    held = repository.snapshot(place, UID, "x")
    assert held is not None
    tracked = person.git("ls-tree", "--name-only", "main").split()
    assert sorted(person.git("ls-tree", "--name-only", held.commit).split()) == sorted([*tracked, "b"])
    (admin / "HEAD").write_text(f"ref: refs/heads/{BRANCH}\n")
    assert repository.worktree_state(place).changed == ("b",)


def test_side_branches_that_cannot_be_brought_over_hold_up_nothing(
    agent: Agent, repository: Repository, place: Path, person: Any, caplog: pytest.LogCaptureFixture
) -> None:
    top = f"stretto/{UID}"
    agent.git("branch", f"{top}/a")
    agent.git("branch", f"{top}/b")
    repository.worktree_state(place)
    agent.git("branch", "-d", f"{top}/a")
    agent.git("switch", "-qc", f"{top}/a/b")
    named = agent.commit("b", "1\n")
    agent.git("switch", "-q", f"{top}/b")
    moved = agent.commit("c", "1\n")
    mine = person.git("commit-tree", "main^{tree}", "-p", "main", "-m", "by hand")
    person.git("update-ref", f"refs/heads/{top}/b", mine)
    agent.git("switch", "-q", BRANCH)
    head = agent.commit("d", "1\n")
    for _ in range(2):
        state = repository.worktree_state(place)
        assert (state.head, state.branch, state.changed) == (head, BRANCH, ())
    assert repository.commit_all(place, BRANCH, "turn") is None
    for oid in (named, moved):
        assert repository.read_ref(f"refs/stretto/keep/{UID}/clone-{oid[:12]}") == oid
    assert repository.read_ref(f"refs/heads/{top}/b") == mine
    assert len([each for each in caplog.records if "stays there" in each.message]) == 2
    held = {
        f"{top}/{name}": f"refs/stretto/keep/{UID}/clone-{oid[:12]}" for name, oid in (("a/b", named), ("b", moved))
    }
    assert repository.side_branches(place) == held
    agent.git("switch", "-q", f"{top}/a/b")
    assert repository.worktree_state(place).head == named  # not a branch that there is none of here
    person.git("branch", "-m", f"{top}/a", "away")
    repository.worktree_state(place)
    assert repository.read_ref(f"refs/heads/{top}/a/b") == named
    assert list(repository.side_branches(place)) == [f"{top}/b"]


def test_refs_that_are_packed_while_we_read_them_are_as_new_as_they_were(
    agent: Agent, repository: Repository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.commit("b", "1\n")
    agent.git("pack-refs", "--all")
    repository.worktree_state(place)
    tip = agent.commit("c", "1\n")
    repository.worktree_state(place)
    read = foreign.read

    def slow(root: Path, name: str, most: int) -> Any:
        found = read(root, name, most)
        if name == "packed-refs":
            agent.git("pack-refs", "--all", "--prune")
        return found

    monkeypatch.setattr(foreign, "read", slow)
    assert repository.worktree_state(place).head == tip
    assert repository.read_ref(f"refs/heads/{BRANCH}") == tip


def test_the_persons_gc_takes_nothing_that_the_clone_borrows(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    (place / "b").write_text("left\n")
    repository.commit_all(place, BRANCH, "turn")
    agent.git("commit", "-q", "--amend", "-m", "another")
    repository.worktree_state(place)
    person.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    person.git("gc", "-q", "--prune=now")
    agent.git("fsck", "--strict")
    agent.git("reset", "-q", "--hard", "HEAD@{1}")
    assert agent.git("status", "--porcelain") == ""


def test_refs_of_others_and_unsound_ones_stay_there(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    before = person.git("for-each-ref")
    tip = agent.git("rev-parse", "HEAD")
    agent.git("update-ref", "refs/heads/main", tip)
    agent.git("update-ref", "refs/tags/v1", tip)
    agent.git("update-ref", "refs/stretto/keep/x", tip)
    (agent.git_dir / f"refs/heads/stretto/{UID}/odd name").write_text(tip)
    (agent.git_dir / f"refs/heads/stretto/{UID}/link").symlink_to(person.path / ".git" / "HEAD")
    os.mkfifo(agent.git_dir / f"refs/heads/stretto/{UID}/pipe")
    repository.worktree_state(place)
    assert person.git("for-each-ref") == before


def test_objects_that_are_not_sound_are_refused_and_the_files_are_kept(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    head = repository.resolve("main")
    tree = person.git("rev-parse", "main^{tree}")
    text = f"tree {tree}\nparent {head}\nauthor nobody\ncommitter nobody\n\nbad\n"
    done = agent.path.parent / "bad"
    done.write_text(text)
    bad = agent.git("hash-object", "-w", "-t", "commit", "--literally", str(done))
    agent.git("update-ref", f"refs/heads/{BRANCH}", bad)
    (place / "b").write_text("work\n")
    with pytest.raises(StrettoError) as refused:
        repository.worktree_state(place)
    assert refused.value.code == "harvest_refused"
    assert repository.read_ref(f"refs/heads/{BRANCH}") == head
    held = repository.snapshot(place, UID, "x")
    assert held is not None
    assert person.git("show", f"{held.commit}:b") == "work"


@pytest.mark.parametrize("name", ["pack", "fan-out", "objects"])
def test_the_history_of_another_repository_is_not_read_for_the_agent(
    agent: Agent, repository: Repository, make_person: Any, place: Path, name: str
) -> None:
    """By a link in the place of a folder of objects, to where the agent itself could not look."""
    other = make_person("secret")
    secret = other.commit("secret", key="precious\n")
    if name == "pack":
        other.git("gc", "-q")
    loose = [each.name for each in (other.path / ".git" / "objects").glob("??")]
    for each in {"objects": [""], "pack": ["pack"], "fan-out": loose}[name]:
        path = agent.git_dir / "objects" / each
        shutil.rmtree(path, ignore_errors=True)
        path.symlink_to(other.path / ".git" / "objects" / each)
    (agent.git_dir / f"refs/heads/stretto/{UID}/x").write_text(f"{secret}\n")
    with pytest.raises(StrettoError) as refused:
        repository.worktree_state(place)
    assert refused.value.code == "harvest_refused"
    assert repository.read_ref(f"refs/heads/stretto/{UID}/x") is None
    assert repository.resolve(secret) is None


def test_a_clone_that_borrows_from_elsewhere_is_refused(
    agent: Agent, repository: Repository, make_person: Any, place: Path
) -> None:
    other = make_person("secret")
    secret = other.commit("secret", key="precious\n")
    (agent.git_dir / "objects/info/alternates").write_text(f"{other.path}/.git/objects\n")
    (agent.git_dir / f"refs/heads/stretto/{UID}/x").write_text(f"{secret}\n")
    with pytest.raises(StrettoError) as refused:
        repository.worktree_state(place)
    assert refused.value.code == "harvest_refused"
    assert repository.resolve(secret) is None


@pytest.mark.parametrize("of", ["HEAD", "HEAD^{tree}"])
def test_a_pipe_among_the_objects_holds_nobody(agent: Agent, repository: Repository, place: Path, of: str) -> None:
    head = agent.commit("b", "1\n")
    oid = agent.git("rev-parse", of)
    path = agent.git_dir / "objects" / oid[:2] / oid[2:]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StrettoError, match="no file") as refused:
        repository.worktree_state(place)
    assert refused.value.code == "harvest_refused"
    assert repository.snapshot(place, UID, "x") is not None
    repository.put_clone_aside(place, "r1")
    assert repository.clone(place) is None
    assert repository.resolve(head) is None


def test_a_fetch_that_does_not_end_is_ended(
    agent: Agent, repository: Repository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.commit("b", "1\n")
    monkeypatch.setattr(clone_objects, "WITHIN", 0.0)
    with pytest.raises(StrettoError, match="did not end") as refused:
        repository.worktree_state(place)
    assert refused.value.code == "harvest_refused"


@pytest.mark.parametrize("name", ["refs", "logs", "info", "objects/info"])
def test_a_clone_that_is_made_again_follows_no_link(
    agent: Agent, repository: Repository, place: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(agent.git_dir / name)
    (agent.git_dir / name).symlink_to(outside)
    with pytest.raises(StrettoError) as refused:
        repository.make_clone(place, BRANCH, UID)
    assert refused.value.code == "harvest_refused"
    assert list(outside.iterdir()) == []


def test_a_reflog_that_names_no_commit_keeps_no_clone_from_being_put_away(
    agent: Agent, repository: Repository, place: Path
) -> None:
    head = agent.commit("b", "1\n")
    repository.worktree_state(place)
    (place.parent / "text").write_text("only here\n")
    blob = agent.git("hash-object", "-w", str(place.parent / "text"))
    with (agent.git_dir / "logs" / "HEAD").open("a") as log:
        log.write(f"{head} {blob} x <x> 1 +0000\tx\n")
    repository.put_clone_aside(place, "r1")
    assert repository.clone(place) is None
    assert repository.clone_aside("r1") is not None


def test_what_is_too_large_is_refused(
    agent: Agent, repository: Repository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.commit("b", "1\n")
    monkeypatch.setattr(clone_objects, "MOST", 10)
    with pytest.raises(StrettoError) as refused:
        repository.worktree_state(place)
    assert refused.value.code == "clone_too_large"


@pytest.mark.parametrize("name", ["HEAD", "index", "refs", "objects/aa", "MERGE_HEAD", "packed-refs"])
@pytest.mark.parametrize("trick", ["pipe", "link", "folder"])
def test_nothing_in_the_clone_leads_or_holds_us_elsewhere(
    agent: Agent, repository: Repository, place: Path, tmp_path: Path, name: str, trick: str
) -> None:
    """What is put in a file's place does not make us wait, nor read or write anything else."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious\n")
    path = agent.git_dir / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if trick == "pipe":
        os.mkfifo(path)
    elif trick == "link":
        path.symlink_to(victim if name in ("refs", "objects/aa") else victim / "file")
    else:
        path.mkdir()
    (place / "b").write_text("1\n")
    try:
        repository.worktree_state(place)
        repository.commit_all(place, BRANCH, "turn")
    except StrettoError:
        assert repository.snapshot(place, UID, "x") is not None
    assert [each.name for each in victim.iterdir()] == ["file"]
    assert (victim / "file").read_text() == "precious\n"


def test_put_away_and_brought_back_it_is_whole_and_its_stash_is_kept(
    agent: Agent, repository: Repository, place: Path, person: Any
) -> None:
    lost = agent.commit("b", "lost\n")
    agent.git("reset", "-q", "--hard", "HEAD~1")
    (place / "a").write_text("stashed\n")
    agent.git("stash", "-q")
    for _ in range(2):
        repository.put_clone_aside(place, "r1")
    assert repository.clone(place) is None
    kept = person.git("for-each-ref", "--format=%(refname)", f"refs/stretto/keep/{UID}/r1/")
    assert lost in person.git("log", "--format=%H", kept)
    assert any("stashed" in person.git("show", f"{each}:a") for each in person.git("rev-list", kept).split())
    for _ in range(2):
        repository.bring_clone_back(place, "r1")
    assert agent.git("stash", "list") != ""
    assert repository.worktree_state(place).head == repository.resolve("main")


@pytest.mark.parametrize("point", ["fetch.before", "fetch.after", "synced", "ref"])
def test_killed_anywhere_it_is_completed_by_the_next_look(
    agent: Agent, repository: Repository, place: Path, person: Any, point: str
) -> None:
    head = agent.commit("b", "1\n")
    name = "daemon.git.update_ref.after" if point == "ref" else f"daemon.git.clone.{point}"
    person.killed(name, "r.worktree_state(Path(words[0]))", place)
    state = repository.worktree_state(place)
    assert (state.head, state.branch, state.changed) == (head, BRANCH, ())
    assert person.git("status", "--porcelain", cwd=place) == ""
    assert agent.git("status", "--porcelain") == ""


def test_another_format_of_objects_makes_no_difference(make_person: Any, tmp_path: Path) -> None:
    person = make_person("other", "--object-format=sha256")
    person.commit("first", a="1\n")
    repository = person.open()
    path = tmp_path / "bays" / "01"
    path.parent.mkdir()
    repository.add_worktree(path, BRANCH, str(repository.resolve("main")), "x")
    repository.make_clone(path, BRANCH, UID)
    made = Agent(person, repository, path).commit("b", "1\n")
    assert len(made) == 64
    assert repository.worktree_state(path).head == made
