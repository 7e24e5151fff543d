"""A worktree and its user's clone: what both hold besides objects and branches, and what they held (see clone.py)."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stretto.git import foreign, refs, run
from stretto.git.context import Context

#: bytes of an index, and of other files
_MOST_INDEX, _MOST_FILE = 256 << 20, 1 << 20
REF = re.compile(r"refs/heads(/[A-Za-z0-9_][A-Za-z0-9_.@+-]*)+")
OID = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})")
#: what tells that something goes on: files with commits, other files, folders
COMMITS = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")
_FILES = (*COMMITS, "MERGE_MSG", "MERGE_MODE", "BISECT_LOG")
_FOLDERS = ("rebase-merge", "rebase-apply")
#: of commits that only hold something
AUTHOR = ("stretto", "stretto@localhost")


@dataclass(frozen=True, slots=True)
class Clone:
    """Where the clone of a worktree is. `pointer`: the file that its user sees as `.git`."""

    folder: Path

    @property
    def git_dir(self) -> Path:
        """The git directory that its user works with."""
        return self.folder / "git"

    @property
    def pointer(self) -> Path:
        """A file that leads there."""
        return self.folder / "pointer"

    @property
    def state(self) -> Path:
        """What both sides were after the last `sync`; last of all that makes a clone."""
        return self.folder / "state.json"


@dataclass(slots=True)
class State:
    """Whose clone it is, and both sides as they were: refs by name, HEAD and index as (there, here).

    `kept`: what side branches were at that could not be brought over, and is held by a kept ref.
    """

    path: str
    owner: str
    branch: str
    refs: dict[str, str] = field(default_factory=dict)
    head: list[str] = field(default_factory=list)
    index: list[list[int]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def owns(self, ref: str) -> bool:
        """Whether a ref is one of the task's own branches."""
        whole = f"refs/heads/{self.branch}"
        return ref == whole or (whole.endswith("/work") and ref.startswith(whole.removesuffix("work")))


def head_of(git_dir: Path) -> str:
    """What HEAD says: a full ref name, an object id, or nothing."""
    found = foreign.read(git_dir, "HEAD", 4096)
    said = (found[0] if found else b"").strip()
    if OID.fullmatch(said):
        return said.decode()
    ref = said.removeprefix(b"ref: ").decode("utf-8", "replace")
    return ref if said.startswith(b"ref: ") and REF.fullmatch(ref) else ""


def packed(git_dir: Path) -> dict[str, str]:
    """What `packed-refs` says. To be read after the loose refs: git writes a line here before it takes a file away."""
    found = foreign.read(git_dir, "packed-refs", _MOST_FILE)
    pairs = [line.partition(b" ") for line in (found[0] if found else b"").splitlines()]
    return {name.decode("utf-8", "replace"): oid.decode() for oid, _, name in pairs if OID.fullmatch(oid)}


def loose(git_dir: Path, ref: str) -> str | None:
    """What the file of a ref says, None if that is no object id."""
    found = foreign.read(git_dir, ref, 4096)
    said = found[0].strip() if found else b""
    return said.decode() if OID.fullmatch(said) else None


@dataclass(frozen=True, slots=True)
class Head:
    """HEAD of a clone at one moment: what it says, and the commit that this is, empty for a branch without one."""

    said: str
    commit: str

    def sign(self, state: State) -> str:
        """Differs from the last one when there is something to bring over."""
        return self.said if run.is_oid(self.said) or state.owns(self.said) else f"{self.said} {self.commit}".strip()


def look_at_head(clone: Clone) -> Head:
    """HEAD of a clone."""
    said = head_of(clone.git_dir)
    if run.is_oid(said) or not said:
        return Head(said, said)
    return Head(said, loose(clone.git_dir, said) or packed(clone.git_dir).get(said, ""))


def sync_head(context: Context, clone: Clone, admin: Path, state: State, seen: Head) -> None:
    """HEAD of the one that moved. A branch that we do not have is a commit to us, and only one that we do have."""
    there, here = seen.sign(state), head_of(admin)
    if state.head and there != state.head[0] and there:
        shown = _shown(context, state, seen)
        if shown and shown != here:
            foreign.put(admin, "HEAD", (shown if run.is_oid(shown) else f"ref: {shown}").encode() + b"\n")
        here = shown or here
    elif here and (not state.head or here != state.head[1]):
        foreign.put(clone.git_dir, "HEAD", (here if run.is_oid(here) else f"ref: {here}").encode() + b"\n")
        there = look_at_head(clone).sign(state)
    state.head = [there, here]


def _shown(context: Context, state: State, seen: Head) -> str:
    """What HEAD is to say here; nothing where it would lead to no commit of ours."""
    if state.owns(seen.said) and (not seen.commit or refs.read_ref(context, seen.said) is not None):
        return seen.said
    if not seen.commit or run.text(context.git("cat-file", "-t", seen.commit, ok=(0, 128))) != "commit":
        return ""
    return seen.commit


# ---------------------------------------------------------------- the index


class Index:
    """The index of both sides during one `sync`. `moved_there`: the clone's is another than the last time."""

    def __init__(self, clone: Clone, admin: Path, state: State) -> None:
        self._clone, self._admin, self._state = clone, admin, state
        self._there, self._here = _facts(clone.git_dir), _facts(admin)
        self._read: tuple[bytes, os.stat_result] | None = None
        last = state.index or [[], []]
        self.moved_there = bool(state.index) and self._there != last[0]
        self._moved_here = self._here != last[1]
        if self.moved_there:
            self._read = foreign.read(clone.git_dir, "index", _MOST_INDEX)

    def staged(self, context: Context) -> str | None:
        """A commit, in the borrowing directory, of what is staged in the clone since; None for nothing new."""
        if self._read is None:
            return None
        look = self._clone.folder / "look.git"
        copy = look / "index.theirs"
        copy.write_bytes(self._read[0])
        place = run.Place(look, None, copy)
        done = run.run(place, "write-tree", ok=(0, 128))
        if done.code != 0:
            return None  # conflicts, or no index at all: nothing that could be a tree
        tree = run.text(done)
        if run.run(context.plain, "cat-file", "-e", tree, ok=(0, 1, 128)).code == 0:
            return None
        extra = {
            f"GIT_{role}_{part}": AUTHOR[n]
            for role in ("AUTHOR", "COMMITTER")
            for n, part in enumerate(("NAME", "EMAIL"))
        }
        return run.text(run.run(place, "commit-tree", tree, "-m", "staged", extra=extra))

    def sync(self, *, prefer_ours: bool) -> None:
        """Copy the one that changed over the other; `prefer_ours` where both did."""
        if self._moved_here and (prefer_ours or not self.moved_there):
            data = foreign.read(self._admin, "index", _MOST_INDEX)
            if data is not None:
                foreign.put(self._clone.git_dir, "index", data[0], at=data[1].st_mtime_ns)
        elif self.moved_there and self._read is not None:
            foreign.put(self._admin, "index", self._read[0], at=self._read[1].st_mtime_ns)
            self._state.index = [self._there, _facts(self._admin)]
            return
        elif not self.moved_there:
            return
        self._state.index = [_facts(self._clone.git_dir), self._here]


def _facts(git_dir: Path) -> list[int]:
    """Changes whenever git replaces the index there."""
    facts = foreign.look(git_dir, "index")
    return [] if facts is None else [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


# ---------------------------------------------------------------- what goes on


def sync_marks(clone: Clone, admin: Path, state: State) -> None:
    """Show here what goes on in the clone; what was ended here is ended there."""
    for name in (*_FILES, *_FOLDERS):
        there = foreign.look(clone.git_dir, name) is not None or foreign.is_folder(clone.git_dir, name)
        here, shown = os.path.lexists(admin / name), name in state.marks
        if there and shown and not here and name not in _FOLDERS:
            foreign.drop(clone.git_dir, name)
            state.marks.remove(name)
        elif there and (shown or not here):
            _show_mark(clone, admin, name)
            state.marks = sorted({*state.marks, name})
        elif not there and shown:
            _hide_mark(admin, name)
            state.marks.remove(name)


def _show_mark(clone: Clone, admin: Path, name: str) -> None:
    if name in _FOLDERS:
        (admin / name).mkdir(exist_ok=True)
        if foreign.look(clone.git_dir, f"{name}/applying") is not None:
            (admin / name / "applying").touch()
        return
    found = foreign.read(clone.git_dir, name, _MOST_FILE)
    data = found[0] if found else b""
    if name in COMMITS and not all(OID.fullmatch(word) for word in data.split()):
        data = b""
    if not (admin / name).exists() or (admin / name).read_bytes() != data:
        foreign.put(admin, name, data)


def _hide_mark(admin: Path, name: str) -> None:
    if name not in _FOLDERS:
        foreign.drop(admin, name)
        return
    foreign.drop(admin, f"{name}/applying")
    with suppress(OSError):
        (admin / name).rmdir()
