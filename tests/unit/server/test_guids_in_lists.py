"""A list finds its records by the beginning of a guid, as by a part of the name."""

from __future__ import annotations

from haulback.server.queries import Filter, ListQuery
from haulback.server.scope import EVERYTHING
from haulback.server.services import tasks as task_service
from haulback.server.store import lists
from tests.unit.server.conftest import House


def test_a_list_of_machines_or_backups_finds_six_characters_of_a_guid_and_no_fewer(house: House):
    [export] = house.export()
    machine, backup = house.entities[0], export.ref("backup") or ""
    with house.app.store.read() as sql:
        for length, count in ((6, 1), (36, 1), (5, 0)):
            wanted = ListQuery(scope=EVERYTHING, text=machine.guid[:length].upper())
            assert [row.guid for row in lists.machines(sql, wanted)[0]] == [machine.guid] * count
            stored = ListQuery(scope=EVERYTHING, text=backup[:length])
            assert [row.guid for row in lists.backups(sql, stored)[0]] == [backup] * count
        heads = lists.heads(sql, ListQuery(scope=EVERYTHING, text=export.workflow[:8]))[0]
    assert [head.guid for head in heads] == [export.guid]
    row = task_service.page(house.app, Filter(text=export.guid[:6]))[0]
    assert [task.guid for task, _ in row] == [export.guid]
