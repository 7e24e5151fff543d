"""Templates of the project: `.stretto/prompts/NAME.md` takes the place of the prompt NAME that comes with stretto.

Like the configuration they are read once, when a run is made: from the target's commit, or from the checkout if the
target has none; what was read is frozen with the run. One that is unknown, too long or wants a value that its message
does not have is refused then, not in the middle of the work.
"""

from __future__ import annotations

from pathlib import Path

from stretto import prompts
from stretto.core.errors import StrettoError
from stretto.git.repository import Repository

FOLDER = ".stretto/prompts"
#: characters of one template
LIMIT = 20_000


def read(git: Repository, tip: str) -> tuple[dict[str, str], list[str]]:
    """Name -> template, and a word for each that differs in the checkout. Raises StrettoError for one that is wrong."""
    found: dict[str, str] = {}
    notes: list[str] = []
    for path in sorted((git.root / FOLDER).glob("*.md")):
        name, own = path.stem, _own(path)
        committed = git.show(tip, f"{FOLDER}/{path.name}")
        found[name] = own if committed is None else committed.decode("utf-8", "replace")
        if committed is not None and found[name] != own:
            notes.append(f"{FOLDER}/{path.name} of your checkout differs; the one of the target counts")
        _check(name, found[name])
    return found, notes


def _own(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path.name, f"it cannot be read ({error})") from error


def _check(name: str, text: str) -> None:
    if name not in prompts.names():
        raise _wrong(f"{name}.md", f"there is no prompt of this name; there are {', '.join(prompts.names())}")
    if len(text) > LIMIT:
        raise _wrong(f"{name}.md", f"it has {len(text)} characters, and {LIMIT} are the most")
    if strange := sorted(prompts.wanted(text) - prompts.wanted(prompts.template(name))):
        known = ", ".join(sorted(prompts.wanted(prompts.template(name))))
        raise _wrong(f"{name}.md", f"it wants {{{{{strange[0]}}}}}, which is none of: {known}")


def _wrong(file: str, why: str) -> StrettoError:
    return StrettoError(
        f"{FOLDER}/{file} cannot be used: {why}",
        code="config",
        object=f"{FOLDER}/{file}",
        hint="correct it or move it away; what each prompt may say: docs/guide/agents.md",
    )
