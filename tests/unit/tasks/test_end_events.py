"""Events of ended tasks and workflows name the object, the result and the reason."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.events import Event, EventKind
from haulback.contract.task_states import State
from haulback.tasks.end_events import of_task, of_workflow, troubles
from haulback.tasks.record import Task
from haulback.wire import Named

NOW = 1_700_000_000_000
HOUR = NOW // 3_600_000
DB = Named("e-guid", "db")
PLACE = Named("d-guid", "shelf")
# By rank: the first of these roles names the object of a task.
SUBJECTS = ("protectedEntity", "backupDestination", "hypervisor", "hypervisorManager", "node")
LOST = "its node was lost"


def task(**more: Any) -> Task:
    members = {"type": "EXPORT", "lane": "export", "guid": "t", "workflow": "w"}
    return Task(**{**members, "refs": {"protectedEntity": DB}, **more})


def shown(**refs: Named) -> dict[str, dict[str, str]]:
    return {role: {"guid": ref.guid, "name": ref.name} for role, ref in refs.items()}


def test_the_end_of_a_task_is_an_event_of_the_task_that_names_its_object():
    assert of_task(task(), State.FINISHED, NOW) == Event(
        kind=EventKind.TASK_ENDED,
        time=NOW,
        subject="t",
        subject_name="db",
        text="EXPORT of db: FINISHED",
        data={"type": "EXPORT", "state": "FINISHED", "workflow": "w", "finishTime": NOW}
        | shown(protectedEntity=DB),
    )


def test_the_event_of_a_task_tells_its_reason_its_run_its_start_and_its_backup_type():
    rule = Named("r-guid", "nightly")
    ended = task(
        refs={"protectedEntity": DB, "rule": rule},
        status_info=LOST,
        run="run",
        started=NOW - 5,
        backup_type="FULL",
        project="p",
    )
    assert of_task(ended, State.FAILED, NOW) == Event(
        kind=EventKind.TASK_ENDED,
        time=NOW,
        subject="t",
        subject_name="db",
        project="p",
        rule="r-guid",
        text="EXPORT of db: FAILED: its node was lost",
        data={
            "type": "EXPORT",
            "state": "FAILED",
            "workflow": "w",
            "statusInfo": LOST,
            "run": "run",
            "startTime": NOW - 5,
            "finishTime": NOW,
            "backupType": "FULL",
        }
        | shown(protectedEntity=DB, rule=rule),
    )


def test_the_event_of_a_failed_task_says_that_another_task_retries_its_work():
    event = of_task(task(status_info=LOST), State.FAILED, NOW, retried=True)
    assert event.text == "EXPORT of db: FAILED, and is retried: its node was lost"
    assert event.data["retried"] is True
    assert "retried" not in of_task(task(), State.FAILED, NOW).data


@pytest.mark.parametrize("first", range(len(SUBJECTS)))
def test_the_main_object_of_a_task_names_its_event(first: int):
    refs = {role: Named(role, role.upper()) for role in reversed(SUBJECTS[first:])}
    event = of_task(task(refs=refs), State.FINISHED, NOW)
    assert event.subject_name == SUBJECTS[first].upper()
    assert {role: event.data[role] for role in refs} == shown(**refs)


@pytest.mark.parametrize("refs", [{}, {"node": Named("n-guid", "")}])
def test_a_task_without_a_named_object_is_called_by_its_type(refs: dict[str, Named]):
    event = of_task(task(type="CONNECTIVITY_TEST", refs=refs), State.FINISHED, NOW)
    assert event.subject_name == "CONNECTIVITY_TEST"


def test_an_event_refers_to_the_backup_the_rule_and_the_schedule_and_to_no_user():
    refs = {role: Named(role, role.upper()) for role in ("backup", "rule", "schedule")}
    user = {"originEntity": Named("u", "admin")}
    event = of_task(task(refs=refs | user), State.FINISHED, NOW)
    assert {role: event.data[role] for role in refs} == shown(**refs)
    assert "originEntity" not in event.data
    assert event.subject_name == "EXPORT"


def test_a_long_reason_is_cut_after_1000_characters():
    long = task(type="PROVE", status_info="x" * 1001, refs={"backup": DB}, state="FAILED")
    event = of_task(long, State.FAILED, NOW)
    assert event.data["statusInfo"] == "x" * 1000
    assert event.text.endswith(": " + "x" * 1000)
    [trouble] = troubles(long, State.FAILED, NOW)
    assert trouble.text.endswith(": " + "x" * 1000)
    assert of_workflow(long, [long], NOW).data["statusInfo"] == "x" * 1000


@pytest.mark.parametrize("state", [State.FINISHED, State.CANCELLED])
def test_a_task_that_did_not_fail_brings_no_trouble(state: State):
    ended = task(
        type="PROVE",
        refs={"backup": Named("b-guid", "db"), "backupDestination": PLACE},
        results={"failure": "unavailable"},
    )
    assert troubles(ended, state, NOW) == []


def test_a_failed_proof_is_an_event_of_its_backup():
    refs = {"backup": Named("b-guid", "db"), "rule": Named("r-guid", "nightly")}
    failed = task(type="PROVE", refs=refs, project="p", status_info="no login")
    assert troubles(failed, State.FAILED, NOW) == [
        Event(
            kind=EventKind.PROOF_FAILED,
            time=NOW,
            subject="b-guid",
            subject_name="db",
            project="p",
            rule="r-guid",
            text="the proof of a backup of db failed: no login",
            data={"task": "t", "type": "PROVE"} | shown(**refs),
        )
    ]
    assert troubles(task(type="PROVE"), State.FAILED, NOW) == []
    assert troubles(task(type="RESTORE", refs=refs), State.FAILED, NOW) == []


AT_DESTINATION = ["STORE", "VERIFY", "REPAIR", "BACKUP_CLEANUP", "BACKUP_DESTINATION_INIT"]


@pytest.mark.parametrize("kind", [*AT_DESTINATION, "CONNECTIVITY_TEST"])
def test_a_destination_that_a_task_cannot_reach_is_one_event_an_hour_for_all_projects(kind: str):
    refs = {"backupDestination": PLACE, "rule": Named("r-guid", "nightly")}
    failed = task(type=kind, refs=refs, project="p", results={"failure": "unavailable"})
    assert troubles(failed, State.FAILED, NOW) == [
        Event(
            kind=EventKind.DESTINATION_DOWN,
            time=NOW,
            subject="d-guid",
            subject_name="shelf",
            rule="r-guid",
            text=f"{kind} could not reach shelf: ",
            data={"task": "t", "type": kind} | shown(**refs),
            once=f"DESTINATION_DOWN d-guid {HOUR}",
        )
    ]


@pytest.mark.parametrize(
    "members",
    [
        {"type": "EXPORT"},
        {"results": {"failure": "damaged"}},
        {"results": {}},
        {"refs": {"protectedEntity": DB}},
    ],
)
def test_a_failure_for_another_reason_does_not_call_the_destination_down(members: dict[str, Any]):
    down: dict[str, Any] = {"type": "STORE", "refs": {"backupDestination": PLACE}}
    down |= {"results": {"failure": "unavailable"}}
    assert len(troubles(task(**down), State.FAILED, NOW)) == 1
    assert troubles(task(**down | members), State.FAILED, NOW) == []


def test_the_end_of_a_workflow_is_stored_once_as_an_event_of_its_first_task():
    rule = Named("r-guid", "nightly")
    head = task(state="FINISHED", project="p", refs={"protectedEntity": DB, "rule": rule})
    steps = [head, task(type="STORE", state="FINISHED", run="run")]
    assert of_workflow(head, steps, NOW) == Event(
        kind=EventKind.WORKFLOW_ENDED,
        time=NOW,
        subject="t",
        subject_name="db",
        project="p",
        rule="r-guid",
        text="BACKUP of db: FINISHED",
        data={
            "name": "BACKUP",
            "type": "EXPORT",
            "state": "FINISHED",
            "workflow": "w",
            "tasks": 2,
            "run": "run",
        }
        | shown(protectedEntity=DB, rule=rule),
        once="WORKFLOW_ENDED w",
    )


def test_a_workflow_of_no_run_and_no_rule_names_neither():
    head = task(state="FINISHED")
    event = of_workflow(head, [head], NOW)
    assert (event.rule, event.project) == (None, None)
    assert sorted(event.data) == ["name", "protectedEntity", "state", "tasks", "type", "workflow"]


def test_the_reason_of_a_failed_workflow_is_that_of_its_first_failed_task():
    head = task(state="FINISHED", status_info="read 1 GB")
    steps = [
        head,
        task(type="VERIFY", state="CANCELLED", status_info="cancelled"),
        task(type="STORE", state="FAILED", status_info="disk full"),
        task(type="REPAIR", state="FAILED", status_info="later"),
    ]
    event = of_workflow(head, steps, NOW)
    assert event.text == "BACKUP of db: FAILED: disk full"
    assert event.data["statusInfo"] == "disk full"
    assert event.data["state"] == "FAILED"


@pytest.mark.parametrize(
    ("state", "wanted"), [("CANCELLED", "cancelled"), ("FINISHED", "read 1 GB")]
)
def test_a_workflow_without_a_failed_task_tells_the_reason_of_a_cancelled_one_first(
    state: str, wanted: str
):
    head = task(state="FINISHED", status_info="read 1 GB")
    steps = [head, task(type="STORE", state=state, status_info="cancelled")]
    assert of_workflow(head, steps, NOW).data["statusInfo"] == wanted


def test_a_scan_after_the_work_neither_counts_nor_tells_the_reason_of_the_workflow():
    head = task(state="FINISHED")
    scan = task(type="SCOPED_INVENTORY_SYNC", state="FAILED", status_info=LOST)
    event = of_workflow(head, [head, scan], NOW)
    assert (event.data["tasks"], event.data["state"]) == (1, "FINISHED")
    assert "statusInfo" not in event.data


def test_a_test_that_the_server_repeats_tells_no_failure_of_its_own():
    again: dict[str, Any] = {"type": "CONNECTIVITY_TEST", "params": {"again": True}}
    again |= {"refs": {"backupDestination": PLACE}, "results": {"failure": "unavailable"}}
    test = task(state="FAILED", **again)
    assert troubles(test, State.FAILED, NOW) == []
    assert of_workflow(test, [test], NOW).data["retried"] is True
    good = task(state="FINISHED", **again)
    assert "retried" not in of_workflow(good, [good], NOW).data
    by_hand = task(state="FAILED", **again | {"params": {}})
    assert "retried" not in of_workflow(by_hand, [by_hand], NOW).data
