"""The shim's loop: one agent from its start to its end. The specification is in host.py."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from stretto.shim import host_system as system
    from stretto.shim.host_streams import Intake, Output
    from stretto.shim.host_system import failpoint, write_json
else:  # a program of its own: its folder is on sys.path, the package is not
    import _signal as signal  # the same, without enum

    import host_system as system
    from host_streams import Intake, Output
    from host_system import failpoint, write_json


class Spec:
    """`spec.json`, checked. Raises KeyError, TypeError or ValueError for what is not one."""

    def __init__(self, value: Any) -> None:
        if value["schema"] != system.SCHEMA or value["style"] not in ("stream", "turns"):
            raise ValueError("spec.json has another schema or style")
        self.session, self.cwd, self.nudge = str(value["session"]), str(value["cwd"]), str(value.get("nudge") or "")
        self.turns = value["style"] == "turns"
        self.argv = [str(word) for word in (*(value.get("wrapper") or ()), *value["argv"])]
        if not self.argv:
            raise ValueError("spec.json has no argv")
        self.launcher = str(value.get("launcher") or "")  # a wrapper that is this program is run without an exec
        self.env = {str(name): str(text) for name, text in (value.get("env") or {}).items()}
        self.marker = str(value["marker"])
        self.segment_bytes = int(value.get("segment_bytes", system.SEGMENT_BYTES))
        self.keep_bytes = int(value.get("keep_bytes", system.KEEP_BYTES))
        self.stop_seconds = float(value.get("stop_seconds", system.STOP_SECONDS))
        self.turn_offset = int(value.get("turn_offset", 0))

    def environment(self, secrets: dict[str, str]) -> dict[str, str]:
        """What the agent gets: the spec's, the secrets, the marker; never what is meant for tests of stretto."""
        name, _, value = self.marker.partition("=")
        env = self.env | secrets | {name: value}
        return {key: text for key, text in env.items() if key not in system.PRIVATE}


class Agent:
    """The process that runs now: the agent itself (turn 0) or one turn of it. pid 0: it could not be started."""

    def __init__(self, turn: int) -> None:
        self.turn, self.pid, self.stdin = turn, 0, -1
        self.started_at = time.time()
        self.status: int | None = None
        self.interrupted, self.recorded, self.failure = False, False, ""

    def outcome(self) -> dict[str, int | None]:
        """Exit code and signal as they are recorded; both null when they are not known."""
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        if code is not None and code < 0:
            return {"code": None, "signal": -code}
        return {"code": code, "signal": None}


class Shim:
    """Records in, output out, and an agent that never outlives the session."""

    def __init__(self, folder: str, spec: Spec, secrets: dict[str, str], umask: int) -> None:
        self.folder, self.spec, self.umask = folder, spec, umask
        self.inode = os.stat(folder).st_ino
        self.env = spec.environment(secrets)
        self.intake = Intake(folder)
        names = ("out",) if spec.turns else ("out", "err")
        self.outputs = [Output(folder, name, spec.segment_bytes, spec.keep_bytes) for name in names]
        self.pipes: dict[int, Output] = {}  # descriptors of the agent's output
        self.agent: Agent | None = None
        self.outgoing, self.sending = memoryview(b""), 0  # what is left of the record that is being written
        self.owed = 0  # the record that has reached the agent and is not yet marked so
        self.ladder: list[tuple[float, int, bool]] = []  # (when, signal, to the whole tree) of an ending
        self.ending, self.stopping, self.stop_record = "", "", 0
        self.killed_at = 0.0
        self.interrupts: set[int] = set()  # records that have already had their effect
        self.dirty, self.nudged_at = False, 0.0
        self.tick_at, self.retry_at, self.over = 0.0, 0.0, False
        self.poll = select.poll()

    # ---- life

    def open(self) -> None:
        """Everything that must stand before the daemon may believe that we run."""
        system.become_subreaper()
        for name in system.FORGET:
            if os.path.exists(f"{self.folder}/{name}"):
                os.unlink(f"{self.folder}/{name}")
        os.makedirs(f"{self.folder}/turns", mode=0o700, exist_ok=True)
        self.reserve = f"{self.folder}/reserve"
        with open(self.reserve, "wb") as file:
            file.write(bytes(1 << 16))  # given up on a full disk, so that what happens then can still be recorded
        self.wake = system.open_fifo(f"{self.folder}/wake")
        self.signals = self.catch_signals()
        for fd in (self.wake, self.signals):
            self.poll.register(fd, select.POLLIN)
        me = os.getpid()
        who = {"pid": me, "start_time": system.start_time(me), "boot_id": system.boot_id()}
        write_json(f"{self.folder}/shim.json", who)
        failpoint("shim.ready")

    def catch_signals(self) -> int:
        """The descriptor that becomes readable when a signal arrives."""
        told, tell = os.pipe()
        os.set_blocking(told, False)
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", self.stopping or "terminated"))
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        return told

    def run(self) -> None:
        """Until the agent is over (style stream) or the session is stopped."""
        if not self.spec.turns and not self.stopping:
            self.start_agent(0, self.env)
        while not self.over:
            for fd, _ in self.poll.poll(self.timeout()):
                self.handle(fd)
            self.step()

    def timeout(self) -> int:
        """Milliseconds until something is due by itself."""
        due = [self.tick_at]
        due += [self.ladder[0][0]] if self.ladder else []
        due += [self.nudged_at + system.NUDGE_EVERY] if self.dirty else []
        due += [at for at in (self.retry_at, self.intake.again_at) if at]
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1)

    def handle(self, fd: int) -> None:
        """One descriptor is ready."""
        if fd in self.pipes:
            self.pump(fd)
        elif self.agent and fd == self.agent.stdin:
            self.push()
        else:
            system.drain(fd)

    def step(self) -> None:
        """Look at everything once. Cheap, and right whatever has just happened."""
        now = time.monotonic()
        if now >= self.tick_at:
            self.tick_at = now + system.TICK
            if self.folder_gone():
                self.stopping = self.stopping or "folder gone"
        try:
            if now >= self.retry_at:
                self.retry_at = 0.0
                self.take_in()
                self.pay()
            self.climb(now)
            if not self.retry_at:
                self.settle()
                self.serve()
                self.note_problem()
        except OSError as error:
            self.make_room(error)
        self.tell_daemon(time.monotonic())

    def make_room(self, error: OSError) -> None:
        """What must be recorded could not be: give up the reserve and try again soon. Nothing goes on before it is."""
        if self.folder_gone():
            self.stopping = self.stopping or "folder gone"
            self.over = self.agent is None or (self.agent.status is not None and not self.reap())
        elif os.path.exists(self.reserve):
            os.unlink(self.reserve)
        else:
            os.write(2, f"cannot record: {error}\n".encode("utf-8", "replace"))
        self.retry_at = time.monotonic() + system.RETRY
        self.ladder[:1] = [(max(at, self.retry_at), number, tree) for at, number, tree in self.ladder[:1]]

    def folder_gone(self) -> bool:
        """Whether our folder was removed or moved. An error means that it cannot be told, so no."""
        try:
            return os.stat(self.folder).st_ino != self.inode
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def tell_daemon(self, now: float, *, force: bool = False) -> None:
        """Say that something changed, at most every 20 ms. A daemon that is not there looks when it starts."""
        if not self.dirty or (now < self.nudged_at + system.NUDGE_EVERY and not force):
            return
        self.dirty, self.nudged_at = False, now
        try:
            fd = os.open(self.spec.nudge, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return  # no daemon
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, system.raw(f"{self.spec.session}\n"))
        except OSError:
            return  # full: it has enough to read already
        finally:
            os.close(fd)

    # ---- records

    def take_in(self) -> None:
        """Read new records. Stop and interrupt do not wait for what is before them."""
        if self.intake.changed():
            self.intake.read()
        self.note_problem()
        for n, kind, _ in self.intake.pending:
            if kind == "stop" and not self.stop_record:
                self.stopping, self.stop_record = self.stopping or "stopped", n
            elif kind == "interrupt" and self.spec.turns and self.agent and n not in self.interrupts:
                self.interrupts.add(n)
                self.interrupt()
        if self.stop_record and self.intake.pending and self.intake.pending[0][0] == self.stop_record:
            self.mark_effect(self.stop_record)

    def note_problem(self) -> None:
        """Record, once, why intake stopped."""
        path = f"{self.folder}/problem.json"
        if self.intake.problem and not os.path.exists(path):
            write_json(path, {"at": time.time(), "after": self.intake.last, "reason": self.intake.problem})
            self.dirty = True

    def mark_effect(self, n: int) -> None:
        """A record that is no bytes: its effect is, or is about to be, there."""
        self.intake.mark("attempting", n)
        self.owed = n
        self.pay()

    def pay(self) -> None:
        """Write `delivered` for the record that has reached the agent, and `agent.json` if it is missing."""
        if self.owed:
            self.intake.mark("delivered", self.owed)
            self.intake.pending = [record for record in self.intake.pending if record[0] != self.owed]
            self.owed, self.dirty = 0, True
        if self.agent and self.agent.pid and not self.agent.recorded:
            pid = self.agent.pid
            who = {"pid": pid, "start_time": system.start_time(pid), "pgid": pid, "boot_id": system.boot_id()}
            write_json(f"{self.folder}/agent.json", who)
            failpoint("shim.agent.recorded")
            self.agent.recorded = self.dirty = True

    def serve(self) -> None:
        """Hand the next records to the agent as far as it takes them."""
        self.pay()
        while self.intake.pending and not (self.stopping or self.sending or self.over):
            n, kind, data = self.intake.pending[0]
            if not self.spec.turns:
                self.intake.mark("attempting", n)
                self.sending, self.outgoing = n, memoryview(system.raw(data) + b"\n")
                self.push()
            elif kind == "interrupt":
                self.mark_effect(n)
            elif kind == "control":
                self.intake.refuse(n, "it is a control record, and an agent of style turns has no input")
            elif self.agent:
                return
            else:
                self.start_turn(n, data)
            self.pay()

    def push(self) -> None:
        """Write as much of the current record as the agent takes now; never blocks."""
        if not self.sending or not self.agent or self.agent.stdin < 0:
            return
        try:
            self.outgoing = self.outgoing[os.write(self.agent.stdin, self.outgoing) :]
        except BlockingIOError:
            pass  # the pipe is full: poll tells when it is not
        except OSError:
            self.close_stdin()
            self.intake.refuse(self.sending, "the agent closed its input")
            return
        if self.outgoing:
            self.poll.register(self.agent.stdin, select.POLLOUT)
        else:
            self.owed, self.sending = self.sending, 0
            self.forget(self.agent.stdin)

    # ---- the agent

    def start_agent(self, turn: int, env: dict[str, str]) -> None:
        """Start the program; a failure to do so is recorded like an exit with 126 or 127."""
        agent = Agent(turn)
        failpoint("shim.spawn.before")
        try:
            agent.pid, agent.stdin, outputs = system.spawn(
                self.spec.argv,
                env,
                self.spec.cwd,
                stdin=not self.spec.turns,
                outputs=len(self.outputs),
                umask=self.umask,
                launcher=self.spec.launcher,
            )
        except system.CannotStart as error:
            agent.failure, outputs = f"cannot start {error.what}: {error.why}", []
            agent.status = (127 if error.number == errno.ENOENT else 126) << 8
        failpoint("shim.spawn.after")
        for fd, output in zip(outputs, self.outputs, strict=False):
            self.pipes[fd] = output
            self.poll.register(fd, select.POLLIN)
        self.agent, self.dirty = agent, True
        self.owed = turn

    def start_turn(self, n: int, data: str) -> None:
        """Start the program for one message. Its ordinal counts the turns that were attempted before it."""
        prompt = f"{self.folder}/turns/{n}.prompt"
        system.write_whole(prompt, system.raw(data))
        failpoint("shim.prompt.written")
        names = [name.removesuffix(".prompt") for name in os.listdir(f"{self.folder}/turns")]
        earlier = sum(1 for name in names if name.isdigit() and int(name) < n)
        self.intake.mark("attempting", n)
        ordinal = str(self.spec.turn_offset + earlier + 1)
        self.start_agent(n, self.env | {"STRETTO_PROMPT_FILE": prompt, "STRETTO_TURN": ordinal})

    def pump(self, fd: int) -> bool:
        """Move one chunk from the agent to its stream. False: nothing there now."""
        try:
            data = os.read(fd, system.CHUNK)
        except BlockingIOError:
            return False
        if data:
            self.pipes[fd].write(data)
            self.dirty = True
        else:
            self.close_output(fd)
        return bool(data)

    def close_output(self, fd: int) -> None:
        """No more from this descriptor."""
        self.forget(fd)
        os.close(fd)
        del self.pipes[fd]

    def close_stdin(self) -> None:
        """End of input for the agent."""
        if self.agent and self.agent.stdin >= 0:
            self.forget(self.agent.stdin)
            os.close(self.agent.stdin)
            self.agent.stdin = -1

    def forget(self, fd: int) -> None:
        """Poll a descriptor no longer, if it was polled."""
        try:
            self.poll.unregister(fd)
        except KeyError:
            return

    def reap(self) -> bool:
        """Collect the dead. Whether any descendant is left: as a subreaper we get them all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if self.agent and pid == self.agent.pid:
                self.agent.status = status

    # ---- endings

    def interrupt(self) -> None:
        """End the running turn: INT to its group, TERM and KILL to all when it does not end."""
        if self.agent and not self.ending:
            now, patience = time.monotonic(), self.spec.stop_seconds
            self.ending, self.agent.interrupted = "interrupt", True
            term, kill = (now + patience, signal.SIGTERM, True), (now + 2 * patience, signal.SIGKILL, True)
            self.ladder = [(now, signal.SIGINT, False), term, kill]

    def end(self) -> None:
        """End the agent and everything that it started, within stop_seconds."""
        if self.ending != "end":
            now, self.ending, self.killed_at = time.monotonic(), "end", 0.0
            kill = (now + 0.9 * self.spec.stop_seconds, signal.SIGKILL, True)
            self.ladder = [(now, signal.SIGTERM, True), kill]

    def climb(self, now: float) -> None:
        """Take the steps of the ladder that are due. KILL repeats until nobody is left, or gives up."""
        if self.stopping and self.agent and self.ending != "end":
            self.close_stdin()
            self.agent.interrupted = self.agent.interrupted or self.agent.status is None
            self.end()
        while self.agent and self.ladder and self.ladder[0][0] <= time.monotonic():
            _, number, tree = self.ladder[0]
            (system.signal_tree if tree else system.signal_group)(self.agent.pid, number)
            self.ladder.pop(0)  # only now: a step that failed is taken again
            if number == signal.SIGKILL:
                self.killed_at = self.killed_at or now
                if now < self.killed_at + system.GIVE_UP:
                    self.ladder = [(time.monotonic() + system.KILL_EVERY, number, True)]

    def settle(self) -> None:
        """Draw the conclusions of an agent's end."""
        if self.agent:
            some = self.reap()
            gave_up = some and self.killed_at > 0 and not self.ladder
            if self.agent.status is None and not gave_up:
                return
            if some and not gave_up:
                self.end()
                return
            self.conclude(self.agent, f"could not end {sorted(system.descendants())}" if gave_up else "")
        if self.stopping and not self.agent:
            self.leave({"code": None, "signal": None}, self.stopping)

    def conclude(self, agent: Agent, left: str) -> None:
        """The agent and all that it started are gone: keep its last words, then record its end. Safe to run again."""
        if sys.platform != "linux" and agent.pid:
            system.signal_group(agent.pid, signal.SIGKILL)
        self.take_last_words()
        self.pay()
        why = "; ".join(filter(None, (agent.failure, left)))
        if agent.turn:
            self.record_turn(agent, why)
        else:
            first = self.stopping or ("" if agent.failure else "exited")
            self.leave(agent.outcome(), "; ".join(filter(None, (first, why))))
        for fd in list(self.pipes):
            self.close_output(fd)
        self.close_stdin()
        self.agent, self.ladder, self.ending, self.killed_at = None, [], "", 0.0
        self.sending, self.outgoing, self.dirty = 0, memoryview(b""), True

    def take_last_words(self) -> None:
        """What is still in the pipes. Bounded: a stranger who holds one could write for ever."""
        for fd in list(self.pipes):
            for _ in range(64):
                if not self.pump(fd):
                    break
        for output in self.outputs:
            output.settle()

    def record_turn(self, agent: Agent, why: str) -> None:
        """Keep how a turn went."""
        path = f"{self.folder}/turns/{agent.turn}.json"
        times = {"started_at": agent.started_at, "ended_at": time.time()}
        how = {"interrupted": agent.interrupted, "reason": why or None}
        write_json(path, {"n": agent.turn, **agent.outcome(), **times, **how})
        failpoint("shim.turn.recorded")

    def leave(self, outcome: dict[str, int | None], reason: str) -> None:
        """Record the end of the session; nothing happens after it."""
        if self.over:
            return
        failpoint("shim.exit.before")
        if not self.folder_gone():
            self.record_exit(outcome, reason)
        self.over = self.dirty = True
        self.tell_daemon(time.monotonic(), force=True)

    def record_exit(self, outcome: dict[str, int | None], reason: str) -> None:
        """Keep how the session ended."""
        path = f"{self.folder}/exit.json"
        write_json(path, {**outcome, "at": time.time(), "reason": reason, "stop": self.stop_record or None})
        failpoint("shim.exit.after")

    def abandon(self, error: BaseException) -> None:
        """We failed: end the agent all the same, and say so."""
        until = time.monotonic() + system.GIVE_UP
        while self.reap() and time.monotonic() < until:
            system.signal_tree(self.agent.pid if self.agent else 0, signal.SIGKILL)
            time.sleep(0.02)
        self.record_exit((self.agent or Agent(0)).outcome(), f"the shim failed: {error!r}")


def load(folder: str, secrets: dict[str, str], umask: int) -> Shim:
    """The shim of a folder, from its `spec.json`."""
    with open(f"{folder}/spec.json", "rb") as file:
        return Shim(folder, Spec(system.from_json(file.read())), secrets, umask)
