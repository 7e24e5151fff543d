"""Databases that are folders: each lies in one of its own, with `marker.json`, which says that it is ours and whose."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from stretto import files
from stretto.workspace import deletion
from stretto.workspace.databases.base import Marker, taken


class MarkedFolders:
    """The folders `<root>/<name>` that hold our marker; all others are never touched."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, name: str) -> Path:
        """The folder of a database, whether it is there or not."""
        return self.root / name

    def read(self, name: str) -> Marker | None:
        """The marker in it; None if there is none."""
        try:
            return Marker(**json.loads((self.of(name) / "marker.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def mark(self, name: str, marker: Marker) -> Path:
        """Make the folder ours; on disk when the call returns."""
        files.make_private_dir(self.root)
        held = files.make_private_dir(self.of(name))
        files.replace(held / "marker.json", json.dumps(asdict(marker)).encode())
        return held

    def require_free(self, name: str) -> None:
        """Raise Conflict (`database_taken`) for a folder that is somebody else's."""
        held = self.of(name)
        if not (held / "marker.json").exists() and os.path.lexists(held) and any(held.iterdir()):
            raise taken(name, str(self.root))

    def move(self, old: str, new: str, kind: str) -> None:
        """Give a folder another name, and let its marker say what it is there. Safe to repeat."""
        if self.of(old).exists() and not self.of(new).exists():
            files.rename(self.of(old), self.of(new))
        marker = self.read(new)
        if marker is not None and marker.kind != kind:
            self.mark(new, replace(marker, kind=kind))

    def drop(self, name: str, *, begun: bool) -> bool:
        """Whether there is one of ours to delete. Raises Conflict for what is not, unless we had `begun` to make it."""
        held = self.of(name)
        if (held / "marker.json").exists():
            return True
        if os.path.lexists(held) and not begun:
            raise taken(name, str(self.root))
        return False

    def delete(self, name: str) -> None:
        """Delete the folder for good."""
        deletion.delete(self.root, name, gently=False)

    def found(self) -> dict[str, Marker]:
        """Every marked folder by its name."""
        present = sorted(self.root.iterdir()) if self.root.is_dir() else []
        read = {path.name: self.read(path.name) for path in present if path.is_dir()}
        return {name: marker for name, marker in read.items() if marker is not None}
