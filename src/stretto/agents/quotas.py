"""Quota windows as vendors count them: one shape for all agents that tell of them."""

from __future__ import annotations

from typing import Any

from stretto.agents.shapes import Json, as_list, as_object, as_text
from stretto.interfaces import Signal

#: seconds since the epoch that are an instant (the year 5138), no milliseconds and no nonsense
_LAST = 1e11
_NAMES = {"five_hour": "5h", "seven_day": "7d", "overage": "extra"}


def claude(info: Json) -> list[Signal]:
    """Of a `rate_limit_event`: the window that matters now, and each one where the program tells of all."""
    found = {name: as_object(one) for name, one in as_object(info.get("unifiedWindows")).items()}
    if kind := as_text(info.get("rateLimitType")):
        found[kind] = {**found.get(kind, {}), **{key: info[key] for key in _KEYS if info.get(key) is not None}}
    return _signal([_window(_claude_name(name), one, one.get("utilization")) for name, one in found.items()])


_KEYS = ("status", "resetsAt", "utilization")


def _claude_name(name: str) -> str:
    known = next((known for known in _NAMES if name.startswith(known)), name)
    return " ".join(filter(None, (_NAMES.get(known, known), name.removeprefix(known).replace("_", " ").strip())))


def codex(limits: Json) -> list[Signal]:
    """Of `account/rateLimits/updated`: two windows, known by their length in minutes."""
    reached = as_text(limits.get("rateLimitReachedType")) != ""
    windows = []
    for one in (as_object(limits.get(name)) for name in ("primary", "secondary")):
        percent, minutes = _number(one.get("usedPercent")), _number(one.get("windowDurationMins"))
        if percent is None:
            continue
        name = " ".join(filter(None, (as_text(limits.get("limitName"))[:50], _length(minutes))))
        status = "rejected" if reached and percent >= 100 else ""
        windows.append(_window(name, {**one, "status": status}, percent / 100))
    return _signal(windows)


def _length(minutes: float | None) -> str:
    if not minutes or minutes < 1:
        return "all"
    return f"{minutes / 1440:g}d" if minutes >= 1440 else f"{minutes / 60:g}h"


def _window(name: str, one: Json, used: Any) -> Json:
    share, resets = _number(used), _number(one.get("resetsAt"))
    resets = resets if resets is not None and resets < _LAST else None
    rejected = one.get("status") == "rejected"
    return {"window": name[:80], "used": share, "resets_at": resets, "exhausted": rejected}


def _number(value: Any) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if fits else None


def _signal(windows: list[Json]) -> list[Signal]:
    return [Signal("quota", {"windows": windows})] if windows else []


def windows_of(data: Json) -> list[Json]:
    """The windows of such a signal that have a name."""
    return [one for one in map(as_object, as_list(data.get("windows"))) if as_text(one.get("window"))]
