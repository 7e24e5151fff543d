"""Docker Compose in many workspaces at once: what a project fixes for the whole machine, said anew for each of them.

`COMPOSE_PROJECT_NAME` tells containers, networks and volumes apart; it does not help where a file fixes a port of the
host, the name of a container, or the name of a volume or network. For these a file of overrides is written.

Specification.
- The files are those that Compose itself would find in the root of the worktree, or those that its `.env` names in
  COMPOSE_FILE. They are only read, as plain text of YAML: no tag means anything, a link is not followed.
- The overrides lie outside of the worktree, in `<bays>/.stretto/compose/<key>.yaml`, and are written again whenever
  files or ports have changed. COMPOSE_FILE names the project's files and then this one. A workspace for which the
  configuration sets COMPOSE_FILE itself is left alone.
- Fixed host ports become the last ports of the block that no name of `[workspace.ports]` has, in the order of their
  numbers, so that equal files give equal ports. For more than there are Docker chooses one.
- What is not mapped is told: host networks, what lies outside (`external`), included files, ports that a variable says.
- Lists of ports are replaced, not added to (`!override`, Compose 2.24 and newer).

Accepted race: files that change between two looks are overridden as they were.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stretto import files
from stretto.workspace import port_leases
from stretto.workspace.folder import Folder
from stretto.workspace.layers import Data, Held, Leftover, Place, key_of
from stretto.workspace.ports import BROWSER

#: the names that Compose looks for, in its order; and those of the overrides that it adds by itself
BASES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = tuple(f"{name}.override.{end}" for name in ("compose", "docker-compose") for end in ("yml", "yaml"))
#: bytes of a file that are read
_MOST = 1 << 20
FILE = "COMPOSE_FILE"
#: a port or a range of them, the last port that there is, and how many of a range are looked at
_PORTS, _LAST, _MOST = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?"), 65535, 1000
_SHORT = re.compile(
    r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[\d.]+):)?(?P<published>\d+(?:-\d+)?):(?P<target>\d+(?:-\d+)?)(?P<rest>/\w+)?"
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a project's files ask for. `ports`: host port -> what it becomes (None: Docker chooses)."""

    services: Mapping[str, Json] = field(default_factory=dict)
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ports: Mapping[int, int | None] = field(default_factory=dict)
    told: tuple[str, ...] = ()


def plan(documents: Sequence[Mapping[str, Any]], free: Sequence[int], project: str) -> Plan:
    """What must be said anew for a workspace with these free ports. Pure.

    >>> made = plan([{"services": {"web": {"ports": ["8080:80"], "container_name": "shop"}}}], [20037, 20036], "p-01")
    >>> made.services["web"]
    {'ports': ['20037:80'], 'container_name': 'p-01-shop'}
    """
    told: list[str] = []
    services: dict[str, Json] = {}
    for document in documents:
        if "include" in document or any("extends" in one for one in _entries(document, "services").values()):
            told.append("files that it includes or extends are not looked at")
        for name, service in _entries(document, "services").items():
            known = services.setdefault(name, {"ports": []})
            known["ports"] += _list(service.get("ports"))
            known |= {key: service[key] for key in ("container_name", "network_mode") if key in service}
    wanted = sorted({port for service in services.values() for entry in service["ports"] for port in _published(entry)})
    last: list[int | None] = [*sorted(free[: len(wanted)])]
    given = dict(zip(wanted, last + [None] * len(wanted), strict=False))
    if len(wanted) > len(free):
        told.append(f"{len(wanted) - len(free)} of its ports find no place in the block: Docker chooses them")
    return Plan(
        {name: said for name, one in services.items() if (said := _service(name, one, given, project, told))},
        {kind: named for kind in ("volumes", "networks") if (named := _named(documents, kind, project, told))},
        given,
        tuple(dict.fromkeys(told)),
    )


def _service(name: str, given: Json, ports: Mapping[int, int | None], project: str, told: list[str]) -> Json:
    """What is said anew for one service; nothing if it fixes nothing."""
    said: Json = {}
    if any(_published(entry) for entry in given["ports"]):
        said["ports"] = [_moved(entry, ports) for entry in given["ports"]]
    told += [f"service {name}: the port {entry!r} is left as it is" for entry in given["ports"] if _unread(entry)]
    if isinstance(given.get("container_name"), str):
        said["container_name"] = f"{project}-{given['container_name']}"
    if given.get("network_mode") == "host":
        told.append(f"service {name} uses the network of the host: its ports are those of the machine")
    return said


def _named(documents: Sequence[Mapping[str, Any]], kind: str, project: str, told: list[str]) -> dict[str, str]:
    """Volumes or networks with a name of their own for the whole machine."""
    found: dict[str, str] = {}
    for document in documents:
        for name, one in _entries(document, kind).items():
            if str(one.get("external", "false")).lower() != "false":
                told.append(f"{kind.removesuffix('s')} {name} lies outside of the project: all workspaces share it")
            elif isinstance(one.get("name"), str):
                found[name] = f"{project}-{one['name']}"
    return found


def _entries(document: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    whole = document.get(kind)
    entries = whole.items() if isinstance(whole, Mapping) else ()
    return {str(name): _merged(one) for name, one in entries if isinstance(one, Mapping)}


def _merged(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry with what its merge key (`<<`) brings in."""
    brought = entry.get("<<")
    found: dict[str, Any] = {}
    for one in reversed(brought if isinstance(brought, list) else [brought]):
        if isinstance(one, Mapping) and one is not entry:
            found |= {key: value for key, value in one.items() if key != "<<"}
    return {**found, **{key: value for key, value in entry.items() if key != "<<"}}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _published(entry: Any) -> list[int]:
    """The host ports that an entry of `ports` fixes."""
    if isinstance(entry, Mapping):
        said = entry.get("published", "")
        return _range(str(said)) if isinstance(said, str | int) else []
    match = _SHORT.fullmatch(str(entry)) if isinstance(entry, str | int) else None
    return _range(match["published"]) if match else []


def _unread(entry: Any) -> bool:
    """Whether an entry says a host port in a way that is not understood."""
    said = entry.get("published") if isinstance(entry, Mapping) else entry
    return isinstance(said, str) and "$" in said and not _published(entry)


def _range(text: str) -> list[int]:
    """The ports of `8080` or `8080-8090`; none for what is no port, however long: anybody may write it."""
    match = _PORTS.fullmatch(text)
    return [] if match is None else list(range(int(match[1]), min(int(match[2] or match[1]), _LAST) + 1))[:_MOST]


def _moved(entry: Any, ports: Mapping[int, int | None]) -> Any:
    """An entry of `ports` with its host ports moved; a range whose ports do not stay together is left to Docker."""
    old = _published(entry)
    new = [ports.get(port) for port in old]
    if isinstance(entry, Mapping):
        kept = {key: value for key, value in entry.items() if key != "published"}
        return {**kept, "published": _text(new)} if old and _text(new) else kept
    match = _SHORT.fullmatch(str(entry)) if isinstance(entry, str | int) else None
    if match is None:
        return entry
    host = f"{match['host']}:" if match["host"] else ""
    published = _text(new)
    target = f"{match['target']}{match['rest'] or ''}"
    return f"{host}{published}:{target}" if published else f"{host}:{target}" if host else target


def _text(ports: Sequence[int | None]) -> str:
    """Ports as one word: `20037`, `20030-20032`; nothing if they are not there or not in a row."""
    if not ports or None in ports:
        return ""
    known = [port for port in ports if port is not None]
    if known != list(range(known[0], known[0] + len(known))):
        return ""
    return str(known[0]) if len(known) == 1 else f"{known[0]}-{known[-1]}"


def rendered(made: Plan) -> str:
    """The file of overrides. JSON is YAML, but for the tag that says that a list is replaced."""
    lines = ["# written by stretto for one workspace; it comes after the project's own files"]
    lines += [f"# {' '.join(told.split())}" for told in made.told]
    if made.services:
        lines.append("services:")
    for name, service in made.services.items():
        lines.append(f"  {json.dumps(name)}:")
        for key, value in service.items():
            tag = "!override " if isinstance(value, list) else ""
            lines.append(f"    {key}: {tag}{json.dumps(value)}")
    for kind, named in made.names.items():
        lines.append(f"{kind}:")
        lines += [f"  {json.dumps(name)}: {json.dumps({'name': said})}" for name, said in named.items()]
    return "\n".join(lines) + ("\n" if made.services or made.names else "\nservices: {}\n")


# ---------------------------------------------------------------- the files of a worktree


def readable() -> bool:
    """Whether this machine can read such files."""
    return find_spec("yaml") is not None


def project_files(tree: Path) -> list[Path]:
    """The files that Compose would use in this worktree, in their order; none if there is no project."""
    named = _from_env_file(tree)
    if named:
        inside = [tree / name for name in named if files.within(tree, tree / name)]
        return [path for path in inside if _is_file(path)]
    base = next((tree / name for name in BASES if _is_file(tree / name)), None)
    return [] if base is None else [base, *(tree / name for name in OVERRIDES if _is_file(tree / name))][:2]


def _from_env_file(tree: Path) -> list[str]:
    text = _read(tree / ".env") if _is_file(tree / ".env") else ""
    match = re.search(rf"^{FILE}=[\"']?([^\"'\n]+)", text, re.MULTILINE)
    return [name for name in match[1].strip().split(os.pathsep) if name] if match else []


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _read(path: Path) -> str:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            return file.read(_MOST).decode("utf-8", "replace")
    return ""


def parsed(texts: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """The documents of these texts, every scalar a text; what cannot be read is left out."""
    import yaml

    for text in texts:
        with suppress(yaml.YAMLError, RecursionError):
            document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes texts, lists and mappings only
            if isinstance(document, Mapping):
                yield document


def notices(texts: Mapping[str, str], named: Iterable[int]) -> list[str]:
    """What the person should know before a run: what stays shared, or that nothing can be read here."""
    if not texts:
        return []
    if not readable():
        return [f"{next(iter(texts))} is left as it is: its fixed ports need PyYAML (pip install 'stretto[compose]')"]
    made = plan(list(parsed(texts.values())), _free(0, named), "project")
    return [f"{', '.join(texts)}: {told}" for told in made.told]


def _free(slot: int, named: Iterable[int]) -> list[int]:
    """Ports of a block that nothing else uses, the last first."""
    block = port_leases.block(slot)
    taken = {0, *named}
    return [block[place] for place in range(BROWSER - 1, 0, -1) if place not in taken]


class Compose:
    """The layer `compose`. `named`: places of the block that have a name, `own`: variables that the person sets."""

    name = "compose"

    def __init__(self, folder: Folder, named: Iterable[int], own: Iterable[str]) -> None:
        self._folder = folder.path / ".stretto" / "compose"
        self._named = tuple(named)
        self._off = FILE in own

    def variables(self) -> frozenset[str]:
        """None that everybody gets."""
        return frozenset()

    def wanted(self, place: Place) -> bool:
        """Where there is a project, and this machine can read it."""
        return not self._off and readable() and bool(project_files(place.path))

    def take(self, place: Place, recorded: Data) -> Held:
        """Write the overrides as files and ports are now."""
        env = place.environment
        data: Data = {"slot": int(env["STRETTO_SLOT"]), "project": env["COMPOSE_PROJECT_NAME"]}
        data |= self.follow(place, data)
        return Held(self.values(place, data), data)

    def follow(self, place: Place, data: Data) -> Data:
        """Write them again if the files have changed; the project's files."""
        found = project_files(place.path)
        made = plan(list(parsed(map(_read, found))), _free(int(data["slot"]), self._named), str(data["project"]))
        text = rendered(made).encode()
        path = self._path(place)
        files.make_private_dir(self._folder)
        if not _is_file(path) or path.read_bytes() != text:
            files.replace(path, text)
        return {"files": [str(one) for one in found]}

    def values(self, place: Place, data: Data) -> Mapping[str, str]:
        """The project's files, then the overrides."""
        return {FILE: os.pathsep.join([*data.get("files", ()), str(self._path(place))])}

    def give(self, place: Place, data: Data) -> None:
        """Nothing in it is the person's: it is written anew when it comes back."""
        self._path(place).unlink(missing_ok=True)

    def back(self, place: Place, data: Data) -> Held:
        """The worktree is not there yet: the file is written when somebody next wants to work in it."""
        env = place.environment
        known: Data = {**data, "slot": int(env["STRETTO_SLOT"]), "project": env["COMPOSE_PROJECT_NAME"]}
        return Held(self.values(place, known), known)

    def purge(self, place: Place, data: Data) -> None:
        """There is nothing left to end."""

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """A file of overrides without a workspace is no harm."""
        return []

    def _path(self, place: Place) -> Path:
        return self._folder / f"{key_of(place)}.yaml"
