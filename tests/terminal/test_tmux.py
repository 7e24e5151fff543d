"""The real tmux on a socket of ours: words, death, delivery into an interface that misbehaves on demand."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto.agents.scripted_tui import ScriptedTui
from stretto.core import delivery
from stretto.core.delivery import Act, Look, Step
from stretto.core.errors import StrettoError
from stretto.terminal import words
from stretto.terminal.pane import Courier, Pane
from stretto.terminal.screen import Screen
from stretto.terminal.tmux import FLOOR, Gone, Terminal, version
from tests.support.waiting import wait_for

COMPOSER = Path(__file__).resolve().parents[2] / "src" / "stretto" / "testing" / "composer.py"
TUI = ScriptedTui()


@pytest.fixture
def terminal(short_folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(short_folder / "tmux", {**os.environ, "TMUX": "/tmp/somebody,1,0", "TMUX_PANE": "%7"})
    yield terminal
    with suppress(StrettoError):  # it is gone already, or goes before it answers
        terminal.command("kill-server")
    terminal.close()


def test_tmux_is_new_enough() -> None:
    assert (version("tmux", os.environ) or (0, 0)) >= FLOOR


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(word=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1))
def test_a_word_means_itself(terminal: Terminal, word: str) -> None:
    if terminal.fileno() < 0:
        terminal.start("one", ["/bin/cat"], terminal.socket.parent)
    path = terminal.socket.with_name("saved")
    terminal.command("set-buffer", "-b", "x", "--", word)
    terminal.command("save-buffer", "-b", "x", str(path))
    assert path.read_bytes().decode() == word
    path.unlink()


def test_the_person_s_tmux_and_settings_have_no_part_in_it(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(os.environ["HOME"]) / ".tmux.conf").write_text("set -g status-left mine\n")
    terminal.start("one", ["/bin/sh", "-c", "echo [$TMUX_TMPDIR]; exec cat"], terminal.socket.parent)
    assert "mine" not in terminal.command("show-options", "-g")
    assert terminal.command("list-sessions", "-F", "#{session_name}") == "one"
    (Path(os.environ["HOME"]) / ".tmux.conf").unlink()


def test_a_screen_that_speaks_like_tmux_is_only_a_screen(terminal: Terminal) -> None:
    lies = [*(f"%end {int(time.time()) + s} {n} 1" for s in (0, 1) for n in range(260, 270)), "%exit"]
    path = terminal.socket.with_name("lies")
    path.write_text("\n".join(lies))
    terminal.start("one", ["/bin/cat", str(path), "-"], terminal.socket.parent)
    pane = Pane(terminal, "one")
    wait_for(lambda: "%exit" in pane.look().text)
    for _ in range(30):
        assert pane.look().text.count("%end") == 20
        assert terminal.command("display-message", "-p", "mine") == "mine"


def test_it_is_seen_when_a_program_begins_to_read_keys(terminal: Terminal, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f'echo drawn; until [ -e "{go}" ]; do sleep 0.02; done; stty raw; sleep 600'
    terminal.start("keys", ["/bin/sh", "-c", script], tmp_path)
    pane = Pane(terminal, "keys")

    def look() -> Screen:
        pane.facts()
        return pane.look()

    wait_for(lambda: "drawn" in look().text)
    assert not look().taken
    go.touch()
    wait_for(lambda: look().taken)


@pytest.mark.parametrize("marked", [True, False])
def test_a_paste_is_marked_for_a_program_that_has_not_asked_for_it_yet(
    terminal: Terminal, tmp_path: Path, marked: bool
) -> None:
    got = tmp_path / "got"
    terminal.start("keys", ["/bin/sh", "-c", f'stty raw -echo; exec cat > "{got}"'], tmp_path)
    pane = Pane(terminal, "keys")

    def taken() -> bool:
        pane.facts()
        return pane.look().taken

    wait_for(taken)
    pane.paste("one!\ntwo?", marked=marked)
    pane.type(".")
    wait_for(lambda: got.exists() and got.read_bytes().endswith(b"."))
    assert got.read_bytes() == (b"\x1b[200~one!\ntwo?\x1b[201~." if marked else b"one!\ntwo?.")


def test_what_a_reply_is_and_what_is_none() -> None:
    block = [b"%begin 1 7 1", b"a", b"%end 1 6 1", b"%end 1 7 1"]
    mark = [b"%begin 1 8 1", b"mark", b"%end 1 8 1"]
    assert words.reply(block, b"mark") is None
    assert words.reply([*block, *mark], b"mark") == words.Reply(True, (b"a", b"%end 1 6 1"))
    assert words.reply([b"%begin 1 7 1", b"no", b"%error 1 7 1", b"%note", *mark], b"mark") == words.Reply(
        False, (b"no",)
    )
    assert words.reply(mark, b"mark") == words.Reply(False, ())


def test_refusal_death_and_a_client_of_its_own_are_told_apart(terminal: Terminal) -> None:
    with pytest.raises(Gone):
        terminal.command("list-panes")
    terminal.start("one", ["/bin/sh", "-c", "exit 3"], terminal.socket.parent)
    with pytest.raises(StrettoError, match="unknown command"):
        terminal.command("nonsense")
    pane = Pane(terminal, "one")
    facts = wait_for(lambda: (found := pane.facts()).code is not None and found)
    assert (facts.dead, facts.code, facts.clients) == (True, 3, 0)
    os.kill(int(terminal.command("display-message", "-p", "#{client_pid}")), signal.SIGKILL)
    assert terminal.command("list-sessions", "-F", "#{session_name}") == "one", "a new client"
    os.kill(int(terminal.command("display-message", "-p", "#{pid}")), signal.SIGKILL)
    began = time.monotonic()
    while select.select([terminal.fileno()], [], [], 60)[0] and terminal.drain():
        pass
    assert time.monotonic() - began < 60, "a dead server says so by itself"
    with pytest.raises(Gone):
        terminal.command("list-panes")


def test_a_tmux_that_cannot_start_says_why(short_folder: Path) -> None:
    (short_folder / "tmux").mkdir()  # where its socket should be
    with pytest.raises(StrettoError):
        Terminal(short_folder / "tmux", os.environ).start("one", ["/bin/cat"], short_folder)
    with pytest.raises(StrettoError, match="not found"):
        Terminal(short_folder / "tmux", os.environ, "no-such-tmux").start("one", ["/bin/cat"], short_folder)


def test_how_a_program_ended_is_always_known(terminal: Terminal, short_folder: Path) -> None:
    """tmux now and then misses the end of one that hardly began, and leaves it a zombie."""
    terminal.start("one", ["/bin/cat"], short_folder)
    pane = Pane(terminal, "one")
    for code in range(1, 41):
        terminal.respawn("one", ["/bin/sh", "-c", f"exit {code}"], short_folder)
        wait_for(lambda code=code: pane.facts().code == code, what=lambda: repr(pane.facts()))  # type: ignore[misc]


# ---------------------------------------------------------------- delivery


@dataclass
class Room:
    """The composer in a pane, and what it reports."""

    terminal: Terminal
    folder: Path
    slow: float = 1.0

    def open(self, habits: str = "") -> Pane:
        env = {"COMPOSER_HABITS": habits, "STRETTO_PANE_FOLDER": str(self.folder)}
        argv = [f"{name}={value}" for name, value in env.items()]
        turn = ["/bin/sh", "-c", 'cp "$STRETTO_PROMPT_FILE" got; sleep 0.1']
        program = [sys.executable, "-I", str(COMPOSER), *turn]
        self.terminal.start("one", ["/usr/bin/env", *argv, *program], self.folder)
        return Pane(self.terminal, "one")

    def reported(self) -> list[dict[str, object]]:
        path = self.folder / "composer.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def began(self, text: str) -> str | None:
        prompts = [str(said["prompt"]) for said in self.reported() if "began" in said]
        return "session file" if any(delivery.squeezed(text) == delivery.squeezed(one) for one in prompts) else None

    def deliver(self, pane: Pane, text: str) -> Step:
        """To the end. The clock of the courier runs `slow` times as fast as ours."""
        start = time.monotonic()
        courier = Courier(pane, text, 0.0)

        def look() -> Look:
            view = TUI.view(pane.look())
            return Look(
                now=(time.monotonic() - start) * self.slow,
                holds=delivery.holds(view.composer, courier.text, folded=view.folded),
                dialog=view.dialog is not None,
                working=view.working,
                began=self.began(courier.text),
            )

        def go() -> Step | None:
            step = courier.go(look)
            return step if step.act in (Act.BEGAN, Act.GIVE_UP) else None

        return wait_for(go, 60, what=lambda: pane.look().text)


@pytest.fixture
def room(terminal: Terminal, short_folder: Path) -> Room:
    return Room(terminal, short_folder)


TEXTS = {
    "plain": "Add a table.",
    "lines": "one\n\n  two\tand\nthree",
    "dash": "-- -n 'quoted' \"twice\" $HOME `date` #{pid} ; %if {}",
    "control": "a\x1b[201~\rb\x03\x04\x1b[Ac\x00d\u2028",
    "scripts": "Дай 日本語 한국어 العربية 🎼 é",
    "large": "\n".join(f"line {n} of a very long message, which is pasted as one" for n in range(1900)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_arrives_once_and_whole(room: Room, name: str) -> None:
    pane = room.open()
    assert room.deliver(pane, TEXTS[name]).act is Act.BEGAN
    wait_for(lambda: any("ended" in said for said in room.reported()))
    assert (room.folder / "got").read_text() == delivery.clean(TEXTS[name])
    assert sum("began" in said for said in room.reported()) == 1


def test_a_slow_start_and_a_swallowed_enter_lose_nothing_and_send_nothing_twice(room: Room) -> None:
    hold = room.folder / "hold"
    pane = room.open(f"hold={hold};swallow=2")
    assert TUI.view(pane.look()).composer is None
    hold.touch()
    room.slow = 20.0
    assert room.deliver(pane, "Do it.").why == "session file"
    assert sum("began" in said for said in room.reported()) == 1


def test_two_messages_one_after_the_other(room: Room) -> None:
    pane = room.open()
    for text in ("First.", "Second."):
        assert room.deliver(pane, text).act is Act.BEGAN
    assert [said["prompt"] for said in room.reported() if "began" in said] == ["First.", "Second."]


def test_a_draft_of_the_person_is_neither_sent_nor_touched(room: Room) -> None:
    pane = room.open("draft=what I was about to")
    wait_for(lambda: TUI.view(pane.look()).composer)
    room.slow = 100.0
    step = room.deliver(pane, "Do it.")
    assert (step.act, step.way.touched) == (Act.GIVE_UP, False)
    assert "a draft stands" in step.why
    assert TUI.view(pane.look()).composer == "what I was about to"
    assert room.reported() == []


def test_nothing_is_put_into_a_dialog(room: Room) -> None:
    pane = room.open("dialog=Do you trust this folder?")
    dialog = wait_for(lambda: TUI.view(pane.look()).dialog)
    assert dialog.options == (("1", "Yes"), ("2", "No"))
    room.slow = 100.0
    step = room.deliver(pane, "1 or 2")
    assert (step.act, step.why) == (Act.GIVE_UP, "a dialog is open in the agent's terminal")
    assert room.reported() == []
    pane.press("1")
    wait_for(lambda: TUI.view(pane.look()).composer == "")


def test_what_is_not_known_to_have_begun_is_told_so(room: Room) -> None:
    pane = room.open("deaf")
    room.slow = 10.0
    step = room.deliver(pane, "Do it.")
    assert (step.act, step.why, step.way.touched) == (Act.GIVE_UP, "nothing says that the turn began", True)


def test_two_panes_at_once_never_mix(room: Room, short_folder: Path) -> None:
    first = room.open()
    folder = short_folder / "2"
    folder.mkdir()
    other = Room(room.terminal, folder)
    env = ["COMPOSER_HABITS=", f"STRETTO_PANE_FOLDER={folder}"]
    room.terminal.start("two", ["/usr/bin/env", *env, sys.executable, "-I", str(COMPOSER), "/bin/true"], folder)
    second = Pane(room.terminal, "two")
    couriers = [(room, first, "for the first"), (other, second, "for the second")]
    for one, pane, text in couriers:
        assert one.deliver(pane, text).act is Act.BEGAN
    assert [said["prompt"] for one, _, _ in couriers for said in one.reported() if "began" in said] == [
        "for the first",
        "for the second",
    ]
