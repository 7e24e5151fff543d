"""A bay as whoever works in it sees it: its environment, and the `.env` file that repeats some of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stretto.interfaces import Git, Workspace
from stretto.workspace import bootstrap, environment
from stretto.workspace.folder import Folder
from stretto.workspace.journal import Bay
from stretto.workspace.settings import Settings

#: variables of the contract that the caller may know better than the bay
_GIVEN = ("STRETTO_TASK", "STRETTO_UID", "STRETTO_BASE", "STRETTO_TREE")
_PORTS = re.compile(r"PORT(_\w+)?")
#: what of the environment the `.env` file repeats, besides `[workspace] env`
_TOLD = re.compile(r"STRETTO_\w+|(COMPOSE|PLAYWRIGHT)_\w+|DATABASE_URL|PORT(_\w+)?")
#: this many tree ids are remembered
_TREES = 1000


class Describer:
    """Describes the bays of one repository; changes nothing but the `.env` file."""

    def __init__(self, git: Git, folder: Folder, settings: Settings) -> None:
        self._git = git
        self._folder = folder
        self._settings = settings
        self._trees: dict[str, str] = {}

    def describe(
        self, bay: Bay, commit: str, env: Mapping[str, str], values: Mapping[str, str], fresh: bool
    ) -> Workspace:
        """The workspace with its whole environment; `values` are those of its layers."""
        fixed = {**self._contract(bay, commit, env), **values}
        filled = environment.fill(self._settings.env, fixed)
        whole = {**_unported(env), **filled, **fixed}
        path = self._folder.of(bay)
        return Workspace(bay.owner, bay.purpose, path, bay.number, bay.branch, whole, fresh, bay.ready, dict(values))

    def before_layers(self, bay: Bay, commit: str, env: Mapping[str, str]) -> dict[str, str]:
        """The environment as layers find it, which have not given their values yet."""
        return {**_unported(env), **self._contract(bay, commit, env)}

    def write_env_file(self, space: Workspace) -> None:
        """Write the `.env` file that the configuration asks for, without what is named secret."""
        if self._settings.env_file is None:
            return
        values = {
            name: value
            for name, value in space.env.items()
            if (_TOLD.fullmatch(name) or name in self._settings.env) and name not in self._settings.secret
        }
        bootstrap.write_env_file(self._git, space.path, self._settings.env_file, values)

    def _contract(self, bay: Bay, commit: str, env: Mapping[str, str]) -> dict[str, str]:
        fixed = environment.contract(
            owner=bay.owner,
            purpose=bay.purpose,
            path=self._folder.of(bay),
            root=self._git.root,
            branch=bay.branch,
            base=commit,
            tree=self._tree(commit),
            slot=bay.number,
        )
        fixed.update({name: env[name] for name in _GIVEN if name in env})
        return fixed

    def _tree(self, commit: str) -> str:
        if commit not in self._trees:
            if len(self._trees) > _TREES:
                self._trees.clear()
            self._trees[commit] = self._git.tree_of(commit)
        return self._trees[commit]


def _unported(env: Mapping[str, str]) -> dict[str, str]:
    """What was captured, without the ports of the shell that it was captured from."""
    return {name: value for name, value in env.items() if not _PORTS.fullmatch(name)}
