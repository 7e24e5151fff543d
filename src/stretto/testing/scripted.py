"""The player of scripts: one process plays one turn of one task, as any agent of style `turns` would work.

It is a program of its own (`python -m stretto.testing.scripted FILE`), not part of the daemon: it edits the worktree,
runs commands and git as an agent does, and speaks with stretto only through its prompt file, environment and socket.
Exit codes: 0 the turn is done; 1 a step failed (the reason is on stderr); 2 the script is wrong; 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess  # an agent's own commands: this process belongs to the agent, not to stretto
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto.agentapi.client import AgentClient
from stretto.core.errors import StrettoError, UsageError
from stretto.prompts.header import read_header
from stretto.testing.script import Script, Step, load_script


class StepFailed(StrettoError):
    """A step could not do what the script says."""

    default_code = "step_failed"


class Ended(Exception):
    """The script wants this process to exit with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Player:
    """Plays one turn in `root`. `saved` holds the answers of the person and what `{{name}}` stands for."""

    root: Path
    env: Mapping[str, str]
    header: Mapping[str, str] = field(default_factory=dict)
    saved: dict[str, str] = field(default_factory=dict)

    def play(self, steps: Sequence[Step]) -> None:
        """Do all steps in order. Raises StepFailed with the place, or Ended."""
        for step in steps:
            if any(self.saved.get(name) != text for name, text in step.only_if.items()):
                continue
            try:
                _ACTIONS[step.verb](self, **self._filled(step.args))
            except (OSError, UnicodeError, StrettoError) as error:
                raise StepFailed(f"{step.place} ({step.verb}): {error}", object=step.place) from error

    def _filled(self, value: Any) -> Any:
        """The same with `{{name}}` replaced, for names that are saved; all other braces stay."""
        if isinstance(value, str):
            for name, text in self.saved.items():
                value = value.replace("{{" + name + "}}", text)
            return value
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        return value

    # ------------------------------------------------------------ files

    def write(self, path: str, text: str, executable: bool = False) -> None:
        """Create or overwrite a file with exactly this text."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")
        if executable:
            target.chmod(target.stat().st_mode | 0o111)

    def append(self, path: str, text: str) -> None:
        """Add text at a file's end."""
        with (self.root / path).open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace text that the file holds exactly once."""
        text = (self.root / path).read_bytes().decode("utf-8")
        if (times := text.count(old)) != 1:
            raise StepFailed(f"{path} holds the text to replace {times} times, not once: {old!r}")
        self.write(path, text.replace(old, new))

    def delete(self, path: str) -> None:
        """Remove a file."""
        (self.root / path).unlink()

    # ------------------------------------------------------------ commands and git

    def run(self, argv: list[str], exit: int = 0) -> None:
        """Run a command in the worktree; any other exit code than `exit` fails the turn."""
        sys.stdout.flush()
        code = subprocess.run(argv, cwd=self.root, check=False, stdin=subprocess.DEVNULL).returncode
        if code != exit:
            raise StepFailed(f"{argv} exited with {code}, not {exit}")

    def commit(self, message: str, allow_empty: bool = False) -> None:
        """Commit all that changed, as an agent would."""
        self.run(["git", "add", "-A"])
        self.run(["git", "commit", "-q", "-m", message, *(["--allow-empty"] if allow_empty else [])])

    def merge(
        self,
        commit: str | None = None,
        resolve: dict[str, str] | None = None,
        take: dict[str, str] | None = None,
        message: str | None = None,
    ) -> None:
        """Merge what the conflict is with: `commit`, else $STRETTO_MERGE, else the commit that the message names."""
        commit = commit or self.env.get("STRETTO_MERGE") or self.header.get("merge")
        if not commit:
            raise StepFailed("neither the step, $STRETTO_MERGE nor the message names a commit to merge")
        said = ["-m", message] if message else ["--no-edit"]
        argv = ["git", "-c", "merge.conflictStyle=merge", "merge", *said, commit]
        clean = subprocess.run(argv, cwd=self.root, check=False, stdin=subprocess.DEVNULL).returncode == 0
        for path, text in (resolve or {}).items():
            self.write(path, text)
        for path, side in (take or {}).items():
            self._take(path, side)
        if clean and not (resolve or take):
            return
        if not clean:
            self._check_resolved({*(resolve or {}), *(take or {})}, commit)
        self.run(["git", "add", "--", *(resolve or {}), *(take or {})])
        self.run(["git", "commit", "-q", "--amend", "--no-edit"] if clean else ["git", "commit", "-q", *said])

    def _take(self, path: str, side: str) -> None:
        if side != "both":
            self.run(["git", "checkout", f"--{side}", "--", path])
            return
        lines = (self.root / path).read_bytes().decode("utf-8").splitlines(keepends=True)
        markers = ("<<<<<<< ", "=======", ">>>>>>> ")
        self.write(path, "".join(line for line in lines if not line.startswith(markers)))

    def _check_resolved(self, paths: set[str], commit: str) -> None:
        argv = ["git", "diff", "--name-only", "--diff-filter=U", "-z"]
        done = subprocess.run(argv, cwd=self.root, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        open_paths = set(filter(None, done.stdout.decode("utf-8", "surrogateescape").split("\0"))) - paths
        if open_paths:
            raise StepFailed(
                f"merging {commit} leaves conflicts that the script does not resolve: {sorted(open_paths)}"
            )

    # ------------------------------------------------------------ speaking with stretto

    def ask(
        self,
        text: str,
        options: list[str] | None = None,
        expect: str | list[str] | None = None,
        save: str = "answer",
        timeout: float | None = None,
    ) -> None:
        """Ask the person and wait; the answer is saved as `answer` and under the name in `save`."""
        answer = AgentClient.from_environment(self.env).ask(text, options or [], timeout).text
        print(f"asked {text!r}: {answer!r}", flush=True)  # noqa: T201  the log of this agent
        expected = [expect] if isinstance(expect, str) else expect
        if expected is not None and answer not in expected:
            raise StepFailed(f"the answer was {answer!r}, expected {' or '.join(map(repr, expected))}")
        self.saved["answer"] = self.saved[save] = answer

    def note(self, text: str, result: bool = False) -> None:
        """Leave a note, or the task's result."""
        AgentClient.from_environment(self.env).note(text, result=result)

    def usage(self, cost: str | None = None, model: str | None = None, **tokens: int) -> None:
        """Report tokens and cost."""
        AgentClient.from_environment(self.env).usage(cost=cost, model=model, **tokens)

    def report(self, text: str) -> None:
        """Write the report of a task that lands nothing."""
        path = self.env.get("STRETTO_REPORT_FILE")
        if not path:
            raise StepFailed("STRETTO_REPORT_FILE is not set: this task has no report")
        Path(path).write_text(text, encoding="utf-8", newline="")

    # ------------------------------------------------------------ behaving, well and badly

    def print(self, text: str, repeat: int = 1, end: str = "\n") -> None:
        """Print a text, any number of times."""
        piece, left = (text + end), repeat
        block = max(1, 65536 // max(1, len(piece)))
        while left > 0:
            sys.stdout.write(piece * min(block, left))
            left -= block
        sys.stdout.flush()

    def sleep(self, seconds: float) -> None:
        """Be busy without using the processor."""
        time.sleep(seconds)

    def fail(self, code: int, text: str = "") -> None:
        """End the turn with this exit code."""
        if text:
            print(text, file=sys.stderr)  # noqa: T201
        raise Ended(code)

    def die(self, signal: str) -> None:
        """End by a signal, as a crash would."""
        os.kill(os.getpid(), _signal(signal))

    def hang(self, ignore: list[str] | None = None) -> None:
        """Never return, deaf to the named signals."""
        for name in ignore or []:
            signal.signal(_signal(name), signal.SIG_IGN)
        while True:
            signal.pause()


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except KeyError:
        raise StepFailed(f"there is no signal {name!r}") from None


_ACTIONS: dict[str, Callable[..., None]] = {
    verb: getattr(Player, verb)
    for verb in (
        *("write", "append", "replace", "delete", "run", "commit", "merge", "ask", "note", "usage", "report"),
        *("print", "sleep", "fail", "die", "hang"),
    )
}


def play_turn(script: Script, root: Path, env: Mapping[str, str]) -> None:
    """Play the turn that the environment names. Raises StepFailed, UsageError or Ended."""
    prompt_file = env.get("STRETTO_PROMPT_FILE")
    prompt = Path(prompt_file).read_bytes().decode("utf-8", "replace") if prompt_file else ""
    head = read_header(prompt)
    number = int(env.get("STRETTO_TURN", "1"))
    task = env.get("STRETTO_TASK", "")
    turn = script.turn(task, number, head.get("origin", "start" if number == 1 else "person"), prompt)
    saved = {"task": task, "uid": env.get("STRETTO_UID", ""), "turn": str(number)}
    Player(root, env, head, saved).play(turn.steps)


def main(argv: Sequence[str]) -> int:
    """Play one turn in the current folder; the exit code."""
    try:
        if len(argv) != 1:
            raise UsageError("usage: python -m stretto.testing.scripted SCRIPT")
        play_turn(load_script(Path(argv[0])), Path.cwd(), os.environ)
    except Ended as ended:
        return ended.code
    except KeyboardInterrupt:
        return 130
    except StrettoError as error:
        print(f"scripted agent: {error.message}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
