"""The browser of a workspace as one layer of its transaction: a profile of its own, and how drivers of it find that.

Specification.
- `<bays>/.stretto/browsers/<key>/` holds `profile`, which a Chromium may use with `--user-data-dir`, and `output`,
  where a driver may leave files. `<key>.json` beside it says whose it is and is written first. The key is made from
  home, owner and purpose, so that it is found again whatever a crash has left.
- A task keeps its profile, with cookies and all, as long as its workspace. A gate begins with an empty one each time.
- A browser in a workspace is known by its command line: a word that is exactly `--user-data-dir=<profile>`. Nothing
  else names that folder, so whatever carries it may be ended with all that it started (`end`).
- A removal ends the browser, moves the folder into the removal's quarantine, and `back` returns it.
- `port`: the browser may listen for its driver at the place in the block of ports that is kept for it. `pipe`: it is to
  be driven through file descriptors; no port is named.

Accepted race: a browser that is started on the profile between its end and the move keeps what it has open, in
quarantine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stretto import files, proctree
from stretto.workspace import deletion, port_leases
from stretto.workspace.folder import Folder
from stretto.workspace.journal import Cabinet
from stretto.workspace.layers import Data, Held, Leftover, Place, key_of
from stretto.workspace.ports import BROWSER

GATE = "gate"
#: what `[workspace] browser` may say
NONE, PORT, PIPE = "none", "port", "pipe"
PROFILE = "STRETTO_BROWSER_PROFILE"
CDP_PORT = "STRETTO_BROWSER_PORT"
#: where Playwright keeps the browsers that it has downloaded; they are shared, and only read
BROWSERS = "PLAYWRIGHT_BROWSERS_PATH"
#: seconds between TERM and KILL
GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Whose:
    """Beside each folder: whose browser it is."""

    home: str
    owner: str
    purpose: str


class Browser:
    """The layer `browser`. `speaks`: `port` or `pipe`."""

    name = "browser"

    def __init__(self, folder: Folder, home: str, speaks: str) -> None:
        self._quarantine = folder.quarantine
        self._folder = folder.path / ".stretto" / "browsers"
        self._home = home
        self._speaks = speaks
        self._known = Cabinet(self._folder, Whose)

    def variables(self) -> frozenset[str]:
        """Names of the variables that a workspace may get."""
        return frozenset({PROFILE, CDP_PORT, BROWSERS, "PLAYWRIGHT_MCP_USER_DATA_DIR", "PLAYWRIGHT_MCP_OUTPUT_DIR"})

    def wanted(self, place: Place) -> bool:
        """As configured."""
        return self._speaks != NONE

    def take(self, place: Place, recorded: Data) -> Held:
        """The profile, made if it is not there; a gate's is made anew."""
        if place.purpose == GATE:
            end(self._folder / key_of(place) / "profile")
            deletion.delete(self._folder, key_of(place))
        return self._made(place, _browsers(place.environment))

    def _made(self, place: Place, browsers: str | None) -> Held:
        folder, whose = self._folder / key_of(place), Whose(place.home, place.owner, place.purpose)
        files.make_private_dir(self._folder)
        if self._known.all().get(folder.name) != whose:
            self._known.put(folder.name, whose)
        for name in ("profile", "output"):
            files.make_private_dir(folder / name)
        slot = place.environment.get("STRETTO_SLOT", "")
        port = port_leases.block(int(slot))[BROWSER] if self._speaks == PORT and slot else None
        data: Data = {"folder": str(folder), "port": port, "browsers": browsers}
        return Held(self.values(place, data), data)

    def values(self, place: Place, data: Data) -> Mapping[str, str]:
        """The profile under the names by which stretto and Playwright's tool server know it, and the port."""
        folder = Path(data["folder"])
        found = {
            PROFILE: str(folder / "profile"),
            "PLAYWRIGHT_MCP_USER_DATA_DIR": str(folder / "profile"),
            "PLAYWRIGHT_MCP_OUTPUT_DIR": str(folder / "output"),
        }
        if data.get("port") is not None:
            found[CDP_PORT] = str(data["port"])
        if data.get("browsers") is not None:
            found[BROWSERS] = str(data["browsers"])
        return found

    def give(self, place: Place, data: Data) -> None:
        """End the browser and put its folder into the removal's quarantine. Without a removal it was never used."""
        key = key_of(place)
        end(self._folder / key / "profile")
        aside = self._aside(place)
        if aside is None:
            deletion.delete(self._folder, key)
        elif (self._folder / key).is_dir() and not aside.exists():
            files.make_private_dir(aside.parent)
            files.rename(self._folder / key, aside)
        self._known.drop(key)

    def back(self, place: Place, data: Data) -> Held:
        """The profile as it was; the port is that of the slot that the workspace has now."""
        aside, folder = self._aside(place), self._folder / key_of(place)
        if aside is not None and aside.is_dir() and not os.path.lexists(folder):
            files.make_private_dir(self._folder)
            files.rename(aside, folder)
        return self._made(place, data.get("browsers"))

    def purge(self, place: Place, data: Data) -> None:
        """Gone for good."""
        aside = self._aside(place)
        if aside is not None:
            deletion.delete(aside.parent, aside.name)

    def leftovers(self, owners: Iterable[str]) -> list[Leftover]:
        """Profiles of this home whose owner is not known."""
        known = set(owners)
        return [
            Leftover(
                self.name,
                str(self._folder / key),
                f"the browser profile of {whose.owner}, which nobody knows",
                f"look whether you want it: ls {self._folder / key}",
            )
            for key, whose in self._known.all().items()
            if whose.home == self._home and whose.owner not in known
        ]

    def _aside(self, place: Place) -> Path | None:
        return None if place.removal is None else self._quarantine / place.removal / "browser"


def _browsers(environment: Mapping[str, str]) -> str | None:
    """Where Playwright's own browsers lie: a workspace's home folder may be another one."""
    named = environment.get(BROWSERS)
    home = environment.get("HOME")
    usual = Path(home) / ".cache" / "ms-playwright" if home else None
    return named or (str(usual) if usual is not None and usual.is_dir() else None)


def end(profile: str | Path | None, grace: float = GRACE) -> bool:
    """End every browser that uses the profile, with all that it started. False: some could not be ended."""
    return profile is None or proctree.end_tree(None, None, None, grace, word=f"--user-data-dir={profile}")


def shown(env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What a sandbox must show of a browser: what may be written, and what is read."""
    if PROFILE not in env:
        return [], []
    return [str(Path(env[PROFILE]).parent)], [env[BROWSERS]] if BROWSERS in env else []
