"""A policy applies to manual backups of its machines, and members without effect are refused."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from tests.contract.conftest import Answer, Served
from tests.contract.test_transport import is_error


@pytest.fixture(autouse=True)
def at_rest(served: Served) -> None:
    served.rest()


class Policy:
    """A policy with rules, and a machine with that policy."""

    def __init__(self, served: Served, **more: Any) -> None:
        self.served = served
        body = {"name": new_guid(), **more}
        self.guid = made(served, "policies/vm-backup", body)
        self.machine = served.machines[served.new_machine()]
        settings = {"vmBackupPolicy": {"guid": self.guid}}
        path = f"/api/virtual-machines/{self.machine}/settings"
        assert served.call("PUT", path, settings).status_code == 204

    def rule(self, to: str, **more: Any) -> str:
        place = {"roleType": {"name": "PRIMARY"}, "backupDestination": {"guid": to}}
        body = {"name": new_guid(), "policy": self.guid, "ruleBackupDestinations": [place], **more}
        return made(self.served, "rules/vm-backup", body)

    def export(self, **more: Any) -> Answer:
        body = {"protectedEntities": [{"guid": self.machine}], "backupType": "FULL", **more}
        return self.served.call("POST", "/api/tasks/export", body)

    def exported(self, **more: Any) -> list[dict[str, Any]]:
        answer = self.export(**more)
        assert answer.status_code == 201, answer.text
        return list(answer.json())


def made(served: Served, path: str, body: dict[str, Any]) -> str:
    answer = served.call("POST", f"/api/{path}", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["guid"])


def destination(served: Served) -> str:
    body = {"name": new_guid(), "path": f"/{new_guid()}", "node": served.identity["guid"]}
    return made(served, "backup-destinations", body)


@pytest.mark.parametrize("none", [{"rules": [None]}, {"rules": []}, {"rules": None}, {}])
def test_where_no_rule_is_named_the_policy_of_the_machine_decides(
    served: Served, none: dict[str, Any]
):
    item, two, _ = (destination(served) for _ in range(3))
    policy = Policy(served)
    first = policy.rule(item)
    [task] = policy.exported(**none)
    assert (task["backupDestination"]["guid"], task["rule"]["guid"]) == (item, first)
    policy.rule(two)
    policy.rule(destination(served), active=False)
    tasks = policy.exported(**none)
    assert {task["backupDestination"]["guid"] for task in tasks} == {item, two}


def test_each_machine_of_a_request_goes_where_its_own_policy_says(served: Served):
    one, two = destination(served), destination(served)
    left, right = Policy(served), Policy(served)
    left.rule(one)
    right.rule(two)
    body = {"protectedEntities": [left.machine, right.machine], "rules": [None]}
    tasks = served.call("POST", "/api/tasks/export", body).json()
    assert [task["backupDestination"]["guid"] for task in tasks] == [one, two]


def test_a_machine_without_a_policy_needs_a_destination_where_there_are_several(served: Served):
    destination(served)
    machine = served.machines[served.new_machine()]
    body = {"protectedEntities": [machine], "rules": [None]}
    answer = served.call("POST", "/api/tasks/export", body)
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == "backupDestination"


def test_an_inactive_policy_backs_up_nothing(served: Served):
    policy = Policy(served, active=False)
    rule = policy.rule(served.destination["guid"])
    for wanted in ({"rules": [rule]}, {"rules": [None]}, {"rules": [rule], **served.there}, {}):
        answer = policy.export(**wanted)
        assert is_error(answer, 400), (wanted, answer.text)
        assert answer.json()["details"]["field"] == "rules"
        assert "not active" in answer.json()["message"]
    assert served.call("GET", "/api/tasks").json() == []
    assert len(policy.exported(**served.there)) == 1  # manual, against the policy
    current = served.call("GET", f"/api/policies/vm-backup/{policy.guid}").json()
    answer = served.call(
        "PUT", f"/api/policies/vm-backup/{policy.guid}", {**current, "active": True}
    )
    assert answer.status_code in (200, 204), answer.text
    assert len(policy.exported(rules=[rule])) == 1


@pytest.mark.parametrize("by_rule", [True, False])
def test_priority_and_retries_are_those_of_the_policy_unless_the_request_says_others(
    served: Served, by_rule: bool
):
    policy = Policy(served, priority="70", backupRetryCount="3")
    rule = policy.rule(served.destination["guid"])
    wanted: dict[str, Any] = {"rules": [rule]} if by_rule else dict(served.there)
    [task] = policy.exported(**wanted)
    assert (task["priority"], task["retryCount"]) == (70, 3)
    [store] = served.task(task["guid"], "?extended=true")["followers"]
    assert store["priority"] == 70
    assert served.task(task["guid"])["retryCount"] == 3
    [task] = policy.exported(**wanted, priority=10, retryCount=0)
    assert (task["priority"], task["retryCount"]) == (10, 0)


def test_a_failed_backup_is_tried_as_often_as_its_policy_says(served: Served):
    policy = Policy(served, backupRetryCount=1)
    rule = policy.rule(served.destination["guid"])
    [task] = policy.exported(rules=[rule])
    assert served.state(task["guid"], "RUNNING").status_code == 204
    assert served.state(task["guid"], "FAILED").status_code == 204
    rows = served.call("GET", "/api/tasks/detailed?type=EXPORT&state=QUEUED").json()
    assert [(row["retryCount"], row["backup"]["guid"]) for row in rows] == [
        (0, task["backup"]["guid"])
    ]


def test_a_snapshot_policy_acts_in_the_same_way(served: Served):
    policy = made(served, "policies/vm-snapshot", {"name": new_guid(), "priority": 80})
    rule = made(served, "rules/vm-snapshot", {"name": new_guid(), "policy": policy})
    machine = served.machines[served.new_machine(VirtualDisk("root", 10, "qcow2"))]
    body: dict[str, Any] = {"protectedEntities": [machine], "rule": {"guid": rule}}
    [task] = served.call("POST", "/api/tasks/snapshot", body).json()
    assert task["priority"] == 80
    [task] = served.call("POST", "/api/tasks/snapshot", {**body, "priority": 5}).json()
    assert task["priority"] == 5
    current = served.call("GET", f"/api/policies/vm-snapshot/{policy}").json()
    served.call("PUT", f"/api/policies/vm-snapshot/{policy}", {**current, "active": False})
    answer = served.call("POST", "/api/tasks/snapshot", body)
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == "rule"


TYPES = ("SWIFT", "GCS", "SYNTHETICXFS", "VSTOR", "TAPE", "file-system", "")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", [str, lambda kind: {"name": kind, "description": "x"}])
def test_a_destination_of_a_type_that_is_not_served_is_not_made(
    served: Served, kind: str, form: Any
):
    before = served.call("GET", "/api/backup-destinations").json()
    body = {"name": new_guid(), "path": "/x", "type": form(kind), **node(served)}
    answer = served.call("POST", "/api/backup-destinations", body)
    assert is_error(answer, 400), answer.text
    assert answer.json()["details"]["field"] == "type"
    assert "FILESYSTEM" in answer.json()["message"]
    assert served.call("GET", "/api/backup-destinations").json() == before


def node(served: Served) -> dict[str, Any]:
    return {"node": {"guid": served.identity["guid"]}}


@pytest.mark.parametrize("member", ["bucketName", "accessKey", "region", "endpoint", "container"])
def test_a_setting_of_another_type_is_not_passed_over(served: Served, member: str):
    body = {"name": new_guid(), "path": f"/x-{member}", **node(served), member: "x"}
    answer = served.call("POST", "/api/backup-destinations", body)
    assert is_error(answer, 400), answer.text
    assert answer.json()["details"]["field"] == member
    assert (
        served.call("POST", "/api/backup-destinations", {**body, member: None}).status_code == 201
    )


def test_a_type_that_is_served_is_taken_and_a_record_can_be_sent_back(served: Served):
    body = {"name": new_guid(), "path": "/x-served", "type": {"name": "FILESYSTEM"}, **node(served)}
    record = served.call("POST", "/api/backup-destinations", body).json()
    assert record["type"]["name"] == "FILESYSTEM"
    path = f"/api/backup-destinations/{record['guid']}"
    assert served.call("PUT", path, record).status_code == 200
    answer = served.call("PUT", path, {**record, "type": {"name": "S3"}})
    assert is_error(answer, 400)


@pytest.mark.parametrize("kind", ["ESXI", "HYPERV", "NUTANIX", "KVM2"])
def test_a_hypervisor_of_a_type_that_is_not_served_is_not_made(served: Served, kind: str):
    body = {"name": new_guid(), "path": "/x", "type": {"name": kind}, **node(served)}
    answer = served.call("POST", "/api/hypervisors", body)
    assert is_error(answer, 400), answer.text
    assert answer.json()["details"]["field"] == "type"
    wizard = {"hypervisors": [body]}
    answer = served.call("POST", "/api/tasks/wizard/inventory-sync", wizard)
    assert is_error(answer, 400), answer.text
    assert answer.json()["details"]["field"] == "hypervisors[0].type"
