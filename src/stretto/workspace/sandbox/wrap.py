"""From a recipe to the words that are put before a command, and to what its environment must say."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stretto.workspace.sandbox import bubblewrap
from stretto.workspace.sandbox.recipe import PROXY_PORT, Recipe, mounts

LAUNCH = Path(__file__).resolve().with_name("launch.py")
#: variables that name sockets and folders which are not there inside
_OUTSIDE = frozenset(
    {
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"),
        *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "TMUX", "DOCKER_HOST"),
    }
)


def wrapper(recipe: Recipe, program: str, python: str = sys.executable) -> list[str]:
    """What stands before the words of a command; `program` is bubblewrap. Holds no secret: others can read it."""
    words = [python, "-I", "-S", str(LAUNCH)]
    for entry in recipe.allow:
        words += ["--allow", entry]
    for inside, host, port in recipe.forward:
        words += ["--forward", f"{inside}:{host}:{port}"]
    for port in set(recipe.ports) - {inside for inside, _, _ in recipe.forward}:
        words += ["--port", str(port)]
    return [*words, *_limits(recipe), "--", program, *bubblewrap.argv(recipe, ())]


def _limits(recipe: Recipe) -> list[str]:
    limits, words = recipe.limits, []
    for name, value in (("--memory", limits.memory), ("--processes", limits.processes)):
        words += [name, str(value)] if value is not None else []
    for mount in mounts(recipe) if limits.memory is not None else ():
        words += ["--tmpfs", mount.path] if mount.kind == "tmpfs" else []
    return [*words, "--group", limits.group] if words and limits.group else words


def environment(recipe: Recipe, env: Mapping[str, str]) -> dict[str, str]:
    """`env` as it must be inside: nothing that leads out, temporary files in /tmp, the proxy where there is one."""
    found = {name: value for name, value in env.items() if name not in _OUTSIDE}
    found |= {"HOME": recipe.home, "TMPDIR": "/tmp"}  # noqa: S108 - the sandbox's own
    if recipe.allow:
        proxy = f"http://127.0.0.1:{PROXY_PORT}"
        found |= dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), proxy)
        found |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1")
    return found
