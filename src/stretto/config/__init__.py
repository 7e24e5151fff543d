"""stretto.toml: read it (all mistakes at once), resolve it with a plan to the frozen value of a run, write a first one.

config, mistakes = parse(text)        # or load(text), which raises UsageError with all mistakes
frozen = resolve(config, plan, agent=agent_option("command:python3 agent.py"))
"""

from stretto.config.detect import Detected, detect
from stretto.config.read import Config, load, parse
from stretto.config.resolve import agent_option, require_agents, resolve
from stretto.config.template import template
from stretto.config.values import Mistake

__all__ = [
    "Config",
    "Detected",
    "Mistake",
    "agent_option",
    "detect",
    "load",
    "parse",
    "require_agents",
    "resolve",
    "template",
]
