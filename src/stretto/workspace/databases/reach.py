"""What a sandbox must show so that its workspace's database, and nothing else, is reached from inside.

Specification. A task's role has a password, or a socket that is its own, and gets into its own database only. But a
server may let the person, or its superuser, in without a password: who is inside of a sandbox has the person's user id
and the same loopback address, and would be them. So the way to a server that all tasks share is shown only if it was
found shut to them when the database was made, or if the person named it in `[sandbox] network`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stretto.core.database_url import CLUSTER_ROLE, DEFAULT_PORT, POSTGRES, DatabaseUrl, is_local, parse
from stretto.core.errors import StrettoError, UsageError
from stretto.core.names import is_database_name
from stretto.workspace.databases.logins import SHUT


def shown(env: Mapping[str, str], network: Iterable[str] = ()) -> tuple[str, ...]:
    """Paths that are shown read-only: the folder of the socket, the file with the password of this workspace's role.

    `env`: the environment of a process in the workspace; `network`: what the person lets be reached. Raises
    StrettoError (`sandbox_refused`) for a server that would let more in than the task.
    """
    try:
        url = parse(env.get("DATABASE_URL", ""))
    except UsageError:
        return ()
    if url.scheme != POSTGRES or not is_database_name(url.user):
        return ()
    passfile = env.get("PGPASSFILE", "")
    if url.user == CLUSTER_ROLE:
        found = [url.host] if url.socket else [passfile]
    else:
        _require_shut(url, passfile, network)
        found = [passfile, *([url.host] if url.socket else [])]
    return tuple(path for path in found if path and Path(path).exists())


def _require_shut(url: DatabaseUrl, passfile: str, network: Iterable[str]) -> None:
    if not is_local(url) or _says_shut(passfile):
        return  # another machine is reached by the proxy alone, which asks the person's list
    port = url.port or DEFAULT_PORT
    if not url.socket and not {f"localhost:{port}", f"{url.host}:{port}"}.isdisjoint(network):
        return
    where = url.host if url.socket else f"{url.host or 'localhost'}:{port}"
    raise StrettoError(
        f"the PostgreSQL server at {where} lets others in without a password: whoever is in the sandbox could be them",
        code="sandbox_refused",
        object=where,
        hint='let its pg_hba.conf ask for passwords (scram-sha-256), or use provider "postgres-cluster"',
    )


def _says_shut(passfile: str) -> bool:
    try:
        first = Path(passfile).read_text("utf-8", "replace").partition("\n")[0]
    except OSError:
        return False
    return first.startswith("# host=") and first.endswith(SHUT)
