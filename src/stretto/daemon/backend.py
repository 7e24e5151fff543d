"""The real backend: the engine's operations and the reads, over one store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stretto.checks.run import CheckRunner
from stretto.core.errors import StrettoError
from stretto.engine.engine import Engine, live_sessions
from stretto.engine.operations import OPERATIONS, serving
from stretto.home import Home
from stretto.reads import READS, read
from stretto.store.sqlite import open_readonly

Args = dict[str, Any]
Operation = Callable[[Args], Args]

#: seconds that an agent has to end when all are to
ENDING = 10.0


class EngineBackend:
    """Gives the daemon's routes what the engine can do."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._engine = Engine(home)
        self._reads = {verb: self._reading(verb) for verb in READS}
        self._writes = {verb: self._writing(operation) for verb, operation in OPERATIONS.items()}
        self._writes["shutdown"] = self._shutdown

    def start(self) -> None:
        """Recover and go to work."""
        self._engine.start()

    def stop(self) -> None:
        """Stop starting things."""
        self._engine.stop()

    def reads(self) -> Mapping[str, Operation]:
        """Operations that change nothing."""
        return self._reads

    def writes(self) -> Mapping[str, Operation]:
        """Operations that steer."""
        return self._writes

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each commit that told something."""
        return self._engine.subscribe(lambda _last: callback())

    def _reading(self, verb: str) -> Operation:
        def answer(args: Args) -> Args:
            reader = open_readonly(self._home.database)  # a connection of its own: a long read delays no write
            try:
                return read(verb, reader, {**args, "live": True, "now": self._engine.clock.now()})
            finally:
                reader.connection.close()

        return answer

    def _shutdown(self, args: Args) -> Args:
        """Before the daemon goes: with `all` end every agent, check and server first, and start nothing more."""
        return {"ended": self.end_all() if args.get("all") else 0}

    def end_all(self) -> int:
        """End every agent, check and server, and start nothing more; how many shims of agents lived.

        Raises StrettoError (`agents_left`) if some could not be ended.
        """
        sessions = live_sessions(self._engine)
        self._engine.stop()
        shims = self._engine.parts.shims
        lived = sum(bool(shims.state(Path(session.folder)).alive) for session in sessions)
        end = shims.end
        with ThreadPoolExecutor(8, thread_name_prefix="end") as pool:
            gone = list(pool.map(lambda session: end(Path(session.folder), ENDING), sessions))
        CheckRunner(str(self._home.path)).end_leftovers()
        serving.end_all(self._engine)
        serving.rest_all(self._engine)
        if not all(gone):
            left = [session.id for session, ended in zip(sessions, gone, strict=True) if not ended]
            raise StrettoError(
                f"{len(left)} agents have not ended", code="agents_left", object=left[0], hint="stretto down --all"
            )
        return lived

    def close(self) -> None:
        """Let go of the store; for a backend that was never started."""
        self._engine.store.close()

    def _writing(self, operation: Callable[[Engine, Args], Args]) -> Operation:
        return lambda args: operation(self._engine, args)
