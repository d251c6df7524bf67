"""The end of a task shows whether its destination answers."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.tasks.destination_health import answers, away, away_source, source_of
from haulback.tasks.record import Task
from haulback.wire import Named

PLACE = Named("d-guid", "shelf")
AT_DESTINATION = ["STORE", "VERIFY", "REPAIR", "BACKUP_CLEANUP", "BACKUP_DESTINATION_INIT"]
AT_DESTINATION += ["CONNECTIVITY_TEST"]
READERS = ["RESTORE", "IMPORT", "PROVE"]


def task(kind: str, **results: Any) -> Task:
    return Task(type=kind, lane="store", refs={"backupDestination": PLACE}, results=results)


@pytest.mark.parametrize("kind", AT_DESTINATION)
def test_work_at_a_destination_that_is_unavailable_misses_its_destination(kind: str):
    failed = task(kind, failure="unavailable")
    assert away(failed, State.FAILED) == PLACE
    assert away(failed, State.CANCELLED) is None
    assert away(task(kind, failure="damaged"), State.FAILED) is None
    assert away(task(kind), State.FAILED) is None


@pytest.mark.parametrize("kind", [*READERS, "EXPORT"])
def test_other_work_misses_a_destination_only_where_its_node_names_the_destination(kind: str):
    assert away(task(kind, failure="unavailable"), State.FAILED) is None
    assert away(task(kind, failure="unavailable", awayDestination="other"), State.FAILED) is None
    assert away(task(kind, failure="unavailable", awayDestination="d-guid"), State.FAILED) == PLACE


def test_a_task_without_a_destination_misses_none():
    failed = Task(type="STORE", lane="store", results={"failure": "unavailable"})
    assert away(failed, State.FAILED) is None
    assert answers(failed, State.FINISHED) is None


@pytest.mark.parametrize("kind", [*AT_DESTINATION, *READERS, "EXPORT", "DELETE"])
def test_finished_work_at_a_destination_shows_that_the_destination_answers(kind: str):
    is_used = kind in (*AT_DESTINATION, *READERS)
    assert answers(task(kind), State.FINISHED) == (PLACE if is_used else None)
    assert answers(task(kind), State.FAILED) is None
    assert answers(task(kind), State.CANCELLED) is None


@pytest.mark.parametrize("kind", READERS)
def test_a_finished_restore_credits_the_destination_that_was_read(kind: str):
    other = {"guid": "other", "name": "barn"}
    read = task(kind, readFrom={"backup": "b", "destination": other})
    assert answers(read, State.FINISHED) == Named("other", "barn")
    assert answers(task(kind, readFrom={}), State.FINISHED) is None
    with pytest.raises(Malformed):
        answers(task(kind, readFrom={"destination": 5}), State.FINISHED)


def copy_task(source: object, **results: Any) -> Task:
    return Task(type="COPY", lane="copy", params={"source": source}, results=results)


def test_a_failed_copy_misses_the_destination_that_it_reads_if_its_node_names_that_one():
    away_there = copy_task("s-guid", failure="unavailable", awayDestination="s-guid")
    assert source_of(away_there) == "s-guid"
    assert away_source(away_there, State.FAILED) == "s-guid"
    assert away_source(away_there, State.CANCELLED) is None
    elsewhere = copy_task("s-guid", failure="unavailable", awayDestination="other")
    assert away_source(elsewhere, State.FAILED) is None
    damaged = copy_task("s-guid", failure="damaged", awayDestination="s-guid")
    assert away_source(damaged, State.FAILED) is None


def test_only_a_copy_reads_from_another_destination():
    other = Task(type="STORE", lane="store", params={"source": "s-guid"})
    assert source_of(other) is None
    assert source_of(copy_task(None)) is None
    assert source_of(copy_task(5)) is None
