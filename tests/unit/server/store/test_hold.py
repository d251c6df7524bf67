"""The hold of a restored database."""

from __future__ import annotations

from haulback.server.store import hold
from tests.unit.server.conftest import House


def test_a_hold_lasts_until_it_is_lifted(house: House) -> None:
    with house.app.store.write() as sql:
        assert not hold.is_held(sql)
        hold.begin(sql, 5, 3, "restored")
        assert hold.is_held(sql)
        assert hold.lift(sql) == 1
        assert not hold.is_held(sql)


def test_a_hold_names_each_destination_and_what_was_found_on_it(house: House) -> None:
    with house.app.store.write() as sql:
        hold.begin(sql, 5, 3, "restored")
        assert not hold.is_looked_through(sql)
        hold.looked(sql, house.destination.guid, hold.ComparisonResult(9, 2), since=4)
        assert not hold.is_looked_through(sql)  # that task began before the hold
        hold.looked(sql, house.destination.guid, hold.ComparisonResult(9, 2), since=5)
        assert hold.is_looked_through(sql)
        [row] = hold.destinations(sql)
    assert (row.name, row.since, row.copied, row.looked, row.unknown) == ("bd", 5, 3, 9, 2)
