"""The task operations in exact form."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.server.store import tasks
from tests.contract.conftest import Command, Served
from tests.contract.test_transport import is_error

REQUIRED = {"guid", "type", "state", "windowStart", "windowEnd", "progress", "priority"}


def test_an_export_as_the_portal_sends_it(served: Served):
    machine = served.machines[served.new_machine_of("p1")]
    body = {
        "backupType": {"name": "FULL", "description": "Full"},
        "protectedEntities": [{"guid": machine, "vmBackupPolicy": {"rules": []}}, None],
        "priority": "60",
        "retryCount": "2",
        "rules": [None],
        "protectedEntityType": "VM",
        "async": True,
    }
    answer = served.call("POST", "/api/tasks/export?project-uuid=p1", body)
    assert answer.status_code == 201
    [task] = answer.json()
    assert set(task) >= REQUIRED | {"creationTime", "protectedEntity", "backup", "originEntity"}
    assert task["type"] == {"name": "EXPORT", "description": "Export"}
    assert (task["priority"], task["retryCount"]) == (60, 2)
    assert task["originEntity"]["type"]["name"] == "USER"
    assert task["windowEnd"] - task["windowStart"] == 5 * 3_600_000
    assert None not in task.values()


def test_an_export_as_older_clients_send_it(served: Served):
    body = {
        "backupType": "INCREMENTAL",
        "backupDestination": {"guid": served.destination["guid"]},
        "protectedEntities": [served.machines[0].upper()],
        "tenantId": "t",
    }
    assert served.call("POST", "/api/tasks/export", body).status_code == 201


def test_a_backup_entry_exists_as_soon_as_it_is_asked_for(served: Served):
    task = served.export()
    backup = served.call("GET", f"/api/backups/{task['backup']['guid']}").json()
    assert backup["status"]["name"] == "QUEUED"
    assert backup["warnings"] == []


def test_several_machines_are_answered_in_request_order(served: Served):
    answer = served.call("POST", "/api/tasks/export", {"protectedEntities": served.machines[::-1]})
    assert [t["protectedEntity"]["guid"] for t in answer.json()] == served.machines[::-1]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("export", {}, 400),
        ("export", {"protectedEntities": [new_guid()]}, 404),
        ("export", {"protectedEntities": ["no"], "priority": 5}, 400),
        ("restore", {}, 400),
        ("restore", {"backup": new_guid(), "node": new_guid(), "restorePath": "/r"}, 404),
        ("restore", {"backup": new_guid(), "node": new_guid(), "restorePath": "r"}, 400),
        ("restore-and-import", {}, 400),
        ("restore-and-import", {"backup": new_guid()}, 404),
        ("connectivity-test", {}, 400),
        ("connectivity-test", {"storageProviders": [new_guid()]}, 404),
        ("inventory-sync", {"hypervisors": [new_guid()]}, 404),
        ("inventory-sync", [], 400),
        ("inventory-sync", {"hypervisors": "all"}, 400),
    ],
)
def test_bad_requests_name_what_is_wrong(served: Served, path: str, body: Any, status: int):
    before = served.call("GET", "/api/tasks").headers["x-total-count"]
    assert is_error(served.call("POST", f"/api/tasks/{path}", body), status)
    assert served.call("GET", "/api/tasks").headers["x-total-count"] == before


def test_nothing_to_sync_is_an_empty_answer(served: Served):
    answer = served.call("POST", "/api/tasks/wizard/inventory-sync", {"hypervisorManagers": []})
    assert (answer.status_code, answer.json()) == (201, [])


def test_a_backup_that_is_not_stored_cannot_be_restored(served: Served):
    body = {
        "backup": served.export()["backup"]["guid"],
        "hypervisor": {"guid": served.hypervisor["guid"]},
    }
    assert is_error(served.call("POST", "/api/tasks/restore-and-import", body), 409)


def test_lists_are_bare_arrays_with_their_total(served: Served):
    served.export()
    for path in ("/api/tasks", "/api/tasks/detailed"):
        answer = served.call("GET", f"{path}?page=0&size=1&filter=&orderBy=priority&direction=desc")
        assert len(answer.json()) == 1
        assert int(answer.headers["x-total-count"]) >= 1
        assert set(answer.json()[0]) >= REQUIRED
    assert served.call("GET", "/api/tasks?page=100000&size=5").json() == []


@pytest.mark.parametrize(
    "query",
    ["", "filter=", "nonsense=1", "project-uuid=", "states=QUEUED&states=RUNNING", "type="],
)
def test_queries_that_clients_send_are_understood(served: Served, query: str):
    assert served.call("GET", f"/api/tasks/?{query}").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "state=DONE",
        "states=QUEUED&states=x",
        "type=DANCE",
        "page=-1",
        "size=x",
        "size=1e3",
        "direction=up",
        "orderBy=shoe",
        "protected-entity=x",
        "mounted-backup-assigned=maybe",
    ],
)
def test_values_that_mean_nothing_are_refused(served: Served, query: str):
    assert is_error(served.call("GET", f"/api/tasks?{query}"), 400)


def test_filters_find_what_they_name(served: Served):
    served.call("DELETE", "/api/tasks/all-finished-and-queued")
    task = served.export()
    total = len(served.call("GET", "/api/tasks").json())
    assert total >= 1
    for query in (
        f"protected-entity={served.machines[0]}",
        f"backup={task['backup']['guid']}",
        f"backup-destination={served.destination['guid']}&type=EXPORT",
        "nameLike=DB",
        f"workflow-execution={task['guid']}",
    ):
        guids = [t["guid"] for t in served.call("GET", f"/api/tasks?{query}").json()]
        assert task["guid"] in guids, query
    assert served.call("GET", f"/api/tasks?schedule={new_guid()}").json() == []


@pytest.mark.parametrize(
    "body",
    ["CANCELLED", {"name": "CANCELLED"}, {"state": {"name": "CANCELLED"}, "statusInfo": "by me"}],
)
def test_people_cancel_in_any_of_three_spellings(served: Served, body: Any):
    guid = served.export()["guid"]
    answer = served.call("PUT", f"/api/tasks/{guid}/state", body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert served.call("GET", f"/api/tasks/{guid}/state").json()["state"]["name"] == "CANCELLED"


@pytest.mark.parametrize(("state", "status"), [("RUNNING", 403), ("QUEUED", 204), ("NEW", 400)])
def test_people_cannot_move_a_task_otherwise(served: Served, state: str, status: int):
    guid = served.export()["guid"]
    answer = served.call("PUT", f"/api/tasks/{guid}/state", state)
    assert answer.status_code == status
    assert status == 204 or is_error(answer, status)


def test_a_node_takes_reports_and_finishes(served: Served):
    served.call("DELETE", "/api/tasks/all-finished-and-queued")
    guid = served.taken()
    path = f"/api/tasks/{guid}"
    assert served.as_node("PUT", f"{path}/state", "RUNNING").status_code == 204
    assert served.as_node("PUT", f"{path}/progress", {"value": 12.5}).status_code == 204
    assert served.as_node("PUT", f"{path}/progress", 13).status_code == 204
    assert is_error(served.as_node("PUT", f"{path}/progress", {"value": 101}), 400)
    rate = {"transferRate": 10.5, "transferredBytes": 100}
    assert served.as_node("PUT", f"{path}/transfer-rate", rate).status_code == 204
    assert served.as_node("PUT", f"{path}/transfer-rate/incremental", rate).status_code == 204
    last = served.call("GET", f"{path}/transfer-rate/last").json()
    assert (last["transferRate"], last["transferredBytes"]) == (10.5, 200)
    answer = served.as_node("PUT", f"{path}/backup-type", {"name": "INCREMENTAL"})
    assert (answer.status_code, answer.content) == (204, b"")
    info = {"type": "FULL", "snapshotTime": 1, "size": 1, "read": 1, "stored": 1}
    assert served.as_node("PUT", f"{path}/transfer-info", info).status_code == 204
    mark = {"task": guid, "cbtId": "c"}
    assert served.as_node("PUT", "/api/tasks/cbt-id", mark).status_code == 204
    assert served.as_node("POST", f"{path}/log", ["one", "two"]).status_code == 201
    request, start, *told = [line["text"] for line in served.call("GET", f"{path}/log").json()]
    assert request.startswith("EXPORT was requested: ")
    assert start.startswith("n1 took the task")
    assert told == ["one", "two"]
    assert served.call("GET", path).json()["progress"] == 13
    assert served.as_node("PUT", f"{path}/state", "FINISHED").status_code == 204
    done = served.call("GET", path).json()
    assert (done["state"]["name"], done["progress"], done["cbtId"]) == ("FINISHED", 100, "c")
    assert is_error(served.as_node("PUT", f"{path}/progress", {"value": 1}), 409)
    steps = served.call("GET", f"{path}?extended=true").json()["workflowExecution"]["tasks"]
    assert [step["state"]["name"] for step in steps] == ["FINISHED", "QUEUED"]
    assert served.call("DELETE", path).status_code == 204
    assert served.call("GET", f"{path}/transfer-rate/last").json()["transferredBytes"] == 200


def test_a_running_task_is_cancelled_by_wish_and_by_force(served: Served):
    served.call("DELETE", "/api/tasks/all-finished-and-queued")
    served.mover = served.new_session()
    guid = served.taken()
    assert served.call("DELETE", f"/api/tasks/{guid}").status_code == 204
    assert served.call("GET", f"/api/tasks/{guid}").json()["cancelling"] is True
    for version in ("state", "state/v2"):
        seen = served.as_node("GET", f"/api/tasks/{guid}/{version}").json()
        assert seen["state"]["name"] == "CANCELLED"
    forced = served.call("DELETE", f"/api/tasks/{guid}")
    assert forced.status_code == 204
    assert guid in forced.headers["x-left-behind"]
    assert is_error(served.call("GET", f"/api/tasks/{guid}"), 404)
    assert "leftovers" in served.call("GET", f"/api/tasks/{guid}/log").json()[-1]["text"]
    assert is_error(served.as_node("PUT", f"/api/tasks/{guid}/progress", {"value": 1}), 409)


def test_a_queued_task_says_why_it_waits(served: Served):
    task = served.export(windowStart=4_000_000_000_000)
    shown = served.call("GET", f"/api/tasks/{task['guid']}").json()
    assert "window" in shown["queueReason"]


@pytest.mark.parametrize("which", ["cancel-running", "delete-finished"])
def test_bulk_operations_answer_201_without_a_body_that_claims_json(served: Served, which: str):
    answer = served.call("POST", f"/api/tasks/{which}", [{"guid": served.export()["guid"]}, None])
    assert (answer.status_code, answer.content) == (201, b"")
    assert "json" not in answer.headers.get("content-type", "")
    assert is_error(served.call("POST", f"/api/tasks/{which}", {"guid": 1}), 400)
    assert served.call("POST", f"/api/tasks/{which}", [new_guid()]).status_code == 201


@pytest.mark.parametrize("which", ["all-finished", "all-finished-and-queued", "all-running"])
def test_removing_all_answers_204_without_a_body(served: Served, which: str):
    answer = served.call("DELETE", f"/api/tasks/{which}?project-uuid=p9")
    assert (answer.status_code, answer.content) == (204, b"")


def test_the_last_change_moves_on(served: Served):
    before = served.call("GET", "/api/tasks/modification-timestamps").json()
    assert before["value"] == before["timestamp"]
    served.export()
    after = served.call("GET", "/api/tasks/modification-timestamps").json()
    assert after["value"] >= before["value"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "", "path": "/x"},
        {"name": "new", "path": "relative"},
        {"name": "new", "path": "/x", "driver": "mystery"},
        {"name": "new"},
        {"name": "n" * 300, "path": "/x"},
    ],
)
def test_a_place_that_cannot_be_is_refused(served: Served, body: Any):
    for path in ("/api/hypervisors", "/api/backup-destinations"):
        assert is_error(served.call("POST", path, body), 400)


def test_a_taken_name_is_a_conflict(served: Served):
    body = {"name": "hv", "path": "/x"}
    assert is_error(served.call("POST", "/api/hypervisors", body), 409)


def test_every_queued_task_says_why_it_waits_and_how_many_go_before_it(served: Served):
    served.rest()
    guids = {served.export()["guid"] for _ in range(3)}
    for path in (
        "tasks",
        "tasks?size=2",
        "tasks/detailed",
        "tasks/detailed?size=2",
        "tasks/queued",
    ):
        result = served.call("GET", f"/api/{path}").json()
        assert {item["guid"] for item in result} <= guids
        assert all(item["queueReason"] for item in result), path
        places = sorted(item["queuePosition"] for item in result)
        assert places in ([0, 1, 2], [1, 2]), path  # newest first
    assert served.export()["queuePosition"] == 3


def test_a_long_list_says_of_every_queued_task_why_it_waits(served: Served):
    served.rest()
    first = served.export()["guid"]
    with served.app.store.write() as sql:
        task = tasks.get(sql, first)
        guids = [new_guid() for _ in range(600)]
        copies = [replace(task, guid=guid, rank=task.rank + 1, workflow=guid) for guid in guids]
        tasks.insert(sql, copies)
    for path in ("/api/tasks", "/api/tasks/detailed"):
        result = served.call("GET", path).json()
        assert len(result) == 601
        assert {item["queueReason"] for item in result} == {"a node to take it"}
        assert {item["queuePosition"] for item in result} == {0, 1}
    served.call("DELETE", "/api/tasks/all-finished-and-queued")


def test_a_task_that_has_ended_is_named_with_its_state_when_it_is_cancelled(
    served: Served, said: Command
):
    machine = served.new_machine()
    served.stored(machine)
    rows = served.call("GET", f"/api/tasks?protected-entity={served.machines[machine]}").json()
    newest, oldest = (f"the {row['type']['name']} {row['guid']}" for row in rows)
    for words, told in (
        ([f"latest:{served.machines[machine]}"], newest),
        ([row["guid"] for row in reversed(rows)], f"2 tasks not changed: {oldest}"),
    ):
        with pytest.raises(Conflict, match=f"^{told} is FINISHED, which is a final state"):
            said("task", "cancel", *words)
