"""The one way in for every face: operations and events of the daemon over its Unix socket.

Specification.
- Nothing heavy is imported here: `stretto status` pays for this module each time.
- A read without a daemon looks at the database itself, read-only, and says `"daemon": null`. A write needs a daemon:
  `connect(start=True)` starts one, otherwise it is refused with the command that does.
- A daemon that cannot be reached is told apart: none runs, it is starting, or it does not answer.
- What the daemon raised is raised again here, with the same class, code, hint and exit code.
- `events` is a cursor: after a broken connection it goes on behind the last event that it gave; none comes twice.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

from stretto.core.errors import BY_EXIT_CODE, Bug, Conflict, StrettoError, Unavailable, UsageError
from stretto.home import Home, find_home, fitting_name, home_folder, open_home
from stretto.reads import READS, read

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from stretto.unixhttp import UnixConnection

#: both sides of the socket speak exactly this version
PROTOCOL = 1
#: seconds in which a read is answered, or the daemon counts as hung
READ_TIMEOUT = 30.0

Json: TypeAlias = "dict[str, Any]"

#: statuses that name a class more exactly than the exit code does
_BY_STATUS: dict[int, type[StrettoError]] = {409: Conflict, 503: Unavailable}


class NoDaemon(Unavailable):
    """No daemon answers at this home."""

    default_code = "no_daemon"


class ConnectionLost(Unavailable):
    """The daemon went away in the middle of a call: whether it did it is not known."""

    default_code = "connection_lost"


def connect(start: bool = False, home: Home | None = None) -> Client:
    """A client of the user's home. With `start` a daemon is started if none runs, and has answered on return."""
    if not start:
        return Client(home or find_home())
    home = home or open_home()
    client = Client(home)
    if client.ping() is None:
        from stretto.daemon.launch import launch

        launch(home, client.ping)
    return client


class Client:
    """Calls to the daemon of one home. `home` is None while the user has none."""

    def __init__(self, home: Home | None) -> None:
        self.home = home

    def ping(self) -> Json | None:
        """What the daemon tells of itself, None if none answers. Raises when it speaks another protocol."""
        try:
            return self._post("ping", {}, timeout=5.0)
        except (NoDaemon, ConnectionLost):
            return None

    def call(self, op: str, **args: Any) -> Json:
        """Perform an operation. A read falls back to the database. Raises StrettoError as the daemon raised it."""
        _require_text(args)
        reading = op in READS
        try:
            return self._post(op, args, timeout=READ_TIMEOUT if reading else None)
        except NoDaemon as error:
            if reading:
                return self._read(op, args)
            raise self._unreachable() from error
        except ConnectionLost:
            if reading:
                return self._read(op, args)
            raise

    def events(self, since: int, repo: str | None = None, patience: float | None = 0.0) -> Iterator[Json | None]:
        """Events after `since`, for ever; None is a sign of life, or says that the connection was lost.

        When no daemon answers for `patience` seconds (None: for ever) NoDaemon is raised.
        """
        cursor, lost = since, time.monotonic()
        while True:
            try:
                for event in self._stream(cursor, repo):
                    if event is not None:
                        cursor = int(event["id"])
                    lost = time.monotonic()
                    yield event
            except NoDaemon:
                if patience is not None and time.monotonic() - lost >= patience:
                    raise
            yield None
            time.sleep(0.2)

    # ------------------------------------------------------------ HTTP

    def _post(self, op: str, args: Json, timeout: float | None) -> Json:
        connection = self._connection(timeout)
        body = json.dumps(args, default=str).encode("utf-8", "surrogateescape")
        try:
            connection.request("POST", f"/v1/{op}", body, self._headers())
            response = connection.getresponse()
            return _result(op, response.status, response.read())
        except TimeoutError as error:
            raise self._hung(op, timeout) from error
        except (OSError, connection.broken) as error:
            raise _lost(op, error) from error
        finally:
            connection.close()

    def _stream(self, since: int, repo: str | None) -> Iterator[Json | None]:
        """One connection's worth of events; ends quietly when the daemon goes."""
        connection = self._connection(timeout=45.0)  # the daemon gives a sign of life every 15 seconds
        where = f"/v1/events?since={since}" + (f"&repo={_quoted(repo)}" if repo else "")
        try:
            connection.request("GET", where, headers=self._headers())
            response = connection.getresponse()
            if response.status != 200:
                _result("events", response.status, response.read())
            for raw in response:
                line = raw.rstrip(b"\r\n")
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])
                elif line.startswith(b":"):
                    yield None
        except (OSError, connection.broken):
            return
        finally:
            connection.close()

    def _connection(self, timeout: float | None) -> UnixConnection:
        if self.home is None or not os.path.exists(path := _socket_path(self.home)):
            raise _no_daemon()
        from stretto.unixhttp import UnixConnection

        connection = UnixConnection(path, timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise _no_daemon() from error
        return connection

    def _headers(self) -> dict[str, str]:
        if self.home is None:
            raise _no_daemon()
        try:
            token = _content(f"{self.home.folder}/token").decode().strip()
        except OSError as error:
            raise Unavailable(
                f"the token of the daemon cannot be read: {error.strerror}", object=str(self.home.token_file)
            ) from error
        return {
            "Host": "stretto",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Stretto-Protocol": str(PROTOCOL),
        }

    def _unreachable(self) -> NoDaemon:
        told = _told(self.home) if self.home is not None else None
        if told is None or not _lives(told):
            return _no_daemon()
        return NoDaemon(
            f"the daemon (process {told['pid']}) runs but its socket cannot be reached",
            code="daemon_unreachable",
            object=str(told.get("socket")),
            hint="end it and start again: stretto down, then stretto up (agents keep running)",
        )

    def _hung(self, op: str, timeout: float | None) -> Unavailable:
        return Unavailable(
            f"the daemon did not answer {op} within {timeout:g} s",
            code="daemon_hung",
            object=op,
            hint="look at the end of its log, then: stretto down and stretto up (agents keep running)",
        )

    # ------------------------------------------------------------ without a daemon

    def _read(self, op: str, args: Json) -> Json:
        """The read itself, over the database, when no daemon does it for us."""
        from stretto.store.sqlite import open_readonly

        path = (home_folder() if self.home is None else self.home.folder) + "/stretto.db"
        if os.path.exists(path) and os.stat(path).st_size == 0:
            raise _empty(path)
        reader = open_readonly(path)
        try:
            result = read(op, reader, args)
        finally:
            reader.connection.close()
        return {**result, "daemon": None} if op in ("status", "usage") else result


def _require_text(args: Json) -> None:
    """Refuse words that are not UTF-8. The folder and the environment are what they are."""
    for name, value in args.items():
        if name in ("cwd", "env") or not isinstance(value, str):
            continue
        try:
            value.encode()
        except UnicodeEncodeError:
            what = name.replace("_", " ")
            raise UsageError(f"the {what} is not UTF-8 text", object=what, hint="write it in UTF-8") from None


def _socket_path(home: Home) -> str:
    """Where the running daemon says that it listens; else where it would."""
    told = _told(home)
    return str(told["socket"]) if told else fitting_name(f"{home.folder}/daemon.sock")


def _content(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


def _told(home: Home) -> Json | None:
    try:
        value = json.loads(_content(f"{home.folder}/daemon.json"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and {"pid", "start_time", "socket"} <= value.keys() else None


def _lives(told: Json) -> bool:
    from stretto.proctree import alive, boot_id

    return bool(told.get("boot_id") == boot_id() and alive(int(told["pid"]), float(told["start_time"])))


def _result(op: str, status: int, body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Unavailable(f"the daemon's answer to {op} cannot be read (status {status})", object=op) from error
    if status == 200 and isinstance(value, dict):
        return value
    raise _again(status, value)


def _again(status: int, value: Json) -> StrettoError:
    """The error that the daemon raised, as it was."""
    told = value.get("error") or {}
    kind = _BY_STATUS.get(status) or BY_EXIT_CODE.get(int(value.get("exit_code") or 1), StrettoError)
    error = kind(
        str(told.get("message") or f"the daemon refused (status {status})"),
        code=told.get("code"),
        object=told.get("object"),
        hint=told.get("hint"),
        details=told.get("details"),
    )
    if isinstance(error, Bug):
        error.details["report"] = told.get("object")
    return error


def _lost(op: str, error: Exception) -> ConnectionLost:
    return ConnectionLost(
        f"the connection to the daemon broke while it did {op}; whether it was done is not known ({error})",
        object=op,
        hint="look with: stretto status",
    )


def _no_daemon() -> NoDaemon:
    return NoDaemon("no daemon runs", object=home_folder(), hint="start it with: stretto up")


def _empty(path: str) -> StrettoError:
    return StrettoError("there is nothing here yet", code="empty", object=path, hint="stretto run PLAN.md")


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def folder() -> str:
    """The caller's working folder, for the `cwd` of an operation. Raises when it has been removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise StrettoError(
            "the current folder no longer exists", code="cwd_gone", hint="cd to a folder that exists"
        ) from error
