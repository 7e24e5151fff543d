"""docs/states.md is held against the code: every row is a situation, every situation has its row."""

from pathlib import Path

from stretto.core.actions import Ask
from stretto.core.admission import Candidate, holds_place
from stretto.core.decide import decide
from stretto.core.facts import Limits
from stretto.core.limit_rules import RESTING
from stretto.core.model import TERMINAL, SessionStatus, State
from tests.core.scenarios import CASES, Case

DOCUMENT = Path(__file__).parents[2] / "docs" / "states.md"
LIMITS = Limits()


def place_of(case: Case) -> str:
    """Whether the task holds a place: at once, and after the person has let it wait for long."""
    f = case.facts
    candidate = Candidate(
        uid=f.task.uid,
        run=f.task.run,
        state=case.state,
        wants=False,
        started=f.task.admitted_at is not None,
        lands=f.task.lands,
        priority=0,
        order=(0.0, 0),
        since=0.0,
        resting=case.cause in RESTING,
    )
    now, later = (holds_place(candidate, at, LIMITS) for at in (0.0, LIMITS.long_wait + 1))
    return "yes" if later else "for 10 minutes" if now else "no"


def kinds_of(case: Case) -> set[str]:
    """The kinds of items that are open or are opened."""
    action = decide(case.facts, LIMITS).action
    asked = {action.kind.value} if isinstance(action, Ask) else set()
    return asked | {i.kind.value for i in case.facts.open_items}


def table() -> dict[tuple[str, str], list[str]]:
    lines = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = [cells for cells in found if len(cells) == 6 and cells[0] != "stage" and not cells[0].startswith("--")]
    assert len({(r[0], r[1]) for r in rows}) == len(rows), "a row stands twice"
    return {(r[0], r[1]): r[2:] for r in rows}


def words(cell: str) -> set[str]:
    return {word.strip() for word in cell.split(",")} - {"-"}


def test_the_table_of_states_is_the_code():
    rows = table()
    said: dict[tuple[str, str], list[set[str]]] = {}
    for case in CASES:
        key = (case.stage.value if case.stage else "-", case.cause)
        found = said.setdefault(key, [set(), set(), set()])
        found[0].add(case.state.value)
        found[1].add(place_of(case))
        found[2] |= kinds_of(case)
    assert set(rows) == set(said)
    for key, (state, place, inbox) in said.items():
        cells = rows[key]
        assert (words(cells[0]), words(cells[1]), words(cells[3])) == (state, place, inbox), key


def test_session_statuses_in_the_table_are_real():
    known = {s.value for s in SessionStatus} | {"none", "any"}
    for key, cells in table().items():
        assert set(cells[2].replace(",", " ").replace(" or ", " ").split()) <= known, key


def test_every_state_but_draft_occurs():
    """`draft` is shown for a plan's change that nobody confirmed; the outcomes of terminal tasks are rows."""
    assert {c.state for c in CASES} | {State.DRAFT} | TERMINAL == set(State)
