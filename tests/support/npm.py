"""A stand-in for npm where a test needs many installs: it installs what the lock file names, and counts its calls.

The real one needs two seconds of a core for each call, and is tested where what it does matters.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

PROGRAM = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$*" in
  *--offline*) [ -e "$(dirname "$0")/cached" ] || { echo "not in the cache" >&2; exit 1; } ;;
  *) [ -e "$(dirname "$0")/broken" ] && { echo "no such package" >&2; exit 1; }; touch "$(dirname "$0")/cached" ;;
esac
rm -rf node_modules && mkdir -p node_modules/.bin
for name in $(sed -n 's/.*"node_modules\\/\\([a-z]*\\)".*/\\1/p' package-lock.json); do
  mkdir node_modules/$name && echo "module.exports = '$name'" > node_modules/$name/index.js
  chmod 444 node_modules/$name/index.js
  ln -s ../$name/index.js node_modules/.bin/$name
done
"""
GITIGNORE = "node_modules/\n.venv/\n"


class FakeNpm:
    """A folder for the PATH with `npm` and `node` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in (("npm", PROGRAM), ("node", "#!/bin/sh\n")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


def lock(*names: str) -> str:
    """A package-lock.json that names these packages."""
    packages = {"": {"name": "app"}, **{f"node_modules/{name}": {"version": "1.0.0"} for name in names}}
    return json.dumps({"name": "app", "lockfileVersion": 3, "packages": packages}, indent=1)


def project(*names: str) -> dict[str, str]:
    """The files of a repository that wants these packages."""
    return {"package.json": '{"name": "app"}\n', "package-lock.json": lock(*names), ".gitignore": GITIGNORE}
