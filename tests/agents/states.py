"""What an agent can be in, agent by agent, and what proves that it is told right: the table of docs/agents-states.md.

A cell names a recording of the real program (tests/agents/golden, made by tests/agents/record.py) that `check` replays,
or says why there is none. `python -m tests.agents.states` writes the page; a test compares it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto import agents
from stretto.core.evidence import SILENCE, Belief, Sign, Source, Watch, What, believe, kept
from stretto.engine import believing

GOLDEN = Path(__file__).parent / "golden"
PAGE = Path(__file__).parents[2] / "docs" / "agents-states.md"
AGENTS = ("claude", "codex", "pi", "opencode", "gemini", "acp")
#: what the adapters of all of them begin with
BEGUN = {"handshake": True, "resumes": None, "skip": False, "wanted": "mock/mock-model", "model": "mock/mock-model"}
#: seconds between two signals of a recording, and when it began
STEP, BEGAN = 0.1, 10_000.0
NIGHT = 8 * 3600.0
#: what is believed in the middle of a turn
MIDDLE = frozenset({"starting", "working", "permission", "asking", "limited"})


def signs(agent: str, name: str) -> list[Sign]:
    """The signs in what a real program wrote, a tenth of a second apart."""
    adapter, state = agents.find(agent), dict[str, Any](BEGUN)
    lines = (GOLDEN / agent / f"{name}.jsonl").read_bytes().splitlines()
    found = [signal for line in lines for signal in adapter.parse(line, state)]
    read = (believing.of_signal(one, 1, BEGAN + n * STEP) for n, one in enumerate(found))
    return [sign for sign in read if sign is not None]


def exit_of(agent: str, name: str) -> dict[str, Any]:
    """How the program's process ended in a recording."""
    found: dict[str, Any] = json.loads((GOLDEN / agent / f"{name}.exit.json").read_text())
    return found


def told(agent: str, name: str) -> list[str]:
    """What was believed, one after the other, while a recording went on."""
    seen: tuple[Sign, ...] = ()
    found: list[str] = []
    for sign in signs(agent, name):
        seen = kept([*seen, sign], 1)
        now = believe(seen, sign.at, generation=1).status.value
        found += [now] if found[-1:] != [now] else []
    return found


def ended(agent: str, name: str) -> tuple[str, Belief]:
    """What was believed before the process of a recording ended as it did, and after it."""
    seen = signs(agent, name)
    at = seen[-1].at
    what, text = believing.of_exit(exit_of(agent, name))
    end = Sign(what, Source.PROCESS, at + STEP, 1, text)
    before = believe(seen, at, generation=1).status.value
    return before, believe([*seen, end], at + 2 * STEP, generation=1)


def working(agent: str) -> list[Sign]:
    """The signs up to the first one of work, in the middle of a turn."""
    seen = signs(agent, "edit")
    first = next(n for n, sign in enumerate(seen) if sign.what is What.WORKING)
    return seen[: first + 1]


# ---------------------------------------------------------------- what each state must be told as


def comes(status: str) -> Callable[[str, str], str]:
    """The status is believed at some time of the recording, and none of its turns is told as done that is not."""

    def look(agent: str, name: str) -> str:
        found = told(agent, name)
        assert status in found, f"{agent}/{name}: {found}"
        return status

    return look


def _crash(agent: str, name: str) -> str:
    before, after = ended(agent, name)
    assert before in MIDDLE, before
    assert after.over
    assert after.status.value == "crashed", after.reason
    return f"{after.status.value}, {_exit_words(agent, name)}"


def _quit(agent: str, name: str) -> str:
    before, after = ended(agent, name)
    assert before == "done", before
    assert after.over
    assert after.status.value == ("quit" if exit_of(agent, name)["code"] == 0 else "crashed"), after.reason
    return f"{after.status.value}, {_exit_words(agent, name)}"


def _signalled(agent: str, name: str) -> str:
    """SIGINT from outside, in the middle: whatever the exit code says, it is never done and never a mere goodbye."""
    before, after = ended(agent, name)
    assert after.over
    assert after.status.value in ("crashed", "interrupted"), after.reason
    assert before in MIDDLE or before == after.status.value, before
    return f"{after.status.value}, {_exit_words(agent, name)}"


def _suspended(agent: str, name: str) -> str:
    """The machine sleeps for a night in the middle of a turn: nothing is believed but what was before."""
    seen = working(agent)
    at = seen[-1].at
    slept = Watch(BEGAN, at, 0.0).seen(at + NIGHT, 1.0)
    later = believe(seen, at + NIGHT, generation=1, watch=slept)
    assert later.status.value == "working", later.reason
    back = believe(seen, at - NIGHT, generation=1, watch=Watch(BEGAN, at, 0.0).seen(at - NIGHT, 1.0))
    assert back.status.value != "done", "a clock that was set back ends nothing"
    return later.status.value


def _silent(agent: str, name: str) -> str:
    seen = working(agent)
    at = seen[-1].at + SILENCE + 1
    later = believe(seen, at, generation=1, watch=Watch(BEGAN, BEGAN, 0.0).seen(at, at - BEGAN))
    assert later.status.value == "stalled", later.reason
    return later.status.value


def _contradicted(agent: str, name: str) -> str:
    """Words of a process that has ended."""
    seen = signs(agent, name)
    what, text = believing.of_exit(exit_of(agent, name))
    end = Sign(what, Source.PROCESS, seen[-1].at, 1, text)
    late = Sign(What.WORKING, Source.PROTOCOL, seen[-1].at + 60, 1, "output")
    after = believe([*seen, end, late], late.at + 1, generation=1)
    assert after.status.value == "unknown", after.reason
    return after.status.value


def _exit_words(agent: str, name: str) -> str:
    exit = exit_of(agent, name)
    return f"signal {exit['signal']}" if exit["signal"] else f"exit code {exit['code']}"


@dataclass(frozen=True)
class State:
    """One row: what happens, the recording that has it, and what must be believed then (the words of its cell)."""

    words: str
    recording: str
    look: Callable[[str, str], str]


STATES = (
    State("a permission is asked for", "edit", comes("permission")),
    State("a question is asked", "questions", comes("asking")),
    State("an interrupt", "interrupt", comes("interrupted")),
    State("its vendor takes no more now", "limits", comes("limited")),
    State("its context is full", "trouble", comes("overflow")),
    State("an error of its vendor", "trouble", comes("error")),
    State("kill -9 in the middle of a turn", "killed", _crash),
    State("SIGINT from outside in the middle of a turn", "signalled", _signalled),
    State("SIGTERM from outside between turns", "quit", _quit),
    State("the machine sleeps for a night in the middle of a turn", "edit", _suspended),
    State("silence for half an hour in the middle of a turn", "edit", _silent),
    State("words after its process has ended", "killed", _contradicted),
)
#: why there is no recording
NONE = {
    ("a question is asked", "gemini"): "its turn ends with it",
    ("a question is asked", "acp"): "the protocol has none",
}
#: what is otherwise with one of them: the status that is believed instead, and why
OTHERWISE = {
    ("its context is full", "opencode"): ("done", "it sums up by itself and goes on"),
}
HEAD = """# What is told of agents, state by state

Written by `python -m tests.agents.states`, held by `tests/agents/test_states.py`. Each cell is a recording of the real
program against the model server (`tests/agents/golden/AGENT/`; `acp`: of the agent that comes with stretto), replayed
through its adapter, and the status that is believed then ([decision 25](adr/0025-status-from-evidence.md)). What an
agent shows in a pane has tests of its own (`tests/e2e/test_claude_pane.py`).

"""


def cell(state: State, agent: str) -> str:
    """The words of a cell; AssertionError for a state that is told wrongly."""
    if (why := NONE.get((state.words, agent))) is not None:
        assert not (GOLDEN / agent / f"{state.recording}.jsonl").exists(), "there is a recording: look at it"
        return f"no: {why}"
    if (other := OTHERWISE.get((state.words, agent))) is not None:
        status, why = other
        return f"{comes(status)(agent, state.recording)}: {why}"
    return state.look(agent, state.recording)


def page() -> str:
    """The whole page."""
    lines = [f"| | recording | {' | '.join(AGENTS)} |", "|---|---|" + "---|" * len(AGENTS)]
    for state in STATES:
        cells = " | ".join(cell(state, agent) for agent in AGENTS)
        lines.append(f"| {state.words} | `{state.recording}` | {cells} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
