"""Memory and processes of a sandbox have their limits. Every bomb here is bounded by itself, in number and in time."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stretto.workspace import sandbox
from stretto.workspace.sandbox import Limits, groups, launch_limits, limits
from stretto.workspace.sandbox.launch_words import Words
from tests.conftest import WORLD
from tests.support.arena import PYTHON, Arena, users

MIB = 1 << 20
#: never more than 150 processes, and none for longer than a minute: each fork takes one of 150 bytes out of a pipe
BOMB = f"""{PYTHON} -c '
import os, time
r, w = os.pipe(); os.write(w, bytes(150)); os.set_blocking(r, False)
try:
    while os.read(r, 1): os.fork()
except OSError:
    pass
time.sleep(60)
'"""
#: four processes of 40 MiB each, for a minute at most
HOGS = f"""for n in 1 2 3 4; do {PYTHON} -c 'import time; x = b"x" * (40 << 20); time.sleep(60)' & done; wait"""
FILES = "head -c 150000000 /dev/zero > /tmp/much; sleep 60"
FORKS = f"""{PYTHON} -c '
import os, time
x = b"x" * (40 << 20)
children = [pid for _ in range(3) if (pid := os.fork()) or (time.sleep(1.5), os._exit(0))]
print([os.waitpid(pid, 0)[1] for pid in children])
'"""


@pytest.fixture(scope="module", params=users(), ids=lambda user: "unprivileged" if user else "as we are")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    folder = WORLD.folder / f"l{secrets.token_hex(3)}"
    folder.mkdir()
    made = Arena(folder, request.param)
    yield made
    made.close()


def bounded(arena: Arena, **values: int) -> sandbox.Recipe:
    """With what this machine has for it; an unprivileged user has no groups of root's."""
    group = "" if arena.user else sandbox.look().group
    return arena.with_(limits=Limits(**values, group=group))


@pytest.mark.parametrize(
    ("script", "values", "said"),
    [
        (BOMB, {"processes": 40}, "processes and threads, and [sandbox] processes allows 40"),
        (HOGS, {"memory": 100 * MIB}, "of memory, and [sandbox] memory allows 100 MiB"),
        (FILES, {"memory": 100 * MIB}, "of memory, and [sandbox] memory allows 100 MiB"),
    ],
    ids=["a fork bomb", "many that use memory", "files in memory"],
)
def test_who_takes_too_much_is_ended_and_told_and_nobody_else(
    arena: Arena, script: str, values: dict[str, int], said: str
) -> None:
    neighbour = arena.start("echo begun; sleep 60", bounded(arena, processes=40, memory=200 * MIB))
    assert neighbour.stdout is not None
    assert neighbour.stdout.readline() == "begun\n"
    done = arena.inside(script, recipe=bounded(arena, **values), timeout=120.0)
    assert done.returncode == 137
    last = done.stderr.splitlines()[-1]
    assert last.startswith("stretto: the sandbox was ended: it ")
    assert last.endswith(said)
    assert neighbour.poll() is None
    assert arena.reached(done) == []
    neighbour.kill()
    neighbour.wait()
    neighbour.stdout.close()


def test_what_processes_share_is_counted_once(arena: Arena) -> None:
    done = arena.inside(FORKS, recipe=bounded(arena, memory=110 * MIB))
    assert (done.returncode, done.stdout) == (0, "[0, 0, 0]\n"), done.stderr


def test_the_numbers_of_processes_end_a_little_beyond_the_limit_and_cannot_be_set_inside(arena: Arena) -> None:
    """Where the kernel numbers each namespace by itself; an older one has but the one number, which nobody may set."""
    highest = Path("/proc/sys/kernel/pid_max").read_text()
    own = launch_limits.release() >= launch_limits.OWN_NUMBERS
    script = "cd /proc/sys/kernel; cat pid_max; echo 999 > pid_max; cat pid_max"
    done = arena.inside(script, recipe=arena.with_(limits=Limits(processes=20)))
    assert done.stdout == (f"{20 + launch_limits.ROOM + 1}\n" if own else highest) * 2
    assert Path("/proc/sys/kernel/pid_max").read_text() == highest


def test_one_process_is_refused_more_data_than_was_named(arena: Arena) -> None:
    done = arena.inside(f"{PYTHON} -c 'bytearray(400 << 20)'", recipe=arena.with_(limits=Limits(data=200 * MIB)))
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_what_holds_if_nothing_is_said() -> None:
    usual = limits.of({}, "")
    assert (usual.processes, usual.data) == (4096, None)
    assert usual.memory == int(limits.machine() * 0.75)
    said = limits.of({"memory": 100, "processes": 9}, "")
    assert said == Limits(100 * MIB, 9, "", 100 * MIB)
    assert limits.of({"memory": 100}, "/groups").data is None, "the group holds it"


# ---------------------------------------------------------------- control groups, on a machine that is made of files


OWN = "user.slice/user@7.service/app.slice/terminal.scope"


def machine(root: Path, offered: dict[str, str], line: str = f"0::/{OWN}", shown: str = "/") -> Path:
    """`offered`: what each group offers to those below it."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"4:memory:/old\n{line}\n")
    mounts = f"25 1 0:22 / /proc rw - proc proc rw\n30 1 0:26 {shown} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
    (root / "proc/self/mountinfo").write_text(mounts)
    top = root / "sys/fs/cgroup"
    for folder in ("", *("/".join(OWN.split("/")[: n + 1]) for n in range(4))):
        group = top / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.subtree_control").write_text(offered.get(folder, "") + "\n")
        (group / "cgroup.procs").touch()
    return top


APP = "user.slice/user@7.service/app.slice"


@pytest.mark.parametrize(
    ("offered", "line", "shown", "found"),
    [
        ({APP: "cpu memory pids", "user.slice": "memory pids"}, f"0::/{OWN}", "/", APP),
        ({OWN: "memory pids", APP: "memory pids"}, f"0::/{OWN}", "/", OWN),
        ({APP: "cpu pids"}, f"0::/{OWN}", "/", None),
        ({}, f"0::/{OWN}", "/", None),
        ({APP: "memory pids"}, "1:name=systemd:/", "/", None),
        ({APP: "memory pids"}, "0::/../elsewhere", "/", None),
        ({"": "memory pids"}, "0::/machine/box", "/machine", ""),
        ({"": "memory pids"}, "0::/other", "/machine", None),
    ],
    ids=["its app", "its own", "no memory", "nothing", "the old kind", "outside", "a container", "another container"],
)
def test_which_folder_of_groups_is_used(
    tmp_path: Path, offered: dict[str, str], line: str, shown: str, found: str | None
) -> None:
    top = machine(tmp_path, offered, line, shown)
    (top / "box").mkdir()
    assert groups.find(tmp_path) == (None if found is None else str(top / found))


def test_a_machine_without_groups(tmp_path: Path) -> None:
    assert groups.find(tmp_path) is None
    top = machine(tmp_path, {APP: "memory pids"})
    (top / APP / "cgroup.type").write_text("domain invalid\n")
    assert groups.find(tmp_path) is None


def test_a_group_gets_the_limits_and_the_dead_ones_are_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel makes these files; here a folder stands for it that has them from the start."""
    kernel = ("memory.max", "memory.oom.group", "memory.swap.max", "pids.max", "pids.current", "cgroup.procs")
    mkdir = os.mkdir

    def appear(path: str) -> None:
        mkdir(path)
        for name in kernel:
            Path(path, name).write_text("0")

    (tmp_path / "stretto-999999999").mkdir()
    (tmp_path / f"stretto-{os.getppid()}").mkdir()
    monkeypatch.setattr(os, "mkdir", appear)
    words = Words(["--memory", "1000", "--processes", "50", "--group", str(tmp_path), "--", "x"])
    made = launch_limits.Limits(words)
    assert made.group == str(tmp_path / f"stretto-{os.getpid()}")
    made.join()
    said = {name: Path(made.group, name).read_text() for name in kernel}
    assert said == {
        **{"memory.max": "1000", "memory.oom.group": "1", "memory.swap.max": "0"},
        **{"pids.max": str(50 + launch_limits.ROOM), "pids.current": "0", "cgroup.procs": "0"},
    }
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        [f"stretto-{os.getppid()}", f"stretto-{os.getpid()}"]
    )


@pytest.mark.parametrize("old", [False, True])
def test_what_the_kernel_ended_in_a_group_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    if old:  # a Linux without descriptors of processes

        def missing(pid: int) -> int:
            raise OSError(errno.ENOSYS, "not there")

        monkeypatch.setattr(os, "pidfd_open", missing)
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    made = launch_limits.Limits(Words(["--memory", str(64 * MIB), "--", "x"]))
    monkeypatch.setattr(made, "group", str(tmp_path))
    child = os.fork()
    if child == 0:
        os._exit(0)
    _, said = made.wait(child, None)
    assert said == f"{launch_limits.ENDED}it used more of memory, and [sandbox] memory allows 64 MiB"


def test_a_group_that_cannot_be_made_leaves_the_other_means(arena: Arena, tmp_path: Path) -> None:
    recipe = bounded(arena, processes=40)
    nowhere = replace(recipe, limits=replace(recipe.limits, group=str(tmp_path / "nowhere")))
    done = arena.inside(BOMB, recipe=nowhere, timeout=120.0)
    assert done.returncode == 137
    assert "processes allows 40" in done.stderr
