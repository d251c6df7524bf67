"""Inventories of nodes: machines, their surroundings, and scans of single machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from haulback.ids import new_guid
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.machines import write_settings as write
from tests.contract.conftest import Served
from tests.contract.test_access import user
from tests.contract.test_transport import is_error

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def _rested(served: Served):
    yield
    served.rest()


def old_machine(served: Served) -> dict[str, Any]:
    """A machine last seen an hour ago, as the API shows it."""
    guid = served.machines[served.new_machine()]
    with served.app.store.write() as sql:
        ledger = SqlLedger(sql, served.app.clock.now_ms() - HOUR_MS)
        ledger.inventory.scanned(
            served.hypervisor["guid"], [SqlCatalogue(sql).machines.get(guid)], complete_since=None
        )
    return shown(served, guid)


def shown(served: Served, guid: str) -> dict[str, Any]:
    return dict(served.call("GET", f"/api/virtual-machines/{guid}").json())


def looks(served: Served) -> list[dict[str, Any]]:
    """Queued scans of single machines."""
    query = "type=SCOPED_INVENTORY_SYNC&state=QUEUED"
    return list(served.call("GET", f"/api/tasks/detailed?{query}").json())


def seen(machine: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"uuid": machine["uuid"], "name": machine["name"], "disks": [], **more}


def synced(served: Served, hypervisor: str, machines: list[dict[str, Any]], **more: Any) -> None:
    body = {"hypervisors": [{"guid": hypervisor}]}
    [task] = served.call("POST", "/api/tasks/inventory-sync", body).json()
    served.run(task["guid"], {"machines": machines, "problems": 0, **more})


def test_a_machine_without_a_recent_inventory_gets_one_before_its_backup(served: Served):
    machine = old_machine(served)
    answer = served.call(
        "POST", "/api/tasks/export", {"protectedEntities": [machine["guid"]], **served.there}
    )
    assert [task["type"]["name"] for task in answer.json()] == ["EXPORT"]
    [look] = looks(served)
    assert look["protectedEntity"]["guid"] == machine["guid"]
    assert served.order(look["guid"])["uuids"] == [machine["uuid"]]
    hardware = {"cards": [{"mac": "52:54:00:00:00:01", "network": "lan"}], "tags": ["db", "prod"]}
    disks = [{"name": "new", "size": 5}]
    served.finish(look["guid"], {"machines": [seen(machine, disks=disks, hardware=hardware)]})
    result = shown(served, machine["guid"])
    assert (result["tags"], [d["name"] for d in result["disks"]]) == (["db", "prod"], ["new"])
    [card] = result["networkInterfaceCards"]
    assert (card["macAddress"], card["network"]) == ("52:54:00:00:00:01", "lan")
    served.rest()
    served.export(protectedEntities=[machine["guid"]])
    assert looks(served) == []  # the machine was just seen


def test_an_inventory_marks_only_the_machines_that_it_misses_as_absent(served: Served):
    machine, other = old_machine(served), shown(served, served.machines[0])
    served.export(protectedEntities=[machine["guid"]])
    [look] = looks(served)
    served.run(look["guid"], {"machines": [], "gone": [machine["uuid"]]})
    assert not shown(served, machine["guid"])["present"]
    assert shown(served, other["guid"])["present"]


def test_a_failed_inventory_does_not_prevent_the_backup(served: Served):
    machine = old_machine(served)
    export = served.export(protectedEntities=[machine["guid"]])
    [look] = looks(served)
    served.state(look["guid"], "RUNNING")
    assert served.state(look["guid"], "FAILED").status_code == 204
    assert served.state(export["guid"], "RUNNING").status_code == 204


def test_machines_of_one_host_are_scanned_by_one_inventory(served: Served):
    machines = [old_machine(served) for _ in range(3)]
    served.export(protectedEntities=[one["guid"] for one in machines])
    [look] = looks(served)
    assert set(served.order(look["guid"])["uuids"]) == {one["uuid"] for one in machines}
    served.finish(look["guid"], {"machines": []})


def test_a_restored_machine_gets_an_inventory(served: Served):
    body = {"backup": served.stored(), "hypervisor": served.hypervisor["guid"]}
    head = served.call("POST", "/api/tasks/restore-and-import", body).json()
    served.run(head["guid"], {"disks": 1})
    [made] = served.task(head["guid"], "?extended=true")["followers"]
    machine = {"uuid": new_guid(), "name": new_guid(), "disks": []}
    served.run(made["guid"], machine)
    [look] = served.task(made["guid"], "?extended=true")["followers"]
    assert look["type"]["name"] == "SCOPED_INVENTORY_SYNC"
    assert served.order(look["guid"])["uuids"] == [machine["uuid"]]
    served.finish(look["guid"], {"machines": [seen(machine, hardware={"tags": ["again"]})]})
    rows = served.call("GET", f"/api/virtual-machines?filter={machine['name']}").json()
    assert [row["tags"] for row in rows] == [["again"]]


def test_a_machine_that_got_another_name_is_told_with_its_restore(served: Served):
    on = served.hypervisor
    body = {"backup": served.stored(), "hypervisor": on["guid"], "restoredPeName": "web"}
    for name, info in (
        ("web", None),
        ("web (2)", f"the name web is taken on {on['name']}: the restored machine is called"),
    ):
        head = served.call("POST", "/api/tasks/restore-and-import", body).json()
        served.run(head["guid"], {"disks": 1})
        [made] = served.task(head["guid"], "?extended=true")["followers"]
        served.run(made["guid"], {"uuid": new_guid(), "name": name, "disks": []})
        job = served.call("GET", f"/api/restore-jobs/{head['restoreJob']['guid']}").json()
        assert job.get("statusInfo") == (info and f"{info} {name}")
        served.rest()


def test_commands_are_for_machines_that_run(served: Served):
    guest = served.machines[served.new_machine(hypervisor=served.kvm())]
    path = f"/api/virtual-machines/{guest}/settings"
    both = {"preCommand": "lock", "postCommand": "unlock"}
    assert served.call("PUT", path, both).status_code == 204
    assert shown(served, guest)["settings"] == both
    export = served.export(protectedEntities=[guest])
    order = served.order(export["guid"])
    assert (order["before"], order["after"]) == ("lock", "unlock")
    assert served.call("PUT", path, {"preCommand": ""}).status_code == 204
    assert shown(served, guest)["settings"] == {"postCommand": "unlock"}
    still = f"/api/virtual-machines/{served.machines[0]}/settings"
    for where, wrong in ((still, "x"), (path, "x" * 4001), (path, "a\0b")):
        answer = served.call("PUT", where, {"preCommand": wrong})
        assert answer.status_code == 400, answer.text
        assert answer.json()["details"]["field"] == "preCommand"


def test_commands_are_shown_to_administrators_only(served: Served):
    guest = served.machines[served.new_machine(hypervisor=served.kvm())]
    path = f"/api/virtual-machines/{guest}"
    assert served.call("PUT", f"{path}/settings", {"preCommand": "secret"}).status_code == 204
    token = served.call("POST", "/api/api-tokens", {"name": new_guid(), "roles": ["viewer"]})
    seen = served.call("GET", path, token=token.json()["token"])
    assert (seen.status_code, "secret" in seen.text) == (200, False)
    assert "secret" in served.call("GET", path).text


def test_what_is_seen_of_a_hypervisor_goes_with_it(served: Served):
    manager = served.call("POST", "/api/hypervisor-managers", {"name": new_guid()}).json()["guid"]
    kvm, lan = served.kvm(), f"lan-{new_guid()}"
    body = {"hypervisorManager": {"guid": manager}}
    assert served.call("PUT", f"/api/hypervisors/{kvm}", body).status_code == 200
    pools = [{"name": "fast", "uuid": "u", "total": 10, "free": 5}]
    synced(served, kvm, [], networks=[{"name": lan}], storages=pools)
    rows = served.call("GET", "/api/hypervisor-storages?size=100").json()
    mine = next(row for row in rows if row.get("hypervisorManager", {}).get("guid") == manager)
    renamed = {"name": f"quick-{new_guid()}", "hypervisorManager": {"guid": manager}}
    path = f"/api/hypervisor-storages/{mine['guid']}"
    assert served.call("PUT", path, renamed).status_code == 200
    synced(served, kvm, [], networks=[{"name": lan}], storages=pools)
    again = served.call("GET", path).json()
    assert (again["name"], again["totalUsedSpace"]) == (renamed["name"], 5)
    restore = {"backup": served.stored(), "hypervisor": kvm, "restoreStorageId": renamed["name"]}
    assert served.call("POST", "/api/tasks/restore-and-import", restore).status_code == 201
    served.rest()
    assert served.call("DELETE", f"/api/hypervisors/{kvm}").status_code == 204
    assert lan not in names(served, "network")
    assert served.call("DELETE", f"/api/hypervisor-managers/{manager}").status_code == 204


def names(served: Served, path: str) -> set[str]:
    return {one["name"] for one in served.call("GET", f"/api/{path}?size=100").json()}


def test_networks_and_storages_of_a_platform_come_and_go_with_it(served: Served):
    first, second = served.kvm(), served.kvm()
    theirs = f"mine-{new_guid()}"
    assert served.call("POST", "/api/network", {"name": theirs}).status_code == 201
    lan, dmz = f"lan-{new_guid()}", f"dmz-{new_guid()}"
    networks = [{"name": lan, "uuid": "u1"}, {"name": dmz}, {"name": theirs}]
    pool = {"name": "images", "uuid": "u2", "total": 100, "free": 40}
    synced(served, first, [], networks=networks, storages=[pool])
    synced(served, second, [], networks=[{"name": lan}], storages=None)
    assert {lan, dmz, theirs} <= names(served, "network")
    storages = served.call("GET", "/api/hypervisor-storages?size=100").json()
    [mine] = [storage for storage in storages if storage["name"].endswith(": images")]
    assert (mine["totalAvailableSpace"], mine["totalUsedSpace"]) == (100, 60)
    synced(served, first, [], networks=[], storages=[])
    assert names(served, "network") & {lan, dmz, theirs} == {lan, theirs}
    assert mine["name"] not in names(served, "hypervisor-storages")
    synced(served, second, [], networks=None)  # the scan was inconclusive
    assert lan in names(served, "network")
    synced(served, second, [], networks=[])
    assert lan not in names(served, "network")


def test_disks_are_restored_into_the_storages_of_their_host(served: Served):
    kvm, other, backup = served.kvm(), served.kvm(), served.stored()
    pools = [{"name": name, "uuid": f"{name}-uuid"} for name in ("fast", "slow")]
    synced(served, kvm, [], storages=pools)
    result = served.call("GET", "/api/hypervisor-storages?size=100").json()
    fast = next(item for item in result if item["name"].endswith(": fast"))
    [file] = served.call("GET", f"/api/backup-files?backup={backup}").json()
    body = {"backup": backup, "hypervisor": kvm, "restoreStorageId": fast["guid"]}
    path = "/api/tasks/restore-and-import"
    for mine, pool in (("", "fast"), ("slow-uuid", "slow")):
        files = [{"backupFile": file["guid"], "storageId": mine}] if mine else None
        head = served.call("POST", path, {**body, "taskFiles": files}).json()
        served.run(head["guid"], {"disks": 1})
        [made] = served.task(head["guid"], "?extended=true")["followers"]
        assert served.order(made["guid"])["stores"] == {"root": pool}
        served.rest()
    for wrong, field in (
        ({"restoreStorageId": "tape"}, "restoreStorageId"),
        ({"hypervisor": other}, "restoreStorageId"),
        ({"taskFiles": [{"backupFile": file["guid"], "storageId": "x"}]}, "taskFiles[0].storageId"),
    ):
        answer = served.call("POST", path, {**body, **wrong})
        assert answer.status_code == 400, answer.text
        assert answer.json()["details"]["field"] == field


@pytest.mark.parametrize("order", ["left first", "arrived first"])
def test_a_machine_that_moves_between_hosts_of_a_manager_stays_the_same(served: Served, order: str):
    manager = served.call("POST", "/api/hypervisor-managers", {"name": new_guid()}).json()["guid"]
    hosts = [served.kvm(), served.kvm()]
    for host in hosts:
        body = {"hypervisorManager": {"guid": manager}}
        assert served.call("PUT", f"/api/hypervisors/{host}", body).status_code == 200
    machine = {"uuid": new_guid(), "name": f"m-{new_guid()}"}
    synced(served, hosts[0], [seen(machine)])
    [before] = served.call("GET", f"/api/virtual-machines?filter={machine['name']}").json()
    served.machines.append(before["guid"])
    backup = served.stored(len(served.machines) - 1)
    if order == "left first":
        synced(served, hosts[0], [])
        synced(served, hosts[1], [seen(machine)])
    else:
        synced(served, hosts[1], [seen(machine)])
        synced(served, hosts[0], [])
    now = shown(served, before["guid"])
    assert (now["present"], now["hypervisor"]["guid"]) == (True, hosts[1])
    [kept] = served.call("GET", f"/api/backups?protected-entity={before['guid']}").json()
    assert kept["guid"] == backup
    served.machines.pop()


def test_hosts_of_no_manager_keep_machines_of_one_uuid_apart(served: Served):
    hosts = [served.kvm(), served.kvm()]
    machine = {"uuid": new_guid(), "name": f"m-{new_guid()}"}
    synced(served, hosts[0], [seen(machine)])
    for _ in range(2):  # a host may not lose its only machine at once
        synced(served, hosts[0], [])
    synced(served, hosts[1], [seen(machine)])
    rows = served.call("GET", f"/api/virtual-machines?filter={machine['name']}").json()
    assert sorted(row["present"] for row in rows) == [False, True]


def test_a_host_that_shows_nothing_is_in_doubt_until_a_person_confirms(served: Served):
    kvm = served.kvm()
    machines = [{"uuid": new_guid(), "name": f"m-{new_guid()}"} for _ in range(3)]
    synced(served, kvm, [seen(machine) for machine in machines])
    path = f"/api/hypervisors/{kvm}"
    confirm = f"{path}/confirm-absent"
    assert is_error(served.call("POST", confirm), 409)
    synced(served, kvm, [])
    host = served.call("GET", path).json()
    [alarm] = served.call("GET", f"/api/alarms?subject={kvm}").json()
    assert host["vmCount"] == 3
    assert host["notBelievedSince"] == alarm["since"]
    rows = served.call("GET", f"/api/virtual-machines?hypervisor={kvm}").json()
    assert all(row["present"] and row["absentSince"] == alarm["since"] for row in rows)
    tenant = user(served, "administrator", projects=["a"])
    assert is_error(served.call("POST", confirm, token=tenant), 403)
    gone = served.call("POST", confirm)
    assert gone.status_code == 200
    assert {item["guid"] for item in gone.json()} == {row["guid"] for row in rows}
    assert served.call("GET", f"/api/alarms?subject={kvm}").json() == []
    host = served.call("GET", path).json()
    assert host["vmCount"] == 0
    assert "notBelievedSince" not in host
    said = served.call("GET", f"/api/audit-log?subject={kvm}").json()
    assert "confirm absent machines" in [item["operation"] for item in said]


def test_settings_written_during_an_inventory_change_no_presence(served: Served):
    """A settings request reads the machine, a scan misses the machine, then the request writes."""
    kvm = served.kvm()
    machines = [{"uuid": new_guid(), "name": f"m-{new_guid()}"} for _ in range(2)]
    synced(served, kvm, [seen(machine) for machine in machines])
    [result] = served.call("GET", f"/api/virtual-machines?filter={machines[0]['name']}").json()
    with served.app.store.read() as sql:
        before = SqlCatalogue(sql).machines.get(result["guid"])
    synced(served, kvm, [seen(machines[1])])
    with served.app.store.write() as sql:
        write(sql, before)
    assert not shown(served, result["guid"])["present"]


def test_the_first_hypervisor_of_a_type_is_scanned_before_it_is_saved(tmp_path: Path):
    site = Served(tmp_path)
    try:
        token = site.call("POST", "/api/nodes/enrolment").json()["token"]
        body = {"token": token, "name": "n1"}
        site.identity = site.call("POST", "/api/nodes/enrol", body, token=None).json()
        site.mover = site.new_session()
        new = {"hypervisors": [{"name": "first", "path": "/srv/new"}]}
        answer = site.call("POST", "/api/tasks/wizard/inventory-sync", new)
        assert answer.status_code == 201, answer.text
        [task] = answer.json()
        assert task["hypervisor"]["name"] == "first"
        site.run(task["guid"], {"machines": [{"uuid": new_guid(), "name": "web"}]})
        [first] = site.call("GET", "/api/hypervisors").json()
        assert (first["name"], first["vmCount"]) == ("first", 1)
        assert first["hypervisorManager"]["name"] == "a folder of images"
    finally:
        site.close()
