"""A daemon with a small backend instead of the engine: `python -m tests.daemon.fake`. All else is real."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from stretto.core.errors import Conflict, StrettoError, TimedOut, UsageError
from stretto.daemon.server import serve
from stretto.home import Home, open_home

Args = dict[str, Any]


#: refusal -> argument and value that settle it, details
_ASKED: dict[str, tuple[str, Any, Args]] = {
    "untrusted": (
        "trust",
        "sha256:ab",
        {"commands": [], "listing": "checks:\n  + make \x1b[2Jtest", "hash": "sha256:ab"},
    ),
    "checkout_choice": ("checkout", "leave", {"branch": "main"}),
    "confirm": ("yes", True, {"change": {}, "text": "new: joins\nold: is told"}),
}


class FakeBackend:
    """Events in a list; writes that answer, fail in each way, wait and tell events."""

    def __init__(self, home: Home) -> None:
        self._events: list[Args] = []
        self._listeners: list[Callable[[], None]] = []
        self._stopped = threading.Event()

    def start(self) -> None:
        if os.environ.get("FAKE_START") == "fail":
            raise StrettoError("recovery is impossible", code="broken", hint="mend it")
        time.sleep(float(os.environ.get("FAKE_START", "0")))

    def stop(self) -> None:
        self._stopped.set()

    def reads(self) -> Mapping[str, Callable[[Args], Args]]:
        return {"status": lambda args: {"schema": 1, "tasks": [], "daemon": None}, "events": self._read_events}

    def writes(self) -> Mapping[str, Callable[[Args], Args]]:
        return {"run": self._run, "answer": self._fail, "add": self._tell, "retry": self._hang}

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def _read_events(self, args: Args) -> Args:
        found = [event for event in self._events if event["id"] > args["since"]]
        return {"schema": 1, "events": found[: args["limit"]]}

    def _tell(self, args: Args) -> Args:
        for number in range(args.get("count", 1)):
            data = {"text": args.get("text", "") * args.get("times", 1), "number": number}
            event = {"id": len(self._events) + 1, "at": 0.0, "repo": None, "run": None, "task": None}
            self._events.append({**event, "type": "told", "data": data})
        for callback in list(self._listeners):
            callback()
        return {}

    def _run(self, args: Args) -> Args:
        """Refuse what FAKE_ASK names until the caller settles it; then tell what was given."""
        for code in filter(None, os.environ.get("FAKE_ASK", "").split()):
            name, wanted, details = _ASKED[code]
            if args.get(name) != wanted:
                raise StrettoError(f"refused: {code}", code=code, hint="settle it", details=details)
        return {"run": "r-abcd", "tasks": ["r-abcd/a"], "base": None, "notices": ["noted"], "given": args}

    def _fail(self, args: Args) -> Args:
        words: Args = {"code": "worded", "object": "o", "hint": "h", "details": {"d": [1]}}
        kinds: dict[str, type[StrettoError]] = {"usage": UsageError, "conflict": Conflict, "time": TimedOut}
        if args["how"] == "bug":
            raise ZeroDivisionError("with the password hunter2hunter2")
        raise kinds.get(args["how"], StrettoError)("it failed", **words)

    def _hang(self, args: Args) -> Args:
        self._stopped.wait(args["seconds"])
        return {}


def main() -> int:
    try:
        serve(open_home(), FakeBackend)
    except StrettoError as error:
        sys.stderr.write(json.dumps({"error": error.as_json(), "exit_code": error.exit_code}) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
