"""Which tool of an agent does what a scenario says, and with which arguments: agents name the same thing differently.

The tools that a request offers decide. An agent that hides its tools until they are searched for is called by the names
of its protocol's usual agent all the same.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from stretto.testing.dialect import Call, Json, Offer
from stretto.testing.scenario import Answer

#: tools that write a whole file, the best first
_WRITERS = ("Write", "write", "write_file", "create_file")
#: tools that run a command line
_SHELLS = ("Bash", "bash", "exec_command", "run_shell_command", "shell")
#: tools that ask the person
_ASKERS = ("AskUserQuestion", "ask_user_question", "request_user_input", "ask_user", "question")
#: what an argument may be called
_PATHS, _TEXTS, _COMMANDS = ("file_path", "filePath", "path"), ("content", "text"), ("command", "cmd")


def call_for(answer: Answer, offers: Sequence[Offer], usual: Sequence[str] = ()) -> Call | None:
    """The call that carries the answer out; None if it is text. `usual`: names of tools that may not be offered yet."""
    make = _MAKERS.get(answer.word)
    return make(answer.values, [*offers, *(Offer(name) for name in usual)]) if make else None


def _write(values: Json, offers: Sequence[Offer]) -> Call | None:
    offer = _first(_WRITERS, offers)
    if offer is None or (_only_absolute(offer) and not str(values["path"]).startswith("/")):
        text, path = shlex.quote(values["text"]), shlex.quote(values["path"])
        return _run({"text": f'mkdir -p "$(dirname {path})" && printf %s {text} > {path}'}, offers)
    return _call(offer, {_named(offer, _PATHS): values["path"], _named(offer, _TEXTS): values["text"]})


def _run(values: Json, offers: Sequence[Offer]) -> Call | None:
    offer = _first(_SHELLS, offers)
    if offer is None:
        return None
    arguments = {_named(offer, _COMMANDS): values["text"]}
    if offer.name == "Bash" or "description" in offer.properties:
        arguments["description"] = "run a command"
    return _call(offer, arguments)


def _commit(values: Json, offers: Sequence[Offer]) -> Call | None:
    return _run({"text": f"git add -A && git commit -q -m {json.dumps(values['text'])}"}, offers)


def _ask(values: Json, offers: Sequence[Offer]) -> Call | None:
    offer = _first(_ASKERS, offers)
    if offer is None:
        return None
    questions = [_question(offer.name, number, one) for number, one in enumerate(values["questions"], 1)]
    return _call(offer, {"questions": questions})


def _question(tool: str, number: int, question: Json) -> Json:
    """A question as this tool wants it; strict schemas refuse what they do not know."""
    several = question["multiSelect"]
    asked = {name: question[name] for name in ("question", "header", "options")}
    if tool == "request_user_input":
        return {"id": f"q{number}", **asked}
    if tool == "question":
        return {**asked, "multiple": several}
    return {**asked, "multiSelect": several, **({"type": "choice"} if tool == "ask_user" else {})}


def _any(values: Json, offers: Sequence[Offer]) -> Call | None:
    offer = _first((values["name"],), offers) or Offer(values["name"])
    return _call(offer, values["input"])


def _call(offer: Offer, arguments: Json) -> Call:
    return Call(offer.name, arguments, offer.namespace, offer.free)


def _first(names: Sequence[str], offers: Sequence[Offer]) -> Offer | None:
    return next((offer for name in names for offer in offers if offer.name == name), None)


def _named(offer: Offer, names: Sequence[str]) -> str:
    """The argument of this meaning; the first name if the tool does not say."""
    usual = "cmd" if offer.name == "exec_command" and names is _COMMANDS else names[0]
    return next((name for name in names if name in offer.properties), usual)


def _only_absolute(offer: Offer) -> bool:
    said: Any = offer.properties.get(_named(offer, _PATHS), {})
    return isinstance(said, dict) and "absolute" in str(said.get("description", "")).lower() and offer.name != "Write"


_MAKERS: dict[str, Callable[[Json, Sequence[Offer]], Call | None]] = {
    "write": _write,
    "sh": _run,
    "commit": _commit,
    "ask": _ask,
    "tool": _any,
}
