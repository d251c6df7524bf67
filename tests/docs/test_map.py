"""Every page of the documentation is reachable from its map, and no link is broken."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.docs.test_how_to import DOCS, README

MAP = DOCS / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_MODULE = re.compile(r"(?<![\w/.])(?:[a-z_0-9]+/)*[a-z_0-9]+\.py\b")
# Modules that a page adds.
_EXAMPLES = {
    "add-a-kind.md": {f"{room}/ping.py" for room in ("contract", "kinds", "work", "cli")},
    "add-a-destination.md": {"src/haulback/destinations/attic.py"},
    "write-a-node.md": {"node.py"},
}
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_READERS = ("Administrator", "Portal integrator", "Extension writer", "Contributor")


def links(page: Path) -> list[tuple[Path, str]]:
    """The files and anchors that a page links to, outside its code blocks."""
    text = _FENCED.sub("", page.read_text())
    wanted = [link for link in _LINK.findall(text) if "://" not in link]
    pairs = [link.partition("#") for link in wanted]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in pairs]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_every_page_is_reachable_from_the_map():
    reached, next_pages = {MAP}, [MAP]
    while next_pages:
        for page, _ in links(next_pages.pop()):
            if page.suffix == ".md" and page not in reached and page.is_file():
                reached.add(page)
                next_pages.append(page)
    assert [page for page in PAGES if page not in reached] == []


def test_the_map_itself_lists_every_page_but_single_decisions():
    listed = {page for page, _ in links(MAP)}
    decisions = set((DOCS / "decisions").glob("0*.md"))
    assert [page.name for page in PAGES if page not in listed | decisions | {MAP}] == []


def test_the_map_lists_a_page_once_for_a_reader():
    for part in MAP.read_text().split("\n## "):
        twice = [link for link, count in Counter(_LINK.findall(part)).items() if count > 1]
        assert not twice, part.partition("\n")[0]


def test_the_map_has_a_section_for_each_reader_and_the_readme_links_the_map():
    headings = re.findall(r"^## (.+)$", MAP.read_text(), re.MULTILINE)
    assert [reader for reader in _READERS if reader not in headings] == []
    assert (MAP, "") in links(README)


@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_to_a_heading(page: Path):
    for target, anchor in links(page):
        assert target.exists(), f"{page.name}: {target} is missing"
        assert not anchor or anchor in anchors(target), f"{page.name}: no heading #{anchor}"


@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.name)
def test_every_module_that_a_page_names_exists(page: Path):
    words = set(_MODULE.findall(page.read_text())) - _EXAMPLES.get(page.name, set())
    assert [word for word in sorted(words) if not is_file(word)] == []


def is_file(word: str) -> bool:
    """Whether a path, or its end, is a Python file of the product, its tests or its scripts."""
    return any(f"/{path}".endswith(f"/{word}") for path in _files())


@cache
def _files() -> list[str]:
    folders = ("src", "tests", "benchmarks", "scripts")
    return [str(path) for folder in folders for path in (DOCS.parent / folder).rglob("*.py")]
