"""The real claude program for the tests marked `claude` (`make agents` installs the pinned one)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.world import ROOT

INSTALLED = ROOT / ".cache" / "claude" / "claude"


def program() -> Path:
    """The native claude binary; STRETTO_CLAUDE names another. Skips the test without one, and CI fails on a skip."""
    path = Path(os.environ.get("STRETTO_CLAUDE") or INSTALLED)
    if not os.access(path, os.X_OK):
        pytest.skip(f"no claude program at {path}: run `make agents`")
    return path
