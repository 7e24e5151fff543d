r"""What a pretended model does, written into the prompt that it answers (docs/scripted-agent.md, "Model server").

    [[write path=app.py text="x = 1\n"]]   write a file           [[sh=make test]]      run a command
    [[commit=Add x]]                       commit everything      [[say=All done.]]     the text of the last answer
    [[ask q="Which colour?" options="Blue|Red" multi]]            ask the person (several markers: one question each)
    [[tool Grep {"pattern": "x"}]]         call any tool
    [[slow=2]] [[err=529x2]] [[cut=1]] [[garbage=1]] [[overflow]] a fault of the next answer: later, failing, torn
    [[on=check write path=app.py text="…"]]                       the same, but only in turns of that origin
    [[as=one]]                             count these requests under this name, if the agent names no session
    [[bare]]                               answer requests without tools, too: this agent has none

One marker that does something is one answer of the model, in order; `{{result}}` in its text is what the tool before it
said. The model keeps no state: how far it got is the number of tool results after the prompt that it follows, so that
parallel sessions, resumed sessions and repeated requests all come out right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stretto.prompts.header import read_header

#: what Claude Code writes around a paste
_PASTED = re.compile(r"\A\s*<pasted_content[^>]*>\n")
_HEAD = re.compile(r"<!-- stretto: [^\n]*-->")
_MARKER = re.compile(
    r"\[\[(?:on=(?P<on>\w+) )?"
    r"(?P<word>write|sh|commit|say|ask|tool|slow|err|cut|garbage|overflow|as|bare)\b(?P<rest>.*?)\]\]",
    re.DOTALL,
)
_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]+)', re.DOTALL)
_FAULTS = frozenset({"slow", "err", "cut", "garbage", "overflow"})
#: what is no step of the scenario
_SETTINGS = frozenset({"as", "bare"})


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with an answer, `times` times before it succeeds."""

    kind: str
    value: float = 0.0
    times: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the model: a tool call, or text that ends the turn."""

    word: str = "say"
    values: dict[str, Any] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the conversation: a text of the user or the result of a tool."""

    kind: str
    text: str


def next_answer(blocks: Sequence[Block]) -> Answer:
    """What the model answers after this conversation; "done" when the scenario is over or there is none."""
    place = next((at for at in reversed(range(len(blocks))) if _is_prompt(blocks[at])), None)
    if place is None:
        return Answer(values={"text": "done"})
    try:
        answers = scenario(_followed(blocks, place))
    except ValueError as error:
        return Answer(values={"text": f"a marker of the scenario makes no sense: {error}"})
    results = [block.text for block in blocks[place:] if block.kind == "result"]
    answer = answers[min(len(results), len(answers) - 1)]
    return _filled(answer, results[-1] if results else "")


def setting(blocks: Sequence[Block], word: str) -> str | None:
    """The last value of a setting (`as`, `bare`) in the user's texts; None if none of them has it."""
    texts = (block.text for block in blocks if block.kind == "text")
    found = [one["rest"].removeprefix("=") for text in texts for one in _MARKER.finditer(text) if one["word"] == word]
    return found[-1] if found else None


def scenario(markers: Iterable[re.Match[str]]) -> list[Answer]:
    """The answers that these markers ask for; the last one is always text."""
    answers: list[Answer] = []
    faults: list[Fault] = []
    last = "done"
    for found in markers:
        word, rest = found["word"], found["rest"]
        if word in _SETTINGS:
            continue
        if word in _FAULTS:
            faults.append(_fault(word, rest))
        elif word == "say":
            last = rest.removeprefix("=")
        elif word == "ask" and answers and answers[-1].word == "ask" and not faults:
            answers[-1].values["questions"].append(_question(rest))
        else:
            answers.append(Answer(word, _values(word, rest), tuple(faults)))
            faults = []
    return [*answers, Answer("say", {"text": last}, tuple(faults))]


def _bare(text: str) -> str:
    """A message as it was sent: some agents put words of their own before it."""
    head = _HEAD.search(text)
    return text[head.start() :] if head else _PASTED.sub("", text)


def _is_prompt(block: Block) -> bool:
    return block.kind == "text" and bool(read_header(_bare(block.text)) or _MARKER.search(block.text))


def _followed(blocks: Sequence[Block], place: int) -> list[re.Match[str]]:
    """The markers of this prompt; for a turn of another origin also those that were said for it earlier."""
    origin = read_header(_bare(blocks[place].text)).get("origin", "start")
    own = [found for found in _MARKER.finditer(blocks[place].text) if found["on"] in (None, origin)]
    if origin == "start":
        return own
    earlier = (_MARKER.finditer(block.text) for block in blocks[:place] if block.kind == "text")
    meant = [found for markers in earlier for found in markers if found["on"] == origin]
    return meant or own


def _fault(word: str, rest: str) -> Fault:
    value, _, times = rest.removeprefix("=").strip().partition("x")
    if word in ("slow", "err"):
        return Fault(word, float(value), int(times or "1"))
    return Fault(word, 0.0, int(value or "1"))


def _values(word: str, rest: str) -> dict[str, Any]:
    if word == "ask":
        return {"questions": [_question(rest)]}
    if word == "write":
        return {"path": "", "text": "", **_pairs(rest)}
    if word == "tool":
        name, _, arguments = rest.strip().partition(" ")
        return {"name": name, "input": json.loads(arguments or "{}")}
    return {"text": rest.removeprefix("=")}


def _question(rest: str) -> dict[str, Any]:
    pairs = _pairs(rest)
    options = [{"label": label, "description": f"take {label}"} for label in pairs.get("options", "Yes|No").split("|")]
    return {
        "question": pairs.get("q", "Go on?"),
        "header": pairs.get("header", "Choice"),
        "options": options,
        "multiSelect": rest.split()[-1:] == ["multi"],
    }


def _pairs(rest: str) -> dict[str, str]:
    found = ((name, value) for name, value in _PAIR.findall(rest))
    return {name: json.loads(value, strict=False) if value.startswith('"') else value for name, value in found}


def _filled(answer: Answer, result: str) -> Answer:
    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("{{result}}", result)
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return [fill(item) for item in value] if isinstance(value, list) else value

    return Answer(answer.word, fill(answer.values), answer.faults)
