"""The layers of the workspaces of one repository, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stretto.interfaces import Git
from stretto.workspace import databases
from stretto.workspace.browser import Browser
from stretto.workspace.clones import Clones
from stretto.workspace.compose import Compose
from stretto.workspace.folder import Folder
from stretto.workspace.layers import Layer
from stretto.workspace.ports import Ports, PortSettings


def configured(git: Git, folder: Path, home: str, config: Mapping[str, Any]) -> tuple[Layer, ...]:
    """All layers that this stretto has, as a run's frozen configuration wants them.

    `folder` is that of the bays, `home` names the home folder.

    A later one sees the variables of those before it: ports come first.
    """
    ports = PortSettings(dict(config.get("ports") or {}), str(config.get("port_scheme") or "block"))
    place = Folder(folder, git.root, git.common)
    named = ports.names.values() if ports.scheme == "block" else ()
    return (
        Clones(git),
        Ports(ports, home, git.common),
        Compose(place, named, config.get("env") or {}),
        *databases.configured(git, folder, home, config),
        Browser(place, home, str(config.get("browser") or "none")),
    )
