"""The words of each turn: templates filled with what the rows know, everything foreign marked as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stretto.checks.run import tail
from stretto.core.checkout_rules import FILES, outside
from stretto.core.facts import Facts, limits_of
from stretto.core.model import Check, CheckResult, Entry, ItemKind, Message, MessageKind, Origin, Session, Task
from stretto.core.who import CONTINUES, has_resolver, implementer
from stretto.engine.parts import Parts
from stretto.prompts import messages as prompts
from stretto.prompts.messages import Failure
from stretto.store.sqlite import Reader

#: bytes of a failed check's output that go back to the agent
TAIL = 6000
#: changed paths that are named to an agent
MOST_PATHS = 100


def text_for(
    parts: Parts, f: Facts, origin: Origin, words: str = "", *, question: str = "", env: dict[str, str] | None = None
) -> str:
    """The message of the next turn. `words`: what the person said; `question`: what they answered."""
    match origin:
        case Origin.START:
            return start(parts, f, env or {})
        case Origin.CHECK:
            return check_failed(f)
        case Origin.GATE:
            return gate_failed(f)
        case Origin.CONFLICT:
            return conflict(parts, f)
        case Origin.ANSWER:
            return prompts.answer(f.task, question=question, answer=words, overrides=_own(f))
        case Origin.RESUME:
            return resume(f)
        case Origin.SPEC:
            return prompts.spec_changed(f.task, _own(f))
        case Origin.COMMENTS:
            return words
        case Origin.PERSON:
            return prompts.person(f.task, words, _own(f))


def _own(f: Facts) -> Mapping[str, str]:
    """The project's own templates, as they were when the run was made."""
    return f.run.config.get("prompts") or {}


def start(parts: Parts, f: Facts, env: dict[str, str]) -> str:
    """The first message: the plan's context, the spec, its acceptance, what earlier tasks left."""
    report = None if f.task.lands else str(report_file(parts, f.task))
    return prompts.start(
        f.task,
        context=f.run.context,
        notes=_notes(parts, f),
        env=env,
        checks=f.specs,
        report=report,
        overrides=_own(f),
    )


def _notes(parts: Parts, f: Facts) -> dict[str, str]:
    """What the tasks that this one needs said about their results."""
    with parts.store.read() as db:
        found = [db.one(Task, "uid = ?", n.uid) for n in f.needs if n.satisfied]
    return {t.uid: t.note for t in found if t is not None and t.note}


def report_file(parts: Parts, task: Task) -> Path:
    """Where a task that lands nothing writes its report; outside of its worktree."""
    return parts.home.reports / f"{task.run}__{task.id}" / "report.md"


def check_failed(f: Facts) -> str:
    """Which checks failed on the committed tree, with the end of their output."""
    rows = [(s, f.check(s)) for s in f.specs]
    failures = [
        Failure(s.name, s.run, output_tail(r), r.reason)
        for s, r in rows
        if r is not None and r.result is CheckResult.FAILED
    ]
    if strange := tuple(f.task.diff.get("private", ())) or outside(f):
        listed = "\n".join(strange[:MOST_PATHS])
        failures = [Failure(FILES, "git diff --name-only $STRETTO_BASE", listed, advice=_about_files(f))]
    rounds = limits_of(f.run, f.task).check_rounds
    count = f.task.attempts.get("repair", 0) + 1
    return prompts.check_failed(f.task, failures, round=count, rounds=rounds, overrides=_own(f))


def _about_files(f: Facts) -> str:
    """What is wrong with the paths that a task has changed, and the way out."""
    if f.task.diff.get("private"):
        return (
            f"These files are the person's own, which git ignores at {f.task.diff['base']}. No commit of yours may hold"
            " them, not one that a later one undoes either. Leave the files where they are, and .gitignore as it was:"
            " `git reset --soft` to that commit, `git rm --cached` on each of them, commit anew; no `git reset --hard`."
        )
    return f"The task may change only {', '.join(f.task.files)}: undo what it changed elsewhere."


def output_tail(row: Check | Entry) -> str:
    """The end of a captured output, fit for a prompt; empty when the file is gone."""
    path = Path(row.output) if row.output else None
    return tail(path, TAIL) if path is not None and path.exists() else ""


def gate_failed(f: Facts) -> str:
    """What the checks said of the work merged with the target."""
    entry = f.entry
    if entry is None:
        return prompts.gate_failed(f.task, [], target=f.run.target, commit=f.run.target, overrides=_own(f))
    commands = {s.name: s.run for s in f.specs}
    name = entry.reason.rpartition(": ")[2]
    failure = Failure(name, commands.get(name, name), output_tail(entry), entry.reason)
    commit = entry.old or f.run.target
    return prompts.gate_failed(f.task, [failure], target=f.run.target, commit=commit, overrides=_own(f))


def conflict(parts: Parts, f: Facts) -> str:
    """The files in conflict, the commit to merge, and what the others meant who changed them."""
    entry = f.entry
    others = _who_changed(parts, f, entry) if entry is not None and entry.old is not None else []
    return prompts.conflict(
        f.task,
        target=f.run.target,
        commit=(entry.old if entry is not None else None) or f.run.target,
        files=entry.files if entry is not None else (),
        others=others,
        round=f.task.attempts.get("resolve", 0) + 1,
        rounds=limits_of(f.run, f.task).conflict_rounds,
        author=implementer(f).name if has_resolver(f) else "",
        overrides=_own(f),
    )


def _who_changed(parts: Parts, f: Facts, entry: Entry) -> list[Task]:
    """Tasks that landed since the branch began and touched a file in conflict."""
    git = parts.repositories.git(f.run.root)
    base = git.merge_base(str(entry.old), entry.head)
    files = set(entry.files)
    with parts.store.read() as db:
        landed = db.select(
            Task, "repo = ? AND landed IS NOT NULL AND uid != ? ORDER BY ended_at", f.task.repo, f.task.uid
        )
    touched = [t for t in landed if files & set(t.diff.get("paths", ()))]
    return [t for t in touched if base is None or not git.is_ancestor(str((t.landed or {})["commit"]), base)]


def resume(f: Facts) -> str:
    """Take up work again after an interruption, with what was answered meanwhile.

    Whoever does not know what was asked is told it when the message is given to a session.
    """
    last = next((turn for turn in reversed(f.turns) if turn.delivered_at is not None), f.turn)
    text = prompts.resume(f.task, last.reason if last is not None else "", _own(f))
    for item in f.items:
        if last is not None and item.kind is ItemKind.QUESTION and item.answer and item.payload.get("turn") == last.n:
            said = str(item.answer.get("text") or item.answer.get("key"))
            told = prompts.answer(f.task, question=item.text, answer=said, overrides=_own(f))
            text += "\n" + told.partition("\n\n")[2]
    return text


#: what stands before a message that is repeated
_ASKED = "\n## What you were asked\n\n"


def with_task(text: str, asked: str) -> str:
    """A message for an agent that does not know what it was asked: followed by that message, without its header.

    What that message repeats itself is left out.
    """
    return f"{text}{_ASKED}{asked.partition(_ASKED)[0].partition(chr(10) * 2)[2]}"


def result_note(f: Facts, turn: Message) -> str:
    """The result of a task: what the agent noted as its result, else the end of its output (DECISIONS 14)."""
    return f.task.note or turn.output[-2000:]


def whole(tx: Reader, session: Session, message: Message, *, keeps: bool) -> str:
    """The words of a message. The first turn of a conversation says what the task is, whatever it was made for.

    An agent that does not keep conversations (`keeps`) is told it with every turn; a changed task says it by itself.
    One that takes up what another was asked is told that, too: nobody else knows it.
    """
    if message.kind is not MessageKind.TURN or message.origin is Origin.START:
        return message.text
    if not keeps and message.origin is Origin.SPEC:
        return message.text
    told = tx.one(Message, "session = ? AND kind = 'turn' AND number IS NOT NULL", session.id) is not None
    if keeps and (told or session.parser.get("resume")):
        return message.text
    where = "task = ? AND kind = 'turn' AND state != 'withdrawn' AND n < ? ORDER BY n"
    before = tx.select(Message, where, message.task, message.n)
    text = message.text
    for said in _gone_on_with(before) if message.origin is Origin.RESUME else ():
        text = with_task(text, said.text)
    asked = {said.origin: said.text for said in before}
    for origin in (Origin.START, Origin.SPEC):  # a changed spec says itself that it replaces what stands before it
        text = with_task(text, asked[origin]) if origin in asked else text
    return text


def _gone_on_with(before: Sequence[Message]) -> list[Message]:
    """What was asked since the last turn that began something new, the task itself left out; the latest first."""
    found: list[Message] = []
    for said in reversed([m for m in before if m.delivered_at is not None or m.result is not None]):
        if said.origin not in {Origin.RESUME, Origin.START, Origin.SPEC}:
            found.append(said)
        if said.origin not in CONTINUES:
            break
    return found
