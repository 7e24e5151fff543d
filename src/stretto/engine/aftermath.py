"""What a landing owes to others: the person's checkout is brought along, the remote gets a push.

Specification. The debt is written in the transaction that records the landing (`repos.data.owed.<target>`), so that no
crash can lose it, and each part is struck out once it is paid; paying twice is harmless. A later landing replaces the
debt of an earlier one: it contains it. A refused push freezes the queue and stays owed: it is tried again when the
person has answered. How far the checkout is behind stands in `repos.data.checkout`, and is looked at again whenever the
index of the checkout changed: the person may have brought it along.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from stretto.core.errors import StrettoError
from stretto.core.model import Entry, Run
from stretto.engine.parts import Parts
from stretto.interfaces import Git
from stretto.landing import checkout, push
from stretto.store.sqlite import Reader, Writer

Freeze = Callable[[str, str], None]


def owe(tx: Writer, entry: Entry, run: Run) -> None:
    """Write the debt of a landing, in its transaction."""
    debt = {"root": run.root, "task": entry.task, "old": entry.old, "commit": entry.candidate, "push": run.push}
    _put(tx, entry.repo, entry.target, {**debt, "follow": run.checkout})


def debtors(db: Reader) -> list[tuple[str, str]]:
    """Repository and target of each debt."""
    sql = "SELECT repos.key AS repo, o.key AS target FROM repos, json_each(repos.data, '$.owed') o"
    return [(str(row["repo"]), str(row["target"])) for row in db.rows(sql)]


def pay(parts: Parts, repo: str, target: str, freeze: Freeze) -> None:
    """Pay what can be paid now. `freeze(reason, task)` is called for a push that was refused."""
    with parts.store.read() as db:
        debt = _owed(db, repo).get(target)
        frozen = db.value("SELECT frozen FROM repos WHERE key = ?", repo)
    if debt is None:
        return
    if debt["follow"] is not None:
        _follow(parts, repo, target, debt)
        debt = {**debt, "follow": None}
    if debt["push"] and frozen is None:
        try:
            push.push(parts.repositories.git(debt["root"]), target, debt["commit"])
        except StrettoError as error:
            hint = f" ({error.hint})" if error.hint else ""
            freeze(f"{error.message}{hint}", debt["task"])
        else:
            debt = {**debt, "push": False}
    with parts.store.write() as tx:
        if _owed(tx, repo).get(target, {}).get("commit") == debt["commit"]:
            _put(tx, repo, target, debt if debt["push"] else None)
            if not debt["push"]:
                tx.event("landing.settled", task=debt["task"], target=target)


def _follow(parts: Parts, repo: str, target: str, debt: dict[str, Any]) -> None:
    git = parts.repositories.git(debt["root"])
    came = checkout.follow(git, target, debt["old"], debt["commit"], debt["follow"])
    with parts.store.write() as tx:
        note_checkout(tx, repo, came.checkout)
        if came.note is not None:
            tx.event("checkout.behind", task=debt["task"], text=came.note)


def note_checkout(tx: Writer, repo: str, found: checkout.Checkout | None) -> None:
    """Write down where the person's checkout is; None: it has no target out."""
    known = {"branch": found.branch, "path": str(found.path), "behind": found.behind} if found else None
    sql = "UPDATE repos SET data = json_set(data, '$.checkout', json(?)) WHERE key = ?"
    tx.execute(sql, json.dumps(known), repo)


class Watch:
    """Looks again at checkouts that were behind, when their index or HEAD has changed since the last look."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._seen: dict[str, tuple[int, ...]] = {}

    def changed(self) -> list[tuple[str, str, str]]:
        """Repository, main checkout and branch of each that wants a look; costs two stats for each that is behind."""
        sql = (
            "SELECT key, root, json_extract(data, '$.checkout.branch') AS branch FROM repos"
            " WHERE json_extract(data, '$.checkout.behind') > 0"
        )
        with self._parts.store.read() as db:
            rows = db.rows(sql)
        found = []
        for row in rows:
            stamp = _stamp(self._parts, str(row["root"]))
            if stamp is not None and self._seen.get(row["key"]) != stamp:
                self._seen[row["key"]] = stamp
                found.append((str(row["key"]), str(row["root"]), str(row["branch"])))
        return found

    def look(self, repo: str, root: str, branch: str) -> None:
        """Look and write down what is seen. A look that fails changes nothing."""
        git: Git = self._parts.repositories.git(root)
        found = checkout.settle(git, branch)
        with self._parts.store.write() as tx:
            note_checkout(tx, repo, found)


def _stamp(parts: Parts, root: str) -> tuple[int, ...] | None:
    try:
        common = parts.repositories.git(root).common
        return tuple((common / name).stat().st_mtime_ns for name in ("index", "HEAD"))
    except (StrettoError, OSError):
        return None


def _owed(db: Reader, repo: str) -> dict[str, dict[str, Any]]:
    text = db.value("SELECT json_extract(data, '$.owed') FROM repos WHERE key = ?", repo)
    return json.loads(text) if text else {}


def _put(tx: Writer, repo: str, target: str, debt: dict[str, Any] | None) -> None:
    owed = _owed(tx, repo)
    owed.pop(target, None)
    if debt is not None:
        owed[target] = debt
    tx.execute("UPDATE repos SET data = json_set(data, '$.owed', json(?)) WHERE key = ?", json.dumps(owed), repo)
