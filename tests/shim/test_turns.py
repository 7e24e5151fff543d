"""Style turns: one process a turn."""

from __future__ import annotations

from tests.shim.sessions import python, shell
from tests.support.waiting import wait_for

ECHO = shell('echo "turn $STRETTO_TURN: $(cat "$STRETTO_PROMPT_FILE")"; echo err >&2')


def test_each_turn_starts_the_program_with_its_prompt_and_ordinal(session):
    one = session(ECHO, "turns", turn_offset=4).start()
    one.send("first")
    one.send("second")
    record = one.turn_over(2)
    assert one.output() == b"turn 5: first\nerr\nturn 6: second\nerr\n"
    assert {key: record[key] for key in ("n", "code", "signal", "interrupted", "reason")} == {
        "n": 2,
        "code": 0,
        "signal": None,
        "interrupted": False,
        "reason": None,
    }
    assert record["started_at"] <= record["ended_at"]
    assert one.state.delivered == 2
    assert (one.folder / "turns" / "1.prompt").stat().st_mode & 0o777 == 0o600
    assert not one.state.agent_alive


def test_stdin_is_empty(session):
    one = session(shell("cat; echo end"), "turns").start()
    one.send("x")
    one.turn_over(1)
    assert one.output() == b"end\n"


def test_failure_and_signal_are_recorded(session):
    one = session(shell('[ "$STRETTO_TURN" = 1 ] && exit 3; kill -9 $$'), "turns").start()
    one.send("a")
    one.send("b")
    assert one.turn_over(1)["code"] == 3
    assert (one.turn_over(2)["code"], one.turn_over(2)["signal"]) == (None, 9)


def test_a_program_that_cannot_be_started_fails_the_turn_not_the_session(session):
    one = session(["no-such-program"], "turns").start()
    one.send("a")
    record = one.turn_over(1)
    assert (record["code"], record["reason"]) == (127, "cannot start no-such-program: No such file or directory")
    assert one.state.alive
    one.send("b")
    assert one.turn_over(2)["code"] == 127
    assert one.log() == ""


def test_interrupt_ends_the_running_turn_with_int(session):
    one = session(shell("trap 'echo int; exit 130' INT; echo up; while :; do sleep 0.05; done"), "turns").start()
    one.send("a")
    one.said(b"up\n")
    one.send("", "interrupt")
    record = one.turn_over(1)
    assert (record["code"], record["interrupted"]) == (130, True)
    assert one.output() == b"up\nint\n"
    one.delivered(2)
    one.send("b")
    wait_for(lambda: one.output().count(b"up\n") == 2, what="the next turn")


def test_interrupt_of_a_deaf_agent_ends_in_kill(session):
    deaf = shell("trap '' INT TERM; echo up; while :; do sleep 0.05; done")
    one = session(deaf, "turns", stop_seconds=0.2).start()
    one.send("a")
    one.said(b"up\n")
    one.send("", "interrupt")
    record = one.turn_over(1)
    assert (record["signal"], record["interrupted"]) == (9, True)
    assert one.state.alive


def test_interrupt_hits_the_turn_that_runs_even_when_another_waits(session):
    one = session(shell('echo "up $STRETTO_TURN"; [ "$STRETTO_TURN" = 2 ] || sleep 600'), "turns").start()
    one.send("a")
    one.said(b"up 1\n")
    one.send("b")
    one.send("", "interrupt")
    assert one.turn_over(1)["interrupted"]
    assert not one.turn_over(2)["interrupted"]
    one.delivered(3)


def test_interrupt_between_turns_does_nothing(session):
    one = session(ECHO, "turns").start()
    one.send("", "interrupt")
    one.delivered(1)
    one.send("a")
    assert one.turn_over(2)["code"] == 0
    assert b"turn 1: a" in one.output()


def test_a_control_record_cannot_be_delivered_and_stops_intake(session):
    one = session(ECHO, "turns").start()
    one.send("x", "control")
    one.send("a")
    wait_for(lambda: one.state.problem, what="the recorded problem")
    assert one.state.delivered == 0
    assert one.output() == b""


def test_leftovers_of_a_turn_are_ended_with_it(session):
    one = session(shell("sleep 600 & setsid sleep 600 & echo done"), "turns").start()
    one.send("a")
    one.turn_over(1)
    assert one.processes() == []
    assert one.state.alive


def test_stop_during_a_turn_ends_and_records_it(session):
    one = session(shell("echo up; sleep 600"), "turns").start()
    one.send("a")
    one.said(b"up\n")
    one.send("", "stop")
    ended = one.over()
    assert (ended["reason"], ended["code"]) == ("stopped", None)
    assert one.state.turns[1]["interrupted"]
    assert one.processes() == []


def test_turns_run_one_after_the_other(session):
    one = session(shell("echo begin; sleep 0.1; echo end"), "turns").start()
    for _ in range(3):
        one.send("x")
    one.turn_over(3)
    assert one.output() == b"begin\nend\n" * 3


def test_a_turn_that_was_attempted_is_never_repeated(session):
    one = session(shell('echo "up $STRETTO_TURN"; sleep 600'), "turns").start()
    one.send("a")
    one.said(b"up 1\n")
    one.send("b")
    one.kill_shim()
    one.start()  # ends what the first shim left, and goes on with what is new
    assert one.said(b"up 2\n") == b"up 1\nup 2\n"
    assert 1 not in one.state.turns
    assert len(one.processes()) == 2  # sh and sleep of the second turn


def test_the_agent_does_not_inherit_the_umask_or_signals_of_the_shim(session):
    one = session(
        python(
            "import os, signal; print(oct(os.umask(0)), signal.getsignal(signal.SIGHUP) is signal.SIG_DFL,"
            " sorted(os.listdir('/proc/self/fd')))"
        ),
        "turns",
    ).start()
    one.send("a")
    one.turn_over(1)
    assert one.output() == b"0o22 True ['0', '1', '2', '3']\n"  # 3 is the listing itself
