"""Rules that deny something, for Codex in its own interface: a hook before each of its tools (verified with 0.169.0).

    python -I codex_rules.py RULES            RULES: a JSON array of rules, as `permissions` has them after `deny`

Its interface asks only when it wants to leave its sandbox, so a dialog that is answered with No would come too late, or
never. A hook that ends with exit code 2 makes Codex refuse the tool, with what the hook says on standard error as the
reason; the turn goes on. Rules are judged as in stream mode (codex_asks). What makes no sense is refused: a rule that
nobody can judge is not one that allows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":  # a program of its own: our package is found from here, whatever the Python path is
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from stretto.agents.codex_asks import COMMAND, EDIT, denied

#: the exit code that refuses a tool
REFUSED = 2
#: what Codex calls the tool that edits, and how the names of others' tools begin, of which no rule speaks
_EDIT, _FOREIGN = "apply_patch", "mcp__"
_UNREAD = "stretto could not read what this tool is to do, and there are rules that deny something"


def refusal(said: bytes, rules: str) -> str | None:
    """Why the tool that a hook tells of is refused; None if no rule denies it."""
    try:
        told, deny = json.loads(said), json.loads(rules)
        name, given = told["tool_name"], told["tool_input"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _UNREAD
    if not isinstance(name, str) or not isinstance(given, dict):
        return _UNREAD
    text = next((given[key] for key in ("command", "cmd") if key in given), None)
    if name.startswith(_FOREIGN) or (text is None and name not in ("Bash", _EDIT)):
        return None
    if not isinstance(text, str):
        return _UNREAD
    rule = denied(EDIT if name == _EDIT else COMMAND, text, deny)
    return None if rule is None else f"denied by the person's rule: {rule}"


def main(rules: str) -> int:
    """One tool."""
    why = refusal(sys.stdin.buffer.read(), rules)
    if why is None:
        return 0
    sys.stderr.write(f"{why}\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
