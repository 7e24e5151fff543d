"""The command line's edge: whatever happens becomes a sentence, a hint and an exit code.

0 ok · 1 refused or failed · 2 usage · 3 a bug (with a report file) · 4 timed out · 130 interrupted.
"""

from __future__ import annotations

import os
import sys

from stretto.core.errors import Bug, StrettoError, UsageError

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import Any


def main() -> int:
    """Run one command; its exit code."""
    words = sys.argv[1:]
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader (`head`, a pager) has seen enough; without this Python complains once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def _run(words: list[str]) -> int:
    from stretto.cli.quick import understood

    try:
        if "_STRETTO_COMPLETE" not in os.environ and (call := understood(words)) is not None:
            call()
            return 0
        return _clicked(words)
    except StrettoError as error:
        return fail(error, words)
    except BrokenPipeError:
        raise
    except Exception as error:  # the edge: whatever it is becomes a report
        return fail(_bug(error, words), words)


def _clicked(words: list[str]) -> int:
    """Run the command as click reads it."""
    import click

    from stretto.cli.app import cli

    try:
        if instruction := os.environ.get("_STRETTO_COMPLETE"):
            return _complete(instruction)
        # not cli.main(): it turns a broken pipe into a failure
        with cli.make_context("stretto", list(words)) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        sys.stderr.write("\n")  # the prompt stands on the line still
        return 130
    except click.ClickException as error:
        return fail(_usage(error), words)
    return result if isinstance(result, int) else 0


def _complete(instruction: str) -> int:
    """Answer the completion script of a shell."""
    from click.shell_completion import shell_complete

    from stretto.cli.app import cli

    return shell_complete(cli, {}, "stretto", "_STRETTO_COMPLETE", instruction)


def fail(error: StrettoError, words: list[str]) -> int:
    """Tell an error: JSON on stdout for a call with `--json`, else a sentence and a hint on stderr; its exit code."""
    if "--json" in (words[: words.index("--")] if "--" in words else words):
        import json

        text = json.dumps({"schema": 1, "error": error.as_json()}, ensure_ascii=False)
        sys.stdout.write(text + "\n")
        return error.exit_code
    from stretto.cli.text import clean

    sys.stdout.flush()
    sys.stderr.write(f"error: {clean(error.message, lines=True)}\n")
    if error.hint:
        sys.stderr.write(f"hint: {clean(error.hint, lines=True)}\n")
    return error.exit_code


def _usage(error: Any) -> StrettoError:
    """What click says of wrong words, as one of ours."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "stretto"
    return UsageError(error.format_message(), object=path, hint=f"{path} --help")


def _bug(error: Exception, words: list[str]) -> Bug:
    from stretto.bugreport import write_report
    from stretto.home import home_path

    what = f"stretto failed: {type(error).__name__}: {error}"
    try:
        folder = home_path()
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        path = write_report(folder / "logs" / "reports", error, f"cli-{_verb(words)}")
    except OSError as problem:
        import traceback

        traceback.print_exception(error)
        return Bug(what, hint=f"please report the lines above (no report file: {problem.strerror})")
    return Bug(what, object=str(path), hint=f"the report is in {path}")


def _verb(words: list[str]) -> str:
    """The command's name for a file name; never an argument, which may hold a secret."""
    from stretto.cli.app import COMMANDS

    return next((word for word in words if word in COMMANDS), "none")


if __name__ == "__main__":
    sys.exit(main())
