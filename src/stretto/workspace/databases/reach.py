"""What a sandbox must show so that its workspace's database, and nothing else, is reached from inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stretto.core.database_url import CLUSTER_ROLE, POSTGRES, parse
from stretto.core.errors import UsageError


def shown(env: Mapping[str, str]) -> tuple[str, ...]:
    """Paths that are shown read-only: the folder of a socket that is this workspace's alone, the file of its password.

    `env`: the environment of a process in the workspace.
    """
    try:
        url = parse(env.get("DATABASE_URL", ""))
    except UsageError:
        return ()
    if url.scheme != POSTGRES or url.user != CLUSTER_ROLE:
        return ()
    found = [url.host] if url.socket else [env.get("PGPASSFILE", "")]
    return tuple(path for path in found if path and Path(path).exists())
