"""Lines of JSON on standard input and output for an agent that only speaks HTTP: `opencode serve` and its event stream.

    python -I -S opencode_bridge.py OPENCODE [WORDS…]

Specification. Run by a shim as the agent of a session; standard library only, nothing of stretto is imported. It starts
`OPENCODE [WORDS…] serve` on a loopback port of its own with a password that nobody else is told, and listens to its
events before it does anything else. Then each line of its input is a request {id, method, path, body}, done one after
the other, answered by a line {id, status, body}; status 0: there was no answer. Each event of the server that tells
something of a session is a line {event}; pieces of what follows whole are left out.

The end of the input ends the server, and with it this program; so does the end of the events, or of the server, with
exit code 1: a session that nobody hears is worse than one that is over. Whatever kills this program alone leaves the
server to the shim, which ends all that carries the session's marker.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

HOST, USER = "127.0.0.1", "opencode"
#: seconds to the first word of the server, on a machine that does much else; seconds for one request; for its end
BEGIN, REQUEST, END = 120.0, 90.0, 5.0
#: how often another port is tried when somebody else was quicker
TRIES = 4
#: the beginnings of the types of events that are passed on
_PASSED = ("session.status", "session.error", "message.updated", "message.part.updated", "permission.", "question.")


class Server:
    """The agent's server while it lives. What it prints goes to `log`."""

    def __init__(self, argv: list[str], log: int = 2) -> None:
        self._argv, self.password, self.log = argv, os.urandom(24).hex(), log
        self._lock = threading.Lock()
        self.port, self.ending = 0, False
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> str | None:
        """None when it answers, else why not."""
        env = {**os.environ, "OPENCODE_SERVER_PASSWORD": self.password}
        for _ in range(TRIES):
            self.port = free_port()
            argv = [*self._argv, "serve", "--hostname", HOST, "--port", str(self.port)]
            try:
                self.process = subprocess.Popen(
                    argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log
                )
            except OSError as error:
                return f"{self._argv[0]} cannot be started: {error.strerror}"
            if self._listens(self.process):
                return None
            self.end()
            self.ending = False
        return f"{self._argv[0]} serve did not begin to listen"

    def _listens(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it says that it listens. What it prints goes to the log, to its end."""
        told = threading.Event()
        listens: list[bool] = []

        def read() -> None:
            for line in process.stdout or ():
                os.write(self.log, line)
                if b"listening" in line and not told.is_set():
                    listens.append(True)
                    told.set()
            told.set()

        threading.Thread(target=read, daemon=True).start()
        told.wait(BEGIN)
        return bool(listens)

    def connection(self, timeout: float | None) -> http.client.HTTPConnection:
        """A new connection."""
        return http.client.HTTPConnection(HOST, self.port, timeout=timeout)

    def headers(self) -> dict[str, str]:
        """What lets us in."""
        secret = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {secret}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """One request and what came of it."""
        connection = self.connection(REQUEST)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers())
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        try:
            return response.status, json.loads(data) if data else None
        except ValueError:
            return response.status, data.decode("utf-8", "replace")[:2000]

    def end(self) -> None:
        """Politely, then not."""
        self.ending = True
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of loopback that nobody has right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Output:
    """Our standard output, or another file: one whole line at a time."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._lock, self._file = threading.Lock(), file or sys.stdout.buffer

    def tell(self, value: dict[str, Any]) -> None:
        """One line."""
        data = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._file.write(data)
            self._file.flush()


def listen(server: Server, output: Output, ready: threading.Event) -> None:
    """Pass the server's events on until there are no more."""
    try:
        connection = server.connection(None)
        connection.request("GET", "/event", None, {**server.headers(), "Accept": "text/event-stream"})
        response = connection.getresponse()
        for line in response:
            if not line.startswith(b"data:"):
                continue
            ready.set()
            try:
                event = json.loads(line[5:])
            except ValueError:
                continue
            if isinstance(event, dict) and worth(event):
                output.tell({"event": event})
    except (OSError, http.client.HTTPException) as error:
        os.write(server.log, f"the events of opencode ended: {type(error).__name__}: {error}\n".encode())
    finally:
        ready.set()


def worth(event: dict[str, Any]) -> bool:
    """Whether it is passed on. A tool at work repeats all of its output with each line of it."""
    if not str(event.get("type")).startswith(_PASSED):
        return False
    try:
        state = event["properties"]["part"]["state"]
        return not (state["status"] == "running" and "metadata" in state)
    except (KeyError, TypeError):
        return True


def serve(server: Server, output: Output) -> None:
    """Do what the lines of our input ask for, one after the other."""
    for line in sys.stdin.buffer:
        if (answer := one(server, line)) is not None:
            output.tell(answer)


def one(server: Server, line: bytes) -> dict[str, Any] | None:
    """What came of a line's request; None if it is none."""
    try:
        asked = json.loads(line)
        id, method, path = asked["id"], str(asked["method"]), str(asked["path"])
    except (ValueError, KeyError, TypeError):
        return None
    status, body = server.ask(method, path, asked.get("body"))
    return {"id": id, "status": status, "body": body}


def main(argv: list[str]) -> int:
    """Until the input or the events end."""
    server, output, ready = Server(argv), Output(), threading.Event()
    failure = server.start()
    if failure is not None:
        output.tell({"unfit": failure})
        return 1

    def hear() -> None:
        listen(server, output, ready)
        if not server.ending:
            server.end()
            os._exit(1)

    threading.Thread(target=hear, daemon=True).start()
    ready.wait(BEGIN)
    serve(server, output)
    server.end()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.buffer.flush()
    os._exit(code)
