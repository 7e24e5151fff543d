"""What Codex asks, and how the person's answer goes back to it.

An `asked` signal carries all that the answer needs, as JSON: `request` (the id as JSON text), `method`, and for
questions their ids. Approvals that the rules of `permissions` decide are answered at once and reach nobody; rules are
judged on single commands only, so that `allow Bash(git *)` never lets `git status; rm -r .` pass.

The person's answer is {"key": …} (one of the options), {"text": …} (free), or {"answers": {question: text}}. A refusal
carries no words: the protocol has no place for them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from stretto.agents.questions import DETAIL, answers, questions_of, questions_text
from stretto.agents.shapes import Json, as_list, as_object, as_text
from stretto.core.model import ItemKind
from stretto.interfaces import Signal

COMMAND, EDIT = "item/commandExecution/requestApproval", "item/fileChange/requestApproval"
PERMISSIONS, QUESTION = "item/permissions/requestApproval", "item/tool/requestUserInput"
ELICITATION = "mcpServer/elicitation/request"
#: the words of rules that decide a request: the same as for other agents, so that a role's policy holds for all
_RULES = {COMMAND: ("Bash",), EDIT: ("Edit", "Write")}
_OPTIONS = [["allow", "Allow once"], ["always", "Allow for this session"], ["deny", "Deny"]]
_RULE = re.compile(r"([\w*-]+)(?:\((.*)\))?$", re.DOTALL)
#: what makes a command line more than one command
_COMPOUND = re.compile(r"[;&|<>`\n\r]|\$\(")
_SEPARATORS = re.compile(r"[;&|\n\r`()]+")


def asked(request: str | int, method: str, params: Json, state: Json) -> Iterator[Signal]:
    """The signal for a request of the program."""
    id = json.dumps(request)
    if method == QUESTION and (questions := _questions(params)):
        yield _question(id, method, questions)
        return
    if method not in _DESCRIBED:
        yield _foreign(id, method, params)
        return
    tool, text, options = _DESCRIBED[method](params)
    decided = _decided(method, text, state)
    if decided is not None:
        response = _result(request, {"decision": "accept" if decided else "decline"})
        yield Signal("reply", {"request": id, "data": json.dumps(response)})
        return
    reason = as_text(params.get("reason"))[:DETAIL]
    shown = text[:DETAIL]
    said = f"{tool}: {shown}" + (f" ({reason})" if reason and reason != text else "")
    data = {"kind": ItemKind.PERMISSION.value, "request": id, "method": method, "text": said}
    more = {"wanted": params.get("permissions")} if method == PERMISSIONS else {}
    yield Signal("asked", {**data, "options": options, "questions": [], "tool": tool, "input": {"text": shown}, **more})


def response_to(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> Json | None:
    """The response; None for a payload that is not of this protocol."""
    method, id = payload.get("method"), payload.get("request")
    if not isinstance(method, str) or not isinstance(id, str):
        return None
    request, key = json.loads(id), answer.get("key")
    if payload.get("kind") == ItemKind.QUESTION.value:
        given = answers(payload, answer)
        asked_for = [as_object(one) for one in as_list(payload.get("questions"))]
        return _result(request, {"answers": {one["id"]: {"answers": [given[one["question"]]]} for one in asked_for}})
    if method == PERMISSIONS:
        granted = {name: one for name, one in as_object(payload.get("wanted")).items() if one is not None}
        scope = "session" if key == "always" else "turn"
        return _result(request, {"permissions": granted if key in ("allow", "always") else {}, "scope": scope})
    if method == ELICITATION:
        taken = {"action": "accept", "content": {}} if key == "allow" else {"action": "decline", "content": None}
        return _result(request, taken)
    if payload.get("foreign"):
        return {"id": request, "error": {"code": -32601, "message": "refused by the person"}}
    return _result(request, {"decision": {"allow": "accept", "always": "acceptForSession"}.get(str(key), "decline")})


def _result(request: str | int, result: Json) -> Json:
    return {"id": request, "result": result}


# ---------------------------------------------------------------- what is asked for


def _command(params: Json) -> tuple[str, str, list[list[str]]]:
    return "command", _script(as_text(params.get("command"))), _OPTIONS


def _script(command: str) -> str:
    """The text that the shell is to run; the whole command line if it is anything else."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return words[2] if len(words) == 3 and words[1] in ("-c", "-lc") else command


def _edit(params: Json) -> tuple[str, str, list[list[str]]]:
    root = as_text(params.get("grantRoot"))
    return "edit", root or "change files", _OPTIONS


def _permissions(params: Json) -> tuple[str, str, list[list[str]]]:
    return "permissions", json.dumps(params.get("permissions"))[:DETAIL], _OPTIONS


def _elicitation(params: Json) -> tuple[str, str, list[list[str]]]:
    """A form of an MCP server: it is allowed as it stands, or refused."""
    server, said = as_text(params.get("serverName")), as_text(params.get("message"))
    return "mcp", f"{server}: {said}"[:DETAIL], [["allow", "Accept"], ["deny", "Decline"]]


_DESCRIBED = {COMMAND: _command, EDIT: _edit, PERMISSIONS: _permissions, ELICITATION: _elicitation}


def _foreign(id: str, method: str, params: Json) -> Signal:
    """A request of a newer protocol: it can be refused, which is better than an agent that waits for ever."""
    said = f"the agent wants something that stretto does not know ({method}): {json.dumps(params)[:DETAIL]}"
    data = {"kind": ItemKind.PERMISSION.value, "request": id, "method": method, "text": said, "foreign": True}
    return Signal("asked", {**data, "options": [["deny", "Refuse"]], "questions": [], "tool": method, "input": {}})


# ---------------------------------------------------------------- questions


def _question(id: str, method: str, questions: list[Json]) -> Signal:
    only = questions[0] if len(questions) == 1 else None
    text, options = (only["question"], only["options"]) if only else (questions_text(questions), [])
    data = {"kind": ItemKind.QUESTION.value, "request": id, "method": method, "text": text, "options": options}
    return Signal("asked", {**data, "questions": questions, "tool": "request_user_input", "input": {}})


def _questions(params: Json) -> list[Json]:
    asked_for = [as_object(one) for one in as_list(params.get("questions")) if as_text(as_object(one).get("id"))]
    return [{"id": one["id"], **read} for one in asked_for for read in questions_of({"questions": [one]})]


# ---------------------------------------------------------------- rules


def _decided(method: str, text: str, state: Json) -> bool | None:
    """What the rules say: allowed, denied, or None: ask."""
    words = _RULES.get(method)
    if words is None:
        return None
    if denied(method, text, as_list(state.get("deny"))) is not None:
        return False
    single = method != COMMAND or _COMPOUND.search(text) is None
    fits = [str(rule) for rule in as_list(state.get("allow")) if _matches(rule, words, text)]
    # a rule without a pattern allows whatever is run; one with a pattern speaks of what its pattern begins with
    return True if any(single or "(" not in rule for rule in fits) else None


def denied(method: str, text: str, rules: Iterable[Any]) -> str | None:
    """The first of these rules that denies this, or one of the commands of which it is made."""
    words = _RULES.get(method, ())
    parts = [part.strip() for part in _SEPARATORS.split(text)] if method == COMMAND else []
    return next((str(rule) for rule in rules if any(_matches(rule, words, part) for part in (text, *parts))), None)


def _matches(rule: Any, words: tuple[str, ...], text: str) -> bool:
    found = _RULE.match(as_text(rule))
    return found is not None and found[1] in words and (found[2] is None or fnmatchcase(text.strip(), found[2]))
