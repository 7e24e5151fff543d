"""Words that are no commands, and options that do not go together: each is answered, none is passed over."""

from __future__ import annotations

import shlex

import pytest
from click.testing import CliRunner

from stretto.cli.app import COMMANDS, cli
from stretto.cli.words import _OTHERS, meant
from stretto.core.errors import UsageError


def test_words_of_others_mean_commands_that_there_are_and_none_that_exists() -> None:
    within = {"lint", "new", "list"}  # of `plan`, `workspace` and `db`
    assert set(_OTHERS) - within <= set(COMMANDS)
    typed = {word for name, words in _OTHERS.items() if name not in within for word in words.split()}
    assert not typed & set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("tell a hello", "did you mean: send?"),
        ("ps", "did you mean: status"),
        ("kill a", "did you mean: interrupt, cancel?"),
        ("merge a", "did you mean: approve, land?"),
        ("cost", "did you mean: usage"),
        ("LS", "did you mean: status"),
        ("statsu", "did you mean: status"),
        ("help", "did you mean: --help?"),
        ("PLAN.md --wait", "a plan is run by: stretto run PLAN.md"),
        ("workspace ls", "did you mean: list?"),
        ("workspace rm a", "did you mean: remove?"),
        ("db lits", "did you mean: list?"),
        ("plan check PLAN.md", "did you mean: lint?"),
        ("zzzzzz", "there is no command 'zzzzzz'\n"),
    ],
)
def test_an_unknown_word_is_answered_with_what_may_be_meant(words: str, says: str) -> None:
    done = CliRunner().invoke(cli, shlex.split(words))
    assert done.exit_code == 2
    assert says in done.output


def test_who_wants_to_stop_something_is_told_of_each_way() -> None:
    assert meant("stop", COMMANDS) == ["interrupt", "cancel", "pause"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("status --run r --all", "--run and --all do not go together"),
        ("watch --run r --all", "--run and --all do not go together"),
        ("wait a --run r", "TASK and --run do not go together"),
        ("usage a --run r", "TASK and --run do not go together"),
        ("usage --run r --all", "--run and --all do not go together"),
        ("logs a --json -f", "--json and --follow do not go together"),
        ("logs a --json -n 0", "--json and --tail do not go together"),
        ("logs a --json --check unit", "--json and --check do not go together"),
        ("logs a --check unit -f", "--check and --follow do not go together"),
        ("logs a --check unit --session 1", "--check and --session do not go together"),
        ("doctor --bundle --failpoints", "--bundle and --failpoints do not go together"),
        ("serve a web --stop", "--stop and NAMES do not go together"),
        ("serve a --stop --detach", "--stop and --detach do not go together"),
        ("env a --export --json", "--export and --json do not go together"),
        ("purge 1 --all", "ID and --all do not go together"),
        ("purge --list --all", "--list and --all do not go together"),
        ("purge --list --yes", "--list and --yes do not go together"),
        ("trust --show --yes", "--show and --yes do not go together"),
        ("trust --show --hash 0", "--show and --hash do not go together"),
        ("up --foreground --json", "--foreground and --json do not go together"),
        ("init --print --json", "--print and --json do not go together"),
        ("attach a --read-only --interrupt", "--read-only and --interrupt do not go together"),
        ("run PLAN.md --timeout 5", "--timeout is of --wait"),
        ("add text --timeout 0", "--timeout is of --wait"),
        ("add text --file notes.md", "--file and TEXT do not go together"),
    ],
)
def test_options_of_which_one_would_be_passed_over_are_refused(words: str, says: str) -> None:
    done = CliRunner().invoke(cli, shlex.split(words))
    assert isinstance(done.exception, UsageError)
    assert says in done.exception.message
    assert done.exception.hint
