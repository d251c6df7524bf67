"""Machines are assigned once, even after crashes and simultaneous changes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.inventory.records import Entity, Record
from haulback.kinds.registry import KINDS
from haulback.server.key_vault import KeyVault
from haulback.server.services import assignment
from haulback.server.services.app import App
from haulback.server.store import configuration, evaluations, machines, tables
from haulback.server.store.engine import open_store
from haulback.server.store.evaluations import PIECE, EvaluationKind
from haulback.server.store.event_tables import event
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.rows import json_text
from tests.unit.server.conftest import House


def policy(house: House, kind: str = "vm-backup", **more: Any) -> Record:
    settings = {"mode": "ASSIGN_ONLY", "includeRegExps": ["m-"], **more}
    body = {"autoAssignMode": "ASSIGN_ONLY", "autoAssignSettings": settings}
    record = Record(guid=new_guid(), kind=kind, name=new_guid(), body=body, modified=1)
    with house.app.store.write() as sql:
        configuration.add(sql, record)
    return record


def fleet(house: House, count: int) -> None:
    with house.app.store.write() as sql:
        new = [
            Entity(
                guid=new_guid(), uuid=new_guid(), name=f"m-{n}", hypervisor=house.hypervisor.guid
            )
            for n in range(count)
        ]
        SqlLedger(sql, house.clock.now).inventory.scanned(
            house.hypervisor.guid, new, complete_since=None
        )


def members(house: House, record: Record, setting: str = "backupPolicy") -> int:
    with house.app.store.read() as sql:
        return len(machines.members(sql, setting, record.guid))


def told(house: House, record: Record) -> int:
    """The number of machines that the events of a policy report as assigned."""
    with house.app.store.read() as sql:
        texts = sql.scalars(sa.select(event.c.data).where(event.c.subject == record.guid))
        return sum(int(text.partition('"assignedCount":')[2].partition(",")[0]) for text in texts)


def test_a_machine_gets_a_backup_and_a_snapshot_policy_in_one_walk(house: House):
    backup, snapshot = policy(house), policy(house, "vm-snapshot")
    fleet(house, 3)
    assignment.continue_evaluations(house.app)
    assert members(house, backup) == members(house, snapshot, "snapshotPolicy") == 3


def test_a_walk_that_was_killed_goes_on_after_its_last_piece(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    made = policy(house)
    fleet(house, 2 * PIECE + 7)
    pieces = evaluations.next_machines

    def killed(sql: Any, walk: Any) -> Any:
        if walk.cursor:
            raise MemoryError
        return pieces(sql, walk)

    monkeypatch.setattr(evaluations, "next_machines", killed)
    with pytest.raises(MemoryError):
        assignment.continue_evaluations(house.app)
    monkeypatch.undo()
    assert 0 < members(house, made) <= PIECE
    assignment.continue_evaluations(house.app)
    assert members(house, made) == told(house, made) == 2 * PIECE + 7
    with house.app.store.read() as sql:
        assert not evaluations.is_assigning(sql)


def test_a_walk_that_is_requested_again_begins_anew(house: House):
    made = policy(house, includeRegExps=["other-"])
    fleet(house, PIECE + 1)
    with house.app.store.write() as sql:
        walk = evaluations.next_evaluation(sql, [EvaluationKind.HOST])
        assert walk
        page = evaluations.next_machines(sql, walk)
        evaluations.advance(sql, walk, page)
        body = {**made.body, "autoAssignSettings": {"mode": "ASSIGN_ONLY", "includeTags": [],
                                                    "includeRegExps": ["m-"]}}  # fmt: skip
        made.body = body
        configuration.change(sql, made)
        evaluations.request(sql, EvaluationKind.HOST, house.hypervisor.guid)
        # The end of the older walk is not the end of the new walk.
        assert not evaluations.advance(sql, walk, [])
    assignment.continue_evaluations(house.app)
    assert members(house, made) == PIECE + 1


def test_two_servers_assign_each_machine_once(cluster_url: str):
    stores = [open_store(cluster_url) for _ in range(2)]
    apps = [App(store, KINDS, KeyVault(bytes(32))) for store in stores]
    house = House(apps[0], apps[0].clock)  # type: ignore[arg-type]
    house.clock.now = apps[0].clock.now_ms()  # type: ignore[attr-defined]
    made = policy(house)
    fleet(house, 3 * PIECE)
    threads = [threading.Thread(target=assignment.continue_evaluations, args=[app]) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assignment.continue_evaluations(apps[1])
    assert members(house, made) == told(house, made) == 3 * PIECE
    for store in stores:
        store.close()


def test_a_user_who_changes_a_machine_meanwhile_is_not_overruled(house: House):
    machine = house.entities[0]
    with house.app.store.write() as sql:
        machines.set_settings(sql, machine.guid, {"excludedDisks": ["a"]})
        assert machines.unchanged(sql, [machine]) == []
        assert len(machines.unchanged(sql, house.entities)) == 2


def test_a_policy_of_an_earlier_version_with_a_strange_expression_changes_nothing(house: House):
    made = policy(house)
    fleet(house, 2)
    assignment.continue_evaluations(house.app)
    strange = {"mode": "ASSIGN_AND_REMOVE", "includeRegExps": ["x(?!y)"]}
    made.body = {**made.body, "autoAssignSettings": strange}
    with house.app.store.write() as sql:
        sql.execute(
            sa.update(tables.record)
            .where(tables.record.c.guid == made.guid)
            .values(body=json_text(made.body))
        )
        evaluations.request(sql, EvaluationKind.POLICY, made.guid)
    assert "includeRegExps[0]" in assignment.unreadable_conditions(made)
    assignment.continue_evaluations(house.app)
    assert members(house, made) == 2


def test_a_policy_removed_in_one_statement_leaves_all_its_machines(house: House):
    made = policy(house)
    fleet(house, 5)
    assignment.continue_evaluations(house.app)
    with house.app.store.write() as sql:
        machines.leave_policy(sql, "backupPolicy", made.guid)
    assert members(house, made) == 0
    with house.app.store.read() as sql:
        texts = set(sql.scalars(sa.select(tables.entity.c.settings)))
    assert texts == {"{}"}
