"""Which function carries out which effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stretto.core.actions import Action, CleanUp, Deliver, Enqueue, Interrupt, Prepare, Recover, RunChecks, Settle, Stop
from stretto.core.facts import Facts
from stretto.engine.acts import cleanup, prepare, queueing, session, work
from stretto.engine.parts import Parts

EFFECTS: dict[type[Action], Callable[[Parts, Facts, Any], None]] = {
    Prepare: prepare.prepare,
    Deliver: session.deliver,
    Recover: session.recover,
    Interrupt: session.interrupt,
    Stop: session.stop,
    Settle: work.settle,
    RunChecks: work.run_checks,
    Enqueue: queueing.enqueue,
    CleanUp: cleanup.try_clean_up,
}
