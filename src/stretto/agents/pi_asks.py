"""What pi asks through our extension (`pi_extension.js`), and how the person's answer goes back to it.

An `asked` signal carries all that the answer needs, as JSON. A dialog of somebody else's extension is put before the
person as well: it can be answered in its own words, and an agent that waits for ever helps nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stretto.agents.questions import answers, cut, describe, questions_of, questions_text
from stretto.agents.shapes import Json, as_list, as_object, as_text, parsed
from stretto.core.model import ItemKind
from stretto.interfaces import Signal

#: what the title of a dialog begins with that our extension opened
MARK = "stretto:"
ASK = "ask_user_question"
_DIALOGS = ("select", "confirm", "input", "editor")


def asked(message: Json) -> Signal | None:
    """The signal of an `extension_ui_request`; None for what expects no answer."""
    request, method, title = as_text(message.get("id")), message.get("method"), as_text(message.get("title"))
    if not request or method not in _DIALOGS:
        return None
    if title.startswith(MARK):
        return _ours(request, parsed(title.removeprefix(MARK)) or {})
    return _foreign(request, str(method), title, message)


def _ours(request: str, what: Json) -> Signal:
    tool, tool_input = as_text(what.get("tool")) or "a tool", as_object(what.get("input"))
    questions = questions_of(tool_input) if what.get("kind") == "question" else []
    if questions:
        only = questions[0] if len(questions) == 1 else None
        question: Json = {
            "kind": ItemKind.QUESTION.value,
            "request": request,
            "text": only["question"] if only else questions_text(questions),
            "options": only["options"] if only else [],
            "questions": questions,
            "tool": tool,
            "input": {},
            "method": "ours",
        }
        return Signal("asked", question)
    subject = as_text(what.get("subject")) or describe(tool, tool_input)
    data: Json = {
        "kind": ItemKind.PERMISSION.value,
        "request": request,
        "text": f"{tool}: {cut(subject)}",
        "options": [["allow", "Allow once"], ["always", "Allow exactly this for the session"], ["deny", "Deny"]],
        "questions": [],
        "tool": tool,
        "input": {name: cut(value) for name, value in tool_input.items()},
        "method": "ours",
    }
    return Signal("asked", data)


def _foreign(request: str, method: str, title: str, message: Json) -> Signal:
    words = [str(one) for one in as_list(message.get("options"))] if method == "select" else []
    words = ["yes", "no"] if method == "confirm" else words
    said = "\n".join(filter(None, [title, as_text(message.get("message"))]))
    data: Json = {
        "kind": ItemKind.QUESTION.value,
        "request": request,
        "text": cut(said) or "an extension of the agent asks something",
        "options": [[str(n), cut(word)] for n, word in enumerate(words, 1)],
        "questions": [],
        "tool": method,
        "input": {},
        "method": method,
        "words": words,
    }
    return Signal("asked", data)


def response(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> Json | None:
    """The record that answers; None for a payload that is not of this protocol."""
    request, method = payload.get("request"), payload.get("method")
    if not isinstance(request, str) or not isinstance(method, str):
        return None
    head = {"type": "extension_ui_response", "id": request}
    if method == "ours":
        return {**head, "value": json.dumps(_value(payload, answer))}
    said = str(answer.get("key") or answer.get("text") or "")
    words = [str(word) for word in as_list(payload.get("words"))]
    if said.isdigit() and 1 <= int(said) <= len(words):
        said = words[int(said) - 1]
    if method == "confirm":
        return {**head, "confirmed": said == "yes"}
    if method == "select" and said not in words:
        return {**head, "cancelled": True}
    return {**head, "value": said}


def _value(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> Json:
    if payload.get("kind") == ItemKind.QUESTION.value:
        return {"answers": answers(payload, answer)}
    return {"key": answer.get("key") or "deny", "text": as_text(answer.get("text"))}
