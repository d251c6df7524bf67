"""A workflow has the name of its work, and its state follows from the states of its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.tasks.record import CONTRACT_TYPES, Task
from haulback.tasks.workflow_state import main_steps, name_of, state_of
from haulback.wire import Named

NAMED = {
    "EXPORT": "BACKUP",
    "BACKUP_CLEANUP": "CLEANUP",
    "INVENTORY_SYNC": "INVENTORY",
}


def step(kind: str, state: str = "FINISHED", **results: Any) -> Task:
    return Task(type=kind, lane="export", state=state, results=results)


@pytest.mark.parametrize("kind", sorted(CONTRACT_TYPES))
def test_a_workflow_is_named_after_the_work_of_its_first_task(kind: str):
    assert name_of(step(kind)) == NAMED.get(kind, kind)


def test_scans_after_the_work_do_not_decide_about_the_workflow():
    restore, scan = step("RESTORE"), step("SCOPED_INVENTORY_SYNC", "FAILED")
    assert main_steps([restore, scan]) == [restore]
    assert main_steps([scan]) == [scan]


EXPORTED = [("EXPORT", "FINISHED"), ("STORE", "FINISHED")]
STATES = {
    "a workflow runs while a task waits": (
        [("EXPORT", "FINISHED"), ("STORE", "PLANNED")],
        "RUNNING",
    ),
    "a workflow runs while a task runs": ([("EXPORT", "RUNNING")], "RUNNING"),
    "a workflow runs while a retry waits": (
        [("EXPORT", "FAILED"), ("EXPORT", "QUEUED")],
        "RUNNING",
    ),
    "a workflow ends when all tasks ended": (EXPORTED, "FINISHED"),
    "a failed task fails the workflow": (
        [("EXPORT", "FAILED"), ("STORE", "CANCELLED")],
        "FAILED",
    ),
    "a failure after an export alone fails the workflow": (
        [("EXPORT", "FINISHED"), ("STORE", "FAILED")],
        "FAILED",
    ),
    "a failure after the data is stored leaves a part": (
        [*EXPORTED, ("VERIFY", "FAILED")],
        "PARTIALLY_FINISHED",
    ),
    "a cancelled task cancels the workflow": (
        [("EXPORT", "FINISHED"), ("STORE", "CANCELLED")],
        "CANCELLED",
    ),
    "a successful retry warns": (
        [("EXPORT", "FAILED"), ("EXPORT", "FINISHED"), ("STORE", "FINISHED")],
        "FINISHED_WITH_WARNINGS",
    ),
    "a cancelled retry cancels the workflow": (
        [("EXPORT", "FAILED"), ("EXPORT", "CANCELLED")],
        "CANCELLED",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_the_state_of_a_workflow_follows_from_its_tasks(name: str):
    steps, wanted = STATES[name]
    assert state_of([step(kind, state) for kind, state in steps]) == wanted


def test_a_task_that_finished_with_warnings_warns_about_the_workflow():
    stored = step("STORE", warnings=["a file was locked"])
    assert state_of([step("EXPORT"), stored]) == "FINISHED_WITH_WARNINGS"
    assert state_of([step("EXPORT"), step("STORE", warnings=[])]) == "FINISHED"
    assert state_of([stored, step("STORE")]) == "FINISHED"


def test_a_copy_that_failed_at_one_destination_is_not_made_good_by_a_copy_at_another():
    copies = [step("BACKUP_DESTINATION_SYNC", state) for state in ("FAILED", "FINISHED")]
    assert state_of([step("STORE"), *copies]) == "FINISHED_WITH_WARNINGS"
    for copy, place in zip(copies, ("d1", "d2"), strict=True):
        copy.refs["backupDestination"] = Named(place)
    assert state_of([step("STORE"), *copies]) == "PARTIALLY_FINISHED"
