"""`make test-managers` says where the programs are; without it there is nothing here to run."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("STRETTO_MANAGERS") else ["test_*.py"]
