"""The environment of every process in a workspace (CONTRACTS), and the file that repeats it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from stretto.core import names
from stretto.core.errors import StrettoError

BEGIN = "# >>> stretto: this block is written by stretto >>>"
END = "# <<< stretto <<<"
_PLACEHOLDER = re.compile(
    r"(?<!\{)\{(task|uid|workspace|root|branch|base|slot|port(?:\.[A-Za-z0-9_-]+)?|database\.url)\}(?!\})"
)


def contract(
    *, owner: str, purpose: str, path: Path, root: Path, branch: str | None, base: str, tree: str, slot: int
) -> dict[str, str]:
    """The variables that every process in this workspace gets. PORT and DATABASE_URL come with what provides them."""
    project = hashlib.sha256(str(root).encode()).hexdigest()[:4]
    values = {
        "STRETTO_TASK": owner.rpartition("/")[2],
        "STRETTO_UID": owner,
        "STRETTO_PURPOSE": purpose,
        "STRETTO_WORKSPACE": str(path),
        "STRETTO_ROOT": str(root),
        "STRETTO_BASE": base,
        "STRETTO_TREE": tree,
        "STRETTO_SLOT": str(slot),
        "COMPOSE_PROJECT_NAME": f"{names.slugify(root.name, 20)}-{project}-{slot:02d}",
    }
    if branch is not None:
        values["STRETTO_BRANCH"] = branch
    return values


def fill(templates: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """`[workspace] env` with `{task}`, `{slot}`, `{port.api}` … filled in; other braces stay as they are.

    Raises StrettoError for a placeholder that this workspace has no value for.

    >>> fill({"A": "x-{task}", "B": '{"json": 1}'}, {"STRETTO_TASK": "search"})
    {'A': 'x-search', 'B': '{"json": 1}'}
    """
    result: dict[str, str] = {}
    for name, text in templates.items():
        parts = _PLACEHOLDER.split(text)  # literal, placeholder, literal, …
        parts[1::2] = [_value(placeholder, name, values) for placeholder in parts[1::2]]
        result[name] = "".join(parts)
    return result


def require_values(templates: Mapping[str, str], promised: Iterable[str] = ()) -> None:
    """Raise StrettoError, before anything is made, for a placeholder that no workspace has a value for.

    `promised`: the variables that layers will give.
    """
    known = ("TASK", "UID", "WORKSPACE", "ROOT", "BRANCH", "BASE", "SLOT")
    fill(templates, dict.fromkeys((*(f"STRETTO_{name}" for name in known), *promised), ""))


def _value(placeholder: str, name: str, values: Mapping[str, str]) -> str:
    variable = _variable(placeholder)
    if variable in values:
        return values[variable]
    if placeholder == "branch":
        return ""
    raise StrettoError(
        f"the variable {name} uses {{{placeholder}}}, which this workspace does not have",
        object=name,
        hint="take it out of [workspace] env in stretto.toml, or of the task's env",
        code="environment",
    )


def _variable(placeholder: str) -> str:
    kind, _, name = placeholder.partition(".")
    if kind == "port":
        return "PORT" + (f"_{name.upper().replace('-', '_')}" if name else "")
    return "DATABASE_URL" if kind == "database" else f"STRETTO_{placeholder.upper()}"


def block(values: Mapping[str, str]) -> str:
    """The marked block of an environment file, sorted by name."""
    return "\n".join([BEGIN, *(f"{name}={_quoted(values[name])}" for name in sorted(values)), END, ""])


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./:@%+,=-]*", value, re.ASCII):
        return value
    if "'" not in value and "\n" not in value:
        return f"'{value}'"
    escaped = re.sub(r'(["\\$`])', r"\\\1", value).replace("\n", "\\n")
    return f'"{escaped}"'


def with_block(text: str, values: Mapping[str, str]) -> str:
    """`text` with our block at its end, an earlier one replaced; everything else stays byte for byte."""
    before, _, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    kept = before + after.removeprefix("\n") if closed else text
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return kept + block(values)
