"""SQLite: a file for every task, copied from the person's own through SQLite's backup interface.

Specification. A path that is relative lies in the worktree, at the place where the checkout has it, and git must ignore
it; an absolute one is answered by a file in a private folder of ours. The source is only read: the copy is one moment
of it, whoever writes to it meanwhile, and a file is never copied as a file: what lies in the write-ahead log would be
lost. `<folder>/<name>/marker.json` says that a database is ours and where its file lies; it is written before the
file. A source that does not exist gives an empty start: migrations make it.

A worktree is written by agents, and what they commit is checked out here: a link may stand for the folder, or for the
file itself. So a file in a worktree is made, moved and deleted by its name in a folder that was opened without
following a link, and only where it is a plain file. Behind a link nothing is ours: it stays, and nothing is made there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePosixPath

from stretto import files
from stretto.core.database_url import DatabaseUrl
from stretto.core.errors import Conflict, StrettoError, Unavailable, UsageError
from stretto.failpoints import failpoint
from stretto.workspace.databases.base import Address, Marker, Place, taken
from stretto.workspace.databases.marked import MarkedFolders

_KEPT = "kept.sqlite3"
_SIDE = ("", "-wal", "-shm", "-journal")
#: how opening a folder fails where there is none, and where a link stands for it
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_log = logging.getLogger(__name__)
#: seconds that a writer may hold the source before a copy gives up
PATIENCE = 60.0


class Sqlite:
    """The provider `sqlite`. `ignored` tells whether git ignores a path of the checkout."""

    kind = "sqlite"
    freezes = True
    keeps = True

    def __init__(self, url: DatabaseUrl, root: Path, folder: Path, ignored: Callable[[str], bool]) -> None:
        self._path = PurePosixPath(url.name)
        self._inside = not self._path.is_absolute()
        self._source = root / self._path
        self._folder = folder
        self._marked = MarkedFolders(folder)
        self._ignored = ignored

    def check(self) -> None:
        """Raise StrettoError if the path is one that cannot be branched from."""
        if ".." in self._path.parts or str(self._path) in (".", ":memory:"):
            raise UsageError(
                f"[database] url leads to {self._path}, which is no file of the checkout",
                object=str(self._path),
                code="database_url",
                hint="write sqlite:///PATH below the checkout, or sqlite:////PATH from the root",
            )
        if self._inside and not self._ignored(str(self._path)):
            raise StrettoError(
                f"git does not ignore {self._path}: the database of a task would become part of its work",
                object=str(self._path),
                code="database_tracked",
                hint=f"echo '/{self._path}*' >> .gitignore, and commit that",
            )
        if self._source.exists() and not self._source.is_file():
            raise StrettoError(
                f"{self._source} is no file",
                object=str(self._source),
                code="database_url",
                hint="correct [database] url",
            )

    def origin(self) -> str:
        """The schema of the source as a hash, or `empty`."""
        if not self._source.exists():
            return "empty"
        with closing(self._open(self._source)) as db:
            rows = self._asked(db, "SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def require_free(self, name: str, place: Place) -> None:
        """As the protocol says."""
        if not (self._held(name) / "marker.json").exists():
            self._require_nothing(name, place)
            self._marked.require_free(name)

    def occupied(self, place: Place) -> bool:
        """Whether the worktree has a file where the database would be."""
        return self._inside and os.path.lexists(self._file("", place))

    def clear(self, place: Place) -> bool:
        """Take away the links that stand where the database would be, not what they lead to; whether there were any.

        Only for a tree that is nobody's work: a gate's.
        """
        if not self._inside:
            return False
        way = [PurePosixPath(*self._path.parts[: n + 1]) for n in range(len(self._path.parts))]
        sides = [self._path.with_name(f"{self._path.name}{ending}") for ending in _SIDE if ending]
        found = [_unlinked(place.worktree, one) for one in (*way, *sides)]
        return any(found)

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """As the protocol says."""
        held = self._held(name)
        if (held / "marker.json").exists():
            if not begun:
                return
            self.drop(name, place)
            self._require_nothing(name, place)
        else:
            self.require_free(name, place)
        if self._inside:
            self._make_parents(place)
        self._mark(name, marker)
        source = self._template(template) if template is not None else self._source
        if template is not None and not source.exists():
            raise Unavailable(
                f"the template {template} is gone", object=template, code="database_missing", hint="stretto db list"
            )
        if source.exists():
            self._copy(source, held / "new")
            with self._reached(name, place, make=True) as there, files.folder_below(held, "") as here:
                files.rename_in(here, "new", there, self._path.name)

    def address(self, name: str, place: Place) -> Address:
        """`sqlite:////absolute/path`."""
        return Address(DatabaseUrl("sqlite", str(self._file(name, place))).text())

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """As the protocol says."""
        source, held = self._file(name, place), self._held(template)
        if self._template(template).exists() or not source.exists():
            return
        self._require_plain(name, place)
        self._mark(template, marker)
        self._copy(source, held / "new")
        self._require_plain(name, place)  # who swapped it meanwhile has made no template
        files.rename(held / "new", self._template(template))

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """A file of our folder goes by that folder, open files and all.

        So does one in the worktree, unless it has gone with the whole tree: an adopted one stays, and so does that of
        a database that is made anew.
        """
        if self._inside and self._marked.read(name) is not None:
            with (
                self._left_alone(),
                self._reached(name, place) as tree,
                files.folder_below(self._held(name), "") as ours,
            ):
                self._move_files(tree, self._path.name, ours, _KEPT)
        self._marked.move(name, aside, "aside")

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """The way back. Raises Conflict (`in_the_way`) if another file has its place meanwhile."""
        held = self._held(aside if self._held(aside).exists() else name) / _KEPT
        if os.path.lexists(held) and self._in_the_way(name, place) is not None:
            raise Conflict(
                f"{self._file(name, place)} is there, and the database that comes back needs its place",
                object=str(self._path),
                code="in_the_way",
                hint="move it away, then: stretto undo",
            )
        self._marked.move(aside, name, "branch")
        if self._inside and os.path.lexists(self._held(name) / _KEPT):
            with files.folder_below(self._held(name), "") as ours, self._reached(name, place, make=True) as tree:
                self._move_files(ours, _KEPT, tree, self._path.name)

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """As the protocol says."""
        if not self._marked.drop(name, begun=begun):
            return
        failpoint("daemon.database.drop")
        marker = self._marked.read(name)
        if self._inside and marker is not None and marker.kind == "branch":
            with self._left_alone(), self._reached(name, place) as folder:
                for one in (f"{self._path.name}{ending}" for ending in _SIDE):
                    if _is_plain(folder, one):
                        os.unlink(one, dir_fd=folder)
        self._marked.delete(name)

    def found(self) -> dict[str, Marker]:
        """As the protocol says."""
        return self._marked.found()

    # ------------------------------------------------------------ files

    def _held(self, name: str) -> Path:
        return self._folder / name

    def _template(self, name: str) -> Path:
        return self._folder / name / "template.sqlite3"

    def _file(self, name: str, place: Place) -> Path:
        return place.worktree / self._path if self._inside else self._held(name) / self._path.name

    @contextmanager
    def _reached(self, name: str, place: Place, *, make: bool = False) -> Iterator[int]:
        """The folder of the file. Raises OSError as `files.folder_below` does."""
        root = place.worktree if self._inside else self._held(name)
        below = str(self._path.parent) if self._inside and len(self._path.parts) > 1 else ""
        with files.folder_below(root, below, make=make) as folder:
            yield folder

    @staticmethod
    @contextmanager
    def _left_alone() -> Iterator[None]:
        """Where there is no folder, or a link stands for it, nothing is ours."""
        try:
            yield
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise

    def _in_the_way(self, name: str, place: Place) -> os.stat_result | None:
        """What stands where the database would be: a link on the way, or what has its name; None: nothing."""
        try:
            with self._reached(name, place) as folder:
                sides = (_status(folder, f"{self._path.name}{ending}") for ending in _SIDE if ending)
                links = [side for side in sides if side is not None and stat.S_ISLNK(side.st_mode)]
                return links[0] if links else _status(folder, self._path.name)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            raise self._leads_elsewhere(place) from error

    def _require_nothing(self, name: str, place: Place) -> None:
        """Raise StrettoError for a link where the database would be, Conflict for anything else."""
        found = self._in_the_way(name, place)
        if found is not None and stat.S_ISLNK(found.st_mode):
            raise self._leads_elsewhere(place)
        if found is not None:
            raise taken(str(self._path), str(place.worktree))

    def _require_plain(self, name: str, place: Place) -> None:
        """Raise StrettoError unless the database and what belongs to it are files, reached without a link."""
        try:
            with self._reached(name, place) as folder:
                ends = [f"{self._path.name}{ending}" for ending in _SIDE]
                if all(_status(folder, one) is None or _is_plain(folder, one) for one in ends):
                    return
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
        raise self._leads_elsewhere(place)

    def _make_parents(self, place: Place) -> None:
        try:
            with self._reached("", place, make=True):
                pass
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            raise self._leads_elsewhere(place) from error

    def _leads_elsewhere(self, place: Place) -> StrettoError:
        return StrettoError(
            f"{self._path} is reached through a link in {place.worktree}, and no database is made or deleted there",
            object=str(self._path),
            code="database_link",
            hint=f"take the link away: git must know nothing at {self._path}",
        )

    def _move_files(self, old_folder: int, old: str, new_folder: int, new: str) -> None:
        """A database with all that belongs to it, the main file last: what is cut off is completed by a repetition."""
        for ending in reversed(_SIDE):
            here, there = f"{old}{ending}", f"{new}{ending}"
            if _is_plain(old_folder, here):
                try:
                    files.rename_in(old_folder, here, new_folder, there)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    _copy_plain(old_folder, here, new_folder, there)
                    os.unlink(here, dir_fd=old_folder)

    def _mark(self, name: str, marker: Marker) -> None:
        held = self._marked.mark(name, marker)
        (held / "new").unlink(missing_ok=True)

    def _copy(self, source: Path, target: Path) -> None:
        """One moment of `source`, whole and synced. Raises StrettoError for what is no database, or stays locked."""
        deadline = time.monotonic() + PATIENCE

        def watch(status: int, remaining: int, total: int) -> None:
            if remaining and time.monotonic() > deadline:
                raise Conflict(
                    f"{source} is held by a writer for {PATIENCE:g} s now",
                    object=str(source),
                    code="database_in_use",
                    hint="end what writes to it, then: stretto retry TASK",
                )

        target.touch(mode=0o600)
        try:
            with closing(self._open(source)) as old, closing(sqlite3.connect(target)) as new:
                old.backup(new, pages=1 << 16, progress=watch, sleep=0.05)
        except sqlite3.Error as error:
            raise self._unreadable(source, error) from error
        failpoint("daemon.database.copy")

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)
        except sqlite3.Error as error:
            raise self._unreadable(path, error) from error

    def _asked(self, db: sqlite3.Connection, words: str) -> list[tuple[str, ...]]:
        try:
            return db.execute(words).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(self._source, error) from error

    @staticmethod
    def _unreadable(path: Path, error: sqlite3.Error) -> StrettoError:
        return StrettoError(
            f"{path} cannot be read as an SQLite database: {error}",
            object=str(path),
            code="database_failed",
            hint="correct [database] url, or repair the file",
        )


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _unlinked(root: Path, path: PurePosixPath) -> bool:
    """Take a link away whose folder is reached without one; whether there was one."""
    try:
        with files.folder_below(root, "" if len(path.parts) == 1 else str(path.parent)) as folder:
            status = _status(folder, path.name)
            if status is None or not stat.S_ISLNK(status.st_mode):
                return False
            _log.info("the link %s -> %s is taken away", root / path, os.readlink(path.name, dir_fd=folder))
            os.unlink(path.name, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        return False
    return True


def _is_plain(folder: int, name: str) -> bool:
    """Whether there is a file of this name: no link, no folder, no pipe."""
    status = _status(folder, name)
    return status is not None and stat.S_ISREG(status.st_mode)


def _copy_plain(old_folder: int, old: str, new_folder: int, new: str) -> None:
    """Copy a file between two file systems; a half copy that was cut off is not taken for a whole one."""
    part = f"{new}.part"
    with suppress(FileNotFoundError):
        os.unlink(part, dir_fd=new_folder)
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(old, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=old_folder), "rb") as source:
        made = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=new_folder)
        with os.fdopen(made, "wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
    failpoint("daemon.database.copy")
    files.rename_in(new_folder, part, new_folder, new)
