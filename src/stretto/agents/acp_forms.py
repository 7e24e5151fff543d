"""Forms of the Agent Client Protocol (`elicitation/create`): questions of an agent, and the answer to them.

A form is a flat schema: texts, numbers, truth values, one of several or some of several. Each field becomes a question,
in the words of its title or description: agents put the question into either of them, and a heading into the other.
A field `NAME_custom` beside a choice `NAME`, or one whose `_meta` names it as the note of `NAME` (Codex), is where an
answer in the person's own words goes. What is asked for in another mode than a form (a page to be opened) is declined,
and so is a form of more than `FIELDS` fields. No two questions have the same words, by which their answers are told
apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from stretto.agents.questions import answers, cut, questions_text
from stretto.agents.shapes import Json, as_list, as_object, as_text
from stretto.core.model import ItemKind
from stretto.interfaces import Signal

METHOD = "elicitation/create"
CUSTOM = "_custom"
#: fields of a form, options of a choice that are shown (others can be typed), characters of a field's name
FIELDS, OPTIONS, NAME = 40, 100, 200
#: characters of a heading, which is left out beside a question
HEADING = 24


def asked(request: str | int, params: Json) -> Signal:
    """The question that a form is, or the reply that declines what is none."""
    id = json.dumps(request)
    fields = as_object(as_object(params.get("requestedSchema")).get("properties"))
    message = cut(as_text(params.get("message")))
    asked_for = [name for name in fields if _asks(name, fields)]
    unfit = len(asked_for) > FIELDS or any(len(name) > NAME for name in fields)
    if params.get("mode", "form") != "form" or not asked_for or unfit:
        return Signal("reply", {"request": id, "data": json.dumps(_response(request, {"action": "decline"}))})
    questions: list[Json] = []
    for name in asked_for:
        one = _question(name, as_object(fields[name]), message if len(asked_for) == 1 else "")
        if any(one["question"] == other["question"] for other in questions):
            one["question"] += f" ({name})"
        questions.append(one)
    only = questions[0] if len(questions) == 1 else None
    if only:
        only["question"] = _both(message, cut(_words(as_object(fields[only["field"]])))) or only["question"]
    own = {name: field for name in (q["field"] for q in questions) if (field := _own_words(name, fields))}
    data: Json = {
        "kind": ItemKind.QUESTION.value,
        "request": id,
        "text": only["question"] if only else f"{message}\n{questions_text(questions)}".strip(),
        "options": only["options"] if only else [],
        "questions": questions,
        "tool": "form",
        "input": {},
        "custom": own,
    }
    return Signal("asked", data)


def answer(payload: Mapping[str, Any], given: Mapping[str, Any]) -> Json | None:
    """The response with the person's answers; None for a payload that is no form."""
    id = payload.get("request")
    if not isinstance(id, str) or "custom" not in payload:
        return None
    said = answers(payload, given)
    content: Json = {}
    for one in map(as_object, as_list(payload.get("questions"))):
        own = as_text(as_object(payload.get("custom")).get(as_text(one.get("field"))))
        content |= _content(one, said.get(str(one.get("question")), ""), own)
    return _response(json.loads(id), {"action": "accept", "content": content})


def _asks(name: str, fields: Json) -> bool:
    return not (name.endswith(CUSTOM) and name.removesuffix(CUSTOM) in fields) and _note_of(fields[name]) not in fields


def _own_words(name: str, fields: Json) -> str:
    """The field for an answer in the person's own words; nothing if there is none."""
    custom = f"{name}{CUSTOM}"
    return custom if custom in fields else next((one for one in fields if _note_of(fields[one]) == name), "")


def _note_of(field: Any) -> str:
    """The field that a field of Codex is the note of; nothing for any other."""
    codex = as_object(as_object(as_object(field).get("_meta")).get("codex"))
    return as_text(codex.get("questionId")) if codex.get("role") == "user_note" else ""


def _words(field: Json) -> str:
    return _both(as_text(field.get("title")), as_text(field.get("description")))


def _both(first: str, second: str) -> str:
    """Both texts, without one that is in the other or a mere heading beside it."""
    first, second = first.strip(), second.strip()
    short, long = sorted((first, second), key=len)
    if short.lower() in long.lower() or (len(short) <= HEADING and not short.endswith("?")):
        return long
    return f"{first}\n{second}"


def _question(name: str, field: Json, message: str) -> Json:
    several = field.get("type") == "array"
    labels = _labels(as_object(field.get("items")) if several else field)
    if field.get("type") == "boolean":
        labels = ["yes", "no"]
    text = _words(field) or message or name
    options = [[str(n), label] for n, label in enumerate(labels[:OPTIONS], 1)]
    kind = as_text(field.get("type")) or "string"
    return {"question": cut(text), "options": options, "several": several, "field": name, "type": kind[:20]}


def _labels(field: Json) -> list[str]:
    """The values of a choice."""
    parts = [as_object(one).get("const") for one in [*as_list(field.get("oneOf")), *as_list(field.get("anyOf"))]]
    return [cut(value) for value in [*parts, *as_list(field.get("enum"))] if isinstance(value, str)]


def _content(question: Json, said: str, own: str) -> Json:
    """What the form gets for one question: a value of its field, or the person's own words in the field `own`."""
    name, labels = as_text(question.get("field")), [as_text(pair[1]) for pair in as_list(question.get("options"))]
    kind = question.get("type")
    if kind == "boolean":
        return {name: said.strip().lower() in ("yes", "true", "1", "y")}
    if kind in ("number", "integer"):
        return _number(name, said, whole=kind == "integer")
    if question.get("several"):
        chosen = _chosen(said, labels)
        return {own: said} if own and not {*chosen} <= {*labels} else {name: chosen}
    return {own if own and said not in labels else name: said}


def _chosen(said: str, labels: list[str]) -> list[str]:
    """What is between the commas; labels may hold some themselves."""
    chosen, rest = [], said.strip()
    while rest:
        fitting = [label for label in labels if label and (rest == label or rest.startswith(f"{label},"))]
        part = max(fitting, key=len) if fitting else rest.partition(",")[0].strip()
        chosen.append(part)
        rest = rest[len(part) :].partition(",")[2].strip()
    return chosen


def _number(name: str, said: str, *, whole: bool) -> Json:
    try:
        value = int(said) if whole else float(said)
        return {name: value} if math.isfinite(value) else {}
    except (ValueError, OverflowError):
        return {}  # the agent sees that it got none


def _response(request: Any, result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": request, "result": result}
