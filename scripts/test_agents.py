"""Run the suite of the real agents (`make test-agents`) where loopback is the only network, if that can be had.

usage: test_agents.py [--all | --all=stream | --all=pane] [PYTEST ARGUMENTS]

A network namespace of its own proves that no agent needs, or reaches, anything but the model server. Root makes one;
any other user needs a user namespace for it, which some machines forbid: then the suite runs all the same, and says so.
A program that is not installed fails the run: this command promises the real ones. STRETTO_AGENTS names others than
claude, codex and pi. `--all` (`make test-agents-all`) takes every agent that the suite knows, or those that
STRETTO_AGENTS names, in both modes or in the one that is named, and writes what came of it into docs/agents-tested.md;
what such a run did not try stays as it was there.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e import matrix  # noqa: E402  # the tests are no installed package

#: what `make test-agents` runs
USUAL = ("claude", "codex", "pi")
SUITES = ("test_agents_real", "test_agents_answers", "test_agents_cost")
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def cut_off() -> str | None:
    """Leave the network for one that has only loopback. None when that is done, else why it cannot be."""
    if sys.platform != "linux":
        return "there are no network namespaces here"
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER) != 0:
        return os.strerror(ctypes.get_errno())
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(sock, SIOCGIFFLAGS, asked))[0]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
    return None


def main(arguments: list[str]) -> None:
    """Become pytest, or run it and write the table."""
    why = cut_off()
    print("network: loopback only" if why is None else f"network: as it is ({why})", flush=True)
    os.environ["STRETTO_CI"] = "1"  # a skip is a failure
    every, _, mode = arguments[0].partition("=") if arguments else ("", "", "")
    if every != "--all":
        os.environ.setdefault("STRETTO_AGENTS", " ".join(USUAL))
        os.execv(sys.executable, [*_pytest(SUITES), *arguments])
    os.environ.setdefault("STRETTO_AGENTS", " ".join(matrix.AGENTS))
    report = ROOT / ".cache" / "agents-tested.xml"
    report.unlink(missing_ok=True)
    suites = [suite for suite in matrix.SUITES if mode in ("", matrix.SUITES[suite])]
    done = subprocess.run([*_pytest(suites), f"--junitxml={report}", *arguments[1:]], check=False)
    print(matrix.take([report]))
    sys.exit(done.returncode)


def _pytest(suites: Iterable[str]) -> list[str]:
    workers = str(min(4, max(2, os.cpu_count() or 1)))
    os.chdir(ROOT)
    paths = [str(path) for name in suites if (path := Path("tests", "e2e", f"{name}.py")).exists()]
    return [sys.executable, "-m", "pytest", "-q", "-m", "agents", "-n", workers, "--dist", "worksteal", *paths]


if __name__ == "__main__":
    main(sys.argv[1:])
