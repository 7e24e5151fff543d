"""The tree of errors. Each carries a message, an object, a hint (the next command) and an exit code.

StrettoError              1   refused or failed
├── UsageError            2   the words of the call are wrong
├── Bug                   3   ours; the edge writes a report file
├── TimedOut              4   a limit ran out
├── Unavailable           1   a daemon, program or file that is needed is not there
├── Conflict              1   a compare-and-swap found another value than expected
└── GitFailed             1   git said no (carries argv, exit code and stderr)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import Any


class StrettoError(Exception):
    """An expected failure: a sentence with its cause, the object it concerns and the next command.

    `code` is a stable word for programs (listed in docs/reference.md), `details` extra JSON for faces.
    """

    exit_code = 1
    default_code = "failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        object: str | None = None,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.object = object
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    def as_json(self) -> dict[str, Any]:
        """The body of `{"error": …}` (CONTRACTS: every `--json` command)."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "object": self.object,
            "hint": self.hint,
        }
        if self.details:
            body["details"] = self.details
        return body


class UsageError(StrettoError):
    """The words of a command, plan or configuration are wrong."""

    exit_code = 2
    default_code = "usage"


class Bug(StrettoError):
    """A failure of ours that nobody expected."""

    exit_code = 3
    default_code = "bug"


class TimedOut(StrettoError):
    """A limit of time ran out before the awaited thing happened."""

    exit_code = 4
    default_code = "timed_out"


class Unavailable(StrettoError):
    """Something that is needed (daemon, program, file) cannot be reached."""

    default_code = "unavailable"


class Conflict(StrettoError):
    """A compare-and-swap found another value than the caller expected; nothing was changed."""

    default_code = "conflict"


class GitFailed(StrettoError):
    """git exited with an error. Carries the argv, the exit code and the end of stderr."""

    default_code = "git_failed"

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        returncode: int | None = None,
        stderr: str = "",
        code: str | None = None,
        object: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, code=code, object=object, hint=hint)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr


#: exit code -> class, so that the client can raise again what the daemon raised
BY_EXIT_CODE: dict[int, type[StrettoError]] = {1: StrettoError, 2: UsageError, 3: Bug, 4: TimedOut}
