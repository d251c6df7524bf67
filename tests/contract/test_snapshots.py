"""Snapshots in portals: taken by a rule, reverted to, removed after their retention."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.contract.order_records import IncrementBase
from haulback.ids import new_guid
from haulback.inventory.records import Entity
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from tests.contract.conftest import Served


@pytest.fixture(autouse=True)
def _rested(served: Served):
    yield
    served.rest()


def machine(served: Served) -> str:
    return served.machines[served.new_machine(VirtualDisk("root", 10, "qcow2"))]


def rule(served: Served, **keeps: int) -> dict[str, Any]:
    policy = served.call("POST", "/api/policies/vm-snapshot", {"name": new_guid()}).json()
    body = {"name": new_guid(), "policy": {"guid": policy["guid"]}, **keeps}
    answer = served.call("POST", "/api/rules/vm-snapshot", body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def names(served: Served, entity: str, query: str = "") -> list[str]:
    answer = served.call("GET", f"/api/snapshots?protected-entity={entity}{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-total-count"] == str(len(answer.json()))
    return [row["uuid"] for row in answer.json()]


def test_a_snapshot_is_shown_with_its_policy_and_kept_by_its_rule(served: Served):
    entity, keeping = machine(served), rule(served, retentionVersions=2)
    taken = []
    for _ in range(3):
        taken.append(served.snapped(entity, rule=keeping))
        waiting = served.call("GET", f"/api/tasks?protected-entity={entity}&state=QUEUED").json()
        [cleanup] = [task["guid"] for task in waiting]
        order = served.order(cleanup)
        info = {"removed": order["names"]}
        served.as_node("PUT", f"/api/tasks/{cleanup}/transfer-info", info)
        assert served.state(cleanup, "FINISHED").status_code == 204
    [first, second, third] = taken
    assert order["names"] == [first["uuid"]]
    assert set(names(served, entity)) == {second["uuid"], third["uuid"]}
    assert first["policy"] == keeping["policy"]["name"]
    assert first["snapshotPolicy"] == {**keeping["policy"]}
    assert (first["status"]["name"], first["consistency"]["name"]) == ("PRESENT", "CRASH")
    assert (first["managed"], first["standAlone"]) == (True, False)
    assert names(served, entity, "&stand-alone=true") == []
    shown = served.call("GET", f"/api/policies/vm-snapshot/{keeping['policy']['guid']}").json()
    assert [item["guid"] for item in shown["rules"]] == [keeping["guid"]]


def test_a_snapshot_is_removed_by_name_and_what_others_took_is_not(served: Served):
    held = served.snapped(description="before the update")
    entity = held["protectedEntity"]["guid"]
    assert held["description"] == "before the update"
    body = {"snapshots": [held["guid"]]}
    [task] = served.call("POST", "/api/tasks/remove-old-snapshots", body).json()
    assert served.order(task["guid"])["names"] == [held["uuid"]]
    with served.app.store.write() as sql:
        uuid = SqlCatalogue(sql).machines.get(entity).uuid
        result = {uuid: {held["uuid"]: 5, "by hand": 7}}
        ledger = SqlLedger(sql, 10)
        for _ in range(2):
            ledger.snapshots.seen(served.hypervisor["guid"], result, since=0)
    rows = served.call("GET", f"/api/snapshots?protected-entity={entity}").json()
    [theirs] = [row for row in rows if not row["managed"]]
    assert (theirs["uuid"], theirs["snapshotTime"], len(rows)) == ("by hand", 7, 2)
    wrong = {"snapshots": [theirs["guid"]]}
    answer = served.call("POST", "/api/tasks/remove-old-snapshots", wrong)
    assert answer.status_code == 400
    assert "another program made" in answer.json()["message"]
    revert = served.call("POST", "/api/tasks/revert", {"snapshot": theirs["guid"]}).json()
    assert revert["protectedEntitySnapshot"]["guid"] == theirs["guid"]


def test_going_back_voids_every_base_and_keeps_what_was(served: Served):
    held = served.snapped()
    entity = held["protectedEntity"]["guid"]
    backup = served.stored(served.machines.index(entity))
    with served.app.store.write() as sql:
        SqlLedger(sql, 0).bases.promote(
            IncrementBase(entity, served.destination["guid"], backup, "haulback-c")
        )
        assert SqlCatalogue(sql).bases.of_entity(entity)
    task = served.call("POST", "/api/tasks/revert", {"snapshot": held["guid"]}).json()
    before = f"haulback-{task['guid']}-1"
    served.run(task["guid"], {"before": before, "snapshotTime": 9})
    with served.app.store.read() as sql:
        assert SqlCatalogue(sql).bases.of_entity(entity) == []
    assert names(served, entity) == [held["uuid"], before]
    [kept] = [
        row
        for row in served.call("GET", f"/api/snapshots?protected-entity={entity}").json()
        if row["uuid"] == before
    ]
    assert held["uuid"] in kept["description"]


def test_a_release_gives_up_every_base_and_the_next_increment_says_why(served: Served):
    held = served.snapped()
    entity = held["protectedEntity"]["guid"]
    backup = served.stored(served.machines.index(entity))
    base = IncrementBase(entity, served.destination["guid"], backup, "haulback-c")
    with served.app.store.write() as sql:
        SqlLedger(sql, 0).bases.promote(base)
    body = {"protectedEntities": [{"guid": entity}]}
    [task] = served.call("POST", "/api/tasks/release", body).json()
    again = served.call("POST", "/api/tasks/release", body)
    assert (again.status_code, again.json()["details"]["task"]) == (409, task["guid"])
    order = served.order(task["guid"])
    assert (order["names"], order["release"]) == ([], True)
    served.run(task["guid"], {"removed": [], "released": ["haulback-c"]})
    why = "the checkpoints of the machine were released"
    [reason] = served.call(
        "POST", "/api/virtual-machines/incremental-not-possible", {"entities": [{"guid": entity}]}
    ).json()[0]["reasons"]
    assert (reason["name"], why in reason["description"]) == ("MISSING_BASE", True)
    export = {"protectedEntities": [{"guid": entity}], "backupType": "INCREMENTAL"}
    export |= {"backupDestination": {"guid": served.destination["guid"]}}
    [head] = served.call("POST", "/api/tasks/export", export).json()
    order = served.order(head["guid"])
    assert (order["base"], order["no_base"]) == (None, why)
    with served.app.store.write() as sql:
        SqlLedger(sql, 0).bases.promote(base)
        assert SqlCatalogue(sql).bases.why_lost(entity, base.destination) == ""
        SqlLedger(sql, 0).removals.forget_entity(entity)


def test_what_an_inventory_no_longer_finds_is_no_longer_listed(served: Served):
    held = served.snapped()
    entity = held["protectedEntity"]["guid"]
    with served.app.store.write() as sql:
        result = SqlCatalogue(sql).machines.get(entity)
        snapshot = SqlCatalogue(sql).snapshots.get(held["guid"])
        ledger, where = SqlLedger(sql, 0), served.hypervisor["guid"]
        empty: dict[str, dict[str, int]] = {result.uuid: {}}
        ledger.snapshots.seen(where, empty, since=snapshot.created)
        assert SqlCatalogue(sql).snapshots.of_entity(entity)  # taken during the inventory
        ledger.snapshots.seen(where, empty, since=snapshot.created + 1)
        assert not SqlCatalogue(sql).snapshots.of_entity(entity)


def abandoned(served: Served, *names: str) -> list[str]:
    return list(served.as_node("POST", "/api/nodes/self/abandoned", list(names)).json())


def seen(served: Served, entity: str, *names: str) -> dict[str, dict[str, Any]]:
    """The listed snapshots by name, after an inventory with these snapshots."""
    with served.app.store.write() as sql:
        uuid = SqlCatalogue(sql).machines.get(entity).uuid
        found = {uuid: dict.fromkeys(names, 5)}
        SqlLedger(sql, 10).snapshots.seen(served.hypervisor["guid"], found, since=0)
    rows = served.call("GET", f"/api/snapshots?protected-entity={entity}").json()
    return {row["uuid"]: row for row in rows}


def ended(served: Served, path: str, body: dict[str, Any], state: str) -> str:
    """The snapshot of a task's attempt, when the task ended in that state."""
    answer = served.call("POST", f"/api/tasks/{path}", body)
    assert answer.status_code == 201, answer.text
    task = answer.json()[0] if isinstance(answer.json(), list) else answer.json()
    assert served.state(task["guid"], "RUNNING").status_code == 204
    if state != "RUNNING":
        assert served.state(task["guid"], state).status_code == 204
    return f"haulback-{task['guid']}-1"


def test_only_what_our_own_attempts_left_is_abandoned(served: Served):
    held = served.snapped()
    entity = held["protectedEntity"]["guid"]
    failed = ended(served, "snapshot", {"protectedEntities": [entity]}, "FAILED")
    other = f"haulback-{new_guid()}-1"  # from another server, or older than the records
    assert abandoned(served, held["uuid"], failed, other, "by hand") == [failed]
    running = ended(served, "snapshot", {"protectedEntities": [entity]}, "RUNNING")
    assert abandoned(served, running) == []
    rows = seen(served, entity, held["uuid"], failed, running, other, "by hand")
    assert {name: row["managed"] for name, row in rows.items()} == {
        held["uuid"]: True, other: False, "by hand": False,
    }  # fmt: skip


def test_what_a_machine_was_before_a_revert_that_failed_is_kept_and_can_be_gone_back_to(
    served: Served,
):
    held = served.snapped()
    entity = held["protectedEntity"]["guid"]
    before = ended(served, "revert", {"snapshot": held["guid"]}, "FAILED")
    assert abandoned(served, before) == []
    rows = seen(served, entity, held["uuid"], before)
    assert rows[before]["managed"]
    answer = served.call("POST", "/api/tasks/revert", {"snapshot": rows[before]["guid"]})
    assert answer.status_code == 201, answer.text


def test_what_a_machine_was_is_known_though_nobody_lived_to_tell(served: Served):
    held = served.snapped()
    entity = held["protectedEntity"]["guid"]
    before = ended(served, "revert", {"snapshot": held["guid"]}, "FAILED")
    with served.app.store.write() as sql:
        served.app.tidy_node(sql, served.identity["guid"])
    [clean] = served.call("GET", "/api/tasks?type=STAGING_CLEANUP&state=QUEUED").json()
    with served.app.store.read() as sql:
        uuid = SqlCatalogue(sql).machines.get(entity).uuid
    result = {uuid: {held["uuid"]: 5, before: 6}}
    elsewhere = served.call("POST", "/api/hypervisors", {"name": new_guid(), "path": "/y"}).json()
    both = {served.hypervisor["guid"]: result, elsewhere["guid"]: result, new_guid(): result}
    served.run(clean["guid"], {"removed": 0, "held": both})
    rows = served.call("GET", f"/api/snapshots?protected-entity={entity}").json()
    assert {row["uuid"] for row in rows} == {held["uuid"], before}


def test_a_name_of_any_length_is_found_again(served: Served):
    entity = machine(served)
    for _ in range(2):
        [row] = seen(served, entity, "x" * 390).values()
        assert row["uuid"] == "x" * 200


def test_a_hypervisor_with_snapshots_can_be_removed(served: Served):
    where = served.call("POST", "/api/hypervisors", {"name": new_guid(), "path": "/x"}).json()
    one = Entity(guid=new_guid(), uuid=new_guid(), name="m", hypervisor=where["guid"])
    with served.app.store.write() as sql:
        ledger = SqlLedger(sql, 1)
        ledger.inventory.scanned(where["guid"], [one], complete_since=None)
        ledger.snapshots.seen(where["guid"], {one.uuid: {"by hand": 5}}, since=0)
    assert served.call("DELETE", f"/api/hypervisors/{where['guid']}").status_code == 204


def test_who_deletes_a_machine_s_backups_removes_the_snapshots_that_we_took_only(served: Served):
    held = served.snapped()
    entity = held["protectedEntity"]["guid"]
    seen(served, entity, held["uuid"], "by hand")
    [task] = served.call("POST", "/api/tasks/delete", {"value": entity}).json()
    assert served.order(task["guid"])["snapshots"] == [held["uuid"]]


def test_a_machine_without_disks_has_no_snapshots(served: Served):
    body = {"protectedEntities": [served.machines[served.new_machine()]]}
    answer = served.call("POST", "/api/tasks/snapshot", body)
    assert answer.status_code == 400
    assert "no disk" in answer.json()["message"]


@pytest.mark.parametrize(
    "keeps", [{"retentionVersions": 0}, {"retentionDays": 0}, {"retentionDays": 99_999}]
)
def test_a_rule_that_would_keep_nothing_is_refused(served: Served, keeps: dict[str, int]):
    answer = served.call("POST", "/api/rules/vm-snapshot", {"name": new_guid(), **keeps})
    assert answer.status_code == 400
    assert next(iter(keeps)) in answer.json()["message"]
