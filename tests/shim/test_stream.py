"""Style stream: one process, lines on its stdin."""

from __future__ import annotations

from tests.shim.sessions import python, record, shell
from tests.support.waiting import wait_for

CAT = shell("while read -r line; do echo got:$line; done")


def test_records_reach_the_agent_in_order_once_and_are_marked(session):
    one = session(CAT).start()
    for text in ("a", "b", "c"):
        one.send(text)
    assert one.said(b"got:c\n") == b"got:a\ngot:b\ngot:c\n"
    one.delivered(3)
    lines = (one.folder / "delivered").read_text().split("\n")
    assert lines == [f"{word} {n}" for n in (1, 2, 3) for word in ("attempting", "delivered")] + [""]
    state = one.state
    assert (state.alive, state.agent_alive, state.exit) == (True, True, None)


def test_stderr_is_a_stream_of_its_own(session):
    one = session(shell("echo out; echo err >&2; cat")).start()
    assert one.said(b"out\n") == b"out\n"
    assert one.said(b"err\n", "err") == b"err\n"


def test_stop_closes_stdin_ends_the_agent_and_says_so(session):
    one = session(CAT).start()
    one.send("a")
    one.said(b"got:a\n")
    one.send("", "stop")
    assert one.over()["reason"] == "stopped"
    assert one.state.delivered == 2
    assert one.processes() == []


def test_exit_is_recorded_with_code_and_signal(session):
    code = session(shell("echo bye; exit 7")).start()
    ended = code.over()
    assert (ended["code"], ended["signal"], ended["reason"]) == (7, None, "exited")
    assert code.output() == b"bye\n"
    killed = session(shell("kill -9 $$")).start()
    ended = killed.over()
    assert (ended["code"], ended["signal"]) == (None, 9)


def test_a_program_that_cannot_be_started_is_an_exit_with_its_reason(session, tmp_path):
    missing = session(["no-such-program"]).start()
    ended = missing.over()
    assert (ended["code"], ended["reason"]) == (127, "cannot start no-such-program: No such file or directory")
    plain = tmp_path / "plain"
    plain.write_text("text")
    plain.chmod(0o600)
    unusable = session([str(plain)]).start()
    ended = unusable.over()
    assert (ended["code"], ended["reason"]) == (126, f"cannot start {plain}: Permission denied")
    nowhere = session(shell("true"), cwd="/no/such/folder").start()
    assert nowhere.over()["reason"] == "cannot start in the folder /no/such/folder: No such file or directory"
    assert [one.log() for one in (missing, unusable, nowhere)] == ["", "", ""]


def test_a_message_that_the_agent_does_not_read_blocks_nothing(session):
    one = session(python("import time; print('up', flush=True); time.sleep(600)")).start()
    one.said(b"up\n")
    one.send("x" * 300_000)
    wait_for(lambda: one.state.attempting == 1, what="the attempt")
    one.send("behind")
    one.send("", "stop")
    ended = one.over()
    assert (ended["reason"], ended["stop"]) == ("stopped", 3)
    state = one.state
    assert (state.attempting, state.delivered) == (1, 0)  # partly written is not delivered, what is behind not tried


def test_a_slow_reader_gets_a_long_message_whole(session):
    text = "é" * 200_000
    one = session(
        python(
            "import sys, time, hashlib\nsys.stdin.buffer.read(10); print('waits', flush=True); time.sleep(0.3)\n"
            "line = sys.stdin.buffer.readline(); print(len(line), flush=True); sys.stdin.read()"
        )
    ).start()
    one.send(text)
    one.said(b"waits\n")
    assert one.said(b"\n" + str(len(text.encode()) + 1 - 10).encode())
    one.delivered(1)


def test_a_torn_last_line_waits_until_it_is_whole(session):
    one = session(CAT).start()
    one.raw(record(1, data="one") + record(2, data="two")[:9])
    one.said(b"got:one\n")
    one.raw(record(2, data="two")[9:])
    assert one.said(b"got:two\n") == b"got:one\ngot:two\n"
    assert one.state.problem is None


def test_a_lost_wake_only_costs_time(session):
    one = session(CAT).start()
    one.raw(record(1, data="one"), waking=False)
    one.said(b"got:one\n")


def test_a_torn_line_of_a_dead_writer_is_replaced(session):
    one = session(CAT).start()
    one.raw(b'{"n": 1, "kind": "turn", "data": "never who')
    one.send("one")
    assert one.said(b"got:") == b"got:one\n"


def test_a_record_out_of_sequence_stops_intake_for_good(session):
    one = session(CAT).start()
    one.raw(record(1, data="one") + record(3, data="three") + record(2, data="two"))
    wait_for(lambda: one.state.problem, what="the recorded problem")
    one.raw(record(4, data="four"))
    problem = one.state.problem
    assert problem
    assert (problem["after"], problem["reason"]) == (1, "record 3 ('turn') cannot follow record 1")
    assert one.output() == b"got:one\n"
    assert one.state.delivered == 1
    assert one.shims.end(one.folder, 5)
    assert one.output() == b"got:one\n"


def test_an_agent_that_closed_its_input_gets_nothing_more_but_lives(session):
    one = session(python("import os, time; os.close(0); print('closed', flush=True); time.sleep(600)")).start()
    one.said(b"closed\n")
    one.send("a")
    one.send("b")
    wait_for(lambda: one.state.problem, what="the recorded problem")
    state = one.state
    assert state.problem
    assert state.problem["reason"] == "record 1 cannot be delivered: the agent closed its input"
    assert (state.attempting, state.delivered, state.agent_alive) == (1, 0, True)


def test_an_agent_that_closed_its_output_lives(session):
    one = session(
        python("import os, sys; print('last'); sys.stdout.flush(); os.close(1); os.close(2); sys.stdin.readline()")
    ).start()
    one.said(b"last\n")
    assert one.state.agent_alive
    one.send("go on")
    assert one.over()["code"] == 0


def test_restart_on_an_old_folder_repeats_nothing_and_keeps_positions(session):
    one = session(CAT).start()
    one.send("a")
    one.send("b")
    one.said(b"got:b\n")
    one.delivered(2)
    one.kill_shim()
    one.start()
    one.send("c")
    assert one.said(b"got:c\n") == b"got:a\ngot:b\ngot:c\n"
