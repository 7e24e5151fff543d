"""SQLite: a file for every task, copied from the person's own through SQLite's backup interface.

Specification. A path that is relative lies in the worktree, at the place where the checkout has it, and git must ignore
it; an absolute one is answered by a file in a private folder of ours. The source is only read: the copy is one moment
of it, whoever writes to it meanwhile, and a file is never copied as a file: what lies in the write-ahead log would be
lost. `<folder>/<name>/marker.json` says that a database is ours and where its file lies; it is written before the
file. A source that does not exist gives an empty start: migrations make it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePosixPath

from stretto import files
from stretto.core.database_url import DatabaseUrl
from stretto.core.errors import Conflict, StrettoError, Unavailable, UsageError
from stretto.failpoints import failpoint
from stretto.workspace.databases.base import Address, Marker, Place, taken
from stretto.workspace.databases.marked import MarkedFolders

_KEPT = "kept.sqlite3"
_SIDE = ("", "-wal", "-shm", "-journal")
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
        held, target = self._held(name), self._file(name, place)
        if not (held / "marker.json").exists():
            if os.path.lexists(target):
                raise taken(str(self._path), str(place.worktree))
            self._marked.require_free(name)

    def occupied(self, place: Place) -> bool:
        """Whether the worktree has a file where the database would be."""
        return self._inside and os.path.lexists(self._file("", place))

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """As the protocol says."""
        held, target = self._held(name), self._file(name, place)
        if (held / "marker.json").exists():
            if not begun:
                return
            self.drop(name, place)
        else:
            self.require_free(name, place)
        if self._inside:
            self._make_parents(target, place)
        self._mark(name, marker)
        source = self._template(template) if template is not None else self._source
        if template is not None and not source.exists():
            raise Unavailable(
                f"the template {template} is gone", object=template, code="database_missing", hint="stretto db list"
            )
        if source.exists():
            self._copy(source, held / "new")
            files.rename(held / "new", target)

    def address(self, name: str, place: Place) -> Address:
        """`sqlite:////absolute/path`."""
        return Address(DatabaseUrl("sqlite", str(self._file(name, place))).text())

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """As the protocol says."""
        source, held = self._file(name, place), self._held(template)
        if self._template(template).exists() or not source.exists():
            return
        self._mark(template, marker)
        self._copy(source, held / "new")
        files.rename(held / "new", self._template(template))

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """A file of our folder goes by that folder, open files and all.

        So does one in the worktree, unless it has gone with the whole tree: an adopted one stays, and so does that of
        a database that is made anew.
        """
        if self._inside and self._marked.read(name) is not None:
            self._move_files(self._file(name, place), self._held(name) / _KEPT)
        self._marked.move(name, aside, "aside")

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """The way back. Raises Conflict (`in_the_way`) if another file has its place meanwhile."""
        held = self._held(aside if self._held(aside).exists() else name) / _KEPT
        if os.path.lexists(held) and os.path.lexists(self._file(name, place)):
            raise Conflict(
                f"{self._file(name, place)} is there, and the database that comes back needs its place",
                object=str(self._path),
                code="in_the_way",
                hint="move it away, then: stretto undo",
            )
        self._marked.move(aside, name, "branch")
        if self._inside:
            self._move_files(self._held(name) / _KEPT, self._file(name, place))

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """As the protocol says."""
        if not self._marked.drop(name, begun=begun):
            return
        failpoint("daemon.database.drop")
        marker = self._marked.read(name)
        if self._inside and marker is not None and marker.kind == "branch" and place.worktree.is_dir():
            for ending in _SIDE:
                Path(f"{self._file(name, place)}{ending}").unlink(missing_ok=True)
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

    def _move_files(self, old: Path, new: Path) -> None:
        """A database with all that belongs to it, the main file last: what is cut off is completed by a repetition."""
        for ending in reversed(_SIDE):
            here, there = Path(f"{old}{ending}"), Path(f"{new}{ending}")
            if os.path.lexists(here):
                try:
                    files.rename(here, there)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    shutil.copy2(here, there, follow_symlinks=False)
                    here.unlink()

    def _make_parents(self, target: Path, place: Place) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        real = Path(os.path.realpath(target.parent))
        if real != Path(os.path.realpath(place.worktree)) and not files.within(place.worktree, target.parent):
            raise StrettoError(
                f"{target.parent} leads out of the worktree: no database is made there",
                object=str(target.parent),
                code="database_url",
                hint="let [database] url name a file that is reached without a link",
            )

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
