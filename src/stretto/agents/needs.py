"""What a kind of agent must reach and have where nothing else is there: its model, and how it says who pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from stretto.core.model import AgentSpec


@dataclass(frozen=True, slots=True)
class Needs:
    """`network`: hosts (`host`, `host:port`). `credentials`: files of the person's home, as paths below it."""

    network: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()


_KNOWN = {
    "claude": Needs(
        ("api.anthropic.com", "platform.claude.com", "console.anthropic.com"),
        (".claude/.credentials.json",),
    ),
}
#: variables in which the person names another server for the model
_SERVERS = {"claude": ("ANTHROPIC_BASE_URL",)}


def needs(spec: AgentSpec, env: Mapping[str, str]) -> Needs:
    """What an agent needs with this environment. A server of its own takes the place of the usual ones."""
    known = _KNOWN.get(spec.type, Needs())
    own = [place for name in _SERVERS.get(spec.type, ()) if (place := _place(env.get(name, ""))) is not None]
    return Needs(tuple(own), known.credentials) if own else known


def _place(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return None
    return f"{parts.hostname}:{port}" if parts.hostname else None
