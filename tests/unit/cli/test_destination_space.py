"""The space of a destination as the command tells it."""

from __future__ import annotations

from haulback.cli.destination_space import sentences
from haulback.contract.space import SpaceRecord
from haulback.units import GIB, MIB


def test_a_destination_that_no_clean_up_has_measured_says_so():
    assert sentences("bd", SpaceRecord()) == [
        "bd is not measured yet: its next clean-up counts the bytes"
    ]


def test_the_sentences_name_the_bytes_the_growth_and_the_limits():
    space = SpaceRecord(held=3 * GIB, living=2 * GIB, measured=1, growthPerDay=-MIB, locked=GIB)
    space.quota, space.minimumFree, space.waits = 4 * GIB, GIB, "the quota is reached"
    held, locked, growth, quota, free, waits = sentences("bd", space)
    assert held.startswith("bd holds 3 GiB; backups use 2 GiB (clean-up of 19")
    assert locked == "1 GiB that no backup needs are under an object lock"
    assert growth == "it grows by -1 MiB a day"
    assert (quota, free) == ("new backups may fill 4 GiB", "new backups leave 1 GiB free")
    assert waits == "new backups wait: the quota is reached"


def test_the_day_on_which_a_growing_destination_is_full_is_told():
    space = SpaceRecord(held=GIB, measured=1, growthPerDay=MIB, fullAt=86_400_000_000)
    assert sentences("bd", space)[1].startswith("it grows by 1 MiB a day, and is full on 1972-")
