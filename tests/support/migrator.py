"""A project with a database: numbered SQL files in `migrations/`, and the program that applies them where it is told.

The program is one that people write themselves: it keeps the numbers that it has applied in a table, applies the rest
in order and stops at the first that fails. It speaks to SQLite with Python's library, to PostgreSQL with psql.
"""

from __future__ import annotations

from stretto.workspace.databases import programs

_PROGRAM = '''
"""Apply migrations/*.sql in the order of their numbers to DATABASE_URL."""
import os, pathlib, sqlite3, subprocess, sys

url = os.environ["DATABASE_URL"]


def run(script):
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as db:
            return "\\n".join("|".join(map(str, row)) for row in db.execute(script).fetchall())
    done = subprocess.run(["@PSQL@", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", script],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


if sys.argv[1:]:
    print(run(sys.argv[1]))
    sys.exit()
run("CREATE TABLE IF NOT EXISTS applied (number integer PRIMARY KEY)")
done = set(run("SELECT number FROM applied").split())
for path in sorted(pathlib.Path("migrations").glob("*.sql")):
    number = str(int(path.name.partition("_")[0]))
    if number not in done:
        run(path.read_text())
        run(f"INSERT INTO applied VALUES ({number})")
'''

FIRST = "CREATE TABLE lamp (id integer PRIMARY KEY, name text)"


def project(url: str, *, said: str = "", **files: str) -> dict[str, str]:
    """The files of such a repository; `files` adds some. `said`: other lines of `[database]` than the address."""
    config = f"""\
schema = 1
[database]
{said or f'url = "{url}"'}
migrate = "python3 db.py"
seed = "python3 db.py \\"INSERT INTO lamp VALUES (1, 'seeded')\\""
"""
    return {
        "db.py": _PROGRAM.replace("@PSQL@", str(programs.client("psql"))),
        "migrations/001_first.sql": FIRST,
        ".gitignore": "/var/\n",
        "stretto.toml": config,
        **files,
    }
