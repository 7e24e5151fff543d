"""Servers that a check needs, or that the person wants to see: started on the ports of a workspace, and ended with it.

Specification.
- The argv is `[/bin/sh, -c, TEXT]`, TEXT being exactly the string that the person trusted.
- A server gets the environment of its workspace, with `PORT` being its own port. If something listens there already it
  is not started: whoever asks would speak with a stranger.
- It is ready when it answers: `ready` that begins with `/` is a path that must answer over HTTP with success or a
  redirection, any other text must appear in the server's output, and without one its port must accept connections. One
  that ends before, or is not ready in time, is an error that names its output.
- Checks that run together share their servers: each is started once, for the first check that needs it.
- Every process of it carries `STRETTO_SERVE=<path of the workspace>`, or descends from one that does: outside of a
  sandbox keeper.py adopts what hides. By this mark all servers of a workspace are ended, on pause, cancel and removal,
  and by `stretto serve --stop`, whoever had started them. Those of checks end with the checks; after a crash the next
  daemon ends them with what else checks left.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto import files, net, process, proctree, spawn
from stretto.checks import artifacts
from stretto.checks.run import SERVED
from stretto.core.errors import StrettoError, TimedOut
from stretto.core.model import CheckResult, CheckSpec, ServerSpec
from stretto.failpoints import failpoint
from stretto.interfaces import CheckOutcome, Checks, Confinement

#: seconds between TERM and KILL
GRACE = 5.0
#: reason of a check that was stopped
CANCELLED = "cancelled"
_LOOK = 0.05
#: bytes at the end of a server's output in which `ready` is looked for
_TAIL = 1 << 20


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs. `output`: the file that holds what it says."""

    spec: ServerSpec
    port: int | None
    pid: int
    start_time: float | None
    output: Path

    @property
    def url(self) -> str | None:
        """Where it answers."""
        return None if self.port is None else f"http://127.0.0.1:{self.port}"


def specs(config: Mapping[str, Any], names: Sequence[str]) -> tuple[ServerSpec, ...]:
    """The servers of these names as a frozen configuration describes them. Raises StrettoError for an unknown one."""
    known: Mapping[str, Any] = config.get("serve") or {}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StrettoError(
            f"no server is called {unknown[0]}",
            code="unknown_server",
            object=unknown[0],
            hint=f"known: {', '.join(known)}" if known else "describe it in [workspace.serve]",
        )
    return tuple(
        ServerSpec(
            name,
            str(known[name]["run"]),
            known[name].get("port"),
            known[name].get("ready"),
            float(known[name].get("timeout", 60.0)),
        )
        for name in names
    )


def marker(workspace: Path) -> str:
    """The mark of all servers of a workspace."""
    return f"STRETTO_SERVE={workspace}"


def running(workspace: Path) -> list[tuple[int, float]]:
    """Pid and start time of every process of the servers of a workspace."""
    return proctree.marked(marker(workspace))


def end(workspace: Path, grace: float = GRACE) -> bool:
    """End all servers of a workspace, whoever started them. False: some could not be ended."""
    return proctree.end_tree(None, None, marker(workspace), grace)


class Fleet:
    """The servers of the checks that run together: each is started for the first that needs it, all end with them."""

    def __init__(
        self,
        checks: Checks,
        config: Mapping[str, Any],
        cwd: Path,
        env: Mapping[str, str],
        output: Callable[[str], Path],
        stop: Callable[[], bool],
        *,
        grace: float = GRACE,
        confined: Confinement | None = None,
    ) -> None:
        self._checks = checks
        self._config = config
        self._cwd = cwd
        self._env = dict(env)
        self._output = output
        self._stop = stop
        self._grace = grace
        self._confined = confined or Confinement((), self._env)
        self._own = f"STRETTO_FLEET={secrets.token_hex(8)}"
        self._guard = threading.Lock()
        self._begun: dict[str, Server | StrettoError] = {}
        self._outputs: dict[str, Path] = {}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            servers = [one for one in self._begun.values() if isinstance(one, Server)]
            self._begun.clear()
            for server in servers:
                proctree.end_tree(server.pid, server.start_time, self._own, self._grace)

    def need(self, names: Sequence[str]) -> None:
        """Return when these servers are ready. Raises StrettoError for the first that is not."""
        for spec in specs(self._config, names):
            with self._guard:
                found = self._begun.get(spec.name)
                if found is None:
                    found = self._begun[spec.name] = self._started(spec)
            if isinstance(found, StrettoError):
                raise found

    def run(self, spec: CheckSpec, output: Path) -> CheckOutcome:
        """Run a check with the servers that it needs. One that does not come up fails it: it is part of the work.

        A port that is taken, or an unknown server, says nothing of the work: an error.
        """
        began = time.monotonic()
        try:
            self.need(spec.serve)
        except StrettoError as error:
            result = CheckResult.FAILED if error.code == "server_failed" else CheckResult.ERROR
            with suppress(OSError):
                files.make_private_dir(output.parent)
                output.write_bytes(f"{error.message}\n{error.hint or ''}\n\n".encode() + _end_of(self._said(spec)))
                output.chmod(0o600)
            reason = CANCELLED if error.code == CANCELLED else error.message
            return CheckOutcome(result, time.monotonic() - began, output, reason)
        try:
            with artifacts.kept(output) as folder:
                env = {**self._env, **artifacts.variables(folder)}
                wrapper = self._confined.reaching(self._ports(spec), [folder]) if self._confined.words else ()
                return self._checks.run(spec, self._cwd, env, output, self._stop, wrapper)
        except StrettoError as error:
            reason = f"what it leaves could not be kept: {error.message}"
            return CheckOutcome(CheckResult.ERROR, time.monotonic() - began, output, reason)

    def _ports(self, spec: CheckSpec) -> list[int]:
        """Where the servers of a check listen."""
        ports = [_port(one, self._env) for one in specs(self._config, spec.serve)]
        return [port for port in ports if port is not None]

    def _said(self, spec: CheckSpec) -> Path | None:
        """The output of the server for which a check could not run."""
        failed = [name for name in spec.serve if isinstance(self._begun.get(name), StrettoError)]
        return self._outputs.get(failed[0]) if failed else None

    def _started(self, spec: ServerSpec) -> Server | StrettoError:
        server: Server | None = None
        try:
            output = self._outputs[spec.name] = self._output(f"serve-{spec.name}")
            marks = {**_pair(self._own), "STRETTO_CHECK_HOME": self._checks.home}
            server = start(spec, self._cwd, {**self._env, **marks}, output, self._confined.words)
            wait(server, self._stop)
        except StrettoError as error:
            if server is not None:
                proctree.end_tree(server.pid, server.start_time, None, self._grace)
            return error
        return server


def _pair(mark: str) -> dict[str, str]:
    name, _, value = mark.partition("=")
    return {name: value}


def start(spec: ServerSpec, cwd: Path, env: Mapping[str, str], output: Path, wrapper: Sequence[str] = ()) -> Server:
    """Start a server; it may not be ready yet. Raises StrettoError if its port is taken or it cannot be started.

    `wrapper`: words that are put before it, a sandbox's.
    """
    port = _port(spec, env)
    if port is not None and not net.free(port):
        raise StrettoError(
            f"the server {spec.name} needs port {port}, where something listens already",
            code="port_taken",
            object=str(port),
            hint="stretto ports shows who it is",
        )
    files.make_private_dir(output.parent)
    output.unlink(missing_ok=True)
    whole = {**process.clean_environment(env), **_pair(marker(cwd))}
    if port is not None:
        whole["PORT"] = str(port)
    failpoint("daemon.serve.spawn.before")
    pid = spawn.detached([*(wrapper or SERVED), "/bin/sh", "-c", spec.run], cwd=cwd, env=whole, output=output)
    failpoint("daemon.serve.spawn.after")
    return Server(spec, port, pid, proctree.start_time(pid), output)


def _port(spec: ServerSpec, env: Mapping[str, str]) -> int | None:
    """The port of a server: the one that it names, else the first of the workspace."""
    name = "PORT" if spec.port is None else "PORT_" + spec.port.upper().replace("-", "_")
    return int(env[name]) if env.get(name, "").isdigit() else None


def wait(server: Server, stop: Callable[[], bool]) -> None:
    """Wait until it is ready. Raises StrettoError if it ends before, TimedOut if it is too late or `stop` says so."""
    spec = server.spec
    deadline = time.monotonic() + spec.timeout
    while not ready(server):
        if server.start_time is None or not proctree.alive(server.pid, server.start_time):
            raise StrettoError(
                f"the server {spec.name} ended before it answered",
                code="server_failed",
                object=spec.run,
                hint=f"its output: {server.output}",
            )
        if stop():
            raise TimedOut(f"the server {spec.name} was not waited for any longer", code=CANCELLED, object=spec.name)
        if time.monotonic() > deadline:
            raise TimedOut(
                f"the server {spec.name} did not answer within {spec.timeout:g} s{_where(server)}",
                code="server_failed",
                object=spec.run,
                hint=f"its output: {server.output}",
            )
        time.sleep(_LOOK)


def _where(server: Server) -> str:
    if server.spec.ready and not server.spec.ready.startswith("/"):
        return f" ({server.spec.ready!r} is not in its output)"
    return "" if server.port is None else f" on port {server.port}"


def ready(server: Server) -> bool:
    """Whether it answers now."""
    wanted = server.spec.ready
    if wanted is not None and not wanted.startswith("/"):
        return wanted.encode() in _end_of(server.output)
    if server.port is None:
        return True
    return net.answers(server.port, wanted) if wanted is not None else net.accepts(server.port)


def _end_of(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            return file.read()
    except FileNotFoundError:
        return b""
