"""The value of one ref, read from its file: a process less for the question that is asked most.

Specification. Only what is beyond doubt is answered: a plain file below `refs/` that holds one object id, or, when
there is none, a line of `packed-refs`. Looked at in this order, since `git pack-refs` writes the packed line before it
takes the file away, and a deletion takes the packed line first. Whatever else is found (a symbolic ref, a link, a
damaged file, a name that git would read otherwise, another storage of refs, a file system that may ignore case) is
left to git.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_NAME = re.compile(r"refs/(heads|stretto)(/[A-Za-z0-9_][A-Za-z0-9_.@+-]*)+")
_OID = re.compile(rb"([0-9a-f]{40}(?:[0-9a-f]{24})?)\n?")
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Unsure(Exception):
    """The files do not tell."""


def read(common: Path, ref: str) -> str | None:
    """The object id that a ref holds, None if there is no such ref. Raises Unsure when git must be asked."""
    if sys.platform == "darwin" or not _NAME.fullmatch(ref) or os.path.lexists(common / "reftable"):
        raise Unsure
    data = _content(common / ref)
    if data is None:
        return _packed(common, ref)
    found = _OID.fullmatch(data)
    if found is None:
        raise Unsure
    return found[1].decode()


def _content(path: Path) -> bytes | None:
    try:
        handle = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unsure from error
    try:
        return os.read(handle, 4096)
    except IsADirectoryError:
        return None
    except OSError as error:
        raise Unsure from error
    finally:
        os.close(handle)


def _packed(common: Path, ref: str) -> str | None:
    try:
        data = (common / "packed-refs").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unsure from error
    at = data.find(b" " + ref.encode() + b"\n")
    if at < 0:
        return None
    found = _OID.fullmatch(data[data.rfind(b"\n", 0, at) + 1 : at])
    if found is None:
        raise Unsure
    return found[1].decode()
