"""The real opencode program (`scripts/install-agents opencode` installs the pinned one)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.world import ROOT

INSTALLED = ROOT / ".cache" / "opencode" / "opencode"
MODEL = "mock/mock-model"


def program() -> Path:
    """The opencode program; STRETTO_OPENCODE names another. Skips the test without one."""
    path = Path(os.environ.get("STRETTO_OPENCODE") or INSTALLED)
    if not os.access(path, os.X_OK):
        pytest.skip(f"no opencode program at {path}: run `make agents-all`")
    return path


def environment(home: Path, url: str) -> dict[str, str]:
    """What leads opencode to the model server and nowhere else: folders of its own, a dummy key."""
    home.mkdir(parents=True, exist_ok=True)
    model = {"limit": {"context": 200000, "output": 8000}, "cost": {"input": 1, "output": 2, "cache_read": 0.1}}
    mock = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{url}/v1", "apiKey": "dummy"},
        "models": {"mock-model": model},
    }
    config = {
        "autoupdate": False,
        "share": "disabled",
        "model": MODEL,
        "small_model": MODEL,
        "enabled_providers": ["mock"],
        "provider": {"mock": mock},
    }
    return {
        "OPENCODE_CONFIG_CONTENT": json.dumps(config),
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "XDG_DATA_HOME": str(home / "opencode" / "data"),
        "XDG_CONFIG_HOME": str(home / "opencode" / "config"),
        "XDG_STATE_HOME": str(home / "opencode" / "state"),
        "XDG_CACHE_HOME": str(home / "opencode" / "cache"),
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"],
    }
