"""The system's clock, and one that a test moves by a file."""

from __future__ import annotations

import os
import time
from pathlib import Path


class SystemClock:
    """`STRETTO_TEST_CLOCK=FILE` (with `STRETTO_TESTING=1`) adds the seconds in that file to the wall clock."""

    def __init__(self) -> None:
        named = os.environ.get("STRETTO_TEST_CLOCK") if os.environ.get("STRETTO_TESTING") == "1" else None
        self._offset_file = Path(named) if named else None

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset()

    def monotonic(self) -> float:
        """Seconds that never jump, but for the test's offset."""
        return time.monotonic() + self._offset()

    def _offset(self) -> float:
        if self._offset_file is None:
            return 0.0
        try:
            return float(self._offset_file.read_text().strip() or 0)
        except (OSError, ValueError):
            return 0.0
