"""What stretto says to agents: templates, filled with data that is marked as data.

`messages` has one function for each message; `render` fills a template of this folder, or the one that replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from stretto.core.errors import UsageError

_FOLDER = Path(__file__).resolve().parent
_SECTION = re.compile(r"^\{\{\?(\w+)\}\}\n(.*?)^\{\{/\1\}\}\n", re.DOTALL | re.MULTILINE)
_VALUE = re.compile(r"\{\{([^{}]*)\}\}")


@cache
def names() -> tuple[str, ...]:
    """The templates that there are, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.md")))


@cache
def template(name: str) -> str:
    """The text of a template as it comes with stretto. Raises UsageError for an unknown name."""
    if name not in names():
        raise UsageError(f"there is no prompt called {name!r}; there are {', '.join(names())}", object=name)
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def wanted(text: str) -> frozenset[str]:
    """The values that a template names."""
    return frozenset(name.removeprefix("?").removeprefix("/") for name in _VALUE.findall(text))


def render(name: str, overrides: Mapping[str, str] | None = None, **values: str) -> str:
    """Fill the template `name`, or `overrides[name]` in its place.

    `{{value}}` stands for a value; the lines between `{{?value}}` and `{{/value}}`, each alone on a line, are left out
    when the value is empty. Values are put in once and never read as template. Raises UsageError for a template that
    names a value which this message does not have.
    """
    text = (overrides or {}).get(name) or template(name)

    def fill(found: re.Match[str]) -> str:
        if found[1] not in values:
            known = ", ".join(sorted(values))
            raise UsageError(f"the prompt {name!r} wants {found[0]}, which is none of: {known}", object=name)
        return values[found[1]]

    kept = _SECTION.sub(lambda found: found[2] if values.get(found[1]) else "", text)
    return _VALUE.sub(fill, kept).strip("\n") + "\n"
