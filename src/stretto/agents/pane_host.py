"""The host of a pane: it owns a tmux in which an agent shows its own interface, and says what it learns as signals.

Run by the shim as `python -I pane_host.py FOLDER`; FOLDER holds `pane.json`. On its standard input it reads requests, a
JSON object a line: {turn: TEXT}, {interrupt: N}, {answer: REQUEST, key: KEY} or, in free words, {answer: REQUEST, text:
WORDS}, {line: LINE} for an agent that reads lines (channel.py). On its standard output it says signals
(interfaces.Signal), a JSON object a line: {signal, data}.

Specification.
- One message is under way at a time; the next one waits until the turn of the one before is over. How one is delivered,
  and when it is given up, is decided by core/delivery.py; what was given up is said once, and not tried again.
- A turn that a message began is over when the agent's hooks or own files say so and the screen shows no work any more;
  after an interrupt the screen is believed alone. Turns that the person begins in the terminal belong to no message;
  their end is told (`worked`).
- What the agent does is judged by the daemon: what hooks and files report is passed on as signs (core/evidence.py).
- A dialog becomes a question (pane_dialogs.py); without options, so does a screen that stands still and makes no sense.
- Screens of a program's start that ask nothing of the person are passed by as they stand, a few times at the most.
- A program that fails before it has ever shown a composer, a dialog or work is started once more: interfaces give up
  when a busy terminal answers them late. Nothing was typed then, so nothing is said twice.
- The end of the agent, of tmux, of our input ends us; the shim ends what is left. An agent's last screen is our last
  words, with its exit code or its signal.
- `attended`: the pane was opened for a person, who is waited for so many seconds; when nobody shows it any more and no
  turn runs, it ends.
Accepted: a host that dies in the middle of a delivery leaves a message of which only the agent's conversation knows
whether it arrived. The session is over then, and the message is not sent again.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections import deque
from dataclasses import asdict, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a program of its own: our package is found from here, whatever the Python path is
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from stretto.agents import hooks
from stretto.agents.channel import Channel, Line
from stretto.agents.pane_dialogs import TAKEN, Dialogs
from stretto.agents.tails import Tails
from stretto.agents.tui import Dialog, Place, Tui, View
from stretto.core import delivery
from stretto.core.delivery import Act, Look
from stretto.core.errors import StrettoError
from stretto.core.evidence import Sign, Source, What
from stretto.interfaces import Signal
from stretto.terminal import ends, launch
from stretto.terminal.pane import Courier, Facts, Pane
from stretto.terminal.tmux import Gone, Terminal

#: the word of a launch -> "module:class"
TUIS: dict[str, str] = {
    "claude": "stretto.agents.claude_tui:ClaudeTui",
    "codex": "stretto.agents.codex_tui:CodexTui",
    "command": "stretto.agents.command_tui:CommandTui",
    "gemini": "stretto.agents.gemini_tui:GeminiTui",
    "opencode": "stretto.agents.opencode_tui:OpencodeTui",
    "pi": "stretto.agents.pi_tui:PiTui",
    "scripted": "stretto.agents.scripted_tui:ScriptedTui",
}
#: the exit code when tmux went away below the agent
NO_TERMINAL = 69
#: seconds between two looks: while something is delivered, while something happens, and otherwise
_BUSY, _WORKING, _QUIET = 0.05, 0.25, 1.0
#: seconds without work on the screen after which an interrupted turn, or one that said its last word, is over
_CALM = 0.6
#: seconds for which a screen that makes no sense stands still until the person is told
_STRANGE = 8.0
#: seconds after which what a title still says is told once more
_AGAIN = 5.0
#: how often a screen of the program's start is passed by, and the keys of an interrupt are pressed
_STEPS = 8
#: seconds that a dead program's exit status may take
_STATUS = 5.0


class Host:
    """One pane from its start to its end. One thread."""

    def __init__(self, spec: dict[str, Any], terminal: Terminal) -> None:
        self.spec, self.terminal = spec, terminal
        module, _, name = TUIS[spec["tui"]].partition(":")
        self.tui: Tui = getattr(import_module(module), name)()
        env = dict(os.environ)
        home = spec.get("home") or env.get("HOME", "")
        self.place = Place(spec["cwd"], env, home, spec["conversation"] or "", spec["shared"])
        self.house = Path(spec["home"]) if spec.get("home") else None
        self.tails = Tails(self.tui.sources(self.place), old=bool(spec.get("resume")), house=self.house)
        path = self.tui.channel(self.place)
        self.channel = None if path is None else Channel(path)
        self.state: dict[str, Any] = dict(spec.get("state") or {})
        self.requests: deque[dict[str, Any]] = deque()
        self.input, self.ended = b"", False
        self.courier: Courier | Line | None = None
        self.began: str | None = None
        self.running = self.interrupted = self.theirs = False
        self.view = View()
        self.calm_since: float | None = None
        self.still: tuple[float, tuple[str, ...]] = (0.0, ())
        self.steps, self.titled = _STEPS, ""
        self.told: tuple[What | None, float] = (None, 0.0)
        self.passed = self.pressed = 0.0
        self.turns = self.presses = self.overs = 0
        self.attended = float(spec.get("attended") or 0)
        self.seen, self.dead_since = False, 0.0
        self.shown = self.again = False
        self.spool, self.spool_at = Path(spec["spool"]), 0
        self.idle = False

    # ---- life

    def run(self) -> int:
        """Until the agent, tmux or our input ends; the exit code."""
        program = [sys.executable, "-I", "-S", launch.__file__, self.spec["file"]]
        where = (self.spec["name"], program, Path(self.spec["folder"]))
        self.terminal.start(*where)
        self.pane = Pane(self.terminal, self.spec["name"])
        self.dialogs = Dialogs(self.pane, say)
        began = time.monotonic()
        Path(self.spec["socket"]).with_name("ready").touch(mode=0o600)
        say(Signal("started", {"conversation": self.place.conversation}))
        while not self.ended:
            self.listen()
            facts = self.pane.facts()
            self.learn()
            if facts.dead:
                if not self.finished(facts):
                    continue
                if not self.stumbled(facts):
                    return self.last_words(facts)
                self.again, self.dead_since = True, 0.0
                self.terminal.respawn(*where)
                continue
            self.work(facts)
            if self.left_alone(facts, began):
                self.dialogs.withdraw()
                return 0
        return 0

    def listen(self) -> None:
        """Wait for a request or a word of tmux, as long as nothing else is due."""
        pause = _BUSY if self.courier else _WORKING if self.running or self.view.working or self.seen else _QUIET
        for fd in select.select([0, self.terminal.fileno()], [], [], pause)[0]:
            if fd == 0:
                self.take(os.read(0, 1 << 16))
            elif not self.terminal.drain():
                self.terminal.attach()  # raises Gone when there is no server any more

    def take(self, data: bytes) -> None:
        """Requests; the end of the input is ours."""
        self.ended = not data
        *lines, self.input = (self.input + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "interrupt" in request:
                self.interrupt()
            elif "line" in request:
                self.tell(str(request["line"]))
            elif "answer" in request:
                key = request.get("key")
                self.answer(str(request["answer"]), None if key is None else str(key), str(request.get("text") or ""))
            else:
                self.requests.append(request)

    def left_alone(self, facts: Facts, began: float) -> bool:
        """Whether a pane that was opened for a person has served."""
        if not self.attended or facts.clients:
            self.seen = self.seen or facts.clients > 0
            return False
        dialog = self.view.dialog  # one that only this terminal answers, and the person has left it, holds up nothing
        idle = not self.view.working and self.courier is None and not self.running
        idle = idle and (dialog is None or not (dialog.answerable or dialog.permission))
        return idle and (self.seen or time.monotonic() - began > self.attended)

    def finished(self, facts: Facts) -> bool:
        """Whether all is known of a program that is over."""
        self.dead_since = self.dead_since or time.monotonic()
        known = facts.code is not None or facts.signal is not None
        return known or time.monotonic() - self.dead_since > _STATUS

    def stumbled(self, facts: Facts) -> bool:
        """Whether it failed by itself at its very start, for the first time."""
        return facts.code not in (None, 0, 127) and not (self.shown or self.again or self.turns or self.theirs)

    def last_words(self, facts: Facts) -> int:
        """What the screen shows at the end, for whoever wants to know why."""
        if self.courier is not None and self.courier.way.touched:
            self.give_up("the agent ended")
        lines = [line for line in self.pane.look().lines if line.strip()]
        sys.stderr.write("\n".join(lines[-20:]) + "\n")
        return facts.code if facts.code is not None else -(facts.signal or signal.SIGKILL)  # unknown is no good end

    # ---- looking

    def learn(self) -> None:
        """What the agent's hooks and own files report."""
        reports, self.spool_at = hooks.read(self.spool, self.spool_at)
        ends: list[Sign] = []
        overs = self.overs
        for report in reports:
            sign = hooks.sign(report)
            if sign is None or report.session != self.spec["session"]:
                continue
            if not self.place.conversation and (named := self.tui.conversation(report)):
                self.follow(named)
            self.saw(sign)
            ends.append(sign)
        for source, line in self.tails.read():
            for said in self.tui.line(source, line, self.state):
                self.heard(said)
        # after what the files say, which may hold the whole of a short turn; they may have ended it themselves
        for sign in ends if overs == self.overs else ():
            if sign.what is What.DONE:
                self.state.setdefault("ending", {"result": "ok", "reason": ""})
            elif sign.what in (What.ERROR, What.OVERFLOW, What.LIMITED):
                word = "limited" if sign.what is What.LIMITED else "failed"
                self.state["ending"] = {"result": word, "reason": sign.text}

    def follow(self, conversation: str) -> None:
        """The agent has told the name of its conversation, and with it where it writes."""
        self.place = replace(self.place, conversation=conversation)
        self.tails = Tails(self.tui.sources(self.place), old=False, house=self.house)
        say(Signal("started", {"conversation": conversation}))

    def heard(self, signal: Signal) -> None:
        """A signal of the agent; one about a turn is ours only if the turn is."""
        if signal.type == "turn_started":
            self.state.pop("ending", None)
            self.state.pop("verdict", None)
            seen = str(signal.data.get("evidence"))
            self.saw(Sign(What.WORKING, self.tui.witness, time.time(), self.spec["generation"]))
            arrived = str(signal.data.get("prompt") or "")
            if self.courier is not None and self.tui.same(self.courier.text, arrived):
                self.began = seen
                if self.courier.text.strip() not in arrived:
                    say(Signal("notice", {"text": "the agent took the message a little otherwise than it was written"}))
            elif not self.running:
                self.theirs = True
        elif signal.type == "turn_ended":
            self.over(dict(signal.data))
        elif signal.type == "refused":
            self.give_up(str(signal.data["reason"]))
        elif signal.type == "goes_on":
            self.hold_back()
        elif signal.type == "reply":
            self.tell(str(signal.data["data"]))
        else:
            say(signal)

    def over(self, data: dict[str, Any]) -> None:
        """A turn is over: that of a message, or one of the person."""
        self.overs += 1
        self.state.pop("ending", None)
        self.state.pop("verdict", None)
        word = {"ok": What.DONE, "interrupted": What.INTERRUPTED}.get(str(data.get("result")), What.ERROR)
        reason = str(data.get("reason") or "")
        self.saw(Sign(word, self.tui.witness, time.time(), self.spec["generation"], reason))
        if self.running or self.began is not None:
            self.arrived()
            say(Signal("turn_ended", data))
        elif self.theirs:
            say(Signal("worked", {"result": str(data.get("result"))}))
        self.running = self.interrupted = self.theirs = False

    def work(self, facts: Facts) -> None:
        """Look at the screen and do what is due."""
        now = time.monotonic()
        self.view = self.look(now)
        self.title(facts.title, now)
        working = self.view.working or self.view.dialog is not None or self.view.composer is None
        self.calm_since = None if working else self.calm_since or now
        calm = self.calm_since is not None and now - self.calm_since >= _CALM
        # it may ask before the proof is seen that our message began its turn
        begun = self.running or (self.courier is not None and self.courier.way.touched)
        if self.dialogs.see(self.view.dialog, begun=begun):
            self.idle = False
        if calm and "ending" in self.state:
            self.over({**self.state["ending"], **self.state.get("verdict", {})})
        elif calm and self.interrupted and self.running:
            self.over({"result": "interrupted", "reason": "by you"})
        elif self.interrupted and self.running and (self.view.working or self.view.dialog is not None):
            self.press_again(now)
        if self.courier is None and self.requests and not self.running:
            self.courier = self.take_up(str(self.requests.popleft()["turn"]), now)
        if self.courier is not None:
            self.deliver(self.courier, alive=not facts.dead)
        self.rest()

    def look(self, now: float) -> View:
        """What the screen says. One that stands still and makes no sense waits for somebody: the person is told."""
        screen = self.pane.look()
        view = self.tui.view(screen)
        for told in self.tui.met(screen, self.state) if not self.turns else ():
            say(told)
        if view.pass_by and self.steps and now - self.passed > TAKEN and not self.turns:
            self.steps, self.passed = self.steps - 1, now
            self.pane.press(*view.pass_by)
        self.shown = self.shown or view.working or view.composer is not None or view.dialog is not None
        if screen.lines != self.still[1]:
            self.still = (now, screen.lines)
        known = view.working or view.composer is not None or view.dialog is not None or view.pass_by
        if known or now - self.still[0] < _STRANGE or not screen.foot:
            return view
        return replace(view, dialog=Dialog(screen.foot, ()))

    def title(self, title: str, now: float) -> None:
        """What a title says that has changed: once, and again while it goes on."""
        what = self.tui.title(title) if title != self.titled else None
        self.titled = title
        if what is not None and (what is not self.told[0] or now - self.told[1] > _AGAIN):
            self.told = (what, now)
            self.saw(Sign(what, Source.TITLE, time.time(), self.spec["generation"]))

    def saw(self, sign: Sign) -> None:
        """Pass a sign on."""
        about = {"source": sign.source.name, "what": sign.what.value, "text": sign.text, "at": sign.at}
        say(Signal("sign", {**about, "until": sign.until, "generation": sign.generation}))

    def rest(self) -> None:
        """Say, once, that the agent waits for a message: when it has started, and after a dialog outside of a turn."""
        resting = self.view.composer is not None and not self.view.working and not self.running
        if resting and self.courier is None and not self.idle:
            self.idle = True
            say(Signal("status", {"status": "idle", "evidence": "its composer is open"}))

    # ---- telling

    def take_up(self, text: str, now: float) -> Courier | Line:
        """A message, ready to be brought to the agent as it wants it."""
        if delivery.clean(text) != delivery.lines(text):
            say(Signal("notice", {"text": "control characters of the message were left out: they would be keys"}))
        if self.channel is None:
            return Courier(self.pane, text, now, marked=self.tui.marked)
        return Line(self.channel, text, lambda text: self.tui.turn(text, self.state), now)

    def tell(self, line: str) -> None:
        """A line for the agent, if it reads any."""
        if self.channel is not None:
            self.channel.say(line)

    def deliver(self, courier: Courier | Line, *, alive: bool) -> None:
        """The next step of a message."""

        def look() -> Look:
            view = self.view = self.look(time.monotonic())
            return Look(
                now=time.monotonic(),
                alive=alive,
                holds=delivery.holds(view.composer, courier.text, folded=view.folded),
                dialog=view.dialog is not None,
                working=view.working,
                began=self.began,
            )

        try:
            step = courier.go(look)
        except Gone:
            raise
        except StrettoError as error:
            self.give_up(error.message)
            return
        if step.act is Act.BEGAN:
            self.began = step.why
            self.arrived()
        elif step.act is Act.GIVE_UP:
            self.give_up(step.why)

    def arrived(self) -> None:
        """The message began its turn."""
        if self.courier is not None:
            say(Signal("turn_started", {"evidence": self.began or "session file"}))
            self.running, self.calm_since = True, None
            self.turns += 1
            if (dialog := self.dialogs.open) is not None:  # it asked before the proof was seen, and still does
                what = What.PERMISSION if dialog.permission else What.ASKING
                self.saw(Sign(what, Source.PROTOCOL, time.time(), self.spec["generation"], dialog.told[:200]))
        self.courier, self.began = None, None

    def give_up(self, why: str) -> None:
        """The message did not arrive as far as anyone knows."""
        if self.courier is not None:
            say(Signal("undelivered", {"reason": why, "touched": self.courier.way.touched}))
        self.courier, self.began = None, None

    def interrupt(self) -> None:
        """End the turn; a message that is still on its way stays where it is."""
        if self.courier is not None and not self.courier.way.touched:
            self.give_up("it was interrupted before it was sent")
            return
        self.interrupted, self.calm_since = True, None
        self.dialogs.let_go()
        self.presses = _STEPS
        if self.channel is not None:
            self.presses = 0
            self.tell(self.tui.stop(self.state))
        else:
            self.press_again(time.monotonic())

    def hold_back(self) -> None:
        """End what it goes on with by itself after a turn that was interrupted; nothing of a person is in the way."""
        alone = not self.running and not self.theirs and (self.courier is None or not self.courier.way.touched)
        if alone and self.turns and self.tui.view(self.pane.look()).working:
            self.pane.press(*self.tui.interrupt)

    def press_again(self, now: float) -> None:
        """The keys that end a turn: some interfaces take the first ones for a dialog that stood over it."""
        if self.presses and now - self.pressed > TAKEN:
            self.presses, self.pressed = self.presses - 1, now
            self.pane.press(*self.tui.interrupt)

    def answer(self, request: str, key: str | None, words: str) -> None:
        """Give an answer to the dialog that stands on the screen now."""
        self.dialogs.answer(request, key, words, self.tui.view(self.pane.look()).dialog or self.view.dialog)


def say(signal: Signal) -> None:
    """A line for the daemon."""
    data = {name: asdict(value) if is_dataclass(value) else value for name, value in signal.data.items()}  # type: ignore[arg-type]  # an instance
    sys.stdout.write(json.dumps({"signal": signal.type, "data": data}) + "\n")
    sys.stdout.flush()


def main(folder: str) -> int:
    """The host of one session."""
    spec = json.loads(Path(folder, "pane.json").read_bytes())
    terminal = Terminal(Path(spec["socket"]), os.environ, spec.get("tmux") or "tmux")
    try:
        return ends.as_it_ended(Host(spec, terminal).run())
    except Gone as gone:
        sys.stderr.write(f"the terminal (tmux) is gone: {gone.message}\n")
        return NO_TERMINAL
    except StrettoError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
