"""Reports of a node about a running task: known members of the right type are stored unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from haulback.inventory.derived_guids import file_guid
from tests.contract.conftest import EXPORTED, Served
from tests.contract.test_transport import is_error

OTHER = "the backup is FULL, although INCREMENTAL was requested"


@pytest.fixture(autouse=True)
def at_rest(served: Served) -> None:
    served.rest()


def incremental(served: Served, **more: Any) -> tuple[str, str]:
    """A running export that was requested as INCREMENTAL, and its backup."""
    task = served.export(backupType="INCREMENTAL", **more)
    assert served.state(task["guid"], "RUNNING").status_code == 204
    return str(task["guid"]), str(task["backup"]["guid"])


def types(served: Served, guid: str, backup: str) -> set[str]:
    """The backup types in the export, the store and the backup."""
    task = served.task(guid, "?extended=true")
    shown = [task, *task["followers"], {"backupType": one_backup(served, backup)["type"]}]
    return {one["backupType"]["name"] for one in shown}


def one_backup(served: Served, backup: str) -> dict[str, Any]:
    return dict(served.call("GET", f"/api/backups/{backup}").json())


def store(served: Served, guid: str) -> None:
    [after] = served.task(guid, "?extended=true")["followers"]
    served.run(after["guid"], {"stored": 5})


@pytest.mark.parametrize("said", ["FULL", {"name": "FULL", "description": "Full"}])
def test_an_increment_that_became_a_full_says_so_everywhere(served: Served, said: Any):
    guid, backup = incremental(served)
    path = f"/api/tasks/{guid}/backup-type"
    for _ in range(2):  # a response may be lost
        assert served.as_node("PUT", path, said).status_code == 204
    assert types(served, guid, backup) == {"FULL"}
    assert one_backup(served, backup)["warnings"] == [OTHER]
    served.finish(guid, {**EXPORTED, "warnings": ["root is read whole: no map"]})
    store(served, guid)
    assert types(served, guid, backup) == {"FULL"}
    assert one_backup(served, backup)["warnings"] == [OTHER, "root is read whole: no map"]


def test_the_result_of_an_export_decides_its_type_when_its_node_did_not_say_more(served: Served):
    guid, backup = incremental(served)
    served.finish(guid, EXPORTED)
    assert types(served, guid, backup) == {"FULL"}
    assert one_backup(served, backup)["warnings"] == [OTHER]
    assert one_backup(served, backup)["warningsPresent"] is True


def test_an_increment_that_stayed_one_bears_no_warning(served: Served):
    guid, backup = incremental(served)
    path = f"/api/tasks/{guid}/backup-type"
    for said in ("FULL", "INCREMENTAL"):  # the node corrects its report
        assert served.as_node("PUT", path, said).status_code == 204
    served.finish(guid, {**EXPORTED, "type": "INCREMENTAL", "parent": new_guid()})
    assert types(served, guid, backup) == {"INCREMENTAL"}
    assert one_backup(served, backup)["warnings"] == []


def test_a_retry_of_an_increment_that_became_a_full_is_an_increment_again(served: Served):
    guid, backup = incremental(served, retryCount=1)
    assert served.as_node("PUT", f"/api/tasks/{guid}/backup-type", "FULL").status_code == 204
    assert served.as_node("GET", f"/api/nodes/self/orders/{guid}").json()["order"]["wanted"] == (
        "INCREMENTAL"
    )
    assert served.state(guid, "FAILED").status_code == 204
    rows = served.call("GET", "/api/tasks/detailed?type=EXPORT&state=QUEUED").json()
    [again] = [row for row in rows if row["backup"]["guid"] == backup]
    assert again["retryCount"] == 0


def syncing(served: Served) -> str:
    body = {"hypervisors": [served.hypervisor["guid"]]}
    [task] = served.call("POST", "/api/tasks/inventory-sync", body).json()
    assert served.state(task["guid"], "RUNNING").status_code == 204
    return str(task["guid"])


def connecting(served: Served) -> str:
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/connectivity-test", body).json()
    assert served.state(task["guid"], "RUNNING").status_code == 204
    return str(task["guid"])


def storing(served: Served) -> str:
    guid = served.taken()
    served.finish(guid, EXPORTED)
    [after] = served.task(guid, "?extended=true")["followers"]
    assert served.state(after["guid"], "RUNNING").status_code == 204
    return str(after["guid"])


MEMBERS = {
    "backup-type": "FULL",
    "restore-host-id": {"value": "h"},
    "restore-storage-id": {"value": "s"},
    "cbt-id": {"cbtId": "c"},
    "inc-snap-required": {"incSnapRequired": False},
}
FOREIGN = {
    "EXPORT": ("restore-host-id", "restore-storage-id"),
    "STORE": ("restore-host-id", "backup-type", "cbt-id", "inc-snap-required"),
    "RESTORE": ("backup-type", "cbt-id", "inc-snap-required"),
    "INVENTORY_SYNC": tuple(MEMBERS),
    "CONNECTIVITY_TEST": tuple(MEMBERS),
}


@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_a_task_takes_no_member_that_its_kind_does_not_have(served: Served, kind: str):
    makers = {"EXPORT": Served.taken, "STORE": storing, "RESTORE": Served.restoring}
    makers |= {"INVENTORY_SYNC": syncing, "CONNECTIVITY_TEST": connecting}
    guid = makers[kind](served)
    before = {k: v for k, v in served.task(guid).items() if k != "progressChange"}
    for item in FOREIGN[kind]:
        body = MEMBERS[item]
        path = f"/api/tasks/{guid}/{item}"
        if isinstance(body, dict) and item in ("cbt-id", "inc-snap-required"):
            path, body = f"/api/tasks/{item}", {**body, "task": {"guid": guid}}
        answer = served.as_node("PUT", path, body)
        assert is_error(answer, 409), (item, answer.text)
        assert kind in answer.json()["message"]
        assert answer.json()["details"]["field"]
    after = {k: v for k, v in served.task(guid).items() if k != "progressChange"}
    assert after == before
    served.state(guid, "FAILED")


def test_the_files_of_a_task_hold_no_null(served: Served):
    guid = served.taken()
    body = {"taskFiles": [{"backupFile": {"guid": new_guid()}, "path": None, "diskName": "a"}]}
    assert served.as_node("POST", f"/api/tasks/{guid}/task-files", body).status_code == 201
    info = {
        "taskFiles": [{"backupFile": new_guid(), "storageId": None}],
        "other": [None, {"a": None}],
    }
    assert served.as_node("PUT", f"/api/tasks/{guid}/transfer-info", info).status_code == 204
    assert b"null" not in served.call("GET", f"/api/tasks/{guid}?extended=true").content


def test_the_files_that_a_restore_was_asked_with_hold_no_null(served: Served):
    machine = served.new_machine(VirtualDisk("root", 10))
    backup = served.stored(machine)
    files = [{"backupFile": {"guid": file_guid(backup, "root")}, "diskName": "r", "storageId": ""}]
    body = {"backup": backup, "hypervisor": served.hypervisor["guid"], "taskFiles": files}
    answer = served.call("POST", "/api/tasks/restore-and-import", body)
    assert answer.status_code == 201, answer.text
    assert b"null" not in answer.content
    for query in ("", "?extended=true"):
        path = f"/api/tasks/{answer.json()['guid']}{query}"
        assert b"null" not in served.call("GET", path).content
    assert b"null" not in served.call("GET", "/api/tasks/detailed").content
    assert b"null" not in served.call("GET", "/api/restore-jobs").content


def test_a_clean_up_that_its_node_cannot_do_is_not_planned_again_at_once(served: Served):
    guid = served.taken()
    assert served.state(guid, "FAILED").status_code == 204  # causes a clean-up on the node
    path = "/api/tasks?type=STAGING_CLEANUP&state=QUEUED"
    [row] = served.call("GET", path).json()
    assert served.state(row["guid"], "RUNNING").status_code == 204
    why = {"state": "FAILED", "statusInfo": "this node does no such thing"}
    assert served.state(row["guid"], why).status_code == 204
    assert served.call("GET", path).json() == []


def offered(served: Served, kind: str) -> dict[str, Any]:
    rows = served.call("GET", "/api/tasks/queued").json()
    return next(dict(row) for row in rows if row["type"]["name"] == kind)


def test_a_scoped_inventory_names_its_machines(served: Served):
    machine = served.machines[served.new_machine()]
    hypervisor = served.kvm()
    body = {"backup": served.stored(-1), "hypervisor": hypervisor, "restoredPeName": "twin"}
    head = served.call("POST", "/api/tasks/restore-and-import", body).json()
    served.run(head["guid"], {"checked": True})
    [after] = served.task(head["guid"], "?extended=true")["followers"]
    made = new_guid()
    served.run(after["guid"], {"uuid": made, "name": "twin", "disks": []})
    look = offered(served, "SCOPED_INVENTORY_SYNC")
    assert look["instanceUuids"] == [made]
    assert look["dstProtectedEntity"]["name"] == "twin"
    assert served.order(look["guid"])["uuids"] == [made]
    served.state(look["guid"], "FAILED")
    served.rest()
    now = served.app.clock.now_ms
    served.app.clock.now_ms = lambda: now() + 3_600_000  # type: ignore[method-assign]
    try:
        served.export(protectedEntities=[machine])
    finally:
        served.app.clock.now_ms = now  # type: ignore[method-assign]
    rows = served.call("GET", "/api/tasks/detailed?type=SCOPED_INVENTORY_SYNC").json()
    assert [row["protectedEntity"]["guid"] for row in rows] == [machine]
    assert [item["guid"] for item in rows[0]["protectedEntities"]] == [machine]
    assert len(rows[0]["instanceUuids"]) == 1


LACKING = [
    ({}, ["type", "snapshotTime", "size", "read", "stored"]),
    ({k: v for k, v in EXPORTED.items() if k != "size"}, ["size"]),
    ({**EXPORTED, "read": None}, ["read"]),
]


@pytest.mark.parametrize(("report", "names"), LACKING)
def test_a_backup_says_which_member_of_the_report_a_restore_lacks(
    served: Served, report: dict[str, Any], names: list[str]
):
    guid = served.taken()
    backup = served.task(guid)["backup"]["guid"]
    served.finish(guid, report)
    for after in served.task(guid, "?extended=true")["followers"]:
        served.run(after["guid"], {"stored": 1})
    result = one_backup(served, backup)
    assert result["status"]["name"] == "PARTIAL_SUCCESS"
    for name in names:
        assert name in result["statusInfo"]
    assert "transfer-info of the EXPORT" in result["statusInfo"]


def test_a_destination_is_ready_once_any_node_finishes_its_init(served: Served):
    node = served.call("POST", "/api/nodes", {"name": new_guid()}).json()
    place = {"name": new_guid(), "path": "/z", "node": {"guid": node["guid"]}}
    made = served.call("POST", "/api/backup-destinations", place).json()
    guid = made["task"]["guid"]
    path = f"/api/tasks/{guid}/state"
    assert served.call("PUT", path, "RUNNING", token=node["token"]).status_code == 204
    order = served.call("GET", f"/api/nodes/self/orders/{guid}", token=node["token"]).json()
    assert order["order"]["destination"]["config"]["path"] == "/z"
    assert served.call("PUT", path, "FINISHED", token=node["token"]).status_code == 204
    shown = served.call("GET", f"/api/backup-destinations/{made['guid']}").json()
    assert shown["initialized"] is True


def test_an_order_holds_what_the_work_needs(served: Served):
    machine = served.new_machine(VirtualDisk("root", 10, "raw"))
    task = served.export(protectedEntities=[served.machines[machine]])
    order = served.order(task["guid"])
    assert order["hypervisor"]["config"]["path"] == "/m"
    assert order["destination"]["config"]["path"] == "/d"
    assert order["disks"] == [{"name": "root", "size": 10, "format": "raw"}]
    assert order["machine"] == task["protectedEntity"]["name"]
    served.finish(task["guid"], EXPORTED)
    [store] = served.task(task["guid"], "?extended=true")["followers"]
    served.run(store["guid"], {"stored": 5})
    body = {"backup": task["backup"]["guid"], "node": served.identity["guid"]}
    back = served.call("POST", "/api/tasks/restore", {**body, "restorePath": "/srv/r"}).json()
    assert served.order(back["guid"])["files"] == EXPORTED["files"]
    served.state(back["guid"], "FAILED")
