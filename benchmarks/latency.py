"""(f) From an agent's event to the line that `stretto watch --json` prints, against a bare round trip by socket."""

from __future__ import annotations

import json
import os
import queue
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.measure import Figure, quantile
from benchmarks.world import STRETTO, World, plan
from stretto.agentapi.client import AgentClient

EVENTS = 200
ECHO = """
import socket, sys
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen()
print("up", flush=True)
peer, _ = server.accept()
while data := peer.recv(4096): peer.sendall(data)
"""
#: tells where its socket is, then lives until it is told to end
AGENT = """
printf '%s\\n%s\\n%s\\n' "$STRETTO_AGENT_SOCKET" "$STRETTO_AGENT_TOKEN" "$STRETTO_TURN" > {told}.new
mv {told}.new {told}
while [ ! -e {told}.end ]; do sleep 0.2; done
echo change > made.txt
"""


def run(here: World) -> list[Figure]:
    repo = here.repository("latency", 50)
    told = here.folder / "told"
    (here.folder / "agent.sh").write_text(AGENT.format(told=told))
    (here.folder / "PLAN.md").write_text(plan({"talk": "made.txt"}))
    words = ["--agent", f"command:sh {here.folder}/agent.sh", "--approve", "auto", "--trust", "--leave-checkout"]
    here.run(*STRETTO, "run", str(here.folder / "PLAN.md"), *words, cwd=repo)
    agent = _agent(told)
    bare = _round_trips(here.folder / "echo.sock")
    times = _events(here, repo, agent)
    (here.folder / "told.end").touch()
    note = f"{EVENTS} notes, one at a time"
    return [
        Figure("f", "agent event → watch line, p50", quantile(times, 0.5), "ms", quantile(bare, 0.5), 150.0, note=note),
        Figure(
            "f", "agent event → watch line, p99", quantile(times, 0.99), "ms", quantile(bare, 0.99), 150.0, note=note
        ),
    ]


def _agent(told: Path) -> AgentClient:
    deadline = time.monotonic() + 60
    while not told.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the agent did not start")
        time.sleep(0.05)
    path, token, turn = told.read_text().split()
    return AgentClient(Path(path), token, turn)


def _round_trips(path: Path) -> list[float]:
    """Milliseconds for a hundred bytes to another process and back, over a Unix socket that stays open."""
    server = subprocess.Popen([sys.executable, "-c", ECHO, str(path)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()
    found = []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
        for _ in range(EVENTS):
            time.sleep(0.01)
            started = time.perf_counter()
            client.sendall(b"x" * 100)
            client.recv(4096)
            found.append((time.perf_counter() - started) * 1000)
    server.wait(10)
    return found


def _events(here: World, repo: Path, agent: AgentClient) -> list[float]:
    watch = subprocess.Popen([*STRETTO, "watch", "--json"], cwd=repo, env=here.env, stdout=subprocess.PIPE)
    lines: queue.SimpleQueue[tuple[float, int]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(watch, lines), daemon=True).start()
    _, cursor = lines.get(timeout=30)
    chance, found = random.Random(1), []
    try:
        for number in range(EVENTS):
            time.sleep(0.3 + chance.random() * 0.1)  # longer than the pause that watch makes between two looks
            while not lines.empty():
                _, cursor = lines.get()
            started = time.perf_counter()
            agent.note(f"note {number}")
            at, seen = lines.get(timeout=30)
            while seen <= cursor:
                at, seen = lines.get(timeout=30)
            cursor = seen
            found.append((at - started) * 1000)
    finally:
        watch.terminate()
        watch.wait(10)
    return found


def _read(watch: subprocess.Popen[bytes], lines: queue.SimpleQueue[tuple[float, int]]) -> None:
    assert watch.stdout is not None
    for line in watch.stdout:
        lines.put((time.perf_counter(), int(json.loads(line)["cursor"])))
