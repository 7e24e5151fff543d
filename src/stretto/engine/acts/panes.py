"""Sessions in panes: what the host of a pane is told, and where it keeps what.

Specification. The host is the shim's agent; the agent's own command line, with its sandbox, is what the host starts in
the pane. The socket of tmux lies where a sandbox shows nothing: who can write to it commands what is outside. The spool
of the hooks lies beside the socket of the agent API, which a sandbox shows for writing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stretto import files
from stretto.agentapi.protocol import SOCKET
from stretto.core.model import Session
from stretto.interfaces import Confinement, Launch

HOST = Path(__file__).resolve().parents[2] / "agents" / "pane_host.py"
#: the file in the session's folder that the host reads, and the folder beside the agent API's socket
SPEC, SPOOL = "pane.json", "hooks"
#: name of the tmux session
NAME = "stretto"


def socket(session: Session, api: Path) -> Path:
    """Where the tmux of a session listens; `api` is the socket of its agent API."""
    folder = Path(session.folder)
    return folder / "tmux" if api == folder / SOCKET else api.parent.with_name(f"{api.parent.name}.t") / "tmux"


def spool(api: Path) -> Path:
    """Where the hooks of a session report to."""
    return api.parent / SPOOL


def prepare(
    session: Session, launch: Launch, confined: Confinement, cwd: Path, api: Path, house: Path | None, turns: int
) -> dict[str, Any]:
    """Write the host's file; what the shim's `spec.json` says of it. `turns`: how many the task has had."""
    folder, listens = Path(session.folder), socket(session, api)
    for place in (folder, api.parent, spool(api), listens.parent):
        files.make_private_dir(place)
    spec = {
        "argv": [*confined.words, *launch.argv],
        "cwd": str(cwd),
        "tui": launch.tui,
        "state": launch.state,
        "session": session.id,
        "generation": session.generation,
        "conversation": launch.conversation,
        "resume": bool(session.parser.get("resume")),
        "home": None if house is None else str(house),
        "folder": str(folder),
        "file": str(folder / SPEC),
        "socket": str(listens),
        "spool": str(spool(api)),
        "shared": str(api.parent),
        "name": NAME,
        "attended": session.parser.get("attended"),
    }
    files.replace(folder / SPEC, json.dumps(spec).encode())
    env = {**confined.env, "STRETTO_PANE_FOLDER": str(api.parent), "STRETTO_TURN_OFFSET": str(turns)}
    return {"style": "stream", "argv": [sys.executable, "-I", str(HOST), str(folder)], "cwd": str(folder), "env": env}
