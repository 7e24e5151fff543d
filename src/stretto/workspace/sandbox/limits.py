"""How much memory and how many processes a sandbox may have: what is said, what holds if nothing is, and by what."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from stretto.workspace.sandbox.launch_limits import OWN_NUMBERS, ROOM, release
from stretto.workspace.sandbox.recipe import Limits

#: processes and threads at once, and the share of this machine's memory, where the configuration says nothing
PROCESSES, SHARE = 4096, 0.75


def of(rules: Mapping[str, Any], group: str) -> Limits:
    """The limits of the configuration's `[sandbox]` table, `memory` there in MiB.

    Without a group, memory that was named is refused to a single process as well, as its data. What holds by itself is
    not: programs that reserve much and use little would not start.
    """
    named = rules.get("memory")
    memory = named << 20 if named is not None else int(machine() * SHARE)
    return Limits(memory, rules.get("processes", PROCESSES), group, None if named is None or group else memory)


def machine() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def means(group: str) -> tuple[str, str]:
    """By what memory, and by what the number of processes, is limited here."""
    if group:
        return f"the kernel, by a control group in {group}", f"it, at {ROOM} more, and by looking"
    if release() >= OWN_NUMBERS:
        return "looking several times a second", f"the kernel, at {ROOM} more, and by looking"
    if os.geteuid() != 0:
        return "looking several times a second", f"the kernel (RLIMIT_NPROC), at {ROOM} more, and by looking"
    return "looking several times a second", "looking only: root has no other limit before Linux 6.14"
