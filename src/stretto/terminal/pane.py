"""One pane: what stands in it, what is put into it, and a message on its way there.

Specification. Text goes in by a buffer of its own name, from a file that is gone afterwards, as one bracketed paste.
The look that decides about a key is taken right before the key is sent. What a delivery may do is decided by
core/delivery.py; here it is only done.
"""

from __future__ import annotations

import os
import secrets
import signal
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stretto.core import delivery
from stretto.core.delivery import Act, Look, Step, Way
from stretto.terminal import screen
from stretto.terminal.screen import Screen
from stretto.terminal.tmux import Terminal

_FACTS = "#{pane_dead}\t#{pane_dead_status}\t#{pane_dead_signal}\t#{pane_pid}\t#{pane_tty}\t#{pane_title}"
#: what stands around a paste
_OPEN, _CLOSE = b"\x1b[200~", b"\x1b[201~"


@dataclass(frozen=True, slots=True)
class Facts:
    """A pane from outside. `code` and `signal`: how its program ended; `title` as the program set it, so not to trust.

    `clients`: terminals of people that show it.
    """

    dead: bool
    code: int | None
    signal: int | None
    pid: int
    title: str
    clients: int


class Pane:
    """The first pane of the session `name` of a terminal."""

    def __init__(self, terminal: Terminal, name: str) -> None:
        self._terminal = terminal
        self._id = terminal.command("list-panes", "-t", f"={name}:", "-F", "#{pane_id}").split("\n")[0]
        self._tty = self._title = ""

    def facts(self) -> Facts:
        """Raises Gone when the server is gone."""
        said = self._terminal.command("display-message", "-p", "-t", self._id, _FACTS).split("\t", 5)
        self._tty, self._title = said[4], said[5]
        controls = self._terminal.command("list-clients", "-F", "#{client_control_mode}")
        facts = Facts(
            dead=said[0] == "1",
            code=int(said[1]) if said[1].isdigit() else None,
            signal=int(said[2]) if said[2].isdigit() else None,
            pid=int(said[3] or 0),
            title=said[5],
            clients=controls.split("\n").count("0"),
        )
        if facts.dead and facts.code is None and facts.signal is None:
            self._remind()
        return facts

    def _remind(self) -> None:
        """Let the server look which of its programs have ended: now and then the signal that says so passes it by."""
        server = int(self._terminal.command("display-message", "-p", "-t", self._id, "#{pid}"))
        with suppress(OSError):
            os.kill(server, signal.SIGCHLD)  # whoever has no children of that kind takes no notice

    def look(self) -> Screen:
        """What stands on its screen; its title as `facts` saw it last."""
        return screen.read(
            self._terminal.command("capture-pane", "-p", "-e", "-t", self._id), self._title, taken=taken(self._tty)
        )

    def paste(self, text: str, *, marked: bool = False) -> None:
        """Put a text in, as one paste. `marked`: marked as one even if the program has not asked for that yet."""
        name = f"stretto-{secrets.token_hex(8)}"
        path = self._terminal.socket.with_name(name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(text.encode("utf-8", "replace"))
            self._terminal.command("load-buffer", "-b", name, str(path))
        finally:
            Path(path).unlink(missing_ok=True)
        marks = () if marked else ("-p",)
        self._mark(_OPEN, marked)
        self._terminal.command("paste-buffer", *marks, "-r", "-d", "-b", name, "-t", self._id)
        self._mark(_CLOSE, marked)

    def _mark(self, mark: bytes, marked: bool) -> None:
        if marked:
            self._terminal.command("send-keys", "-H", "-t", self._id, *(f"{byte:02x}" for byte in mark))

    def press(self, *keys: str) -> None:
        """Press keys by the names that tmux has for them."""
        self._terminal.command("send-keys", "-t", self._id, "--", *keys)

    def type(self, text: str) -> None:
        """Type letters, as they are."""
        self._terminal.command("send-keys", "-l", "-t", self._id, "--", text)


def taken(tty: str) -> bool:
    """Whether the program of a terminal has taken it out of line mode; True as well where that cannot be seen."""
    try:
        fd = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return not termios.tcgetattr(fd)[3] & termios.ICANON
    except termios.error:
        return True
    finally:
        os.close(fd)


class Courier:
    """One message on its way into a pane. `look` tells what the pane shows as far as this message goes."""

    def __init__(self, pane: Pane, text: str, now: float, *, marked: bool = False) -> None:
        self.text = delivery.clean(text)
        self.way = Way(now)
        self._pane, self._marked = pane, marked

    def go(self, look: Callable[[], Look]) -> Step:
        """Do the next step; the message is on its way until the act is BEGAN or GIVE_UP."""
        step = delivery.step(self.way, look())
        self.way = step.way
        if step.act is Act.PASTE:
            self._pane.paste(self.text, marked=self._marked)
        elif step.act is Act.ENTER:
            self._pane.press("Enter")
        return step
