"""The home folder: where everything of one user's stretto lives, and who may look at it.

Specification. One daemon serves one home. The folder belongs to the user who runs us and is closed to all others
(0700); a folder of someone else is refused, one of ours that stands open is closed. A folder that is neither empty nor
a home of ours is never taken over: its mode is left as it is. Sockets whose path would not fit into `sockaddr_un` move
to the user's runtime folder, which is held to the same rules; the daemon writes the path it took into `daemon.json`,
so that no client has to guess it. What a client without need for more asks here is answered with the names of files
alone: importing pathlib and hashlib costs as much as that answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from stretto.core.errors import StrettoError, Unavailable
from stretto.core.quick import dataclass

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from pathlib import Path

#: longest path of a socket in bytes; `sockaddr_un` holds 108 on Linux and 104 on macOS
SOCKET_PATH_LIMIT = 100

_OURS = ("stretto.db", "lock", "token", "daemon.json", "logs")


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one home folder. `folder` is absolute and free of symbolic links."""

    folder: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return _path(self.folder)

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.path / "stretto.db"

    @property
    def lock(self) -> Path:
        """The file that the daemon holds locked for life."""
        return self.path / "lock"

    @property
    def daemon_file(self) -> Path:
        """What the running daemon tells of itself (JSON)."""
        return self.path / "daemon.json"

    @property
    def token_file(self) -> Path:
        """The secret that every request must carry."""
        return self.path / "token"

    @property
    def nudge(self) -> Path:
        """The FIFO on which shims wake the daemon."""
        return self.path / "nudge"

    @property
    def logs(self) -> Path:
        """Logs of the daemon and reports of bugs."""
        return self.path / "logs"

    @property
    def daemon_log(self) -> Path:
        """The daemon's own log, rotated."""
        return self.logs / "daemon.log"

    @property
    def daemon_output(self) -> Path:
        """What the last started daemon wrote to its standard output and error."""
        return self.logs / "daemon.out"

    @property
    def bug_reports(self) -> Path:
        """One file for each failure of ours."""
        return self.logs / "reports"

    @property
    def reports(self) -> Path:
        """Report files of tasks that do not land."""
        return self.path / "reports"

    @property
    def sessions(self) -> Path:
        """One folder for each session."""
        return self.path / "sessions"

    @property
    def checks(self) -> Path:
        """Captured output of checks."""
        return self.path / "checks"

    @property
    def repositories(self) -> Path:
        """Our private git folders, one for each repository of the user."""
        return self.path / "repos"

    @property
    def houses(self) -> Path:
        """The home folders that agents in sandboxes have, one for each task."""
        return self.path / "houses"

    @property
    def prompts(self) -> Path:
        """The user's own prompt templates."""
        return self.path / "prompts"

    @property
    def default_socket(self) -> Path:
        """Where a daemon started now would listen. A running one says so itself in `daemon.json`."""
        return fitting_socket(self.path / "daemon.sock")


def _path(name: str) -> Path:
    from pathlib import Path

    return Path(name)


def home_path(environ: Mapping[str, str] | None = None) -> Path:
    """The path of the home: `STRETTO_HOME`, else the XDG state folder. Touches nothing."""
    return _path(home_folder(environ))


def home_folder(environ: Mapping[str, str] | None = None) -> str:
    """The same as text."""
    env = os.environ if environ is None else environ
    if named := env.get("STRETTO_HOME"):
        return os.path.realpath(_expanded(named))
    return os.path.realpath(f"{state_folder(env)}/stretto")


def state_folder(environ: Mapping[str, str]) -> str:
    """The user's XDG state folder, which all homes of this user share. Touches nothing."""
    state = environ.get("XDG_STATE_HOME", "")
    # the XDG specification says that a relative path is to be ignored
    return state if state.startswith("/") else f"{_user_folder(environ)}/.local/state"


def _expanded(named: str) -> str:
    return str(_path(named).expanduser()) if named.startswith("~") else named


def find_home(environ: Mapping[str, str] | None = None) -> Home | None:
    """The home if it exists and is safe to use, None if there is none yet. Creates nothing."""
    folder = home_folder(environ)
    if not os.path.exists(folder):
        return None
    _require_ours(folder)
    return Home(folder)


def open_home(environ: Mapping[str, str] | None = None) -> Home:
    """The home, created and closed to others where that is ours to do. Raises Unavailable when it cannot be used."""
    path = home_path(environ)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(str(path), f"cannot be created: {error.strerror}") from error
    _require_ours(str(path))
    home = Home(str(path))
    for folder in (home.logs, home.bug_reports, home.sessions):
        _make(folder)
    return home


def fitting_socket(wanted: Path) -> Path:
    """`wanted` if a socket can be bound there, else a path in the runtime folder that is always the same for it."""
    return _path(fitting_name(str(wanted)))


def fitting_name(wanted: str) -> str:
    """The same for names of files."""
    if len(os.fsencode(wanted)) <= SOCKET_PATH_LIMIT:
        return wanted
    from hashlib import sha256

    return str(runtime_folder() / f"{sha256(os.fsencode(wanted)).hexdigest()[:24]}.sock")


def runtime_folder() -> Path:
    """The user's private folder for sockets, created if need be.

    Raises Unavailable when the folder belongs to someone else: a predictable path in a shared folder may be a trap.
    """
    from pathlib import Path

    uid = os.geteuid()
    run = Path(f"/run/user/{uid}")
    if run.is_dir() and run.stat().st_uid == uid and os.access(run, os.W_OK):
        folder = run / "stretto"
    else:
        folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"stretto-{uid}"  # noqa: S108 — owner and mode are checked
        if len(os.fsencode(folder)) > SOCKET_PATH_LIMIT - 40:
            folder = Path(f"/tmp/stretto-{uid}")  # noqa: S108 — owner and mode are checked
    _make(folder)
    return folder


def _user_folder(env: Mapping[str, str]) -> str:
    if (folder := env.get("HOME", "")).startswith("/"):
        return folder
    try:
        return str(_path("~").expanduser())
    except RuntimeError as error:
        raise Unavailable(
            "the user's home folder is unknown", code="home", hint="set STRETTO_HOME to a folder of your own"
        ) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(str(folder), f"cannot be created: {error.strerror}") from error
    _require_private(str(folder))


def _require_ours(path: str) -> None:
    if os.path.isdir(path) and not _is_home_or_empty(path):
        raise _unusable(path, "holds other files, so it is not taken as the home folder")
    _require_private(path)


def _is_home_or_empty(path: str) -> bool:
    try:
        names = {entry.name for entry in os.scandir(path)}
    except OSError:
        return True  # _require_private says what is wrong with it
    return not names or any(name in names for name in _OURS)


def _require_private(path: str) -> None:
    """A folder (no link), ours, closed to others; closes it if it is ours and open."""
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode):
        raise _unusable(path, "is not a folder")
    if facts.st_uid != os.geteuid():
        raise _unusable(path, f"belongs to user {facts.st_uid}, not to you ({os.geteuid()})")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        os.chmod(path, 0o700)
        if stat.S_IMODE(os.lstat(path).st_mode) & 0o077:
            raise _unusable(path, "stays open to other users: its file system keeps no modes")


def _unusable(path: str, why: str) -> StrettoError:
    return Unavailable(
        f"the folder {path} {why}",
        code="home",
        object=path,
        hint="set STRETTO_HOME to a folder of your own, or correct this one",
    )
