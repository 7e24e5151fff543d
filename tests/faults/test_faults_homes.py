"""A hundred workspaces by eight processes with a home each, all at once on one repository: nothing is had twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stretto.git.repository import Repository as RealGit
from stretto.workspace import Bays, home_name
from stretto.workspace.port_leases import registry
from tests.support.counts import count
from tests.support.world import ROOT

pytestmark = pytest.mark.faults
HOMES, EACH = 8, 13

MAKER = """
import json, sys
from pathlib import Path
from stretto.git.repository import Repository
from stretto.workspace import Bays
root, home, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
git = Repository.open(root, home)
bays = Bays.open(git, home, {"ports": {"api": 1}})
base = git.resolve("main")
sys.stdin.readline()
made = []
for n in range(count):
    uid = f"plan-abcd/{home.name}-t{n}"
    space = bays.ensure(uid, "task", base, f"stretto/{uid}/work", {})
    made.append([str(space.path), space.branch, space.env["PORT"], space.env["STRETTO_SLOT"]])
    if n % 4 == 3:
        bays.remove(uid, space.path, space.branch, "landed")
        made.pop()
print(json.dumps(made), flush=True)
sys.stdin.readline()
"""


def test_a_hundred_workspaces_by_eight_homes(make_repo, tmp_path: Path) -> None:
    repo = make_repo("repo", {"a.txt": "a\n", "b/c.txt": "c\n"})
    makers = []
    for n in range(HOMES):
        home = tmp_path / f"home{n}"
        home.mkdir(mode=0o700)
        argv = [sys.executable, "-c", MAKER, str(repo.path), str(home), str(EACH)]
        makers.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT))
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    made: list[list[str]] = []
    for maker in makers:
        assert maker.stdout is not None
        made += json.loads(maker.stdout.readline() or "[]")
    kept = HOMES * (EACH - EACH // 4)
    for path, *_ in made:
        count("workspaces held at once by eight homes", path)
    for column in zip(*made, strict=True):
        assert len(column) == len(set(column)) == kept
    mine = [lease for lease in registry().all() if lease.owner.repository == str(repo.path / ".git")]
    assert sorted(lease.slot for lease in mine) == sorted(int(slot) for *_, slot in made)
    assert all(lease.holder.alive() for lease in mine)
    assert set(repo.refs("refs/heads/stretto/")) == {f"refs/heads/{branch}" for _, branch, _, _ in made}
    for maker in makers:
        maker.communicate("over\n")
        assert maker.returncode == 0
    home = tmp_path / "home0"
    bays = Bays.open(RealGit.open(repo.path, home), home, {})
    mine_too = [str(path) for path in bays.leftovers([])]
    assert sorted(mine_too) == sorted(path for path, branch, *_ in made if "/home0-" in branch)
    assert len(bays.layer_leftovers([])) == len([lease for lease in mine if lease.owner.home == home_name(home)])
    repo.git("fsck", "--strict", "--no-dangling")
