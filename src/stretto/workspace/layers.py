"""What a workspace holds besides its worktree: ports, a database, a browser profile … as steps of one transaction.

Specification.
- A layer is one idempotent step. Steps are taken in the order of the stack, each written into the bay's marker before
  (`taking`) and after (`taken`, with the layer's data). Taking again what was taken finds it, or makes it again.
- A bay is handed out only when all its layers are taken. A failure while it is made undoes the steps in reverse; a
  crash leaves the marker, and the next `ensure` of the owner goes on where it stopped.
- A removal gives the layers in reverse (`given`), reversibly; `undo` brings them back in order, `purge` ends them.
  A removal whose layer cannot be given now stays `removing` and is completed later: its owner gets no other workspace
  meanwhile. An undo whose layer does not come back is taken back whole.
- `data` is what a layer needs to find again what it holds: JSON, without secrets. It is empty when a crash came before
  it was written; the layer then finds what it holds by the place (home, repository, owner and purpose name it).
- What was recorded by a layer that is no longer configured is given, brought back and purged all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from stretto.core.errors import StrettoError
from stretto.failpoints import failpoint
from stretto.workspace.journal import GIVEN, TAKEN, TAKING, Bay

Data = dict[str, Any]
#: writes what is known of the layers, and is on disk when it returns
Put = Callable[[Mapping[str, Mapping[str, Any]]], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Whose workspace, and where. `home` and `repository` with `owner` and `purpose` name it among all of the user.

    `environment`: the captured variables, the contract's, and those of the layers before; in an undo only the last of
    these, in a removal or a purge nothing. `removal`: the id of the removal, where there is one.
    """

    home: str
    repository: Path
    root: Path
    path: Path
    bay: int
    owner: str
    purpose: str
    branch: str | None
    commit: str
    environment: Mapping[str, str] = field(default_factory=dict)
    removal: str | None = None


def key_of(place: Place) -> str:
    """A short name for a workspace by which its things are found again, whatever a crash has left."""
    said = "\0".join((place.home, place.owner, place.purpose))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Held:
    """What a layer holds: environment variables, and the data by which it finds it again (JSON, without secrets)."""

    values: Mapping[str, str]
    data: Data


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that a layer holds for nobody. `what` names it, `text` says what it is, `hint` the next command."""

    layer: str
    what: str
    text: str
    hint: str


class Layer(Protocol):
    """One step of a workspace. Thread-safe; every method but `values` and `variables` may raise StrettoError."""

    name: str

    def variables(self) -> frozenset[str]:
        """Names of the environment variables that `take` will give."""
        ...

    def wanted(self, place: Place) -> bool:
        """Whether this workspace is to have it."""
        ...

    def take(self, place: Place, recorded: Data) -> Held:
        """Make it, or find it as it was made (`recorded`: the data of then, or empty)."""
        ...

    def values(self, place: Place, data: Data) -> Mapping[str, str]:
        """The variables of what was taken; changes nothing and looks at nothing outside of this process."""
        ...

    def give(self, place: Place, data: Data) -> None:
        """Put it aside so that `back` can bring it back. What is gone already is no error."""
        ...

    def back(self, place: Place, data: Data) -> Held:
        """Bring it back; what stands in its place already as it should is left."""
        ...

    def purge(self, place: Place, data: Data) -> None:
        """End for good what was given. What is gone already is no error."""
        ...

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """What is held for owners of this home and repository that are not among these; only told, never deleted."""
        ...


@runtime_checkable
class Filled(Protocol):
    """A layer that depends on more than this machine's files: on a server, and on commands of the project.

    Those trusted commands run in the workspace once its set-up has passed; before that the layer is of no use.
    """

    def check(self) -> None:
        """Raise StrettoError if nothing could be taken now; changes nothing."""
        ...

    def due(self, place: Place) -> tuple[str, ...]:
        """Kinds of these commands, in their order."""
        ...

    def filled(self, place: Place, *, pristine: bool) -> None:
        """They have passed. `pristine`: the worktree was at `place.commit`, clean, all the time."""
        ...


@runtime_checkable
class Following(Protocol):
    """A layer that depends on files of the worktree, which change while it is held."""

    def follow(self, place: Place, data: Data) -> Data:
        """Bring it up to the files as they are now; what changed of its data."""
        ...


@runtime_checkable
class Lively(Protocol):
    """A layer that has processes of its own, which nobody needs while nothing works in the workspace."""

    def wake(self, place: Place) -> None:
        """Let them run; nothing happens if they do. Raises StrettoError if they cannot be started."""
        ...

    def rest(self, place: Place) -> None:
        """End them; what they hold is kept. Nothing happens if there are none."""
        ...


@runtime_checkable
class Renewable(Protocol):
    """A layer whose content can be thrown away and begun again while the workspace stays."""

    def renew(self, place: Place, removal: str, back: str | None) -> Held:
        """Put aside what there is, under `removal`, and begin again; with `back` bring that one back instead."""
        ...

    def purge(self, place: Place, data: Data) -> None:
        """As `Layer` says."""
        ...


class Stack:
    """The layers of one repository's workspaces, in their order."""

    def __init__(self, layers: Sequence[Layer] = ()) -> None:
        self._layers = {layer.name: layer for layer in layers}

    def variables(self) -> frozenset[str]:
        """Names of all variables that a workspace may get from its layers."""
        return frozenset().union(*(layer.variables() for layer in self._layers.values()))

    def take(self, place: Place, bay: Bay, put: Put) -> dict[str, str]:
        """Take what is wanted and missing, find the rest; the variables of all. `put` records each step."""
        known = dict(bay.layers)
        values: dict[str, str] = {}
        for name, layer in self._layers.items():
            stood = known.get(name)
            if stood is None and not layer.wanted(place):
                continue
            if stood is None:
                known[name] = {"state": TAKING, "data": {}}
                put(known)
            failpoint("daemon.workspace.layer.take.before")
            at = replace(place, environment={**place.environment, **values})
            held = layer.take(at, dict(known[name]["data"]))
            failpoint("daemon.workspace.layer.take.after")
            if known[name] != (taken := {"state": TAKEN, "data": held.data}):
                known[name] = taken
                put(known)
            values.update(held.values)
        return values

    def values(self, place: Place, bay: Bay) -> dict[str, str]:
        """The variables of what the bay holds, without a look at it."""
        found: dict[str, str] = {}
        for name, step in bay.layers.items():
            if step["state"] == TAKEN and name in self._layers:
                found.update(self._layers[name].values(place, dict(step["data"])))
        return found

    def follow(self, place: Place, bay: Bay) -> None:
        """Bring what depends on the files of the worktree up to them."""
        for name, step in bay.layers.items():
            layer = self._layers.get(name)
            if step["state"] == TAKEN and isinstance(layer, Following):
                layer.follow(place, dict(step["data"]))

    def check(self) -> None:
        """Raise StrettoError if a layer could not be taken now: its server is down, say. Changes nothing."""
        for layer in self._layers.values():
            if isinstance(layer, Filled):
                layer.check()

    def due(self, place: Place) -> tuple[str, ...]:
        """Kinds of trusted commands that are to be run, once all is set up, for what was taken."""
        return tuple(kind for layer in self._layers.values() if isinstance(layer, Filled) for kind in layer.due(place))

    def filled(self, place: Place, *, pristine: bool) -> None:
        """Those commands have passed."""
        for layer in self._layers.values():
            if isinstance(layer, Filled):
                layer.filled(place, pristine=pristine)

    def renew(self, place: Place, bay: Bay, name: str, removal: str, back: str | None, put: Put) -> None:
        """Begin the content of the layer `name` again, or bring back an older one; `put` records it."""
        layer, step = self._layers.get(name), bay.layers.get(name)
        if not isinstance(layer, Renewable) or step is None or step["state"] != TAKEN:
            raise StrettoError(f"{bay.owner} has no {name}", object=bay.owner, code=f"no_{name}")
        held = layer.renew(replace(place, environment=self.values(place, bay)), removal, back)
        put({**bay.layers, name: {"state": TAKEN, "data": held.data}})

    def forget(self, place: Place) -> None:
        """End for good what was put aside under the removal of this place."""
        for layer in self._layers.values():
            if isinstance(layer, Renewable):
                layer.purge(place, {})

    def wake(self, place: Place, bay: Bay) -> None:
        """Let the processes of what the bay holds run."""
        values = self.values(place, bay)
        for layer in self._lively(bay):
            layer.wake(replace(place, environment=values))

    def rest(self, place: Place, bay: Bay) -> None:
        """End the processes of what the bay holds, until `wake`."""
        for layer in self._lively(bay):
            layer.rest(place)

    def _lively(self, bay: Bay) -> list[Lively]:
        taken = {name for name, step in bay.layers.items() if step["state"] == TAKEN}
        return [layer for name, layer in self._layers.items() if name in taken and isinstance(layer, Lively)]

    def give(self, place: Place, layers: Mapping[str, Mapping[str, Any]], put: Put) -> None:
        """Put aside, last taken first, what is not yet."""
        known = dict(layers)
        for name in reversed(self._ordered(known)):
            if known[name]["state"] != GIVEN:
                failpoint("daemon.workspace.layer.give.before")
                self._named(name).give(place, dict(known[name]["data"]))
                failpoint("daemon.workspace.layer.give.after")
                known[name] = {**known[name], "state": GIVEN}
                put(known)

    def back(self, place: Place, layers: Mapping[str, Mapping[str, Any]], put: Put) -> None:
        """Bring back what was put aside. If one does not come back the others are put aside again, and it is raised."""
        known = dict(layers)
        values: dict[str, str] = {}
        try:
            for name in self._ordered(known):
                layer, at = self._named(name), replace(place, environment=values)
                if known[name]["state"] == GIVEN:
                    failpoint("daemon.workspace.layer.back.before")
                    held = layer.back(at, dict(known[name]["data"]))
                    failpoint("daemon.workspace.layer.back.after")
                    known[name] = {"state": TAKEN, "data": held.data}
                    put(known)
                if known[name]["state"] == TAKEN:
                    values = {**values, **layer.values(at, dict(known[name]["data"]))}
        except StrettoError:
            self.give(place, known, put)
            raise

    def purge(self, place: Place, layers: Mapping[str, Mapping[str, Any]], put: Put) -> None:
        """End for good what was put aside, and what a removal that was cut off has not put aside."""
        known = dict(layers)
        for name in reversed(self._ordered(known)):
            failpoint("daemon.workspace.layer.purge.before")
            layer, step = self._named(name), known[name]
            if step["state"] != GIVEN:
                layer.give(place, dict(step["data"]))
            layer.purge(place, dict(step["data"]))
            failpoint("daemon.workspace.layer.purge.after")
            del known[name]
            put(known)

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """What the layers hold for nobody. A layer that cannot be asked now (its server is down) tells nothing."""
        owned = frozenset(owners)
        found: list[Leftover] = []
        for layer in self._layers.values():
            with suppress(StrettoError):
                found += layer.leftovers(owned)
        return found

    def _ordered(self, known: Mapping[str, Any]) -> list[str]:
        """Recorded names in the order of the stack; those it does not have come last, and are refused when used."""
        return [name for name in self._layers if name in known] + [name for name in known if name not in self._layers]

    def _named(self, name: str) -> Layer:
        if name not in self._layers:
            raise StrettoError(
                f"this stretto knows no layer {name!r}, which the workspace holds",
                object=name,
                hint="use the stretto that made it",
                code="unknown_layer",
            )
        return self._layers[name]
