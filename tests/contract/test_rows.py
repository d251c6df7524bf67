"""The 57 operations with one test each: the operation changes or reads real state."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from haulback.inventory.derived_guids import file_guid
from haulback.server.http import openapi
from haulback.server.http.reference import OPERATIONS
from tests.contract.conftest import EXPORTED, Answer, Served
from tests.contract.test_transport import is_error

ROWS = list(csv.DictReader((Path(__file__).parent / "operations.csv").read_text().splitlines()))
REQUIRED = {"guid", "type", "state", "windowStart", "windowEnd", "progress", "priority"}
DETAILED = REQUIRED | {"creationTime"}


@pytest.fixture(autouse=True)
def at_rest(served: Served) -> None:
    served.rest()


def name_of(row: dict[str, str]) -> str:
    return "test_" + re.sub(r"[^a-z0-9]+", "_", f"{row['method']} {row['path']}".lower()).strip("_")


def test_every_row_has_its_test_and_its_operation(served: Served):
    assert len(ROWS) == 57
    missing = [name_of(row) for row in ROWS if name_of(row) not in globals()]
    assert missing == []
    paths = openapi.document(OPERATIONS)["paths"]
    for row in ROWS:
        path = paths[row["path"]][row["method"].lower()]
        assert row["status"] in path["responses"], row
        named = {p["name"] for p in path["parameters"] if p["in"] == "query"}
        assert set(row["query"].split()) <= named, row
        assert bool(row["request"]) == ("requestBody" in path), row


def guids(answer: Answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [task["guid"] for task in answer.json()]


def created(answer: Answer) -> dict[str, Any]:
    """The only task in the response of an operation that creates one task."""
    assert answer.status_code == 201, answer.text
    [task] = answer.json() if isinstance(answer.json(), list) else [answer.json()]
    assert set(task) >= DETAILED
    assert None not in task.values()
    return dict(task)


def unavailable(served: Served, path: str, body: Any, *bad: Any) -> None:
    """Check an unavailable kind: faults in the request are reported first, then the kind is refused
    and nothing is created.
    """
    for wrong in (*bad, [], "x", {**body, "priority": 101}, {**body, "windowEnd": 5}):
        assert served.call("POST", f"/api/tasks/{path}", wrong).status_code in (400, 404), wrong
    answer = served.call("POST", f"/api/tasks/{path}", body)
    assert is_error(answer, 409), answer.text
    assert answer.json()["code"] == "kind_unavailable"
    assert served.call("GET", "/api/tasks").json() == []


def taken(served: Served, **more: Any) -> str:
    guid = str(served.export(**more)["guid"])
    assert served.state(guid, "RUNNING").status_code == 204
    return guid


def test_get_tasks(served: Served):
    one = served.export()["guid"]
    answer = served.call("GET", "/api/tasks")
    assert (guids(answer), answer.headers["x-total-count"]) == ([one], "1")
    assert set(answer.json()[0]) >= REQUIRED | {"protectedEntity", "originEntity"}
    assert guids(served.call("GET", "/tasks?state=RUNNING")) == []


def test_get_tasks_detailed(served: Served):
    one = served.export()["guid"]
    [task] = served.call("GET", "/api/tasks/detailed").json()
    assert task["guid"] == one
    assert set(task) >= DETAILED | {"backup"}
    [paged] = served.call("GET", "/api/tasks/detailed?page=0&size=5").json()
    assert paged["queueReason"] == "a node to take it"
    assert paged["queuePosition"] == 0


def test_get_tasks_queued(served: Served):
    one, two = served.export()["guid"], served.export()["guid"]
    offered = guids(served.as_node("GET", "/api/tasks/queued"))
    assert offered == [one]  # one workflow per machine at a time
    assert set(guids(served.call("GET", "/api/tasks/queued"))) == {one, two}
    mine = f"/api/tasks/queued?node={served.identity['guid']}"
    assert guids(served.as_node("GET", mine)) == [one]
    assert is_error(served.as_node("GET", f"/api/tasks/queued?node={new_guid()}"), 403)


def test_get_tasks_guid(served: Served):
    task = served.export()
    assert served.task(task["guid"])["guid"] == task["guid"]
    more = served.task(task["guid"], "?extended=true")
    assert {"followers", "taskFiles", "transferInfo", "transferHistory"} <= set(more)
    assert [item["type"]["name"] for item in more["workflowExecution"]["tasks"]] == [
        "EXPORT",
        "STORE",
    ]
    assert is_error(served.call("GET", f"/api/tasks/{new_guid()}"), 404)
    assert is_error(served.call("GET", "/api/tasks/nonsense"), 404)


def test_get_tasks_guid_state(served: Served):
    guid = served.export()["guid"]
    path = f"/api/tasks/{guid}/state"
    assert served.call("GET", path).json() == {"state": {"name": "QUEUED", "description": "Queued"}}
    served.state(guid, "RUNNING")
    served.call("PUT", path, {"state": {"name": "CANCELLED"}, "statusInfo": "enough"})
    assert served.call("GET", path).json()["state"]["name"] == "RUNNING"
    assert served.as_node("GET", path).json()["state"]["name"] == "CANCELLED"


def test_get_tasks_guid_state_v2(served: Served):
    guid = taken(served)
    served.as_node("PUT", f"/api/tasks/{guid}/progress", {"value": 12.345})
    found = served.call("GET", f"/api/tasks/{guid}/state/v2").json()
    assert (found["guid"], found["progress"], found["state"]["name"]) == (guid, 12.35, "RUNNING")


def test_get_tasks_modification_timestamps(served: Served):
    before = served.call("GET", "/api/tasks/modification-timestamps").json()
    assert before["value"] == before["timestamp"]
    guid = served.export()["guid"]
    after = served.call("GET", "/api/tasks/modification-timestamps").json()["value"]
    assert after >= before["value"]
    assert guids(served.call("GET", f"/api/tasks?modified-since={after}")) == [guid]
    assert guids(served.call("GET", f"/api/tasks?modified-since={after + 1}")) == []


def test_get_tasks_guid_transfer_rate_last(served: Served):
    guid = taken(served)
    path = f"/api/tasks/{guid}"
    assert served.call("GET", f"{path}/transfer-rate/last").json() == {}
    served.as_node("PUT", f"{path}/transfer-rate", {"transferRate": 7.5, "transferredBytes": 9})
    served.state(guid, {"name": "FAILED"})
    served.call("DELETE", path)
    found = served.call("GET", f"{path}/transfer-rate/last").json()
    assert (found["transferRate"], found["transferredBytes"]) == (7.5, 9)
    assert is_error(served.call("GET", path), 404)


def test_post_tasks_export(served: Served):
    body = {"protectedEntities": served.machines, "backupType": {"name": "FULL"}}
    answer = served.call("POST", "/api/tasks/export", body)
    assert answer.status_code == 201
    assert [t["protectedEntity"]["guid"] for t in answer.json()] == served.machines
    for kind in ("SYNTHETIC", "SYNCHRONIZATION"):
        refused = served.call("POST", "/api/tasks/export", {**body, "backupType": kind})
        assert is_error(refused, 400)
        assert "backupType" in refused.json()["message"]


def test_post_tasks_restore(served: Served):
    body = {
        "backup": {"guid": served.stored()},
        "node": {"guid": served.identity["guid"]},
        "restorePath": "/srv/r",
        "hypervisor": None,
    }
    task = created(served.call("POST", "/api/tasks/restore", body))
    assert (task["type"]["name"], task["restorePath"]) == ("RESTORE", "/srv/r")
    job = served.call("GET", f"/api/restore-jobs/{task['restoreJob']['guid']}").json()
    assert (job["status"]["name"], job["restoreType"]["name"]) == ("QUEUED", "RESTORE")
    assert guids(served.call("GET", f"/api/tasks?restore-job={job['guid']}")) == [task["guid"]]
    served.run(task["guid"], {"path": "/srv/r"})
    job = served.call("GET", f"/api/restore-jobs/{job['guid']}").json()
    assert (job["status"]["name"], "restoreTime" in job["taskTimeStats"]) == ("SUCCESS", True)


def test_post_tasks_restore_and_import(served: Served):
    backup = served.stored(served.new_machine_of("p9"))
    served.rest()
    file = {"backupFile": {"guid": file_guid(backup, "root")}, "diskName": "boot", "storageId": ""}
    body = {
        "backup": None,
        "backupLocation": served.call("GET", f"/api/backup-locations?backup={backup}").json()[0],
        "hypervisor": {"guid": served.hypervisor["guid"]},
        "restoredPeName": "",
        "restoreStorageId": "",
        "baseImage": {},
        "restoredDiskAllocationFormat": {"name": "SPARSE"},
        "overwrite": False,
        "taskFiles": [file],
    }
    path = "/api/tasks/restore-and-import"
    task = created(served.call("POST", f"{path}?project-uuid=p9", body))
    assert task["restoredDiskAllocationFormat"]["name"] == "SPARSE"
    assert task["taskFiles"][0]["diskName"] == "boot"
    assert "name" in task["dstProtectedEntity"]
    assert guids(served.call("GET", "/api/tasks?project-uuid=p9")) == [task["guid"]]
    served.run(task["guid"], {"checked": True})
    [follower] = served.task(task["guid"], "?extended=true")["followers"]
    order = served.as_node
    assert served.state(follower["guid"], "RUNNING").status_code == 204
    result = order("GET", f"/api/nodes/self/orders/{follower['guid']}").json()["order"]
    assert (result["rename"], result["allocate"]) == ({"root": "boot"}, False)
    for name, value in (
        ("restoreVmFlavor", {"guid": new_guid()}),
        ("powerOnAfterRestore", True),
        ("restoreClusterId", "clu"),
        ("restoredNetworks", [{"networkInterfaceCard": new_guid()}]),
        ("dataCenter", {"name": "dc"}),
    ):
        refused = served.call("POST", path, {**body, name: value})
        assert is_error(refused, 400)
        assert name in refused.json()["message"]


def test_post_tasks_restore_and_mount(served: Served):
    backup = served.stored()
    served.rest()
    body = {
        "mountedFileSystems": [{"mountPath": "/mnt/a"}],
        "allowedClients": [],
        "unmountTime": 86400000,
        "backupLocation": {"guid": new_guid(), "backup": {"guid": backup}},
        "mode": {"name": "AUTO"},
    }
    for bad in (
        {**body, "mode": "FLY"}, {"mode": "AUTO"}, {**body, "mode": "INSTANT_RESTORE"},
        {**body, "mode": "MANUAL", "mountedFileSystems": []},
        {**body, "mountedFileSystems": [{"mountPath": "here"}]},
        {**body, "mountedFileSystems": [{"mountPath": "/mnt/../etc"}]},
        {**body, "mountedFileSystems": [{"fileSystem": {"guid": new_guid()}}]},
        {**body, "unmountTime": -1}, {**body, "allowedClients": ["iqn.2020-01.org:x"]},
    ):  # fmt: skip
        assert is_error(served.call("POST", "/api/tasks/restore-and-mount", bad), 400), bad
    nobody = {"mode": "AUTO", "backup": new_guid()}
    assert is_error(served.call("POST", "/api/tasks/restore-and-mount", nobody), 404)
    task = created(served.call("POST", "/api/tasks/restore-and-mount", body))
    assert (task["type"]["name"], task["backup"]["guid"]) == ("RESTORE", backup)
    assert served.order(task["guid"])["pointer"] is True
    served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", {"disks": 1})
    assert served.state(task["guid"], "FINISHED").status_code == 204
    [mount] = served.task(task["guid"], "?extended=true")["followers"]
    order = served.order(mount["guid"])
    assert order["visible"] == [{"path": "/mnt/a", "volume": "", "disks": []}]
    assert order["mount"] == task["mountedBackup"]["guid"]


def test_post_tasks_instant_restore(served: Served):
    backup, kvm = served.stored(), served.kvm()
    body = {
        "mode": {"name": "INSTANT_RESTORE"},
        "backup": backup,
        "hypervisor": {"guid": kvm},
        "restoredPeName": "db-now",
        "mountedFileSystems": [],
        "mountedDisks": [],
    }
    for bad in (
        {}, {**body, "mode": "AUTO"}, {**body, "hypervisor": None},
        {**body, "hypervisor": served.hypervisor["guid"]},  # this platform runs no machines
        {**body, "overwrite": True}, {**body, "restoreStorageId": "/elsewhere"},
        {**body, "mountedFileSystems": [{"mountPath": "/mnt/a"}]}, {**body, "unmountTime": -1},
        {**body, "allowedClients": ["iqn.2020-01.org:x"]}, {**body, "restoreVmFlavor": kvm},
        {**body, "restoredPeName": "a\nb"}, {**body, "priority": 101},
        {**body, "restoredPeName": "a/b"},  # libvirt takes no slash
        {**body, "restoredPeName": "  "}, {**body, "restoredPeName": "n" * 201},
    ):  # fmt: skip
        assert is_error(served.call("POST", "/api/tasks/instant-restore", bad), 400), bad
    for nobody in ({**body, "backup": new_guid()}, {**body, "hypervisor": new_guid()}):
        assert is_error(served.call("POST", "/api/tasks/instant-restore", nobody), 404)
    task = created(served.call("POST", "/api/tasks/instant-restore", body))
    assert (task["type"]["name"], task["mode"]["name"]) == ("RESTORE", "INSTANT_RESTORE")
    assert served.order(task["guid"])["pointer"] is True
    served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", {"disks": 1})
    assert served.state(task["guid"], "FINISHED").status_code == 204
    [mount] = served.task(task["guid"], "?extended=true")["followers"]
    assert served.order(mount["guid"])["hypervisor"]["guid"] == kvm
    served.as_node("PUT", f"/api/tasks/{mount['guid']}/transfer-info", {"disks": {"root": 10}})
    assert served.state(mount["guid"], "FINISHED").status_code == 204
    [last] = served.task(mount["guid"], "?extended=true")["followers"]
    order = served.order(last["guid"])
    assert (order["share"], order["name"]) == (task["mountedBackup"]["guid"], "db-now")
    made = {"uuid": new_guid(), "name": new_guid(), "disks": []}
    served.as_node("PUT", f"/api/tasks/{last['guid']}/transfer-info", made)
    assert served.state(last["guid"], "FINISHED").status_code == 204
    shown = served.call("GET", f"/api/mounted-backups/{order['share']}").json()
    assert (shown["machine"], shown["hypervisor"]["guid"]) == (made["uuid"], kvm)


def test_post_tasks_live_migration(served: Served):
    kvm, other = served.kvm(), served.kvm()
    mount = served.living_off(kvm)
    off = {"mountedBackup": mount["guid"]}
    stays = {"protectedEntity": served.machines[0]}  # the machine is in an image folder
    for bad in ({}, stays, {**off, "hypervisor": other}, {**off, "priority": -1}):
        assert is_error(served.call("POST", "/api/tasks/live-migration", bad), 400), bad
    for nobody in ({"mountedBackup": new_guid()}, {"protectedEntity": new_guid()}):
        assert is_error(served.call("POST", "/api/tasks/live-migration", nobody), 404)
    plain = {"mountedBackup": served.mounted()["guid"]}
    assert is_error(served.call("POST", "/api/tasks/live-migration", plain), 409)
    body = {"mountedBackup": {"guid": mount["guid"]}}
    task = created(served.call("POST", "/api/tasks/live-migration", body))
    assert (task["type"]["name"], task["hypervisor"]["guid"]) == ("LIVE_MIGRATION", kvm)
    order = served.order(task["guid"])
    assert order["uuid"] == mount["machine"]
    assert order["to"]["guid"] == order["hypervisor"]["guid"] == kvm
    served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", {"uuid": order["uuid"]})
    assert served.state(task["guid"], "FINISHED").status_code == 204
    [last] = served.task(task["guid"], "?extended=true")["followers"]
    assert last["type"]["name"] == "UNMOUNT"
    served.run(last["guid"], {})
    moving = {"protectedEntity": task["protectedEntity"], "hypervisor": {"guid": other}}
    moved = created(served.call("POST", "/api/tasks/live-migration", moving))
    served.run(moved["guid"], {"uuid": order["uuid"]})
    entity = served.call("GET", f"/api/virtual-machines/{moved['protectedEntity']['guid']}").json()
    assert entity["hypervisor"]["guid"] == other


def test_post_tasks_mount(served: Served):
    mount = served.mounted()
    body = {"mountedBackup": {"guid": mount["guid"]}}
    assert is_error(served.call("POST", "/api/tasks/mount", {}), 400)
    assert is_error(served.call("POST", "/api/tasks/mount", {"mountedBackup": new_guid()}), 404)
    assert is_error(served.call("POST", "/api/tasks/mount", body), 409)  # the backup is mounted
    served.run(served.call("POST", "/api/tasks/unmount", body).json()["guid"], {})
    task = created(served.call("POST", "/api/tasks/mount", body))
    assert (task["type"]["name"], task["mountedBackup"]["guid"]) == ("MOUNT", mount["guid"])


def test_post_tasks_unmount(served: Served):
    mount = served.mounted()
    body = {"mountedBackup": {"guid": mount["guid"], "name": ""}}
    assert is_error(served.call("POST", "/api/tasks/unmount", {}), 400)
    assert is_error(served.call("POST", "/api/tasks/unmount", {"mountedBackup": new_guid()}), 404)
    task = created(served.call("POST", "/api/tasks/unmount", body))
    served.run(task["guid"], {})
    shown = served.call("GET", f"/api/mounted-backups/{mount['guid']}").json()
    assert shown["state"]["name"] == "UNMOUNTED"
    again = served.call("POST", "/api/tasks/unmount", body)
    assert is_error(again, 409)
    assert "`haulback mount ls` lists the mounted ones" in again.text


def test_post_tasks_snapshot(served: Served):
    able = served.machines[served.new_machine(VirtualDisk("root", 10, "qcow2"))]
    raw = served.machines[served.new_machine(VirtualDisk("root", 10, "raw"))]
    for path in ("snapshot", "vm-snapshot"):
        for bad in ({}, {"protectedEntities": []}, {"protectedEntities": [raw]}):
            assert is_error(served.call("POST", f"/api/tasks/{path}", bad), 400)
        nobody = {"protectedEntities": [new_guid()]}
        assert is_error(served.call("POST", f"/api/tasks/{path}", nobody), 404)
        body = {"protectedEntities": [{"guid": able}], "priority": 50}
        task = created(served.call("POST", f"/api/tasks/{path}", body))
        assert (task["type"]["name"], task["protectedEntity"]["guid"]) == ("SNAPSHOT", able)


def test_post_tasks_revert(served: Served):
    held = served.snapped()
    for bad, status in (({}, 400), ({"snapshot": {"guid": new_guid()}}, 404)):
        assert is_error(served.call("POST", "/api/tasks/revert", bad), status)
    for member in ("snapshot", "protectedEntitySnapshot"):
        served.rest()  # a second request is refused while the first task waits
        body = {member: {"guid": held["guid"]}}
        task = created(served.call("POST", "/api/tasks/revert", body))
        assert task["protectedEntitySnapshot"]["guid"] == held["guid"]
    assert served.order(task["guid"])["name"] == held["uuid"]


def test_post_tasks_remove_old_snapshots(served: Served):
    held = served.snapped()
    bad = {"protectedEntities": [new_guid()]}
    assert is_error(served.call("POST", "/api/tasks/remove-old-snapshots", {}), 400)
    assert is_error(served.call("POST", "/api/tasks/remove-old-snapshots", bad), 404)
    body = {"protectedEntities": [held["protectedEntity"]]}
    task = created(served.call("POST", "/api/tasks/remove-old-snapshots", body))
    assert served.order(task["guid"])["names"] == []  # a snapshot without a rule stays


def test_post_tasks_remove_old_backups(served: Served):
    keep = {"retention": {"keepLastNFull": 1}}
    place = f"/api/backup-destinations/{served.destination['guid']}"
    assert served.call("PUT", place, keep).status_code == 200
    old, new = served.stored(), served.stored()
    body = {"backupDestinations": [{"guid": served.destination["guid"]}]}
    task = created(served.call("POST", "/api/tasks/remove-old-backups", body))
    assert served.state(task["guid"], "RUNNING").status_code == 204
    order = served.as_node("GET", f"/api/nodes/self/orders/{task['guid']}").json()["order"]
    assert old in order["backups"]
    assert new not in order["backups"]
    assert order["destination"]["may_delete"] is True
    status = served.call("GET", f"/api/backups/{old}").json()["status"]["name"]
    assert status == "SUCCESS_REMOVED"  # before any byte of the machine is changed
    info = {"removed": order["backups"], "totalSpace": 100, "freeSpace": 60}
    served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", info)
    assert served.state(task["guid"], "FINISHED").status_code == 204
    assert served.call("GET", place).json()["totalUsedSpace"] == 40
    assert served.call("GET", f"/api/backups/{new}").json()["status"]["name"] == "SUCCESS"


def machine_to_delete(served: Served, name: str) -> str:
    """A separate machine that an inventory has shown."""
    [sync] = served.call(
        "POST", "/api/tasks/inventory-sync", {"hypervisors": [served.hypervisor["guid"]]}
    ).json()
    machines = [{"uuid": new_guid(), "name": name}]
    served.run(sync["guid"], {"machines": machines, "problems": 1})
    [found] = served.call("GET", f"/api/virtual-machines?filter={name}").json()
    return str(found["guid"])


def delete_all(served: Served, tasks: list[dict[str, Any]]) -> None:
    for task in tasks:
        assert task["type"]["name"] == "DELETE"
        assert served.state(task["guid"], "RUNNING").status_code == 204
        order = served.as_node("GET", f"/api/nodes/self/orders/{task['guid']}").json()["order"]
        served.as_node(
            "PUT", f"/api/tasks/{task['guid']}/transfer-info", {"removed": order["backups"]}
        )
        assert served.state(task["guid"], "FINISHED").status_code == 204


def test_post_tasks_delete(served: Served):
    guid = machine_to_delete(served, "doomed")
    served.machines.append(guid)
    backup = served.stored(machine=-1)
    served.machines.pop()
    answer = served.call("POST", "/api/tasks/delete?project-uuid=", {"value": guid})
    assert answer.status_code == 201
    assert len(answer.json()) == 1
    delete_all(served, answer.json())
    assert is_error(served.call("GET", f"/api/virtual-machines/{guid}"), 404)
    assert is_error(served.call("GET", f"/api/backups/{backup}"), 404)
    shown = served.task(answer.json()[0]["guid"])
    assert shown["protectedEntityDisplayName"] == "doomed"
    again = served.call("POST", "/api/tasks/delete", {"value": guid})
    assert (again.status_code, again.json()) == (201, [])
    assert is_error(served.call("POST", "/api/tasks/delete", {}), 400)


def test_post_tasks_batch_delete(served: Served):
    guid = machine_to_delete(served, "batched")
    served.machines.append(guid)
    location = f"/api/backup-locations?backup={served.stored(machine=-1)}"
    served.machines.pop()
    mark = {
        "backupLocations": served.call("GET", location).json(),
        "retentionHint": {"name": "ARCHIVE"},
        "archiveExpire": 1 << 45,
    }
    assert served.call("POST", "/api/retention/mark-backups", mark).status_code == 204
    other, gone = machine_to_delete(served, "second"), new_guid()
    body = [{"value": guid}, {"value": other}, {"value": gone}, None]
    answer = served.call("POST", "/api/tasks/batch-delete", body)
    assert answer.status_code == 201
    result = answer.json()
    assert [item["guid"] for item in result["successful"]] == [other]
    assert [item["guid"] for item in result["unsuccessful"]] == [guid, gone]
    assert "locked" in result["unsuccessful"][0]["message"]
    assert [task["protectedEntity"]["guid"] for task in result["tasks"]] == [other]
    assert is_error(served.call("POST", "/api/tasks/delete", {"value": guid}), 409)


def test_post_tasks_inventory_sync(served: Served):
    body = {"hypervisors": [{"guid": served.hypervisor["guid"]}], "hypervisorManagers": []}
    task = created(served.call("POST", "/api/tasks/inventory-sync", body))
    assert task["type"]["name"] == "INVENTORY_SYNC"
    nothing = served.call("POST", "/api/tasks/inventory-sync", {"hypervisorManagers": []})
    assert (nothing.status_code, nothing.json()) == (201, [])


def test_post_tasks_wizard_inventory_sync(served: Served):
    name = f"wizard {new_guid()}"
    new = {"name": name, "path": "/srv/new", "node": served.identity["guid"]}
    path = "/api/tasks/wizard/inventory-sync"

    def known() -> bool:
        return name in [item["name"] for item in served.call("GET", "/api/hypervisors").json()]

    failing = created(served.call("POST", path, {"hypervisors": [new]}))
    assert served.state(failing["guid"], "RUNNING").status_code == 204
    served.state(failing["guid"], {"state": "FAILED", "statusInfo": "no such folder"})
    assert not known()
    going = created(served.call("POST", path, {"hypervisors": [new]}))
    served.run(going["guid"], {"machines": [{"uuid": new_guid(), "name": f"on {name}"}]})
    assert known()
    assert served.call("GET", "/api/virtual-machines", None).json()
    assert is_error(served.call("POST", path, {"hypervisors": [new]}), 409)
    assert is_error(served.call("POST", path, {"hypervisors": [{"name": "x"}]}), 400)


def test_post_tasks_connectivity_test(served: Served):
    body = {
        "hypervisors": [served.hypervisor["guid"]],
        "backupDestinations": [{"guid": served.destination["guid"]}],
        "storageProviders": [],
    }
    answer = served.call("POST", "/api/tasks/connectivity-test", body)
    assert [t["type"]["name"] for t in answer.json()] == ["CONNECTIVITY_TEST"] * 2
    served.run(answer.json()[0]["guid"], {"reachable": True})
    assert is_error(served.call("POST", "/api/tasks/connectivity-test", {}), 400)


def test_post_tasks_eject_tape(served: Served):
    unavailable(served, "eject-tape", {"tapes": [new_guid()]}, {}, {"tapes": []})


def test_post_tasks_import_tape(served: Served):
    unavailable(served, "import-tape", {"tapes": [new_guid()]}, {}, {"tapes": ["x"]})


def test_post_tasks_tape_manager_inventory_sync(served: Served):
    unavailable(served, "tape-manager-inventory-sync", {"tapeManagers": [new_guid()]}, {})


def test_post_tasks_import_for_cloud(served: Served):
    body = {"backup": served.stored(), "restorePath": "/"}
    served.rest()
    unavailable(served, "import-for-cloud", body, {}, {"backup": new_guid()})


def test_post_tasks_import_for_cloud_per_feature(served: Served):
    body = {"backup": served.stored(), "optionsPerFeature": [{"feature": "MAIL"}]}
    served.rest()
    unavailable(served, "import-for-cloud/per-feature", body, {})


def test_post_tasks_import_for_os_agent(served: Served):
    body = {"backup": served.stored(), "paths": ["/etc"]}
    served.rest()
    unavailable(served, "import-for-os-agent", body, {}, {"backup": new_guid()})


def test_post_tasks_upload(served: Served):
    mount, kvm = served.mounted()["guid"], served.kvm()
    guest = served.machines[served.new_machine(hypervisor=kvm)]
    body = {"mountedBackup": mount, "protectedEntity": guest, "paths": ["/etc/hosts", "/srv"]}
    answer = served.call("POST", "/api/tasks/upload", body)
    assert (answer.status_code, answer.json()["type"]["name"]) == (201, "UPLOAD")
    assert answer.json()["protectedEntity"]["guid"] == guest
    assert served.order(answer.json()["guid"])["folder"] == "/"
    served.run(answer.json()["guid"], {"uploaded": 2})
    off = {k: v for k, v in body.items() if k != "protectedEntity"}
    refuse_upload(served, off, "protectedEntity")  # the machine is in an image folder
    for field, wrong in (
        ("paths", []),
        ("paths[0]", ["etc"]),
        ("paths[1]", ["/etc", "/../x"]),
        ("destinationPath", "srv"),
        ("mountedFileSystem", new_guid()),
        ("node", served.call("POST", "/api/nodes", {"name": new_guid()}).json()["guid"]),
        ("priority", 101),
    ):
        refuse_upload(served, {**body, field.partition("[")[0]: wrong}, field)
    for gone in ({"mountedBackup": new_guid()}, {"protectedEntity": new_guid()}):
        assert is_error(served.call("POST", "/api/tasks/upload", {**body, **gone}), 404)
    end = served.call("POST", "/api/tasks/unmount", {"mountedBackup": mount}).json()
    served.run(end["guid"], {})
    assert is_error(served.call("POST", "/api/tasks/upload", body), 409)


def refuse_upload(served: Served, body: dict[str, Any], field: str) -> None:
    before = len(served.call("GET", "/api/tasks").json())
    answer = served.call("POST", "/api/tasks/upload", body)
    assert is_error(answer, 400), answer.text
    assert answer.json()["details"]["field"] == field, answer.text
    assert len(served.call("GET", "/api/tasks").json()) == before


def test_which_of_several_file_systems_is_meant_has_to_be_said(served: Served):
    guest = served.machines[served.new_machine(hypervisor=served.kvm())]
    more = {"name": "root2", "type": "xfs", "size": 5, "path": "/mnt/a/root2"}
    mount = served.mounted(volumes=[more])["guid"]
    body: dict[str, Any] = {"mountedBackup": mount, "protectedEntity": guest, "paths": ["/x"]}
    refuse_upload(served, body, "destinationPath")
    body["destinationPath"] = "/srv"
    refuse_upload(served, body, "mountedFileSystem")
    body["mountedFileSystem"] = served.file_system(mount)
    assert served.call("POST", "/api/tasks/upload", body).status_code == 201


def test_post_tasks_guid(served: Served):
    backup = served.stored()
    rule = {"name": "web", "protectedEntities": [served.machines[0]], "suffix": "-drill"}
    off = {"name": "off", "protectedEntities": [served.machines[1]], "active": False}
    body = {"name": f"plan {new_guid()}", "rules": [rule, off]}
    plan = served.call("POST", "/api/policies/recovery-plan", body)
    assert plan.status_code == 201, plan.text
    answer = served.call("POST", f"/api/tasks/{plan.json()['guid']}")
    assert answer.status_code == 201, answer.text
    [task] = answer.json()
    details = served.task(task["guid"])
    assert details["backup"]["guid"] == backup
    assert details["restoredPeName"] == "db-drill"
    assert is_error(served.call("POST", f"/api/tasks/{new_guid()}"), 404)


def test_delete_tasks_guid(served: Served):
    guid = served.export()["guid"]
    answer = served.call("DELETE", f"/api/tasks/{guid}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert is_error(served.call("GET", f"/api/tasks/{guid}"), 404)
    running = taken(served)
    served.call("DELETE", f"/api/tasks/{running}")
    assert served.task(running)["cancelling"] is True
    served.call("DELETE", f"/api/tasks/{running}")  # forced
    assert is_error(served.call("GET", f"/api/tasks/{running}"), 404)
    assert is_error(served.as_node("PUT", f"/api/tasks/{running}/progress", {"value": 5}), 409)


def three(served: Served, project: str = "") -> tuple[str, str, str]:
    """A finished, a queued and a running task, each in a project if one is named."""
    body = {"backupDestinations": [served.destination["guid"]]}
    path = f"/api/tasks/connectivity-test?project-uuid={project}"
    made = [str(served.call("POST", path, body).json()[0]["guid"]) for _ in range(3)]
    served.run(made[0], {"reachable": True})
    assert served.state(made[2], "RUNNING").status_code == 204
    return made[0], made[1], made[2]


def test_delete_tasks_all_finished(served: Served):
    (one, *rest), other = three(served, "pa"), served.export()["guid"]
    assert served.call("DELETE", "/api/tasks/all-finished?project-uuid=pb").status_code == 204
    assert one in guids(served.call("GET", "/api/tasks"))
    assert served.call("DELETE", "/api/tasks/all-finished?project-uuid=pa").status_code == 204
    assert set(guids(served.call("GET", "/api/tasks"))) == {*rest, other}


def test_delete_tasks_all_finished_and_queued(served: Served):
    _, _, running = three(served, "pa")
    other = served.export()["guid"]
    path = "/api/tasks/all-finished-and-queued"
    assert served.call("DELETE", f"{path}?project-uuid=pa").status_code == 204
    assert set(guids(served.call("GET", "/api/tasks"))) == {running, other}


def test_delete_tasks_all_running(served: Served):
    finished, queued, running = three(served)
    assert served.call("DELETE", "/api/tasks/all-running").status_code == 204
    assert set(guids(served.call("GET", "/api/tasks"))) == {finished, queued, running}
    assert served.task(running)["cancelling"] is True
    assert served.state(running, "CANCELLED").status_code == 204
    assert served.task(running)["state"]["name"] == "CANCELLED"


def listed(served: Served, *wanted: str) -> list[dict[str, Any]]:
    """Rows as a portal sends them back: with a state that the server must ignore."""
    rows = served.call("GET", "/api/tasks").json()
    lie = {"name": "RUNNING", "description": "Running"}
    return [{**row, "state": lie} for row in rows if row["guid"] in wanted]


def test_post_tasks_cancel_running(served: Served):
    finished, queued, running = three(served)
    answer = served.call("POST", "/api/tasks/cancel-running", listed(served, queued, running))
    assert (answer.status_code, answer.content) == (201, b"")
    assert "json" not in answer.headers.get("content-type", "")
    assert served.task(running)["cancelling"] is True
    assert served.task(queued)["state"]["name"] == "QUEUED"
    assert served.task(finished)["state"]["name"] == "FINISHED"


def test_post_tasks_delete_finished(served: Served):
    finished, queued, running = three(served)
    rows = listed(served, finished, queued, running)
    assert served.call("POST", "/api/tasks/delete-finished", rows).status_code == 201
    assert set(guids(served.call("GET", "/api/tasks"))) == {queued, running}


def test_post_tasks_delete_finished_and_queued(served: Served):
    finished, queued, running = three(served)
    path = "/api/tasks/delete-finished-and-queued"
    assert served.call("POST", path, listed(served, queued, running)).status_code == 201
    assert set(guids(served.call("GET", "/api/tasks"))) == {finished, running}


def test_put_tasks_guid_state(served: Served):
    guid = served.export()["guid"]
    path = f"/api/tasks/{guid}/state"
    assert served.as_node("PUT", path, "QUEUED").status_code == 204
    assert served.as_node("PUT", path, {"name": "RUNNING"}).status_code == 204
    assert is_error(served.call("PUT", path, "QUEUED"), 409)
    assert served.as_node("PUT", path, "QUEUED").status_code == 204  # returned to the queue
    assert served.task(guid)["state"]["name"] == "QUEUED"
    assert served.as_node("PUT", path, {"state": "RUNNING"}).status_code == 204
    done = {"state": {"name": "FAILED"}, "statusInfo": "broke"}
    assert served.as_node("PUT", path, done).status_code == 204
    assert served.task(guid)["statusInfo"] == "broke"
    assert is_error(served.as_node("PUT", path, "QUEUED"), 409)
    assert is_error(served.call("PUT", path, "NONSENSE"), 400)


def test_put_tasks_state(served: Served):
    item, two, running = three(served)
    body = {"state": {"name": "CANCELLED"}, "tasks": [{"guid": two}, {"guid": running}]}
    assert served.call("PUT", "/api/tasks/state", body).status_code == 204
    assert served.task(two)["state"]["name"] == "CANCELLED"
    assert served.task(running)["cancelling"] is True
    more = served.call("PUT", "/api/tasks/state", {"state": "CANCELLED", "tasks": [item]})
    assert is_error(more, 409)
    assert [item] == [refused["guid"] for refused in more.json()["details"]["refused"]]
    ended = {"state": "CANCELLED", "tasks": [running]}
    assert served.as_node("PUT", "/api/tasks/state", ended).status_code == 204
    assert served.task(running)["state"]["name"] == "CANCELLED"


def test_put_tasks_guid_backup_type(served: Served):
    guid = taken(served)
    path = f"/api/tasks/{guid}/backup-type"
    answer = served.as_node("PUT", path, "INCREMENTAL")
    assert (answer.status_code, answer.content) == (204, b"")
    headers = {"prefer": "return=representation"}
    shown = served.call("PUT", path, {"name": "FULL"}, token=served.mover, headers=headers)
    assert (shown.status_code, shown.json()["backupType"]["name"]) == (200, "FULL")
    assert is_error(served.as_node("PUT", path, "HALF"), 400)


def test_put_tasks_guid_progress(served: Served):
    guid = taken(served)
    path = f"/api/tasks/{guid}/progress"
    for body in ({"value": 66.5}, 70, {"value": "71.5"}):
        assert served.as_node("PUT", path, body).status_code == 204
    assert served.task(guid)["progress"] == 71.5
    assert served.as_node("PUT", path, {"value": 1}).status_code == 204
    assert served.task(guid)["progress"] == 71.5  # a task never returns to an earlier state


def objects(served: Served, text: str) -> None:
    guid = taken(served)
    path = f"/api/tasks/{guid}/{text}"
    body = {"processedObjectCount": 3, "totalObjectCount": "12"}
    assert served.as_node("PUT", path, body).status_code == 204
    shown = served.task(guid)
    assert (shown["progress"], shown["processedObjectCount"], shown["totalObjectCount"]) == (
        25,
        3,
        12,
    )
    more = {"processedObjectCount": 13, "totalObjectCount": 12}
    assert is_error(served.as_node("PUT", path, more), 400)


def test_put_tasks_guid_cloud_progress(served: Served):
    objects(served, "cloud-progress")


def test_put_tasks_guid_os_progress(served: Served):
    objects(served, "os-progress")


def test_put_tasks_guid_restore_host_id(served: Served):
    guid = served.restoring()
    path = f"/api/tasks/{guid}"
    assert served.as_node("PUT", f"{path}/restore-host-id", {"value": "h1"}).status_code == 204
    assert served.task(guid)["restoreHostId"] == "h1"


def test_put_tasks_guid_restore_storage_id(served: Served):
    guid = served.restoring()
    path = f"/api/tasks/{guid}"
    assert served.as_node("PUT", f"{path}/restore-storage-id", {"value": "s1"}).status_code == 204
    assert served.task(guid)["restoreStorageId"] == "s1"
    assert is_error(served.as_node("PUT", f"{path}/restore-storage-id", {"value": ""}), 400)


def test_put_tasks_guid_transfer_info(served: Served):
    guid = taken(served)
    path = f"/api/tasks/{guid}/transfer-info"
    headers = {"prefer": "respond-async, return=representation"}
    answer = served.as_node("PUT", path, EXPORTED)
    assert (answer.status_code, answer.content) == (204, b"")
    more = {"transferredBytes": 7, "anything": {"x": 1}}
    shown = served.call("PUT", path, more, token=served.mover, headers=headers)
    assert (shown.status_code, shown.json()["guid"]) == (200, guid)
    kept = served.task(guid, "?extended=true")["transferInfo"]
    assert (kept["transferredBytes"], kept["anything"], kept["size"]) == (7, {"x": 1}, 10)


def test_put_tasks_guid_transfer_rate(served: Served):
    guid = taken(served)
    path = f"/api/tasks/{guid}/transfer-rate"
    for done in (5, 9):
        body = {"transferRate": 2.5, "transferredBytes": done, "timestamp": 1_800_000_000_000}
        assert served.as_node("PUT", path, body).status_code == 204
    shown = served.task(guid, "?extended=true")
    assert shown["dataTransferRate"]["transferredBytes"] == 9
    assert [one["transferredBytes"] for one in shown["transferHistory"]] == [5, 9]


def test_put_tasks_guid_transfer_rate_incremental(served: Served):
    guid = taken(served)
    path = f"/api/tasks/{guid}/transfer-rate/incremental"
    for _ in range(3):
        body = {"transferRate": 1, "transferredBytes": 10}
        assert served.as_node("PUT", path, body).status_code == 204
    assert served.task(guid)["dataTransferRate"]["transferredBytes"] == 30
    assert is_error(served.as_node("PUT", path, {"transferRate": -1}), 400)


def test_post_tasks_guid_task_files(served: Served):
    guid = taken(served)
    path = f"/api/tasks/{guid}/task-files"
    for name in ("one", "two"):
        body = {"taskFiles": [{"backupFile": {"guid": new_guid()}, "diskName": name}, None]}
        answer = served.as_node("POST", path, body)
        assert (answer.status_code, answer.content) == (201, b"")
    assert [one["diskName"] for one in served.task(guid)["taskFiles"]] == ["two"]


def test_put_tasks_cbt_id(served: Served):
    guid = taken(served)
    body = {"task": {"guid": guid}, "cbtId": "mark-1"}
    assert served.as_node("PUT", "/api/tasks/cbt-id", body).status_code == 204
    assert served.task(guid)["cbtId"] == "mark-1"
    served.as_node("PUT", f"/api/tasks/{guid}/transfer-info", EXPORTED)
    served.state(guid, "FINISHED")
    assert served.as_node("POST", "/api/nodes/self/needed", ["mark-1"]).json() == []
    [store] = served.task(guid, "?extended=true")["followers"]
    served.run(store["guid"], {"stored": 1})  # later increments build on it from now on
    assert served.as_node("POST", "/api/nodes/self/needed", ["mark-1"]).json() == ["mark-1"]
    assert is_error(served.as_node("PUT", "/api/tasks/cbt-id", {"cbtId": "x"}), 400)


def schedule(served: Served, machine: str) -> str:
    """An incremental schedule that applies to a machine; its guid."""
    policy = served.call("POST", "/api/policies/vm-backup", {"name": new_guid()}).json()
    rule = {"name": new_guid(), "policy": policy["guid"]}
    rule = served.call("POST", "/api/rules/vm-backup", rule).json()
    body = {"name": new_guid(), "backupType": "INCREMENTAL", "hour": 0, "rules": [rule["guid"]]}
    made = served.call("POST", "/api/schedules", body).json()
    path = f"/api/virtual-machines/{machine}/settings"
    assert served.call("PUT", path, {"vmBackupPolicy": policy["guid"]}).status_code == 204
    return str(made["guid"])


def test_put_tasks_inc_snap_required(served: Served):
    guid = taken(served)
    body = {"task": guid, "incSnapRequired": True}
    assert served.as_node("PUT", "/api/tasks/inc-snap-required", body).status_code == 204
    assert served.task(guid)["incSnapRequired"] is False  # no schedule would use the rule
    made = schedule(served, served.machines[0])
    assert served.as_node("PUT", "/api/tasks/inc-snap-required", body).status_code == 204
    assert served.task(guid)["incSnapRequired"] is True
    assert served.call("DELETE", f"/api/schedules/{made}").status_code == 204
    number = {"task": guid, "incSnapRequired": "1"}
    assert is_error(served.as_node("PUT", "/api/tasks/inc-snap-required", number), 400)


def syncing(served: Served) -> str:
    body = {"hypervisors": [{"guid": served.hypervisor["guid"]}]}
    guid = created(served.call("POST", "/api/tasks/inventory-sync", body))["guid"]
    assert served.state(guid, "RUNNING").status_code == 204
    return str(guid)


def test_post_tasks_inventory(served: Served):
    body: dict[str, Any] = {
        "type": {"name": "KVM", "description": "Kvm"},
        "hypervisor": {"guid": served.hypervisor["guid"]},
    }
    assert is_error(served.as_node("POST", "/api/tasks/inventory", body), 409)
    known = {
        item["name"]: item["uuid"]
        for item in served.call("GET", "/api/virtual-machines").json()
        if item["hypervisor"]["guid"] == served.hypervisor["guid"]
    }
    guid = syncing(served)
    seen = [{"uuid": uuid, "name": name} for name, uuid in known.items() if name != "web"]
    body["virtualMachines"] = [*seen, {"uuid": new_guid(), "name": "fresh", "present": True}]
    answer = served.as_node("POST", "/api/tasks/inventory", body)
    assert (answer.status_code, answer.content) == (201, b"")
    assert served.state(guid, "FINISHED").status_code == 204
    result = {m["name"]: m["present"] for m in served.call("GET", "/api/virtual-machines").json()}
    assert (result["db"], result["web"], result["fresh"]) == (True, False, True)
    again = syncing(served)
    body["virtualMachines"].append({"uuid": known["web"], "name": "web"})
    assert served.as_node("POST", "/api/tasks/inventory", body).status_code == 201
    served.state(again, "FINISHED")


def test_post_tasks_instance_inventory(served: Served):
    guid = taken(served)
    body = {
        "task": {"guid": guid},
        "protectedEntity": {"guid": served.machines[0]},
        "instance": {"name": "db", "disks": [{"name": "root", "size": 77}]},
    }
    assert served.as_node("POST", "/api/tasks/instance-inventory", body).status_code == 201
    shown = served.call("GET", f"/api/virtual-machines/{served.machines[0]}").json()
    assert shown["disks"][0]["size"] == 77
    assert is_error(served.as_node("POST", "/api/tasks/instance-inventory", {}), 400)
    served.state(guid, "FAILED")
    assert is_error(served.as_node("POST", "/api/tasks/instance-inventory", body), 409)


def test_post_tasks_tape_manager_inventory(served: Served):
    body = {"tapeManager": {"guid": new_guid()}, "tapes": [{"serialNumber": "A1"}]}
    answer = served.as_node("POST", "/api/tasks/tape-manager-inventory", body)
    assert is_error(answer, 409)
    assert answer.json()["code"] == "kind_unavailable"
    assert is_error(served.as_node("POST", "/api/tasks/tape-manager-inventory", {}), 400)


def test_the_uuid_of_a_machine_in_place_of_its_guid_is_answered_with_the_guid(served: Served):
    machine = served.machines[served.new_machine()]
    uuid = served.call("GET", f"/api/virtual-machines/{machine}").json()["uuid"]
    answer = served.call("GET", f"/api/virtual-machines/{uuid}")
    assert answer.status_code == 404
    assert machine in answer.json()["message"]
    found = served.call("GET", f"/api/virtual-machines?filter={uuid}").json()
    assert [row["guid"] for row in found] == [machine]
