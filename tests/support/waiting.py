"""Wait for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | bool | None],
    timeout: float = 120.0,
    *,
    what: str | Callable[[], object] = "",
    interval: float = 0.01,
) -> T:
    """Return the first truthy value of `condition`; after `timeout` seconds fail, saying what was awaited.

    `what` is a sentence, or a function that describes the world at the moment of the failure. The pause between two
    looks grows from `interval` to 0.1 s, so that a long wait does not slow down what it waits for.
    """
    end = time.monotonic() + timeout
    pause = interval
    while True:
        value = condition()
        if value:
            return value  # type: ignore[return-value]  # a truthy value is a T
        if time.monotonic() >= end:
            told = what() if callable(what) else what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"waited {timeout:g} s in vain for {told} (last value: {value!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
