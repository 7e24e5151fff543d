"""The commands that show and answer an item of the inbox."""

from __future__ import annotations

import shlex

from stretto.core.model import OWN_TERMINAL, CheckResult, Item, ItemKind
from stretto.reads.picture import Place


def answer_command(item: Item) -> str:
    """The exact command that answers an item in the usual way."""
    if item.payload.get(OWN_TERMINAL):
        return f"stretto attach {item.task}"
    keys = [key for key, _ in item.options]
    if not keys:
        return f'stretto answer {item.id} "…"'
    # `continue` takes what a failed turn left as its result, which is rarely what is wanted
    usual = "retry" if item.kind is ItemKind.FAILURE and "retry" in keys else keys[0]
    return f"stretto answer {item.id} {shlex.quote(usual)}"


def look_command(item: Item, place: Place) -> str:
    """The command that shows what the item is about."""
    name = place.task.uid
    match item.kind:
        case ItemKind.REVIEW if not item.payload.get("report"):
            return f"stretto diff {name}"
        case ItemKind.UNDELIVERED:
            return f"stretto messages {name}"
        case ItemKind.NOCHANGE | ItemKind.INTERRUPTED | ItemKind.REVIEW:
            return f"stretto logs {name}"
        case ItemKind.FAILURE if item.key.startswith("failure:"):
            return f"stretto logs {name}"
        case ItemKind.FAILURE if check := _failed_check(item, place):
            return f"stretto logs {name} --check {shlex.quote(check)}"
        case _:
            return f"stretto explain {name}"


def _failed_check(item: Item, place: Place) -> str | None:
    """The check that an item is about, if its output is there to be read."""
    if item.key.startswith("check-error:"):
        return str(item.payload.get("check") or "") or None
    if not item.key.startswith("rounds:"):
        return None
    rows = [(spec.name, place.facts.check(spec)) for spec in place.facts.specs]
    return next((name for name, row in rows if row is not None and row.result is CheckResult.FAILED), None)
