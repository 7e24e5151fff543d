"""The session shim: owns one agent, outlives the daemon, and speaks through files only.

Run as `python -I -S host.py FOLDER [LOCK]`, LOCK being the descriptor of the folder's lock if whoever starts it has it
already. Standard library only, imports nothing of stretto, one thread, one poll loop.
Its parts lie beside it, loaded by path: host_session.py the loop, host_streams.py what is said and told,
host_system.py fail points, files, processes. Where the agent's wrapper is the sandbox's launcher, a program of the same
kind, a fork of the shim is it.

Properties
 1. A record of `in.jsonl` is written to the agent at most once: `attempting N` is synced before, `delivered N` after.
    A shim that starts on an old folder never repeats a record at or below the last `attempting`.
 2. Records are taken in order without a hole. A torn last line waits until it is complete; a bad one stops intake for
    good (`problem.json`), nothing after it is delivered; stop (SIGTERM) still works.
 3. Byte X of a stream lies in segment X // segment_bytes + 1 at X % segment_bytes, for ever. Bytes that are gone (cap,
    full disk) are named in `<stream>.gaps` before any byte after them is written. Memory is bounded: nothing is queued.
 4. All that the agent started ends with it, even when it left its group, session and parent or cleared its environment:
    the shim is a subreaper, so "no children left" is exact. Only descendants are signalled, by pid and start time.
 5. The lock is held for life and inherited by a forked child until it has become the agent: lock free = the shim is
    dead and its agent, if any, carries the marker in its environment.
 6. Secrets are in memory and in the agent's environment, nowhere else.
Races
 - A byte in `wake` can be lost or early: `in.jsonl` is also looked at on every tick, always from the last whole line.
 - The daemon may repair a torn line while we read: a bad line counts only when it is read twice.
 - `stop` overtakes what waits (else an agent that does not read could not be stopped); then only `exit.json` names it.
 - An interrupt (style turns) ends the turn that runs when it is read, even when other turns wait before it.
Accepted
 - When the shim itself is killed, output still in the pipe and the chunk in hand are lost (never output in a segment).
 - Without /proc (macOS) only the agent's process group is ended, and its start time is null.
 - A descendant that cannot be signalled (other user) or does not die in 5 s after KILL is left, and named in
   the reason.
Exit codes: 0 over · 1 failed (shim.log) · 3 another shim holds the folder · 4 secrets incomplete · 5 bad spec.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stretto.shim.host_session import load
    from stretto.shim.host_system import EXIT_LOCKED, EXIT_SECRETS, EXIT_SPEC, from_json
else:  # a program of its own: its folder is on sys.path, the package is not
    from host_session import load
    from host_system import EXIT_LOCKED, EXIT_SECRETS, EXIT_SPEC, from_json


def take_lock(folder: str, inherited: int | None) -> bool:
    """The folder's lock, for life. Someone who asks whether it is free holds it for a moment: hence the retries."""
    fd = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT, 0o600) if inherited is None else inherited
    os.set_inheritable(fd, False)
    for _ in range(20):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.025)
        else:
            return True
    return False


def read_secrets(fd: int) -> dict[str, str] | None:
    """The framed JSON object on our standard input, or None if it did not arrive whole."""
    data = b""
    while part := os.read(fd, 1 << 16):
        data += part
    if len(data) < 8 or int.from_bytes(data[:8], "big") != len(data) - 8:
        return None
    try:
        value = from_json(data[8:])
    except ValueError:
        return None
    fits = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    return value if fits else None


def main(folder: str, lock: int | None = None) -> int:
    """One session, from lock to exit record."""
    umask = os.umask(0o077)
    try:
        if not take_lock(folder, lock):
            return EXIT_LOCKED
        secrets = read_secrets(0)
        if secrets is None:
            return EXIT_SECRETS
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        shim = load(folder, secrets, umask)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{folder}: {error!r}\n")
        return EXIT_SPEC
    try:
        shim.open()
        shim.run()
    except BaseException as error:  # the agent never outlives a failing shim; raised again
        shim.abandon(error)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
