"""Ports: leases that never collide, whoever races, and blocks that nothing else listens on."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stretto import proctree
from stretto.core.errors import StrettoError
from stretto.net import free
from stretto.net import listening as listeners
from stretto.reads import ports as reads_ports
from stretto.workspace import port_leases
from stretto.workspace.layers import Place
from stretto.workspace.port_leases import NOBODY, SLOTS, Holder, Owner, Registry, block
from stretto.workspace.ports import Ports, PortSettings
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks below those of the other tests, at a place of this test's own."""
    monkeypatch.setattr("stretto.workspace.port_leases.BASE", 3000 + 20 * random.randrange(240))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "leases" / "ports.db")


def place(tmp_path: Path, owner: str = "plan-abcd/one", purpose: str = "task") -> Place:
    root = tmp_path / "shop"
    return Place("home-1", root / ".git", root, tmp_path / "bays" / "01", 1, owner, purpose, None, "0" * 40)


def layer(
    registry: Registry,
    tmp_path: Path,
    *,
    scheme: str = "block",
    home: str = "home-1",
    named: dict[str, int] | None = None,
    **ports: int,
) -> Ports:
    return Ports(PortSettings(named or ports, scheme), home, tmp_path / "shop" / ".git", registry=registry)


@contextmanager
def listening(port: int, address: str = "127.0.0.1") -> Iterator[None]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen()
        yield


def slot_of(ports: Ports, at: Place, **recorded: Any) -> int:
    return int(ports.take(at, recorded).data["slot"])


# ------------------------------------------------------------------ what a workspace gets


def test_the_variables_of_a_block(registry: Registry, tmp_path: Path):
    held = layer(registry, tmp_path, named={"api": 1, "hot-reload": 10}).take(place(tmp_path), {})
    start = block(held.data["slot"]).start
    assert start % 20 == 0
    assert held.values == {
        "PORT": str(start),
        "PORT_API": str(start + 1),
        "PORT_HOT_RELOAD": str(start + 10),
        "STRETTO_SLOT": str(held.data["slot"]),
        "COMPOSE_PROJECT_NAME": held.values["COMPOSE_PROJECT_NAME"],
    }
    assert held.values["COMPOSE_PROJECT_NAME"].startswith("shop-")
    assert held.values["COMPOSE_PROJECT_NAME"].endswith(f"-{held.data['slot']:02d}")
    assert set(held.values) == layer(registry, tmp_path, named={"api": 1, "hot-reload": 10}).variables()


def test_the_offset_scheme_adds_the_slot_and_begins_low(registry: Registry, tmp_path: Path):
    ports = layer(registry, tmp_path, scheme="offset", web=63000, api=63100)
    first = ports.take(place(tmp_path), {})
    second = ports.take(place(tmp_path, "plan-abcd/two"), {})
    assert first.data["slot"] < second.data["slot"] <= 40
    for held in (first, second):
        slot = held.data["slot"]
        assert held.data["ports"] == {"PORT": 63000 + slot, "PORT_WEB": 63000 + slot, "PORT_API": 63100 + slot}


def test_two_schemes_never_share_a_port(registry: Registry, tmp_path: Path):
    """An offset number may lie in a block, or beside the offset of another project."""
    found: set[int] = set()
    for n in range(6):
        overlapping = layer(registry, tmp_path, scheme="offset", home=f"home-{n}", a=63000, b=63001)
        at = place(tmp_path, f"plan-abcd/t{n}")
        overlapping.take(Place(**{**_fields(at), "home": f"home-{n}"}), {})
    for lease in registry.all():
        assert not found & lease.ports
        found |= lease.ports


def _fields(at: Place) -> dict[str, Any]:
    return {name: getattr(at, name) for name in Place.__slots__}


def test_the_same_owner_has_the_same_ports_until_they_are_given_back(registry: Registry, tmp_path: Path):
    ports, at = layer(registry, tmp_path), place(tmp_path)
    held = ports.take(at, {})
    with listening(int(held.values["PORT"])):
        assert ports.take(at, {}) == held
    assert layer(Registry(registry.path), tmp_path).take(at, {}) == held
    ports.give(at, held.data)
    assert registry.all() == []
    assert ports.back(at, held.data) == held


def test_a_lost_registry_gives_everybody_the_slot_of_before(registry: Registry, tmp_path: Path):
    ports = layer(registry, tmp_path)
    held = {n: ports.take(place(tmp_path, f"plan-abcd/t{n}"), {}) for n in range(5)}
    for file in registry.path.parent.iterdir():
        file.unlink()
    for n in reversed(range(5)):
        assert ports.take(place(tmp_path, f"plan-abcd/t{n}"), held[n].data) == held[n]


def test_a_lost_registry_leaves_a_workspace_its_slot_while_its_own_servers_run(registry: Registry, tmp_path: Path):
    ports, at = layer(registry, tmp_path), place(tmp_path)
    held = ports.take(at, {})
    port = int(held.values["PORT"]) + 3
    for file in registry.path.parent.iterdir():
        file.unlink()
    with serving(port, STRETTO_WORKSPACE=str(tmp_path / "another")):
        assert slot_of(ports, at, slot=held.data["slot"]) != held.data["slot"], "another's server is not its own"
    for file in registry.path.parent.iterdir():
        file.unlink()
    with serving(port, STRETTO_WORKSPACE=str(at.path)), serving(port + 1):
        assert slot_of(ports, at, slot=held.data["slot"]) != held.data["slot"], "there is a stranger, too"
    for file in registry.path.parent.iterdir():
        file.unlink()
    with serving(port, STRETTO_WORKSPACE=str(at.path)):
        assert ports.take(at, held.data) == held
        other = place(tmp_path, "plan-abcd/two")
        assert slot_of(ports, other, slot=held.data["slot"]) != held.data["slot"], "a lease counts for more"


def test_new_names_keep_the_slot(registry: Registry, tmp_path: Path):
    held = layer(registry, tmp_path).take(place(tmp_path), {})
    with listening(int(held.values["PORT"])):  # its own server does not stand in its way
        wider = layer(registry, tmp_path, api=1).take(place(tmp_path), held.data)
    assert wider.data["slot"] == held.data["slot"]
    assert wider.values["PORT_API"] == str(int(held.values["PORT"]) + 1)


# ------------------------------------------------------------------ who is in the way


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_block_in_which_somebody_listens_is_passed_over(registry: Registry, tmp_path: Path, address: str):
    ports, at = layer(registry, tmp_path), place(tmp_path)
    wanted = slot_of(ports, at)
    ports.give(at, {})
    with listening(block(wanted).start + 7, address):
        assert not free(block(wanted).start + 7)
        assert slot_of(ports, at) != wanted


def test_what_is_only_closing_is_not_in_the_way(registry: Registry, tmp_path: Path):
    ports, at = layer(registry, tmp_path), place(tmp_path)
    port = block(slot_of(ports, at)).start
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)):
        accepted, _ = server.accept()
        accepted.close()  # this side closes first: TIME_WAIT stays on the port
    assert free(port)


def test_ports_that_are_given_back_in_use_stay_taken(registry: Registry, tmp_path: Path):
    ports, at = layer(registry, tmp_path), place(tmp_path)
    held = ports.take(at, {})
    with listening(int(held.values["PORT"])):
        ports.give(at, held.data)
        (left,) = registry.all()
        assert left.holder == NOBODY
        other = layer(registry, tmp_path).take(place(tmp_path, "plan-abcd/two"), dict(held.data))
        assert other.data["slot"] != held.data["slot"]
    ports.give(at, held.data)
    assert [lease.slot for lease in registry.all()] == [other.data["slot"]]


def fill(registry: Registry, holder: Holder, path: Path) -> None:
    for slot in range(1, SLOTS + 1):
        owner = Owner("other", "repo", f"plan-abcd/t{slot}", "task")
        registry.lease(owner, path, holder, lambda slot: {"PORT": block(slot).start}, [slot])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world of four slots."""
    monkeypatch.setattr("stretto.workspace.ports.SLOTS", 4)
    monkeypatch.setitem(globals(), "SLOTS", 4)


@pytest.mark.usefixtures("few")
def test_slots_of_the_living_are_never_taken_over(registry: Registry, tmp_path: Path):
    fill(registry, Holder.current(), tmp_path)
    with pytest.raises(StrettoError, match="no slot of ports is left: 4 are leased") as caught:
        layer(registry, tmp_path).take(place(tmp_path), {})
    assert caught.value.code == "no_slot"
    assert "stretto ports --all" in str(caught.value.hint)
    assert len(registry.all()) == 4


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("death", ["another boot", "gone", "another start"])
def test_a_slot_of_the_dead_is_taken_over_when_it_is_free_too(registry: Registry, tmp_path: Path, death: str):
    me = Holder.current()
    dead = {
        "another boot": Holder(me.pid, me.start_time, "another"),
        "gone": Holder(2**22 + 1, 1.0, me.boot),
        "another start": Holder(me.pid, me.start_time - 5, me.boot),
    }[death]
    fill(registry, dead, tmp_path)
    ports = layer(registry, tmp_path)
    with listening(block(1).start + 3), listening(block(2).start), listening(block(3).start):
        assert slot_of(ports, place(tmp_path)) == 4
    assert {lease.owner.home for lease in registry.all() if lease.slot == 4} == {"home-1"}
    assert len(registry.all()) == 4


@pytest.mark.usefixtures("few")
def test_the_dead_keep_their_slot_as_long_as_there_is_another(registry: Registry, tmp_path: Path):
    fill(registry, NOBODY, tmp_path)
    registry.release(Owner("other", "repo", "plan-abcd/t3", "task"))
    assert slot_of(layer(registry, tmp_path), place(tmp_path)) == 3


@pytest.mark.usefixtures("few")
def test_of_the_dead_those_without_a_worktree_go_first(registry: Registry, tmp_path: Path):
    fill(registry, NOBODY, tmp_path)
    owner = Owner("other", "repo", "plan-abcd/t2", "task")
    registry.lease(owner, tmp_path / "gone", NOBODY, lambda slot: {"PORT": block(slot).start}, [2])
    assert slot_of(layer(registry, tmp_path), place(tmp_path)) == 2


def test_the_next_daemon_of_a_home_holds_what_the_one_before_held(registry: Registry, tmp_path: Path):
    dead, me = Holder(1, 1.0, "another boot"), Holder.current()
    parent = Holder(os.getppid(), proctree.start_time(os.getppid()) or 0.0, proctree.boot_id())
    assert parent.alive()
    registry.lease(Owner("home-1", "repo", "ending", "task"), tmp_path, parent, lambda slot: {}, [9])
    whose = {
        "lost": Owner("home-1", "repo", "plan-abcd/lost", "task"),
        "elsewhere": Owner("home-2", "repo", "plan-abcd/one", "task"),
        "given": Owner("home-1", "repo", "plan-abcd/given", "task"),
    }
    for slot, (name, owner) in enumerate(whose.items(), 1):
        registry.lease(owner, tmp_path, NOBODY if name == "given" else dead, lambda slot: {}, [slot])
    assert [registry.adopt("home-1", me), registry.adopt("home-1", me)] == [2, 0]
    held = {lease.owner: lease.holder for lease in registry.all()}
    assert held.pop(Owner("home-1", "repo", "ending", "task")) == me
    assert held == {whose["lost"]: me, whose["elsewhere"]: dead, whose["given"]: NOBODY}
    shown = {lease.owner: reads_ports._lease(lease, [], "home-1") for lease in registry.all()}
    assert [(shown[owner]["held"], shown[owner]["given"]) for owner in whose.values()] == [
        (True, False),
        (False, False),
        (False, True),
    ]


def test_leases_for_nobody_are_told_and_stay(registry: Registry, tmp_path: Path):
    ports = layer(registry, tmp_path)
    ports.take(place(tmp_path), {})
    layer(registry, tmp_path, home="home-2").take(Place(**{**_fields(place(tmp_path)), "home": "home-2"}), {})
    assert ports.leftovers(["plan-abcd/one"]) == []
    (found,) = ports.leftovers([])
    assert "plan-abcd/one" in found.text
    assert len(registry.all()) == 2


def test_a_damaged_registry_is_a_sentence(registry: Registry, tmp_path: Path):
    registry.path.parent.mkdir(mode=0o700)
    registry.path.write_bytes(b"not a database, and long enough to be read as one" * 100)
    with pytest.raises(StrettoError, match="registry of ports cannot be used") as caught:
        layer(registry, tmp_path).take(place(tmp_path), {})
    assert caught.value.code == "port_registry"
    assert "move" in str(caught.value.hint)


def test_one_that_a_power_cut_has_damaged_is_put_aside_and_made_anew(registry: Registry, tmp_path: Path):
    ports, at = layer(registry, tmp_path), place(tmp_path)
    held = ports.take(at, {})
    registry.path.with_name("ports.db-wal").unlink()
    registry.path.write_bytes(b"not a database, and long enough to be read as one" * 100)
    for file in registry.path.parent.iterdir():
        os.utime(file, (1, 1))
    assert layer(Registry(registry.path), tmp_path).take(at, held.data) == held
    (aside,) = registry.path.parent.glob("ports.db.damaged-*")
    assert aside.read_bytes().startswith(b"not a database")


def test_a_whole_one_of_before_this_boot_is_used(registry: Registry, tmp_path: Path):
    held = layer(registry, tmp_path).take(place(tmp_path), {})
    for file in registry.path.parent.iterdir():
        os.utime(file, (1, 1))
    again = Registry(registry.path)
    assert [lease.slot for lease in again.all()] == [held.data["slot"]]
    assert not list(registry.path.parent.glob("*damaged*"))


def test_it_is_private_and_lies_where_all_homes_find_it(registry: Registry, tmp_path: Path):
    layer(registry, tmp_path).take(place(tmp_path), {})
    assert registry.path.stat().st_mode & 0o777 == 0o600
    assert registry.path.parent.stat().st_mode & 0o777 == 0o700
    state = {"HOME": "/home/me", "STRETTO_HOME": "/elsewhere"}
    assert port_leases.registry_path(state) == Path("/home/me/.local/state/stretto-leases/ports.db")
    assert port_leases.registry_path({**state, "STRETTO_LEASES": "/x/p.db"}) == Path("/x/p.db")


def test_a_folder_that_the_person_has_named_stays_as_it_is(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    layer(Registry(shared / "p.db"), tmp_path).take(place(tmp_path), {})
    assert shared.stat().st_mode & 0o777 == 0o775
    assert (shared / "p.db").stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------ races

RACER = """
import json, sys
from pathlib import Path
from stretto.workspace import port_leases
from stretto.workspace.port_leases import Holder, Owner, Registry, block
port_leases.BASE = int(sys.argv[4])
registry, home, count = Registry(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
me, names = Holder.current(), lambda slot: {"PORT": block(slot).start}
sys.stdin.readline()
found = []
for n in range(count):
    owner = Owner(home, "repo", f"plan-abcd/t{n}", "task")
    found.append(registry.lease(owner, Path("/nowhere"), me, names, range(1, 601)).slot)
print(json.dumps(found))
sys.stdin.readline()
"""


def test_eight_processes_never_get_the_same_slot(registry: Registry):
    """All want the lowest: each lease is a race."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(registry.path), f"home-{n}", "12", str(port_leases.BASE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for n in range(8)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    found: list[int] = []
    for racer in racers:
        assert racer.stdout is not None
        found += json.loads(racer.stdout.readline())
    assert len(found) == len(set(found)) == 96
    assert {lease.slot for lease in registry.all()} == set(found)
    assert all(lease.holder.alive() for lease in registry.all())
    for racer in racers:
        racer.communicate("over\n")
    assert not any(lease.holder.alive() for lease in registry.all())


def test_threads_share_a_registry(registry: Registry, tmp_path: Path):
    ports, found, lock = layer(registry, tmp_path), [], threading.Lock()

    def one(number: int) -> None:
        for n in range(10):
            slot = slot_of(ports, place(tmp_path, f"plan-abcd/t{number}-{n}"))
            with lock:
                found.append(slot)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 60


@pytest.mark.faults
@pytest.mark.parametrize("point", ["daemon.ports.commit.before", "daemon.ports.commit.after"])
def test_killed_while_it_leases_nothing_is_half_leased(registry: Registry, tmp_path: Path, point: str):
    racer = subprocess.Popen(
        [sys.executable, "-c", RACER, str(registry.path), "home-1", "3", str(port_leases.BASE)],
        env={**os.environ, "STRETTO_TESTING": "1", "STRETTO_FAILPOINT": f"{point}@2=kill"},
        stdin=subprocess.PIPE,
        cwd=ROOT,
    )
    racer.communicate(b"go\n")
    assert racer.returncode == -9
    leases = registry.all()
    assert [lease.slot for lease in leases] == ([1] if point.endswith("before") else [1, 2])
    assert not any(lease.holder.alive() for lease in leases)
    assert slot_of(layer(registry, tmp_path), place(tmp_path)) not in {lease.slot for lease in leases}


# ------------------------------------------------------------------ who listens where

SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
sys.stdin.readline()
"""


@contextmanager
def serving(port: int, alone: bool = False, /, **env: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)],
        env={} if alone else {**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        yield server
        server.communicate("over\n")


def test_a_listener_of_a_workspace_outside_of_its_ports_is_told(registry: Registry, tmp_path: Path):
    from stretto.reads import ports as reads

    at = place(tmp_path)
    ports = layer(registry, tmp_path)
    held = ports.take(at, {})
    stray = ports.take(place(tmp_path, "plan-abcd/two"), {})
    inside, outside = int(held.values["PORT"]) + 4, int(stray.values["PORT"]) + 9
    mine = {"STRETTO_WORKSPACE": str(at.path)}
    with serving(inside, **mine) as good, serving(outside, **mine) as bad:
        wait_for(lambda: {inside, outside} <= {one.port for one in listeners()})
        (lease,) = [each for each in registry.all() if each.owner.owner == at.owner]
        found = reads.warnings(lease, listeners())
        assert len(found) == 1
        assert f"(process {bad.pid}) listens on port {outside}, outside of its ports {held.values['PORT']}-" in found[0]
        shown = reads._lease(lease, listeners(), "home-1")
        assert [(one["port"], one["pid"]) for one in shown["listeners"]] == [(inside, good.pid)]
    with serving(inside, True):  # so look those that end, and those that write over what /proc shows of them
        wait_for(lambda: inside in {one.port for one in listeners()})
        assert reads.warnings(lease, listeners()) == []
    with serving(inside) as stranger:
        wait_for(lambda: inside in {one.port for one in listeners()})
        (text,) = reads.warnings(lease, listeners())
        assert f"is used by {Path(sys.executable).name}" in text
        assert str(stranger.pid) in text
