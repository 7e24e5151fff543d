"""Real processes: limits, groups, children that outlive us."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stretto import process, proctree
from stretto.core.errors import TimedOut, Unavailable
from tests.support.waiting import wait_for

ENV = {"PATH": os.environ["PATH"]}


def sh(text: str, cwd: Path, **options: object) -> process.Completed:
    options.setdefault("timeout", 30.0)
    options.setdefault("env", ENV)
    return process.run(["/bin/sh", "-c", text], cwd=cwd, **options)  # type: ignore[arg-type]


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def gone(pid: int) -> bool:
    found = proctree.look(pid)
    return found is None or found.zombie


def test_a_child_gets_what_it_is_given_and_nothing_else(tmp_path: Path) -> None:
    done = sh("cat; env; pwd; echo err >&2; exit 3", tmp_path, input=b"hello\n")
    assert done.stdout.startswith(b"hello\n")
    assert b"STRETTO" not in done.stdout
    assert str(tmp_path).encode() in done.stdout
    assert (done.stderr, done.code, done.ok) == (b"err\n", 3, False)


def test_a_child_never_reads_our_stdin_or_terminal(tmp_path: Path) -> None:
    done = sh("cat; if (: </dev/tty) 2>/dev/null; then echo tty; fi", tmp_path)
    assert done.stdout == b""


def test_large_input_and_output_do_not_block_each_other(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    assert sh("cat", tmp_path, input=data).stdout == data


def test_input_that_is_not_read_is_no_error(tmp_path: Path) -> None:
    assert sh("exit 0", tmp_path, input=b"x" * 1_000_000).ok


def test_memory_is_capped_and_the_child_still_ends(tmp_path: Path) -> None:
    done = sh("head -c 5000000 /dev/zero", tmp_path, limit=1000)
    assert (len(done.stdout), done.cut, done.code) == (1000, True, 0)


def test_a_file_keeps_both_streams_with_beginning_and_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = sh("echo first; seq 1 200000; echo last >&2", tmp_path, output=log, limit=20_000)
    text = log.read_text()
    assert text.startswith("first\n1\n2\n")
    assert text.endswith("200000\nlast\n")
    assert "bytes left out" in text
    assert done.cut
    assert len(text) < 20_000 + process.CHUNK + 100
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_whole_group_ends_at_the_limit_even_if_it_ignores_term(tmp_path: Path) -> None:
    script = "trap '' TERM; (trap '' TERM; exec sleep 100) & echo $! > pid; wait; sleep 100"
    done = sh(script, tmp_path, timeout=0.5, grace=0.2)
    assert done.timed_out
    assert done.seconds < 5
    wait_for(lambda: gone(int((tmp_path / "pid").read_text())))


def test_what_a_child_leaves_behind_is_ended_and_not_waited_for(tmp_path: Path) -> None:
    done = sh("sleep 100 & echo $! > pid; echo done", tmp_path)
    assert done.ok
    assert done.stdout == b"done\n"
    assert done.seconds < 5
    wait_for(lambda: gone(int((tmp_path / "pid").read_text())))


def test_stop_ends_it(tmp_path: Path) -> None:
    done = sh("touch up; sleep 100", tmp_path, stop=lambda: (tmp_path / "up").exists())
    assert done.stopped
    assert not done.timed_out
    assert not done.ok


def test_check_raises_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(process.ProgramFailed, match="no such luck") as failed:
        sh("echo no such luck >&2; exit 9", tmp_path, check=True)
    assert failed.value.completed.code == 9
    with pytest.raises(TimedOut):
        sh("sleep 100", tmp_path, check=True, timeout=0.1, grace=0.1)


@pytest.mark.parametrize(("program", "code"), [("no-such-program", "program_missing"), ("./text", "program_unusable")])
def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, program: str, code: str) -> None:
    (tmp_path / "text").write_text("not a program")
    with pytest.raises(Unavailable) as refused:
        process.run([program], cwd=tmp_path, env=ENV, timeout=5)
    assert (refused.value.code, refused.value.object) == (code, program)


def test_a_missing_folder_is_not_mistaken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        sh("true", tmp_path / "gone")
    assert refused.value.code == "folder_missing"


def test_clean_environment_drops_what_is_ours() -> None:
    base = {"STRETTO_TESTING": "1", "STRETTO_FAILPOINT": "x", "GIT_DIR": "/x", "STRETTO_AGENT_TOKEN": "t", "KEEP": "1"}
    assert process.clean_environment(base) == {"KEEP": "1"}


def test_a_detached_process_survives_its_starter_and_gets_its_input(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from stretto import spawn; import sys\n"
        "print(spawn.detached(['/bin/sh', '-c', 'cat > got; echo up >> log; exec sleep 100'],"
        " cwd=Path(sys.argv[1]), env={'PATH': '/bin:/usr/bin', 'MARK': sys.argv[1]}, stdin_bytes=b'secret'*50000))"
    )
    env = ENV | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = process.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path.cwd(), env=env, timeout=30, check=True)
    pid = int(done.stdout)
    at = proctree.start_time(pid)
    assert at is not None
    try:
        wait_for(lambda: text_of(tmp_path / "log") == "up\n")
        assert (tmp_path / "got").read_bytes() == b"secret" * 50000
        assert proctree.alive(pid, at)
    finally:
        assert proctree.end_tree(pid, at, f"MARK={tmp_path}", grace=1)
    assert not proctree.alive(pid, at)
