"""Words that people type and that are no commands: what others call the same thing, and slips of the hand."""

from __future__ import annotations

from collections.abc import Iterable

import click

#: command -> what git, shells and other tools that run agents call it; the first command that has a word comes first
_OTHERS = {
    "status": "ls list ps st jobs tasks info board dashboard tui ui web stats",
    "watch": "top live monitor dashboard tui",
    "usage": "cost costs tokens spend budget limits quota stats",
    "send": "tell say ask message msg chat steer nudge talk",
    "answer": "reply respond",
    "inbox": "questions todo pending notifications",
    "next": "todo",
    "logs": "output tail cat",
    "diff": "show review changes",
    "explain": "why describe inspect",
    "events": "history journal",
    "interrupt": "stop kill abort halt",
    "cancel": "kill stop abort delete close rm",
    "pause": "stop hold suspend",
    "resume": "continue unpause go",
    "retry": "restart rerun again redo",
    "run": "start launch begin go execute",
    "up": "start daemon",
    "down": "stop shutdown quit exit",
    "add": "new create spawn task",
    "approve": "merge accept ok lgtm yes submit ship",
    "request-changes": "reject revise changes",
    "comment": "note annotate",
    "land": "merge ship integrate",
    "queue": "merges train",
    "remove": "rm delete del clean",
    "purge": "clean gc prune",
    "undo": "revert rollback",
    "restore": "reset rollback",
    "snapshots": "stash checkpoints",
    "attach": "open join enter connect takeover",
    "edit": "open code editor",
    "path": "cd goto where",
    "exec": "shell sh bash ssh",
    "workspace": "worktree worktrees workspaces branch clone",
    "update-checkout": "pull sync fetch update rebase checkout",
    "serve": "server dev preview",
    "db": "database psql sql",
    "agents": "models providers login auth",
    "doctor": "login auth health diagnose",
    "init": "config setup configure",
    "trust": "allow permit",
    "plan": "lint validate check import",
    "prompt": "instructions spec",
    "lint": "check validate",
    "new": "create",
    "list": "ls ps",
}


def meant(word: str, known: Iterable[str]) -> list[str]:
    """The commands among `known` that somebody may mean who types this: by meaning, else by spelling."""
    from difflib import get_close_matches

    commands = list(known)
    same = [name for name, words in _OTHERS.items() if name in commands and word.lower() in words.split()]
    return same[:3] or get_close_matches(word, commands, n=3)


def unknown(word: str, known: Iterable[str]) -> str:
    """What is said of a command that there is not."""
    if word in ("help", "version"):
        return f"there is no command {word!r}; did you mean: --{word}?"
    if word.lower().endswith((".md", ".markdown")):
        return f"there is no command {word!r}; a plan is run by: stretto run {word}"
    found = meant(word, known)
    return f"there is no command {word!r}" + (f"; did you mean: {', '.join(found)}?" if found else "")


class Group(click.Group):
    """A group of commands that answers a wrong word with what may be meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first word; a wrong word gets the nearest names."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            ctx.fail(unknown(args[0], known))
        return super().resolve_command(ctx, args)
