"""What a node says of a task that it runs: the right members of the right kinds, as they are."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.ids import new_guid
from haulback.inventory.disks import file_guid
from haulback.inventory.records import Disk
from tests.contract.conftest import EXPORTED, Served
from tests.contract.test_transport import is_error

OTHER = "the backup is FULL: it was asked for as INCREMENTAL"


@pytest.fixture(autouse=True)
def at_rest(served: Served) -> None:
    served.rest()


def incremental(served: Served, **more: Any) -> tuple[str, str]:
    """A running export that was asked for as INCREMENTAL, and its backup."""
    task = served.export(backupType="INCREMENTAL", **more)
    assert served.state(task["guid"], "RUNNING").status_code == 204
    return str(task["guid"]), str(task["backup"]["guid"])


def types(served: Served, guid: str, backup: str) -> set[str]:
    """The types that the export, the store and the backup say."""
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
    for _ in range(2):  # a reply may be lost
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
    for said in ("FULL", "INCREMENTAL"):  # the node thought better of it
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
    for what in FOREIGN[kind]:
        body = MEMBERS[what]
        path = f"/api/tasks/{guid}/{what}"
        if isinstance(body, dict) and what in ("cbt-id", "inc-snap-required"):
            path, body = f"/api/tasks/{what}", {**body, "task": {"guid": guid}}
        answer = served.as_node("PUT", path, body)
        assert is_error(answer, 409), (what, answer.text)
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
    machine = served.new_machine(Disk("root", 10))
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
