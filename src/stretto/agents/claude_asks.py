"""What Claude Code asks, and how the person's answer goes back to it.

An `asked` signal carries all that the answer needs, as JSON: `request` (its id), `kind`, and for questions the `input`
that has to come back completed. Permissions do not carry their input back: it may be a whole file.

The person's answer is {"key": …} (one of the options), {"text": …} (free), or {"answers": {question: text}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stretto.agents.questions import DETAIL, answers, cut, describe, questions_of, questions_text
from stretto.agents.shapes import Json, as_list, as_object, as_text
from stretto.core.model import ItemKind
from stretto.interfaces import Signal


def asked(request: str, body: Json) -> Signal:
    """The signal for a control request of the agent."""
    if body.get("subtype") != "can_use_tool":
        return _foreign(request, body)
    tool, tool_input = as_text(body.get("tool_name")) or "a tool", as_object(body.get("input"))
    questions = questions_of(tool_input) if tool == "AskUserQuestion" else []
    if questions:
        return _question(request, tool_input, questions)
    return _permission(request, tool, tool_input, body)


def control_answer(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> Json | None:
    """The control response; None for a payload that is not of this protocol."""
    request = payload.get("request")
    if not isinstance(request, str):
        return None
    if payload.get("foreign"):
        return _response(request, error="refused by the person")
    if payload.get("kind") == ItemKind.QUESTION.value:
        given = {**as_object(payload.get("input")), "answers": answers(payload, answer)}
        return _response(request, {"behavior": "allow", "updatedInput": given})
    return _response(request, _decision(payload, answer))


def _question(request: str, tool_input: Json, questions: list[Json]) -> Signal:
    only = questions[0] if len(questions) == 1 else None
    data = {
        "kind": ItemKind.QUESTION.value,
        "request": request,
        "text": only["question"] if only else questions_text(questions),
        "options": only["options"] if only else [],
        "questions": questions,
        "tool": "AskUserQuestion",
        "input": tool_input,
    }
    return Signal("asked", data)


def _permission(request: str, tool: str, tool_input: Json, body: Json) -> Signal:
    always = [one for one in as_list(body.get("permission_suggestions")) if isinstance(one, dict)]
    options = [["allow", "Allow once"]]
    if always:
        options.append(["always", f"Allow for this session: {_rules(always)}"])
    options.append(["deny", "Deny"])
    data = {
        "kind": ItemKind.PERMISSION.value,
        "request": request,
        "text": f"{tool}: {describe(tool, tool_input)}",
        "options": options,
        "questions": [],
        "tool": tool,
        "input": {name: cut(value) for name, value in tool_input.items()},
        # the files that hold a project's settings belong to the person: what is allowed holds for the session
        "suggestions": [{**one, "destination": "session"} for one in always],
    }
    return Signal("asked", data)


def _foreign(request: str, body: Json) -> Signal:
    """A request of a newer protocol: it can be refused, which is better than an agent that waits for ever."""
    subtype = as_text(body.get("subtype")) or "something"
    data = {
        "kind": ItemKind.PERMISSION.value,
        "request": request,
        "text": f"the agent wants something that stretto does not know ({subtype}): {json.dumps(body)[:DETAIL]}",
        "options": [["deny", "Refuse"]],
        "questions": [],
        "tool": subtype,
        "input": {},
        "foreign": True,
    }
    return Signal("asked", data)


def _decision(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> Json:
    """Free text without a key is a refusal that says what to do instead."""
    key, text = answer.get("key"), as_text(answer.get("text"))
    if key == "allow":
        return {"behavior": "allow"}
    if key == "always":
        return {"behavior": "allow", "updatedPermissions": as_list(payload.get("suggestions"))}
    return {"behavior": "deny", "message": text or "The person does not allow this. Find another way, or stop."}


def _response(request: str, response: Json | None = None, error: str | None = None) -> Json:
    if error is not None:
        body: Json = {"subtype": "error", "request_id": request, "error": error}
    else:
        body = {"subtype": "success", "request_id": request, "response": response}
    return {"type": "control_response", "response": body}


def _rules(suggestions: Sequence[Json]) -> str:
    found = [f"mode {one['mode']}" for one in suggestions if isinstance(one.get("mode"), str)]
    for rule in (as_object(rule) for one in suggestions for rule in as_list(one.get("rules"))):
        content = as_text(rule.get("ruleContent"))
        found.append(f"{rule.get('toolName')}({content})" if content else str(rule.get("toolName")))
    return ", ".join(found)[:200] or "the same"
