"""Every state of every agent is told right, by what the real program wrote, and the page of it is up to date."""

from __future__ import annotations

import pytest

from tests.agents.states import AGENTS, GOLDEN, NONE, PAGE, STATES, State, cell, page, told


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.recording + "-" + state.words.replace(" ", "_"))
def test_a_state_is_told_as_what_it_is(state: State, agent: str) -> None:
    assert cell(state, agent)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "python -m tests.agents.states"


def test_no_recording_is_left_out() -> None:
    """Every recording of every agent begins at rest or with its start, and each has a row but those of sub-agents."""
    named = {state.recording for state in STATES}
    for agent in AGENTS:
        found = {path.stem for path in (GOLDEN / agent).glob("*.jsonl")}
        assert found - {"sub_agent"} == named - {s.recording for s in STATES if (s.words, agent) in NONE}
        assert {told(agent, name)[0] for name in found} <= {"starting", "done", "error", "limited"}
