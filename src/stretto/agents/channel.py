"""What is said to an agent in a pane by lines of a file that it reads, instead of keys.

Specification. A line is added whole, once, to a file that both sides see; a link in its place is not followed. A
message is on its way as one that is pasted is (terminal/pane.py): it waits until the agent is there and no turn runs,
and it has arrived when evidence says that its turn began. What is not taken, or not seen to begin in time, is given up
and not said again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stretto.core import delivery
from stretto.core.delivery import READY_S, Act, Look, Phase, Step, Way

#: seconds from a line to the evidence that its turn began
BEGIN_S = 60.0


class Channel:
    """The file `path`; what is said before the agent reads it stands there when it does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def say(self, line: str) -> None:
        """Add a line. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(line.encode() + b"\n")


class Line:
    """One message on its way by a channel. `said` makes the line of it, when it is due."""

    def __init__(self, channel: Channel, text: str, said: Callable[[str], str], now: float) -> None:
        self.text = delivery.clean(text)
        self.way = Way(now)
        self._channel, self._said = channel, said

    def go(self, look: Callable[[], Look]) -> Step:
        """Do the next step; the message is on its way until the act is BEGAN or GIVE_UP."""
        seen = look()
        if seen.began is not None:
            return Step(self.way, Act.BEGAN, seen.began)
        if not seen.alive:
            return Step(self.way, Act.GIVE_UP, "the agent's terminal is gone")
        if self.way.phase is not Phase.WAITING:
            late = seen.now - self.way.since >= BEGIN_S
            return Step(self.way, Act.GIVE_UP if late else Act.WAIT, "nothing says that the turn began" if late else "")
        if seen.working:
            self.way = Way(seen.now)
        elif not seen.dialog:
            self._channel.say(self._said(self.text))
            self.way = Way(seen.now, Phase.ENTERED)
        elif seen.now - self.way.since >= READY_S:
            return Step(self.way, Act.GIVE_UP, "it waits for an answer in its terminal")
        return Step(self.way, Act.WAIT)
