"""What an agent's program asks a person once, when it is new in a home: answered in the home that a sandbox gives it.

Claude Code in a terminal begins with first steps, for which it wants to reach its vendor even where its model is
somewhere else, then asks whether the key of its environment may be used, whether the folder is trusted, and whether it
may really do everything unasked. Gemini CLI asks how it is to be paid for. What the person would answer was said to
stretto already: by starting it there. Only homes of tasks are ever prepared like that, never the person's own.

What is there already is the agent's, and as the agent left it: values are added, none is changed, and of something that
cannot be understood nothing is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from stretto.agents.permissions import parse_permissions
from stretto.core.model import AgentSpec

#: Claude Code knows a key again by its last characters
_TAIL = 20


def place(spec: AgentSpec, env: Mapping[str, str]) -> str | None:
    """The file, as a path below the home, in which its program keeps those answers; None: it asks nothing."""
    if spec.type == "gemini":
        return None if env.get("GEMINI_CLI_HOME") else ".gemini/settings.json"
    if spec.type != "claude":
        return None
    own = env.get("CLAUDE_CONFIG_DIR")
    if not own:
        return ".claude.json"
    home = os.path.normpath(env.get("HOME") or "/")
    folder = PurePosixPath(os.path.normpath(own))
    return str(folder.relative_to(home) / ".claude.json") if folder.is_relative_to(home) else None


def answered(
    spec: AgentSpec,
    env: Mapping[str, str],
    folders: Sequence[str],
    found: bytes | None,
    *,
    permissions: str,
    terminal: bool,
) -> bytes | None:
    """What the file must hold; None: it may stay as it is. `found`: what it holds now, None if there is none.

    `env` with secret values; `folders`: what the program may take for its project; `terminal`: it shows its own
    interface. Only there Claude Code asks about a key of its environment, so only for that the end of one is written.
    """
    try:
        kept: Any = json.loads(found) if found is not None else {}
    except ValueError:
        return None
    if not isinstance(kept, dict):
        return None
    said: dict[str, Any] = {**kept}
    if spec.type == "gemini":
        return None if "security" in kept else json.dumps({**kept, **_paid(env)}).encode()
    said.setdefault("hasCompletedOnboarding", True)
    if parse_permissions(permissions).skip:
        said.setdefault("bypassPermissionsModeAccepted", True)
    if terminal and (key := env.get("ANTHROPIC_API_KEY")):
        said.setdefault("customApiKeyResponses", {"approved": [key[-_TAIL:]], "rejected": []})
    projects = said.get("projects", {})
    if isinstance(projects, dict):
        said["projects"] = {**projects, **{each: _trusted(projects.get(each)) for each in folders}}
    return None if said == kept else json.dumps(said).encode()


def _paid(env: Mapping[str, str]) -> dict[str, Any]:
    """By the key of its environment, as its own order is; else by the login that it finds."""
    if env.get("GOOGLE_GENAI_USE_VERTEXAI") == "true":
        way = "vertex-ai"
    else:
        way = "gemini-api-key" if env.get("GEMINI_API_KEY") else "oauth-personal"
    return {"security": {"auth": {"selectedType": way}}}


def _trusted(project: Any) -> Any:
    known = {} if project is None else project
    return {"hasTrustDialogAccepted": True, **known} if isinstance(known, dict) else known
