"""Make `.venv` ready: the locked packages, checked against their hashes, and this project on top of them, editable.

Specification. `.venv/.stretto-set-up` says that the folder is ours (written first) and what it holds (written last), as
JSON of two keys: `packages`, a hash over the lock, the interpreter and the place of the checkout, and `project`, a hash
of pyproject.toml. An interrupted set-up leaves a key out and is done again; a lock that changed empties the folder
first, so that nothing unlocked stays; a folder without the file is not ours and is left alone. Two set-ups at once
wait for each other. With `--ready` nothing is done: exit 0 means that there is nothing to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".stretto-set-up"
LOCK = ROOT / "requirements" / "dev.txt"
OLDEST_GIT = (2, 39)
PIP = (str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")


def main(arguments: list[str]) -> int:
    """Set up (or only look, with `--ready`); 0 when everything is there."""
    if arguments == ["--ready"]:
        return 0 if _stamp() == _wanted() and _git_problem() is None else 1
    problem = _git_problem()
    if problem:
        return _refuse(problem)
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _set_up()


def _set_up() -> int:
    if VENV.exists() and not STAMP.exists() and any(VENV.iterdir()):
        return _refuse(f"{VENV} was not made by this set-up: move it away and run this again.")
    wanted, found = _wanted(), _stamp()
    if found == wanted and _works():
        return 0
    started = time.monotonic()
    print("set-up: making .venv from requirements/dev.txt …", flush=True)
    if found.get("packages") != wanted["packages"] or not _works():
        _empty()
        if not _run([_interpreter(), "-m", "venv", str(VENV)], "make the virtual environment"):
            return 1
        if not _run([*PIP, "--require-hashes", "--requirement", str(LOCK)], "install the locked packages"):
            return 1
        _write_stamp({"packages": wanted["packages"]})
    editable = [*PIP, "--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    if not _run(editable, "install this project"):
        return 1
    _write_stamp(wanted)
    print(f"set-up: done in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def _wanted() -> dict[str, str]:
    packages = hashlib.sha256(LOCK.read_bytes())
    packages.update(f"{sys.version_info[:3]} {ROOT}".encode())
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    return {"packages": packages.hexdigest(), "project": project.hexdigest()}


def _stamp() -> dict[str, str]:
    try:
        found = json.loads(STAMP.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_stamp(content: dict[str, str]) -> None:
    new = STAMP.with_name(STAMP.name + ".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(STAMP)


def _empty() -> None:
    """Leave nothing in `.venv` but the file that says whose it is."""
    VENV.mkdir(exist_ok=True)
    _write_stamp({})
    for entry in VENV.iterdir():
        if entry == STAMP:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _works() -> bool:
    try:
        return subprocess.run([str(PYTHON), "-c", ""], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _interpreter() -> str:
    """The Python below a virtual environment: a venv of a venv that is emptied would lose its own ground."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _git_problem() -> str | None:
    install = "install git 2.39 or newer (Debian and Ubuntu: apt-get install git) and run this again."
    try:
        told = subprocess.run(["git", "--version"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return f"git is missing: {install}"
    found = re.search(r"(\d+)\.(\d+)", told)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GIT:
        return f"{told.strip()} is too old: {install}"
    return None


def _run(argv: list[str], aim: str) -> bool:
    code = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, cwd=ROOT).returncode
    if code != 0:
        _refuse(f"could not {aim} (exit {code}, see above): run this again when the cause is gone.")
    return code == 0


def _refuse(sentence: str) -> int:
    print(f"set-up: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
