"""What both sides of a shim's folder must agree on. The shim carries copies (host_system.py); a test compares them."""

from __future__ import annotations

from pathlib import Path

#: the program of the shim
HOST = Path(__file__).resolve().with_name("host.py")
#: version of `spec.json`
SCHEMA = 1
#: exit codes of the shim: another one holds the folder, secrets did not arrive whole, bad folder or spec
EXIT_LOCKED, EXIT_SECRETS, EXIT_SPEC = 3, 4, 5
#: kinds of records in `in.jsonl`
KINDS = ("turn", "control", "interrupt", "stop")
#: defaults of `spec.json`: size of an output segment, bytes kept of each stream, patience before KILL
SEGMENT_BYTES, KEEP_BYTES, STOP_SECONDS = 8 << 20, 64 << 20, 5.0
#: variables that the shim may have and its agent never gets
PRIVATE = ("STRETTO_TESTING", "STRETTO_FAILPOINT", "STRETTO_TEST_CLOCK")


def marker(session: str) -> str:
    """The variable by which every process of a session is known (`NAME=value`)."""
    return f"STRETTO_SESSION={session}"
