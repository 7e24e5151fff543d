"""Aider as an agent: one process a turn, by its message file (verified with 0.86.2).

Its exit code is 0 even when the model refused the key: a line with litellm's error that no "Retrying" follows, or an
end without any answer of the model, is a failure. Its tokens are read from the log of events that it writes for us
alone; it does not say which of them came from a cache, so all that it sent are counted as input. Its cost knows
them; it is 0 where aider does not know the model's price, and then unknown to us, too. What it changes it leaves
uncommitted, as stretto commits it: the model calls for its own commit messages would not be in that log.

No file of the person is changed. Its histories and its cache, which it would put into the worktree, go with the turn.
"""

from __future__ import annotations

import re
from typing import Any

from stretto.agents.command import DescribedAgent
from stretto.agents.declaration import Declaration
from stretto.agents.shapes import untried
from stretto.agents.turn_rules import TurnRules
from stretto.interfaces import Signal

TESTED = ("0.86.2",)
#: how it begins each turn
_BANNER = re.compile(rb"Aider v(\d[\w.+-]*)\s*")
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY")
_SERVERS = ("OPENAI_API_BASE", "AIDER_OPENAI_API_BASE")
#: nothing is asked, fetched, shown or committed
_ALONE = (
    "--yes-always",
    "--no-check-update",
    "--no-analytics",
    "--no-show-model-warnings",
    "--no-show-release-notes",
    "--no-gitignore",
    "--no-detect-urls",
    "--no-suggest-shell-commands",
    "--no-auto-commits",
    "--no-dirty-commits",
    "--no-pretty",
    "--no-stream",
)
_FILES = (
    *("--analytics-log", "{folder}/events.jsonl"),
    *("--chat-history-file", "{folder}/chat.md"),
    *("--input-history-file", "{folder}/input"),
    *("--message-file", "{file}"),
)


#: where git knows nobody, as in the empty home of a sandbox, it would write a name into the repository
_ENV = {
    "GIT_CONFIG_COUNT": "2",
    **{"GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "aider"},
    **{"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "aider@localhost"},
}


class AiderAgent(DescribedAgent):
    """`type = "aider"`. `command` replaces the program (default `aider`), `args` are added at the end."""

    type = "aider"
    declaration = Declaration(
        type="aider",
        about="Aider, once for each turn",
        program="aider",
        tested=TESTED,
        can=frozenset({"usage", "model"}),
        variables={**dict.fromkeys(_KEYS, True), **dict.fromkeys(_SERVERS, False), "AIDER_MODEL": False},
        keys=_KEYS,
        hosts=(
            *("api.openai.com", "api.anthropic.com", "openrouter.ai", "api.deepseek.com"),
            "generativelanguage.googleapis.com",
        ),
        servers=_SERVERS,
        install="python3 -m pip install aider-install && aider-install",
    )

    def rules(self, model: str | None) -> TurnRules:
        """Events of aider are one a line; those of an answer hold its tokens."""
        named = ("--model", model) if model else ()
        usage = {
            "from": "{folder}/events.jsonl",
            "where": {"event": "message_send"},
            "input": "properties.prompt_tokens",
            "output": "properties.completion_tokens",
            "cost": "properties.cost",
        }
        fails = {
            "pattern": r"^litellm\.\w+: |^Model \S+ has hit a token limit!",
            "again": r"^Retrying in ",
            "silent": True,
        }
        return TurnRules(
            (*_ALONE, *_FILES, *named), env=_ENV, usage=usage, fails=fails, caches=(".aider.tags.cache.v*",)
        )

    def parse(self, line: bytes, state: dict[str, Any]) -> list[Signal]:
        """Its text, and what it says of its version."""
        found = _BANNER.fullmatch(line)
        told = untried("Aider", found[1].decode("ascii", "replace"), TESTED, state) if found else []
        return [*super().parse(line, state), *told]
