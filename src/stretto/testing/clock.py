"""A clock that stands still until it is told to move."""

from __future__ import annotations

import threading


class FakeClock:
    """`now` and `monotonic` advance together, only by `advance`. Thread-safe."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._start = now

    def now(self) -> float:
        """Seconds since the epoch."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        with self._lock:
            return self._now - self._start

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for a negative span: monotonic clocks do not go back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds}")
        with self._lock:
            self._now += seconds
