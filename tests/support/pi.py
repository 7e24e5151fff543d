"""The real pi program for the tests marked `pi` (`make agents` installs the pinned one)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.world import ROOT

INSTALLED = ROOT / ".cache" / "pi" / "pi"
MODEL = "mock/mock-model"


def program() -> Path:
    """The pi program; STRETTO_PI names another. Skips the test without one, and CI fails on a skip."""
    path = Path(os.environ.get("STRETTO_PI") or INSTALLED)
    if not os.access(path, os.X_OK):
        pytest.skip(f"no pi program at {path}: run `make agents`")
    return path


def environment(home: Path, url: str) -> dict[str, str]:
    """What leads pi to the model server and nowhere else: a folder of its own, a dummy key, nothing of the network."""
    folder = home / "pi"
    folder.mkdir(parents=True, exist_ok=True)
    model = {
        "id": "mock-model",
        "name": "M",
        "reasoning": False,
        "input": ["text"],
        "contextWindow": 200000,
        "maxTokens": 8000,
        "cost": {"input": 1, "output": 2, "cacheRead": 0.1, "cacheWrite": 1},
    }
    provider = {"baseUrl": f"{url}/v1", "api": "openai-completions", "apiKey": "dummy", "models": [model]}
    (folder / "models.json").write_text(json.dumps({"providers": {"mock": provider}}))
    return {
        "PI_CODING_AGENT_DIR": str(folder),
        "PI_OFFLINE": "1",
        "PI_SKIP_VERSION_CHECK": "1",
        "PI_TELEMETRY": "0",
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"],
    }
