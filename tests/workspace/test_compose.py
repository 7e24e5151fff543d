"""Docker Compose in many workspaces: what a project fixes for the whole machine is said anew for each of them.

There is no Docker here: what is written is compared as text, and read again by the rules by which Compose puts files
together (a later scalar replaces, mappings are joined, a list that is tagged `!override` replaces).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stretto.workspace import Bays, compose, stack
from stretto.workspace.port_leases import block
from tests.support import layers
from tests.support.layers import BRANCH, UID
from tests.support.repository import Repository

#: what the Compose specification lets stand at the places that are written
SERVICE, TOP = {"ports", "container_name"}, {"name"}
PORT = {"target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"}


class Reader(yaml.SafeLoader):
    """Reads what Compose reads; a list that replaces is told by its type."""


class Replacing(list):  # type: ignore[type-arg]  # of whatever stands there
    """A list that is tagged `!override`."""


def replacing(loader: Reader, node: yaml.SequenceNode) -> Replacing:
    return Replacing(loader.construct_sequence(node, deep=True))


Reader.add_constructor("!override", replacing)


def joined(base: Any, over: Any) -> Any:
    """How Compose puts two files together."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {
            key: joined(base[key], over[key]) if key in base and key in over else {**base, **over}[key]
            for key in {**base, **over}
        }
    if isinstance(base, list) and isinstance(over, list) and not isinstance(over, Replacing):
        return [*base, *over]
    return over


def whole(env: Mapping[str, str]) -> dict[str, Any]:
    """The project as Compose would see it in this workspace; the overrides are checked against the specification."""
    *own, last = [Path(name) for name in env["COMPOSE_FILE"].split(os.pathsep)]
    over = yaml.load(last.read_text(), Reader)
    assert set(over) <= {"services", "volumes", "networks"}
    for service in over["services"].values():
        assert set(service) <= SERVICE
        for entry in service.get("ports", ()):
            assert isinstance(entry, str) or set(entry) <= PORT
    for kind in ("volumes", "networks"):
        assert all(set(entry) == TOP for entry in over.get(kind, {}).values())
    found: dict[str, Any] = {}
    for text in own:
        found = joined(found, yaml.load(text.read_text(), Reader))
    return dict(joined(found, over))


PROJECT = """
x-common: &common
  container_name: shop-db
services:
  web:
    build: .
    ports:
      - "8080:80"
      - "127.0.0.1:9229:9229/tcp"
      - "3000"
  db:
    <<: *common
    image: postgres
    ports:
      - {target: 5432, published: "5432", protocol: tcp}
    volumes: [data:/var]
  plain:
    image: redis
volumes:
  data: {name: shop-data}
  cache: {}
networks:
  front: {external: true}
"""


class House:
    def __init__(self, repo: Repository) -> None:
        self.repo = repo

    def bays(self, **config: Any) -> Bays:
        found = layers.bays(self.repo.path)
        folder = self.repo.path.parent / "bays"
        return Bays(found._git, folder, "home-1", layers=stack.configured(found._git, folder, "home-1", config))

    def ensure(self, name: str = "search", **config: Any) -> dict[str, str]:
        branch = f"stretto/plan-abcd/{name}/work"
        return self.bays(**config).ensure(f"plan-abcd/{name}", "task", self.repo.oid("main"), branch, {}).env


@pytest.fixture
def house(make_repo) -> House:
    return House(make_repo("repo", {"compose.yaml": PROJECT}))


def test_two_workspaces_and_the_gate_share_no_port_and_no_name(house: House) -> None:
    gate = house.bays().ensure("gate/main", "gate", house.repo.oid("main"), None, {}).env
    seen: set[Any] = set()
    for env in (house.ensure("one"), house.ensure("two"), gate):
        project, ports = env["COMPOSE_PROJECT_NAME"], block(int(env["STRETTO_SLOT"]))
        found = whole(env)
        web, db = found["services"]["web"], found["services"]["db"]
        first, second, third = web["ports"]
        assert third == "3000"
        host = [int(first.split(":")[0]), int(second.split(":")[1]), int(db["ports"][0]["published"])]
        assert (first.split(":")[1], second.split(":")[0], second.split(":")[2]) == ("80", "127.0.0.1", "9229/tcp")
        assert db["ports"][0]["target"] in (5432, "5432")
        assert all(port in ports and port < ports[18] for port in host)
        assert web["build"] == "."
        assert db["container_name"] == f"{project}-shop-db"
        assert found["volumes"] == {"data": {"name": f"{project}-shop-data"}, "cache": {}}
        assert "plain" not in yaml.load(Path(env["COMPOSE_FILE"].split(os.pathsep)[-1]).read_text(), Reader)["services"]
        assert not seen & {*host, project}
        seen |= {*host, project}
    assert house.repo.git("status", "--porcelain") == ""


def test_named_ports_are_left_to_those_who_named_them(house: House) -> None:
    env = house.ensure(ports={"web": 17, "api": 16})
    found = whole(env)
    published = int(found["services"]["web"]["ports"][0].split(":")[0])
    assert published not in {int(env["PORT_WEB"]), int(env["PORT_API"])}
    assert published in block(int(env["STRETTO_SLOT"]))


def test_files_that_change_are_followed(house: House) -> None:
    found = house.bays()
    space = found.ensure(UID, "task", house.repo.oid("main"), BRANCH, {})
    assert "front lies outside of the project" in Path(space.env["COMPOSE_FILE"].split(os.pathsep)[-1]).read_text()
    (space.path / "compose.yaml").write_text('services: {late: {image: x, ports: ["7000:70"]}}\n')
    again = found.find(UID, "task", {})
    assert again is not None
    (entry,) = whole(again.env)["services"]["late"]["ports"]
    assert entry.endswith(":70")
    assert int(entry.split(":")[0]) in block(int(again.env["STRETTO_SLOT"]))


def test_a_removal_takes_the_overrides_and_undo_brings_them_back(house: House) -> None:
    found = house.bays()
    space = found.ensure(UID, "task", house.repo.oid("main"), BRANCH, {})
    over = Path(space.env["COMPOSE_FILE"].split(os.pathsep)[-1])
    before = over.read_text()
    removal = found.remove(UID, space.path, BRANCH, "asked")
    assert not over.exists()
    found.undo(removal.id)
    again = found.find(UID, "task", {})
    assert again is not None
    assert again.env["COMPOSE_FILE"] == space.env["COMPOSE_FILE"]
    assert over.read_text() == before


@pytest.mark.parametrize("config", [{"env": {"COMPOSE_FILE": "mine.yaml"}}])
def test_a_file_that_the_person_names_is_left_alone(house: House, config: dict[str, Any]) -> None:
    assert "compose" not in house.ensure(**config).get("COMPOSE_FILE", "")


def test_without_a_project_there_is_none(repo: Repository) -> None:
    assert "COMPOSE_FILE" not in House(repo).ensure()


def test_without_a_reader_of_such_files_there_is_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "readable", lambda: False)
    assert "COMPOSE_FILE" not in house.ensure()
    assert "need PyYAML" in compose.notices({"compose.yaml": PROJECT}, ())[0]


def planned(text: str, free: list[int] | None = None) -> compose.Plan:
    return compose.plan(list(compose.parsed([text])), [20030, 20031, 20032] if free is None else free, "p-01")


@pytest.mark.parametrize(
    ("entry", "becomes"),
    [
        ("8080:80", "20030:80"),
        ("[::1]:8080:80/udp", "[::1]:20030:80/udp"),
        ("8000-8002:80-82", "20030-20032:80-82"),
        ("8000-8005:80-85", "80-85"),
        ("127.0.0.1:8000-8005:80-85", "127.0.0.1::80-85"),
        (
            "{target: 80, published: 8080, host_ip: 127.0.0.1}",
            {"target": "80", "host_ip": "127.0.0.1", "published": "20030"},
        ),
    ],
)
def test_each_form_of_a_port_is_moved(entry: str, becomes: Any) -> None:
    said = entry if entry.startswith("{") else f'"{entry}"'
    assert planned(f"services: {{a: {{ports: [{said}]}}}}").services["a"]["ports"] == [becomes]


@pytest.mark.parametrize("entry", ["80", "127.0.0.1::80", "{target: 80}", "${WEB:-8080}:80"])
def test_what_is_not_fixed_is_left(entry: str) -> None:
    said = entry if entry.startswith("{") else f'"{entry}"'
    assert planned(f"services: {{a: {{ports: [{said}]}}}}").services == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("services: {a: {network_mode: host}}", "service a uses the network of the host"),
        ('services: {a: {ports: ["${WEB}:80"]}}', "the port '${WEB}:80' is left as it is"),
        ("include: [other.yaml]", "files that it includes"),
        ("services: {a: {extends: {file: b.yaml, service: b}}}", "files that it includes"),
        ("volumes: {a: {external: true}}", "volume a lies outside"),
        ('services: {a: {ports: ["1:1", "2:2", "3:3", "4:4"]}}', "1 of its ports find no place"),
    ],
)
def test_what_cannot_be_mapped_is_told(text: str, told: str) -> None:
    made = planned(text)
    assert any(told in one for one in made.told), made.told
    assert any(told in one for one in compose.notices({"compose.yaml": text}, range(4, 18)))


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1",
        "services: [a]",
        "services: {a: b}",
        "services: {a: {ports: 80}}",
        "&a [*a]",
        "services: &s {a: *s}",
        "[" * 5000,
        'services: {a: {ports: ["65536-4000000000:80", "99999999-4000000000:80", {published: 1-4000000000}]}}',
        f"services: {{a: {{ports: ['{'9' * 5000}:80']}}}}",
        "x: &a [1]\ny: &b [*a, *a]\nz: &c [*b, *b]\nservices: {a: {ports: [*c, [*c, *c]]}}",
        "!!python/object/apply:os.getcwd []",
    ],
)
def test_what_is_no_project_is_harmless(text: str) -> None:
    made = planned(text)
    assert made.services == {}
    assert yaml.load(compose.rendered(made), Reader) == {"services": {}}


def test_names_that_hold_lines_stay_names() -> None:
    text = 'services: {"a\\n  evil": {network_mode: host, ports: ["1:1"], container_name: "x\\ny: z"}}'
    found = yaml.load(compose.rendered(planned(text)), Reader)
    assert list(found) == ["services"]
    assert list(found["services"]) == ["a\n  evil"]


def test_files_are_found_as_compose_finds_them(tmp_path: Path) -> None:
    for name in ("docker-compose.yml", "compose.yml", "compose.override.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    assert [path.name for path in compose.project_files(tmp_path)] == ["compose.yml", "compose.override.yaml"]
    (tmp_path / ".env").write_text("A=1\nCOMPOSE_FILE=docker-compose.yml:missing.yml\n")
    assert [path.name for path in compose.project_files(tmp_path)] == ["docker-compose.yml"]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".env").write_text("COMPOSE_FILE=../docker-compose.yml\n")
    assert compose.project_files(tmp_path / "sub") == [], "a file outside of the worktree is none of its own"
    (tmp_path / ".env").unlink()
    (tmp_path / "compose.yml").unlink()
    (tmp_path / "compose.yml").symlink_to(tmp_path / "docker-compose.yml")
    assert [path.name for path in compose.project_files(tmp_path)] == ["docker-compose.yml", "compose.override.yaml"]
