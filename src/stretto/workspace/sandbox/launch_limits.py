"""The launcher's limits: how much memory and how many processes all of the sandbox may have. Specified in launch.py.

Accepted, where there is no control group: memory is looked at, not held, so a limit is passed for a moment; files in
memory that have no name, and those in mounts of a namespace that something inside made for itself, are not seen.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from stretto.workspace.sandbox.launch_words import Words
else:
    import _signal as signal

#: how many processes more than the limit there can be at all: numbers that Linux keeps back once they were all given
ROOM = 300
#: the first Linux in which each process namespace has a highest number of its own; before, it is that of the machine
OWN_NUMBERS = (6, 14)
#: seconds between two looks, and when much is used; seconds for which too many processes are borne
_EVERY, _CLOSE, _BORNE = 0.5, 0.1, 2.0
#: how what we say begins
ENDED = "stretto: the sandbox was ended: "
_PREFIX = "stretto-"


class Limits:
    """Those of one sandbox, from before its start to after its end."""

    def __init__(self, words: Words) -> None:
        self.memory, self.processes, self.files = words.memory, words.processes, ("/", *words.tmpfs)
        self.group = _make_group(words.group, words.memory, words.processes) if words.group else None
        self._many_since: float | None = None

    def join(self) -> None:
        """In the child, before it becomes the sandbox: everything that it starts is in the group."""
        if self.group is not None:
            _write(f"{self.group}/cgroup.procs", "0")

    def bound(self, inside: int) -> int | None:
        """Begin to bound the numbers of processes; a process of ours to wait for."""
        if self.group is not None or self.processes is None or release() < OWN_NUMBERS:
            return None
        helper = os.fork()
        if helper == 0:
            try:
                _bound_inside(inside, self.processes + ROOM + 1)
            finally:
                os._exit(0)  # what could not be bounded is still looked at
        return helper

    def wait(self, child: int, inside: int | None) -> tuple[int, str]:
        """Wait for the sandbox's end, or end it. Its status, and why we, or the kernel for us, ended it."""
        said, pause = "", _EVERY
        fd = _descriptor(child)
        while not _over(child, fd, pause):
            if not said and inside is not None:
                said, pause = self._look(inside)
                if said:
                    os.kill(child, signal.SIGKILL)
        if fd is not None:
            os.close(fd)
        _, status = os.waitpid(child, 0)
        if self.group is not None and not said and _counted(f"{self.group}/memory.events", "oom_kill"):
            said = self._too_much("more")
        return status, f"{ENDED}{said}" if said else ""

    def leave(self) -> None:
        """After its end: take the group away."""
        if self.group is not None:
            _remove_group(self.group)

    def _look(self, inside: int) -> tuple[str, float]:
        """Why it must end, if it must; seconds to the next look."""
        root = f"/proc/{inside}/root"
        try:
            processes, memory = self._used(root)
            if self.memory is not None and memory > self.memory:
                memory = _exactly(root) + _in_files(root, self.files)
        except OSError:
            return "", _EVERY  # it is over, or about to be
        if self.memory is not None and memory > self.memory:
            return self._too_much(f"{memory >> 20} MiB"), _CLOSE
        now = time.monotonic()
        many = self.processes is not None and processes > self.processes
        self._many_since = (self._many_since or now) if many else None
        if self._many_since is not None and now - self._many_since > _BORNE:
            return f"it had {processes} processes and threads, and [sandbox] processes allows {self.processes}", _CLOSE
        close = many or (self.memory is not None and memory > self.memory // 2)
        return "", _CLOSE if close else _EVERY

    def _too_much(self, used: str) -> str:
        return f"it used {used} of memory, and [sandbox] memory allows {(self.memory or 0) >> 20} MiB"

    def _used(self, root: str) -> tuple[int, int]:
        """Processes and threads; bytes, as far as they are cheap to count (never less than there are)."""
        if self.group is not None:
            return _number(f"{self.group}/pids.current"), 0
        names = [name for name in os.listdir(f"{root}/proc") if name.isdigit()]
        if self.processes is not None and len(names) > self.processes:
            return len(names), 0
        threads = pages = 0
        for name in names:
            facts = _facts(f"{root}/proc/{name}/status", (b"Threads:", b"RssAnon:"))
            threads += facts.get(b"Threads:", 0)
            pages += facts.get(b"RssAnon:", 0) << 10
        return threads, pages + (_in_files(root, self.files) if self.memory is not None else 0)


def _descriptor(child: int) -> int | None:
    """By which its end is waited for; None before Linux 5.3."""
    try:
        return os.pidfd_open(child)
    except OSError:
        return None


def _over(child: int, fd: int | None, pause: float) -> bool:
    """Whether it has ended; waits so many seconds for it. It stays to be reaped."""
    if fd is None:
        time.sleep(pause)
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    ended = select.poll()
    ended.register(fd, select.POLLIN)
    return bool(ended.poll(pause * 1000))


def release() -> tuple[int, int]:
    """The version of this Linux."""
    major, _, rest = os.uname().release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


# ---------------------------------------------------------------- looking


def _facts(path: str, wanted: tuple[bytes, ...]) -> dict[bytes, int]:
    """Numbers of a file of lines `name number …`; nothing of a process that is gone."""
    found: dict[bytes, int] = {}
    try:
        with open(path, "rb") as lines:
            for line in lines:
                words = line.split()
                if words and words[0] in wanted:
                    found[words[0]] = int(words[1])
    except OSError:
        return found
    return found


def _exactly(root: str) -> int:
    """Bytes of memory; what several share is divided among them. Cheap looks see too much of forks."""
    total = 0
    for name in os.listdir(f"{root}/proc"):
        if name.isdigit():
            facts = _facts(f"{root}/proc/{name}/smaps_rollup", (b"Pss_Anon:",))
            kibi = facts or _facts(f"{root}/proc/{name}/status", (b"RssAnon:",))
            total += sum(kibi.values()) << 10
    return total


def _in_files(root: str, places: tuple[str, ...]) -> int:
    """Bytes of files that lie in memory."""
    total = 0
    for place in places:
        try:
            facts = os.statvfs(root + place)
        except OSError:
            continue
        total += (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    return total


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _counted(path: str, name: str) -> int:
    return _facts(path, (name.encode(),)).get(name.encode(), 0)


# ---------------------------------------------------------------- holding


def _bound_inside(inside: int, highest: int) -> None:
    """In a child: enter the process namespace, by the user namespace that owns it, and set its highest number."""
    import ctypes
    import fcntl

    libc = ctypes.CDLL(None, use_errno=True)
    space = os.open(f"/proc/{inside}/ns/pid", os.O_RDONLY)
    owner = fcntl.ioctl(space, 0xB701)  # NS_GET_USERNS
    for fd, kind in ((owner, 0x10000000), (space, 0x20000000)):
        if libc.setns(fd, kind) != 0:
            return
    within = os.fork()  # only a child is inside; the file means the namespace of who opens it
    if within == 0:
        _write("/proc/sys/kernel/pid_max", str(highest))
        os._exit(0)
    os.waitpid(within, 0)


def _make_group(above: str, memory: int | None, processes: int | None) -> str | None:
    """A control group with these limits; None if there can be none now. Takes away what dead launchers have left."""
    for name in os.listdir(above) if os.path.isdir(above) else []:
        pid = name[len(_PREFIX) :]
        if name.startswith(_PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            _quietly_rmdir(f"{above}/{name}")
    path = f"{above}/{_PREFIX}{os.getpid()}"
    try:
        os.mkdir(path)
        if memory is not None:
            _write(f"{path}/memory.max", str(memory))
            _write(f"{path}/memory.oom.group", "1")
            if os.path.exists(f"{path}/memory.swap.max"):
                _write(f"{path}/memory.swap.max", "0")
        if processes is not None:
            _write(f"{path}/pids.max", str(processes + ROOM))
    except OSError:
        _quietly_rmdir(path)
        return None
    return path


def _remove_group(path: str) -> None:
    if os.path.exists(f"{path}/cgroup.kill"):  # Linux 5.14; the process namespace has ended what was in it anyway
        _write(f"{path}/cgroup.kill", "1")
    for _ in range(100):
        if _quietly_rmdir(path):
            return
        time.sleep(0.02)


def _quietly_rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError:
        return not os.path.exists(path)
    return True


def _write(path: str, text: str) -> None:
    """Into a file of the kernel's. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
