"""What is collected here: the agents that only `make test-agents-all` installs are tested where it asks for them."""

from __future__ import annotations

import os

MORE = {"opencode", "gemini"}

collect_ignore = [] if MORE & set(os.environ.get("STRETTO_AGENTS", "").split()) else ["test_sandboxed_more.py"]
