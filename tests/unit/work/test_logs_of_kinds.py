"""The log of a task of every kind: lines about the record, and lines of the work."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest

from haulback.kinds.registry import KINDS
from haulback.server.services.task_log import log_lines
from haulback.tasks.record import LogRow, Task, Waiting
from haulback.wire import Named
from haulback.work.registry import WORK
from haulback.work.support.phases import phase

STATES = ("PLANNED", "QUEUED", "RUNNING", "FINISHED", "FAILED", "CANCELLED")


def task(kind: str, state: str, **more: Any) -> Task:
    taken = {"started": 2000, "attempt": 1, "node": "n"} if state in STATES[2:] else {}
    ended = {"finished": 5000, "status_info": "it broke"} if state in STATES[3:] else {}
    entity = Named("m", "web")
    values: dict[str, Any] = {
        "created": 1000,
        "refs": {"protectedEntity": entity},
        "lane": "export",
    }
    return Task(type=kind, state=state, **{**values, **taken, **ended, **more})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_log_of_no_kind_is_empty_in_any_state(kind: str):
    for state in STATES:
        lines = [line.text for line in log_lines(task(kind, state), [], None)]
        assert lines[0] == f"{kind} was requested: machine web"
        if state in STATES[3:]:
            assert lines[-1] == f"{state} after 3.0s: it broke"
            assert lines[1].endswith("took the task, 1.0s after the request")


@pytest.mark.parametrize("kind", sorted(WORK))
def test_the_work_of_every_kind_logs_its_decisions_or_phases(kind: str):
    source = inspect.getsource(sys.modules[WORK[kind].run.__module__])
    assert "context.log(" in source or "phase(" in source


def test_the_end_of_a_task_that_counts_records_tells_the_records():
    counts = {"processedObjectCount": 4, "totalObjectCount": 4}
    ended = task("BACKUP_DESTINATION_SYNC", "FINISHED", results=counts, status_info=None)
    assert log_lines(ended, [], None)[-1].text == "FINISHED after 3.0s, 4 records read"


def test_a_queued_task_tells_in_its_log_what_it_waits_for():
    queued = task("EXPORT", "QUEUED", status_info="the lease ran out")
    last = log_lines(queued, [], Waiting("a place on local", 3))[-1].text
    assert last == "the task is queued and waits for: a place on local (the lease ran out)"


def test_the_start_of_the_last_attempt_stands_before_its_lines_and_a_gap_is_told():
    lines = [LogRow(1, 1500, 1, "first try"), LogRow(9, 2500, 2, "second try")]
    texts = [line.text for line in log_lines(task("STORE", "RUNNING", attempt=2), lines, None)]
    assert texts[1] == "first try"
    assert "took the task" in texts[2]
    assert texts[3:] == ["(7 lines were left out here)", "second try"]


class Context:
    """A context that records the lines of the log."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def log(self, text: str) -> None:
        self.said.append(text)


def test_a_phase_tells_its_duration_and_bytes_and_where_it_broke_off():
    context: Any = Context()
    with phase(context, "the disks were read") as reading:
        reading.moved, reading.result = 2048, "1 KiB is new"
    total: list[int] = []
    with phase(context, "the disks were copied") as copying:
        meter = copying.counting(total.append)
        meter(1024)
        meter(2048)
    assert total == [1024, 2048]
    with pytest.raises(ValueError, match="x"), phase(context, "the packs were read"):
        raise ValueError("x")
    assert context.said == [
        "the disks were read in 0.0s: 2 KiB; 1 KiB is new",
        "the disks were copied in 0.0s: 3 KiB",
        "not finished after 0.0s: the packs were read",
    ]
