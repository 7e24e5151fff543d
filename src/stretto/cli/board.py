"""The board: a status object as lines of text. Pure; `status`, `watch` and `run --wait` show the same.

One line for each task: glyph, id, what it does, for how long, why. Above it the run, below it what waits for the person
with the command that answers it. It fits the width and height that it is given: finished tasks are folded first, then
those that cannot start, never those that work or wait. Every glyph stands beside its word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stretto.cli.text import age, clean, clip, duration, hang, pad, paint, seen, timestamp, width, wrap
from stretto.core.quick import dataclass

TYPE_CHECKING = False  # the name that type checkers know; typing is not imported for it
if TYPE_CHECKING:
    from typing import Any, TypeAlias

Json: TypeAlias = "dict[str, Any]"

_LOOKS: dict[str, tuple[str, str, str | None]] = {
    "active": ("●", "*", "cyan"),
    "waiting": ("!", "!", "yellow"),
    "queued": ("▸", ">", "blue"),
    "ready": ("○", "o", None),
    "blocked": ("·", ".", "dim"),
    "draft": ("·", ".", "dim"),
    "landed": ("✓", "+", "green"),
    "finished": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "cancelled": ("–", "-", "dim"),  # noqa: RUF001 — a dash on purpose
}
_DONE = ("landed", "finished")
_OVER = (*_DONE, "failed", "cancelled")
#: words for what a task's agent is kept in, and how many columns of a reason leave room for one
_KEPT_IN, _ROOMY = {"worktree": "sandbox", "clone": "sandbox, clone"}, 60
_TIMED = ("active", "waiting", "queued", "ready")

#: kind of item -> the command that shows what it is about, where that is not `explain`
_LOOK = {"review": "diff", "nochange": "logs", "interrupted": "logs", "undelivered": "messages"}

#: states that are folded into one line when there is no room, in this order
_FOLDS: tuple[tuple[str, ...], ...] = (
    _DONE,
    ("cancelled",),
    ("blocked", "draft"),
    ("failed",),
    ("ready",),
    ("queued",),
)


@dataclass(frozen=True, slots=True)
class Canvas:
    """What the lines must fit. `columns` (30 at least), `rows` None: no limit. `now`: seconds since the epoch."""

    now: float
    columns: int | None = None
    rows: int | None = None
    colour: bool = False
    unicode: bool = True

    @property
    def narrow(self) -> bool:
        """Whether there is no room for reasons."""
        return self.columns is not None and self.columns < 60

    def glyph(self, state: str) -> str:
        """The sign of a state, coloured."""
        fancy, plain, colour = _LOOKS.get(state, ("?", "?", None))
        return paint(fancy if self.unicode else plain, colour, self.colour)

    def paint(self, text: str, colour: str | None) -> str:
        """The text in a colour where colour is wanted."""
        return paint(text, colour, self.colour)

    def fit(self, text: str) -> str:
        """The text in one line, in plain ASCII where nothing else can be shown."""
        text = clip(text, self.columns)
        return text if self.unicode else ascii_only(text)


def ascii_only(text: str) -> str:
    """The text for a stream that shows only ASCII."""
    table = {"…": ".", "·": "-", "→": ">", "–": "-"}  # noqa: RUF001 — the signs that the board uses
    return "".join(table.get(char, char) for char in text).encode("ascii", "replace").decode()


def board(status: Json, canvas: Canvas, footer: str = "") -> list[str]:
    """The lines of the board."""
    tasks: list[Json] = status["tasks"]
    if not tasks:
        return [canvas.fit("Nothing runs here yet. Start with: stretto run PLAN.md")]
    runs = _grouped(tasks)
    past = _past(runs)
    earlier = _earlier([run for run in runs if run in past], runs, canvas)
    if earlier:
        runs, past = {run: own for run, own in runs.items() if run not in past}, set()
    heads = {run: _head(run, own, status, canvas)[: 1 if run in past else None] for run, own in runs.items()}
    tail = [*_notices(status, canvas), *(["", canvas.paint(canvas.fit(footer), "dim")] if footer else [])]
    fixed = len(earlier) + sum(map(len, heads.values())) + len(tail)
    inbox, folded = _share(status, [(own, run in past) for run, own in runs.items()], canvas, fixed)
    cells = _Cells(tasks, status, canvas)
    lines = earlier
    for run, own in runs.items():
        lines += heads[run] + _rows(own, folded | _if(run in past), cells, canvas)
    if canvas.rows is not None:
        lines = _cut(lines, canvas.rows - len(inbox) - len(tail), canvas)
    return [*lines, *inbox, *tail]


def _past(runs: dict[str, list[Json]]) -> set[str]:
    """Runs that are over, when there are others: shown in short."""
    over = {run for run, own in runs.items() if all(task["state"] in _OVER for task in own)}
    return over if len(over) < len(runs) else over - {list(runs)[-1]}


def _earlier(past: list[str], runs: dict[str, list[Json]], canvas: Canvas) -> list[str]:
    """One line for all runs that are over, where they would take more than a fifth of the height."""
    taken = sum(1 + _height(runs[run], _if(past=True)) for run in past)
    if canvas.rows is None or taken * 5 <= canvas.rows:
        return []
    text = f"{len(past)} run{'s are' if len(past) > 1 else ' is'} over: {', '.join(reversed(past))}"
    return [canvas.paint(_plain(clip(text, canvas.columns), canvas), "dim")]


def _grouped(tasks: list[Json]) -> dict[str, list[Json]]:
    runs: dict[str, list[Json]] = {}
    for task in tasks:
        runs.setdefault(task["run"], []).append(task)
    return runs


# ---------------------------------------------------------------- the head of a run


def _head(run: str, tasks: list[Json], status: Json, canvas: Canvas) -> list[str]:
    about: Json = next((r for r in status.get("runs", ()) if r.get("id") == run), {})
    title = clean(str(about.get("title") or ""))
    name = f"{run} · {title}" if title and not canvas.narrow else run
    counts = _counts(about, tasks)
    room = None if canvas.columns is None else canvas.columns - width(counts) - 2
    name = clip(name, room)
    gap = "  " if canvas.columns is None else " " * (canvas.columns - width(name) - width(counts))
    first = canvas.paint(_plain(name, canvas), "bold") + gap + _plain(counts, canvas)
    return [first, *([canvas.paint(second, "dim")] if (second := canvas.fit(_origin(about, canvas))) else [])]


def _counts(about: Json, tasks: list[Json]) -> str:
    landed = sum(task["state"] in _DONE for task in tasks)
    limit = about.get("limit")
    is_open = about.get("open")
    if not isinstance(is_open, int):
        is_open = sum(task["state"] in ("active", "queued") for task in tasks)
    parts = [f"open {is_open}" + (f"/{limit}" if limit else ""), f"landed {landed}/{len(tasks)}"]
    return " · ".join((["paused"] if about.get("paused") else []) + parts)


def _origin(about: Json, canvas: Canvas) -> str:
    base = str(about.get("base") or "")[:9]
    if not base:
        return ""
    at = timestamp(about.get("base_at"))
    old = f" ({age(canvas.now - at)} old)" if at else ""
    return f"base {base}{old} → {clean(str(about.get('target') or '?'))}"


def _plain(text: str, canvas: Canvas) -> str:
    return text if canvas.unicode else ascii_only(text)


# ---------------------------------------------------------------- the tasks


class _Cells:
    """The columns of the task lines, as wide as their content needs and the canvas allows."""

    def __init__(self, tasks: list[Json], status: Json, canvas: Canvas) -> None:
        self._canvas = canvas
        self._inbox = {item["task"]: item["kind"] for item in reversed(status.get("inbox", ()))}
        self._queue = {entry["task"]: entry["state"] for entry in status.get("queue", ())}
        limits = (max(4, min(14, (canvas.columns or 80) - 22)), 12) if canvas.narrow else (24, 22)
        self._id = min(limits[0], max(width(task["id"]) for task in tasks))
        self._word = min(limits[1], max(width(self.word(task)) for task in tasks))

    def word(self, task: Json) -> str:
        """What the task does, in a word or two."""
        state, narrow = task["state"], self._canvas.narrow
        words: str = state
        if state == "active":
            words = task.get("stage") or "active"
            told = (task.get("session") or {}).get("status")
            if told in ("stalled", "unknown", "starting") and words == "implement":
                words = told if narrow else f"{words} ({told})"
        elif state == "waiting" and task["uid"] in self._inbox:
            words = self._inbox[task["uid"]] if narrow else f"waiting: {self._inbox[task['uid']]}"
        elif state == "queued" and self._queue.get(task["uid"]) in ("testing", "landing"):
            words = self._queue[task["uid"]] if narrow else f"queued: {self._queue[task['uid']]}"
        return f"{words}, paused" if task.get("paused") and state not in _OVER else words

    def line(self, task: Json) -> str:
        """The task's line."""
        canvas, state = self._canvas, task["state"]
        colour = _LOOKS.get(state, ("", "", None))[2]
        head = f"{pad(clean(task['id']), self._id)} "
        word = pad(self.word(task), self._word)
        left = _plain(f" {_elapsed(task, canvas):>6}", canvas)
        used = 2 + width(head) + self._word + len(left)
        reason = self._reason(task, None if canvas.columns is None else canvas.columns - used - 2)
        body = canvas.paint(word, colour) + left + ("  " + reason if reason else "")
        return f"{canvas.glyph(state)} {_plain(head, canvas)}{body}".rstrip()

    def _reason(self, task: Json, room: int | None) -> str:
        if room is not None and room < 8:
            return ""
        badges = [*task.get("badges", ()), *_isolation(task, room)] if task["state"] not in _OVER else []
        marks = "".join(f"[{clean(str(badge))}] " for badge in badges)
        text = marks + clean(str(task.get("reason") or ""))
        if task["state"] == "waiting":
            text = text.removeprefix(f"{self._inbox.get(task['uid'])}: ")  # the word beside it says so
        if task["state"] == "landed" and task.get("landed"):
            text = str(task["landed"].get("commit", ""))[:9]
        return _plain(clip(text, room), self._canvas)


def _isolation(task: Json, room: int | None) -> list[str]:
    """In what a task's agent is kept, where there is room for the word; that it should be and is not is a badge."""
    word = (task.get("workspace") or {}).get("isolation", "none")
    return [] if word == "none" or (room is not None and room < _ROOMY) else [_KEPT_IN.get(word, "sandbox")]


def _elapsed(task: Json, canvas: Canvas) -> str:
    since = timestamp(task.get("since")) if task["state"] in _TIMED else None
    return duration(canvas.now - since) if since else ""


def _rows(tasks: list[Json], folded: frozenset[str], cells: _Cells, canvas: Canvas) -> list[str]:
    lines = [cells.line(task) for task in tasks if task["state"] not in folded]
    before: list[str] = []
    after: list[str] = []
    for states in _FOLDS:
        hidden = [task for task in tasks if task["state"] in folded and task["state"] in states]
        if hidden:
            (before if states[0] in _OVER else after).append(_fold(hidden, canvas))
    return [*before, *lines, *after]


def _fold(tasks: list[Json], canvas: Canvas) -> str:
    states: dict[str, int] = {}
    for task in tasks:
        states[task["state"]] = states.get(task["state"], 0) + 1
    text = ", ".join(f"{count} {state}" for state, count in states.items())
    names = ", ".join(clean(task["id"]) for task in tasks)
    room = None if canvas.columns is None else canvas.columns - 2
    return f"{canvas.glyph(tasks[0]['state'])} {_plain(clip(f'{text}: {names}', room), canvas)}"


def _share(
    status: Json, runs: list[tuple[list[Json], bool]], canvas: Canvas, fixed: int
) -> tuple[list[str], frozenset[str]]:
    """How the rows are shared between runs (tasks, whether past) and inbox: its lines, and the states to fold."""
    inbox: list[Json] = status.get("inbox", [])
    if canvas.rows is None:
        return inbox_lines(inbox, canvas), frozenset()
    folded: frozenset[str] = frozenset()
    room = canvas.rows - fixed
    most = max(6, room // 2)
    lines = inbox_lines(inbox, canvas, most)
    for states in _FOLDS:
        if sum(_height(tasks, folded | _if(past)) for tasks, past in runs) + len(lines) <= room:
            break
        folded |= frozenset(states)
    return lines, folded


def _if(past: bool) -> frozenset[str]:
    """What is folded in any case."""
    return frozenset(_OVER) if past else frozenset()


def _height(tasks: list[Json], folded: frozenset[str]) -> int:
    shown = sum(task["state"] not in folded for task in tasks)
    return shown + sum(any(t["state"] in states and t["state"] in folded for t in tasks) for states in _FOLDS)


def _cut(lines: list[str], rows: int, canvas: Canvas) -> list[str]:
    if len(lines) <= max(1, rows):
        return lines
    hidden = len(lines) - max(1, rows) + 1
    return [*lines[: max(0, rows - 1)], canvas.fit(f"  … and {hidden} more lines: stretto status")]


# ---------------------------------------------------------------- the inbox and remarks


def inbox_lines(items: Iterable[Json], canvas: Canvas, most: int | None = None) -> list[str]:
    """What waits for the person: for each item a line, and one with the command that answers it."""
    items = list(items)
    if not items:
        return []
    lines = ["", canvas.paint(canvas.fit(f"waits for you ({len(items)})"), "bold")]
    for number, item in enumerate(items):
        rest = len(items) - number
        if most is not None and len(lines) + 2 + (rest > 1) > most and number:
            return [*lines, canvas.fit(f"  and {rest} more: stretto inbox")]
        lines += [item_line(item, canvas), canvas.paint(canvas.fit("    " + command(item)), "dim")]
    return lines


def item_line(item: Json, canvas: Canvas) -> str:
    """Kind, task, waiting time and the first words of an item."""
    name = clean(item["task"].rpartition("/")[2])
    head = f"{item['kind']} · {name} · {duration(item.get('waiting_s') or 0)} · "
    room = None if canvas.columns is None else canvas.columns - 2
    return f"{canvas.glyph('waiting')} {_plain(clip(head + seen(item['text']).strip(), room), canvas)}"


def command(item: Json) -> str:
    """The command that answers an item, with its possible answers.

    A dialog that only the agent's own terminal answers: the command that opens that.
    In parentheses, so that a line pasted as it stands is an error to every shell: `approve | cancel` would approve.
    """
    if item.get("terminal"):
        return f"stretto attach {clean(item['task'])}"
    keys = [str(option["key"]) for option in item.get("options", ())]
    words = [f'{key} "TEXT"' if key == "send-back" else key for key in keys]
    if item["kind"] == "question" or not words:
        words = [*keys, '"TEXT"']
    return f"stretto answer {item['id']} " + (f"({' | '.join(words)})" if len(words) > 1 else words[0])


def item_block(item: Json, canvas: Canvas) -> list[str]:
    """Everything of an item: its whole text, each option, the ways to look closer and to answer."""
    task = clean(item["task"])
    head = f"{item['id']} · {item['kind']} · {task} · waits {duration(item.get('waiting_s') or 0)}"
    lines = [canvas.paint(canvas.fit(head), "bold")]
    # what others say stands behind a bar, so that no line of theirs can pass for one of ours
    bar = "  │ " if canvas.unicode else "  | "
    lines += [_plain(line, canvas) for line in wrap(seen(item["text"], lines=True).strip(), canvas.columns, bar)]
    options = [(str(option["key"]), " ".join(seen(str(option["text"])).split())) for option in item.get("options", ())]
    most = max((width(key) for key, _ in options), default=0)
    for key, text in options:
        told = f"    {pad(key, most)}  {text}" if text and text != key else f"    {key}"
        lines += [_plain(line, canvas) for line in hang(told, canvas.columns, " " * (most + 2))]
    look = item.get("look") or f"stretto {_LOOK.get(item['kind'], 'explain')} {task}"
    lines.append(canvas.paint(f"  look:   {look}", "dim"))
    return [*lines, canvas.paint("  answer: " + _plain(command(item), canvas), "cyan")]


def _notices(status: Json, canvas: Canvas) -> list[str]:
    texts = [clean(str(notice["text"])) for notice in status.get("notices", ())]
    if status.get("daemon") is None:
        texts.append("no daemon runs, this is what was stored last; start it with: stretto up")
    lines = [canvas.paint(canvas.fit(text), "yellow") for text in texts]
    return ["", *lines] if lines else []


# ---------------------------------------------------------------- one line for each change


def changes(old: Json | None, new: Json, clock: Callable[[], str]) -> list[str]:
    """What is different in `new`, one line for each task and new item; for streams that cannot be redrawn."""
    before = {task["uid"]: _face(task) for task in (old or {"tasks": ()})["tasks"]}
    known = {item["id"] for item in (old or {}).get("inbox", ())}
    lines = []
    for task in new["tasks"]:
        if before.get(task["uid"]) != _face(task):
            reason = clean(str(task.get("reason") or ""))
            words = " ".join(filter(None, (task["state"], task.get("stage") if task["state"] == "active" else "")))
            lines.append(f"{clock()} {task['uid']}: {words}" + (f" ({reason})" if reason else ""))
    for item in new.get("inbox", ()):
        if item["id"] not in known:
            text = clip(seen(item["text"]), 200)
            lines.append(f"{clock()} {item['task']}: {item['kind']} waits for you: {text}; {command(item)}")
    return lines


def _face(task: Json) -> tuple[Any, ...]:
    return task["state"], task.get("stage"), task.get("reason"), task.get("paused")
