"""One turn of a program that speaks no protocol: its message handed over, its usage read, its end judged.

    python -I -S turn_runner.py JOB

Specification. Run by a shim as the process of one turn; standard library only, nothing of stretto is imported. JOB is
JSON: `argv`, `words` and `args`, which follow one another, and `env`; in `words` and `env`, {file}, {text}, {folder}
and {turn} stand for the file of the message, its text, a folder of this turn alone, and its number; `input`: the
message is the program's standard input; `usage`: how its usage is read; `fails`: how a failure is known that its exit
code does not tell; `caches`: names of folders in the worktree that the program makes for itself: they are let ignore
themselves, so that git sees none of them as work. Nothing in a worktree is deleted.

What the program prints is passed on as it is. Between whole lines stand ours, each an object with the one key
`stretto`: {usage, id, model} for each request that was read, again when more is known of it; {result, reason} as the
last one, where the words of the program say more than its exit code. A line of the program that looks like ours gets a
space before it. Patterns are tried here and not in the daemon. When they keep the processor for `SLOW` seconds over
what was read at once, none is tried any more: the turn has failed, and the program's output is passed on.

A turn has failed although the exit code is 0 if a line matches `pattern` and none after it `again`, if none matches
`unless`, if the document of the usage does not have the values of `holds`, or if `silent` and no usage was read. What
failed in one of these ways, or by its exit code, is "not now" if the line of `pattern`, or else one of the last lines,
matches `limited`. With `last`, the last lines are told as the reason where there is none but the exit code.

INT and TERM are the program's, which is in our process group: we stay until it has ended, and tell what it still used.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType
    from typing import Any

TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
#: seconds between two looks at a file, and those for output that comes after the program's end
EVERY, AFTER = 0.25, 1.0
#: seconds of the processor that patterns may take for what was read at once
SLOW = 30.0
#: bytes of a line that patterns see, of a document that is read, and of a text that fits into one argument
LINE, DOCUMENT, ARGUMENT = 1 << 16, 64 << 20, 120_000
#: bytes that are read at once, and after which the beginning of a line is passed on
CHUNK, LONG = 1 << 16, 1 << 20
#: lines that are looked at for the reason of an end
LAST = 5
#: what the frames around pieces of source in a traceback begin with
FRAMES = "│╭╰"
#: how a failure is known, and how lines of ours begin
PATTERNS, OURS = ("pattern", "again", "unless"), b'{"stretto":'
#: exit codes: its vendor takes no more now; it was ended by us
NOT_NOW, ENDED = 75, 130
_SCALE = {"k": 1000, "m": 1000_000}


class Reading:
    """How usage is read: from lines by a pattern, or from JSON by dotted keys; of lines or of one whole document."""

    def __init__(self, rules: dict[str, Any]) -> None:
        self.rules = rules
        self.pattern = re.compile(rules["pattern"]) if "pattern" in rules else None
        self._seen = 0
        self._told: dict[str, Any] = {}

    def line(self, line: bytes) -> Iterator[dict[str, Any]]:
        """What one line tells."""
        if self.pattern is None:
            yield from self.value(parsed(line)) if line.lstrip()[:1] == b"{" else ()
            return
        for found in self.pattern.finditer(line[:LINE].decode("utf-8", "replace")):
            values = {name: text for name, text in found.groupdict().items() if text is not None}
            yield from self._news(values, None)

    def value(self, value: Any, *, again: bool = False) -> Iterator[dict[str, Any]]:
        """What a value of JSON tells. `again`: it holds all that it held before."""
        if again:
            self._seen = 0
        each = self.rules.get("each")
        for one in _items(at(value, each)) if each else (value,):
            if all(at(one, key) == wanted for key, wanted in self.rules.get("where", {}).items()):
                values = {name: at(one, self.rules[name]) for name in (*TOKENS, "cost", "model") if name in self.rules}
                yield from self._news(values, at(one, self.rules["id"]) if "id" in self.rules else None)

    def _news(self, values: dict[str, Any], id: Any) -> Iterator[dict[str, Any]]:
        usage = self._usage(values)
        if usage is None:
            return
        self._seen += 1
        key = "total" if self.rules.get("total") else str(id)[:100] if id is not None else str(self._seen)
        told = {"usage": usage, "id": key, "model": str(values.get("model") or "")[:200]}
        if self._told.get(key) != told:
            self._told[key] = told
            yield told

    def _usage(self, values: dict[str, Any]) -> dict[str, Any] | None:
        """Tokens as stretto counts them: `input` without what came from a cache, `output` with the reasoning."""
        counts = {name: number(values.get(name)) for name in TOKENS}
        if self.rules.get("cached") == "inside":
            counts["input"] = max(0, counts["input"] - counts["cache_read"] - counts["cache_write"])
        if self.rules.get("reasoned") == "apart":
            counts["output"] += counts["reasoning"]
        if not any(counts.values()):
            return None
        return {**counts, **({"cost": str(values["cost"])} if values.get("cost") is not None else {})}


def parsed(data: bytes) -> Any:
    """A value of JSON; None for what is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def number(value: Any) -> int:
    """A count, as programs write them: 1234, "1,234", "1.2k"; 0 for all else."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d[\d,_]*(?:\.\d+)?)\s*([kKmM]?)\s*", value)
        if not found:
            return 0
        value = float(re.sub("[,_]", "", found[1])) * _SCALE.get(found[2].lower(), 1)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 53:
        return 0
    return round(value)


def at(value: Any, key: str) -> Any:
    """What stands at a dotted key; None where there is nothing."""
    for part in key.split("."):
        if isinstance(value, list) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []


class Watched:
    """Files that the program writes and that are looked at while it runs. One that cannot be read tells nothing."""

    def __init__(self, pattern: str, reading: Reading) -> None:
        self.pattern, self.reading = pattern, reading
        self.whole = reading.rules.get("form") == "document"
        self.document: Any = None
        self._offsets: dict[Path, int] = {}
        self._stamps: dict[Path, tuple[int, int]] = {}

    def news(self) -> Iterator[dict[str, Any]]:
        """What was added."""
        for path in sorted(Path("/").glob(self.pattern.lstrip("/"))):
            data = self._added(path)
            if self.whole and data:
                self.document = parsed(data)
                yield from self.reading.value(self.document, again=True)
            for line in () if self.whole else data.split(b"\n"):
                yield from self.reading.line(line)

    def _added(self, path: Path) -> bytes:
        """A document that changed, or whole lines that came to a file."""
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if not stat.S_ISREG(found.st_mode) or stamp == self._stamps.get(path):
                return b""
            offset = 0 if self.whole else self._offsets.get(path, 0)
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(DOCUMENT)
        except OSError:
            return b""
        self._stamps[path] = stamp
        if self.whole:
            return data
        lines, newline, _ = data.rpartition(b"\n")
        self._offsets[path] = offset + len(lines) + len(newline)
        return lines


class TooSlow(Exception):
    """Patterns took too long."""


def _too_slow(signum: int, frame: FrameType | None) -> None:
    raise TooSlow  # the search looks for signals while it goes on


class Turn:
    """One run of the program. One thread: only the first one is interrupted in the middle of a search."""

    def __init__(self, job: dict[str, Any], folder: str) -> None:
        self.job, self.folder = job, folder
        self.file = Path(os.environ.get("STRETTO_PROMPT_FILE", ""))
        self.name = f"{os.environ.get('STRETTO_SESSION', '')}-{self.file.stem}"
        self.whole_line, self.begun, self.ended, self.slow = True, b"", False, False
        self.held = b""
        self.rules = job.get("fails", {})
        self.patterns = {name: re.compile(self.rules[name]) for name in PATTERNS if name in self.rules}
        self.limited = re.compile(self.rules["limited"]) if "limited" in self.rules else None
        self.matched: dict[str, str] = {}
        self.last: deque[str] = deque(maxlen=LAST)
        usage = job.get("usage")
        reading = Reading(usage) if usage else None
        place = usage.get("from", "output") if usage else "output"
        self.told = 0
        self.spoken = reading if place == "output" else None
        self.watched = Watched(self.filled(place), reading) if reading and place != "output" else None

    def filled(self, word: str) -> str:
        """A word with what its placeholders stand for."""
        stand_for: dict[str, Callable[[], str]] = {
            "file": lambda: str(self.file),
            "text": lambda: self.file.read_bytes().decode("utf-8", "replace"),
            "folder": lambda: self.folder,
            "turn": lambda: os.environ.get("STRETTO_TURN", ""),
        }
        return re.sub(r"\{(file|text|folder|turn)\}", lambda found: stand_for[found[1]](), word)

    def run(self) -> int:
        """The exit code of the turn."""
        words = [self.filled(word) for word in self.job.get("words", ())]
        argv = [*self.job["argv"], *words, *self.job.get("args", ())]
        if any(len(word.encode("utf-8", "replace")) > ARGUMENT for word in words):
            return self.fail("the message is longer than what fits into an argument of a program; let it read {file}")
        env = os.environ | {name: self.filled(value) for name, value in self.job.get("env", {}).items()}
        given = self.file if self.job.get("input") else Path(os.devnull)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self.on_signal)
        signal.signal(signal.SIGVTALRM, _too_slow)
        self.hide_caches()
        try:
            with given.open("rb") as stdin:
                child = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        except OSError as error:
            return self.fail(f"{argv[0]} cannot be started: {error.strerror}", 127)
        code = self.attend(child)
        self.hide_caches()
        self.finish()
        return self.judge(code)

    def hide_caches(self) -> None:
        """Let folders of the program's own ignore themselves, as caches of tools do. Nothing in a worktree is deleted.

        Before the turn as well: the last one may have been killed.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for path in (path for name in self.job.get("caches", ()) for path in Path.cwd().glob(name)):
            if not path.is_dir() or path.is_symlink():
                continue
            # one that is there is kept; where none can be written git shows the folder
            with contextlib.suppress(OSError), os.fdopen(os.open(path / ".gitignore", flags, 0o644), "w") as file:
                file.write("*\n")

    def on_signal(self, *_: object) -> None:
        """It is the program's as well; we only remember."""
        self.ended = True

    def attend(self, child: subprocess.Popen[bytes]) -> int:
        """Until the program's end, and a little longer while something holds its output open; its exit code."""
        output = child.stdout.fileno() if child.stdout else None
        looked = time.monotonic()
        over = None
        while True:
            if output is not None and select.select([output], [], [], EVERY)[0]:
                data = os.read(output, CHUNK)
                self.pass_on(data)
                output = output if data else None
            elif output is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(EVERY)
            now = time.monotonic()
            if self.whole_line and now - looked >= EVERY:
                looked = now
                self.look()
            code = child.poll()
            if code is not None:
                over = over or now + AFTER
                if output is None or now > over:
                    return code

    def pass_on(self, data: bytes) -> None:
        """The program's output, and between its lines what they tell. A line is passed on when it is whole or long."""
        *lines, self.held = (self.held + data).split(b"\n")
        for line in lines:
            self.line(line + b"\n")
        if len(self.held) >= LONG or not data:
            self.line(self.held)
            self.held = b""

    def line(self, line: bytes) -> None:
        """A line, or a part of a long one."""
        if not line:
            return
        put(b" " + line if self.whole_line and line.startswith(OURS) else line)
        self.whole_line = line.endswith(b"\n")
        if len(self.begun) < LINE:
            self.begun = (self.begun + line)[:LINE]
        if self.whole_line:
            self.hear()

    def finish(self) -> None:
        """What it said without ending the line, and what came to the files at the last."""
        self.line(self.held)
        if not self.whole_line:
            self.end_line()
            self.hear()
        self.look()

    def hear(self) -> None:
        """What a line says of usage and of failure."""
        line, self.begun = self.begun, b""
        text = line.decode("utf-8", "replace").strip()
        if text:
            self.last.append(text)
        with self.in_time():
            self.tell(self.spoken.line(line) if self.spoken else ())
            self.match(text)

    def match(self, text: str) -> None:
        """What a line says of failure."""
        for name, pattern in self.patterns.items():
            found = pattern.search(text)
            if found and name == "again":
                self.matched.pop("pattern", None)
            elif found:
                self.matched[name] = (found.groupdict().get("reason") or text)[:500]

    def look(self) -> None:
        """Tell what the files have."""
        with self.in_time():
            self.tell(self.watched.news() if self.watched else ())

    @contextlib.contextmanager
    def in_time(self) -> Iterator[None]:
        """Patterns may be tried in the block, as long as none is slow."""
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)
            yield
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except TooSlow:
            self.slow, self.patterns, self.limited, self.spoken, self.watched = True, {}, None, None, None

    def tell(self, news: Iterable[dict[str, Any]]) -> None:
        """Lines of ours stand by themselves."""
        for told in news:
            self.told += 1
            say({**told, "id": f"{self.name}-{told['id']}"})

    def end_line(self) -> None:
        """End the line that the program has not ended."""
        if not self.whole_line:
            put(b"\n")
            self.whole_line = True

    def judge(self, code: int) -> int:
        """How the turn went: the exit code, unless the program's words say otherwise."""
        code = code if code >= 0 else 128 - code
        if self.ended:
            return code or ENDED
        if self.slow:
            return self.fail(f"a pattern of `usage` or `fails` took more than {SLOW:.0f} seconds", code or 1)
        reason = self.matched.get("pattern") or (self.why_failed() if code == 0 else None)
        if code == 0 and reason is None:
            return 0
        said = [self.matched["pattern"]] if "pattern" in self.matched else list(self.last)
        limits: list[str] = []
        with self.in_time():
            limits = [line[:500] for line in said if self.limited and self.limited.search(line)]
        if limits:
            say({"result": "limited", "reason": limits[-1]})
            return NOT_NOW
        if reason is None and self.rules.get("last"):
            words = " ".join(line for line in self.last if line[0] not in FRAMES)
            reason = ": ".join(filter(None, (f"exit code {code}", words)))[:1000]
        if reason is not None:
            say({"result": "failed", "reason": reason})
        return code or 1

    def why_failed(self) -> str | None:
        """What its words say although its exit code is 0; None where they say nothing of a failure."""
        if "unless" in self.patterns and "unless" not in self.matched:
            return "it ended without saying that it is done"
        document = self.watched.document if self.watched else None
        for key, wanted in self.rules.get("holds", {}).items():
            if at(document, key) != wanted:
                return f"at its end {key} is {json.dumps(at(document, key))[:200]}"
        return "it ended without an answer of its model" if self.rules.get("silent") and not self.told else None

    def fail(self, reason: str, code: int = 1) -> int:
        """The turn failed before it began."""
        say({"result": "failed", "reason": reason})
        return code


def say(value: dict[str, Any]) -> None:
    """A line of ours."""
    put(json.dumps({"stretto": value}, separators=(",", ":")).encode() + b"\n")


def put(data: bytes) -> None:
    """Write all of it; nobody who reads is no reason to end."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(1, data) :]


def main(argv: list[str]) -> int:
    """Run the job, in a folder of its own that goes with it."""
    with tempfile.TemporaryDirectory(prefix="stretto-turn-", ignore_cleanup_errors=True) as folder:
        return Turn(json.loads(argv[0]), folder).run()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)
