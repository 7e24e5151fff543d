"""A full disk of the home: what may go on, and from what the last rows are written.

Specification. A reserve file keeps some megabytes for us. When a write of ours fails for lack of space the reserve is
given back, so that what is going on can still be written down. While less than `LOW` is free nothing new is started;
what runs goes on. As soon as there is room for it the reserve is made again.
"""

from __future__ import annotations

import threading
from pathlib import Path

from stretto import files
from stretto.home import Home

RESERVE = 4 << 20
#: free bytes, the reserve not counted, below which nothing is started
LOW = 4 << 20


class Disk:
    """The disk of one home. Thread-safe."""

    def __init__(self, home: Home) -> None:
        self._home = home.path
        self._lock = threading.Lock()

    @property
    def reserve(self) -> Path:
        """The file that is given up first."""
        return self._home / "reserve"

    def low(self) -> str | None:
        """Why nothing new may start now; None if there is room. Makes the reserve when there is room for it."""
        free = files.free_bytes(self._home)
        with self._lock:
            held = self.reserve.exists()
            if not held and free >= LOW + RESERVE:
                held = files.make_reserve(self.reserve, RESERVE)
                free = files.free_bytes(self._home)
        if held and free >= LOW:
            return None
        return f"disk: {self._home} has {free >> 20} MiB left; free some space, and it goes on by itself"

    def give_back(self) -> bool:
        """Give the reserve up. Whether there was one."""
        with self._lock:
            return files.release_reserve(self.reserve) > 0
