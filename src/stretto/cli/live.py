"""Show a followed status: in place on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import click

from stretto.cli.board import Canvas, board, changes
from stretto.cli.follow import LINES_PAUSE, SCREEN_PAUSE
from stretto.cli.text import coloured, unicode_ok

Json = dict[str, Any]


class Screen(Protocol):
    """Something that shows statuses, `pause` seconds apart at least."""

    pause: float

    def show(self, status: Json) -> None:
        """Show this status."""
        ...

    def tick(self) -> None:
        """Time went on, nothing else did."""
        ...


class Lines:
    """One line for each change."""

    pause = LINES_PAUSE

    def __init__(self) -> None:
        self._last: Json | None = None
        self._daemon = True

    def show(self, status: Json) -> None:
        """Print what differs from the last status."""
        for line in changes(self._last, status, lambda: time.strftime("%H:%M:%S")):
            click.echo(line)
        daemon = status.get("daemon") is not None
        if not daemon and self._daemon:
            click.echo("no daemon runs; nothing moves until: stretto up", err=True)
        self._last, self._daemon = status, daemon

    def tick(self) -> None:
        """Nothing to say."""


class Silent:
    """Shows nothing."""

    pause = LINES_PAUSE

    def show(self, status: Json) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""


class _Live:
    pause = SCREEN_PAUSE

    def __init__(self, live: Any, footer: str) -> None:
        self._live = live
        self._footer = footer
        self._status: Json | None = None

    def show(self, status: Json) -> None:
        self._status = status
        self.tick()

    def tick(self) -> None:
        from rich.text import Text

        if self._status is not None:
            lines = board(self._status, _screen_canvas(), self._footer)
            self._live.update(Text.from_ansi("\n".join(lines), no_wrap=True, end=""), refresh=True)


def _screen_canvas() -> Canvas:
    size = shutil.get_terminal_size((80, 24))
    # the last row stays free for the cursor, the last column for terminals that wrap too early
    return Canvas(time.time(), max(30, size.columns - 1), max(6, size.lines - 1), coloured(), unicode_ok())


@contextmanager
def _live(footer: str) -> Iterator[Screen]:
    from rich.console import Console
    from rich.live import Live

    console = Console(color_system="standard" if coloured() else None, highlight=False, soft_wrap=True)
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield _Live(live, footer)


@contextmanager
def _plain(screen: Screen) -> Iterator[Screen]:
    yield screen


def open_screen(footer: str, silent: bool = False) -> AbstractContextManager[Screen]:
    """The screen that fits standard output."""
    if silent:
        return _plain(Silent())
    if sys.stdout.isatty() and _can_move():
        return _live(footer)
    return _plain(Lines())


def _can_move() -> bool:
    import os

    return os.environ.get("TERM", "dumb") != "dumb"
