"""One tmux server on a socket of ours, spoken with through one client in control mode.

Specification.
- The person's tmux is never touched: own socket, own configuration, no TMUX in the environment; it also works inside
  the person's own tmux.
- When the client is gone, the server is looked for by a new client; if it is gone, too, `Gone` is raised at once. A
  command during which the client went is repeated only if it changes nothing; else `Lost` is raised: it may have had
  its effect, and who asked decides. A dead server closes our pipe: whoever polls `fileno` hears of it without asking.
- A command that is not answered in time raises `Silent`: tmux is there and does not answer.
- One command at a time; any thread may ask.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stretto import files, process, spawn
from stretto.core.errors import StrettoError, Unavailable
from stretto.terminal.words import CONFIG, Reply, greeting, line, reply

#: seconds in which tmux answers
PATIENCE = 5.0
#: the oldest tmux whose control mode has what is used here (Debian 12 has 3.3a)
FLOOR = (3, 3)
#: size of a pane that nobody looks at
COLUMNS, ROWS = 120, 40
#: commands that change nothing
_LOOKS = frozenset({"capture-pane", "display-message", "list-clients", "list-panes", "list-sessions", "show-options"})
#: what leads a program to somebody's tmux, or tells it that it runs in one
_THEIRS = ("TMUX", "TMUX_PANE", "TMUX_TMPDIR")


class Gone(Unavailable):
    """The tmux server is not there (any more)."""

    default_code = "terminal_gone"


class Lost(Unavailable):
    """The client ended during a command, which may have had its effect or not."""

    default_code = "terminal_lost"


class Silent(Unavailable):
    """The tmux server does not answer."""

    default_code = "terminal_silent"


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """An environment for tmux and what runs in it: nothing in it names another tmux."""
    return {name: value for name, value in env.items() if name not in _THEIRS}


def words(program: str, socket: Path, *command: str) -> list[str]:
    """The command line of a tmux client on a socket of ours."""
    return [program, "-u", "-f", str(socket.with_name(f"{socket.name}.conf")), "-S", str(socket), *command]


class Terminal:
    """The tmux server on `socket` (its folder is private). Nothing is started before `start` or `attach`."""

    def __init__(self, socket: Path, env: Mapping[str, str], program: str = "tmux") -> None:
        self.socket, self.program = socket, program
        self._env = environment(env)
        self._lock = threading.RLock()
        self._client: spawn.Piped | None = None
        self._buffer = b""

    # ---- life

    def start(self, name: str, argv: Sequence[str], cwd: Path, size: tuple[int, int] = (COLUMNS, ROWS)) -> None:
        """Start the server with a session of this name in which `argv` runs. `name` is a slug.

        Raises StrettoError (`terminal_failed`) with tmux's own words if it cannot be.
        """
        files.replace(self.socket.with_name(f"{self.socket.name}.conf"), CONFIG.encode())
        flags = ("-f", "ignore-size,no-output") if self._client is None else ("-d",)
        command = ("new-session", *flags, "-s", name, "-x", str(size[0]), "-y", str(size[1]), "--", "/bin/cat")
        with self._lock:
            if self._client is not None:
                self.command(*command)
            else:
                self._connect(*command)
            # not the session's first program: a server may not survive one that ends before it stands
            self.respawn(name, argv, cwd)

    def respawn(self, name: str, argv: Sequence[str], cwd: Path) -> None:
        """Let `argv` run in the session's pane, in the place of what runs, or has ended, there."""
        self.command("respawn-pane", "-k", "-t", f"={name}:", "-c", str(cwd), "--", *argv)

    def attach(self) -> None:
        """Speak with a server that is there. Raises Gone when it is not."""
        with self._lock:
            for pause in (0.1, 0.0):
                self.close()
                try:
                    self._connect("attach-session", "-f", "ignore-size,no-output")
                except StrettoError as error:  # without a server tmux starts one for this, which has nothing to show
                    if not pause:
                        raise Gone(error.message, object=str(self.socket)) from error
                    time.sleep(pause)
                else:
                    return

    def close(self) -> None:
        """Let the client go; server and panes stay."""
        with self._lock:
            client, self._client, self._buffer = self._client, None, b""
            if client is not None:
                client.close(PATIENCE)

    def fileno(self) -> int:
        """Readable when tmux said something unasked, and when it is gone; -1 without a client."""
        return -1 if self._client is None else self._client.fileno()

    def drain(self) -> bool:
        """Take what was said unasked. False: the client is gone."""
        with self._lock:
            return self._client is not None and self._read(0.0) is not False

    def _connect(self, *command: str) -> None:
        self._client = spawn.piped(
            words(self.program, self.socket, "-C", *command), cwd=self.socket.parent, env=self._env
        )
        try:
            first = self._answer(greeting, PATIENCE)
        except Gone as gone:
            raise Gone(f"tmux did not come up: {gone.message}", object=str(self.socket)) from gone
        if not first.ok:
            self.close()
            raise StrettoError(f"tmux: {first.text or 'no session'}", code="terminal_failed", object=str(self.socket))

    # ---- commands

    def command(self, *command: str, timeout: float = PATIENCE) -> str:
        """Run a command of tmux and return what it prints.

        Raises StrettoError (`terminal_refused`) with tmux's words when it refuses, Gone, Lost, Silent.
        """
        with self._lock:
            if self._client is None or not self.drain():
                self.attach()
            try:
                said = self._ask(command, timeout)
            except Gone as gone:
                self.attach()
                if command[0] not in _LOOKS:
                    raise Lost(f"tmux {command[0]} was cut off", object=command[0]) from gone
                said = self._ask(command, timeout)
        if not said.ok:
            raise StrettoError(f"tmux {command[0]}: {said.text}", code="terminal_refused", object=command[0])
        return said.text

    def _ask(self, command: Sequence[str], timeout: float) -> Reply:
        """Send a command and the mark behind it; the reply."""
        mark = secrets.token_hex(8)
        if self._client is not None:  # one that is gone says so to the read that follows, with its last words
            self._client.send(line(command) + line(["display-message", "-p", mark]))
        return self._answer(lambda lines: reply(lines, mark.encode()), timeout)

    def _answer(self, found: Callable[[Sequence[bytes]], Reply | None], timeout: float) -> Reply:
        """Read lines until a reply is found in them."""
        lines: list[bytes] = []
        deadline = time.monotonic() + timeout
        while True:
            *whole, self._buffer = self._buffer.split(b"\n")
            lines += whole
            said = found(lines) if whole else None
            if said is not None:
                return said
            more = self._read(max(0.0, deadline - time.monotonic()))
            if more is False:
                raise self._gone(lines)
            if more is None and time.monotonic() >= deadline:
                self.close()
                raise Silent(f"tmux does not answer on {self.socket}", object=str(self.socket))

    def _read(self, patience: float) -> bool | None:
        """Take what is there: True; None: nothing in this time; False: the client is gone."""
        data = b"" if self._client is None else self._client.read(patience)
        self._buffer += data or b""
        return None if data is None else bool(data)

    def _gone(self, lines: Sequence[bytes]) -> Gone:
        said = [one.removeprefix(b"%exit ") for one in lines if one and (one[:1] != b"%" or one.startswith(b"%exit "))]
        self.close()
        last = said[-1].decode("utf-8", "replace") if said else "it is not running"
        return Gone(last, object=str(self.socket))


def version(program: str, env: Mapping[str, str]) -> tuple[int, int] | None:
    """Major and minor number of a tmux; None if it cannot be told. Raises Unavailable when there is none."""
    said = process.run([program, "-V"], cwd=Path("/"), env=environment(env), timeout=PATIENCE).stdout.decode()
    number = said.removeprefix("tmux ").removeprefix("next-").split(".")
    digits = "".join(char for char in number[1] if char.isdigit()) if len(number) > 1 else ""
    return (int(number[0]), int(digits)) if number[0].isdigit() and digits else None
