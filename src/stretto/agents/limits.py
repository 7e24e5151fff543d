"""Whether an error of a vendor means "not now": a rate limit, or a quota that is used up."""

from __future__ import annotations

import re

#: for whoever looks at the words of a program himself
PATTERN = (
    r"(?i)\b429\b|rate[ _-]?limit|too many requests|quota|usage limit|insufficient[ _]credit|credit balance"
    r"|billing[ _]hard[ _]limit|resource[ _]exhausted"
)
_LIMIT = re.compile(PATTERN)


def is_limit(said: str) -> bool:
    """Whether these words of a vendor or an agent tell of a rate limit or an exhausted quota."""
    return bool(_LIMIT.search(said))
