"""The troubleshooting page is complete: every error, reason to wait and alarm has an entry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from haulback import errors
from haulback.contract.alarms import AlarmKind
from haulback.errors import HaulbackError
from haulback.server.store import queue_position
from haulback.tasks import scheduling
from tests.docs.test_how_to import DOCS

PAGE = DOCS / "howto" / "troubleshooting.md"
SOURCE = DOCS.parent / "src"
ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
ERRORS = [kind for kind in ERRORS if issubclass(kind, HaulbackError)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_every_error_has_a_row_with_its_exit_code_and_its_status(error: type[HaulbackError]):
    row = f"| {error.exit_code} | `{error.code}` | {error.status} | "
    assert row in PAGE.read_text()


@pytest.mark.parametrize(
    "reason",
    [
        queue_position.NOTHING_ELSE,
        scheduling.waiting_for("entity:machine"),
        scheduling.waiting_for("source:hypervisor:export"),
        scheduling.waiting_for("destination:folder:store"),
        scheduling.waiting_for("node:n1:export"),
        scheduling.waiting_for("share:n1:export:folder"),
        scheduling.busy_nodes(["node:n1:export", "share:n2:export:folder"]),
    ],
)
def test_every_reason_of_a_queued_task_has_a_row(reason: str):
    assert f"| `{reason}` | " in PAGE.read_text()


def test_the_numbers_of_the_default_limits_are_those_of_the_queue():
    text = PAGE.read_text()
    assert f"({scheduling.PER_SOURCE['export']}; also `snapshot`)" in text
    assert f"({scheduling.PER_DESTINATION['store']}; `cleanup`: 1)" in text
    assert scheduling.PER_DESTINATION["cleanup"] == 1


def test_every_alarm_is_explained_on_the_page_that_the_symptoms_lead_to():
    assert "(when-something-is-damaged.md)" in PAGE.read_text()
    page = (DOCS / "howto" / "when-something-is-damaged.md").read_text()
    assert [kind for kind in AlarmKind if kind.value not in page] == []


def messages(page: Path = PAGE, heading: str = "## Common failures") -> list[str]:
    """The literal parts of the messages quoted in the tables of common failures."""
    failures = page.read_text().partition(heading)[2]
    rows = re.findall(r"^\| (`.+?)(?= \|)", failures, re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    parts = [part.strip() for text in quoted for part in text.split("…")]
    return sorted({part for part in parts if len(part) > 3})


def spelled(folder: Path) -> str:
    """The source text with adjacent string literals joined, as Python joins them."""
    text = "\n".join(path.read_text() for path in sorted(folder.rglob("*.py")))
    return re.sub(r'"\s+f?"', "", text)


def test_the_page_about_the_loss_of_everything_quotes_messages_of_the_product():
    text = re.sub(r"\{[^{}]*\}", "…", spelled(SOURCE))
    wanted = messages(DOCS / "howto" / "everything-is-gone.md", "## If it fails")
    assert len(wanted) > 6
    assert [message for message in wanted if message not in text] == []
    assert "the recovery kit belongs to another repository" in wanted


def test_every_quoted_message_is_one_that_the_product_has():
    text = re.sub(r"\{[^{}]*\}", "…", spelled(SOURCE))
    known = ("haulback: command not found",)  # a message of the shell
    wanted = [message for message in messages() if message not in known]
    assert len(wanted) > 20
    assert [message for message in wanted if message not in text] == []
