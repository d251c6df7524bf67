"""Dangerous requests and reports that the server must refuse."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.ids import new_guid
from haulback.inventory.records import Entity
from haulback.server.store import tasks
from haulback.server.store.catalogue import SqlCatalogue
from tests.contract.conftest import EXPORTED, Served
from tests.contract.test_access import in_project, user
from tests.contract.test_transport import is_error


def test_an_administrator_of_a_project_makes_nobody_and_changes_nothing_outside(served: Served):
    served.rest()
    in_project(served, served.machines[0], "pa")
    token = user(served, "administrator", projects=["pa"])
    somebody = {"login": new_guid(), "password": "a long password", "roles": ["administrator"]}
    for method, path, body in (
        ("POST", "/api/users", somebody),
        ("POST", "/api/nodes/enrolment", None),
        ("POST", "/api/hypervisors", {"name": "x", "path": "/x"}),
        ("DELETE", f"/api/backup-destinations/{served.destination['guid']}", None),
    ):
        assert is_error(served.call(method, path, body, token=token), 403), path
    other = f"/api/virtual-machines/{served.machines[1]}/settings"
    assert is_error(served.call("PUT", other, {"priority": 5}, token=token), 404)
    mine = f"/api/virtual-machines/{served.machines[0]}/settings"
    assert is_error(served.call("PUT", mine, {"project": "pb"}, token=token), 404)


@pytest.mark.parametrize(
    "poison",
    [
        {"size": -1},
        {"size": 1 << 80},
        {"size": "many"},
        {"checkpoint": "a\nb" * 5000},
        {"stored": {"x": 1}},
        {"files": "all"},
    ],
)
def test_a_node_that_reports_nonsense_is_told_so_and_nothing_is_noted(
    served: Served, poison: dict[str, Any]
):
    served.rest()
    guid = served.taken()
    path = f"/api/tasks/{guid}/transfer-info"
    answer = served.as_node("PUT", path, {**EXPORTED, **poison})
    if answer.status_code == 204:  # an open object: the server interprets it when the task ends
        answer = served.state(guid, "FINISHED")
    assert is_error(answer, 400)
    assert served.task(guid)["state"]["name"] == "RUNNING"
    mended = {**EXPORTED, "checkpoint": "haulback-1", "cbtId": "haulback-1"}
    assert served.as_node("PUT", path, mended).status_code == 204
    assert served.state(guid, "FINISHED").status_code == 204


def test_a_backup_that_is_being_restored_is_not_deleted_under_it(served: Served):
    served.rest()
    backup = served.stored()
    wanted = {"backup": backup, "hypervisor": served.hypervisor["guid"], "restoredPeName": "new"}
    answer = served.call("POST", "/api/tasks/restore-and-import", wanted)
    assert answer.status_code == 201, answer.text
    machine = {"value": served.machines[0]}
    assert is_error(served.call("POST", "/api/tasks/delete", machine), 409)
    served.rest()
    answer = served.call("POST", "/api/tasks/delete", machine)
    assert answer.status_code == 201, answer.text


def test_an_overwrite_replaces_the_one_machine_it_named(served: Served):
    served.rest()
    backup, [own, other] = served.stored(), served.machines[:2]
    wanted = {
        "backup": backup,
        "hypervisor": served.hypervisor["guid"],
        "overwrite": True,
        "dstProtectedEntity": {"guid": other},
    }
    answer = served.call("POST", "/api/tasks/restore-and-import", wanted)
    assert answer.status_code == 201, answer.text
    uuids = {
        item["guid"]: item["uuid"] for item in served.call("GET", "/api/virtual-machines").json()
    }
    restore = served.task(answer.json()["guid"], "?extended=true")
    [follower] = restore["followers"]
    with served.app.store.read() as sql:
        assert tasks.get(sql, follower["guid"]).params["replaces"] == uuids[other]
    assert uuids[own] != uuids[other]


def test_an_overwrite_does_not_reach_into_another_project(served: Served):
    served.rest()
    mine, theirs = served.machines[:2]
    in_project(served, mine, "pa")
    in_project(served, theirs, "pb")
    token = user(served, "operator", "restore_operator", projects=["pa"])
    backup = served.stored()
    name = next(
        item["name"]
        for item in served.call("GET", "/api/virtual-machines").json()
        if item["guid"] == theirs
    )
    for more in ({"dstProtectedEntity": {"guid": theirs}}, {"restoredPeName": name}):
        wanted = {"backup": backup, "hypervisor": served.hypervisor["guid"], "overwrite": True}
        answer = served.call(
            "POST", "/api/tasks/restore-and-import", {**wanted, **more}, token=token
        )
        assert is_error(answer, 404), (more, answer.text)


def test_of_two_machines_with_one_name_none_is_overwritten_by_guess(served: Served):
    served.rest()
    backup, hypervisor = served.stored(), str(served.hypervisor["guid"])
    twins = [
        Entity(guid=new_guid(), uuid=new_guid(), name="twin", hypervisor=hypervisor)
        for _ in range(2)
    ]
    with served.app.store.write() as sql:
        served.seen(sql).inventory.scanned(hypervisor, twins, complete_since=None)
    wanted = {"backup": backup, "hypervisor": hypervisor, "overwrite": True}
    answer = served.call(
        "POST", "/api/tasks/restore-and-import", {**wanted, "restoredPeName": "twin"}
    )
    assert is_error(answer, 409)
    assert "dstProtectedEntity" in answer.json()["message"]
    with served.app.store.write() as sql:
        own = SqlCatalogue(sql).machines.get(served.machines[0])
        double = Entity(guid=new_guid(), uuid=new_guid(), name=own.name, hypervisor=hypervisor)
        served.seen(sql).inventory.scanned(hypervisor, [double], complete_since=None)
    answer = served.call(
        "POST", "/api/tasks/restore-and-import", {**wanted, "restoredPeName": own.name}
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["dstProtectedEntity"]["guid"] == own.guid


def test_a_recovery_plan_with_a_machine_of_another_project_is_not_there(served: Served):
    mine, theirs = served.machines
    in_project(served, mine, "pa")
    in_project(served, theirs, "pb")
    token = user(served, "viewer", projects=["pa"])
    guids = []
    for name, machines in (("ours", [mine]), ("both", [mine, theirs]), ("theirs", [theirs])):
        rules = [{"name": "r", "protectedEntities": [{"guid": machine}]} for machine in machines]
        body = {"name": name, "rules": rules}
        guids.append(served.call("POST", "/api/policies/recovery-plan", body).json()["guid"])
    path = "/api/policies/recovery-plan"
    seen = served.call("GET", path, token=token)
    assert [item["name"] for item in seen.json()] == ["ours"]
    assert seen.headers["x-total-count"] == "1"
    codes = [served.call("GET", f"{path}/{guid}", token=token).status_code for guid in guids]
    assert codes == [200, 404, 404]
    assert len(served.call("GET", path).json()) == 3
    restricted = served.call("GET", f"{path}?project-uuid=pb").json()
    assert [item["name"] for item in restricted] == ["theirs"]
    runs = user(served, "restore_operator", projects=["pa"])
    assert is_error(served.call("POST", f"/api/tasks/{guids[2]}", token=runs), 404)
