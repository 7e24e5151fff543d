"""A file that says what went wrong inside stretto: for the person to read and to paste, without secrets.

It holds the traceback (no values of variables), versions and the platform. Texts that look like the value of a secret
environment variable are blotted out; command lines are left out, since people put secrets there.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
import traceback
from pathlib import Path

from stretto import __version__

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"(?:Bearer\s+|://[^/\s:@]*:)[^\s@'\"]+")
_KEEP = 50


def write_report(folder: Path, error: BaseException, where: str) -> Path:
    """Write the report into `folder` (made if missing, 0700) and return its path. `where`: the program's part."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    path = folder / f"{stamp}-{where}-{os.getpid()}-{time.monotonic_ns() % 1_000_000:06d}.txt"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        file.write(describe(error, where))
    _drop_oldest(folder)
    return path


def describe(error: BaseException, where: str) -> str:
    """The text of a report."""
    lines = [
        f"stretto {__version__}, {where}",
        f"Python {platform.python_version()} ({sys.executable}), {platform.platform()}",
        f"at {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}",
        "",
        *traceback.format_exception(error),
    ]
    return blot("\n".join(line.rstrip("\n") for line in lines) + "\n")


def blot(text: str) -> str:
    """The text with everything that looks like a secret replaced by a word that says so."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 6:
            text = text.replace(value, f"<{name}>")
    return _SECRET_TEXT.sub("<secret>", text)


def _drop_oldest(folder: Path) -> None:
    for old in sorted(folder.glob("*.txt"))[:-_KEEP]:
        old.unlink(missing_ok=True)
