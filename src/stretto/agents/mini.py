"""mini-swe-agent as an agent: one process a turn, in its mode that never asks (verified with 2.4.6).

Its trajectory is read while it works: what each request used, and at the end whether it handed its work in. The
message is an argument, so one of more than 120 kB is refused. An error of the model is tried again four times, where it
would go on for ten minutes by itself. It cannot be asked for its version.
"""

from __future__ import annotations

from stretto.agents.command import DescribedAgent
from stretto.agents.declaration import Declaration
from stretto.agents.turn_rules import TurnRules

_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY")
_SERVERS = ("OPENAI_API_BASE",)
_ENV = {
    "MSWEA_CONFIGURED": "true",
    "MSWEA_SILENT_STARTUP": "1",
    "MSWEA_COST_TRACKING": "ignore_errors",
    "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "4",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


class MiniAgent(DescribedAgent):
    """`type = "mini"`. `command` replaces the program (default `mini`), `args` are added at the end."""

    type = "mini"
    declaration = Declaration(
        type="mini",
        about="mini-swe-agent, once for each turn",
        program="mini",
        version=(),
        tested=("2.4.6",),
        can=frozenset({"usage", "model"}),
        variables={**dict.fromkeys(_KEYS, True), **dict.fromkeys(_SERVERS, False), "MSWEA_MODEL_NAME": False},
        keys=_KEYS,
        hosts=(
            *("api.openai.com", "api.anthropic.com", "openrouter.ai"),
            "generativelanguage.googleapis.com",
        ),
        servers=_SERVERS,
        install="python3 -m pip install mini-swe-agent mcp",
    )

    def rules(self, model: str | None) -> TurnRules:
        """The trajectory is one document: messages, each with the answer of the model that it was made from."""
        words = ("-y", "--exit-immediately", "-o", "{folder}/trajectory.json", *(("-m", model) if model else ()))
        told = "extra.response.usage"
        usage = {
            "from": "{folder}/trajectory.json",
            "form": "document",
            "each": "messages",
            "id": "extra.response.id",
            "model": "extra.response.model",
            "input": f"{told}.prompt_tokens",
            "output": f"{told}.completion_tokens",
            "cache_read": f"{told}.prompt_tokens_details.cached_tokens",
            "reasoning": f"{told}.completion_tokens_details.reasoning_tokens",
            "cost": "extra.cost",
            "cached": "inside",
        }
        fails = {"holds": {"info.exit_status": "Submitted"}, "last": True}
        return TurnRules((*words, "-t", "{text}"), env=_ENV, usage=usage, fails=fails)
