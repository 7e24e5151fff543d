"""The database: migrations in order, each applied once."""

import sqlite3

MIGRATIONS = [
    """
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, cents INTEGER NOT NULL);
    """,
]


def connect(path):
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    migrate(db)
    return db


def migrate(db):
    done = db.execute("PRAGMA user_version").fetchone()[0]
    for number, script in enumerate(MIGRATIONS[done:], done + 1):
        db.executescript(f"BEGIN;{script}PRAGMA user_version = {number};COMMIT;")
