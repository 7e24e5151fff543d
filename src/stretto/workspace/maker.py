"""Making a bay: its worktree, what is copied into it, its layers; or the undoing of all three.

Specification. The bay is held by the caller and its marker says `making`. What an attempt that died has left is taken
away or completed. A failure of a fresh bay leaves no tree, no branch and no marker: nobody ever had it, so no work can
be in it. A bay whose tree was lost is made again at its commit, with the branch that it had.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace

from stretto import files
from stretto.core import names
from stretto.core.errors import GitFailed, StrettoError
from stretto.failpoints import failpoint
from stretto.workspace import bootstrap, deletion, journal, registration
from stretto.workspace.journal import GATE, SPARE, Bay
from stretto.workspace.parts import Parts
from stretto.workspace.settings import Settings

#: bytes that must stay free besides the tree
_MARGIN = 32 << 20
#: with fewer free bytes than this a failure is put down to the disk
_FULL = 256 << 10
#: whoever writes a tree holds one of these
_WRITING = threading.BoundedSemaphore(max(1, os.cpu_count() or 1))
_FREE_SPACE = "free some space (stretto purge lists what stretto keeps), then: stretto retry TASK"


class Maker:
    """Makes the bays of one repository."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._git, self._folder, self._settings = parts.git, parts.folder, settings
        self._bays, self._markers, self._teardown = parts.bays, parts.markers, parts.teardown
        self._take_layers = parts.take_layers

    def make(self, bay: Bay, start: str, env: Mapping[str, str], fresh: bool) -> tuple[Bay, dict[str, str]]:
        """The bay with worktree and layers, and the values of these; after a failure a fresh one is undone."""
        try:
            with nullcontext() if bay.purpose == GATE else _WRITING:  # a queue waits for the gate
                bay, admin = self._write(bay, start, fresh)
            bay = replace(bay, admin=admin, link=self._link(bay), ready=None)
            bay, values = self._take_layers(bay, start, env)
            made = self._bays.put(bay.name, replace(bay, state=journal.MADE, spare=False))
        except (StrettoError, OSError) as error:
            full = _is_full(error) or files.free_bytes(self._folder.path) < _FULL
            if fresh:
                self._undo_making(self._markers.current(bay))
            raise self._explained(error, bay, full) from error
        failpoint("daemon.workspace.made")
        return made, values

    def _write(self, bay: Bay, start: str, fresh: bool) -> tuple[Bay, str | None]:
        """The worktree with what is copied into it; and the name of its registration."""
        path = self._folder.of(bay)
        self._need_space(bay)
        if fresh:
            self._clear(bay)
        else:
            self._teardown.keep_lost(bay)
            # from here on the tree is unproven again: a crash must not let it pass for a whole one
            bay = self._bays.put(bay.name, replace(bay, state=journal.MAKING, branch_made=False))
            self._git.forget_worktree(path)
        if fresh and bay.spare and bay.branch is not None:
            self._git.turn_worktree(path, bay.branch, start, f"stretto {bay.purpose} {bay.owner}")
        else:
            self._git.add_worktree(path, bay.branch, start, f"stretto {bay.purpose} {bay.owner}")
        admin = registration.name_of(self._folder.common, path, path.name)
        if bay.purpose == SPARE:
            return bay, admin
        wanted = bootstrap.wanted(self._git, start, self._settings.copy)
        bootstrap.copy_ignored(self._git, self._git.root, path, wanted)
        return bay, admin

    def _need_space(self, bay: Bay) -> None:
        needed = int(self._git.tree_bytes(bay.commit) * 1.1) + _MARGIN
        free = files.free_bytes(self._folder.path)
        if free < needed:
            raise StrettoError(
                f"{self._folder.path} has {free >> 20} MiB left, a worktree needs {needed >> 20} MiB",
                object=str(self._folder.path),
                hint=_FREE_SPACE,
                code="disk_full",
            )

    def _clear(self, bay: Bay) -> None:
        """Take away what an attempt that died has left of the tree, unless git can still complete it."""
        path = self._folder.of(bay)
        if not os.path.lexists(path) or path in self._git.worktrees():
            return
        if not registration.half_made(self._folder.common, path):
            raise StrettoError(
                f"{path} is in the way: stretto did not make it",
                object=str(path),
                hint="move it away, then: stretto retry TASK",
                code="path_in_the_way",
            )
        deletion.delete(path.parent, path.name, gently=False)

    def _undo_making(self, bay: Bay) -> None:
        """Leave nothing half-made: this bay was never handed out, so no work can be in it."""
        path = self._folder.of(bay)
        with suppress(StrettoError, OSError):
            bay = self._teardown.drop_layers(bay)
        with suppress(StrettoError, OSError):
            if os.path.lexists(path) and registration.half_made(self._folder.common, path):
                deletion.delete(path.parent, path.name, gently=False)
            if not os.path.lexists(path):
                self._git.forget_worktree(path)
            if bay.branch_made and self._git.read_ref(f"refs/heads/{bay.branch}") == bay.commit:
                self._git.delete_ref(f"refs/heads/{bay.branch}", bay.commit)
        if not os.path.lexists(path) and not bay.layers:
            self._teardown.unlink(bay)
            self._bays.drop(bay.name)

    def _explained(self, error: StrettoError | OSError, bay: Bay, full: bool) -> StrettoError:
        path = self._folder.of(bay)
        if full:
            return StrettoError(
                f"the disk was full before the workspace {path} was complete",
                object=str(path),
                hint=_FREE_SPACE,
                code="disk_full",
            )
        if isinstance(error, StrettoError):
            return error
        return StrettoError(f"the workspace {path} could not be made: {error.strerror}", object=str(path))

    def _link(self, bay: Bay) -> str | None:
        """A link by task id beside the bays, for people; None if its names are taken."""
        if bay.purpose == SPARE:
            return None
        if bay.purpose == GATE:
            candidates = ["gate"]
        else:
            whole = names.file_name(bay.owner) if names.split_uid(bay.owner) else names.slugify(bay.owner)
            candidates = [bay.owner.rpartition("/")[2], whole]
        for name in candidates:
            link = self._folder.path / name
            if name.isdigit() or not (names.is_task_id(name) or name == candidates[-1]):
                continue
            with suppress(FileExistsError):
                link.symlink_to(bay.name)
                return name
            if link.is_symlink() and os.readlink(link) == bay.name:  # noqa: PTH115
                return name
        return None


def _is_full(error: StrettoError | OSError) -> bool:
    if isinstance(error, GitFailed):
        return os.strerror(errno.ENOSPC) in error.stderr
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
