"""The words of tmux: how one is written so that it means itself, and what its control mode says. Pure.

Specification. `quoted` gives a word that tmux's parser reads back as exactly the same bytes, on one line. A reply is
found by a mark that was asked for behind the command: a pane can show anything, also lines that look like tmux's own,
so the last line that could be the end of the reply is the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: what has a meaning inside of tmux's double quotes
_SPECIAL = re.compile(r'[\\"$~\x00-\x1f\x7f]')
_BEGIN = re.compile(rb"%begin (\d+ \d+ \d+)$")

#: what a server of ours is told at its start: nothing of the person's configuration, no shell, no clipboard, no bell
CONFIG = """\
set -s exit-empty on
set -s escape-time 10
set -s set-clipboard off
set -s focus-events on
set -s default-terminal tmux-256color
set -g default-shell /bin/sh
set -g update-environment ""
set -g remain-on-exit on
set -g remain-on-exit-format ""
set -g allow-rename off
set -g automatic-rename off
set -g bell-action none
set -g history-limit 10000
set -g mouse on
set -g assume-paste-time 0
set -g window-size latest
set -g set-titles off
set -g status-interval 0
set -g status-style "bg=colour236,fg=colour250"
set -g status-left-length 120
set -g window-status-format ""
set -g window-status-current-format ""
set -g status-right ""
unbind -a
bind d detach-client
bind [ copy-mode
bind PPage copy-mode -u
bind C-b send-prefix
bind -n C-] detach-client
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What tmux said to a command."""

    ok: bool
    lines: tuple[bytes, ...]

    @property
    def text(self) -> str:
        """All of it, as text."""
        return b"\n".join(self.lines).decode("utf-8", "replace")


def quoted(word: str) -> str:
    """A word inside of double quotes. NUL cannot be said to tmux and is left out."""
    return '"' + _SPECIAL.sub(_escaped, word) + '"'


def _escaped(found: re.Match[str]) -> str:
    char = found.group()
    if char in '\\"$~':
        return "\\" + char
    return f"\\{ord(char):03o}" if char != "\0" else ""


def line(words: Sequence[str]) -> bytes:
    """A command as one line of control mode. The name of the command stands as it is."""
    return (" ".join([words[0], *(quoted(word) for word in words[1:])]) + "\n").encode("utf-8", "surrogateescape")


def reply(lines: Sequence[bytes], mark: bytes) -> Reply | None:
    """The reply to a command behind which `mark` was asked for; None while the mark has not come.

    `lines`: all that came since the command was given.
    """
    end = next((at for at in range(len(lines) - 1, 1, -1) if _is_mark(lines, at, mark)), None)
    if end is None:
        return None
    own = lines[: end - 2]
    first = next((at for at, said in enumerate(own) if _BEGIN.match(said)), None)
    if first is None:
        return Reply(False, ())
    header = own[first].removeprefix(b"%begin ")
    for at in range(len(own) - 1, first, -1):
        word, _, rest = own[at].partition(b" ")
        if word in (b"%end", b"%error") and rest == header:
            return Reply(word == b"%end", tuple(own[first + 1 : at]))
    return Reply(False, ())


def greeting(lines: Sequence[bytes]) -> Reply | None:
    """The reply to the command that a client was started with: the first block, whose flags are 0."""
    first = next((at for at, said in enumerate(lines) if _BEGIN.match(said) and said.endswith(b" 0")), None)
    if first is None:
        return None
    header = lines[first].removeprefix(b"%begin ")
    for at in range(first + 1, len(lines)):
        word, _, rest = lines[at].partition(b" ")
        if word in (b"%end", b"%error") and rest == header:
            return Reply(word == b"%end", tuple(lines[first + 1 : at]))
    return None


def _is_mark(lines: Sequence[bytes], at: int, mark: bytes) -> bool:
    header = _BEGIN.match(lines[at - 2])
    return header is not None and lines[at - 1] == mark and lines[at] == b"%end " + header.group(1)
