"""Pages of the reference follow from the declarations of operations and kinds."""

from __future__ import annotations

import pytest

from haulback.server.http import reference
from tests.docs.test_how_to import DOCS

FOLDER = DOCS / "reference"
PAGES = reference.pages(FOLDER)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_code_declares(name: str):
    assert (FOLDER / name).read_text() == PAGES[name], "run scripts/reference and commit its pages"


def test_every_operation_has_a_row_on_the_pages():
    for operation in reference.OPERATIONS:
        assert f"| `{operation.key}` |" in PAGES["access.md"]
        assert f"| `{operation.key}` | {operation.summary} |" in PAGES["operations.md"]
        row = f"| `{operation.key}` | `{operation.command}` |"
        assert (row in PAGES["cli.md"]) == bool(operation.command)


def test_the_prose_of_the_page_of_commands_stays():
    page = "# Ours\n\n" + PAGES["cli.md"].replace("`task ls`", "`task lost`") + "Ours too.\n"
    assert reference.commands(page) == "# Ours\n\n" + PAGES["cli.md"] + "Ours too.\n"


def test_a_page_of_commands_without_a_mark_is_refused():
    with pytest.raises(ValueError, match="end of node"):
        reference.commands(PAGES["cli.md"].replace("<!-- end of node -->", ""))
