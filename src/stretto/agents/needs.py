"""What a kind of agent must reach and have where nothing else is there: its model, and how it says who pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from stretto.agents import declared
from stretto.core.errors import UsageError
from stretto.core.model import AgentSpec


@dataclass(frozen=True, slots=True)
class Needs:
    """`network`: hosts (`host`, `host:port`). `credentials`: files of the person's home, as paths below it."""

    network: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()


def needs(spec: AgentSpec, env: Mapping[str, str]) -> Needs:
    """What an agent needs with this environment, as its type declares. A server of its own replaces the usual hosts.

    Only logins that lie in the home folder are credentials here: another folder is not there in a sandbox. A variable
    may name a folder in it.
    """
    try:
        said = declared(spec.type)
    except UsageError:
        return Needs()
    own = [place for name in said.servers if (place := _place(env.get(name, ""))) is not None]
    logins = [name for login in said.logins if (name := _below_home(login, env)) is not None]
    return Needs(tuple(own) or said.hosts, tuple(dict.fromkeys(logins)))


def _below_home(login: str, env: Mapping[str, str]) -> str | None:
    first, _, rest = login.partition("/")
    if first == "~":
        return rest
    home, folder = env.get("HOME", ""), env.get(first.removeprefix("$"), "")
    if not home or not folder.startswith(f"{home.rstrip('/')}/"):
        return None
    return str(PurePosixPath(folder.removeprefix(f"{home.rstrip('/')}/"), rest))


def _place(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return None
    return f"{parts.hostname}:{port}" if parts.hostname else None
