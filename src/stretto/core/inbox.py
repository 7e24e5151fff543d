"""What needs the person: the words that answer each kind of item, and which item comes first."""

from __future__ import annotations

from collections.abc import Iterable

from stretto.core.errors import UsageError
from stretto.core.model import OWN_TERMINAL, Item, ItemKind
from stretto.core.quick import dataclass

_WORDS: dict[str, str] = {
    "accept": "take it as it is",
    "send-back": "give it back to the agent, with your words",
    "cancel": "cancel the task, keeping its work",
    "retry": "try again",
    "approve": "let it land",
    "allow": "let the agent do it",
    "deny": "refuse it",
    "continue": "go on from here",
}

#: how the keys of items begin that ask for secret values; retry then sends what waits, and makes nothing anew
SECRETS = "secrets:"

#: fixed answer keys per kind (DECISIONS 12); questions bring their own options 1…n
KEYS: dict[ItemKind, tuple[str, ...]] = {
    ItemKind.QUESTION: (),
    ItemKind.PERMISSION: ("allow", "deny"),
    ItemKind.PLAN: ("approve", "send-back", "cancel"),
    ItemKind.REVIEW: ("approve", "send-back", "cancel"),
    ItemKind.CONFLICT: ("retry", "send-back", "cancel"),
    ItemKind.STALL: ("continue", "cancel"),
    ItemKind.CHECKPOINT: ("continue", "cancel"),
    ItemKind.BUDGET: ("continue", "cancel"),
    ItemKind.UNDELIVERED: ("retry", "cancel"),
    ItemKind.INTERRUPTED: ("continue", "send-back", "cancel"),
    ItemKind.NOCHANGE: ("accept", "send-back", "cancel"),
    ItemKind.SETUP: ("retry", "cancel"),
    ItemKind.FAILURE: ("retry", "send-back", "cancel"),
}


def options(kind: ItemKind, *extra: str) -> tuple[tuple[str, str], ...]:
    """The fixed options of a kind, `extra` words first."""
    words = {**_WORDS, "continue": "take what it left as its result"} if kind is ItemKind.FAILURE else _WORDS
    return tuple((key, words[key]) for key in (*extra, *KEYS[kind]))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as understood: the key of an option, or free text, or both."""

    key: str | None
    text: str


def understand(item: Item, answer: str) -> Reply:
    """Read what the person typed: an option's key, an option's text, or their own words.

    A permission's options go by their place as well: 2 is the second that is shown, as with questions.
    Raises UsageError when it is empty, or free text for an item that takes only its options, and for a dialog that only
    the agent's own terminal answers.
    """
    if item.payload.get(OWN_TERMINAL):
        raise UsageError(
            f"item {item.id} is a dialog of the agent's program that only its own terminal answers",
            object=item.id,
            hint=f"stretto attach {item.task}",
        )
    words = answer.strip()
    if not words:
        raise UsageError("the answer is empty", object=item.id, hint=f"stretto answer {item.id} KEY")
    for key, text in item.options:
        if words == key or words.casefold() == text.casefold():
            return Reply(key, text if item.kind is ItemKind.QUESTION else "")
    if item.kind is ItemKind.QUESTION:
        _refuse_unknown_number(item, words)
        return Reply(None, words)
    if item.kind is ItemKind.PERMISSION and words in _places(item):
        return Reply(_places(item)[words], "")
    keys = [key for key, _ in item.options]
    head, _, rest = words.partition(" ")
    if head.rstrip(":") in keys and head.rstrip(":") in {"send-back", "deny"}:
        return Reply(head.rstrip(":"), rest.strip())
    if "send-back" in keys:
        _refuse_one_word(item, words, keys, "send-back")
        return Reply("send-back", words)
    if item.kind is ItemKind.PERMISSION:
        _refuse_one_word(item, words, keys, "deny")
        return Reply("deny", words)
    raise UsageError(
        f"item {item.id} takes one of: {', '.join(keys)}",
        object=item.id,
        hint=f"stretto answer {item.id} {keys[0]}",
    )


def _places(item: Item) -> dict[str, str]:
    """By which number each option goes; by none where numbers are names of options."""
    if any(key.isdigit() for key, _ in item.options):
        return {}
    return {str(place): key for place, (key, _) in enumerate(item.options, 1)}


def _refuse_one_word(item: Item, words: str, keys: list[str], otherwise: str) -> None:
    """One word that is no option is a slip of the hand, too: it would cost a turn, and `yes` would refuse the work.

    `otherwise`: the key for which more words are taken.
    """
    if len(words.split()) == 1:
        raise UsageError(
            f"item {item.id} has no option {words}, only {', '.join(keys)}",
            object=item.id,
            hint=f'choose one, or say more: stretto answer {item.id} "{otherwise} {words}"',
        )


def _refuse_unknown_number(item: Item, words: str) -> None:
    """A bare number that is no option is a slip of the hand: the agent must not get it as the person's words."""
    keys = [key for key, _ in item.options]
    if keys and words.isascii() and words.isdigit():
        raise UsageError(
            f"item {item.id} has no option {words}, only {', '.join(keys)}",
            object=item.id,
            hint=f'stretto answer {item.id} {keys[0]}, or with words: stretto answer {item.id} "the number {words}"',
        )


_RANK: dict[ItemKind, int] = {
    ItemKind.PERMISSION: 0,
    ItemKind.QUESTION: 1,
    ItemKind.SETUP: 2,
    ItemKind.CONFLICT: 3,
    ItemKind.UNDELIVERED: 4,
    ItemKind.INTERRUPTED: 4,
    ItemKind.FAILURE: 5,
    ItemKind.STALL: 5,
    ItemKind.BUDGET: 5,
    ItemKind.CHECKPOINT: 6,
    ItemKind.PLAN: 6,
    ItemKind.NOCHANGE: 7,
    ItemKind.REVIEW: 8,
}


def ranked(items: Iterable[Item], dependents: dict[str, int], size: dict[str, int]) -> list[Item]:
    """Open items, what blocks a live agent first, then what blocks most others, small diffs first, oldest first.

    `dependents` counts the tasks that wait for a task, `size` is its changed lines.
    """
    return sorted(
        (i for i in items if i.closed_at is None and i.answered_at is None),
        key=lambda i: (_RANK[i.kind], -dependents.get(i.task, 0), size.get(i.task, 0), i.opened_at, i.id),
    )
