"""Rules of the house that no linter knows (DESIGN: safety rules), held against the source tree itself."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stretto import failpoints
from tests.support.world import SOURCES

PACKAGE = SOURCES / "stretto"
SPAWNERS = (
    "process.py",
    "spawn.py",
    "terminal/launch.py",
    "shim/host_system.py",
    "agents/command_pane.py",
    "agents/gemini_bridge.py",  # an agent's process itself: what it starts ends with its session
    "agents/opencode_bridge.py",
    "agents/opencode_pane.py",
    "agents/turn_runner.py",
    "checks/keeper.py",  # a program of its own
    "workspace/sandbox/launch_sandbox.py",
    "workspace/sandbox/launch_limits.py",
    "workspace/sandbox/launch_network.py",
    "testing/",
)
MOVERS = ("files.py", "shim/host_system.py", "workspace/deletion.py")
REMOVERS = ("files.py", "workspace/", "testing/")


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the package; `name` is its path below it."""

    name: str
    text: str
    tree: ast.Module

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call with the dotted name that is called, as it is written."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield dotted(node.func), node

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every imported name, dotted, with its line: `from os import fork` is `os.fork`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@cache
def sources() -> tuple[Source, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "demo" / "sample"):
            continue  # the demo's sample plays a repository of somebody else
        text = path.read_text(encoding="utf-8")
        found.append(Source(path.relative_to(PACKAGE).as_posix(), text, ast.parse(text)))
    return tuple(found)


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def outside(allowed: tuple[str, ...]) -> list[Source]:
    """The files that are not `allowed`: a name, or a folder with a slash at its end."""
    return [
        source
        for source in sources()
        if not any(source.name == place or (place.endswith("/") and source.name.startswith(place)) for place in allowed)
    ]


STARTS = re.compile(
    r"os\.(fork|forkpty|exec[lv]\w*|spawn\w+|posix_spawnp?|system|popen)|asyncio\.create_subprocess_\w+"
)


def test_processes_are_started_in_one_place() -> None:
    found = []
    for source in outside(SPAWNERS):
        for name, line in source.imports():
            if name.partition(".")[0] in {"subprocess", "pty", "multiprocessing"} or STARTS.fullmatch(name):
                found.append(f"{source.name}:{line} imports {name}")
        found += [f"{source.name}:{call.lineno} {name}()" for name, call in source.calls() if STARTS.fullmatch(name)]
    assert found == []


def test_nothing_is_given_to_a_shell() -> None:
    found = [
        f"{source.name}:{call.lineno}"
        for source in sources()
        for _, call in source.calls()
        for keyword in call.keywords
        if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert found == []


def argvs(source: Source) -> Iterator[tuple[list[str], int]]:
    """Every list or tuple that begins with a string: its strings, and its line."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.List | ast.Tuple) and node.elts and is_text(node.elts[0]):
            words = [element.value for element in node.elts if isinstance(element, ast.Constant)]
            yield [word for word in words if isinstance(word, str)], node.lineno


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_only_the_git_package_starts_git() -> None:
    found = [
        f"{source.name}:{line} {words}"
        for source in outside(("git/", "testing/"))
        for words, line in argvs(source)
        if words[0] == "git" or words[0].endswith("/git")
    ]
    assert found == []


def test_git_is_never_told_to_lose_work() -> None:
    fatal = {"stash", "--hard", "-D", "--force-with-lease=", "gc", "prune", "clean"}
    found = [
        f"{source.name}:{line} {words}"
        for source in sources()
        for words, line in argvs(source)
        if fatal & set(words) and (source.name.startswith("git/") or words[0] == "git")
    ]
    assert found == []


def is_path_move(name: str, call: ast.Call) -> bool:
    """`x.rename(y)` and `x.replace(y)` of a path: one argument, where a text's `replace` has two."""
    return name.rpartition(".")[2] in {"rename", "replace"} and len(call.args) == 1 and not call.keywords


def test_durable_files_are_moved_in_one_place() -> None:
    """The deletion of a quarantine moves what is too deep within the tree that it deletes: nothing durable."""
    direct = {"os.rename", "os.renames", "os.replace", "shutil.move"}
    found = [
        f"{source.name}:{call.lineno} {name}()"
        for source in outside(MOVERS)
        for name, call in source.calls()
        if name in direct or is_path_move(name, call)
    ]
    assert found == []


def test_whole_folders_are_removed_where_ownership_is_proven() -> None:
    found = [
        f"{source.name}:{call.lineno} {name}()"
        for source in outside(REMOVERS)
        for name, call in source.calls()
        if name.rpartition(".")[2] in {"rmtree", "removedirs"}
    ]
    assert found == []


def test_a_file_over_600_lines_says_why() -> None:
    long = [source for source in sources() if source.text.count("\n") > 600]
    found = [source.name for source in long if "long because" not in (ast.get_docstring(source.tree) or "").lower()]
    assert found == [], "divide it, or say in its docstring: Long because …"


def test_every_module_says_what_it_is_for() -> None:
    assert [source.name for source in sources() if source.text.strip() and not ast.get_docstring(source.tree)] == []


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes everything and neither uses what it caught nor raises."""
    broad = handler.type is None or dotted(handler.type) in {"Exception", "BaseException"}
    nodes = [node for statement in handler.body for node in ast.walk(statement)]
    raises = any(isinstance(node, ast.Raise) for node in nodes)
    used = handler.name and any(isinstance(node, ast.Name) and node.id == handler.name for node in nodes)
    logged = any(isinstance(node, ast.Attribute) and node.attr == "exception" for node in nodes)
    return broad and not (raises or used or logged)


def test_no_failure_is_swallowed() -> None:
    found = [
        f"{source.name}:{node.lineno}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    ]
    assert found == []


def test_nothing_is_left_for_later() -> None:
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|pragma: no cover")
    found = []
    for source in sources():
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            unfinished = token.type == tokenize.NAME and token.string == "NotImplementedError"
            if unfinished or (token.type == tokenize.COMMENT and word.search(token.string)):
                found.append(f"{source.name}:{token.start[0]}")
    assert found == []


def test_the_core_knows_neither_time_nor_chance_nor_the_world() -> None:
    world = {"os", "io", "time", "random", "secrets", "uuid", "asyncio", "threading", "socket", "sqlite3", "shutil"}
    found = [
        f"{source.name}:{line} imports {name}"
        for source in sources()
        if source.name.startswith("core/")
        for name, line in source.imports()
        if name.partition(".")[0] in world
        or not (name.startswith("stretto.core") or name.partition(".")[0] in sys.stdlib_module_names)
    ]
    assert found == []


def test_asyncio_lives_in_the_engine_and_the_daemon_only() -> None:
    found = [
        f"{source.name}:{line}"
        for source in outside(("engine/", "daemon/", "testing/", "agentapi/server.py"))  # a server on the daemon's loop
        for name, line in source.imports()
        if name.partition(".")[0] == "asyncio"
    ]
    assert found == []


def test_the_shim_stands_alone() -> None:
    parts = [source for source in sources() if re.fullmatch(r"shim/host\w*\.py", source.name)]
    own = {Path(source.name).stem for source in parts}
    assert "host" in own
    own.add("launch_sandbox")  # another program that stands alone, which a shim may be in a fork of itself
    found = [
        f"{source.name}:{line} imports {name}"
        for source in parts
        for name, line in source.imports()
        if not {name.removeprefix("stretto.shim.").partition(".")[0]} & (own | sys.stdlib_module_names)
    ]
    assert found == []


def named_points() -> dict[str, str]:
    """Every literal name that is given to a function called `failpoint` (or `_failpoint`), with its place."""
    found: dict[str, str] = {}
    for source in outside(("failpoints.py",)):
        for name, call in source.calls():
            if name.rpartition(".")[2].lstrip("_") == "failpoint":
                argument = call.args[0]
                place = f"{source.name}:{call.lineno}"
                assert isinstance(argument, ast.Constant), f"{place}: a fail point is named by a literal"
                found[str(argument.value)] = place
    return found


#: calls that make something durable, or start something that outlives the call
DURABLE = re.compile(r"os\.(fsync|replace|rename|link)|.*\.executescript|process\.run|spawn\.detached")
#: git's verbs that change a ref, a registration or somebody's files, by their first words
CHANGING = {
    ("update-ref",),
    ("worktree", "add"),
    ("worktree", "remove"),
    ("read-tree", "-m"),
    ("fetch",),
    ("push",),
}
#: the shim stands alone: what it calls is its own
HOST = "shim/host"
#: functions that need no point of their own, and why
EXEMPT = {
    "files.py:_occupy": "a reserve is only space; it is made again at the next start",
    "workspace/port_leases.py:_connect": "makes tables that are empty; made again at the next use",
    "git/run.py:run": "runs any git; what changes something is found by its words",
    "git/restore.py:export": "lays files out in a new folder for the person; repeated into another one",
    "workspace/deletion.py:_empty": "deletes what was given up; running again continues",
    "shim/host_streams.py:settle": "a gap is told, not synced: its bytes are gone already",
    "shim/host_streams.py:_prune": "the same",
    "shim/host_session.py:note_problem": "says again what every look at in.jsonl says",
    "shim/host_session.py:abandon": "the shim is failing already; the folder's lock tells its death",
    "agents/looks.py:version_of": "asks a program for its version, which changes nothing",
    "store/sqlite.py:_brought_up": "a copy in memory, for one look",
    "agents/looks.py:confines": "asks for a shell that ends at once; what it leaves is a temporary folder",
    "terminal/tmux.py:version": "asks a program for its version, too",
    "workspace/sandbox/probe.py:_try": "a program that does nothing; nobody waits for it after a crash",
    "demo/": "runs public commands",
    "testing/": "belongs to agents",
}


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def called(node: ast.AST) -> set[str]:
    """The last words of all that a function calls."""
    return {dotted(each.func).rpartition(".")[2] for each in ast.walk(node) if isinstance(each, ast.Call)}


def is_durable(node: ast.AST, *, git: bool) -> bool:
    """Whether a function itself makes something durable. `git`: it may start git, so its words count."""
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            words = [arg.value for arg in each.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if DURABLE.fullmatch(dotted(each.func)) or words == ["COMMIT"] or (git and changes(words)):
                return True
        if isinstance(each, ast.List | ast.Tuple):
            words = [str(arg.value) for arg in each.elts if isinstance(arg, ast.Constant)]
            if git and changes(words):
                return True
    return False


def changes(words: list[str]) -> bool:
    return any(tuple(words[: len(verb)]) == verb for verb in CHANGING)


def test_every_durable_step_has_a_fail_point() -> None:
    """A store commit, ref update, rename, spawn or sync without a point, in its function or in all that call it."""
    owned = {f"{source.name}:{node.name}": node for source in sources() for node in functions(source)}
    callers: dict[str, set[str]] = {}
    for place, node in owned.items():
        for name in called(node):
            callers.setdefault(name, set()).add(place)

    def covered(place: str, seen: frozenset[str] = frozenset()) -> bool:
        if place in EXEMPT or place.startswith(tuple(name for name in EXEMPT if name.endswith("/"))):
            return True
        node = owned[place]
        if "failpoint" in called(node):
            return True
        above = callers.get(node.name, set()) - seen - {place}
        above = {each for each in above if each.startswith(HOST) is place.startswith(HOST)}
        if node.name.startswith("_") and not place.startswith(HOST):
            above = {each for each in above if each.partition(":")[0] == place.partition(":")[0]}
        return bool(above) and all(covered(each, seen | {place}) for each in above)

    durable = [place for place, node in owned.items() if is_durable(node, git=place.startswith("git/"))]
    assert len(durable) > 20, "the rule sees nothing"
    assert [place for place in durable if not covered(place)] == []
    unused = [name for name in EXEMPT if not name.endswith("/") and name not in owned]
    assert unused == []


def test_every_fail_point_that_is_passed_is_registered() -> None:
    unknown = {name: place for name, place in named_points().items() if name not in failpoints.POINTS}
    assert unknown == {}


def test_every_registered_fail_point_is_passed_somewhere() -> None:
    passed = named_points()
    assert [name for name in failpoints.POINTS if name not in passed] == []
    assert len(set(failpoints.POINTS)) == len(failpoints.POINTS)
