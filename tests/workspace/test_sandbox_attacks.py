"""What an agent in a sandbox cannot do: every attack for real, with bubblewrap, as root and as a user without rights.

Each attack that keeps to the test's own folders is also made without the sandbox, where it must succeed: so it is one.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import WORLD
from tests.support.arena import PYTHON, Arena, users
from tests.support.waiting import wait_for


@dataclass(frozen=True)
class Attack:
    """`script` for /bin/sh. `system`: it would touch the machine itself, so it is never made without the sandbox."""

    name: str
    script: str
    system: bool = False


def python(text: str) -> str:
    return f"{PYTHON} -c '{text}'"


def connect(family: str, address: str, send: str = "") -> str:
    return python(
        f"import os,socket;s=socket.socket(socket.{family});s.settimeout(3);s.connect({address});print(s.recv(100))"
    )


CONFIG = 'printf "[core]\\n\\tfsmonitor = /bin/true\\n"'

ATTACKS = [
    # files of the person and of stretto
    Attack("read an ssh key", 'cat "$PERSON/.ssh/id_rsa"'),
    Attack("read every file of the home folder", 'find "$PERSON" -type f -exec cat {} +'),
    Attack("write into the home folder", 'mkdir -p "$PERSON/.ssh"; echo key >> "$PERSON/.ssh/authorized_keys"'),
    Attack("read through a symbolic link", 'ln -s "$PERSON/.ssh/id_rsa" link; cat link'),
    Attack("read through a hard link", 'ln "$FOLDER/elsewhere.txt" hard; cat hard'),
    Attack("read a file elsewhere", 'cat "$FOLDER/elsewhere.txt"'),
    Attack("write a file elsewhere", 'echo x > "$FOLDER/new.txt"'),
    Attack("read what is uncommitted in the checkout", 'cat "$ROOT/uncommitted.txt"'),
    Attack("write into the checkout", 'echo x >> "$ROOT/README.md"'),
    Attack("replace the checkout", 'mv "$ROOT" "$ROOT.old"; mkdir "$ROOT"'),
    Attack("read stretto's token and database", 'cat "$STRETTO/token" "$STRETTO/stretto.db"'),
    Attack("read another session", 'cat "$STRETTO/sessions/other/spec.json"'),
    Attack("write into its own session", 'echo "{}" > "$STRETTO/sessions/mine/spec.json"'),
    Attack("write the system", "for d in usr etc bin; do touch /$d/stretto-was-here; done", system=True),
    Attack("read the shadow file", f'cat /etc/shadow && cp /etc/shadow {"$FOLDER/x"}', system=True),
    # another task
    Attack("read another worktree", 'cat "$VICTIM/secret.txt"'),
    Attack("write into another worktree", 'echo x > "$VICTIM/x"'),
    Attack("write another worktree's registration", 'echo "ref: refs/heads/main" > "$VICTIM_ADMIN/HEAD"'),
    Attack("move another worktree's registration", 'mv "$VICTIM_ADMIN" "$VICTIM_ADMIN.x"'),
    Attack("remove another worktree", 'git worktree remove --force --force "$VICTIM"'),
    Attack("unlock another worktree and prune", 'git worktree unlock "$VICTIM"; rm -rf "$VICTIM"; git worktree prune'),
    # what git runs, and where it looks
    Attack("write a hook", 'echo "#!/bin/sh" > "$C/hooks/post-commit"; chmod +x "$C/hooks/post-commit"'),
    Attack("replace the hooks", 'mv "$C/hooks" "$C/h"; mkdir "$C/hooks"'),
    Attack("configure fsmonitor", "git config core.fsmonitor /bin/true"),
    Attack("configure hooksPath", 'git config core.hooksPath "$WT/hooks"'),
    Attack("append to the configuration", f'{CONFIG} >> "$C/config"'),
    Attack("rename the configuration", f'mv "$C/config" "$C/config.old"; {CONFIG} > "$C/config"'),
    Attack("configure the worktree", "git config --worktree core.fsmonitor /bin/true"),
    Attack("write the worktree's configuration", f'{CONFIG} > "$ADMIN/config.worktree"'),
    Attack("replace the worktree's configuration", f'rm -f "$ADMIN/config.worktree"; {CONFIG} > "$ADMIN/config.worktree"'),
    Attack("point commondir elsewhere", 'echo "$WT/evil" > "$ADMIN/commondir"'),
    Attack("replace commondir", 'mv "$ADMIN/commondir" "$ADMIN/c"; echo "$WT/evil" > "$ADMIN/commondir"'),
    Attack("point gitdir elsewhere", 'echo "$VICTIM/.git" > "$ADMIN/gitdir"'),
    Attack("unlock its own worktree", 'git worktree unlock "$WT"'),
    Attack("write .git", 'echo "gitdir: $WT/evil" > "$WT/.git"'),
    Attack("move .git away", 'mv "$WT/.git" "$WT/g"; mkdir "$WT/.git"'),
    Attack("delete .git", 'rm -f "$WT/.git"; cp -r "$ADMIN" "$WT/.git"'),
    Attack("replace its worktree", 'cd /; mv "$WT" "$WT.x"; mkdir "$WT"'),
    Attack("replace its registration", 'mv "$ADMIN" "$ADMIN.x"; cp -a "$ADMIN.x" "$ADMIN"; echo x > "$ADMIN/commondir"'),
    Attack("replace the common directory", 'mv "$C" "$C.x"; cp -a "$C.x" "$C"'),
    Attack("name a filter for everybody", 'echo "* filter=evil" > "$C/info/attributes"'),
    Attack("change what is ignored", 'echo "*" > "$C/info/exclude"'),
    Attack("borrow objects from elsewhere", 'echo "$WT/evil" > "$C/objects/info/alternates"'),
    Attack("delete packs", 'rm -f "$C"/objects/pack/*.pack'),
    Attack("write packs", 'touch "$C/objects/pack/evil.pack"'),
    Attack("collect garbage", "git gc -q --prune=now"),
    Attack("hold stretto's lock", 'cat "$C/stretto.lock"'),
    # refs
    Attack("move the target", "git update-ref refs/heads/main HEAD~1"),
    Attack("write the target's ref", 'git rev-parse HEAD~1 > "$C/refs/heads/main"'),
    Attack("delete the target", "git update-ref -d refs/heads/main"),
    Attack("move another task's branch", "git update-ref refs/heads/stretto/run/victim/work HEAD~1"),
    Attack("delete another task's branch", "git branch -D -f stretto/run/victim/work; git update-ref -d refs/heads/stretto/run/victim/work"),
    Attack("delete a kept ref", "git update-ref -d refs/stretto/keep/run/mine/head"),
    Attack("make a tag", "git tag evil"),
    Attack("make a branch elsewhere", "git branch evil"),
    Attack("pack the refs", "git pack-refs --all --prune"),
    Attack("delete packed refs", 'rm -f "$C/packed-refs"; echo x > "$C/packed-refs"'),
    Attack("move its folder of refs", 'mv "$C/refs/heads/stretto/run/mine" "$C/refs/heads/stretto/run/mine2"'),
    Attack("lead its folder of refs elsewhere", 'rm -rf "$C/refs/heads/stretto/run/mine"; ln -s ../.. "$C/refs/heads/stretto/run/mine"'),
    Attack("write HEAD of the checkout", 'echo "ref: refs/heads/evil" > "$C/HEAD"'),
    Attack("delete the index of the checkout", 'rm -f "$C/index"'),
    Attack("delete reflogs", 'rm -rf "$C/logs/HEAD" "$C/logs/refs/heads/main"'),
    Attack("stash for everybody", "echo x >> README.md; git stash"),
    # processes
    Attack("kill a process outside", 'kill -9 "$PID"; sleep 0.2'),
    Attack("kill everything", "kill -9 -1", system=True),
    Attack("read a process's environment", 'cat "/proc/$PID/environ"'),
    Attack("read every process's environment", "cat /proc/[0-9]*/environ"),
    Attack("read through the root of process 1", 'cat "/proc/1/root/$PERSON/.ssh/id_rsa" "/proc/$PPID/root/$PERSON/.netrc"'),
    Attack("trace a process outside", python(
        'import ctypes,os;l=ctypes.CDLL(None,use_errno=True);p=int(os.environ["PID"]);'
        'r=l.ptrace(16,p,0,0);os.waitpid(p,0) if r==0 else None;l.kill(p,9) if r==0 else None;l.ptrace(17,p,0,0)'
    ) + '; sleep 0.2'),
    Attack("write a kernel setting", 'f=/proc/sys/vm/overcommit_memory; v=$(cat $f); echo $v > $f && touch "$FOLDER/x"', system=True),
    Attack("open a disk", 'ls /dev/vda /dev/sda /dev/mem /dev/kmsg && touch "$FOLDER/x"', system=True),
    Attack("make a device", 'mknod "$WT/disk" b 254 0 && cat "$WT/disk" | head -c 10', system=True),
    Attack("mount over the configuration", 'mount --bind "$WT/own.txt" "$C/config"; echo x >> "$C/config"', system=True),
    Attack("unmount what is read-only", 'umount "$C/config" "$WT/.git" "$C"; echo x > "$WT/.git"', system=True),
    Attack("mount again, writable", 'mount -o remount,rw,bind "$C"; echo x >> "$C/config"', system=True),
    Attack("the same from a user namespace of its own", (
        'unshare -Urm sh -c \'umount -l "$C"; umount "$WT/.git"; mount -o remount,rw,bind "$C"; echo x >> "$C/config"; '
        'echo x > "$WT/.git"; cat "$PERSON/.ssh/id_rsa"\''
    ), system=True),
    Attack("leave by chroot", 'cd /; unshare -Ur chroot / sh -c \'cat "$PERSON/.netrc"; echo x >> "$C/config"\'', system=True),
    # network
    Attack("another task's port", connect("AF_INET", '("127.0.0.1",int(os.environ["TCP"]))')),
    Attack("another task's port by IPv6", connect("AF_INET6", '("::1",int(os.environ["TCP6"]))')),
    Attack("send by UDP", python(
        'import os,socket;s=socket.socket(type=socket.SOCK_DGRAM);s.sendto(b"x",("127.0.0.1",int(os.environ["UDP"])))'
    ) + '; sleep 0.2'),
    Attack("an abstract socket", connect("AF_UNIX", '"\\0"+os.environ["ABSTRACT"]')),
    Attack("the daemon's socket", connect("AF_UNIX", 'os.environ["STRETTO"]+"/daemon.sock"')),
    Attack("another session's socket", connect("AF_UNIX", 'os.environ["STRETTO"]+"/sessions/other/agent.sock"')),
    Attack("another task's database", connect("AF_UNIX", 'os.environ["FOLDER"]+"/pg.sock"')),
]  # fmt: skip


def fresh(user: int | None) -> Arena:
    folder = WORLD.folder / f"a{secrets.token_hex(3)}"
    folder.mkdir()
    return Arena(folder, user)


@pytest.fixture(scope="module", params=users(), ids=lambda user: "unprivileged" if user else "as we are")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    made = fresh(request.param)
    yield made
    made.close()


@pytest.fixture(params=users(), ids=lambda user: "unprivileged" if user else "as we are")
def own_arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    """One in which no attack has deleted the task's own branch, as it may."""
    made = fresh(request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def open_arena() -> Iterator[Arena]:
    made = fresh(None)
    made.keep()
    yield made
    made.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_sandbox_holds(arena: Arena, attack: Attack) -> None:
    done = arena.inside(f"echo begun; {attack.script}")
    assert arena.reached(done) == []
    assert done.stdout.startswith("begun")


@pytest.mark.parametrize("attack", [a for a in ATTACKS if not a.system], ids=lambda attack: attack.name)
def test_without_it_the_attack_succeeds(open_arena: Arena, attack: Attack) -> None:
    done = open_arena.bare(attack.script)
    try:
        assert open_arena.reached(done) != [], done.stderr
    finally:
        open_arena.restore()


def test_what_an_agent_does_with_git_works(own_arena: Arena) -> None:
    own, common = "refs/heads/stretto/run/mine", own_arena.common
    own_arena.git("pack-refs", "--all", "--prune")  # what the person's own git may do at any time
    own_arena.give_away()
    script = """set -ex
    git status; git log --oneline -3 main; git diff main HEAD; git branch -a
    echo mine > both.txt; git add -A; git commit -qm "by the agent"; git commit -q --amend -m "again"
    git switch -q -c stretto/run/mine/side HEAD~1; echo side > side.txt; git add -A; git commit -qm side
    git switch -q stretto/run/mine/work; git merge -q --no-edit stretto/run/mine/side
    git rebase -q --onto main HEAD~1
    git switch -q -c stretto/run/mine/other HEAD~1; echo other > both.txt; git commit -qam other
    git switch -q stretto/run/mine/work; echo own > both.txt; git commit -qam own
    ! git rebase -q stretto/run/mine/other; echo both > both.txt; git add -A
    GIT_EDITOR=true git rebase --continue; test ! -e "$ADMIN/rebase-merge"
    rm "$ADMIN/CHERRY_PICK_HEAD"  # the limit that docs/guide/sandbox.md names
    git switch -q -c stretto/run/mine/three main; echo three > three.txt; git add -A; git commit -qm three
    git switch -q stretto/run/mine/work; git merge -q --no-edit stretto/run/mine/three
    git reset -q --soft HEAD~1; git commit -qm "last"; git restore both.txt; test -z "$(git status --porcelain)"
    """
    before = own_arena.git("rev-parse", "main")
    done = own_arena.inside(script)
    assert done.returncode == 0, done.stderr
    assert own_arena.git("log", "-1", "--format=%s", "stretto/run/mine/work") == "last"
    assert (common / own / "work").exists()
    assert own_arena.git("rev-parse", "main") == before
    assert "three.txt" in own_arena.git("ls-tree", "--name-only", "stretto/run/mine/work")
    own_arena.git("fsck", "--strict")


def test_what_does_not_work_inside_loses_nothing(own_arena: Arena) -> None:
    done = own_arena.inside(
        "echo more >> both.txt; git stash; git branch -D stretto/run/mine/work; cat both.txt; git checkout ."
    )
    assert "more" in done.stdout
    assert "Cannot save" in done.stderr
    assert own_arena.git("rev-parse", "stretto/run/mine/work")


@pytest.mark.parametrize("how", ["it ends", "its launcher is killed", "everything gets TERM"])
def test_nothing_is_left_behind(arena: Arena, how: str) -> None:
    """A process that leaves its parent, its session and its environment behind ends with the sandbox."""
    seconds = 100000 + secrets.randbelow(100000)
    hide = f"setsid env -i /bin/sh -c 'trap \"\" TERM HUP; /bin/sleep {seconds} & wait' >/dev/null 2>&1 &"
    started = arena.start(f"{hide}\necho begun; {'sleep 0.1' if how == 'it ends' else 'sleep 60'}")
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    if how != "it ends":
        wait_for(lambda: sleeping(seconds))
    if how == "its launcher is killed":
        started.kill()
    elif how == "everything gets TERM":
        os.killpg(started.pid, signal.SIGTERM)
    started.wait(30)
    wait_for(lambda: not sleeping(seconds))
    started.stdout.close()


def sleeping(seconds: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes().rstrip(b"\0").endswith(f"sleep\0{seconds}".encode()):
                found.append(path.parent.name)
    return found
