"""Portals, proxies, exporters and third-party nodes, besides the task operations."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
import pytest

from haulback.ids import new_guid
from haulback.server.store import tasks
from tests.contract.conftest import PASSWORD, PORTAL, Answer, Served
from tests.contract.test_transport import is_error


class Portal:
    """The client of a page of another origin: every call has cookies and a content type, and every
    response is checked.
    """

    def __init__(self, served: Served) -> None:
        self.http = httpx2.Client(base_url=f"{served.server.url}/api", timeout=30)
        self.headers = {"origin": PORTAL, "content-type": "application/json"}

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.raw(method, path, body)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def raw(self, method: str, path: str, body: Any = None) -> Answer:
        sent: dict[str, Any] = {"json": body} if body is not None else {}
        answer = self.http.request(method, path, headers=self.headers, **sent)
        assert answer.headers["access-control-allow-origin"] == PORTAL
        assert answer.headers["access-control-allow-credentials"] == "true"
        return answer


@pytest.fixture
def portal(served: Served) -> Any:
    served.rest()
    made = Portal(served)
    user = made("POST", "/session/login", {"login": "admin", "password": PASSWORD})
    assert {one["name"] for one in user["privileges"]} >= {"NODE_READ", "VE_BACKUP_SLA_READ"}
    assert user["uiTimeZone"]
    assert user["appUserSettings"]["unmountPeriodForMountedBackups"] == 86_400_000
    yield made
    made.http.close()


def test_every_call_is_announced_first(served: Served):
    for method, path in (
        ("GET", "/tasks"),
        ("DELETE", "/tasks/all-finished"),
        ("PUT", "/tasks/state"),
    ):
        headers = {
            "origin": PORTAL,
            "access-control-request-method": method,
            "access-control-request-headers": "content-type,x-csrftoken",
        }
        answer = served.http.request("OPTIONS", f"/api{path}", headers=headers)
        assert answer.status_code in (200, 204), answer.text
        assert answer.headers["access-control-allow-origin"] == PORTAL
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert method in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert "content-type" in allowed
        assert "x-csrftoken" in allowed
    stranger = served.call("GET", "/api/tasks", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers


def test_the_totals_of_lists_can_be_read_by_pages(portal: Portal):
    answer = portal.raw("GET", "/virtual-machines?page=0&size=10&filter=&orderBy=&direction=")
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert "x-total-count" in exposed
    assert "content-disposition" in exposed
    assert int(answer.headers["x-total-count"]) >= 2


def test_the_task_console_and_its_buttons(served: Served, portal: Portal):
    served.rest()
    machine = portal("GET", f"/virtual-machines/{served.machines[0]}")
    body = {
        "backupType": {"name": "FULL", "description": "Full"},
        "protectedEntities": [{**machine, "vmBackupPolicy": {"rules": []}}],
        "priority": 50,
        "windowStart": served.app.clock.now_ms(),
        "retryCount": 0,
        "rules": [None],
        "protectedEntityType": "VM",
        "async": True,
        **served.there,
    }
    portal("POST", "/tasks/export", body)
    [task] = portal("GET", "/tasks")
    assert task["state"]["name"] == "QUEUED"
    assert isinstance(task["progress"], int | float)
    assert task["originEntity"]["type"]["name"] in ("USER", "SCHEDULE", "SYSTEM_SCHEDULE")
    assert all(value is not None for value in task.values())
    cancel = {"state": {"name": "CANCELLED"}, "statusInfo": "Canceled by user"}
    portal("PUT", f"/tasks/{task['guid']}/state", cancel)
    portal("DELETE", f"/tasks/{task['guid']}")
    assert portal("GET", "/tasks") == []
    for path in ("all-finished", "all-finished-and-queued", "all-running"):
        portal("DELETE", f"/tasks/{path}")
    for path in ("cancel-running", "delete-finished", "delete-finished-and-queued"):
        answer = portal.raw("POST", f"/tasks/{path}", [])
        assert (answer.status_code, answer.content) == (201, b"")
        assert "json" not in answer.headers.get("content-type", "")


def test_a_backup_from_the_button_to_the_history(served: Served, portal: Portal):
    number = served.new_machine()
    assert portal("POST", "/virtual-machines/incremental-not-possible", {"entities": [
        {"guid": served.machines[number], "name": "web"}]})  # fmt: skip
    assert portal("POST", "/policies/vm-backup/list-by-entities",
                  {"protectedEntities": [served.machines[0]]}) is not None  # fmt: skip
    assert portal("POST", "/backup-destinations/usable-for-vms",
                  [{"guid": served.machines[0], "name": "db"}])  # fmt: skip
    backup = served.stored(machine=number)
    machine = portal("GET", f"/virtual-machines/{served.machines[number]}")
    assert machine["lastSuccessfulFullBackup"]["name"].partition(" - ")[2]
    assert machine["lastSuccessfulFullBackupSize"] == 10
    query = f"protected-entity={served.machines[number]}&status=SUCCESS&status=PARTIAL_SUCCESS"
    [item] = portal("GET", f"/backups?{query}&page=0&size=10")
    assert item["guid"] == backup
    assert item["warnings"] == []
    assert item["taskTimeStats"].keys() >= {"queuedExportTime", "exportTime", "storeTime"}
    assert item["backupLocations"][0]["status"]["name"] == "PRESENT"
    portal("PUT", f"/backups/{backup}/description", {"value": "before the move"})
    portal("PUT", f"/backups/{backup}/warnings-acknowledged", {"value": True})
    again = portal("GET", f"/backups/{backup}")
    assert (again["description"], again["warningsAcknowledged"]) == ("before the move", True)
    flow = portal("GET", "/workflow-executions?page=0&size=40")[0]
    assert flow["state"]["description"]
    assert flow["definitionName"]["description"]
    assert flow["currentStep"]["description"]
    assert flow["averageProgress"] == 100
    assert portal("GET", "/workflow-executions?page=1&size=40") == []
    steps = portal("GET", f"/tasks?workflow-execution={flow['guid']}")
    assert {task["type"]["name"] for task in steps} == {"STORE", "EXPORT"}
    portal("DELETE", f"/workflow-executions/{flow['guid']}")
    assert portal("GET", f"/tasks?workflow-execution={flow['guid']}") == []


def test_a_restore_from_the_location_to_the_job(served: Served, portal: Portal):
    backup = served.stored(machine=1)
    query = f"protected-entity={served.machines[1]}&location-status=PRESENT"
    location = portal("GET", f"/backup-locations?{query}")[0]
    assert location["backup"]["guid"] == backup
    assert {"roleType", "status", "retentionHint", "type"} <= location.keys()
    [file] = portal("GET", f"/backup-files/detailed/for-restore?backup={backup}"
                    "&with-modified-configs=true")  # fmt: skip
    assert file["backupFileType"]["name"] == "DISK"
    assert file["vmDisk"]["excludedFromBackup"] is False
    managers = portal("GET", f"/hypervisor-managers/?backup-to-be-restored={backup}")
    assert all(manager["guid"] for manager in managers)
    body = {
        "restoreStorageId": "",
        "restoreClusterId": "",
        "backup": None,
        "backupLocation": {**location, "name": "2026-11-22 07:56:32 (bd)"},
        "hypervisor": {"guid": served.hypervisor["guid"], "name": "hv"},
        "restoredPeName": "",
        "taskFiles": [{"backupFile": file, "originalDiskName": "root", "diskName": "root",
                       "path": file["path"], "excludedFromRestore": False, "storageId": ""}],
        "baseImage": {},
        "restoredDiskAllocationFormat": {"name": "PREALLOCATED", "description": "Preallocated"},
        "overwrite": False,
        "isDiskLayoutActive": False,
        "restoreToOriginalVolumeType": True,
    }  # fmt: skip
    task = portal("POST", "/tasks/restore-and-import", body)
    assert task["dstProtectedEntity"]["name"]
    served.run(task["guid"], {"checked": True})
    [follower] = served.task(task["guid"], "?extended=true")["followers"]
    served.run(follower["guid"], {"uuid": new_guid(), "name": "again"})
    jobs = portal("GET", f"/restore-jobs?protected-entity={served.machines[1]}")
    assert jobs[0]["status"]["description"] == "Success"
    assert jobs[0]["taskTimeStats"].keys() >= {"queuedRestoreTime", "restoreTime", "importTime"}
    assert [m for m in portal("GET", "/virtual-machines") if m["name"] == "again"]


def test_deleting_an_entity_as_the_portal_does(served: Served, portal: Portal):
    assert portal("POST", "/tasks/delete", {"value": new_guid()}) == []
    portal("DELETE", "/virtual-machines/all-non-present")


def test_the_dashboard(served: Served, portal: Portal):
    served.stored()
    assert portal("GET", "/dashboard/protection")["vm"].keys() == {
        "protectedNo",
        "notProtected",
        "noSchedule",
    }
    stats = portal("GET", "/dashboard/backup-stats?")
    assert stats["successful"] >= 1
    assert isinstance(stats["totalData"], str)
    node = portal("GET", "/dashboard/staging-space")[0]
    assert {"node", "totalSpace", "availableSpace"} <= node.keys()
    assert portal("GET", "/dashboard/backup-destination-stats")["backupDestinations"]
    sizes = portal("GET", "/dashboard/vm-backup-size-stats")
    assert sum(sizes["backupSizeStatsResponses"].values()) >= 10


def test_errors_say_it_where_pages_look(portal: Portal):
    answer = portal.raw("POST", "/tasks/export", {"protectedEntities": "all"})
    assert answer.status_code == 400
    assert "protectedEntities" in answer.json()["message"]


def test_a_manager_is_kept_with_a_type_in_either_shape(portal: Portal):
    for kind in ({"name": "OVIRT", "description": "oVirt"}, "OVIRT"):
        body = {"name": new_guid(), "url": "https://manager.example", "type": kind}
        made = portal("POST", "/hypervisor-managers", body)
        assert made["type"] == {"name": "OVIRT", "description": "Ovirt"}
        shown = portal("GET", f"/hypervisor-managers/{made['guid']}")
        assert shown == made


def test_policies_rules_and_schedules_are_kept(served: Served, portal: Portal):
    name = new_guid()
    policy = portal("POST", "/policies/vm-backup", {
        "name": name, "priority": "60", "backupRetryCount": 2,
        "autoAssignMode": {"name": "DISABLED"}, "failRemainingBackupTasksExportThreshold": 50,
    })  # fmt: skip
    assert policy["autoAssignMode"]["name"] == "DISABLED"
    rule = portal("POST", "/rules/vm-backup", {
        "name": "nightly", "policy": {"guid": policy["guid"]},
        "ruleBackupDestinations": [{"roleType": {"name": "PRIMARY"},
                                    "backupDestination": served.destination}],
    })  # fmt: skip
    assert rule["ruleBackupDestinations"][0]["roleType"]["name"] == "PRIMARY"
    assert rule["policy"]["name"] == name
    schedule = portal("POST", "/schedules", {
        "name": name, "type": {"name": "VM_BACKUP"}, "backupType": "FULL", "hour": 36000000,
        "executionType": {"name": "TIME"}, "daysOfWeek": [{"name": "MONDAY"}],
        "rules": [{"guid": rule["guid"]}],
    })  # fmt: skip
    assert schedule["daysOfWeek"][0]["name"] == "MONDAY"
    shown = portal("GET", f"/policies/vm-backup/{policy['guid']}?extended=true")
    assert [item["name"] for item in shown["rules"]] == ["nightly"]
    assert portal.raw("POST", "/policies/vm-backup", {"name": name}).status_code == 409
    body = {"protectedEntities": [served.machines[0]], "rules": [{"guid": rule["guid"]}]}
    [task] = portal("POST", "/tasks/export", body)
    assert task["rule"]["guid"] == rule["guid"]
    assert portal.raw("POST", "/tasks/export", {**body, "rules": [new_guid()]}).status_code == 404
    kept = (("schedules", schedule), ("rules/vm-backup", rule), ("policies/vm-backup", policy))
    for path, item in kept:
        portal("DELETE", f"/{path}/{item['guid']}")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/node-configs", {"name": "x", "limits": {"dance": 1}}),
        ("/node-configs", {"name": "x", "limits": {"export": 0}}),
        ("/node-configs", {"name": "x", "windows": {"EXPORT": 1}}),
        ("/schedules", {"name": "x", "type": "NEVER"}),
        ("/schedules", {"name": "x", "hour": 86_400_001}),
        ("/policies/vm-backup", {"name": ""}),
        ("/policies/vm-backup", {"name": "x", "priority": 101}),
        ("/policies/vm-backup", {"name": "x", "failRemainingBackupTasksStoreThreshold": 101}),
        ("/policies/recovery-plan", {"name": "x", "rules": [{"name": "r"}]}),
        ("/projects", {"name": "x"}),
        ("/hypervisors", {"name": "x", "path": "relative"}),
        ("/backup-destinations", {"name": "x", "path": "/x", "retention": {"keepLastNFull": 0}}),
        ("/retention/mark-backups", {"backupLocations": [], "retentionHint": "RECREATE"}),
    ],
)
def test_records_that_make_no_sense_are_refused(portal: Portal, path: str, body: Any):
    answer = portal.raw("POST", path, body)
    assert is_error(answer, 400), answer.text


def test_a_node_configuration_sets_limits_and_windows(served: Served, portal: Portal):
    body = {"name": new_guid(), "limits": {"export": 1}, "windows": {"EXPORT": 7_200_000}}
    config = portal("POST", "/node-configs", body)
    node = f"/nodes/{served.identity['guid']}"
    assert portal("PUT", node, {"nodeConfig": config})["nodeConfig"]["guid"] == config["guid"]
    body = {"protectedEntities": served.machines[:2], **served.there}
    item, two = portal("POST", "/tasks/export", body)
    assert item["windowEnd"] - item["windowStart"] == 7_200_000
    assert served.state(item["guid"], "RUNNING").status_code == 204
    refused = served.state(two["guid"], "RUNNING")
    assert is_error(refused, 409)
    assert "as many export tasks" in refused.json()["message"]
    portal("PUT", f"/node-configs/{config['guid']}", {"name": config["name"]})
    assert served.state(two["guid"], "RUNNING").status_code == 204


def test_a_threshold_fails_the_rest_of_a_run(served: Served, portal: Portal):
    policy = portal("POST", "/policies/vm-backup", {
        "name": new_guid(), "failRemainingBackupTasksExportThreshold": 40})  # fmt: skip
    rule = portal("POST", "/rules/vm-backup", {"name": new_guid(), "policy": policy["guid"]})
    body = {
        "protectedEntities": served.machines[:2],
        "rules": [rule["guid"]],
        **served.there,
    }
    item, two = portal("POST", "/tasks/export", body)
    served.state(item["guid"], "RUNNING")
    served.state(item["guid"], {"state": "FAILED", "statusInfo": "no space"})
    rest = served.task(two["guid"])
    assert rest["state"]["name"] == "FAILED"
    assert rest["statusInfo"].startswith("THRESHOLD: 1 of 2")
    assert portal("GET", f"/backups/{two['backup']['guid']}")["status"]["name"] == "FAILED"


def test_a_node_written_from_the_reference_page_alone(served: Served):
    """The node uses a token for Authorization and the reference page, and nothing else."""
    served.rest()
    made = served.call("POST", "/api/nodes", {"name": new_guid()}).json()
    bare = {"Authorization": made["token"]}
    http = httpx2.Client(base_url=served.server.url, headers=bare, timeout=30)
    place = {"name": new_guid(), "path": "/x", "node": {"guid": made["guid"]}}
    hypervisor = served.call("POST", "/api/hypervisors", place).json()
    queue = http.get(f"/tasks/queued?node={made['guid']}").json()
    sync = next(t for t in queue if t["type"]["name"] == "INVENTORY_SYNC")
    assert http.put(f"/tasks/{sync['guid']}/state", json="RUNNING").status_code == 204
    result = {"type": {"name": "KVM"}, "virtualMachines": [{"uuid": "u-1", "name": made["guid"]}]}
    assert http.post("/tasks/inventory", json=result).status_code == 201
    assert http.put(f"/tasks/{sync['guid']}/state", json="FINISHED").status_code == 204
    query = f"/api/virtual-machines?hypervisor={hypervisor['guid']}"
    [machine] = served.call("GET", query).json()
    body = {"protectedEntities": [machine], "backupDestination": served.destination}
    wrong = served.call("POST", "/api/tasks/export", body)
    assert is_error(wrong, 400)  # bound to different nodes
    target = {"name": new_guid(), "path": "/y", "node": {"guid": made["guid"]}}
    body["backupDestination"] = served.call("POST", "/api/backup-destinations", target).json()
    [export] = served.call("POST", "/api/tasks/export", body).json()
    path = f"/tasks/{export['guid']}"
    assert export["guid"] in [t["guid"] for t in http.get("/tasks/queued").json()]
    for item, sent in (
        ("state", {"state": {"name": "RUNNING"}}),
        ("progress", {"value": 50}),
        ("transfer-rate", {"transferRate": 1.0, "transferredBytes": 10}),
        ("backup-type", "FULL"),
        ("state", "FINISHED"),
    ):
        answer = http.put(f"{path}/{item}", json=sent)
        assert answer.status_code == 204, (item, answer.text)
    backup = served.call("GET", f"/api/backups/{export['backup']['guid']}").json()
    assert backup["status"]["name"] == "PARTIAL_SUCCESS"
    foreign = served.export()["guid"]
    assert served.state(foreign, "RUNNING").status_code == 204
    assert http.put(f"/tasks/{foreign}/progress", json={"value": 1}).status_code == 403
    assert http.put(f"{path}/progress", json={"value": 1}).status_code == 409
    again = served.call("POST", f"/api/nodes/{made['guid']}/token").json()
    assert http.get("/tasks/queued").status_code == 401
    assert again["token"] != made["token"]
    http.close()


def test_an_exporter_reads_what_it_needs(served: Served):
    """The exporter logs in for every scrape and reads lists without any query."""
    served.rest()
    served.export()
    http = httpx2.Client(base_url=f"{served.server.url}/api", timeout=30)
    for _ in range(3):
        http.post("/session/login", json={"login": "admin", "password": PASSWORD})
        [task] = http.get("/tasks").json()
        assert task.get("node", {}).get("name", "none") == "none"
        assert task["protectedEntity"]["name"] == "db"
        nodes = http.get("/nodes").json()
        assert {"state", "stagingSpace", "version", "name", "guid"} <= nodes[0].keys()
        for item in http.get("/virtual-machines").json():
            assert item.get("lastSuccessfulFullBackup", {}).get("name", "") is not None
        for path in ("/hypervisors", "/backup-destinations", "/schedules", "/policies/vm-backup"):
            assert isinstance(http.get(path).json(), list)
    http.close()


def test_the_same_key_gives_the_same_tasks(served: Served):
    served.rest()
    body = {"protectedEntities": [served.machines[0]], **served.there}
    headers = {"idempotency-key": new_guid()}
    item = served.call("POST", "/api/tasks/export", body, headers=headers)
    two = served.call("POST", "/api/tasks/export", body, headers=headers)
    assert (item.status_code, two.status_code) == (201, 201)
    assert [t["guid"] for t in item.json()] == [t["guid"] for t in two.json()]
    assert len(served.call("GET", "/api/tasks").json()) == 1
    other = {"protectedEntities": [served.machines[1]]}
    assert is_error(served.call("POST", "/api/tasks/export", other, headers=headers), 409)
    bad = {"idempotency-key": "x" * 201}
    assert is_error(served.call("POST", "/api/tasks/export", body, headers=bad), 400)


def test_lists_filter_sort_page_and_stream(served: Served):
    served.rest()
    for i in range(30):
        body = {"backupDestinations": [served.destination["guid"]], "priority": i}
        served.call("POST", "/api/tasks/connectivity-test", body)
    whole = served.call("GET", "/api/tasks?orderBy=priority&direction=desc")
    assert [t["priority"] for t in whole.json()] == list(range(29, -1, -1))
    assert whole.headers["x-total-count"] == "30"
    seen, query = [], "orderBy=priority&direction=asc&size=7"
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        answer = served.call("GET", f"/api/tasks?{query}{more}")
        seen += [t["priority"] for t in answer.json()]
        cursor = answer.headers.get("x-next-cursor")
    assert seen == list(range(30))
    page = served.call("GET", f"/api/tasks?{query}&page=2").json()
    assert [t["priority"] for t in page] == list(range(14, 21))
    for bad in ("cursor=x", "cursor=eyJh", "orderBy=shoe", "state=DONE", "type=DANCE"):
        answer = served.call("GET", f"/api/tasks?size=5&{bad}")
        assert is_error(answer, 400), bad
    assert "CANCELLED" in served.call("GET", "/api/tasks?state=DONE").json()["message"]
    combined = "state=QUEUED&type=CONNECTIVITY_TEST&nameLike=BD&filter=connect"
    assert served.call("GET", f"/api/tasks?{combined}").headers["x-total-count"] == "30"
    for flag, count in (("true", 0), ("false", 30)):
        answer = served.call("GET", f"/api/tasks?mounted-backup-assigned={flag}")
        assert answer.headers["x-total-count"] == str(count)


def test_a_long_list_is_streamed_whole(served: Served):
    served.rest()
    guid = served.export()["guid"]
    with served.app.store.write() as sql:
        one = tasks.get(sql, guid)
        copies = [msgspec.structs.replace(one, guid=new_guid(), ready=False) for _ in range(1200)]
        tasks.insert(sql, copies)
    answer = served.call("GET", "/api/tasks")
    assert answer.headers["x-total-count"] == "1201"
    assert len({t["guid"] for t in answer.json()}) == 1201
