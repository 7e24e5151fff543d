"""A recipe as a profile of macOS' Seatbelt (`sandbox-exec -f`). Pure text; stretto does not run it yet.

What bubblewrap has by its nature is said here as rules: everything is denied, then reading the system and writing the
workspace allowed, then what must not be written within it denied again; of rules that match, the last one counts. A
denied file could be reached by renaming a folder above it, so that is denied, too. There is no network of its own:
the proxy and the task's own ports are named.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from stretto.workspace.sandbox.recipe import GitPlaces, Mount, Recipe, mounts

_SYSTEM = ("/usr", "/bin", "/sbin", "/System", "/Library/Frameworks", "/private/etc/ssl", "/private/var/db/timezone")
_HEAD = (
    "(version 1)",
    "(deny default)",
    "(allow process-exec process-fork)",
    "(allow signal process-info* (target same-sandbox))",
    "(allow sysctl-read)",
    '(allow file-read* file-write* (subpath "/private/tmp") (literal "/dev/null") (literal "/dev/tty"))',
    '(allow file-read* (literal "/") (literal "/dev/random") (literal "/dev/urandom") (literal "/dev/zero"))',
    "(allow file-read-metadata)",
)


def profile(recipe: Recipe, proxy_port: int) -> str:
    """The profile. `proxy_port`: where the proxy listens on the loopback address."""
    shown = [m for m in mounts(recipe) if m.kind in ("bind", "ro") and m.path not in recipe.system]
    if recipe.house is not None:
        shown = [Mount(m.kind, m.source or m.path) for m in shown]
    lines = [*_HEAD, _rule("allow", "file-read*", _SYSTEM)]
    for mount in shown:
        what = "file-read* file-write*" if mount.kind == "bind" else "file-read*"
        lines.append(_rule("allow", what, [mount.path]))
        if mount.kind == "ro":
            lines.append(_rule("deny", "file-write*", [mount.path]))
    if isinstance(recipe.git, GitPlaces):
        others = f"{recipe.git.common}/worktrees"
        lines.append(_rule("deny", "file-read* file-write*", [others]))
        lines += [line for m in shown if m.path.startswith(f"{others}/") for line in _again(m)]
    fixed = sorted({str(above) for m in shown if m.kind == "ro" for above in _above(m.path, shown)})
    if fixed:
        lines.append(_rule("deny", "file-write-unlink file-write-create", fixed, "literal"))
    ports = sorted({proxy_port, *recipe.ports, *(port for _, _, port in recipe.forward)})
    lines += [f'(allow network-outbound (remote tcp "localhost:{port}"))' for port in ports]
    lines += [f'(allow network-bind network-inbound (local tcp "localhost:{port}"))' for port in recipe.ports]
    return "\n".join(lines) + "\n"


def _again(mount: Mount) -> list[str]:
    if mount.kind == "bind":
        return [_rule("allow", "file-read* file-write*", [mount.path])]
    return [_rule("allow", "file-read*", [mount.path]), _rule("deny", "file-write*", [mount.path])]


def _above(path: str, shown: Iterable[Mount]) -> list[PurePosixPath]:
    """The folders above a read-only place up to the writable one that holds it, itself included."""
    place = PurePosixPath(path)
    holders = [PurePosixPath(m.path) for m in shown if m.kind == "bind" and place.is_relative_to(m.path)]
    return [each for each in place.parents if any(each.is_relative_to(holder) for holder in holders)]


def _rule(verb: str, what: str, paths: Iterable[str], how: str = "subpath") -> str:
    return f"({verb} {what} {' '.join(f'({how} {_quoted(path)})' for path in paths)})"


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
