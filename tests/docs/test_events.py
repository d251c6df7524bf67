"""The page of events lists every kind, in the order of the contract."""

from __future__ import annotations

import re

from haulback.contract.events import EventKind
from haulback.policy.notification_match import TROUBLES
from tests.docs.test_how_to import DOCS

ROWS = re.findall(
    r"^\| ([A-Z_]+) \|.*\| ([^|]*) ?\|$",
    (DOCS / "reference" / "events.md").read_text(),
    re.MULTILINE,
)


def test_the_page_of_events_lists_every_kind():
    assert {kind for kind, _ in ROWS} == set(EventKind.__members__)


def test_the_page_of_events_marks_the_troubles():
    assert {kind for kind, trouble in ROWS if trouble.strip()} == TROUBLES
