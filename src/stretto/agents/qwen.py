"""Qwen Code as an agent: one process a turn, its message on standard input (verified with 0.24.4).

What it prints are events, one JSON object a line; what each request used it writes into a ledger, which for a run of
ours lies in the folder of the turn (`QWEN_RUNTIME_DIR`) with its other recordings. So no file of the person is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stretto.agents.claude_stream import results
from stretto.agents.command import DescribedAgent
from stretto.agents.declaration import Declaration
from stretto.agents.failures import called
from stretto.agents.questions import cut
from stretto.agents.shapes import Json, as_list, as_object, as_text, parsed, untried
from stretto.agents.turn_rules import TurnRules
from stretto.agents.turns import MAX_TEXT
from stretto.interfaces import Signal

TESTED = ("0.24.4",)
_KEYS = ("OPENAI_API_KEY", "DASHSCOPE_API_KEY")
_SERVERS = ("OPENAI_BASE_URL",)


class QwenAgent(DescribedAgent):
    """`type = "qwen"`. `command` replaces the program (default `qwen`), `args` are added at the end."""

    type = "qwen"
    declaration = Declaration(
        type="qwen",
        about="Qwen Code, once for each turn",
        program="qwen",
        tested=TESTED,
        can=frozenset({"usage", "model"}),
        variables={**dict.fromkeys(_KEYS, True), **dict.fromkeys(_SERVERS, False), "OPENAI_MODEL": False},
        keys=_KEYS,
        logins=("~/.qwen/oauth_creds.json", "~/.qwen/settings.json"),
        hosts=(
            "dashscope.aliyuncs.com",
            "dashscope-intl.aliyuncs.com",
            "chat.qwen.ai",
            "portal.qwen.ai",
            "api.openai.com",
        ),
        servers=_SERVERS,
        install="npm install -g @qwen-code/qwen-code",
    )

    def rules(self, model: str | None) -> TurnRules:
        """The ledger has a line for each request; its input holds what came from the cache."""
        words = ("--approval-mode", "yolo", "-o", "stream-json", *(("-m", model) if model else ()))
        usage = {
            "from": "{folder}/usage/token-usage-*.jsonl",
            "id": "id",
            "model": "model",
            "input": "inputTokens",
            "output": "outputTokens",
            "cache_read": "cachedTokens",
            "reasoning": "thoughtsTokens",
            "cached": "inside",
        }
        fails = {"pattern": r'"is_error":true,.*"message":"(?P<reason>(?:[^"\\]|\\.)*)"'}
        env = {"QWEN_RUNTIME_DIR": "{folder}", "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1"}
        return TurnRules(words, input=True, env=env, usage=usage, fails=fails)

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Its events; a line that is none is text, as its warnings are."""
        event = parsed(line) if line.startswith(b"{") else None
        if event is None or "stretto" in event:
            return super().parse(line, state)
        return list(_told(event, state))


def _told(event: Json, state: Json) -> Iterator[Signal]:
    kind = as_text(event.get("type"))
    if kind == "system" and event.get("subtype") == "init":
        state["model"] = as_text(event.get("model"))[:200]
        yield from untried("Qwen Code", as_text(event.get("qwen_code_version")), TESTED, state)
    if kind == "user":
        yield from results(event, state)
    if kind != "assistant":
        return
    for block in map(as_object, as_list(as_object(event.get("message")).get("content"))):
        if block.get("type") == "text" and as_text(block.get("text")).strip():
            yield Signal("text", {"text": as_text(block["text"])[:MAX_TEXT]})
        elif block.get("type") == "tool_use":
            given = as_object(block.get("input"))
            detail = as_text(given.get("command")) or as_text(given.get("file_path")) or as_text(given.get("path"))
            name, detail = as_text(block.get("name"))[:100], cut(detail)[:500]
            called(as_text(block.get("id")), name, detail, state)
            yield Signal("tool", {"name": name, "detail": detail})
