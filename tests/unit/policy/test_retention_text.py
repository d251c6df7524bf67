"""Keeps of a rule are written in a short form, and a mistake is reported by name."""

from __future__ import annotations

import pytest

from haulback.contract.retention import RuleRetention
from haulback.errors import Malformed
from haulback.policy.retention_text import keeps_text, read_keeps


def test_keeps_are_written_as_numbers_of_days_weeks_months_and_years():
    settings = read_keeps("7d,4w,12m,3y")
    assert settings.keeps == (7, 4, 12, 3)
    assert keeps_text(settings) == "7d,4w,12m,3y"
    assert read_keeps("1 day, 2 weeks,3months , 4 Years").keeps == (1, 2, 3, 4)
    assert read_keeps("2Y, 1d") == RuleRetention(keepDaily=1, keepYearly=2, keepOthers=False)


def test_keeps_set_no_count_and_no_age():
    settings = read_keeps("7d")
    assert not settings.has_limit
    assert settings.keepLastBackupWhenSourceStillExists is None
    assert settings.keeps == (7, 0, 0, 0)


@pytest.mark.parametrize("text", ["", "7", "d", "7h", "7d,", "7d 4w", "-7d", "7.5d", "7d;4w"])
def test_a_text_that_names_no_keeps_is_refused(text: str):
    with pytest.raises(Malformed, match="write 7d,4w,12m,3y"):
        read_keeps(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("7d,7d", "twice"), ("0d,0w", "keeps nothing"), ("36501d", "at most 36500")],
)
def test_keeps_that_contradict_themselves_are_refused(text: str, words: str):
    with pytest.raises(Malformed, match=words) as refused:
        read_keeps(text, "keeping")
    assert refused.value.details["field"] == "keeping"


def test_settings_without_keeps_have_no_text():
    assert keeps_text(RuleRetention(retentionKeepLastNFull=4)) == ""


def test_a_century_of_days_is_the_most_that_keeps_take():
    assert read_keeps("36500d").keeps == (36_500, 0, 0, 0)


def test_a_mistake_names_its_field_and_the_first_characters_of_the_part():
    with pytest.raises(Malformed) as refused:
        read_keeps("7d," + "x" * 21)
    assert refused.value.message == (
        f"keep: {'x' * 20!r} is not a number with d, w, m or y; write 7d,4w,12m,3y"
    )
    assert refused.value.details == {"field": "keep"}
