"""What a pane starts: `python -I -S launch.py FILE` becomes the program that FILE (JSON: argv, cwd) names.

A command line in a file needs no quoting and may be as long as it is. The environment is inherited, without what says
that there is a tmux around: it is none of the program's business, and its own to misuse. Imports nothing of stretto.
"""

from __future__ import annotations

import json
import os
import sys

HIDDEN = ("TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION")


def main(path: str) -> None:
    """Never returns, but by an exit code when there is no such program."""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib would double our start
        spec = json.load(file)
    for name in HIDDEN:
        os.environ.pop(name, None)
    try:
        os.chdir(spec["cwd"])
        os.execvp(spec["argv"][0], spec["argv"])  # noqa: S606 - becoming it is what we are for
    except OSError as error:
        sys.stderr.write(f"cannot start {spec['argv'][0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1])
