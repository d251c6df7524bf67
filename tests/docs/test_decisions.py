"""Decision pages follow one format, and their index is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_how_to import DOCS

FOLDER = DOCS / "decisions"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")
_TITLE = re.compile(r"# ([1-9][0-9]*)\. (\S.*)")
_LABEL = re.compile(r"^\*\*(\w+)\.\*\*(?= |$)", re.MULTILINE)
_ORDERS = (
    ["Context", "Decision", "Consequences"],
    ["Context", "Considered", "Decision", "Consequences"],
)
_HEADLESS = ("What", "Who", "Whoever", "Nobody", "One", "Those")


def titled(page: Path) -> tuple[str, str]:
    """Number and title of a page."""
    title = _TITLE.fullmatch(page.read_text().partition("\n")[0])
    assert title, f"{page.name}: the first line is not '# N. Title'"
    return title[1], title[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_a_numbered_title_and_the_labels_in_order(page: Path):
    number, title = titled(page)
    assert re.fullmatch(r"\d{4}(-[a-z0-9]+)+", page.stem)
    assert page.stem.startswith(f"{int(number):04}-")
    assert not title.endswith((".", "?"))
    text = page.read_text()
    assert _LABEL.findall(text) in _ORDERS
    first, _, rest = text.partition("\n")
    assert rest.startswith("\n**Context.** "), f"{first}: Context follows the title"
    assert "\n#" not in rest, f"{first}: labels, not headings, divide a decision"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_part_of_a_decision_is_empty_or_starts_with_a_headless_word(page: Path):
    for part in _LABEL.split(page.read_text())[2::2]:
        words = part.split()
        assert words
        assert words[0] not in _HEADLESS


def test_no_two_decisions_have_one_number():
    numbers = [titled(page)[0] for page in PAGES]
    assert len(set(numbers)) == len(numbers)


def test_the_index_lists_every_decision_in_order_with_its_title():
    index = (FOLDER / "README.md").read_text()
    listed = re.findall(r"^- (\d+)\. \[(.+)\]\((.+)\)$", index, re.MULTILINE)
    assert listed == [(*titled(page), page.name) for page in PAGES]
