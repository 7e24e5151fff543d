"""Questions of agents with options, in the shape that several of them use: read, put into words, answered.

A question is {question, header, options: [{label, description}], multiSelect}. The person's answer is {"key": …} (one
of the options), {"text": …} (free), or {"answers": {question: text}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stretto.agents.shapes import Json, as_list, as_object, as_text

#: characters of a tool's input that a face may show
DETAIL = 2000
_SHOWN = ("command", "file_path", "path", "url", "pattern", "query", "description", "prompt")


def describe(tool: str, tool_input: Json) -> str:
    """One line on what a tool is about to do."""
    for name in _SHOWN:
        if isinstance(value := tool_input.get(name), str) and value:
            return value[:DETAIL]
    return json.dumps(tool_input, ensure_ascii=False)[:DETAIL] if tool_input else tool


def questions_of(tool_input: Json) -> list[Json]:
    """The questions of a tool's input, options numbered from 1; what makes no sense is left out."""
    questions = []
    for one in as_list(tool_input.get("questions")):
        question = as_object(one)
        if text := as_text(question.get("question")):
            options = [as_object(option) for option in as_list(question.get("options"))]
            labels = [(str(n), as_text(option.get("label")) or str(n)) for n, option in enumerate(options, 1)]
            several = question.get("multiSelect") is True
            questions.append({"question": text, "options": [list(pair) for pair in labels], "several": several})
    return questions


def questions_text(questions: Sequence[Json]) -> str:
    """Several questions as one text."""
    lines = []
    for number, question in enumerate(questions, 1):
        lines.append(f"{number}. {question['question']}")
        lines += [f"   {key}) {label}" for key, label in question["options"]]
    return "\n".join([*lines, "Answer with one line for each question."])


def answers(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, str]:
    """Question -> answer: options by key, several by keys with commas, anything else as free text."""
    questions = [as_object(one) for one in as_list(payload.get("questions"))]
    given = answer.get("answers")
    if isinstance(given, Mapping):
        return {str(q["question"]): _label(q, str(given.get(q["question"], ""))) for q in questions}
    said = str(answer.get("key") or answer.get("text") or "").strip()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    each = lines if len(lines) == len(questions) > 1 else [said] * len(questions)
    return {str(q["question"]): _label(q, text) for q, text in zip(questions, each, strict=True)}


def _label(question: Json, said: str) -> str:
    labels = {str(key): str(label) for key, label in as_list(question.get("options"))}
    if said in labels:
        return labels[said]
    keys = [key.strip() for key in said.split(",")]
    if question.get("several") and all(key in labels for key in keys):
        return ", ".join(labels[key] for key in keys)
    return said


def cut(value: Any) -> Any:
    """A value that may be shown: long texts are cut, other long things left out."""
    if isinstance(value, str):
        return value if len(value) <= DETAIL else value[:DETAIL] + "…"
    return value if len(json.dumps(value)) <= DETAIL else None
