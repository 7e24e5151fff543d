"""A recipe as the words of bubblewrap (0.8 and newer). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stretto.workspace.sandbox.launch_limits import ROOM
from stretto.workspace.sandbox.recipe import Limits, Mount, Recipe, mounts

#: the child is killed with its parent, sees no process but its own, and can gain no right
_ALWAYS = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--unshare-net"),
    *("--die-with-parent", "--cap-drop", "ALL", "--hostname", "sandbox"),
)
_WORDS = {"bind": "--bind", "ro": "--ro-bind"}
_SPECIAL = {"tmpfs": "--tmpfs", "dev": "--dev", "proc": "--proc"}


def argv(recipe: Recipe, command: Sequence[str]) -> list[str]:
    """Everything after the program's name. Signals that the launcher ignores are set back before `command` starts."""
    words = [*_ALWAYS]
    for mount in mounts(recipe):
        words += _mount(mount)
    if recipe.limits.processes is not None:  # the highest number of a process is set there, and root could set another
        words += ["--ro-bind", "/proc/sys/kernel", "/proc/sys/kernel"]
    words += ["--chdir", recipe.workspace, "--", *_limited(recipe.limits)]
    return [*words, "/usr/bin/env", "--default-signal=HUP,INT,TERM", "--", *command]


def _mount(mount: Mount) -> list[str]:
    if mount.kind == "link":
        return ["--symlink", mount.source, mount.path]
    if mount.kind in _SPECIAL:
        return [_SPECIAL[mount.kind], mount.path]
    return [_WORDS[mount.kind], mount.source or mount.path, mount.path]


def _limited(limits: Limits) -> list[str]:
    """Set inside: only there does the number of processes count those of the sandbox alone (root's are not counted)."""
    words = []
    if limits.data is not None:
        words.append(f"--data={limits.data}")
    if limits.processes is not None and not limits.group:
        words.append(f"--nproc={limits.processes + ROOM}")
    return ["/usr/bin/prlimit", *words, "--"] if words else []
