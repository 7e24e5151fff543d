"""(k) Sessions that talk: from an agent's word to its status, what a turn costs besides, the daemon's processor time.

The agent is a program that speaks Claude Code's protocol and stamps when it said something, so that nothing but stretto
is measured: it writes twenty pieces of text and five whole ones a second, as a busy agent does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, cpu_seconds, quantile
from benchmarks.world import STRETTO, World, plan
from stretto.agents import hooks
from stretto.client import connect

SESSIONS, SECONDS, ASKS, TURNS, HOOKS = 32, 10.0, 6, 20, 50
AGENT = """
import json, os, select, sys, time
here, task = sys.argv[1], os.environ.get("STRETTO_TASK", "bare")
buffer = b""
def say(**m):
    os.write(1, json.dumps(m).encode() + b"\\n")
def stamp(word):
    with open(f"{here}/stamps.{task}", "a") as file:
        file.write(f"{word} {time.time()}\\n")
def stream():
    beat, asked, due, last = 0, 0, time.time(), 0.0
    while not os.path.exists(f"{here}/stop"):
        beat += 1
        piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word " * 8}}
        say(type="stream_event", event=piece)
        if not beat % 4:
            text = {"type": "text", "text": "a line of what it thinks " * 4}
            say(type="assistant", message={"id": f"m{beat}", "content": [text]}, parent_tool_use_id=None)
        if os.path.exists(f"{here}/ask") and asked < ASKS and time.time() - last > 1.5 + (hash(task) % 97) / 97:
            asked, last = asked + 1, time.time()
            stamp("asks")
            tool = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls"}}
            say(type="control_request", request_id=f"{task}-{asked}", request=tool)
            time.sleep(0.4)
            say(type="control_cancel_request", request_id=f"{task}-{asked}")
        due += 0.05
        time.sleep(max(0.0, due - time.time()))
def turn(content):
    stamp("got")
    say(type="user", isReplay=True, message={"role": "user", "content": content})
    if "STREAM" in content:
        stream()
    if os.environ.get("STRETTO_TASK"):
        with open(f"made-{task}.txt", "a") as file:
            file.write("x\\n")
    stamp("done")
    say(type="result", subtype="success", is_error=False, terminal_reason="completed", session_id="s", usage={})
while data := os.read(0, 65536):
    *lines, buffer = (buffer + data).split(b"\\n")
    for line in lines:
        m = json.loads(line)
        if m["type"] == "control_request" and m["request"]["subtype"] == "initialize":
            say(type="control_response", response={"subtype": "success", "request_id": m["request_id"], "response": {}})
        elif m["type"] == "user":
            turn(m["message"]["content"])
""".replace("ASKS", str(ASKS))


def run(here: World) -> list[Figure]:
    os.environ.update(here.env)
    agent = here.folder / "agent.py"
    agent.write_text(AGENT)
    repo = here.repository("talk", 50)
    (repo / "stretto.toml").write_text(
        f'schema = 1\n[agents.talker]\ntype = "claude"\n'
        f"command = {json.dumps([sys.executable, '-S', str(agent), str(here.folder)])}\n"
    )
    here.git(repo, "add", "-A")
    here.git(repo, "commit", "-q", "-m", "Configure")
    daemon = int(here.stretto(repo, "up")["pid"])
    with _events(here, repo) as events:
        turns = _turns(here, repo, events)
        cpu, statuses = _streams(here, repo, events, daemon)
    bare = _bare(agent, here.folder)
    added = sorted(each - quantile(bare, 0.5) for each in turns)
    note = f"{SESSIONS} sessions that stream, {len(statuses)} requests for permission"
    return [
        Figure("k", "agent asks → it waits for the person, p50", quantile(statuses, 0.5), "ms", note=note),
        Figure("k", "agent asks → it waits for the person, p99", quantile(statuses, 0.99), "ms", note=note),
        Figure(
            "k", "what stretto adds to a turn, p50", quantile(added, 0.5), "ms", None, 100.0,
            note=f"{TURNS} turns; by hand {quantile(bare, 0.5):.1f} ms",
        ),
        Figure(
            "k", f"daemon, {SESSIONS} streaming sessions", cpu, "% of a core",
            note=f"over {SECONDS:g} s, 25 lines a second of each",
        ),
        *_hooks(here.folder),
    ]  # fmt: skip


class _Events:
    """The events as they arrive, each with the time of its arrival."""

    def __init__(self) -> None:
        self._found: list[tuple[float, dict[str, Any]]] = []
        self._changed = threading.Condition()

    def read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            at = time.time()
            with self._changed:
                self._found.append((at, json.loads(line)))
                self._changed.notify_all()

    def of(self, type: str, task: str, **data: Any) -> list[float]:
        """When the events of a task came that say this."""
        return [
            at
            for at, one in list(self._found)
            if one["type"] == type
            and str(one["task"]).endswith(f"/{task}")
            and all(one["data"].get(k) == v for k, v in data.items())
        ]

    def wait(self, until: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        with self._changed:
            if not self._changed.wait_for(until, seconds):
                raise RuntimeError(f"waited in vain for {what}")


@contextmanager
def _events(here: World, repo: Path) -> Iterator[_Events]:
    words = [*STRETTO, "events", "--since", "0", "--follow", "--json"]
    process = subprocess.Popen(words, cwd=repo, env=here.env, stdout=subprocess.PIPE)
    events = _Events()
    threading.Thread(target=events.read, args=(process,), daemon=True).start()
    try:
        yield events
    finally:
        process.terminate()
        process.wait(10)


def _start(here: World, repo: Path, name: str, text: str) -> None:
    (here.folder / f"{name}.md").write_text(text)
    words = ["--agent", "talker", "--approve", "human", "--trust", "--leave-checkout", "--no-fetch"]
    here.run(*STRETTO, "run", str(here.folder / f"{name}.md"), *words, "--open", str(SESSIONS), cwd=repo)


def _stamps(here: World, task: str, word: str) -> list[float]:
    lines = (here.folder / f"stamps.{task}").read_text().splitlines()
    return [float(line.split()[1]) for line in lines if line.startswith(word)]


def _turns(here: World, repo: Path, events: _Events) -> list[float]:
    """Milliseconds from the person's word to the agent's receipt, and from its last word to the turn's end."""
    _start(here, repo, "SOLO", plan({"solo": "made-solo.txt"}))
    client, said = connect(), []
    for n in range(TURNS + 1):
        events.wait(lambda n=n: len(events.of("item.opened", "solo", kind="review")) > n, "the review")  # type: ignore[misc]  # the loop's own n
        if n < TURNS:
            said.append(time.time())
            client.call("send", cwd=str(repo), task="solo", text=f"go {n}")
    got, done = _stamps(here, "solo", "got")[1:], _stamps(here, "solo", "done")[1:]
    ended = events.of("turn.ended", "solo")[1:]
    times = zip(said, got, done, ended, strict=True)
    return [1000 * ((got - said) + (ended - done) + (done - got)) for said, got, done, ended in times]


def _streams(here: World, repo: Path, events: _Events, daemon: int) -> tuple[float, list[float]]:
    tasks = [f"t{n}" for n in range(SESSIONS)]
    text = plan({task: f"made-{task}.txt" for task in tasks}).replace("in its own file.", "in its own file. STREAM")
    _start(here, repo, "MANY", text)
    events.wait(lambda: all(events.of("session.status", task, status="working") for task in tasks), "32 that work")
    time.sleep(3.0)
    before, started = cpu_seconds(daemon), time.monotonic()
    time.sleep(SECONDS)
    share = 100 * (cpu_seconds(daemon) - before) / (time.monotonic() - started)
    (here.folder / "ask").touch()

    def waiting(task: str) -> list[float]:
        return events.of("item.opened", task, kind="permission")

    events.wait(lambda: all(len(waiting(task)) >= ASKS for task in tasks), "all that was asked")
    (here.folder / "stop").touch()
    found: dict[str, list[float]] = defaultdict(list)
    for task in tasks:
        found[task] = [1000 * (b - a) for a, b in zip(_stamps(here, task, "asks"), waiting(task), strict=True)]
    events.wait(lambda: all(events.of("turn.ended", task) for task in tasks), "the end of all turns")
    return share, [each for of_task in found.values() for each in of_task]


def _hooks(folder: Path) -> list[Figure]:
    """What an agent waits for at each event that it tells us of by a hook; bare: an empty script of the same shell."""
    spool, empty = folder / "spool", folder / "empty.sh"
    spool.mkdir()
    empty.write_text("exit 0\n")
    program = Path(hooks.__file__).with_name("hook.sh")
    words = {"": [], ", with the agent's words": ["body"]}
    found = []
    for name, more in words.items():
        argv = ["sh", str(program), str(spool), "s", "1", "Stop", *more]
        times = [(_took("sh", str(empty)), _took(*argv)) for _ in range(HOOKS)]
        bare, ours = (quantile(sorted(column), 0.5) for column in zip(*times, strict=True))
        found.append(Figure("k", f"one hook{name}, p50", ours, "ms", bare, note=f"{HOOKS} hooks"))
    return found


def _took(*argv: str) -> float:
    started = time.perf_counter()
    subprocess.run(argv, input=b'{"hook_event_name": "Stop"}', check=True)
    return 1000 * (time.perf_counter() - started)


def _bare(agent: Path, folder: Path) -> list[float]:
    """The same turn by hand: a line into the program and its last line out of it."""
    env = {**os.environ}
    env.pop("STRETTO_TASK", None)
    argv = [sys.executable, "-S", str(agent), str(folder)]
    found = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for n in range(TURNS):
            started = time.perf_counter()
            message = {"type": "user", "message": {"role": "user", "content": f"go {n}"}}
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            while b'"result"' not in process.stdout.readline():
                pass
            found.append(1000 * (time.perf_counter() - started))
        process.stdin.close()
    return found
