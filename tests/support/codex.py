"""The real codex program for the tests marked `agents` (`make agents` installs the pinned one)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.world import ROOT

INSTALLED = ROOT / ".cache" / "codex" / "codex"
MODEL = "gpt-5.1-codex"


def program() -> Path:
    """The native codex binary; STRETTO_CODEX names another. Skips the test without one, and CI fails on a skip."""
    path = Path(os.environ.get("STRETTO_CODEX") or INSTALLED)
    if not os.access(path, os.X_OK):
        pytest.skip(f"no codex program at {path}: run `make agents`")
    return path


def environment(home: Path) -> dict[str, str]:
    """A folder of its own, a dummy key, no colours."""
    folder = home / ".codex"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "CODEX_HOME": str(folder),
        "MOCK_KEY": "dummy",
        "RUST_LOG": "error",
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"],
    }


def arguments(url: str, retries: int = 1) -> tuple[str, ...]:
    """The flags that lead codex to the model server and nowhere else."""
    provider = (
        f'{{name="mock",base_url="{url}/v1",wire_api="responses",env_key="MOCK_KEY",'
        f"request_max_retries={retries},stream_max_retries={retries}}}"
    )
    settings = (f"model_providers.mock={provider}", 'model_provider="mock"', "analytics.enabled=false")
    return tuple(word for one in settings for word in ("-c", one))


#: no sandbox of its own, so that the tests need none that works on their machine
OPEN = ("-c", 'sandbox_mode="danger-full-access"')
#: a policy with which codex asks before it does anything
ASKING = "deny Bash(curl *)"
