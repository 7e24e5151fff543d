"""Output: no byte lost or twice for a reader with a cursor, bounded memory and disk, honest gaps."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stretto.core.errors import Unavailable
from stretto.shim import folder as folders
from stretto.shim.control import FolderShims
from tests.shim.sessions import Session, python, shell
from tests.support.waiting import wait_for

#: prints N lines of 16 bytes that say where they are
COUNTER = "import sys\nw = sys.stdout.buffer.write\nfor i in range({0}): w(b'%015d\\n' % i)\nsys.stdout.flush()\n"
LINE = 16


def check_positions(data: bytes, at: int) -> None:
    """Every whole line in `data`, which begins at position `at`, says the position at which it stands."""
    first = -(-at // LINE)
    lines = data[first * LINE - at :].splitlines(keepends=True)
    whole = [line for line in lines if len(line) == LINE]
    assert whole == [b"%015d\n" % (first + n) for n in range(len(whole))]
    assert len(lines) - len(whole) <= 1


def read_all(one: Session, cursor: int = 0) -> tuple[int, list[tuple[int, int]]]:
    """Read to the end, checking each byte's place. Returns the end and the gaps that were met."""
    met = []
    while True:
        data, end = one.shims.read(one.folder, "out", cursor, 1 << 18)
        if end - len(data) > cursor:
            met.append((cursor, end - len(data)))
        check_positions(data, end - len(data))
        if not data:
            return end, met
        cursor = end


def test_a_reader_that_follows_gets_every_byte_once(session):
    one = session(python(COUNTER.format(200_000)), segment_bytes=100_003).start()
    cursor, digest = 0, hashlib.sha256()
    while True:
        over = one.state.alive is False
        data, cursor = FolderShims().read(
            one.folder, "out", cursor, 7919
        )  # each time a new reader: only the cursor counts
        digest.update(data)
        if not data and over:
            break
    expected = hashlib.sha256(b"".join(b"%015d\n" % i for i in range(200_000)))
    assert (cursor, digest.digest()) == (LINE * 200_000, expected.digest())
    assert len(folders.segments(one.folder, "out")) == LINE * 200_000 // 100_003 + 1


def test_a_hundred_megabytes_stay_bounded_in_memory_and_on_disk(session):
    total, step = 100 << 20, 1 << 12
    agent = (
        f"import sys\nw = sys.stdout.buffer.write\nfor i in range(0, {total // LINE}, {step}):\n"
        f"    w(b''.join([b'%015d\\n' % k for k in range(i, i + {step})]))\n"
        "sys.stdout.flush(); sys.stdin.read()"
    )
    one = session(python(agent), segment_bytes=1 << 20, keep_bytes=4 << 20).start()
    wait_for(lambda: folders.end_of(one.folder, "out") == total, 60, what="the end of the output")
    assert peak_kilobytes(one.shim) < 16_000
    kept = folders.segments(one.folder, "out")
    assert len(kept) <= 4
    assert sum((one.folder / f"out.{n:06d}").stat().st_size for n in kept) <= 4 << 20
    end, met = read_all(one)
    assert end == total
    assert met == [(0, (kept[0] - 1) << 20)]
    assert folders.gaps(one.folder, "out") == [(n << 20, (n + 1) << 20) for n in range(kept[0] - 1)]
    assert one.shims.tail(one.folder, "out", LINE) == b"%015d\n" % (total // LINE - 1)


def peak_kilobytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


def test_the_last_words_are_kept_when_the_agent_dies_with_a_full_pipe(session):
    one = session(python("import os; os.write(1, b'x' * 60000); os.write(2, b'y' * 60000); os._exit(0)")).start()
    one.over()
    assert (len(one.output()), len(one.output("err"))) == (60000, 60000)


def test_positions_go_on_in_the_next_life(session):
    one = session(python("print('x' * 149, flush=True); import sys; sys.stdin.read()"), segment_bytes=100).start()
    one.said(b"\n")
    one.kill_shim()
    one.spec["segment_bytes"] = 17  # cannot be changed any more
    one.start()
    wait_for(lambda: len(one.output()) == 300)
    assert one.output() == (b"x" * 149 + b"\n") * 2
    assert one.output("out", 140) == b"x" * 9 + b"\n" + b"x" * 149 + b"\n"


def test_tail_and_read_at_the_edges(session):
    one = session(shell("printf 0123456789; exec cat"), segment_bytes=4).start()
    one.said(b"9")
    assert [one.shims.tail(one.folder, "out", n) for n in (0, 1, 5, 99)] == [b"", b"9", b"56789", b"0123456789"]
    assert one.shims.read(one.folder, "out", 10, 5) == (b"", 10)
    assert one.shims.read(one.folder, "out", 3, 5) == (b"34567", 8)
    assert one.shims.read(one.folder, "none", 0, 5) == (b"", 0)


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(short_folder: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    mount = short_folder / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.faults
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_costs_output_not_the_agent(session, small_disk):
    total = LINE * 200_000
    one = session(python(COUNTER.format(200_000) + "for line in sys.stdin: print(line, end='', flush=True)"))
    one.folder = small_disk / "s"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(500_000))
    one.start()
    agent, shim = one.agent, one.shim
    wait_for(lambda: waits(agent), what="the agent to have written everything")
    end = folders.end_of(one.folder, "out")
    assert 0 < end < total
    assert read_all(one) == (end, [])
    used = cpu_ticks(shim)
    with pytest.raises(Unavailable, match="No space left") as caught:
        one.shims.append(one.folder, "turn", "x" * 100_000, 1)
    assert caught.value.code == "disk"
    filler.unlink()  # someone makes room
    one.send("after")
    one.delivered(1)
    one.said(b"after\n")
    assert cpu_ticks(shim) - used < 30, "no spinning"
    assert one.shims.read(one.folder, "out", end, 100) == (b"after\n", total + len("after\n"))
    assert folders.gaps(one.folder, "out") == [(end, total)]
    check_positions(one.shims.read(one.folder, "out", 0, 1 << 20)[0], 0)
    one.send("", "stop")
    assert one.over()["reason"] == "stopped"


def waits(pid: int) -> bool:
    """Whether a process sleeps in a read of its stdin, having written all that it wanted."""
    return "pipe_read" in Path(f"/proc/{pid}/wchan").read_text() or _syscall(pid) == "0"


def _syscall(pid: int) -> str:
    return Path(f"/proc/{pid}/syscall").read_text().split()[0]


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.faults
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_happened_is_still_recorded_on_a_full_disk(session, small_disk):
    one = session(shell('head -c 2000000 /dev/zero; echo "$STRETTO_TURN" >> /proc/self/fd/2'), "turns")
    one.folder = small_disk / "s"
    one.start()
    one.send("a")
    assert one.turn_over(1)["code"] == 0
    one.send("", "stop")
    assert one.over()["reason"] == "stopped"
    assert one.state.delivered == 2


@pytest.mark.faults
def test_suspending_the_shim_loses_nothing(session):
    one = session(python(COUNTER.format(200_000) + "print(*sys.stdin)")).start()
    shim = one.shim
    os.kill(shim, signal.SIGSTOP)
    one.send("later")
    assert one.state.alive
    os.kill(shim, signal.SIGCONT)
    one.delivered(1)
    wait_for(lambda: folders.end_of(one.folder, "out") == LINE * 200_000)
    assert read_all(one) == (LINE * 200_000, [])
    assert one.state.agent_alive


def test_a_line_across_segments_is_read_in_one_piece(session):
    one = session(shell("echo a; echo 0123456789012345678901234567890123456789; cat"), segment_bytes=7).start()
    one.said(b"6789\n")
    assert one.shims.read(one.folder, "out", 2, 1000) == (b"0123456789" * 4 + b"\n", 43)


def test_a_piece_of_a_line_before_a_gap_does_not_hold_up_a_reader_of_lines(tmp_path):
    """Written by hand as the shim writes it: `one\\ntw`, then 10 bytes lost, then `x\\nthree\\n`."""
    (tmp_path / "spec.json").write_text('{"segment_bytes": 100}')
    (tmp_path / "out.000001").write_bytes(b"one\ntw" + bytes(10) + b"x\nthree\n")
    (tmp_path / "out.gaps").write_text('{"from": 6, "to": 16}\n{"from": 24')
    assert folders.read(tmp_path, "out", 0, 100) == (b"one\ntw", 6)  # a reader of bytes gets all there is
    assert folders.read(tmp_path, "out", 6, 100) == (b"x\nthree\n", 24)
    assert folders.read(tmp_path, "out", 4, 100) == (b"x\nthree\n", 24)  # a reader of lines goes on after the gap
    assert folders.read(tmp_path, "out", 4, 2) == (b"tw", 6)
    assert folders.tail(tmp_path, "out", 10) == b"x\nthree\n"
