"""Bulk removal and cancellation of tasks in bounded pieces, so that other callers need not wait for
all.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import pytest

from haulback.errors import Unavailable
from haulback.server.services import bulk_removal
from haulback.server.wakeups import Wakeups
from tests.contract.conftest import Served
from tests.history import Site, fill


def total(served: Served, query: str = "") -> int:
    answer = served.call("GET", f"/api/tasks?size=1{query}")
    return int(answer.headers["x-total-count"])


def history(served: Served, count: int) -> Site:
    served.rest()
    site = Site()
    fill(served.app.store, site, count, served.app.clock.now_ms())
    return site


def statements(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements written from now on, one word per transaction."""
    found: list[str] = []
    write = served.app.store.write
    monkeypatch.setattr(served.app.store, "write", lambda: found.append("write") or write())
    return found


def test_removing_all_finished_takes_far_fewer_transactions_than_tasks(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    history(served, 2000)
    assert total(served) == 2000
    written = statements(served, monkeypatch)
    assert served.call("DELETE", "/api/tasks/all-finished").status_code == 204
    assert total(served) == 0
    assert len(written) < 200


def test_every_removed_task_is_in_the_audit_log(served: Served):
    history(served, 300)
    [task, *_] = served.call("GET", "/api/tasks?size=1").json()
    assert served.call("DELETE", "/api/tasks/all-finished").status_code == 204
    [entry] = served.call("GET", f"/api/audit-log?subject={task['guid']}").json()
    state = task["state"]["name"]
    assert (entry["operation"], entry["before"]) == ("remove selected task", state)
    assert entry["after"] == {"state": state, "removed": True}


def test_removing_is_confined_to_the_project_that_is_named(served: Served):
    site = history(served, 300)
    mine = total(served, f"&project-uuid={site.projects[0]}")
    path = f"/api/tasks/all-finished?project-uuid={site.projects[0]}"
    assert served.call("DELETE", path).status_code == 204
    assert total(served) == 300 - mine
    rows = served.call("GET", "/api/tasks?size=300").json()
    path = f"/api/tasks/delete-finished?project-uuid={site.projects[1]}"
    assert served.call("POST", path, [row["guid"] for row in rows]).status_code == 201
    assert total(served, f"&project-uuid={site.projects[1]}") == 0
    assert total(served) > 0


def test_what_is_queued_and_what_runs_goes_along(served: Served):
    history(served, 100)
    queued = served.export(protectedEntities=[served.machines[1]])["guid"]
    running = served.taken()
    assert served.call("DELETE", "/api/tasks/all-finished-and-queued").status_code == 204
    assert [row["guid"] for row in served.call("GET", "/api/tasks").json()] == [running]
    [entry] = served.call("GET", f"/api/audit-log?subject={queued}&size=1").json()
    assert entry["after"] == {"state": "CANCELLED", "removed": True}
    assert served.call("DELETE", "/api/tasks/all-running").status_code == 204
    assert "CANCELLED" in served.as_node("GET", f"/api/tasks/{running}/state/v2").text
    assert served.state(running, "CANCELLED").status_code == 204
    served.rest()


def test_many_tasks_are_cancelled_by_state_and_the_refused_are_named(served: Served):
    history(served, 3)
    ended = [row["guid"] for row in served.call("GET", "/api/tasks").json()]
    queued = served.export()["guid"]
    body = {"state": "CANCELLED", "tasks": [*ended, queued], "statusInfo": "enough"}
    answer = served.call("PUT", "/api/tasks/state", body)
    assert answer.status_code == 409, answer.text
    refused = answer.json()["details"]["refused"]
    assert {item["guid"] for item in refused} == set(ended)
    assert served.task(queued)["state"]["name"] == "CANCELLED"
    served.rest()


class _Lone(NamedTuple):
    """A database with a single writer."""

    is_sqlite: bool = True


class _Stopping:
    """The part of a server that bulk work uses."""

    def __init__(self) -> None:
        self.wakeups, self.store = Wakeups(), _Lone()


def test_a_server_that_stops_does_the_piece_at_hand_and_no_more():
    app: Any = _Stopping()
    done: list[str] = []

    def work(piece: Any) -> None:
        done.extend(piece)
        app.wakeups.is_over = True

    with pytest.raises(Unavailable, match="after 50 of 1000 objects"):
        bulk_removal.in_pieces(app, map(str, range(1000)), work)
    assert len(done) == 50


def test_pieces_that_take_long_become_smaller(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(bulk_removal.time, "monotonic", lambda: float(next(clock)))
    sizes: list[int] = []
    bulk_removal.in_pieces(
        _Stopping(), map(str, range(120)), lambda piece: sizes.append(len(piece))
    )  # type: ignore[arg-type]
    assert sizes[:6] == [50, 25, 12, 6, 3, 1]
    assert sum(sizes) == 120


def test_a_piece_that_clashes_is_tried_again_one_by_one():
    calls: list[int] = []

    def work(piece: Any) -> None:
        calls.append(len(piece))
        if len(piece) > 1:
            raise Unavailable("deadlock detected")

    bulk_removal.in_pieces(_Stopping(), ["a", "b", "a"], work)  # type: ignore[arg-type]
    assert calls[:2] == [2, 1]
    with pytest.raises(Unavailable):
        bulk_removal.in_pieces(
            _Stopping(), ["a"], lambda _: exec("raise Unavailable('away')", globals())
        )  # type: ignore[arg-type]


def test_who_waits_longest_writes_next(served: Served):
    if not served.app.store.is_sqlite:
        pytest.skip("PostgreSQL has many writers")
    order: list[int] = []
    turns = served.app.store._writer
    threads = []

    def write(number: int) -> None:
        with served.app.store.write():
            order.append(number)

    with turns:
        for number in range(5):
            threads.append(threading.Thread(target=write, args=(number,)))
            threads[-1].start()
            while len(turns._waiting) <= number:
                pass
    for thread in threads:
        thread.join()
    assert [number for number in order if number in range(5)] == list(range(5))
