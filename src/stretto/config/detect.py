"""What sort of repository this is, told from the names of its files: languages, test commands, set-up commands."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

Read = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Detected:
    """What `stretto init` writes into its first stretto.toml.

    `copy` lists ignored files that a workspace may want; `dependencies`: there are lock files.
    """

    languages: tuple[str, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()
    dependencies: bool = False
    target: str | None = None


#: file in the root -> language, name of the check, command
_BY_FILE = (
    ("Cargo.toml", "Rust", "cargo", "cargo test"),
    ("go.mod", "Go", "go", "go test ./..."),
    ("pom.xml", "Java", "maven", "mvn -q test"),
    ("build.gradle", "Java", "gradle", "./gradlew test"),
    ("build.gradle.kts", "Kotlin", "gradle", "./gradlew test"),
    ("mix.exs", "Elixir", "mix", "mix test"),
    ("Package.swift", "Swift", "swift", "swift test"),
    (".rspec", "Ruby", "rspec", "bundle exec rspec"),
    ("phpunit.xml", "PHP", "phpunit", "vendor/bin/phpunit"),
)
#: lock file -> package manager; the first that is there counts
_NODE_LOCKS = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
)
_PYTHON_LOCKS = (("uv.lock", "uv run "), ("poetry.lock", "poetry run "))
_OTHER_LOCKS = ("Cargo.lock", "go.sum", "Gemfile.lock")
_PYTHON_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "pytest.ini", "tox.ini", "manage.py")
#: ignored files that a workspace may want, as globs; templates of them are in git
_WANTED_COPIES = (".env", ".env.*", ".envrc", "*.local.toml", "*.local.json", "local_settings.py", "config/master.key")
_TEMPLATES = ("*.example", "*.sample", "*.template", "*.dist")


def detect(files: Collection[str], read: Read, ignored: Collection[str] = (), target: str | None = None) -> Detected:
    """Look at the paths of the tracked files (and of ignored ones in the root); `read` gives a tracked file's text."""
    languages: list[str] = []
    checks: dict[str, str] = {}
    if "Makefile" in files and _has_make_target(read("Makefile") or "", "test"):
        checks["make"] = "make test"
    for find in (_python, _node):
        find(files, read, languages, checks)
    for name, language, check, command in _BY_FILE:
        if name in files:
            languages.append(language)
            checks.setdefault(check, command)
    if "make" in checks:  # it is the project's own word for all of them
        checks = {"make": checks["make"]}
    copy = tuple(sorted(name for name in ignored if _matches(name, _WANTED_COPIES) and not _matches(name, _TEMPLATES)))
    known = {*_OTHER_LOCKS, *(lock for lock, _ in (*_NODE_LOCKS, *_PYTHON_LOCKS))}
    locked = any(name.rpartition("/")[2] in known and name.count("/") < 2 for name in files)
    return Detected(tuple(dict.fromkeys(languages)), checks, (), copy, locked, target)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _has_make_target(text: str, name: str) -> bool:
    return any(line.startswith(f"{name}:") for line in text.splitlines())


def _python(files: Collection[str], read: Read, languages: list[str], checks: dict[str, str]) -> None:
    if not any(name in files for name in _PYTHON_FILES):
        return
    languages.append("Python")
    runner = next((prefix for lock, prefix in _PYTHON_LOCKS if lock in files), "python -m ")
    if _uses_pytest(files, read):
        checks["pytest"] = f"{runner}pytest -q"
    elif "manage.py" in files:
        checks["django"] = f"{runner.removesuffix('-m ')}manage.py test"
    elif any(name.startswith(("tests/", "test/", "test_")) and name.endswith(".py") for name in files):
        checks["unittest"] = "python -m unittest discover" if runner == "python -m " else f"{runner}python -m unittest"


def _uses_pytest(files: Collection[str], read: Read) -> bool:
    if "pytest.ini" in files or "conftest.py" in files or "tests/conftest.py" in files:
        return True
    settings = ("pyproject.toml", "setup.cfg", "tox.ini", "requirements.txt", "requirements-dev.txt")
    return any("pytest" in (read(name) or "") for name in settings if name in files)


def _node(files: Collection[str], read: Read, languages: list[str], checks: dict[str, str]) -> None:
    if "package.json" not in files:
        return
    languages.append("TypeScript" if "tsconfig.json" in files else "JavaScript")
    lock = next((lock for lock in _NODE_LOCKS if lock[0] in files), None)
    manager = lock[1] if lock else "npm"
    try:
        package = json.loads(read("package.json") or "{}")
    except ValueError:
        return
    scripts = package.get("scripts") if isinstance(package, dict) else None
    names = [name for name in ("test", "lint", "typecheck") if isinstance(scripts, dict) and name in scripts]
    for name in names:
        if "no test specified" not in str(scripts[name] if isinstance(scripts, dict) else ""):
            checks[f"{manager}-{name}"] = f"{manager} run {name}"
