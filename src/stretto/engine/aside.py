"""What a lander does beside a running gate, when its own thread only waits: one thread more, one job after the other.

Specification.
- The next candidate: the merge commit of the entry that comes next, on the candidate that is being tested. It is an
  unreferenced object that depends on nothing but its two commits and the entry, and is taken up only for exactly that
  tip; behind a gate that was red, or a target that moved, it is never looked at again.
- The debts of the landing before (`aftermath.pay`). They are over, one way or the other, before the target moves
  again: `wait` is called before that, and raises what paying raised.
- Jobs are begun by `go`, when a command of the gate is about to run: until then they would only be in the way.
- Nothing else here writes to a ref or to the database, and what goes wrong in a forecast is left to the real thing.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from stretto.core.errors import StrettoError
from stretto.core.model import Entry, Task
from stretto.interfaces import Git
from stretto.landing import candidate, verify
from stretto.landing.candidate import Candidate

_log = logging.getLogger(__name__)

#: the landings before, as `verify` wants them
Earlier = Callable[[], Sequence[verify.Earlier]]


class Aside:
    """The second thread of one lander. Left as a context, it has ended all that it was given."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="land-aside")
        #: what is to be done, and whether it pays debts
        self._due: list[tuple[Callable[[], None], bool]] = []
        self._paying: list[Future[None]] = []
        self._lock = threading.Lock()
        self._ahead: dict[tuple[object, ...], Candidate] = {}

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.go()
        self._pool.shutdown(wait=True)
        if kind is None:
            self.wait()

    def go(self) -> None:
        """Begin with what was given."""
        with self._lock:
            due, self._due = self._due, []
            for job, debt in due:
                begun = self._pool.submit(job)
                self._paying += [begun] if debt else []

    def pay(self, work: Callable[[], None]) -> None:
        """Pay debts when there is time."""
        self._due.append((work, True))

    def still_paying(self, seconds: float) -> bool:
        """Whether debts are still being paid so many seconds from now; no longer than that is waited for it."""
        self.go()
        return bool(futures.wait(self._paying, seconds).not_done)

    def wait(self) -> None:
        """Return when the debts are paid that can be; raises what paying them raised."""
        self.go()
        paying, self._paying = self._paying, []
        for job in paying:
            job.result()

    def look_ahead(self, git: Git, tested: Entry, then: tuple[Entry, Task] | None, earlier: Earlier = tuple) -> None:
        """While `tested` is at its gate: ask what its landing will ask, and build the candidate `then` on it."""
        self._due.append((functools.partial(self._look_ahead, git, tested, then, earlier), False))

    def _look_ahead(self, git: Git, tested: Entry, then: tuple[Entry, Task] | None, earlier: Earlier) -> None:
        try:
            verify.ask_ahead(git, tested, earlier())
            if then is not None and tested.candidate is not None:
                self._ahead = {_key(tested.candidate, *then): candidate.build(git, tested.candidate, *then)}
        except StrettoError as error:
            _log.info("looking ahead: %s", error.message)
        except Exception:  # logged; the real thing asks again, and tells whoever must know
            _log.exception("looking ahead")

    def candidate(self, git: Git, tip: str, entry: Entry, task: Task) -> Candidate:
        """The candidate of an entry on this tip: the one that was built ahead, or built now."""
        found = self._ahead.pop(_key(tip, entry, task), None)
        return candidate.build(git, tip, entry, task) if found is None else found


def _key(tip: str, entry: Entry, task: Task) -> tuple[object, ...]:
    """All that a candidate depends on."""
    return (tip, entry.head, entry.enqueued_at, task.uid, task.title)
