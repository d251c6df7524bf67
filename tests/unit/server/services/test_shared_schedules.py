"""Schedules that fire the rules of several policies."""

import pytest

from haulback.ids import new_guid
from haulback.inventory.records import Record
from haulback.server.scope import EVERYTHING
from haulback.server.services.policies import PolicyMembers
from haulback.server.store import configuration
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.record_catalogue import RecordCatalogue
from haulback.wire import Ref
from tests.unit.server.conftest import House


def added(house: House, kind: str, name: str) -> Record:
    body = {"type": "VM_BACKUP", "hour": 0} if kind == "schedule" else {}
    record = Record(guid=new_guid(), kind=kind, name=name, body=body)
    with house.app.store.write() as sql:
        configuration.add(sql, record)
    return record


def test_two_policies_that_change_at_once_both_stay_on_a_shared_schedule(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    shared = added(house, "schedule", "nightly")
    rules = [added(house, "rule", name) for name in ("a", "b")]
    with house.app.store.read() as sql:
        read_before = SqlCatalogue(sql).records.of_kind("schedule")
    # Both requests read the schedule before either wrote it.
    monkeypatch.setattr(RecordCatalogue, "of_kind", lambda *_: read_before)
    for rule in rules:
        with house.app.store.write() as sql:
            PolicyMembers(sql, EVERYTHING, house.clock.now).fired_by(rule, [Ref(shared.guid)])
    with house.app.store.read() as sql:
        body = SqlCatalogue(sql).records.get("schedule", shared.guid).body
    assert [ref["guid"] for ref in body["rules"]] == [rule.guid for rule in rules]
