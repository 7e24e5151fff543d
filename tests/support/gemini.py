"""The real Gemini CLI (`scripts/install-agents gemini` installs the pinned one)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.world import ROOT

INSTALLED = ROOT / ".cache" / "gemini" / "gemini"
MODEL = "gemini-2.5-pro"
_IDENTITY = {"NAME": "Agent", "EMAIL": "agent@example.com"}


def program() -> Path:
    """The gemini program; STRETTO_GEMINI names another. Skips the test without one."""
    path = Path(os.environ.get("STRETTO_GEMINI") or INSTALLED)
    if not os.access(path, os.X_OK):
        pytest.skip(f"no gemini program at {path}: run `make agents-all`")
    return path


def environment(home: Path, url: str) -> dict[str, str]:
    """What leads it to the model server and nowhere else: settings as a person has them, a dummy key, no telemetry."""
    folder = home / ".gemini"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "general": {"enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    # in a folder that it was not told to trust, it keeps the person's git configuration from the commands that it runs
    who = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()}
    return {
        "GEMINI_API_KEY": "dummy",
        "GOOGLE_GEMINI_BASE_URL": url,
        "HOME": str(home),
        **who,
        "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"],
    }
