"""Whether an error of a vendor means "not now": a rate limit, or a quota that is used up; and until when."""

from __future__ import annotations

import re
from datetime import datetime

#: for whoever looks at the words of a program himself
PATTERN = (
    r"(?i)\b429\b|rate[ _-]?limit|too many requests|quota|usage limit|insufficient[ _]credit|credit balance"
    r"|billing[ _]hard[ _]limit|resource[ _]exhausted"
)
_LIMIT = re.compile(PATTERN)
#: words of a vendor are looked at up to here
_LOOKED_AT = 4000
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PIECE = (
    r"\d{1,9}(?:\.\d{1,6})?\s?(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
#: "try again in 1m30s", "Please retry in 33.5s", "resets in 2 hours 5 minutes", "retryDelay": "33s"
_SPAN = re.compile(
    r"(?i)(?:\b(?:again|retry|reset|resets|available)\b[^.;\n\d]{0,20}\b(?:in|after)\b|\bretry_?delay\b)[^\w.;\n]{1,6}"
    rf"(?:about\s)?({_PIECE}(?:(?:\s|,|\sand\s)?{_PIECE}){{0,3}})"
)
_EACH = re.compile(r"(?i)(\d+(?:\.\d+)?)\s?(ms|mil|[smhd])")
#: "retry-after: 20", "retry after 20"
_HEADER = re.compile(r"(?i)\bretry[-_ ]after\b[^\w.;\n]{0,4}(\d{1,9})(?![\w.])")
#: "resets_at": 1795299291, "usage limit reached|1795299291"
_EPOCH = re.compile(r"(?i)\breset(?:s|s_at|sAt|_at|_time)?\b[^\w.;\n]{1,4}(\d{10})(?:\d{3})?\b|\breached\|(\d{10})\b")
#: "try again at 2026-11-22T05:10:00Z"
_DATE = re.compile(
    r"(?i)\b(?:at|until|resets?)\b\W{1,4}(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d))"
)


def is_limit(said: str) -> bool:
    """Whether these words of a vendor or an agent tell of a rate limit or an exhausted quota."""
    return bool(_LIMIT.search(said))


def told(said: str, now: float) -> float | None:
    """The moment (seconds since the epoch) from which the vendor takes more, as these words name it; None if none does.

    A moment that lies behind is none, and neither is a time of day without its zone.
    """
    words = said[:_LOOKED_AT]
    if span := _SPAN.search(words):
        return now + sum(float(n) * _SECONDS[_unit(unit)] for n, unit in _EACH.findall(span[1]))
    if header := _HEADER.search(words):
        return now + float(header[1])
    at: float | None = None
    if epoch := _EPOCH.search(words):
        at = float(epoch[1] or epoch[2])
    elif date := _DATE.search(words):
        at = _moment(date[1])
    return at if at is not None and at > now else None


def _unit(word: str) -> str:
    return "ms" if word.lower() in ("ms", "mil") else word.lower()


def _moment(date: str) -> float | None:
    try:
        return datetime.fromisoformat(date.upper()).timestamp()
    except ValueError:
        return None
