"""Benchmarks: figures of one machine, as ratios to a bare equivalent that is measured in the same run."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))  # this checkout, whatever is installed
