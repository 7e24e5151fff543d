"""One pane: what stands in it, what is put into it, and a message on its way there.

Specification. Text goes in by a buffer of its own name, from a file that is gone afterwards, as one bracketed paste.
The look that decides about a key is taken right before the key is sent. What a delivery may do is decided by
core/delivery.py; here it is only done.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stretto.core import delivery
from stretto.core.delivery import Act, Look, Step, Way
from stretto.terminal import screen
from stretto.terminal.screen import Screen
from stretto.terminal.tmux import Terminal

_FACTS = "#{pane_dead}\t#{pane_dead_status}\t#{pane_dead_signal}\t#{pane_pid}\t#{pane_title}"


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
        self._title = ""

    def facts(self) -> Facts:
        """Raises Gone when the server is gone."""
        said = self._terminal.command("display-message", "-p", "-t", self._id, _FACTS).split("\t", 4)
        self._title = said[4]
        controls = self._terminal.command("list-clients", "-F", "#{client_control_mode}")
        return Facts(
            dead=said[0] == "1",
            code=int(said[1]) if said[1].isdigit() else None,
            signal=int(said[2]) if said[2].isdigit() else None,
            pid=int(said[3] or 0),
            title=said[4],
            clients=controls.split("\n").count("0"),
        )

    def look(self) -> Screen:
        """What stands on its screen; its title as `facts` saw it last."""
        return screen.read(self._terminal.command("capture-pane", "-p", "-e", "-t", self._id), self._title)

    def paste(self, text: str) -> None:
        """Put a text in, as one paste."""
        name = f"stretto-{secrets.token_hex(8)}"
        path = self._terminal.socket.with_name(name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(text.encode("utf-8", "replace"))
            self._terminal.command("load-buffer", "-b", name, str(path))
        finally:
            Path(path).unlink(missing_ok=True)
        self._terminal.command("paste-buffer", "-p", "-r", "-d", "-b", name, "-t", self._id)

    def press(self, *keys: str) -> None:
        """Press keys by the names that tmux has for them."""
        self._terminal.command("send-keys", "-t", self._id, "--", *keys)

    def type(self, text: str) -> None:
        """Type letters, as they are."""
        self._terminal.command("send-keys", "-l", "-t", self._id, "--", text)


class Courier:
    """One message on its way into a pane. `look` tells what the pane shows as far as this message goes."""

    def __init__(self, pane: Pane, text: str, now: float) -> None:
        self.text = delivery.clean(text)
        self.way = Way(now)
        self._pane = pane

    def go(self, look: Callable[[], Look]) -> Step:
        """Do the next step; the message is on its way until the act is BEGAN or GIVE_UP."""
        step = delivery.step(self.way, look())
        self.way = step.way
        if step.act is Act.PASTE:
            self._pane.paste(self.text)
        elif step.act is Act.ENTER:
            self._pane.press("Enter")
        return step
