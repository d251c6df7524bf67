"""The flows of portals from page to page; every record is checked against the member table."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from haulback.inventory.records import Entity
from tests.contract.conftest import EXPORTED, Served
from tests.contract.portals import Portal, logged_in
from tests.contract.test_transport import is_error

DAY = 86_400_000


@pytest.fixture
def portal(served: Served) -> Any:
    served.rest()
    yield from logged_in(served)
    served.rest()


def test_the_lists_and_the_tabs_of_a_machine(served: Served, portal: Portal):
    number = served.new_machine(VirtualDisk("root", 10, "qcow2"))
    machine = served.machines[number]
    backup = served.stored(machine=number)
    served.snapped(machine)
    portal("GET", "/user-info")
    portal("GET", "/virtual-machines?page=0&size=10&filter=&orderBy=&direction=")
    shown = portal("GET", f"/virtual-machines/{machine}")
    assert shown["lastStoredSnapshot"]["guid"]
    assert "backupUpToDate" not in shown
    for path in ("hypervisors", "nodes", "backup-destinations", "network", "workflow-executions"):
        assert isinstance(portal("GET", f"/{path}"), list)
    assert portal("GET", f"/virtual-machine-disks?virtual-machine={machine}")
    assert portal("GET", f"/snapshots?protected-entity={machine}")
    assert portal("GET", f"/backups?protected-entity={machine}&status=SUCCESS")
    portal("GET", f"/backups/{backup}")
    assert portal("GET", f"/backup-locations?protected-entity={machine}&location-status=PRESENT")
    assert portal("GET", f"/backup-files?backup={backup}")
    assert portal("GET", f"/backup-files/detailed/for-restore?backup={backup}")
    portal("GET", f"/file-systems?backup={backup}")
    portal("POST", "/virtual-machines/incremental-not-possible", {"entities": [shown]})


def test_a_mounted_backup_is_browsed_and_a_file_comes_out(served: Served, portal: Portal):
    mount = served.mounted()
    portal("GET", "/mounted-backups?page=0&size=10")
    portal("GET", f"/mounted-backups/{mount['guid']}")
    [system] = portal("GET", f"/mounted-file-systems/detailed?mounted-backup={mount['guid']}")
    portal("GET", f"/mounted-files?mounted-backup={mount['guid']}")
    entry = {"name": "etc", "type": "DIRECTORY", "size": 9, "modified": 5, "mode": 0o755}
    page = {"entries": [{**entry, "uid": 0, "gid": 0}], "more": False}
    node = served.answers(json.dumps(page).encode())
    path = f"/mounted-file-systems/{system['guid']}"
    [folder] = portal("POST", f"{path}/listing", {"path": "/"})
    node.join()
    assert folder["fileType"]["name"] == "DIRECTORY"


def test_a_restore_names_a_manager_and_nothing_has_been_made_by_hand(
    served: Served, portal: Portal
):
    backup = served.stored(machine=1)
    [manager] = portal("GET", f"/hypervisor-managers/?backup-to-be-restored={backup}")
    [cluster] = portal("GET", f"/hypervisor-clusters?hypervisor-manager={manager['guid']}")
    portal("GET", f"/hypervisor-storages?hypervisor-manager={manager['guid']}")
    place = {"name": new_guid(), "path": "/aaa"}
    second = served.call("POST", "/api/hypervisors", place).json()  # first in the order of names
    try:
        location = portal("GET", f"/backup-locations?backup={backup}")[0]
        body = {
            "restoreStorageId": "",
            "restoreClusterId": cluster["uuid"],
            "backup": None,
            "hypervisorManager": manager,
            "restoredPeName": "",
            "taskFiles": [],
            "baseImage": {},
            "restoredDiskAllocationFormat": {"name": "SPARSE", "description": "Sparse"},
            "overwrite": False,
            "restoredNetworks": [],
            "backupLocation": location,
            "isDiskLayoutActive": False,
        }
        task = portal("POST", "/tasks/restore-and-import", body)
        assert task["hypervisor"]["guid"] == served.hypervisor["guid"]
        assert task["hypervisorManager"]["guid"] == manager["guid"]
        for wrong in ({"restoreClusterId": new_guid()}, {"restoreClusterId": "other"}):
            answer = portal.raw("POST", "/tasks/restore-and-import", {**body, **wrong})
            assert is_error(answer, 400), answer.text
        served.rest()
    finally:
        served.rest()
        assert served.call("DELETE", f"/api/hypervisors/{second['guid']}").status_code == 204


def test_a_guest_of_one_platform_never_goes_to_another(served: Served, portal: Portal):
    kvm = served.kvm()
    guest = served.new_machine(hypervisor=kvm)
    backup = served.stored(machine=guest)
    [own] = portal("GET", f"/hypervisor-managers?backup-to-be-restored={backup}")
    names = {item["guid"]: item for item in portal("GET", "/hypervisor-managers")}
    folder = portal("GET", f"/virtual-machines/{served.machines[0]}")["hvManager"]
    assert own["guid"] != folder["guid"]
    assert {own["guid"], folder["guid"]} <= names.keys()
    body = {"backup": {"guid": backup}, "hypervisorManager": {"guid": own["guid"]}}
    task = portal("POST", "/tasks/restore-and-import", body)
    assert task["hypervisor"]["guid"] == kvm
    body["hypervisorManager"] = folder
    answer = portal.raw("POST", "/tasks/restore-and-import", body)
    assert is_error(answer, 400)
    assert "libvirt" in answer.json()["message"]
    assert is_error(
        portal.raw("GET", f"/hypervisor-managers?backup-to-be-restored={new_guid()}"), 404
    )
    assert portal.raw("DELETE", f"/hypervisor-managers/{own['guid']}").status_code == 409
    renamed = portal("PUT", f"/hypervisor-managers/{own['guid']}", {**own, "name": new_guid()})
    assert portal("GET", f"/hypervisors/{kvm}")["hypervisorManager"]["name"] == renamed["name"]
    portal("PUT", f"/hypervisor-managers/{own['guid']}", own)


def test_the_project_of_a_machine_is_sent_back_as_it_was_shown(served: Served, portal: Portal):
    machine = served.machines[served.new_machine()]
    path = f"/virtual-machines/{machine}"
    project = portal("POST", "/projects", {"name": "shop", "uuid": new_guid()})
    for given in (project["uuid"], {"guid": project["uuid"]}, project):
        portal("PUT", f"{path}/settings", {"project": given})
        shown = portal("GET", path)
        assert shown["project"] == {"guid": project["guid"], "name": "shop"}
        portal("PUT", f"{path}/settings", shown)
        assert portal("GET", path) == shown
    listed = portal("GET", f"/virtual-machines?project-uuid={project['uuid']}")
    assert [item["guid"] for item in listed] == [machine]
    portal("PUT", f"{path}/settings", {"project": "unheard-of"})
    assert portal("GET", path)["project"] == {"guid": "unheard-of", "name": "unheard-of"}
    assert is_error(portal.raw("PUT", f"{path}/settings", {"project": ""}), 400)
    portal("DELETE", f"/projects/{project['guid']}")


def scheduled(served: Served, portal: Portal, *machines: str, **more: Any) -> Any:
    schedule = portal("POST", "/schedules", {"name": new_guid(), "hour": 0, **more})
    rules = [{"schedules": [schedule]}]
    body = {"name": new_guid(), "vms": [*machines], "rules": rules}
    return portal("POST", "/policies/vm-backup", body)


def aged(served: Served, number: int, age: int) -> str:
    """A machine whose last backup is `age` ms old."""
    machine = served.machines[number]
    [task] = served.call("POST", "/api/tasks/export", {
        "protectedEntities": [machine], **served.there}).json()  # fmt: skip
    served.run(task["guid"], {**EXPORTED, "snapshotTime": served.app.clock.now_ms() - age})
    [store] = served.task(task["guid"], "?extended=true")["followers"]
    served.run(store["guid"], {"stored": 5})
    return machine


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (DAY - 60_000, True), (2 * DAY, False)])
def test_a_scheduled_machine_is_up_to_date_for_a_day_and_a_start_window(
    served: Served, portal: Portal, age: int, fresh: bool
):
    machine = aged(served, served.new_machine(), age)
    path = f"/virtual-machines/{machine}"
    policy = portal("POST", "/policies/vm-backup", {"name": new_guid(), "vms": [machine]})
    assert "backupUpToDate" not in portal("GET", path)
    portal("DELETE", f"/policies/vm-backup/{policy['guid']}")
    policy = scheduled(served, portal, machine)
    assert portal("GET", path)["backupUpToDate"] is fresh
    schedule = policy["rules"][0]["schedules"][0]
    portal("PUT", f"/schedules/{schedule['guid']}", {**schedule, "active": False})
    assert "backupUpToDate" not in portal("GET", path)


def test_the_three_counts_of_the_dashboard_are_disjoint(served: Served, portal: Portal):
    fresh, stale, none, by_hand, bare = (served.new_machine() for _ in range(5))
    portal_machines = [aged(served, fresh, 0), aged(served, stale, 2 * DAY), served.machines[none]]
    aged(served, by_hand, 9 * DAY)
    before = portal("GET", "/dashboard/protection")["vm"]
    policy = scheduled(served, portal, *portal_machines)
    after = portal("GET", "/dashboard/protection")["vm"]
    machines = portal("GET", "/virtual-machines")
    assert sum(after.values()) == sum(before.values()) == len(machines)
    assert after["notProtected"] - before["notProtected"] == 2
    assert before["noSchedule"] - after["noSchedule"] == 1
    portal("DELETE", f"/policies/vm-backup/{policy['guid']}")
    assert served.machines[bare]


def test_every_day_of_the_chart_has_a_value(served: Served, portal: Portal):
    served.stored()
    now = served.app.clock.now_ms()
    today = now - now % DAY
    for query, days in (("", 15), (f"?from={today - 3 * DAY}", 4),
                        (f"?from={today - 3 * DAY}&to={today - DAY}", 3),
                        (f"?from={today}&to={now}", 1)):  # fmt: skip
        result = portal("GET", f"/dashboard/vm-backup-size-stats{query}")
        for name in ("backupSizeStatsResponses", "restoreSizeStatsResponses"):
            moments = [int(day) for day in result[name]]
            assert len(moments) == days, query
            assert moments == list(range(moments[0], moments[0] + days * DAY, DAY))
    result = portal("GET", "/dashboard/vm-backup-size-stats")["backupSizeStatsResponses"]
    assert list(result.values())[-1] > 0


@pytest.mark.parametrize(("total", "free"), [(100, 23), (100, 0), (10, 10), (None, None), (7, 9)])
def test_no_destination_is_more_than_full(
    served: Served, portal: Portal, total: int | None, free: int | None
):
    served.stored()
    guid = served.destination["guid"]
    with served.app.store.write() as sql:
        served.seen(sql).destinations.space(guid, total, free)
    result = portal("GET", "/dashboard/backup-destination-stats")
    with served.app.store.write() as sql:  # exports wait because the destination is full
        served.seen(sql).destinations.space(guid, 1 << 40, 1 << 40)
    mine = next(item for item in result["backupDestinations"] if item["guid"] == guid)
    assert 0 <= mine["totalUsedSpace"] <= mine["totalAvailableSpace"]
    assert result["totalUsedSpace"] <= result["totalAvailableSpace"]
    if total is not None and free is not None:
        assert mine["diskTotalSpace"] == total
        assert mine["totalAvailableSpace"] == mine["totalUsedSpace"] + min(free, total)


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_machines_are_sorted_by_what_portals_show(served: Served, portal: Portal, direction: str):
    numbers = [served.new_machine() for _ in range(4)]
    ages = (3 * DAY, 5 * DAY, 1000)
    for number, age in zip(numbers, ages, strict=False):
        aged(served, number, age)
    guids = [served.machines[number] for number in numbers]
    scheduled(served, portal, *guids[1:3])
    for order in ("lastBackup", "lastSuccessfulBackupSize", "vmBackupPolicy", "backupUpToDate"):
        rows = portal("GET", f"/virtual-machines?orderBy={order}&direction={direction}")
        result = [_key(row, order) for row in rows]
        assert result == sorted(result, reverse=direction == "desc"), order
        paged = [
            row["guid"]
            for page in range(len(rows))
            for row in portal(
                "GET", f"/virtual-machines?orderBy={order}&direction={direction}&page={page}&size=7"
            )
        ]
        assert paged == [row["guid"] for row in rows]


def _key(row: dict[str, Any], order: str) -> Any:
    value = row.get(order)
    if order == "vmBackupPolicy":
        return value["name"] if value else ""
    return -1 if value is None else value


def test_an_increment_is_as_large_as_what_it_holds(served: Served, portal: Portal):
    number = served.new_machine(VirtualDisk("root", 1000, "qcow2"))
    machine = served.machines[number]
    sizes = {}
    for kind, read in (("FULL", 900), ("INCREMENTAL", 30)):
        body = {"protectedEntities": [machine], "backupType": kind, **served.there}
        [task] = portal("POST", "/tasks/export", body)
        files = [{"name": "root", "size": 1000, "format": "raw"}]
        report = {**EXPORTED, "type": kind, "size": 1000, "read": read, "files": files}
        served.run(task["guid"], report)
        [store] = served.task(task["guid"], "?extended=true")["followers"]
        served.run(store["guid"], {"stored": 5})
        sizes[kind] = portal("GET", f"/backups/{task['backup']['guid']}")["size"]
    assert sizes == {"FULL": 1000, "INCREMENTAL": 30}
    query = f"/backups?protected-entity={machine}&min-size=31"
    assert [item["size"] for item in portal("GET", query)] == [1000]
    shown = portal("GET", f"/virtual-machines/{machine}")
    assert shown["lastSuccessfulIncBackupSize"] == 30
    assert shown["lastSuccessfulFullBackupSize"] == 1000
    [file] = portal("GET", f"/backup-files?backup={task['backup']['guid']}")
    assert file["size"] == 1000  # a restore creates the whole disk


@pytest.mark.parametrize("failed", ["EXPORT", "STORE"])
def test_a_workflow_that_failed_names_the_step_that_failed(
    served: Served, portal: Portal, failed: str
):
    head = guid = served.export()["guid"]
    if failed == "STORE":
        served.run(guid, EXPORTED)
        guid = served.task(guid, "?extended=true")["followers"][0]["guid"]
    served.state(guid, "RUNNING")
    served.state(guid, {"state": "FAILED", "statusInfo": "no space"})
    flows = portal("GET", "/workflow-executions?page=0&size=40")
    flow = next(item for item in flows if item["guid"] == head)
    assert flow["state"]["name"] == "FAILED"
    assert flow["currentStep"] == {"name": failed, "description": failed.capitalize()}


def test_a_machine_has_a_type_of_manager_that_portals_know(served: Served, portal: Portal):
    known = {"AWS", "KUBERNETES", "NUTANIX", "OPENSHIFT", "OPENSTACK", "ORACLE", "RHEV", "RHV",
             "VCENTER"}  # fmt: skip
    for kind in ("OVIRT", "", "VCENTER"):
        made = portal(
            "POST", "/hypervisor-managers", {"name": new_guid(), "type": {"name": kind or "X"}}
        )
        place = {"name": new_guid(), "path": "/m2", "hypervisorManager": {"guid": made["guid"]}}
        host = served.call("POST", "/api/hypervisors", place).json()
        entity = Entity(guid=new_guid(), uuid=new_guid(), name="m", hypervisor=host["guid"])
        with served.app.store.write() as sql:
            served.seen(sql).inventory.scanned(host["guid"], [entity], complete_since=None)
        shown = portal("GET", f"/virtual-machines/{entity.guid}")
        assert shown["hvmType"]["name"] in known
        assert shown["hvManager"]["guid"] == made["guid"]
        [cluster] = portal("GET", f"/hypervisor-clusters?hypervisor-manager={made['guid']}")
        assert shown["hvCluster"]["guid"] == cluster["guid"]
        assert served.call("DELETE", f"/api/hypervisors/{host['guid']}").status_code in (204, 409)


def test_a_download_streams_while_another_page_lists(served: Served, portal: Portal):
    system = served.file_system(served.mounted()["guid"])
    node = served.answers(b"REGULAR_FILE")
    got: list[Any] = []
    path = f"/mounted-file-systems/{system}/download"
    asked = threading.Thread(target=lambda: got.append(portal("POST", path, {"paths": ["/a.txt"]})))
    asked.start()
    node.join()
    served.answers(b"hello").join()
    asked.join()
    assert got == [b"hello"]
