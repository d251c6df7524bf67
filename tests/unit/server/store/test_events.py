"""Events in the database."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.contract.events import Event, EventKind
from haulback.server.store import events
from haulback.server.store.event_tables import event as table
from tests.unit.server.conftest import House


def test_an_event_is_kept_with_its_subject_and_its_data(house: House) -> None:
    machine = house.entities[0]
    said = Event(
        kind=EventKind.PROTECTION_CHANGED,
        time=house.clock.now,
        subject=machine.guid,
        subject_name=machine.name,
        text="db is late",
        data={"state": "late"},
    )
    with house.app.store.write() as sql:
        events.add(sql, said)
        row = sql.execute(sa.select(table)).one()
    assert (row.kind, row.subject_name, row.data) == (
        "PROTECTION_CHANGED",
        "db",
        '{"state":"late"}',
    )
