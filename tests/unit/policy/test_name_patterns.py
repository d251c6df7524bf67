"""Expressions for names are those of RE2, within bounds of number, length and memory."""

import pytest

from haulback.errors import Malformed
from haulback.policy.name_patterns import NamePatterns


def test_an_expression_matches_the_beginning_of_a_name():
    patterns = NamePatterns(["web", "db$"])
    assert patterns.match("web-1")
    assert patterns.match("db")
    assert not patterns.match("db-1")
    assert not patterns.match("my-web")


LARGE = "(?i:ä){1000}"  # takes about 30 KiB of the engine's memory


def test_an_expression_that_needs_more_than_a_mebibyte_is_refused():
    assert NamePatterns([LARGE * 20]).match("Ä" * 20_000)
    with pytest.raises(Malformed, match=r"tags\[0\].*is not a regular expression of RE2"):
        NamePatterns([LARGE * 40], "tags")


def test_expressions_that_together_need_too_much_memory_still_match():
    patterns = NamePatterns([LARGE * 20, LARGE * 21, "web"])
    assert patterns.match("web-1")
    assert patterns.match("ä" * 20_000)
    assert not patterns.match("ä" * 19_999)
