"""What agents tell of their vendors' windows: recorded words, any words, and the real programs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto import agents
from stretto.agents import quotas
from stretto.core.model import AgentSpec
from stretto.interfaces import SessionContext, Signal
from stretto.testing.modelserver import ModelServer
from tests.support import claude, codex
from tests.support.repository import Repository
from tests.support.stream import Stream, clean_environment

CLAUDE = {
    "status": "rejected",
    "resetsAt": 1795293825,
    "rateLimitType": "five_hour",
    "unifiedWindows": {
        "five_hour": {"utilization": 1.0, "resetsAt": 1795293825},
        "seven_day": {"utilization": 0.12, "resetsAt": 1795326225, "status": "allowed"},
    },
}
CODEX = {
    "limitId": "codex",
    "primary": {"usedPercent": 100, "windowDurationMins": 300, "resetsAt": 1795293825},
    "secondary": {"usedPercent": 12, "windowDurationMins": 10080, "resetsAt": 1795326225},
    "rateLimitReachedType": "rate_limit_reached",
}
BOTH = [
    {"window": "5h", "used": 1.0, "resets_at": 1795293825.0, "exhausted": True},
    {"window": "7d", "used": 0.12, "resets_at": 1795326225.0, "exhausted": False},
]


def told(found: list[Signal]) -> list[Any]:
    return [one for signal in found for one in signal.data["windows"]]


def test_both_vendors_have_one_shape() -> None:
    assert told(quotas.claude(CLAUDE)) == told(quotas.codex(CODEX)) == BOTH
    # a program that keeps its windows to itself still names the one that matters
    short = {"status": "allowed_warning", "resetsAt": 5, "rateLimitType": "seven_day_opus", "utilization": 0.9}
    assert told(quotas.claude(short)) == [{"window": "7d opus", "used": 0.9, "resets_at": 5.0, "exhausted": False}]
    assert quotas.claude({}) == quotas.codex({}) == []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([*CLAUDE, *CODEX, "limitName"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
            lambda inner: st.dictionaries(
                st.sampled_from(["usedPercent", "resetsAt", "five_hour", "utilization"]), inner
            ),
            max_leaves=4,
        ),
    )
)
def test_any_words_are_survived_and_give_windows_that_make_sense(info: dict[str, object]) -> None:
    for signal in (*quotas.claude(info), *quotas.codex(info)):
        for one in quotas.windows_of(signal.data):
            assert one["window"]
            assert one["used"] is None or one["used"] >= 0
        json.dumps(signal.data, allow_nan=False)


@pytest.mark.parametrize("name", [pytest.param("claude", marks=pytest.mark.claude), "codex"])
def test_the_real_programs_tell_of_their_windows(name: str, repo: Repository, tmp_path: Path) -> None:
    ends = int(time.time()) + 3600
    with ModelServer() as server:
        server.headers = {
            "x-codex-primary-used-percent": "83",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-at": str(ends),
            "anthropic-ratelimit-unified-status": "allowed_warning",
            "anthropic-ratelimit-unified-5h-utilization": "0.83",
            "anthropic-ratelimit-unified-5h-reset": str(ends),
            "anthropic-ratelimit-unified-representative-claim": "five_hour",
            "anthropic-ratelimit-unified-reset": str(ends),
        }
        env = {**clean_environment(tmp_path / "home", server.url), **codex.environment(tmp_path / "home")}
        env |= {"IS_SANDBOX": "1", "CLAUDE_CODE_OAUTH_TOKEN": "dummy"}
        del env["ANTHROPIC_API_KEY"]  # windows are those of a subscription
        program = {"claude": claude, "codex": codex}[name].program()
        args = (*codex.arguments(server.url), *codex.OPEN) if name == "codex" else ()
        model = {"claude": "claude-sonnet-4-5", "codex": codex.MODEL}[name]
        spec = AgentSpec(name, name, command=(str(program),), args=args)
        agent = agents.find(name)
        context = SessionContext("s1", "r/t", repo.path, tmp_path, env, None, False, model, "skip")
        with Stream(agent, agent.launch(spec, context), repo.path) as stream:
            stream.turn("x [[say=hi]]")
            if not any(signal.type == "quota" for signal in stream.signals):
                stream.next("quota")
    found = [signal for signal in stream.signals if signal.type == "quota"]
    assert {"window": "5h", "used": 0.83, "resets_at": float(ends), "exhausted": False} in told(found)


def test_a_window_that_begins_anew_in_no_year_is_told_without_a_time() -> None:
    far = {**CLAUDE, "resetsAt": 9e11, "unifiedWindows": {"five_hour": {"utilization": 1.0, "resetsAt": 2.6e11}}}
    assert [one["resets_at"] for one in told(quotas.claude(far))] == [None]
