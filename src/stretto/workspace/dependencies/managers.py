"""Package managers: how each is recognised, where it puts packages, and how it installs what a lock file names.

`tree`: a folder of packages that works wherever it lies. `venv`: a virtual environment, in which paths are written
down, so that a copy would run another worktree's code: always made, or brought up to date, by its manager. `cache`:
nothing in the worktree, only in the user's cache. `{requirements}` stands for the words that name requirement files.
"""

from __future__ import annotations

from dataclasses import dataclass

TREE, VENV, CACHE = "tree", "venv", "cache"


@dataclass(frozen=True, slots=True)
class Manager:
    """A package manager. `locks`: files that name exact versions; `manifests`: what else decides what is installed.

    `runtime`: the program for which packages are built. `offline` and `online`: commands for /bin/sh, frozen: they
    change no lock file; `offline` None: it cannot be kept from the network.
    """

    name: str
    kind: str
    locks: tuple[str, ...]
    manifests: tuple[str, ...]
    program: str
    runtime: str
    offline: str | None
    online: str
    folder: str = ""


_NPM = "npm ci --no-audit --no-fund"
_PNPM = "pnpm install --frozen-lockfile --package-import-method=clone-or-copy"
_POETRY = "POETRY_VIRTUALENVS_IN_PROJECT=1 poetry install --no-interaction"
_PIP = (
    "{{ [ -x .venv/bin/python ] || python3 -m venv .venv; }}"
    " && .venv/bin/python -m pip install --disable-pip-version-check{0} {{requirements}}"
)
_NODE = ("package.json", ".npmrc")

#: in the order of preference within one folder and one `folder` of packages
MANAGERS = (
    Manager(
        "pnpm",
        TREE,
        ("pnpm-lock.yaml",),
        (*_NODE, "pnpm-workspace.yaml", ".pnpmfile.cjs"),
        "pnpm",
        "node",
        f"{_PNPM} --offline",
        f"{_PNPM} --prefer-offline",
        "node_modules",
    ),
    Manager(
        "yarn",
        TREE,
        ("yarn.lock",),
        (*_NODE, ".yarnrc", ".yarnrc.yml"),
        "yarn",
        "node",
        "yarn install --frozen-lockfile --offline",
        "yarn install --frozen-lockfile --prefer-offline",
        "node_modules",
    ),
    Manager(
        "bun",
        TREE,
        ("bun.lock", "bun.lockb"),
        (*_NODE, "bunfig.toml"),
        "bun",
        "bun",
        None,
        "bun install --frozen-lockfile --backend=copyfile",
        "node_modules",
    ),
    Manager(
        "npm",
        TREE,
        ("package-lock.json", "npm-shrinkwrap.json"),
        _NODE,
        "npm",
        "node",
        f"{_NPM} --offline",
        f"{_NPM} --prefer-offline",
        "node_modules",
    ),
    Manager(
        "uv",
        VENV,
        ("uv.lock",),
        ("pyproject.toml", ".python-version", "uv.toml"),
        "uv",
        "python3",
        "uv sync --frozen --link-mode=clone --offline",
        "uv sync --frozen --link-mode=clone",
        ".venv",
    ),
    Manager(
        "poetry",
        VENV,
        ("poetry.lock",),
        ("pyproject.toml", "poetry.toml"),
        "poetry",
        "python3",
        None,
        _POETRY,
        ".venv",
    ),
    Manager(
        "pip",
        VENV,
        ("requirements.txt", "requirements-dev.txt"),
        ("pyproject.toml", "setup.py", "setup.cfg"),
        "python3",
        "python3",
        _PIP.format(" --no-index"),
        _PIP.format(""),
        ".venv",
    ),
    Manager(
        "cargo",
        CACHE,
        ("Cargo.lock",),
        (),
        "cargo",
        "cargo",
        "cargo fetch --locked --offline",
        "cargo fetch --locked",
    ),
    Manager("go", CACHE, ("go.sum",), ("go.mod",), "go", "go", "GOPROXY=off go mod download", "go mod download"),
    Manager(
        "bundler",
        CACHE,
        ("Gemfile.lock",),
        ("Gemfile",),
        "bundle",
        "ruby",
        "BUNDLE_FROZEN=true bundle install --local",
        "BUNDLE_FROZEN=true bundle install",
    ),
)  # fmt: skip

#: Yarn since version 2 has other words; its lock file says which one it is for
BERRY_MARK = b"__metadata:"
BERRY = ("YARN_ENABLE_NETWORK=0 yarn install --immutable", "yarn install --immutable")
