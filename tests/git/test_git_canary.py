"""Whatever an agent writes into a repository, no function of ours starts it.

Every place where git can be told to start a program holds one that leaves a mark; then every public function is called.
The first test shows that the marks work: git as people use it starts nearly all of them.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from stretto.core.errors import StrettoError, TimedOut
from stretto.git.repository import Repository
from stretto.interfaces import Git

UID = "run-aaaa/task"
BRANCH = f"stretto/{UID}/work"
HOOKS = (
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "pre-push",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "fsmonitor-watchman",
    "post-index-change",
    "reference-transaction",
    "push-to-checkout",
)


class Marks:
    """Programs that leave their name behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fired = folder / "fired"
        self.fired.mkdir(parents=True)

    def program(self, name: str, body: str = "cat") -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\ntouch {self.fired}/{name}\n{body}\n")
        path.chmod(0o755)
        return str(path)

    def names(self) -> set[str]:
        return {path.name for path in self.fired.iterdir()}


def poison(marks: Marks, git_dir: Path, attributes: Path | None = None) -> None:
    """Fill the configuration of one repository."""
    tag = git_dir.parent.name.replace(" ", "-")

    def program(name: str, body: str = "cat") -> str:
        return marks.program(f"{tag}-{name}", body)

    hooks = git_dir / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in HOOKS:
        path = hooks / name
        path.unlink(missing_ok=True)
        path.symlink_to(program(f"hook-{name}", "exit 0"))
    config = {
        "core.fsmonitor": program("fsmonitor", "printf '0\\0/\\0'"),
        "filter.evil.clean": program("clean"),
        "filter.evil.smudge": program("smudge"),
        "filter.evil.required": "true",
        "filter.process.process": program("filter-process"),
        "diff.evil.textconv": program("textconv", 'cat "$1"'),
        "diff.evil.command": program("diff-command"),
        "diff.external": program("diff-external"),
        "merge.evil.driver": program("merge-driver", "exit 0"),
        "merge.default": "evil",
        "core.sshCommand": program("ssh", "exit 1"),
        "core.gitProxy": program("git-proxy", "exit 1"),
        "core.askPass": program("askpass", "echo x"),
        "core.pager": program("pager"),
        "core.editor": program("editor", "exit 0"),
        "sequence.editor": program("sequence-editor", "exit 0"),
        "credential.helper": program("credential", "exit 0"),
        "credential.http://127.0.0.1.helper": program("credential-for-url", "exit 0"),
        "gpg.program": program("gpg", "exit 1"),
        "commit.gpgSign": "true",
        "tag.gpgSign": "true",
        "push.gpgSign": "if-asked",
        "log.showSignature": "true",
        "core.alternateRefsCommand": program("alternate-refs", "exit 0"),
        "remote.origin.uploadpack": program("uploadpack", 'exec git-upload-pack "$@"'),
        "remote.origin.receivepack": program("receivepack", 'exec git-receive-pack "$@"'),
        "uploadpack.packObjectsHook": program("pack-objects", 'exec "$@"'),
        "gc.recentObjectsHook": program("recent-objects", "exit 0"),
        "interactive.diffFilter": program("diff-filter"),
        "alias.status": f"!{program('alias')}",
        "alias.merge-tree": f"!{program('alias-merge-tree')}",
        "submodule.recurse": "true",
        "status.submoduleSummary": "true",
        "fetch.recurseSubmodules": "true",
        "core.untrackedCache": "true",
        "gc.auto": "1",
        "gc.autoDetach": "false",
        "maintenance.auto": "true",
        "protocol.ext.allow": "always",
    }
    with (git_dir / "config").open("a") as file:
        for name, value in config.items():
            section, _, rest = name.partition(".")
            subsection, _, key = rest.rpartition(".")
            header = f'[{section} "{subsection}"]' if subsection else f"[{section}]"
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            file.write(f'{header}\n\t{key} = "{quoted}"\n')
    if attributes is not None:
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_text("* filter=evil diff=evil merge=evil\n*.p filter=process\n")


def nested(person: Any, marks: Marks, path: Path) -> str:
    person.git("init", "-q", str(path))
    commit: str = person.commit("inner", cwd=path, f="1\n", dot_gitattributes="* filter=evil diff=evil\n")
    poison(marks, path / ".git")
    (path / "f").write_text("dirty\n")
    return commit


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks")


KINDS = ["attributes in the tree", "attributes in info", "both"]


@pytest.fixture
def world(person: Any, marks: Marks, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Two branches that conflict, a clean worktree with a recorded nested repository, then everything is poisoned."""
    origin = person.path.parent / "origin.git"
    person.git("clone", "-q", "--bare", ".", str(origin))
    person.git("remote", "add", "origin", str(origin))
    kind = request.param
    tree = kind != "attributes in info"
    first = {"dot_gitattributes": "* filter=evil diff=evil merge=evil\n*.p filter=process\n"} if tree else {}
    inner = nested(person, marks, person.path / "link")
    base = person.commit("base", both="1\n2\n3\n", x__p="1", **first)
    assert inner in person.git("ls-tree", base, "link")
    person.git("checkout", "-q", "-b", "side")
    side = person.commit("side", both="1\n2\nTHREE\n", more="1\n")
    person.git("checkout", "-q", "main")
    main = person.commit("main", both="ONE\n2\n3\n")
    place, gate = person.path.parent / "bays" / "01", person.path.parent / "bays" / "02"
    repository: Repository = person.open()
    repository.add_worktree(place, BRANCH, base, "stretto")
    info = person.path / ".git" / "info" / "attributes"
    poison(marks, person.path / ".git", info if kind != "attributes in the tree" else None)
    nested(person, marks, place / "untracked repo")
    (place / "link").rmdir()
    nested(person, marks, place / "link")
    for at in (place, person.path):
        person.write("new", "1\n", cwd=at)
        person.write("both", "1\n2\n3\nfour\n", cwd=at)
        person.write("y.p", "1\n", cwd=at)
    for path in marks.fired.iterdir():
        path.unlink()
    return {"base": base, "side": side, "main": main, "place": place, "gate": gate}


@pytest.mark.parametrize("world", ["both"], indirect=True)
def test_git_as_people_use_it_starts_them(person: Any, marks: Marks, world: dict[str, Any]) -> None:
    place = world["place"]
    for words in (("status",), ("diff",), ("add", "new"), ("-c", "user.useConfigOnly=false", "commit", "-m", "x")):
        person.git(*words, cwd=place, ok=False)
    person.git("fetch", "origin", ok=False)
    person.git("push", "origin", "side", ok=False)
    person.git("checkout", "-f", "side", cwd=place, ok=False)
    person.git("update-ref", "refs/heads/x", world["base"])
    fired = {name.partition("-")[2] for name in marks.names() if name.startswith("repo-")}
    assert fired >= {"fsmonitor", "clean", "smudge", "hook-reference-transaction", "uploadpack", "receivepack"}
    assert any(name.startswith("link-") for name in marks.names())


def calls(world: dict[str, Any]) -> dict[str, Callable[[Repository], object]]:
    base, side, main, place, gate = (world[name] for name in ("base", "side", "main", "place", "gate"))
    return {
        "resolve": lambda r: r.resolve("side"),
        "tree_of": lambda r: r.tree_of(base),
        "parents": lambda r: r.parents(main),
        "is_ancestor": lambda r: r.is_ancestor(base, side),
        "private": lambda r: r.private(base, side),
        "merge_base": lambda r: r.merge_base(main, side),
        "contains_all": lambda r: r.contains_all(main, [base, side]),
        "count": lambda r: r.count(base, side),
        "commit_time": lambda r: r.commit_time(base),
        "identity": lambda r: r.identity(),
        "read_ref": lambda r: r.read_ref("refs/heads/main"),
        "refs": lambda r: r.refs("refs/"),
        "merge": lambda r: r.merge(main, side),
        "commit": lambda r: r.commit(r.tree_of(base), [base], "x"),
        "patch": lambda r: r.patch(main, side),
        "diff": lambda r: (r.diff(main, side), r.diff(main, side, stat=True, color=True)),
        "changed_paths": lambda r: r.changed_paths(main, side),
        "show": lambda r: r.show(base, "both"),
        "filters": lambda r: r.filters(base),
        "tree_bytes": lambda r: r.tree_bytes(base),
        "current_branch": lambda r: r.current_branch(),
        "checkout_changes": lambda r: r.checkout_changes(),
        "checkout_staged": lambda r: r.checkout_staged(main),
        "worktrees": lambda r: r.worktrees(),
        "holder": lambda r: (r.holder("main"), r.holder(BRANCH)),
        "worktree_state": lambda r: (r.worktree_state(place), r.worktree_state(r.root)),
        "worktree_tree": lambda r: r.worktree_tree(place),
        "side_branches": lambda r: r.side_branches(place),
        "ignored": lambda r: r.ignored(place, ["new"]),
        "matching": lambda r: (r.matching(place, ["*"]), r.matching(r.root, ["*"])),
        "snapshot": lambda r: (r.snapshot(place, UID, "x"), r.snapshot(r.root, "root", "x")),
        "worktree_operation": lambda r: r.worktree_operation(place),
        "export": lambda r: r.export(side, gate.with_name("out")),
        "restore": lambda r: r.restore(place, r.snapshots(UID)[0].commit),
        "snapshots": lambda r: r.snapshots(UID),
        "commit_all": lambda r: r.commit_all(place, BRANCH, "x"),
        "add_worktree": lambda r: (
            r.add_worktree(gate, None, main, "x"),
            r.add_worktree(gate.with_name("03"), "b/x", side, "x"),
        ),
        "turn_worktree": lambda r: r.turn_worktree(gate, "b/turned", main, "x"),
        "switch_worktree": lambda r: r.switch_worktree(gate, side),
        "upstream": lambda r: r.upstream("main"),
        "fetch": lambda r: r.fetch("origin", "main", 30),
        "push": lambda r: r.push("origin", "main", main, r.fetch("origin", "main", 30), 30),
        "update_ref": lambda r: r.update_ref("refs/heads/made", base, None, "x"),
        "delete_ref": lambda r: r.delete_ref("refs/heads/made", base),
        "forget_worktree": lambda r: (gate.rename(gate.with_name("gone")), r.forget_worktree(gate)),
        "make_clone": lambda r: r.make_clone(place, BRANCH, UID),
        "clone": lambda r: (r.clone(place), r.worktree_state(place), r.snapshot(place, UID, "x")),
        "clones": lambda r: r.clones(),
        "put_clone_aside": lambda r: r.put_clone_aside(place, "r000000"),
        "clone_aside": lambda r: r.clone_aside("r000000"),
        "bring_clone_back": lambda r: (r.bring_clone_back(place, "r000000"), r.worktree_state(place)),
        "fast_forward_checkout": lambda r: fast_forward(r, main, side),
        "switch_checkout": lambda r: (r.switch_checkout("b/shared", side), r.switch_checkout(None, base)),
    }


def fast_forward(repository: Repository, main: str, side: str) -> None:
    """The checkout is made clean again by hand, then the target moves underneath it."""
    (repository.root / "new").unlink()
    (repository.root / "y.p").unlink()
    (repository.root / "both").write_text("ONE\n2\n3\n")
    tree = repository.merge(main, side).tree
    landed = repository.commit(tree, [main, side], "land")
    repository.update_ref("refs/heads/main", landed, main, "land")
    repository.fast_forward_checkout("main", main, landed)


@pytest.mark.parametrize("world", KINDS, indirect=True)
def test_nothing_of_ours_starts_them(person: Any, marks: Marks, world: dict[str, Any]) -> None:
    repository = person.open()
    table = calls(world)
    assert set(table) == {name for name, one in vars(Git).items() if inspect.isfunction(one) and name[0] != "_"}
    refused: dict[str, str] = {}
    for name, call in table.items():
        try:
            call(repository)
        except StrettoError as error:
            refused[name] = error.code
        assert (name, marks.names()) == (name, set())
    assert set(refused.items()) <= {("commit_all", "filter")}
    assert repository.worktree_state(world["place"]).nested == ("untracked repo/",)


@contextmanager
def web() -> Iterator[str]:
    """A server that asks everybody for a password."""

    class Ask(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Ask)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/x.git"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("kind", ["http", "ssh", "git", "ext", "helper", "vcs"])
def test_no_remote_starts_them_either(person: Any, marks: Marks, kind: str) -> None:
    person.git("remote", "add", "origin", "x")
    poison(marks, person.path / ".git")
    with web() as address:
        url = {
            "http": address,
            "ssh": "ssh://127.0.0.1:1/x",
            "git": "git://127.0.0.1:1/x",
            "ext": f"ext::{marks.program('ext')} %S",
            "helper": "foo::bar",
            "vcs": "https://127.0.0.1:1/x",
        }[kind]
        person.git("config", "remote.origin.url", url)
        if kind == "vcs":
            person.git("config", "remote.origin.vcs", "foo")
        marks.program("git-remote-foo")
        repository = person.open()
        head = repository.resolve("main")
        for act in (
            lambda: repository.fetch("origin", "main", 10),
            lambda: repository.push("origin", "main", str(head), None, 10),
        ):
            with pytest.raises((StrettoError, TimedOut)):
                act()
    assert marks.names() == set()
