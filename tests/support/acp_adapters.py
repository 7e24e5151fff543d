"""The adapters of the Agent Client Protocol for Claude Code and Codex (`scripts/install-agents claude-acp codex-acp`).

Each drives the pinned program of its vendor, which the tests of the agents themselves use, too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import claude, codex
from tests.support.stream import clean_environment
from tests.support.world import ROOT

_CODEX = """model = "{model}"
model_provider = "mock"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
default_mode_request_user_input = true
[model_providers.mock]
name = "mock"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "MOCK_KEY"
request_max_retries = 1
stream_max_retries = 1
"""


def program(name: str) -> Path:
    """The adapter; skips the test without it."""
    path = ROOT / ".cache" / name / name
    if not os.access(path, os.X_OK):
        pytest.skip(f"no {name} program at {path}: run `make agents-all`")
    return path


def claude_environment(home: Path, url: str) -> dict[str, str]:
    """As for Claude Code itself, and where it is; in a sandbox, as far as it knows, so that root may use it."""
    own = clean_environment(home, url)
    for name in ("PATH", "LANG", "TMPDIR", "STRETTO_TEST_RUN"):
        own.pop(name)
    return {**own, "CLAUDE_CODE_EXECUTABLE": str(claude.program()), "ANTHROPIC_MODEL": "claude-sonnet-4-5"}


def codex_environment(home: Path, url: str) -> dict[str, str]:
    """A configuration file of the scratch home, because the adapter passes no flags on."""
    own = codex.environment(home)
    (home / ".codex" / "config.toml").write_text(_CODEX.format(model=codex.MODEL, url=url))
    return {**own, "CODEX_PATH": str(codex.program()), "INITIAL_AGENT_MODE": "agent-full-access"}
