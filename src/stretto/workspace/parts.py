"""What those who give workspaces away have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stretto.interfaces import Git
from stretto.workspace.folder import Folder
from stretto.workspace.journal import Bay, Cabinet
from stretto.workspace.markers import Markers
from stretto.workspace.teardown import Teardown

#: takes a bay's layers: bay, commit that it shows, captured environment -> bay with its layers, their values
Take = Callable[[Bay, str, Mapping[str, str]], tuple[Bay, dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Parts:
    """One repository for one home. `take_layers` as `Take` says; `now` in seconds since the epoch."""

    git: Git
    folder: Folder
    home: str
    bays: Cabinet[Bay]
    markers: Markers
    teardown: Teardown
    take_layers: Take
    now: Callable[[], float]
