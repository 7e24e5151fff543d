"""The commands, and nothing of what they need: a command's file is imported when it is called.

`--help` shows this table as it stands. A verb that is not built is not in it, and is a usage error.
"""

from __future__ import annotations

from importlib import import_module

import click

from stretto import __version__
from stretto.cli.words import Group

#: section -> command -> (module of stretto.cli, one line of help)
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "init": ("setup", "Write a commented stretto.toml from what is found here."),
        "doctor": ("doctor", "Look for what would keep stretto from working."),
        "trust": ("trust", "Allow the commands of this repository's configuration."),
        "demo": ("demo", "Watch six tasks of a small project land, with scripted agents."),
        "plan": ("plan", "Check, draw or import a plan."),
        "run": ("run", "Run a plan: one agent for each task, landed as they pass."),
        "add": ("run", "Add one task, without a plan."),
        "driver": ("driver", "Plan with an agent, here on your terminal."),
        "agents": ("agents", "Which agents there are here, and what each can do."),
    },
    "See": {
        "status": ("status", "Every task: stage, what it does, what it waits for."),
        "watch": ("watch", "The same, live."),
        "inbox": ("inbox", "What waits for you."),
        "next": ("inbox", "The one thing that waits for you most."),
        "logs": ("logs", "What the agent of a task wrote."),
        "diff": ("show", "What a task changed."),
        "events": ("logs", "Facts as they happened, as JSON lines with --json."),
        "explain": ("show", "Why a task is where it is, and what would change it."),
        "prompt": ("show", "What the agent of a task was told."),
        "messages": ("show", "The messages to a task's agent and how far they got."),
        "queue": ("show", "The landing queue."),
        "usage": ("usage", "Tokens and cost, budgets, tokens per second."),
        "path": ("show", "The folder of a task's workspace."),
        "ports": ("ports", "Which ports belong to which workspace, and who listens there."),
        "wait": ("watch", "Wait until tasks have landed, ended, gone idle or need you."),
    },
    "Steer": {
        "answer": ("steer", "Answer something of the inbox."),
        "send": ("steer", "Send a message to a task's agent."),
        "attach": ("attach", "Go to the agent's own interface, in a terminal."),
        "interrupt": ("steer", "Stop what a task's agent does now."),
        "pause": ("steer", "Start nothing new for tasks or a run."),
        "resume": ("steer", "Undo pause."),
        "cancel": ("steer", "End tasks or a run; their work is kept."),
        "retry": ("steer", "Try failed or cancelled tasks again."),
        "approve": ("steer", "Let a task's change land."),
        "request-changes": ("steer", "Send a task's change back to its agent with your words."),
        "comment": ("steer", "Note something on a task's change, for the next request-changes."),
        "land": ("steer", "Put an approved task into the landing queue again."),
    },
    "Workspace": {
        "exec": ("workspace", "Run a command in a task's workspace."),
        "env": ("workspace", "The environment of a task's workspace."),
        "edit": ("workspace", "Open a task's workspace in your editor."),
        "serve": ("serve", "Start a workspace's servers on its own ports."),
        "db": ("databases", "The databases of workspaces: list, url, shell."),
        "workspace": ("spaces", "Workspaces without a task: new, list, adopt, remove."),
        "snapshots": ("workspace", "Kept states of a task's workspace."),
        "restore": ("workspace", "Bring a kept state back."),
        "undo": ("workspace", "Bring back what was removed last."),
        "remove": ("workspace", "Remove a task's workspace; undo brings it back."),
        "purge": ("workspace", "Delete for good what was removed."),
        "update-checkout": ("workspace", "Fast-forward your checkout to what has landed."),
    },
    "Run it": {
        "up": ("daemon", "Start the daemon."),
        "down": ("daemon", "Stop the daemon; agents keep running unless --all."),
        "agent": ("agent", "For agents: ask, note, usage, status."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}

COMMANDS: dict[str, tuple[str, str]] = {name: entry for table in SECTIONS.values() for name, entry in table.items()}


class Lazy(Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of this name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"stretto.cli.{entry[0]}")
        command = getattr(module, cmd_name.replace("-", "_") + "_command")
        assert isinstance(command, click.Command)  # noqa: S101 — our own table
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, section by section, without importing a command."""
        for title, table in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in table.items()])


@click.command(
    cls=Lazy,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: stretto run PLAN.md. TASK is a task's id, or RUN/ID.",
)
@click.version_option(__version__, "-V", "--version", message="stretto %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run several coding agents on one repository at once, and land exactly what was tested."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
