"""The project's own commands make and drop the databases: for every service that stretto does not know by itself.

Specification.
- `create` makes an empty or filled database of the name in STRETTO_DATABASE and prints its address as its last line;
  with `address` that command prints it. `drop` takes it away and succeeds when it is gone already. `reset`, if there is
  one, takes the place of `drop` and `create`. All are the exact texts that the person trusted, run by /bin/sh in the
  main checkout, never in the tree of a task: `drop` comes after an agent has worked there.
- `<folder>/<name>/marker.json` is written before `create`, `made.json` (name and address) after it. What has a marker
  and no `made.json` is dropped before it is made again, and when making it failed.
- What a removal puts aside keeps its name at the service, so a new one of the same workspace is called otherwise there.
- An address holds no password: it is stored, and shown. One that does is refused, and does not get into the log either.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stretto import files, process
from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.workspace.databases.base import Address, Marker, Place
from stretto.workspace.databases.marked import MarkedFolders

#: seconds for a command unless told otherwise
TIMEOUT = 300.0
#: what a command may know of the person's environment besides what the workspace has
_TAKEN = ("HOME", "PATH", "LANG", "USER", "LOGNAME", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR")
#: how a password stands among the words of an address
_PASSWORD = re.compile(r"[?&;](?:password|passwd|pass|pwd|sslpassword)=[^&;#]", re.IGNORECASE)
#: bytes of its words that are kept
_KEPT = 1 << 20


@dataclass(frozen=True, slots=True)
class Commands:
    """The texts. `timeout`: seconds for each."""

    create: str
    drop: str
    reset: str | None = None
    address: str | None = None
    timeout: float = TIMEOUT


class CommandDatabase:
    """The provider `command`."""

    kind = "command"
    freezes = False
    keeps = True

    def __init__(self, commands: Commands, folder: Path) -> None:
        self._commands = commands
        self._marked = MarkedFolders(folder)

    def check(self) -> None:
        """Nothing is known of a service before its command has run."""

    def origin(self) -> str:
        """The text that makes it."""
        return self._commands.create

    def require_free(self, name: str, place: Place) -> None:
        """As the protocol says, of our records: what the service holds only `create` can tell."""
        self._marked.require_free(name)

    def create(self, name: str, marker: Marker, template: str | None, place: Place, *, begun: bool) -> None:
        """As the protocol says."""
        made = self._made(name)
        if self._marked.read(name) is None:
            self._marked.require_free(name)
        elif made and not begun:
            return
        elif made and self._commands.reset is not None:
            self._run("reset", self._commands.reset, name, place, str(made["name"]))
            return
        else:
            self._forget(name, place)
        called = str(self._said(name).get("name") or self._free_name(name))
        self._marked.mark(name, marker)
        files.replace(self._marked.of(name) / "begun.json", json.dumps({"name": called}).encode())
        failpoint("daemon.database.create.before")
        said = self._run("create", self._commands.create, name, place, called)
        if self._commands.address is not None:
            said = self._run("address", self._commands.address, name, place, called)
        failpoint("daemon.database.create.after")
        known = {"name": called, "url": self._address_in(said, name)}
        files.replace(self._marked.of(name) / "made.json", json.dumps(known).encode())

    def address(self, name: str, place: Place) -> Address:
        """What the command printed. Raises StrettoError (`no_database`) if there is none."""
        made = self._made(name)
        if not made:
            raise StrettoError(f"there is no database {name}", object=name, code="no_database", hint="stretto db list")
        return Address(str(made["url"]))

    def freeze(self, name: str, template: str, marker: Marker, place: Place) -> None:
        """There are no templates: `create` may clone whatever it likes."""

    def set_aside(self, name: str, aside: str, place: Place) -> None:
        """Our record gets another name; the service keeps it as it is, under an address that nobody is given."""
        self._marked.move(name, aside, "aside")
        failpoint("daemon.database.aside")

    def bring_back(self, name: str, aside: str, place: Place) -> None:
        """The way back."""
        self._marked.move(aside, name, "branch")
        failpoint("daemon.database.back")

    def drop(self, name: str, place: Place, *, begun: bool = False) -> None:
        """As the protocol says."""
        if self._marked.drop(name, begun=begun):
            self._forget(name, place)
            failpoint("daemon.database.drop")
            self._marked.delete(name)

    def found(self) -> dict[str, Marker]:
        """As the protocol says: what our records name."""
        return self._marked.found()

    # ------------------------------------------------------------ records

    def _made(self, name: str) -> Mapping[str, object]:
        return self._read(name, "made.json")

    def _said(self, name: str) -> Mapping[str, object]:
        return self._made(name) or self._read(name, "begun.json")

    def _read(self, name: str, file: str) -> Mapping[str, object]:
        try:
            found = json.loads((self._marked.of(name) / file).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _free_name(self, name: str) -> str:
        """What it is called at the service: its name, or that and a number while a removal holds one so called."""
        taken = {self._said(other).get("name") for other in self._marked.found()}
        number, called = 1, name
        while called in taken:
            number += 1
            called = f"{name[:58]}_{number}"
        return called

    def _forget(self, name: str, place: Place) -> None:
        """Let the service drop what was made, or begun."""
        called = self._said(name).get("name")
        if called is not None:
            self._run("drop", self._commands.drop, name, place, str(called))
            (self._marked.of(name) / "made.json").unlink(missing_ok=True)

    # ------------------------------------------------------------ commands

    def _run(self, what: str, text: str, name: str, place: Place, called: str) -> str:
        """Run a command; what it printed. Raises StrettoError with its last words."""
        taken = {key: os.environ[key] for key in _TAKEN if key in os.environ}
        env = {
            **taken,
            **place.environment,
            "STRETTO_DATABASE": called,
            "STRETTO_ROOT": str(place.root),
            "STRETTO_WORKSPACE": str(place.worktree),
        }
        made = self._made(name)
        env |= {"DATABASE_URL": str(made["url"])} if made else {}
        failpoint("daemon.database.command.before")
        done = process.run(
            ["/bin/sh", "-c", text], cwd=place.root, env=env, timeout=self._commands.timeout, limit=_KEPT
        )
        failpoint("daemon.database.command.after")
        log = self._marked.of(name) / f"{what}.log"
        files.replace(log, _without_passwords(done.stdout) + _without_passwords(done.stderr))
        if not done.ok:
            raise self._failed(what, text, done, log)
        return done.stdout.decode(errors="replace")

    def _failed(self, what: str, text: str, done: process.Completed, log: Path) -> StrettoError:
        said = _without_passwords(done.stderr).decode(errors="replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        how = f"did not end within {self._commands.timeout:g} s" if done.timed_out else f"exited with {done.code}"
        why = f": {lines[-1]}" if lines else ""
        return StrettoError(
            f"[database] {what} {text!r} {how}{why}", object=text, code="database_failed", hint=f"its output: {log}"
        )

    def _address_in(self, said: str, name: str) -> str:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        url = lines[-1] if lines else ""
        what = "address" if self._commands.address is not None else "create"
        if "://" not in url and not url.startswith("sqlite:"):
            raise self._wrong(what, "its last line is no address", f"let it print the address of {name}")
        holds = _holds_password(url)
        if holds is None:
            raise self._wrong(
                what, "its last line is no address that can be read", f"let it print the address of {name}"
            )
        if holds:
            hint = "leave the password to a file of the driver, or to a secret variable of [workspace] env"
            raise self._wrong(what, "the address that it printed holds a password", hint)
        return url

    @staticmethod
    def _wrong(what: str, why: str, hint: str) -> StrettoError:
        return StrettoError(f"[database] {what}: {why}", object=what, code="database_url", hint=hint)


def _holds_password(url: str) -> bool | None:
    """Whether an address holds a password; None if nobody can read it."""
    if _PASSWORD.search(unquote(url)):
        return True
    try:
        return bool(urlsplit(f"any://{url.partition('://')[2]}").password)
    except ValueError:
        return None


def _without_passwords(said: bytes) -> bytes:
    """What a command printed, without the words that are addresses with a password, or such that cannot be read."""
    words = re.split(rb"(\s+)", said)
    shown = (
        b"***" if b"://" in one and _holds_password(one.decode(errors="replace")) is not False else one for one in words
    )
    return b"".join(shown)
