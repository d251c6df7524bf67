"""Counts are printed with the noun in its number."""

import pytest

from haulback.units import counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "backup", "0 backups"),
        (1, "backup", "1 backup"),
        (2, "copy", "2 copies"),
        (1, "copy", "1 copy"),
        (10, "day", "10 days"),
        (21, "unknown backup", "21 unknown backups"),
    ],
)
def test_a_count_has_its_noun_in_the_singular_or_the_plural(count, noun, text):
    assert counted(count, noun) == text
