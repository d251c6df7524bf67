"""Dates and times of options are read in the zone of this machine."""

from __future__ import annotations

from datetime import datetime

import pytest

from haulback.cli.submit_options import SubmitOptions
from haulback.cli.times import epoch_ms
from haulback.errors import Malformed


def test_a_date_is_its_midnight_and_a_number_is_epoch_ms():
    midnight = int(datetime(2026, 11, 27).timestamp() * 1000)
    assert epoch_ms("2026-11-27", "--until") == midnight
    assert epoch_ms("2026-11-27T07:00", "--until") == midnight + 7 * 3_600_000
    assert epoch_ms("2026-11-27T07:00+01:00", "--until") == 1_795_759_200_000
    assert epoch_ms("1795759200000", "--until") == 1_795_759_200_000
    assert epoch_ms(None, "--until") is None


@pytest.mark.parametrize(
    "words", ["tomorrow", "2026-13-01", "27.11.2026", "-5", " ", "", "1" * 5000]
)
def test_another_text_is_refused_with_the_option_and_the_forms(words: str):
    with pytest.raises(Malformed, match=r"^--until .{1,60}: write 2026-11-27T07:00") as caught:
        epoch_ms(words, "--until")
    assert caught.value.details["field"] == "--until"


def test_the_start_window_of_a_submission_is_a_date_or_a_time():
    times = SubmitOptions(window_start="2026-11-27", window_end="1795759200000").times
    assert times["windowStart"] == int(datetime(2026, 11, 27).timestamp() * 1000)
    assert times["windowEnd"] == 1_795_759_200_000
