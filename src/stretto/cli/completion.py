"""`stretto completion bash|zsh|fish`."""

from __future__ import annotations

import click

HELP = """Print the completion script of a shell.

\b
bash:  eval "$(stretto completion bash)"     in ~/.bashrc
zsh:   eval "$(stretto completion zsh)"      in ~/.zshrc
fish:  stretto completion fish > ~/.config/fish/completions/stretto.fish
"""


@click.command("completion", help=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the script."""
    from click.shell_completion import get_completion_class

    from stretto.cli.app import cli

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 — the choice above names only these
    made = kind(cli, {}, "stretto", "_STRETTO_COMPLETE")
    # not made.source(): for bash that starts one to ask for its version
    click.echo(made.source_template % made.source_vars())
