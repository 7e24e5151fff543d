"""Schedules of the pure core. The count and the speed are printed; a failure names its seed."""

import time
from dataclasses import replace

import pytest

from stretto.core import decide as brain
from stretto.core import limit_rules
from stretto.core.actions import Compose, Deliver
from stretto.core.decide import RULES
from stretto.core.decision import Decision
from stretto.core.model import Delivery, Origin
from stretto.testing import simulator
from stretto.testing.simrows import Broken

SEEDS = 2000


def test_thousands_of_schedules_hold_every_invariant(capsys):
    begin = time.monotonic()
    steps = simulator.play(range(SEEDS))
    took = time.monotonic() - begin
    with capsys.disabled():
        print(f"\nsimulator: {SEEDS} schedules, {steps} steps, {SEEDS / took * 60:.0f} schedules a minute")


def test_a_seed_plays_the_same_schedule_again():
    def story(seed):
        played = simulator.Simulator(seed)
        played.play()
        return [(life.task, life.received, life.session) for life in played.lives]

    assert story(7) == story(7)
    assert story(7) != story(8)


def test_its_command_reports_the_speed_and_the_failing_seed(capsys, monkeypatch):
    assert simulator.main(["--seeds", "5"]) == 0
    assert "schedules a minute" in capsys.readouterr().out
    monkeypatch.setattr(brain, "RULES", tuple(r for r in RULES if r is not brain.checks))
    assert simulator.main(["--seeds", "200"]) == 1
    assert "seed " in capsys.readouterr().out


# A simulator that finds nothing proves nothing: each of these mistakes must be found by the schedules above.


def no_worktree_check(f, limits):
    return None if f.task.workspace is not None else brain.prepare(f, limits)


def old_controls(f, limits):
    """Deliver answers only once: one whose record was not appended before a crash never arrives."""
    found = [m for m in f.controls if m.state is Delivery.QUEUED]
    return brain.controls(f, limits) if found else None


def no_handover(f, limits):
    """Give a turn to whichever session lives."""
    found = brain.turn_under_way(f, limits)
    if found is None or found.cause != "handover":
        return found
    return Decision(found.stage, found.state, found.reason, Deliver(n=f.turn.n), "deliver")


def hasty(f, turn):
    """Try a vendor again at once, whatever it said."""
    found = limit_rules.vendor_rests(f, turn)
    if found is None or found.cause != limit_rules.LIMITED:
        return found
    again = Compose(Origin.RESUME, limit_rules.LIMITED, after=turn.n)
    return Decision(found.stage, found.state, found.reason, again, "again")


def endless(f, turn):
    """Never ask the person about a vendor."""
    task = replace(f.task, attempts={k: v for k, v in f.task.attempts.items() if k != limit_rules.LIMITED})
    return limit_rules.vendor_rests(replace(f, task=task), turn)


def without(rule):
    return tuple(r for r in RULES if r is not rule)


def instead(rule, other):
    return tuple(other if r is rule else r for r in RULES)


MISTAKES = {
    "skips checks": without(brain.checks),
    "skips approval": without(brain.approval),
    "forgets what a turn left": without(brain.turn_over),
    "ignores cancel": without(brain.cancelled),
    "ignores answers": without(brain.answered),
    "does not wait": without(brain.waiting_for_person),
    "does not miss a worktree": instead(brain.prepare, no_worktree_check),
    "loses answers in a crash": instead(brain.controls, old_controls),
    "does not wait for the vendor": {"vendor_rests": hasty},
    "waits for the vendor for ever": {"vendor_rests": endless},
    "does not hand over": instead(brain.turn_under_way, no_handover),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_finds_mistakes(mistake, monkeypatch):
    made = MISTAKES[mistake]
    for name, value in (made if isinstance(made, dict) else {"RULES": made}).items():
        monkeypatch.setattr(brain, name, value)
    with pytest.raises(Broken, match=r"^seed \d+"):
        simulator.play(range(SEEDS))
