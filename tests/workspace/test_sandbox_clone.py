"""The same attacks where the agent's git works in a clone of its own, and those that only a clone makes possible.

There it may do with refs, stash and index what it likes: nothing of that is the person's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.conftest import WORLD
from tests.support.arena import SECRET, Arena, users
from tests.workspace.test_sandbox_attacks import ATTACKS, CONFIG, Attack

#: `G` is the clone's git directory
OF_A_CLONE = [
    Attack("append to the clone's configuration", f'{CONFIG} >> "$G/config"'),
    Attack("replace the clone's configuration", f'mv "$G/config" "$G/c"; {CONFIG} > "$G/config"'),
    Attack("write a hook of the clone", 'echo "#!/bin/sh" > "$G/hooks/post-checkout"'),
    Attack("replace the clone's hooks", 'mv "$G/hooks" "$G/h"; mkdir "$G/hooks"; touch "$G/hooks/x"'),
    Attack("let the clone borrow from elsewhere", 'echo "$WT/evil" > "$G/objects/info/alternates"'),
    Attack(
        "replace the folder that says from where it borrows",
        'mv "$G/objects" "$G/o"; mkdir -p "$G/objects/info"; echo "$WT/evil" > "$G/objects/info/alternates"',
    ),
    Attack("replace the clone", 'cd /; mv "$G" "$G.x"; cp -a "$G.x" "$G"; echo x > "$G/config"'),
    Attack("delete loose objects of the repository", 'rm -rf "$C"/objects/[0-9a-f][0-9a-f]; touch "$C/objects/x"'),
    Attack("write what it is said to have done last", 'echo "{}" > "$G/../state.json"'),
    Attack("lead .git elsewhere from outside of the worktree", 'echo "gitdir: $WT/evil" > "$G/../pointer"'),
    Attack("read another branch's reflog", f'echo {SECRET[:3]}; cat "$C/logs/refs/heads/main" > "$FOLDER/x"'),
]


def fresh(user: int | None) -> Arena:
    folder = WORLD.folder / f"c{secrets.token_hex(3)}"
    folder.mkdir()
    return Arena(folder, user, clone=True)


@pytest.fixture(scope="module", params=users(), ids=lambda user: "unprivileged" if user else "as we are")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    made = fresh(request.param)
    yield made
    made.close()


@pytest.fixture(params=users(), ids=lambda user: "unprivileged" if user else "as we are")
def own_arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    made = fresh(request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def open_arena() -> Iterator[Arena]:
    made = fresh(None)
    made.keep()
    yield made
    made.close()


@pytest.mark.parametrize("attack", [*ATTACKS, *OF_A_CLONE], ids=lambda attack: attack.name)
def test_the_sandbox_holds(arena: Arena, attack: Attack) -> None:
    done = arena.inside(f"echo begun; {attack.script}")
    assert arena.reached(done) == []
    assert done.stdout.startswith("begun")


@pytest.mark.parametrize("attack", OF_A_CLONE, ids=lambda attack: attack.name)
def test_without_it_the_attack_succeeds(open_arena: Arena, attack: Attack) -> None:
    done = open_arena.bare(attack.script)
    try:
        assert open_arena.reached(done) != [], done.stderr
    finally:
        open_arena.restore()


def test_what_an_agent_does_with_git_works_and_comes_over(own_arena: Arena) -> None:
    base = own_arena.git("rev-parse", "main")
    script = f"""set -ex
    test "$(git branch --format='%(refname:short)')" = stretto/run/mine/work
    echo mine > both.txt; git add -A; git commit -qm "by the agent"; git commit -q --amend -m "again"
    git switch -q -c stretto/run/mine/side HEAD~1; echo side > side.txt; git add -A; git commit -qm side
    git switch -q stretto/run/mine/work; git merge -q --no-edit stretto/run/mine/side
    git rebase -q --onto {base} HEAD~1
    git switch -q -c stretto/run/mine/other HEAD~1; echo other > both.txt; git commit -qam other
    git switch -q stretto/run/mine/work; echo own > both.txt; git commit -qam own
    ! git rebase -q stretto/run/mine/other; echo both > both.txt; git add -A; GIT_EDITOR=true git rebase --continue
    test ! -e "$(git rev-parse --git-path CHERRY_PICK_HEAD)"
    echo later > both.txt; git stash -q; test -z "$(git status --porcelain)"; git stash pop -q
    git commit -qam "last"; git branch -q -D stretto/run/mine/other; git bisect start; git bisect reset
    git gc -q --prune=now; git fsck --strict; test -z "$(git status --porcelain)"
    """
    done = own_arena.inside(script)
    assert done.returncode == 0, done.stderr
    own_arena.take_back()
    state = own_arena.repository().worktree_state(own_arena.mine)
    assert (state.branch, state.changed, state.operation) == ("stretto/run/mine/work", (), None)
    assert own_arena.git("log", "-1", "--format=%s", "stretto/run/mine/work") == "last"
    assert own_arena.git("rev-parse", "main") == base
    assert own_arena.git("status", "--porcelain", cwd=own_arena.mine) == ""
    own_arena.git("fsck", "--strict")


def test_what_it_does_to_the_clone_starts_nothing_outside(own_arena: Arena) -> None:
    """It is the person who looks into the worktree with their own git, and the daemon."""
    script = """mkdir -p evil/hooks evil/objects evil/refs
    printf '[core]\n\tfsmonitor = touch "%s/fired"\n' "$WT" > evil/config; cp evil/config "$G/config.worktree"
    echo "ref: refs/heads/x" > evil/HEAD; echo "$WT/evil" > "$G/commondir"; echo "$WT/evil" > evil/objects/info
    """
    own_arena.inside(script)
    assert (own_arena.mine / "evil" / "config").exists()
    own_arena.take_back()
    own_arena.git("status", cwd=own_arena.mine)
    own_arena.git("-c", "diff.ignoreSubmodules=all", "diff", cwd=own_arena.mine)
    own_arena.repository().snapshot(own_arena.mine, "run-abcd/mine", "x")
    assert not (own_arena.mine / "fired").exists()
