"""What the pages say is so: links, keys of the configuration, words that must not stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stretto import config
from stretto.config.read import TABLES
from tests.support import pages
from tests.support.world import ROOT

PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
#: tables whose keys are names that the person chooses
NAMED = ("roles", "agents", "prices")


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What `#…` can lead to, as the usual viewers make it of headings."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def known_keys() -> set[str]:
    """Every key of stretto.toml, as the reader itself names those that it knows."""
    found = {key for key in TABLES if key == "schema"} | {"checks.NAME"}
    for table in TABLES.keys() - {"schema", "checks"}:
        place = f"{table}.NAME" if table in NAMED else table
        mistakes = config.parse(f"[{place}]\nqqqqqqqqqq = 1\n")[1]
        names = next(m.suggestion for m in mistakes if "known here" in m.suggestion).removeprefix("known here: ")
        found |= {f"{place}.{name}" for name in names.split(", ")}
    return found


def test_every_key_of_the_configuration_is_told() -> None:
    text = (ROOT / "docs" / "guide" / "configuration.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)
    assert sorted(told) == sorted(known_keys())


def test_the_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_every_page_of_the_guide_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in pages.pages()[1:]:
        assert f"(docs/guide/{page.name})" in text, page.name


def test_every_decision_has_its_parts_and_its_number() -> None:
    found = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [page.name[:4] for page in found] == [f"{n:04d}" for n in range(1, len(found) + 1)]
    for page in found:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        for part in ("Context", "Decision", "Consequences"):
            assert f"\n## {part}\n" in text, f"{page.name}: {part}"


def test_every_proof_that_security_names_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) >= 10
    for path, test in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, f"{path}::{test}"
