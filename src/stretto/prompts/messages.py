"""One function for each message to an agent. Each begins with a header line (prompts.header) and is plain Markdown.

What the person wrote (spec, acceptance, context, comments) stands as it is; what agents, programs and other tasks wrote
stands in data blocks. `overrides` (name -> template) replaces the templates that come with stretto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stretto.core.model import CheckSpec, Origin, Task
from stretto.prompts import render
from stretto.prompts.data import LIMIT, data_block, label, plain, shortened
from stretto.prompts.header import header

Overrides = Mapping[str, str] | None
#: characters of the output of one failed check
OUTPUT_LIMIT = 6000
#: variables whose values an agent should see; of others that matter only the name is told
_SHOWN = ("PORT", "STRETTO_SLOT", "COMPOSE_PROJECT_NAME")
_NAMED = {"DATABASE_URL": "the database of this workspace, yours alone"}


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed: its name and command, why, and the end of its output. `advice`: what we say about it."""

    name: str
    command: str
    output: str
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """A review comment. `author` None: the person, whose words are an instruction and not data."""

    id: str
    text: str
    path: str | None = None
    line: int | None = None
    author: str | None = None


def start(
    task: Task,
    *,
    context: str,
    notes: Mapping[str, str],
    env: Mapping[str, str],
    checks: Sequence[CheckSpec] = (),
    report: str | None = None,
    overrides: Overrides = None,
) -> str:
    """The first message. `notes`: uid of a need -> its result note; a task with `lands` False gets `research`."""
    values = _task(task) | {"context": context.strip(), "notes": _notes(notes), "facts": _facts(env)}
    if not task.lands:
        return _message(Origin.START, render("research", overrides, **values, report=report or "not set"))
    commands = "\n".join(f"- {check.name}: `{check.run}`" for check in checks)
    return _message(Origin.START, render("start", overrides, **values, checks=commands))


def check_failed(
    task: Task, failures: Sequence[Failure], *, round: int, rounds: int, overrides: Overrides = None
) -> str:
    """A repair turn after red checks in the workspace; `round` counts from 1."""
    values = _task(task) | {"failures": _failures(failures), "round": str(round), "rounds": str(rounds)}
    return _message(Origin.CHECK, render("check_failed", overrides, **values))


def gate_failed(
    task: Task, failures: Sequence[Failure], *, target: str, commit: str, overrides: Overrides = None
) -> str:
    """A repair turn after a red gate; `commit` is the tip of the target that the task was merged with."""
    values = _task(task) | {"failures": _failures(failures), "target": target, "commit": commit}
    return _message(Origin.GATE, render("gate_failed", overrides, **values), merge=commit)


def conflict(
    task: Task,
    *,
    target: str,
    commit: str,
    files: Sequence[str],
    others: Sequence[Task],
    round: int,
    rounds: int,
    author: str = "",
    overrides: Overrides = None,
) -> str:
    """A turn that resolves a conflict with `commit`; `others` are the landed tasks that touched the files.

    `author`: whose work it is, if the one who resolves is another.
    """
    values = _task(task) | {"target": target, "commit": commit, "others": _others(others), "author": author}
    listed = "\n".join(f"- `{label(path)}`" for path in files) or "- (git named none)"
    text = render("conflict", overrides, **values | {"files": listed}, round=str(round), rounds=str(rounds))
    return _message(Origin.CONFLICT, text, merge=commit)


def comments(task: Task, wanted: Sequence[Comment], text: str = "", overrides: Overrides = None) -> str:
    """Review comments and what was said to the whole; the agent answers each by its id."""
    values = _task(task) | {
        "text": text.strip(),
        "comments": "\n\n".join(map(_comment, wanted)),
        "example": wanted[0].id if wanted else "",
    }
    return _message(Origin.COMMENTS, render("comments", overrides, **values))


def answer(task: Task, *, question: str, answer: str, overrides: Overrides = None) -> str:
    """The answer to a question whose turn is over."""
    asked = data_block(question, "your own question", LIMIT)
    return _message(Origin.ANSWER, render("answer", overrides, **_task(task), question=asked, answer=answer.strip()))


def spec_changed(task: Task, overrides: Overrides = None) -> str:
    """The task's new text while the agent is at work."""
    return _message(Origin.SPEC, render("spec_changed", overrides, **_task(task)))


def resume(task: Task, reason: str, overrides: Overrides = None) -> str:
    """After a reboot, a crash or a lost agent."""
    return _message(Origin.RESUME, render("resume", overrides, **_task(task), reason=label(reason)))


def person(task: Task, text: str, overrides: Overrides = None) -> str:
    """What the person says with `stretto send`."""
    return _message(Origin.PERSON, render("person", overrides, **_task(task), text=text.strip()))


def driver(target: str, place: str, *, here: bool, overrides: Overrides = None) -> str:
    """What the driver's agent is told first; `here`: `place` is the person's own checkout."""
    return render("driver", overrides, target=target, here=place if here else "", place="" if here else place)


def driver_says(text: str, overrides: Overrides = None) -> str:
    """The driver's words for a task's agent: not the person's, and not as long as it likes."""
    return render("driver_says", overrides, text=shortened(plain(text), LIMIT))


def _message(origin: Origin, text: str, **values: str) -> str:
    # NUL may come from a plan or a template, and no argument of a program can hold it
    return f"{header(origin=origin.value, **values)}\n\n{text}".replace("\0", "")


def _task(task: Task) -> dict[str, str]:
    return {
        "id": task.id,
        "title": task.title,
        "spec": task.spec.strip(),
        "accept": task.accept.strip(),
        "files": ", ".join(f"`{pattern}`" for pattern in task.files),
    }


def _notes(notes: Mapping[str, str]) -> str:
    return "\n\n".join(data_block(text, f"task {uid}", 4000) for uid, text in notes.items() if text.strip())


def _facts(env: Mapping[str, str]) -> str:
    folder = env.get("STRETTO_WORKSPACE", ".")
    own = folder != env.get("STRETTO_ROOT")
    what = "a git worktree of its own" if own else "the person's own checkout: do not switch its branch"
    lines = [f"- folder: `{folder}`, {what}"]
    if branch := env.get("STRETTO_BRANCH"):
        lines.append(f"- branch: `{branch}`, from {env.get('STRETTO_BASE', 'the base')[:12]}")
    shown = [name for name in env if name in _SHOWN or name.startswith("PORT_")]
    lines += [f"- `{name}={env[name]}`" for name in sorted(shown)]
    if any(name.startswith("PORT") for name in shown):
        lines.append("- use these ports and no others: the neighbours' servers run on the ports beside them")
    lines += [f"- `{name}`: {meaning}" for name, meaning in _NAMED.items() if name in env]
    return "\n".join(lines)


def _failures(failures: Sequence[Failure]) -> str:
    return "\n\n".join(map(_failure, failures))


def _failure(failure: Failure) -> str:
    why = f" ({label(failure.reason)})" if failure.reason else ""
    output = data_block(failure.output, f"output of {failure.name}, its end", OUTPUT_LIMIT, keep="tail")
    advice = f"{plain(failure.advice)}\n\n" if failure.advice else ""
    command = shortened(plain(failure.command), 500)
    return f"## {label(failure.name)}{why}\n\nCommand: `{command}`\n\n{advice}{output}"


def _others(others: Sequence[Task]) -> str:
    blocks = (data_block(f"{task.title}\n\n{task.spec}", f"task {task.uid}", 4000) for task in others)
    return "\n\n".join(blocks) or "Changes that no task of stretto made; `git log -p` shows them."


def _comment(comment: Comment) -> str:
    where = f" `{label(comment.path)}`" if comment.path else ""
    where += f", line {comment.line}" if comment.path and comment.line else ""
    said = comment.text.strip() if comment.author is None else data_block(comment.text, comment.author, 4000)
    return f"**{comment.id}**{where}:\n{said}"
