"""The identity of a patch: what an approval is bound to (DECISIONS 23).

Specification. From merge-base(base, head) to head; no rename detection, three lines of context, no whitespace option,
our options only. Hashed are, per file: path, kinds and modes, each line with its sign, the missing newline at the end,
where hunks begin. Left out: positions, the function names that git guesses for hunks, object ids; except that binary
files and gitlinks contribute both ids, since nothing else of them is shown. So a patch that is moved by others' changes
keeps its id, and no other change of it does.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stretto.git import refs
from stretto.git.context import Context
from stretto.git.run import oid
from stretto.interfaces import Patch

_OPTIONS = (
    "-r",
    "-p",
    "--full-index",
    "--no-renames",
    "--unified=3",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    "--indent-heuristic",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--ignore-submodules=none",
    "--submodule=short",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--no-relative",
)
#: bytes of a diff that we hold
_LIMIT = 1 << 30
_ESCAPES = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b'"': 34, b"\\": 92}


@dataclass(slots=True)
class _File:
    """One section of a diff."""

    path: bytes
    header: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


def patch(context: Context, base: str, head: str) -> Patch:
    """The patch from the merge base of the two commits to `head`."""
    start = refs.merge_base(context, oid(base), oid(head)) or base
    diff = context.git("diff-tree", *_OPTIONS, start, head, limit=_LIMIT).stdout
    digest = hashlib.sha256(b"stretto patch 1\n")
    paths: dict[bytes, None] = {}
    added = deleted = 0
    for file in _files(diff):
        paths[file.path] = None
        added += sum(line.startswith(b"+") for line in file.lines)
        deleted += sum(line.startswith(b"-") for line in file.lines)
        _add(digest.update, file)
    names = tuple(os.fsdecode(path) for path in paths)
    return Patch(f"sha256:{digest.hexdigest()}", len(names), added, deleted, names)


def _add(update: Callable[[bytes], None], file: _File) -> None:
    """Feed one file to the hash; every part carries its length, so that no two patches read alike."""
    for part in (file.path, b"\n".join(file.header), b"\n".join(file.lines)):
        update(b"%d:" % len(part))
        update(part)


def _files(diff: bytes) -> Iterator[_File]:
    """Cut a diff into files. Inside hunks every line begins with a sign, so a header cannot be counterfeited."""
    file: _File | None = None
    in_hunk = False
    for line in diff.split(b"\n"):
        if line.startswith(b"diff --git "):
            if file is not None:
                yield _finished(file)
            file, in_hunk = _File(_path(line.removeprefix(b"diff --git "))), False
        elif file is None or not line:
            continue
        elif line.startswith(b"@@ "):
            in_hunk = True
            file.lines.append(b"@@")
        else:
            (file.lines if in_hunk else file.header).append(line)
    if file is not None:
        yield _finished(file)


_INDEX = re.compile(rb"index ([0-9a-f]+)\.\.([0-9a-f]+)( [0-7]+)?")


def _finished(file: _File) -> _File:
    """Drop what names positions and contents by id, except for what shows nothing else."""
    opaque = any(line.startswith(b"Binary files ") for line in file.header)
    kept: list[bytes] = []
    for line in file.header:
        if match := _INDEX.fullmatch(line):
            kept.append(b"mode" + (match[3] or b""))
            if opaque:
                kept.append(b"ids " + match[1] + b" " + match[2])
        elif not line.startswith((b"--- ", b"+++ ", b"Binary files ")):
            kept.append(line)
    file.header = kept
    return file


def _path(names: bytes) -> bytes:
    """The path of `a/PATH b/PATH`: without renames both halves are equal but for their first letter."""
    half = names[: len(names) // 2]
    if half.startswith(b'"'):
        half = _unquoted(half[1:-1])
    return half[2:]


def _unquoted(quoted: bytes) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([_ESCAPES[code] if code in _ESCAPES else int(code, 8)])

    return re.sub(rb"\\([0-7]{3}|.)", one, quoted, flags=re.DOTALL)
