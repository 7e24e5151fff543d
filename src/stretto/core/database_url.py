"""Addresses of databases: read, show without their password, and refuse those that a task must never branch from.

`sqlite:///data/app.db` is relative to the checkout, `sqlite:////var/app.db` absolute; `postgresql://user@host:5432/name`
and `postgresql:///name?host=/run/postgresql` are libpq's own form. A password has no place in one: stretto.toml is
committed, so it is refused there and belongs into ~/.pgpass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from stretto.core.errors import UsageError

SQLITE, POSTGRES = "sqlite", "postgresql"
SCHEMES = {"sqlite": SQLITE, "sqlite3": SQLITE, "file": SQLITE, "postgres": POSTGRES, "postgresql": POSTGRES}
DEFAULT_PORT = 5432
#: the sort of address that a provider needs; those that are missing need none
SCHEME_OF = {
    "sqlite": SQLITE,
    "postgres-database": POSTGRES,
    "postgres-schema": POSTGRES,
    "postgres-cluster": POSTGRES,
}
#: of these, what can begin with nothing instead
NEEDLESS = ("postgres-cluster",)
#: the role of a task in a server of its own
CLUSTER_ROLE = "stretto_owner"

#: hosts of services that sell databases, and words by which people call the one that customers use
PROTECTED = (
    "*.amazonaws.com",
    "*.azure.com",
    "*.windows.net",
    "*.googleapis.com",
    "*.neon.tech",
    "*.supabase.co",
    "*.supabase.com",
    "*.render.com",
    "*.ondigitalocean.com",
    "*.aivencloud.com",
    "*.timescale.com",
    "*.timescaledb.io",
    "*.cockroachlabs.cloud",
    "*.crunchybridge.com",
    "*.herokuapp.com",
    "*.fly.dev",
    "*.railway.app",
    "*.rlwy.net",
    "*.scaleway.com",
)
_LIVE = re.compile(r"(?:^|[^a-z0-9])(?:prod|production|live)(?:$|[^a-z0-9]|\d)")
#: words of an address by which libpq goes elsewhere than to the host that is named
_ELSEWHERE = ("hostaddr", "service", "servicefile")
#: the password of a client's key, as a word of the address
_KEY_PASSWORD = "sslpassword"  # noqa: S105 - the word, no password
_FORM = 'write `url = "postgresql://user@localhost/name"` or `url = "sqlite:///data/app.db"`'


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """An address in its parts. `host` is a name, an address or the folder of a Unix socket; "" means the default.

    `name` is the database, for SQLite the path of the file.
    """

    scheme: str
    name: str = ""
    user: str = ""
    password: str = ""
    host: str = ""
    port: int | None = None
    query: tuple[tuple[str, str], ...] = ()

    @property
    def socket(self) -> bool:
        """Whether a server is reached through a Unix socket."""
        return self.host.startswith("/")

    @property
    def secret(self) -> bool:
        """Whether it holds a password: the user's, or that of a client's key."""
        return bool(self.password) or any(key == _KEY_PASSWORD for key, _ in self.query)

    def with_name(self, name: str) -> DatabaseUrl:
        """The same server, another database."""
        return replace(self, name=name)

    def text(self) -> str:
        """The address for programs, its password included."""
        return self._text(quote(self.password, safe="") if self.password else "")

    def shown(self) -> str:
        """The address for people and logs: never with a password."""
        hidden = tuple((key, "***" if key == _KEY_PASSWORD else value) for key, value in self.query)
        return replace(self, query=hidden)._text("***" if self.password else "")

    def _text(self, password: str) -> str:
        if self.scheme == SQLITE:
            return f"sqlite:///{quote(self.name)}"
        who = quote(self.user, safe="") + (f":{password}" if password else "")
        extra = list(self.query)
        if self.socket:
            extra = [("host", self.host), *([("port", str(self.port))] if self.port else []), *extra]
            place = f"{who}@" if who else ""
        else:
            host = f"[{self.host}]" if ":" in self.host else self.host
            place = (f"{who}@" if who else "") + host + (f":{self.port}" if self.port else "")
        tail = f"?{urlencode(extra, safe='/*')}" if extra else ""
        return f"postgresql://{place}/{quote(self.name)}{tail}"


def parse(text: str) -> DatabaseUrl:
    """Read an address. Raises UsageError (`database_url`) for what is none; the text itself may hold a password.

    >>> parse("postgres://ann@db.local:5433/shop").shown()
    'postgresql://ann@db.local:5433/shop'
    >>> parse("sqlite:////var/app.db").name
    '/var/app.db'
    """
    scheme, found, rest = text.strip().partition("://")
    scheme = scheme.partition("+")[0].lower()
    if not found and text.startswith("sqlite:"):
        scheme, rest = "sqlite", "/" + text.removeprefix("sqlite:")
    if scheme not in SCHEMES:
        raise _wrong("it begins with neither postgresql:// nor sqlite:///")
    if SCHEMES[scheme] == SQLITE:
        return _sqlite(rest)
    try:
        return _postgres(text)
    except ValueError as error:
        raise _wrong(str(error)) from error


def provider_of(url: DatabaseUrl | None) -> str:
    """The provider that an address means when none is named."""
    return {None: "memory", SQLITE: "sqlite"}.get(url.scheme if url else None, "postgres-database")


def _sqlite(rest: str) -> DatabaseUrl:
    path = unquote(rest.partition("?")[0].removeprefix("/"))
    if rest.startswith("/") and path and "\0" not in path and not path.endswith("/"):
        return DatabaseUrl(SQLITE, path)
    raise _wrong("after sqlite:/// stands no path of a file")


def _postgres(text: str) -> DatabaseUrl:
    parts = urlsplit(text.strip())
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if found := [word for word in _ELSEWHERE if word in query]:
        raise ValueError(f"`{found[0]}` leads elsewhere than its host says; name the host itself")
    # a word of the query counts before the part of the same meaning, as libpq has it
    host = query.pop("host", "") or unquote(parts.hostname or "")
    port = int(query.pop("port", "0")) or parts.port
    user = query.pop("user", "") or unquote(parts.username or "")
    password = query.pop("password", "") or unquote(parts.password or "")
    name = query.pop("dbname", "") or unquote(parts.path.removeprefix("/"))
    if any(letter in part for part in (host, user, name, password) for letter in "\0\n\r"):
        raise ValueError("a line break has no place in it")
    if "," in host:
        raise ValueError("one host is expected, not several")
    return DatabaseUrl(POSTGRES, name, user, password, host, port, tuple(sorted(query.items())))


def _wrong(why: str) -> UsageError:
    return UsageError(f"[database] url is not the address of a database: {why}", code="database_url", hint=_FORM)


def is_local(url: DatabaseUrl) -> bool:
    """Whether the server is this machine by its name."""
    return url.host == "" or url.socket or url.host in ("localhost", "127.0.0.1", "::1")


def protection(url: DatabaseUrl, more: Iterable[str] = (), allowed: Iterable[str] = ()) -> str | None:
    """Why nothing may be branched from here, or None.

    `more`: globs of hosts or databases that the configuration protects, `allowed`: hosts that it exempts by their full
    name. Protected by `more` counts in any case. Of a socket the name of its folder counts too.

    >>> protection(parse("postgresql://ann@shop-prod.local/shop"))
    'shop-prod.local is called like a database that customers use'
    >>> protection(parse("postgresql://localhost/shop")) is None
    True
    """
    host, name = url.host.lower().rstrip("."), url.name.lower()
    socket = PurePosixPath(host).name if url.socket else ""
    for glob in more:
        for said in (host, socket, name):
            if said and fnmatchcase(said, glob.lower()):
                return f"{said} is protected by `{glob}` in [database] protect"
    if host in {one.lower().rstrip(".") for one in allowed}:
        return None
    hosted = next((glob for glob in PROTECTED if fnmatchcase(host, glob)), None)
    if hosted is not None:
        return f"{host} is a hosted database ({hosted})"
    for said in (host, name):
        if _LIVE.search(said):
            return f"{said} is called like a database that customers use"
    return None
