"""Who has which ports: one registry for each user, shared by all homes and repositories.

Specification.
- A slot is a number from 1; its block is 20 ports from `BASE + 20 * slot`. A lease is a slot for one owner (home,
  repository, owner, purpose), with the block and any other ports that its scheme asks for. No two leases share a port.
- Leases are taken in one `BEGIN IMMEDIATE` transaction: the owner's own lease if there is one, else the preferred slot,
  else the next. A slot is taken only when nothing listens on any of its ports, on IPv4 and on IPv6.
- A lease names its holder: a process, by pid, start time and boot. One whose holder is dead stays as long as there are
  other slots; then it is taken over if nothing listens on its ports either. Its owner gets another slot when it asks.
  The next daemon of the same home holds what is left of its predecessor's.
- Giving a lease back while something still listens there leaves it without a holder, so that nobody runs into it.
- Who wants to write waits in line (`line.py`), so that each of many that race has its turn.
- The file is made anew when it is lost: each owner asks for the slot that it had, and gets it although its own servers
  listen there, as long as no other lease has one of its ports. Nothing is synced, so a power cut may
  damage it; one that is damaged and older than this boot is put aside, and made anew.

Accepted race: a program that is not ours takes a port between the look and its use. Whoever serves there sees that.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stretto import files, proctree
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.home import state_folder
from stretto.net import Listener, free, listening
from stretto.workspace.line import Line

BASE, BLOCK = 20000, 20
#: blocks end below the ports that systems hand out by themselves (32768 on Linux)
SLOTS = 600
#: the folder of the registry below the user's state folder
FOLDER = "stretto-leases"
#: seconds that a lease waits for others before it gives up
_PATIENCE = 20.0
#: seconds between two tries of one who went without its turn
_AGAIN = 0.001
#: how often it is looked who listens at a port, until somebody is found
_LOOKS = 3

#: which ports a slot gives by which name
Names = Callable[[int], Mapping[str, int]]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (
  slot INTEGER PRIMARY KEY, home TEXT NOT NULL, repository TEXT NOT NULL, owner TEXT NOT NULL, purpose TEXT NOT NULL,
  path TEXT NOT NULL, pid INTEGER NOT NULL, start_time REAL NOT NULL, boot TEXT NOT NULL, names TEXT NOT NULL,
  at REAL NOT NULL, UNIQUE (home, repository, owner, purpose)
);
CREATE TABLE IF NOT EXISTS ports (
  port INTEGER PRIMARY KEY, slot INTEGER NOT NULL REFERENCES leases (slot) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ports_slot ON ports (slot);
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has a lease: `home` and `repository` make owners of different daemons and projects differ."""

    home: str
    repository: str
    owner: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A process by pid, start time and boot. `NOBODY`: a lease that waits for its ports to be free."""

    pid: int
    start_time: float
    boot: str

    @classmethod
    def current(cls) -> Holder:
        """The process that we are."""
        return cls(os.getpid(), proctree.start_time(os.getpid()) or 0.0, proctree.boot_id())

    def alive(self) -> bool:
        """Whether it still runs, in this boot."""
        return self.pid > 0 and self.boot == proctree.boot_id() and proctree.alive(self.pid, self.start_time)


NOBODY = Holder(0, 0.0, "")


@dataclass(frozen=True, slots=True)
class Lease:
    """A slot with its named ports (`PORT`, `PORT_API` …), all of which lie in the block unless the scheme says else."""

    slot: int
    owner: Owner
    path: Path
    holder: Holder
    names: Mapping[str, int]
    at: float

    @property
    def ports(self) -> frozenset[int]:
        """Every port that belongs to it."""
        return frozenset((*block(self.slot), *self.names.values()))


def block(slot: int) -> range:
    """The ports of a slot's block."""
    start = BASE + BLOCK * slot
    return range(start, start + BLOCK)


def registry_path(environ: Mapping[str, str] | None = None) -> Path:
    """The file of the registry: `STRETTO_LEASES`, else one for the whole user in the XDG state folder."""
    env = os.environ if environ is None else environ
    if named := env.get("STRETTO_LEASES"):
        return Path(named)
    return Path(state_folder(env)) / FOLDER / "ports.db"


class Registry:
    """The registry file. Thread-safe; any number of processes use it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._line = Line(path.with_name(f"{path.name}.line"))
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    # ------------------------------------------------------------ take and give back

    def lease(
        self,
        owner: Owner,
        path: Path,
        holder: Holder,
        names: Names,
        candidates: Iterable[int],
        before: int | None = None,
    ) -> Lease:
        """The owner's lease: as it is, if its names are still as wanted, else a new one.

        `names` says which ports a slot would get by which name, `candidates` which slots in which order. In slot
        `before`, which the owner had, programs of its own may listen. Raises StrettoError (`no_slot`) when there is
        none left.
        """
        own = frozenset() if before is None or self._has(owner) else _own_ports(names, before, path)
        with self._transaction() as db:
            known = _of(db, owner)
            if known is not None and dict(known.names) == dict(names(known.slot)):
                if (known.holder, known.path) == (holder, path):
                    return known
                return self._renew(db, known, path, holder)
            slot = self._choose(db, known, names, candidates, own)
            if known is not None:
                db.execute("DELETE FROM leases WHERE slot = ?", (known.slot,))
            lease = Lease(slot, owner, path, holder, dict(names(slot)), time.time())
            _insert(db, lease)
            return lease

    def _has(self, owner: Owner) -> bool:
        with self._opened() as db:
            return _of(db, owner) is not None

    def _choose(
        self,
        db: sqlite3.Connection,
        known: Lease | None,
        names: Names,
        candidates: Iterable[int],
        listens: frozenset[int],
    ) -> int:
        leased = {slot for (slot,) in db.execute("SELECT slot FROM leases")}
        own, mine = (known.slot, known.ports) if known is not None else (0, frozenset())
        order = [own, *candidates] if own else list(candidates)
        for slot in order:
            if slot in leased and slot != own:
                continue
            wanted = _wanted(slot, names)
            if not _blocking(db, wanted) - {own} and all(free(port) for port in sorted(wanted - mine - listens)):
                return slot
        return self._take_over(db, order, names, own)

    @staticmethod
    def _take_over(db: sqlite3.Connection, order: Iterable[int], names: Names, own: int) -> int:
        """A slot whose leases are all of dead holders, nothing listening there; those without a worktree first."""
        dead = {lease.slot: lease for lease in _all(db) if not lease.holder.alive()}
        found: list[tuple[bool, float, int]] = []
        for slot in dict.fromkeys(order):
            blocking = _blocking(db, _wanted(slot, names)) - {own}
            if blocking and blocking <= dead.keys():
                found.append((any(dead[n].path.exists() for n in blocking), max(dead[n].at for n in blocking), slot))
        for _, _, slot in sorted(found):
            wanted = _wanted(slot, names)
            if all(free(port) for port in sorted(wanted)):
                db.executemany("DELETE FROM leases WHERE slot = ?", [(n,) for n in _blocking(db, wanted) - {own}])
                return slot
        count = db.execute("SELECT COUNT(*) FROM leases").fetchone()[0]
        raise StrettoError(
            f"no slot of ports is left: {count} are leased, and on the others something listens",
            code="no_slot",
            object=str(BASE),
            hint="stretto ports --all shows who has them; stretto remove TASK frees those of a task",
        )

    @staticmethod
    def _renew(db: sqlite3.Connection, known: Lease, path: Path, holder: Holder) -> Lease:
        db.execute(
            "UPDATE leases SET path = ?, pid = ?, start_time = ?, boot = ? WHERE slot = ?",
            (str(path), holder.pid, holder.start_time, holder.boot, known.slot),
        )
        return Lease(known.slot, known.owner, path, holder, known.names, known.at)

    def release(self, owner: Owner) -> None:
        """Give the owner's lease back. While something listens on its ports it stays, without a holder."""
        with self._opened() as db:
            found = _of(db, owner)
        if found is None:
            return
        unused = all(free(port) for port in sorted(found.ports))  # others need not wait for the look
        with self._transaction() as db:
            known = _of(db, owner)
            if known is None or known.slot != found.slot:
                return
            if unused:
                db.execute("DELETE FROM leases WHERE slot = ?", (known.slot,))
            else:
                self._renew(db, known, known.path, NOBODY)

    def adopt(self, home: str, holder: Holder) -> int:
        """Hold all leases of a home that somebody holds: the daemon that works for it now. Says how many are new.

        An earlier holder may still be about to end: a home has one daemon at a time.
        """
        if not any(_is_orphan(lease, home, holder) for lease in self.all()):
            return 0
        with self._transaction() as db:
            found = [lease for lease in _all(db) if _is_orphan(lease, home, holder)]
            for lease in found:
                self._renew(db, lease, lease.path, holder)
        return len(found)

    def all(self) -> list[Lease]:
        """Every lease, by slot. Nothing is made by looking."""
        if not self.path.exists():
            return []
        with self._opened() as db:
            return _all(db)

    # ------------------------------------------------------------ the file

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as db, self._line.turn(_PATIENCE):
            self._begin(db)
            try:
                yield db
                failpoint("daemon.ports.commit.before")
                db.execute("COMMIT")
            except BaseException:  # a transaction never stays open, whatever interrupts; raised again
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        failpoint("daemon.ports.commit.after")

    @staticmethod
    def _begin(db: sqlite3.Connection) -> None:
        """Begin as the one writer: mostly at once, for whoever has its turn. SQLite's own waiting grows to 0.1 s."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN)
            else:
                return

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                yield self._connect()
            except (sqlite3.Error, OSError) as error:
                self._close()
                raise StrettoError(
                    f"the registry of ports cannot be used: {error}",
                    code="port_registry",
                    object=str(self.path),
                    hint=f"move {self.path} away; stretto makes it anew",
                ) from error

    def _connect(self) -> sqlite3.Connection:
        """The open file; opened again when another took its place."""
        if self._connection is not None and self._file == self._identity():
            return self._connection
        self._close()
        if self.path.parent.name == FOLDER or not self.path.parent.is_dir():
            files.make_private_dir(self.path.parent)  # a folder that the person has named stays as wide as it is
        self._put_aside_if_damaged()
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        # a power cut ends all holders too: what it loses is leased again with the same slot as preference; and a sync
        # inside a transaction is what all who race would wait for
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(_SCHEMA)
        connection.execute("PRAGMA busy_timeout = 0")
        self.path.chmod(0o600)
        self._connection, self._file = connection, self._identity()
        return connection

    def _put_aside_if_damaged(self) -> None:
        """Make room for a new file when the one that is there was last written before this boot, and is not whole."""
        if not self._older_than_boot():
            return
        with files.lock(self.path.with_name(f"{self.path.name}.lock"), wait=_PATIENCE):
            if not self._older_than_boot() or _whole(self.path):
                return
            mark = f"damaged-{time.time():.0f}"
            for name in (f"{self.path.name}-wal", f"{self.path.name}-shm", self.path.name):
                if (part := self.path.with_name(name)).exists():
                    files.rename(part, self.path.with_name(f"{name}.{mark}"))

    def _older_than_boot(self) -> bool:
        parts = [self.path, self.path.with_name(f"{self.path.name}-wal")]
        written = [path.stat().st_mtime for path in parts if path.exists()]
        return bool(written) and max(written) < proctree.boot_time()

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
        self._line.close()


_registries: dict[Path, Registry] = {}
_registries_guard = threading.Lock()


def registry(path: Path | None = None) -> Registry:
    """The user's registry; one for each file in this process."""
    where = path or registry_path()
    with _registries_guard:
        return _registries.setdefault(where, Registry(where))


def _whole(path: Path) -> bool:
    """Whether this is a database in which everything fits together."""
    try:
        with closing(sqlite3.connect(path)) as db:
            return bool(db.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def _is_orphan(lease: Lease, home: str, holder: Holder) -> bool:
    return lease.owner.home == home and lease.holder not in (NOBODY, holder)


def _own_ports(names: Names, slot: int, path: Path) -> frozenset[int]:
    """The ports of a slot on which only programs listen that were started in the workspace at `path`."""
    import psutil  # few leases are asked for anew

    taken = {port for port in _wanted(slot, names) if not free(port)}
    there: list[Listener] = []
    for _ in range(_LOOKS if taken else 0):  # the system's list is not read at one moment: a port may be missing in it
        try:
            there = [one for one in listening() if one.port in taken]
        except (psutil.Error, OSError):  # some systems show such things to root alone
            return frozenset()
        if taken <= {one.port for one in there}:
            break
    return frozenset(one.port for one in there) - {one.port for one in there if one.workspace != str(path)}


def _wanted(slot: int, names: Names) -> frozenset[int]:
    return frozenset((*block(slot), *names(slot).values()))


def _blocking(db: sqlite3.Connection, wanted: Iterable[int]) -> set[int]:
    """The slots that have one of these ports."""
    ports = sorted(wanted)
    marks = ", ".join("?" * len(ports))
    return {slot for (slot,) in db.execute(f"SELECT DISTINCT slot FROM ports WHERE port IN ({marks})", ports)}  # noqa: S608 - marks


def _of(db: sqlite3.Connection, owner: Owner) -> Lease | None:
    where = "home = ? AND repository = ? AND owner = ? AND purpose = ?"
    found = _all(db, where, (owner.home, owner.repository, owner.owner, owner.purpose))
    return found[0] if found else None


def _all(db: sqlite3.Connection, where: str = "1", values: tuple[str, ...] = ()) -> list[Lease]:
    what = "slot, home, repository, owner, purpose, path, pid, start_time, boot, names, at"
    rows = db.execute(f"SELECT {what} FROM leases WHERE {where} ORDER BY slot", values)  # noqa: S608 - all of it is ours
    return [
        Lease(slot, Owner(*whose), Path(path), Holder(pid, start, boot), json.loads(named), at)
        for slot, *whose, path, pid, start, boot, named, at in rows
    ]


def _insert(db: sqlite3.Connection, lease: Lease) -> None:
    who, holder = lease.owner, lease.holder
    db.execute(
        "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(lease.slot, who.home, who.repository, who.owner, who.purpose, str(lease.path)),
            *(holder.pid, holder.start_time, holder.boot, json.dumps(dict(lease.names)), lease.at),
        ),
    )
    db.executemany("INSERT INTO ports VALUES (?, ?)", [(port, lease.slot) for port in sorted(lease.ports)])
