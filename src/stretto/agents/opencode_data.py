"""Whether opencode keeps a conversation of a folder: its own database, looked at and never changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

#: seconds for which a database that is being written to is waited for
PATIENCE = 2.0


def known(database: Path, folder: Path) -> bool:
    """Whether there is a conversation of this folder that is nobody's part. What cannot be read knows none."""
    if not database.is_file():
        return False
    asked = "SELECT 1 FROM session WHERE directory = ? AND parent_id IS NULL LIMIT 1"
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as db:
            return db.execute(asked, (str(folder),)).fetchone() is not None
    except sqlite3.Error:
        return False
