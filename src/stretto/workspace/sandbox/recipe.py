"""What a sandbox shows: a value, and the list of mounts that it means. Pure: paths in, mounts out, no look at the disk.

Specification. Where the task's git works in the repository itself (recipe W):
- Nothing is there but what is named: the system's programs, a few files of /etc, what the recipe lets be read, the
  workspace. The person's home folder is an empty one (or the task's own) at the same path.
- Of the repository: objects can be added (packs not changed), the task's own branches and their log, the task's own
  registration (index, HEAD) without what says where the repository is. Configuration, hooks, attributes, other
  branches, kept refs are read-only; other worktrees are not there.
Where it works in a clone (recipe C): the clone may be written but for its configuration, hooks and what it borrows
from; of the repository the objects can be read, and nothing else is there.
For both:
- The worktree's `.git` is a mount point of its own: it can be neither written nor moved, nor can its folder.
- A later mount hides an earlier one, so mounts stand in the order of their depth. A mount point cannot be moved away
  from inside, nor its folders up to the next mount.
- Network, processes, IPC and host name are the sandbox's own; capabilities are gone.

Accepted
- Loose objects of the repository can be deleted from inside (packs cannot): `stretto` packs nothing by itself.
- Everything that can be read can be sent to every host that the person allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath

#: folders of the system that hold programs and nothing of the person; each is shown if it is there
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store", "/gnu/store")
#: what programs read in /etc; the rest (keys, shadow files, machine ids, tokens of daemons) is not there
ETC = (
    *("alternatives", "ssl", "ca-certificates", "ca-certificates.conf", "pki", "crypto-policies"),
    *("passwd", "group", "nsswitch.conf", "hosts", "host.conf", "protocols", "services", "localtime", "timezone"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "os-release", "debian_version", "terminfo", "inputrc"),
    *("profile", "profile.d", "bash.bashrc", "bash_completion.d", "mime.types", "magic", "fonts", "perl"),
    *("java", "maven", "node", "python3", "php", "ruby", "emacs", "vim", "xdg", "locale.alias", "default/locale"),
    *("chromium", "chromium.d", "postgresql-common", "gai.conf", "shells", "environment", "login.defs", "mke2fs.conf"),
)
#: of a worktree's registration: what says where the repository and the worktree are, and what its git does
POINTERS = ("commondir", "gitdir", "config.worktree", "locked")
#: the locks of stretto in the common directory
LOCKS = ("stretto.lock", "stretto-landing.lock")
#: where programs inside find the proxy; the port is one of the sandbox's own network
PROXY_PORT = 3128


@dataclass(frozen=True, slots=True)
class Limits:
    """Of all in a sandbox together: `memory` in bytes, `processes` and threads at once. None: no limit.

    `group`: the folder of control groups in which one is made for it; empty: there is none. `data`: bytes of data that
    no single process may have, refused to it when it asks for more.
    """

    memory: int | None = None
    processes: int | None = None
    group: str = ""
    data: int | None = None


@dataclass(frozen=True, slots=True)
class GitPlaces:
    """Where git keeps a worktree. `refs`: folders below `common` whose refs may be written; without: no git writes."""

    common: str
    admin: str
    refs: tuple[str, ...] = ()
    alternates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClonePlaces:
    """A clone: its git directory, the file that is shown as `.git`, and the folders of objects that it borrows."""

    git_dir: str
    pointer: str
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One sandbox. Paths are absolute, real, and mean the same inside and outside, but for `house`.

    `home`: path of the person's home folder; `house`: the folder that is shown there, None: an empty one that goes with
    the sandbox. `system`, `read`: what exists of what may be read. `etc`: what is shown as /etc. `allow`: hosts that
    the proxy connects to (`host`, `host:port`, `*.host`). `forward`: (port inside, host, port) of servers that
    are reached directly. `ports`: of the workspace; who listens on one inside is reached at the same one outside.
    """

    workspace: str
    home: str
    git: GitPlaces | ClonePlaces | None = None
    house: str | None = None
    system: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    read: tuple[str, ...] = ()
    etc: str | None = None
    write: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    forward: tuple[tuple[int, str, int], ...] = ()
    ports: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Mount:
    """`kind`: bind (writable), ro, tmpfs, dev, proc or link; `source`: what is shown there, where that differs."""

    kind: str
    path: str
    source: str = ""


def mounts(recipe: Recipe) -> tuple[Mount, ...]:
    """Everything that the sandbox shows, in the order in which it is mounted: by depth, and as given where equal."""
    found = [Mount("tmpfs", "/tmp"), Mount("tmpfs", "/run"), Mount("tmpfs", "/var"), Mount("tmpfs", "/var/tmp")]  # noqa: S108 - inside
    found += [Mount("proc", "/proc"), Mount("dev", "/dev"), Mount("tmpfs", "/dev/shm")]  # noqa: S108 - inside
    found += [Mount("link", path, target) for path, target in recipe.links]
    found += [Mount("ro", "/etc", recipe.etc)] if recipe.etc is not None else []
    found += [Mount("ro", path) for path in (*recipe.system, *recipe.read)]
    found.append(Mount("tmpfs", recipe.home) if recipe.house is None else Mount("bind", recipe.home, recipe.house))
    found += [Mount("bind", path) for path in recipe.write]
    found.append(Mount("bind", recipe.workspace))
    if isinstance(recipe.git, ClonePlaces):
        found.append(Mount("ro", f"{recipe.workspace}/.git", recipe.git.pointer))
        found += _clone(recipe.git)
    elif recipe.git is not None:
        found.append(Mount("ro", f"{recipe.workspace}/.git"))
        found += _git(recipe.git)
    return tuple(sorted(dict.fromkeys(found), key=lambda mount: len(PurePosixPath(mount.path).parts)))


def _git(git: GitPlaces) -> list[Mount]:
    found = [Mount("ro", git.common), Mount("tmpfs", f"{git.common}/worktrees"), Mount("bind", git.admin)]
    found += [Mount("ro", f"{git.common}/{lock}", "/dev/null") for lock in LOCKS]  # who can read one can take it
    found += [Mount("ro", path) for path in git.alternates]
    found += [Mount("ro", f"{git.admin}/{name}") for name in POINTERS]
    if git.refs:
        found.append(Mount("bind", f"{git.common}/objects"))
        found += [Mount("ro", f"{git.common}/objects/{name}") for name in ("pack", "info")]
    for ref in git.refs:
        found += [Mount("bind", f"{git.common}/{ref}"), Mount("bind", f"{git.common}/logs/{ref}")]
    return found


def _clone(clone: ClonePlaces) -> list[Mount]:
    """`objects` and what is in it are mounts of their own, or could be moved away with what is read-only in them."""
    found = [Mount("bind", f"{clone.git_dir}{name}") for name in ("", "/objects", "/objects/info")]
    found += [Mount("ro", f"{clone.git_dir}/{name}") for name in ("config", "hooks", "objects/info/alternates")]
    return found + [Mount("ro", path) for path in clone.objects]


def refusal(path: str, home: str, private: str) -> str | None:
    """Why a folder may not be shown: it is, or holds, the home folder, stretto's own folder or everything."""
    for what, whole in (("your whole home folder", home), ("stretto's own folder", private)):
        if PurePosixPath(whole).is_relative_to(path):
            return f"{path} holds {what}"
    if PurePosixPath(path).is_relative_to(private) and path != f"{private}/bin":
        return f"{path} lies in stretto's own folder"
    return None
