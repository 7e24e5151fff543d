"""Read commits by id: diffs for people, changed paths, single files, attributes. No worktree is looked at."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from stretto.git import run
from stretto.git.context import Context

_LIMIT = 1 << 28
#: bytes of a difference that is kept: that of two trees never changes
_SHORT = 2048


def diff(context: Context, base: str, head: str, *, stat: bool = False, color: bool = False) -> str:
    """The difference of two commits for people: renames shown, no external program, only valid Unicode."""
    words = ["--stat", "--summary"] if stat else ["-p"]
    words += ["-r", "-M", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none", "--submodule=short"]
    words += ["--color=always" if color else "--no-color"]
    done = context.git("diff-tree", *words, run.oid(base), run.oid(head), limit=_LIMIT)
    return done.stdout.decode(errors="replace")


def changed_paths(context: Context, a: str, b: str) -> dict[str, tuple[str, str]]:
    """Paths in which two commits or trees differ, each with what it is in `a` and in `b`.

    That is `MODE:OID` (so a changed mode counts), or "" where the path does not exist. No renames.
    """
    parts = run.fields(_raw(context, run.oid(a), run.oid(b)))
    found: dict[str, tuple[str, str]] = {}
    for entry, path in zip(parts[::2], parts[1::2], strict=True):
        old_mode, new_mode, old, new, _ = entry[1:].split(" ")
        found[path] = (_what(old_mode, old), _what(new_mode, new))
    return found


def _raw(context: Context, a: str, b: str) -> bytes:
    """What git says of two trees, which never changes: a short answer is kept."""
    known = context.facts.get(("diff", a, b))
    if known is not None:
        return os.fsencode(known)
    words = ("-r", "--no-renames", "-z", "--raw", "--no-abbrev", "--ignore-submodules=none")
    said = context.git("diff-tree", *words, a, b, limit=_LIMIT).stdout
    if len(said) <= _SHORT:
        context.settled(("diff", a, b), lambda: os.fsdecode(said))
    return said


def _what(mode: str, oid: str) -> str:
    return "" if mode == "000000" else f"{mode}:{oid}"


def show(context: Context, commit: str, path: str) -> bytes | None:
    """The content of a file of a commit; None if it has no file of this name."""
    entry = read_blobs(context, [f"{run.oid(commit)}:{path}"])
    return entry[0]


def read_blobs(context: Context, names: list[str]) -> list[bytes | None]:
    """The contents that these names (`OID`, `COMMIT:PATH`) mean, None for each that is no blob; one process for all."""
    request = b"".join(name.encode(errors="surrogateescape") + b"\0" for name in names)
    data = context.git("cat-file", "--batch", "-z", input=request, limit=_LIMIT).stdout
    found: list[bytes | None] = []
    for name in names:
        line, _, rest = data.partition(b"\n")
        words = line.rsplit(b" ", 2)
        if words[-1].isdigit() and len(words) == 3:
            size = int(words[2])
            found.append(rest[:size] if words[1] == b"blob" else None)
            data = rest[size + 1 :]
        else:  # "NAME missing": the name is repeated and may hold line ends itself
            found.append(None)
            data = data[len(name.encode(errors="surrogateescape")) :].partition(b"\n")[2]
    return found


def tree_bytes(context: Context, commit: str) -> int:
    """Bytes of all files of a commit, before line ends and encodings are applied."""
    return _tree_bytes(context.plain.git_dir, run.oid(commit))


@functools.lru_cache(maxsize=64)
def _tree_bytes(git_dir: Path, commit: str) -> int:
    done = run.run(run.Place(git_dir), "ls-tree", "-r", "-l", "-z", commit, limit=_LIMIT)
    sizes = (entry.partition("\t")[0].rsplit(" ", 1)[-1] for entry in run.fields(done.stdout))
    return sum(int(size) for size in sizes if size.isdigit())


def filters(context: Context, commit: str) -> tuple[str, ...]:
    """Lines that name a filter (git-lfs, git-crypt …), as `FILE: LINE`: in the commit or `info/attributes`."""
    listing = run.fields(context.git("ls-tree", "-r", "-z", "--name-only", run.oid(commit), limit=_LIMIT).stdout)
    paths = [path for path in listing if path.rsplit("/", 1)[-1] == ".gitattributes"]
    blobs = read_blobs(context, [f"{commit}:{path}" for path in paths]) if paths else []
    info = context.common / "info" / "attributes"
    sources = list(zip(paths, blobs, strict=True))
    if info.is_file():
        sources.append(("info/attributes", info.read_bytes()))
    return tuple(f"{path}: {line}" for path, blob in sources for line in _naming_filters(blob or b""))


def _naming_filters(attributes: bytes) -> list[str]:
    lines = [line.strip() for line in attributes.decode(errors="replace").splitlines()]
    return [line for line in lines if line and not line.startswith("#") and _names_filter(line)]


def _names_filter(line: str) -> bool:
    return any(word == "filter" or word.startswith("filter=") for word in line.split()[1:])
