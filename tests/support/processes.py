"""Find and end processes that a test run started. Never by name: by the run's id or a path that only we use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

import psutil

from tests.support.waiting import wait_for

T = TypeVar("T")


def holding(word: str) -> list[psutil.Process]:
    """The processes whose environment, command line or working folder holds `word`; not this one or its ancestors."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _holds(process, word)]


def described(processes: Iterable[psutil.Process]) -> str:
    """One line for each process: pid, command line and the test that started it, if it can be told."""
    return "\n".join(_line(process) for process in processes)


def end(processes: Iterable[psutil.Process], timeout: float = 5.0) -> None:
    """Kill the processes with everything that they started, and wait until they are gone."""
    doomed: dict[int, psutil.Process] = {}
    for process in processes:
        doomed[process.pid] = process
        try:
            doomed.update((child.pid, child) for child in process.children(recursive=True))
        except psutil.Error:
            continue
    for process in doomed.values():
        try:
            process.kill()  # psutil compares the start time first: a reused pid is safe
        except psutil.Error:
            continue
    wait_for(lambda: not any(map(_works, doomed.values())), timeout, what=lambda: described(doomed.values()))


def gone(word: str, timeout: float = 60.0) -> list[psutil.Process]:
    """Wait until no process holds `word`; return those that remain after `timeout` seconds."""
    try:
        wait_for(lambda: not holding(word), timeout)
    except AssertionError:
        return holding(word)
    return []


def require_none(word: str) -> None:
    """Wait until no process holds `word`; AssertionError with those that remain."""
    left = gone(word)
    assert not left, f"processes were left behind:\n{described(left)}"


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _holds(process: psutil.Process, word: str) -> bool:
    looks: tuple[Callable[[], Iterable[str]], ...] = (
        lambda: process.environ().values(),
        process.cmdline,
        lambda: [process.cwd()],
    )
    return _works(process) and any(word in text for look in looks for text in _seen(look))


def _seen(look: Callable[[], Iterable[T]]) -> Iterable[T]:
    try:
        return look()
    except (psutil.Error, OSError):  # it ended meanwhile, or belongs to someone else
        return ()


def _line(process: psutil.Process) -> str:
    command = " ".join(_seen(process.cmdline))[:200]
    test = dict(_seen(lambda: process.environ().items())).get("PYTEST_CURRENT_TEST", "a test that cannot be told")
    return f"  pid {process.pid}: {command or '?'}\n      started by {test}"
