"""What the sandbox is made of: recipes as words and as text, what this machine lets be shown, the agent's home."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from stretto.workspace.sandbox import GitPlaces, Recipe, environment, wrapper
from stretto.workspace.sandbox.house import discard, furnish
from stretto.workspace.sandbox.launch_words import Words
from stretto.workspace.sandbox.places import Places, program, tools
from stretto.workspace.sandbox.recipe import mounts, refusal
from stretto.workspace.sandbox.seatbelt import profile

GIT = GitPlaces("/r/.git", "/r/.git/worktrees/01", ("refs/heads/stretto/run/a",))
RECIPE = Recipe("/r.worktrees/01", "/home/u", git=GIT, system=("/usr",), read=("/home/u/.tools",), ports=(20000,))


def test_a_later_mount_is_never_above_an_earlier_one() -> None:
    paths = [Path(mount.path) for mount in mounts(RECIPE)]
    for n, path in enumerate(paths):
        assert not any(later != path and path.is_relative_to(later) for later in paths[n:]), path
    shown = {mount.path: mount.kind for mount in mounts(RECIPE)}
    assert shown["/r/.git"] == shown["/r/.git/objects/pack"] == shown["/r.worktrees/01/.git"] == "ro"
    assert shown["/r/.git/objects"] == shown["/r/.git/refs/heads/stretto/run/a"] == "bind"
    assert shown["/r/.git/worktrees"] == shown["/home/u"] == "tmpfs"


def test_a_gate_writes_nothing_of_the_repository() -> None:
    gate = replace(RECIPE, git=replace(GIT, refs=()))
    writable = {mount.path for mount in mounts(gate) if mount.kind == "bind"}
    assert writable == {"/r.worktrees/01", "/r/.git/worktrees/01"}


def test_no_value_of_the_environment_is_on_the_command_line() -> None:
    words = wrapper(RECIPE, "/usr/bin/bwrap", "python3")
    assert "--setenv" not in words
    env = environment(replace(RECIPE, allow=("example.org",)), {"KEY": "secret", "SSH_AUTH_SOCK": "/x", "HOME": "/y"})
    assert env["KEY"] == "secret"
    assert (env["HOME"], env["HTTPS_PROXY"]) == ("/home/u", "http://127.0.0.1:3128")
    assert "SSH_AUTH_SOCK" not in env


def test_a_port_that_leads_out_does_not_lead_in_as_well() -> None:
    words = wrapper(replace(RECIPE, forward=((20000, "127.0.0.1", 20000),)), "bwrap")
    assert "--port" not in words[: words.index("--")]


@pytest.mark.parametrize(
    ("entry", "host", "port", "allowed"),
    [
        ("example.org", "example.org", 443, True),
        ("example.org", "EXAMPLE.ORG.", 443, True),
        ("example.org", "example.org", 80, False),
        ("example.org", "a.example.org", 443, False),
        ("*.example.org:8443", "a.example.org", 8443, True),
        ("*.example.org:8443", "example.org", 8443, False),
        ("*", "anything", 443, True),
        ("[::1]:5432", "::1", 5432, True),
    ],
)
def test_which_hosts_an_entry_allows(entry: str, host: str, port: int, allowed: bool) -> None:
    assert Words(["--allow", entry, "--", "x"]).allows(host, port) is allowed


def test_the_profile_for_seatbelt() -> None:
    text = profile(RECIPE, 3128)
    lines = text.splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    assert text.count("(") == text.count(")")
    hidden = lines.index('(deny file-read* file-write* (subpath "/r/.git/worktrees"))')
    assert '(allow file-read* file-write* (subpath "/r/.git/worktrees/01"))' in lines[hidden:]
    assert '(deny file-write* (subpath "/r/.git/worktrees/01/commondir"))' in lines[hidden:]
    workspace = lines.index('(allow file-read* file-write* (subpath "/r.worktrees/01"))')
    assert workspace < lines.index('(deny file-write* (subpath "/r.worktrees/01/.git"))')
    fixed = next(line for line in lines if line.startswith("(deny file-write-unlink"))
    assert '(literal "/r.worktrees/01")' in fixed, "what holds something read-only is not renamed"
    assert '(allow network-outbound (remote tcp "localhost:3128"))' in lines
    assert '(allow network-bind network-inbound (local tcp "localhost:20000"))' in lines


def test_a_name_cannot_end_the_text_of_the_profile() -> None:
    text = profile(replace(RECIPE, workspace='/r/a")(allow default)("'), 1)
    assert '(subpath "/r/a\\")(allow default)(\\"")' in text


def test_what_is_never_shown() -> None:
    for path in ("/", "/home", "/home/u", "/home/u/.local/state/stretto", "/home/u/.local"):
        assert refusal(path, "/home/u", "/home/u/.local/state/stretto") is not None
    assert refusal("/home/u/.cargo", "/home/u", "/home/u/.local/state/stretto") is None


def test_programs_come_with_what_they_belong_to(tmp_path: Path) -> None:
    node = tmp_path / "node"
    for name in ("bin", "lib"):
        (node / name).mkdir(parents=True)
    package = tmp_path / "app" / "node_modules" / "agent"
    package.mkdir(parents=True)
    (package / "cli.js").write_text("#!/usr/bin/env node\n")
    (node / "bin" / "node").write_text("")
    for path in (package / "cli.js", node / "bin" / "node"):
        path.chmod(0o755)
    own = tmp_path / "own"
    own.mkdir()
    (own / "agent").symlink_to(package / "cli.js")
    places = Places("/home/u", str(tmp_path / "private"))
    program(places, [str(own / "agent"), str(tmp_path)], {"PATH": str(node / "bin")})
    assert set(places.read) == {str(tmp_path / "app" / "node_modules"), str(node)}
    assert places.links == {str(own / "agent"): str(package / "cli.js")}
    assert places.add(own)
    assert places.links == {}, "it is shown with its folder, where bubblewrap could not make it"
    places = Places(str(tmp_path), str(tmp_path / "private"))
    tools(places, os.pathsep.join([str(tmp_path), "relative", str(own), "/usr/bin"]))
    assert set(places.read) == {str(own)}


def test_credentials_are_copied_and_never_through_a_link(tmp_path: Path) -> None:
    home, house, victim = tmp_path / "home", tmp_path / "house", tmp_path / "victim"
    (home / ".agent").mkdir(parents=True)
    victim.mkdir()
    (home / ".agent" / "token").write_text("one")
    furnish(house, home, [".agent/token", ".agent/missing", "../victim"])
    copy = house / ".agent" / "token"
    assert (copy.read_text(), oct(copy.stat().st_mode)[-3:]) == ("one", "600")
    assert sorted(path.name for path in house.rglob("*")) == [".agent", "token"]
    copy.write_text("renewed inside")
    furnish(house, home, [".agent/token"])
    assert copy.read_text() == "renewed inside"
    copy.unlink()
    copy.symlink_to(victim / "stolen")
    os.utime(copy, (0, 0), follow_symlinks=False)
    furnish(house, home, [".agent/token"])
    assert (copy.is_symlink(), copy.read_text()) == (False, "one")
    copy.unlink()
    (house / ".agent").rmdir()
    (house / ".agent").symlink_to(victim)
    furnish(house, home, [".agent/token"])
    assert list(victim.iterdir()) == []
    discard(house)
    assert not house.exists()
    assert victim.exists()
