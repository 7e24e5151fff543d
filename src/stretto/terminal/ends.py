"""How a program that stands for another one ends."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress


def as_it_ended(code: int) -> int:
    """End as the agent ended, so that who looks at us knows how: by the same signal (-N), or with its code."""
    if code >= 0:
        return code
    sys.stderr.flush()
    with suppress(OSError, ValueError):  # some cannot be given back their own meaning
        signal.signal(-code, signal.SIG_DFL)
    with suppress(OSError, ValueError):
        signal.raise_signal(-code)
    return 128 - code
