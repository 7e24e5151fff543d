"""What refs say, read from their files: a process less for the questions that are asked most.

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


def any_below(common: Path, prefix: str) -> bool:
    """Whether there may be a ref below this prefix (`refs/stretto/snap/…/`). Raises Unsure when git must be asked."""
    if sys.platform == "darwin" or not _NAME.fullmatch(prefix.rstrip("/")) or os.path.lexists(common / "reftable"):
        raise Unsure
    if os.path.lexists(common / prefix):
        return True
    try:
        return b" " + prefix.encode() in (common / "packed-refs").read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unsure from error


def heads(common: Path, root: Path) -> list[tuple[Path, str]]:
    """What each worktree has out, the main one (`root`) first: a full ref name, empty where HEAD is detached.

    Raises Unsure when git must be asked.
    """
    if sys.platform == "darwin" or os.path.lexists(common / "reftable") or root == common:
        raise Unsure
    found = [(root, _head(common, common))]
    try:
        for admin in (common / "worktrees").iterdir():
            place = Path(os.fsdecode((admin / "gitdir").read_bytes().rstrip(b"\n")))
            if not place.is_absolute() or place.name != ".git":
                raise Unsure
            found.append((place.parent, _head(common, admin)))
    except FileNotFoundError as error:
        if os.path.lexists(common / "worktrees"):  # a registration went while we read
            raise Unsure from error
    except OSError as error:
        raise Unsure from error
    return found


def _head(common: Path, admin: Path) -> str:
    data = _content(admin / "HEAD")
    if data is None:
        raise Unsure
    if _OID.fullmatch(data):
        return ""
    ref = os.fsdecode(data.removeprefix(b"ref: ").rstrip(b"\n"))
    if not data.startswith(b"ref: ") or not _NAME.fullmatch(ref):
        raise Unsure
    read(common, ref)  # a symbolic ref may lead to another branch: then we are unsure
    return ref


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
