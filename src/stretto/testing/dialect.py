"""What the protocols of the model server have in common: a request read, an answer chosen, a reply to be written.

A protocol is a module with the functions of `Dialect`. It knows nothing of scenarios, faults or counting; the server
knows nothing of its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stretto.core.model import Usage
from stretto.testing.scenario import Block

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that the agent lets the model call. `properties`: what its schema says of each argument.

    `namespace`: the group in which it was offered; `free`: its input is one text and no object.
    """

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    namespace: str | None = None
    free: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model calls."""

    name: str
    arguments: Json
    namespace: str | None = None
    free: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says: a text, or a call instead of it. `id` is fresh for each reply."""

    id: str
    model: str
    text: str = ""
    call: Call | None = None


class Dialect(Protocol):
    """One protocol. `body` is the request's JSON object, `path` its path without the query."""

    @property
    def NAME(self) -> str:
        """The word for it in `Served.protocol`."""
        ...

    @property
    def USAGE(self) -> Usage:
        """What every answered request costs: the server counts it, the client is told it."""
        ...

    def model(self, path: str, body: Json) -> str:
        """The model that was asked for."""
        ...

    def streams(self, path: str, body: Json) -> bool:
        """Whether the client wants events."""
        ...

    def session(self, headers: Mapping[str, str], body: Json) -> str:
        """The session as the agent names it in its requests; empty if it does not. Names of headers are in small."""
        ...

    def conversation(self, body: Json) -> list[Block]:
        """The user's texts and the tools' results, in order."""
        ...

    def offers(self, body: Json) -> list[Offer]:
        """The tools of a request."""
        ...

    def schema(self, body: Json) -> Json | None:
        """The JSON Schema that the answer has to keep, if the request names one."""
        ...

    def whole(self, reply: Reply) -> Json:
        """The response to a request that does not stream."""
        ...

    def stream(self, reply: Reply) -> Iterator[bytes]:
        """The same as server-sent events."""
        ...

    def error(self, status: int) -> Json:
        """The body of a refusal."""
        ...

    def limited(self, resets: int, left: int) -> tuple[Json, dict[str, str]]:
        """Body and head of a 429 whose window begins anew at `resets` (seconds since the epoch), in `left` seconds."""
        ...

    def too_long(self) -> Json:
        """The body of a 400 for a conversation that no longer fits."""
        ...


def example(schema: Mapping[str, Any]) -> Any:
    """A small value that keeps a JSON Schema, for requests that want one: first choices, ones and empty lists."""
    if choices := schema.get("enum"):
        return choices[0]
    kind = schema.get("type")
    kind = next((one for one in kind if one != "null"), "null") if isinstance(kind, list) else kind
    kind = str(kind).lower()
    if kind == "object":
        return {name: example(inner) for name, inner in schema.get("properties", {}).items()}
    plain = {"integer": 1, "number": 1, "boolean": False, "array": [], "null": None}
    return plain.get(kind, "aside")


def pieces(text: str, size: int) -> Iterator[str]:
    """The text cut into pieces; one empty piece for an empty text."""
    yield from (text[at : at + size] for at in range(0, max(1, len(text)), size))


def plain(content: Any) -> str:
    """The text of a content that may be a text, a list of parts with texts, or anything else."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return json.dumps(content)


def event(data: Any, kind: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {kind}\n" if kind else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()
