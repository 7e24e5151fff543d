"""`doctor --bundle`: one archive with what somebody needs to find out why stretto did what it did.

Specification. The archive holds facts about stretto: findings, versions, logs, bug reports, states, events. It holds no
work of the person and none of an agent: no prompt, plan, message, output, diff, environment, and no text of an event,
only its type, its task and those of its values that are numbers or words of stretto. All text is blotted as bug reports
are. It is written into the home folder with mode 0600, and never sent anywhere.
"""

from __future__ import annotations

import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stretto import __version__
from stretto.bugreport import blot
from stretto.core.errors import StrettoError
from stretto.home import Home
from stretto.store.sqlite import Reader, open_readonly

#: the end of each log that is taken along, bytes
_LOG = 512 << 10
_EVENTS = 5000
#: values of events that are words of stretto, never of the person or an agent
_WORDS = ("from", "to", "stage", "state", "kind", "type", "result", "status", "purpose", "origin", "outcome", "code")
_COUNTED = ("runs", "tasks", "sessions", "messages", "items", "checks", "queue", "removals", "events")


def write(home: Home, findings: Iterable[Mapping[str, Any]]) -> tuple[Path, list[str]]:
    """Write the archive; its path and the names of the files in it. Raises StrettoError if that is not possible."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = home.logs / f"bundle-{stamp}-{os.getpid()}.tar.gz"
    names = []
    try:
        home.logs.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in _parts(home, findings):
                data = blot(text).encode("utf-8", "replace")
                member = tarfile.TarInfo(f"stretto-{stamp}/{name}")
                member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
                archive.addfile(member, io.BytesIO(data))
                names.append(name)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StrettoError(
            f"the bundle {path} cannot be written: {error.strerror}", object=str(path), hint="stretto doctor"
        ) from error
    return path, names


def _parts(home: Home, findings: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    yield "doctor.json", json.dumps({"version": __version__, "checks": list(findings)}, indent=2)
    yield "machine.txt", f"stretto {__version__}\nPython {platform.python_version()}\n{platform.platform()}\n"
    for log in sorted([*home.logs.glob("daemon.*"), *home.bug_reports.glob("*.txt")]):
        yield f"{'reports/' if log.suffix == '.txt' else ''}{log.name}", _end(log)
    if home.database.exists():
        try:
            yield from _stored(home.database)
        except StrettoError as error:  # damaged, or newer than this program: that is what there is to tell
            yield "database.txt", f"{error.code}: {error.message}\n"


def _stored(database: Path) -> list[tuple[str, str]]:
    reader = open_readonly(database)
    try:
        return [
            ("counts.json", json.dumps(_counts(reader), indent=2)),
            ("tasks.ndjson", "".join(json.dumps(row) + "\n" for row in _tasks(reader))),
            ("events.ndjson", "".join(json.dumps(row) + "\n" for row in _events(reader))),
        ]
    finally:
        reader.connection.close()


def _end(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG))
        return file.read().decode("utf-8", "replace")


def _counts(db: Reader) -> dict[str, Any]:
    counts: dict[str, Any] = {table: db.value(f"SELECT COUNT(*) FROM {table}") for table in _COUNTED}  # noqa: S608
    return {**counts, "schema": db.value("PRAGMA user_version"), "cursor": db.cursor}


def _tasks(db: Reader) -> Iterator[dict[str, Any]]:
    """Where each task stands. No title and no reason: those are texts of the person and of agents."""
    sql = (
        "SELECT t.uid, t.kind, t.paused, t.outcome, t.created_at, v.stage, v.state, v.since,"
        " (SELECT COUNT(*) FROM messages m WHERE m.task = t.uid) AS messages,"
        " (SELECT COUNT(*) FROM sessions s WHERE s.task = t.uid) AS sessions"
        " FROM tasks t LEFT JOIN views v ON v.uid = t.uid ORDER BY t.created_at, t.position"
    )
    for row in db.rows(sql):
        yield dict(row)


def _events(db: Reader) -> Iterator[dict[str, Any]]:
    rows = db.rows("SELECT id, at, run, task, type, data FROM events ORDER BY id DESC LIMIT ?", _EVENTS)
    for row in reversed(rows):
        told = {name: value for name, value in json.loads(row["data"]).items() if _is_ours(name, value)}
        yield {**{name: row[name] for name in ("id", "at", "run", "task", "type")}, "data": told}


def _is_ours(name: str, value: object) -> bool:
    return isinstance(value, (int, float)) or value is None or (name in _WORDS and isinstance(value, str))
