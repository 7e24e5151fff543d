"""What an agent gets in a sandbox: the hosts and the login of its own type, and nothing of another's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stretto.agents.first_steps import answered, place
from stretto.agents.needs import needs
from stretto.core.model import AgentSpec
from stretto.workspace.sandbox.house import furnish, settle

LOGINS = {
    "claude": {".claude/.credentials.json"},
    "codex": {".codex/auth.json"},
    "gemini": {".gemini/oauth_creds.json"},
    "opencode": {".local/share/opencode/auth.json"},
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


@pytest.mark.parametrize(
    ("type", "host"),
    [
        *(("claude", "api.anthropic.com"), ("codex", "api.openai.com")),
        *(("gemini", "generativelanguage.googleapis.com"), ("qwen", "dashscope.aliyuncs.com")),
        *(("aider", "api.deepseek.com"), ("mini", "api.openai.com")),
    ],
)
def test_its_models_are_reached_and_a_server_that_is_named_instead(type: str, host: str) -> None:
    variable = {
        "claude": "ANTHROPIC_BASE_URL",
        "codex": "OPENAI_BASE_URL",
        "gemini": "GOOGLE_GEMINI_BASE_URL",
        "qwen": "OPENAI_BASE_URL",
        "aider": "OPENAI_API_BASE",
        "mini": "OPENAI_API_BASE",
    }[type]
    spec = AgentSpec("a", type)
    assert host in needs(spec, {}).network
    assert needs(spec, {variable: "http://127.0.0.1:8123/v1"}).network == ("127.0.0.1:8123",)
    assert needs(spec, {variable: "no address"}).network == needs(spec, {}).network


def test_who_is_nobody_needs_nothing() -> None:
    for type in ("command", "scripted", "nobody-knows-it"):
        assert needs(AgentSpec("a", type), {}).network == ()
        assert needs(AgentSpec("a", type), {}).credentials == ()


# ---------------------------------------------------------------- what it would ask who is new to it


def answers(
    found: bytes | None, permissions: str = "ask", *, terminal: bool = True, **env: str
) -> dict[str, Any] | None:
    made = answered(AgentSpec("a", "claude"), env, ["/w/01"], found, permissions=permissions, terminal=terminal)
    return None if made is None else json.loads(made)


def test_first_steps_are_answered_and_nothing_that_is_there_is_changed() -> None:
    fresh = answers(None, "skip", ANTHROPIC_API_KEY="k" * 30)
    assert fresh == {
        "hasCompletedOnboarding": True,
        "bypassPermissionsModeAccepted": True,
        "customApiKeyResponses": {"approved": ["k" * 20], "rejected": []},
        "projects": {"/w/01": {"hasTrustDialogAccepted": True}},
    }
    assert answers(json.dumps(fresh).encode(), "skip", ANTHROPIC_API_KEY="k" * 30) is None
    quiet = answers(None, "skip", terminal=False, ANTHROPIC_API_KEY="k" * 30)
    assert quiet == {name: value for name, value in fresh.items() if name != "customApiKeyResponses"}
    kept = {"theme": "dark", "hasCompletedOnboarding": False, "projects": {"/x": {"a": 1}, "/w/01": {"b": 2}}}
    assert answers(json.dumps(kept).encode()) == {
        **kept,
        "projects": {"/x": {"a": 1}, "/w/01": {"b": 2, "hasTrustDialogAccepted": True}},
    }
    for other in (b"{", b"[]", b"\xff"):
        assert answers(other) is None


def test_where_they_are_kept() -> None:
    claude, home = AgentSpec("a", "claude"), {"HOME": "/home/u"}
    assert place(claude, home) == ".claude.json"
    assert place(claude, {**home, "CLAUDE_CONFIG_DIR": "/home/u/.work"}) == ".work/.claude.json"
    assert place(claude, {**home, "CLAUDE_CONFIG_DIR": "/elsewhere"}) is None
    assert place(AgentSpec("a", "codex"), home) is None


def test_gemini_is_told_once_how_it_is_paid() -> None:
    gemini = AgentSpec("a", "gemini")
    assert place(gemini, {"HOME": "/home/u"}) == ".gemini/settings.json"
    assert place(gemini, {"HOME": "/home/u", "GEMINI_CLI_HOME": "/elsewhere"}) is None

    def told(found: bytes | None = None, **env: str) -> object:
        made = answered(gemini, env, ["/w/01"], found, permissions="ask", terminal=True)
        return None if made is None else json.loads(made)

    def by(way: str) -> dict[str, object]:
        return {"security": {"auth": {"selectedType": way}}}

    assert told(GEMINI_API_KEY="k") == by("gemini-api-key")
    assert told() == by("oauth-personal")
    assert told(GOOGLE_GENAI_USE_VERTEXAI="true", GEMINI_API_KEY="k") == by("vertex-ai")
    assert told(b'{"ui": {"theme": "x"}}') == {"ui": {"theme": "x"}, **by("oauth-personal")}
    assert told(json.dumps(by("vertex-ai")).encode()) is None


def test_a_login_in_a_folder_that_a_variable_names_is_a_login() -> None:
    env = {"HOME": "/home/u", "CLAUDE_CONFIG_DIR": "/home/u/.work"}
    assert ".work/.credentials.json" in needs(AgentSpec("a", "claude"), env).credentials
    assert needs(AgentSpec("a", "claude"), {**env, "CLAUDE_CONFIG_DIR": "/home/u2/x"}).credentials == (
        ".claude/.credentials.json",
    )


def test_answers_are_written_into_the_task_s_home_alone(tmp_path: Path) -> None:
    house, victim = tmp_path / "house", tmp_path / "victim"
    house.mkdir()
    settle(house, ".claude.json", lambda found: b"one" if found is None else None)
    settle(house, ".claude.json", lambda found: None)
    assert (house / ".claude.json").read_bytes() == b"one"
    assert oct((house / ".claude.json").stat().st_mode)[-3:] == "600"
    (house / ".claude.json").unlink()
    victim.write_text("theirs")
    (house / ".claude.json").symlink_to(victim)
    settle(house, ".claude.json", lambda found: b"two")
    os.mkfifo(house / "pipe")
    settle(house, "pipe", lambda found: b"two")
    assert victim.read_text() == "theirs"
    assert (house / ".claude.json").is_symlink()
