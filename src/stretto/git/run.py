"""The one way to run git: argv lists, an environment built from nothing, limits of time, machine-readable output.

Specification.
- git inherits nothing but PATH, TMPDIR and what is named here: no GIT_* variable, no configuration of system or user,
  no terminal, no prompt, no pager, no editor, no optional lock, no replace ref, no lazy fetch.
- Whatever a repository's own configuration can make git start is switched off by configuration of the command level,
  which wins over every file: hooks, fsmonitor, external diff, textconv lists, pager, editor, ssh, credential helper,
  gpg, alternate refs command, transports by helper programs, recursion into submodules, automatic maintenance.
- Filters, diff and merge drivers cannot be switched off like this; `neutral.py` is for them.
- A value that begins with a dash is refused, since git would read it as an option.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stretto import process
from stretto.core.errors import GitFailed, StrettoError, TimedOut, Unavailable

FLOOR = (2, 39)
#: seconds for a command that works on refs, trees and commits
TIMEOUT = 120.0
#: seconds for one that walks or writes a worktree
LONG = 1800.0

_CONFIG = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.pager": "cat",
    "core.editor": "true",
    "core.askPass": "true",
    "core.sshCommand": "false",
    "core.gitProxy": "none",
    "core.alternateRefsCommand": "true",
    "core.untrackedCache": "false",
    "core.splitIndex": "false",
    "core.filesRefLockTimeout": "5000",
    "core.packedRefsTimeout": "5000",
    "core.quotePath": "true",
    "credential.helper": "",
    "diff.external": "",
    "diff.ignoreSubmodules": "all",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "push.gpgSign": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "gpg.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "protocol.git.allow": "always",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "protocol.ssh.allow": "always",
    "interactive.diffFilter": "",
    "worktree.guessRemote": "false",
    "worktree.useRelativePaths": "false",
    "safe.directory": "*",
}


def _numbered(config: Mapping[str, str]) -> dict[str, str]:
    env = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (name, value) in enumerate(config.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = name
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


_HARD = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_EDITOR": "true",
    "GIT_SEQUENCE_EDITOR": "true",
    "GIT_ASKPASS": "true",
    "GIT_PAGER": "cat",
    "GIT_ADVICE": "0",
    **_numbered(_CONFIG),
}
#: of our own environment: where programs and temporary files are
_INHERITED = ("PATH", "TMPDIR")
#: where the person's configuration lies; only for reading it, and for talking with remotes
_PERSONAL = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
#: how the person reaches remotes
_NETWORK = (
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "ALL_PROXY",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works: a git directory, and for some a worktree and an index."""

    git_dir: Path
    work_tree: Path | None = None
    index: Path | None = None

    def environment(self) -> dict[str, str]:
        """The variables that tell git so."""
        env = {"GIT_DIR": str(self.git_dir)}
        if self.work_tree is not None:
            env["GIT_WORK_TREE"] = str(self.work_tree)
        if self.index is not None:
            env["GIT_INDEX_FILE"] = str(self.index)
        return env

    @property
    def cwd(self) -> Path:
        """The folder that git starts in."""
        return self.work_tree or self.git_dir


def environment(also: Mapping[str, str] | None = None) -> dict[str, str]:
    """The hardened environment of every command; `also`: further settings, as of the command line."""
    settings = _numbered({**_CONFIG, **also}) if also else {}
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | _HARD | settings


def personal_environment() -> dict[str, str]:
    """An environment in which git sees the person's configuration: for reading it, never for work on a tree."""
    env = environment()
    for name in ("GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL"):
        del env[name]
    env |= _numbered({})
    return env | {name: os.environ[name] for name in _PERSONAL if name in os.environ}


def network_environment() -> dict[str, str]:
    """An environment for talking with a remote: the person's credentials, no prompt, the repository's say removed."""
    config = {name: value for name, value in _CONFIG.items() if name not in ("core.sshCommand", "credential.helper")}
    env = personal_environment() | _numbered(config)
    env |= {name: os.environ[name] for name in _NETWORK if name in os.environ}
    env.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    return env | {"SSH_ASKPASS_REQUIRE": "never"}


def run(
    place: Place | None,
    *args: str,
    input: bytes | None = None,
    ok: tuple[int, ...] = (0,),
    timeout: float = TIMEOUT,
    env: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: int | None = None,
) -> process.Completed:
    """Run `git ARGS` at a place; exit codes in `ok` are answers, all others raise GitFailed.

    `env` replaces the hardened environment, `extra` adds to it. Also raises TimedOut and Unavailable.
    """
    full = dict(environment() if env is None else env) | (place.environment() if place else {}) | dict(extra or {})
    where = cwd or (place.cwd if place else Path("/"))
    try:
        done = process.run(["git", *args], cwd=where, env=full, timeout=timeout, input=input, limit=limit)
    except Unavailable as error:
        raise _without_git(error) from error
    if done.timed_out:
        raise TimedOut(f"git {args[0]} did not end within {timeout:g} s", object=str(where), code="git_timed_out")
    if done.code not in ok or done.cut:
        raise failed(done, where)
    return done


def _without_git(error: Unavailable) -> Unavailable:
    if error.code != "program_missing":
        return error
    return Unavailable("git is not installed", object="git", code="git_missing", hint="install git 2.39 or newer")


_FULL = ("No space left on device", "Disk quota exceeded")


def failed(done: process.Completed, where: Path) -> GitFailed:
    """The error that tells what git said."""
    stderr = done.stderr.decode(errors="replace")
    lines = [line for line in stderr.splitlines() if line.strip()]
    cause = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    cause = cause.removeprefix("fatal: ").removeprefix("error: ") or f"exit code {done.code}"
    if done.cut:
        cause = "its output is larger than we can hold"
    return GitFailed(
        f"git {done.argv[1]} failed: {cause}",
        argv=done.argv,
        returncode=done.code,
        stderr=stderr[-4000:],
        object=str(where),
        code="disk_full" if any(words in stderr for words in _FULL) else None,
    )


def text(done: process.Completed) -> str:
    """Output as text without its last line end; bytes that are not UTF-8 survive as surrogates, as in paths."""
    return os.fsdecode(done.stdout).removesuffix("\n")


def fields(data: bytes) -> list[str]:
    """The fields of `-z` output."""
    return [os.fsdecode(part) for part in data.split(b"\0")[:-1]]


def plain(value: str) -> str:
    """A value that git cannot take for an option. Raises StrettoError otherwise."""
    if not value or value.startswith("-") or "\0" in value or "\n" in value:
        raise StrettoError(f"{value!r} is not a name that git may be given", object=value, code="bad_name")
    return value


_OID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def is_oid(value: str) -> bool:
    """Whether this is a full object id."""
    return _OID.fullmatch(value) is not None


def oid(value: str) -> str:
    """A full object id. Raises StrettoError for anything else."""
    if not is_oid(value):
        raise StrettoError(f"{value!r} is not a full object id", object=value, code="bad_oid")
    return value


@functools.cache
def version() -> tuple[int, ...]:
    """The version of git, asked once. Raises Unavailable if there is none or it is older than 2.39."""
    words = text(run(None, "version")).split()
    found = tuple(int(part) for part in re.findall(r"\d+", words[2] if len(words) > 2 else "")[:3])
    if found < FLOOR:
        raise Unavailable(
            f"git {'.'.join(map(str, found)) or '(unknown version)'} is too old",
            object="git",
            code="git_too_old",
            hint="install git 2.39 or newer",
        )
    return found
