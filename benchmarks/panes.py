"""(l) Sixty panes on one tmux server: a look at every screen over one control-mode client, and by a fork for each.

Both ask the same server the same: `capture-pane -p -e` of each pane, one after the other. What was shown is compared,
so that neither may leave anything out. The processor time is ours with what we waited for; the server's is the same for
both and not in it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from benchmarks.measure import Figure, cpu_time
from benchmarks.world import World
from stretto.terminal.tmux import Terminal, words

PANES, ROUNDS = 60, 7
PROGRAM = 'i=0; while [ $i -lt 30 ]; do echo "pane $0, line $i"; i=$((i+1)); done; exec sleep 600'


def run(here: World) -> list[Figure]:
    """Raises RuntimeError if the two ways see different screens."""
    os.environ.update(here.env)
    folder = here.folder / "panes"
    folder.mkdir(mode=0o700)
    terminal = Terminal(folder / "t", os.environ)
    names = [f"p{n}" for n in range(PANES)]
    for name in names:
        terminal.start(name, ["/bin/sh", "-c", PROGRAM, name], folder)
    try:
        while not all("line 29" in _over_client(terminal, name) for name in names):
            time.sleep(0.1)
        client, forks = [], []
        for _ in range(ROUNDS):
            client.append(_round(lambda name: _over_client(terminal, name), names))
            forks.append(_round(lambda name: _by_fork(terminal, name), names))
            if client[-1][2] != forks[-1][2]:
                raise RuntimeError("the two ways saw different screens")
    finally:
        terminal.command("kill-server")
        terminal.close()
    wall, bare = min(each[0] for each in client), min(each[0] for each in forks)
    cpu, bare_cpu = min(each[1] for each in client), min(each[1] for each in forks)
    return [
        Figure("l", f"a look at {PANES} panes: one client", wall, "ms", bare, note="bare: a tmux client each"),
        Figure("l", "processor time of that look", cpu, "ms", bare_cpu, note="ours, without the server's"),
    ]


def _round(look: Callable[[str], str], names: list[str]) -> tuple[float, float, list[str]]:
    """Wall and processor milliseconds of a look at each, and what was seen."""
    started, used = time.perf_counter(), cpu_time()
    seen = [look(name).rstrip("\n") for name in names]
    return (time.perf_counter() - started) * 1000, cpu_time() - used, seen


def _over_client(terminal: Terminal, name: str) -> str:
    return terminal.command("capture-pane", "-p", "-e", "-t", f"={name}:")


def _by_fork(terminal: Terminal, name: str) -> str:
    argv = words(terminal.program, terminal.socket, "capture-pane", "-p", "-e", "-t", f"={name}:")
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
