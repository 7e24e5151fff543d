"""Follow the daemon: a status after each burst of events.

Specification. A screen is redrawn four times a second at most. Looks never take more than a fifth of the time: what is
looked at needs the machine more; the first event after a quiet while is shown at once. Events only say that something
changed; what is shown is always a whole, fresh status. A daemon that goes away is waited for, and said so; coming back
it is followed again. Ctrl-C ends the follower and nothing else. Events are read by a thread, so that the terminal's
clock goes on between them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stretto.client import Client
from stretto.core.errors import StrettoError

Json = dict[str, Any]

#: shortest time between two looks for a screen and for lines, seconds
SCREEN_PAUSE, LINES_PAUSE = 0.25, 0.02
#: pause after a look, in times of what the look took
CALM = 4.0
#: longest time between two looks: what is missed by the events is seen then
LOOK = 10.0


class Bell:
    """Rings when events arrive."""

    def __init__(self, client: Client, since: int) -> None:
        self._queue: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(client, since), daemon=True).start()

    def _listen(self, client: Client, since: int) -> None:
        try:
            for event in client.events(since, patience=None):
                if event is not None:
                    self._queue.put(True)
        except StrettoError:
            return  # the follower's own calls meet the same failure and tell it

    def wait(self, seconds: float) -> bool:
        """Whether an event came within so many seconds; takes all that have come."""
        try:
            self._queue.get(timeout=seconds)
        except queue.Empty:
            return False
        while not self._queue.empty():
            self._queue.get()
        return True


def statuses(
    client: Client, fetch: Callable[[], Json], deadline: float | None, tick: float, pause: float = LINES_PAUSE
) -> Iterator[Json | None]:
    """The status now and after each change; None every `tick` seconds between. Ends at the deadline (monotonic)."""
    began = time.monotonic()
    status = fetch()
    looked = time.monotonic()
    rest = max(pause, CALM * (looked - began))
    bell = Bell(client, int(status.get("cursor", 0)))
    yield status
    while (left := _left(deadline)) is None or left > 0:
        rung = bell.wait(tick if left is None else min(tick, left))
        if rung or time.monotonic() - looked >= LOOK or _alone(status):
            time.sleep(max(0.0, rest - (time.monotonic() - looked)))
            began = time.monotonic()
            status, looked = fetch(), time.monotonic()
            rest = max(pause, CALM * (looked - began))
            yield status
        else:
            yield None


def _alone(status: Json) -> bool:
    """No daemon: nothing rings, so look with every tick."""
    return status.get("daemon") is None


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()


@contextmanager
def carrying_on(what: str = "nothing else was stopped") -> Iterator[None]:
    """Say at Ctrl-C that only the looking has ended."""
    import click

    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nstopped looking; {what} (see: stretto status)", err=True)
        raise
