"""The CHANGELOG is sorted by version and date, with unreleased changes first."""

from __future__ import annotations

import re

from tests.docs.test_how_to import DOCS

TEXT = (DOCS.parent / "CHANGELOG.md").read_text()


def test_unreleased_changes_stand_first_and_versions_go_back_in_time():
    first, *versions = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert first == "Unreleased"
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)


def test_changes_of_a_version_stand_under_their_dates_the_newest_first():
    released = TEXT.partition("\n## ")[2].partition("\n## ")[2]
    dates = re.findall(r"^### (.+)$", released, re.MULTILINE)
    assert dates
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates)
    assert dates == sorted(dates, reverse=True)
    parts = re.split(r"^### .+\n", released, flags=re.MULTILINE)
    assert all("\n- " not in part.partition("\n## ")[2] for part in parts)
    assert all(part.startswith("- ") for part in parts[1:])
