"""The lock files agree with pyproject.toml, carry a hash on every line and name no address."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.world import ROOT

RUN = ROOT / "requirements" / "run.txt"
DEV = ROOT / "requirements" / "dev.txt"
NODE = ROOT / "requirements" / "node.txt"
MANAGERS = ROOT / "requirements" / "managers.txt"
CLAUDE = ROOT / "tests" / "claude"
CODEX = ROOT / "tests" / "codex"
PI = ROOT / "tests" / "pi"
OPENCODE = ROOT / "tests" / "opencode"
GEMINI = ROOT / "tests" / "gemini"
NPM = tuple(ROOT / "tests" / name for name in ("qwen", "claude-acp", "codex-acp"))
PIP = tuple(ROOT / "tests" / name for name in ("aider", "mini"))
ENTRY = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s;]+)(?P<marker> ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def locked(path: Path) -> dict[str, str]:
    """Name -> version; fails on a line that is neither a pin, a hash nor a comment, and on a pin without a hash."""
    pins: dict[str, str] = {}
    hashes: dict[str, int] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = ENTRY.fullmatch(line)
        if entry:
            name = entry["name"]
            assert name not in pins, f"{name} is pinned twice"
            pins[name], hashes[name] = entry["version"], 0
        elif HASH.fullmatch(line):
            hashes[name] += 1
        else:
            assert re.match(r"\s+#", line), f"{path.name}: not a pin, a hash or a comment: {line}"
    assert [name for name, count in hashes.items() if not count] == []
    return pins


def declared(group: str | None = None) -> list[Requirement]:
    """What pyproject.toml asks for: the project's dependencies, or those of a dependency group, included ones too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if group is None:
        return [Requirement(text) for text in project["project"]["dependencies"]]
    found: list[Requirement] = []
    for entry in project["dependency-groups"][group]:
        found += [Requirement(entry)] if isinstance(entry, str) else declared(entry["include-group"])
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("path", "groups"),
    [(RUN, [None]), (DEV, [None, "dev"]), (NODE, ["node"]), (MANAGERS, ["managers"])],
    ids=["run", "dev", "node", "managers"],
)
def test_every_declared_dependency_is_pinned_to_a_version_that_fits(path: Path, groups: list[str | None]) -> None:
    pins = locked(path)
    wanted = [requirement for group in groups for requirement in declared(group)]
    missing = [requirement.name for requirement in wanted if normal(requirement.name) not in pins]
    assert missing == [], f"run `make lock`: {path.name} lacks {missing}"
    outside = [
        str(requirement) for requirement in wanted if pins[normal(requirement.name)] not in requirement.specifier
    ]
    assert outside == []


def test_developers_test_what_users_get() -> None:
    developers = locked(DEV)
    assert {name: developers.get(name) for name in locked(RUN)} == locked(RUN)


FREE = re.compile(r"\b(MIT|BSD|Apache|MPL|PSF|ISC|Python Software Foundation|Mozilla Public License)\b", re.IGNORECASE)


def licence(name: str) -> str:
    """What a distribution says of its licence: the expression, the field and the classifiers."""
    told = importlib.metadata.metadata(name)
    words = [*(told.get_all("License-Expression") or []), *(told.get_all("License") or [])]
    words += [each for each in told.get_all("Classifier") or [] if each.startswith("License ::")]
    return "; ".join(each.partition("\n")[0] for each in words)


def test_every_locked_package_that_is_installed_has_a_licence_that_lets_us_ship() -> None:
    installed = {normal(each.name) for each in importlib.metadata.distributions()}
    licences = {name: licence(name) for name in locked(DEV) if name in installed}
    assert locked(RUN).keys() <= licences.keys()
    assert {name: told for name, told in licences.items() if not FREE.search(told)} == {}


def test_what_builds_the_project_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    build = [Requirement(text) for text in project["build-system"]["requires"]]
    assert {normal(requirement.name) for requirement in build} <= locked(DEV).keys()


@pytest.mark.parametrize(
    "path",
    [
        RUN,
        DEV,
        NODE,
        MANAGERS,
        *(
            folder / name
            for folder in (CLAUDE, CODEX, PI, OPENCODE, GEMINI, ROOT / "tests" / "managers", *NPM)
            for name in ("package-lock.json", "package.json")
        ),
        *(folder / name for folder in PIP for name in ("requirements.in", "requirements.txt")),
    ],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_no_lock_names_an_address(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"index-url|find-links|resolved", text)


def test_the_claude_program_is_pinned_by_hash() -> None:
    wanted = json.loads((CLAUDE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    packages = json.loads((CLAUDE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages[""]["dependencies"] == wanted
    installed = {path: entry for path, entry in packages.items() if path}
    assert all(entry["integrity"].startswith("sha512-") for entry in installed.values())
    version = wanted["@anthropic-ai/claude-code"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert {entry["version"] for entry in installed.values()} == {version}


@pytest.mark.parametrize(
    ("folder", "type", "package"),
    [
        (CODEX, "codex", "@openai/codex"),
        (OPENCODE, "opencode", "opencode-ai"),
        (GEMINI, "gemini", "@google/gemini-cli"),
    ],
    ids=["codex", "opencode", "gemini"],
)
def test_a_program_is_pinned_by_hash_and_is_the_tested_one(folder: Path, type: str, package: str) -> None:
    from stretto import agents

    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages[""]["dependencies"] == wanted
    installed = {path: entry for path, entry in packages.items() if path}
    assert all(entry["integrity"].startswith("sha512-") for entry in installed.values())
    version = wanted[package]
    assert version in agents.declared(type).tested
    assert installed[f"node_modules/{package}"]["version"] == version
    binaries = [
        entry for path, entry in installed.items() if path.startswith(f"node_modules/{package.split('-ai')[0]}")
    ]
    assert all(entry["version"].startswith(version) for entry in binaries)


def test_the_pi_program_is_pinned_by_hash_and_is_the_tested_one() -> None:
    from stretto import agents

    wanted = json.loads((PI / "package.json").read_text(encoding="utf-8"))["dependencies"]
    packages = json.loads((PI / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages[""]["dependencies"] == wanted
    assert all(entry["integrity"].startswith("sha512-") for path, entry in packages.items() if path)
    assert wanted["@earendil-works/pi-coding-agent"] in agents.declared("pi").tested


@pytest.mark.parametrize("folder", PIP, ids=lambda folder: folder.name)
def test_programs_of_python_are_pinned_with_all_that_they_need(folder: Path) -> None:
    lines = [line for line in (folder / "requirements.txt").read_text("utf-8").splitlines() if line.strip()[:1] != "#"]
    pinned = {}
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if entry := ENTRY.fullmatch(line):
            assert HASH.fullmatch(after), line
            pinned[entry["name"]] = entry["version"]
        else:
            assert HASH.fullmatch(line), line
    wanted = [Requirement(line) for line in (folder / "requirements.in").read_text("utf-8").split()]
    assert all(pinned[normal(one.name)] in one.specifier and str(one.specifier) for one in wanted)


@pytest.mark.parametrize("folder", NPM, ids=lambda folder: folder.name)
def test_adapters_and_qwen_are_pinned_by_hash(folder: Path) -> None:
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages[""]["dependencies"] == wanted
    assert all(entry["integrity"].startswith("sha512-") for path, entry in packages.items() if path)
