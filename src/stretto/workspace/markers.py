"""Markers of one repository's bays: which bay is whose, who holds it, which number is free.

Specification. A bay's marker is the only proof of whose it is. It is read again once the bay is held, for it may have
been taken away meanwhile. Numbers are given out under the folder's lock, which the caller holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stretto import files
from stretto.core.errors import Conflict
from stretto.workspace.folder import Folder
from stretto.workspace.journal import Bay, Cabinet, Record

#: above this bay number the numbers of removed bays are given out again
_GENEROUS = 64


class Markers:
    """The markers in a folder of bays, as the home folder `home` sees them."""

    def __init__(self, folder: Folder, home: str, bays: Cabinet[Bay], records: Cabinet[Record]) -> None:
        self._folder = folder
        self._home = home
        self._bays = bays
        self._records = records

    def find(self, owner: str, purpose: str) -> Bay | None:
        """The bay of an owner of this home."""
        wanted = (self._home, owner, purpose)
        found = (bay for bay in self._bays.all().values() if (bay.home, bay.owner, bay.purpose) == wanted)
        return next(found, None)

    def at(self, path: Path) -> Bay | None:
        """The bay at a path, of whatever home."""
        return next((bay for bay in self._bays.all().values() if self._folder.of(bay) == path), None)

    def current(self, bay: Bay) -> Bay:
        """The marker as it is now. Raises Conflict if the bay is somebody else's by now, or nobody's."""
        found = self._bays.all().get(bay.name)
        if found is None or (found.home, found.owner) != (bay.home, bay.owner):
            raise Conflict(f"bay {bay.name} was taken away meanwhile", object=str(self._folder.of(bay)))
        return found

    @contextmanager
    def hold(self, number: int) -> Iterator[None]:
        """Keep others from the bay with this number for the block. Raises Conflict after two minutes of waiting."""
        with files.lock(self._folder.bays / f"{number:02d}.lock", wait=120.0):
            yield

    def number(self, *, spare: bool = False) -> int:
        """The lowest free number; a spare, which nobody has asked for, is in the way of nothing that may come back."""
        taken = {bay.number for bay in self._bays.all().values()}
        kept = {record.marker.number for record in self._records.all().values() if spare or record.reason != "landed"}
        number = 1
        while number in taken or os.path.lexists(self._folder.bay(number)) or (number in kept and number <= _GENEROUS):
            number += 1
        return number
