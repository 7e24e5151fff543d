"""What an agent gets in a sandbox: the hosts and the login of its own type, and nothing of another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto.agents.needs import needs
from stretto.core.model import AgentSpec
from stretto.workspace.sandbox.house import furnish

LOGINS = {
    "claude": {".claude/.credentials.json"},
    "codex": {".codex/auth.json"},
    "pi": {".pi/agent/auth.json", ".pi/agent/models.json"},
}
ALL = sorted(set().union(*LOGINS.values(), {".ssh/id_rsa", ".config/gh/hosts.yml"}))


@pytest.mark.parametrize("type", LOGINS)
def test_only_its_own_login_is_copied(type: str, tmp_path: Path) -> None:
    home, house = tmp_path / "home", tmp_path / "house"
    for name in ALL:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    furnish(house, home, needs(AgentSpec("a", type), {}).credentials)
    assert {str(path.relative_to(house)) for path in house.rglob("*") if path.is_file()} == LOGINS[type]


@pytest.mark.parametrize(("type", "host"), [("claude", "api.anthropic.com"), ("codex", "api.openai.com")])
def test_its_models_are_reached_and_a_server_that_is_named_instead(type: str, host: str) -> None:
    variable = {"claude": "ANTHROPIC_BASE_URL", "codex": "OPENAI_BASE_URL"}[type]
    spec = AgentSpec("a", type)
    assert host in needs(spec, {}).network
    assert needs(spec, {variable: "http://127.0.0.1:8123/v1"}).network == ("127.0.0.1:8123",)
    assert needs(spec, {variable: "no address"}).network == needs(spec, {}).network


def test_who_is_nobody_needs_nothing() -> None:
    for type in ("command", "scripted", "nobody-knows-it"):
        assert needs(AgentSpec("a", type), {}).network == ()
        assert needs(AgentSpec("a", type), {}).credentials == ()
