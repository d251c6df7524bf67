"""Chargeback: bytes of backups by group, on both databases."""

from __future__ import annotations

import random

import pytest

from haulback.contract.reports import GroupBy, Measure, SizeFilter
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.managers import cluster_of, manager_of
from haulback.inventory.records import Backup, Record
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import report_sizes, reports
from haulback.server.services.report_sizes import ReportSpan, SizeReading
from haulback.server.store import configuration
from haulback.wire import Ref, Word
from tests.unit.server.conftest import START, House
from tests.unit.server.services.reported import DAY, backup, policy


def sizes(
    house: House, by: str, measure: Measure = Measure.BACKUP_SIZE, **more: object
) -> dict[str, int]:
    wanted = SizeFilter(groupBy=Word(by), **more)  # type: ignore[arg-type]
    span = reports.span(house.app, None, None)
    groups = reports.chargeback(house.app, EVERYTHING, span, wanted, measure)
    assert len({group.name for group in groups}) == len(groups)
    return {group.name: group.size for group in groups}


def test_bytes_are_added_by_every_noun(house: House):
    db, mail, web = house.entities
    _gold, gold_rule = policy(house, "gold", db)
    tenant = Record(guid=new_guid(), kind="project", name="Red", body={"uuid": "red"})
    with house.app.store.write() as sql:
        configuration.add(sql, tenant)
    backup(house, db, rule=gold_rule.guid, project="red")
    backup(house, db, rule=gold_rule.guid, type="INCREMENTAL", read=7, project="red")
    backup(house, mail, size=50, project="blue")
    backup(house, web, status="FAILED", size=0, read=11)
    backup(house, web, ago=2 * DAY)  # before the period
    assert sizes(house, "virtual-machine") == {"db": 107, "mail": 50}
    assert sizes(house, "virtual-machine", Measure.TRANSFER_SIZE) == {
        "db": 67,
        "mail": 60,
        "web": 11,
    }
    assert sizes(house, "backup-destination") == {"bd": 157}
    assert sizes(house, "backup-policy") == {"gold": 107, "without policy": 50}
    assert sizes(house, "hypervisor") == {"hv": 157}
    assert list(sizes(house, "hypervisor-cluster").values()) == [157]
    assert list(sizes(house, "HYPERVISOR_MANAGER").values()) == [157]
    assert sizes(house, "project") == {"Red": 107, "blue": 50}
    assert sizes(house, "project", Measure.TRANSFER_SIZE)["without project"] == 11


def test_each_list_of_a_filter_chooses_backups(house: House):
    db, mail, _web = house.entities
    gold, gold_rule = policy(house, "gold", db)
    tenant = Record(guid=new_guid(), kind="project", name="Red", body={"uuid": "red"})
    with house.app.store.write() as sql:
        configuration.add(sql, tenant)
    backup(house, db, rule=gold_rule.guid, project="red")
    backup(house, mail)
    strange = [Ref(new_guid())]
    for name, wanted in (
        ("backupDestinationGuids", house.destination.guid),
        ("hypervisorGuids", house.hypervisor.guid),
        ("hypervisorClusterGuids", cluster_of(house.hypervisor)),
        ("hypervisorManagerGuids", manager_of(house.hypervisor)),
    ):
        assert sizes(house, "vm", **{name: [Ref(wanted)]}) == {"db": 100, "mail": 100}, name
        assert sizes(house, "vm", **{name: strange}) == {}, name
    assert sizes(house, "vm", backupPolicyGuids=[Ref(gold.guid)]) == {"db": 100}
    assert sizes(house, "vm", virtualMachineGuids=[Ref(mail.guid)]) == {"mail": 100}
    for project in (tenant.guid, "red"):
        assert sizes(house, "vm", projectGuids=[project]) == {"db": 100}
    both = {"backupPolicyGuids": [Ref(gold.guid)], "virtualMachineGuids": [Ref(mail.guid)]}
    assert sizes(house, "vm", **both) == {}


def test_a_caller_sees_the_bytes_of_the_own_projects(house: House):
    backup(house, house.entities[0], project="red")
    backup(house, house.entities[1], project="blue")
    wanted, span = SizeFilter(groupBy=Word("project")), reports.span(house.app, None, None)
    scope = Scope(frozenset({"red"}))
    groups = reports.chargeback(house.app, scope, span, wanted, Measure.BACKUP_SIZE)
    assert [(group.name, group.size) for group in groups] == [("red", 100)]


def test_the_smallest_groups_are_one_row_and_nothing_is_left_out(house: House):
    for number, entity in enumerate(house.entities):
        backup(house, entity, size=10 + number)
    span = reports.span(house.app, None, None)
    with house.app.store.read() as sql:
        reading = SizeReading(sql, EVERYTHING)
        table = reading.table(span, SizeFilter(), Measure.BACKUP_SIZE, 1)
    assert [(row.name, row.size) for row in table.groups] == [("web", 12), ("2 others", 21)]
    assert table.total == 33


def test_any_grouping_adds_up_to_a_naive_sum(house: House):
    dice = random.Random(7)
    rules = ["", *(policy(house, name)[1].guid for name in ("p", "q"))]
    made: list[Backup] = []
    for _ in range(60):
        status = dice.choice(["SUCCESS", "SUCCESS_REMOVED", "FAILED", "PARTIAL_SUCCESS", "QUEUED"])
        made.append(
            backup(
                house,
                dice.choice(house.entities),
                ago=dice.choice([0, 1, DAY - 1, DAY, DAY + 1]),
                type=dice.choice(["FULL", "INCREMENTAL"]),
                size=dice.randrange(1000),
                read=dice.randrange(1000),
                status=status,
                rule=dice.choice(rules) or None,
                project=dice.choice([None, "red"]),
            )
        )
    within = [item for item in made if START - DAY <= item.created <= START]
    stored = [item for item in within if item.status in ("SUCCESS", "SUCCESS_REMOVED")]
    for choice in GroupBy:
        kept = sizes(house, choice.value)
        assert sum(kept.values()) == sum(item.held for item in stored)
        moved = sizes(house, choice.value, Measure.TRANSFER_SIZE)
        assert sum(moved.values()) == sum(item.read for item in within)


@pytest.mark.parametrize("text", ["vms", "name", "'; DROP TABLE backup"])
def test_an_unknown_grouping_is_refused(text: str):
    with pytest.raises(Malformed) as caught:
        report_sizes.group_by(SizeFilter(groupBy=Word(text)), "backupSize.")
    assert caught.value.details["field"] == "backupSize.groupBy"


def test_a_span_lasts_a_day_until_now_unless_said(house: House):
    assert reports.span(house.app, None, None) == ReportSpan(START - DAY, START)
    assert reports.span(house.app, None, 5) == ReportSpan(0, 5)
    with pytest.raises(Malformed):
        reports.span(house.app, 6, 5)
