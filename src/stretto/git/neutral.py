"""Git directories of our own: the user's objects and refs, but no word of configuration from anybody else.

Specification. A neutral directory lies in the private home. `objects`, `refs`, `packed-refs`, `shallow` and `logs/refs`
are links to those of the repository, so that results land there at once; configuration, `info/attributes`, `HEAD` and
index are ours. So nothing that an agent writes into the repository's configuration, hooks, attributes or grafts has a
say, and in-tree attributes cannot name a filter, a diff driver or a merge driver: `info/attributes` wins over them.
Line ends and encodings (`text`, `eol`, `working-tree-encoding`) keep working, as the person's git has them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from stretto import files
from stretto.git.run import Place

#: `!` means "unspecified"; `-merge` instead would make every change on both sides a conflict
ATTRIBUTES = b"* !filter !diff !merge\n"

#: as config files have them: section, name, value
Setting = tuple[str, str, str]

_SETTINGS: tuple[Setting, ...] = (
    ("core", "safeCrlf", "false"),
    ("merge", "renames", "true"),
    ("merge", "directoryRenames", "conflict"),
    ("merge", "renameLimit", "7000"),
    ("merge", "conflictStyle", "zdiff3"),
    ("merge", "renormalize", "false"),
    ("diff", "renames", "false"),
    ("diff", "renameLimit", "7000"),
    ("diff", "algorithm", "myers"),
    ("diff", "noprefix", "false"),
    ("diff", "mnemonicPrefix", "false"),
)


def ensure(folder: Path, common: Path, object_format: str, settings: tuple[Setting, ...] = ()) -> Place:
    """Make the neutral directory, or bring an existing one up to date; safe to repeat."""
    files.make_private_dir(folder)
    for name in ("objects", "refs", "packed-refs", "shallow"):
        link(folder / name, common / name)
    logs = (common / "logs" / "refs").is_dir()
    if logs:
        files.make_private_dir(folder / "logs")
        link(folder / "logs" / "refs", common / "logs" / "refs")
    files.make_private_dir(folder / "info")
    _write(folder / "info" / "attributes", ATTRIBUTES)
    _write(folder / "config", _config(object_format, logs, settings))
    if not (folder / "HEAD").exists():  # a branch that never exists: no commit of the repository is "ours" here
        _write(folder / "HEAD", b"ref: refs/stretto/none\n")
    return Place(folder)


def link(path: Path, target: Path) -> None:
    """Let a path of ours be a link to `target`; safe to repeat."""
    if path.is_symlink() and os.readlink(path) != str(target):  # noqa: PTH115 - the text, not a resolved path
        path.unlink()
    with suppress(FileExistsError):
        path.symlink_to(target)


def _write(path: Path, data: bytes) -> None:
    """Appears as a whole, but is not synced: it is written again whenever it is not as it should be."""
    if path.exists() and path.read_bytes() == data:
        return
    sibling = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    sibling.write_bytes(data)
    files.move_over(sibling, path)


def _config(object_format: str, logs: bool, settings: tuple[Setting, ...]) -> bytes:
    said = (("core", "bare", "true"), ("core", "logAllRefUpdates", "true" if logs else "false"))
    return config(object_format, (*said, *_SETTINGS, *settings))


def config(object_format: str, settings: Iterable[Setting]) -> bytes:
    """The configuration file of a git directory, as text."""
    old = object_format == "sha1"
    lines: list[Setting] = [
        ("core", "repositoryFormatVersion", "0" if old else "1"),
        *([] if old else [("extensions", "objectFormat", object_format)]),
        *settings,
    ]
    return b"".join(os.fsencode(f"[{section}]\n\t{name} = {_quoted(value)}\n") for section, name, value in lines)


def _quoted(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        value = value.replace(plain, escaped)
    return f'"{value}"'


def carried_over(config: Mapping[str, str]) -> tuple[Setting, ...]:
    """What of the person's configuration decides how files and blobs correspond; the rest stays behind."""
    names = ("autocrlf", "eol", "fileMode", "symlinks", "ignoreCase", "precomposeUnicode", "checkStat")
    return tuple(("core", name, config[f"core.{name.lower()}"]) for name in names if f"core.{name.lower()}" in config)
