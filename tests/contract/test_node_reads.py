"""The token of a node reads the tasks that the node runs, ran or may start, and no other task."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.ids import new_guid
from tests.contract.conftest import Served
from tests.contract.test_transport import is_error

READS = ("", "?extended=true", "/state", "/state/v2", "/transfer-rate/last", "/log")
LISTS = ("/api/tasks", "/api/tasks/detailed", "/api/tasks?size=1000", "/api/tasks/queued")


@pytest.fixture
def stranger(served: Served) -> str:
    """The token of a second node without any hypervisor or destination."""
    served.rest()
    return str(served.call("POST", "/api/nodes", {"name": new_guid()}).json()["token"])


def listed(served: Served, token: str) -> set[str]:
    found: set[str] = set()
    for path in LISTS:
        rows: list[dict[str, Any]] = served.call("GET", path, token=token).json()
        found |= {row["guid"] for row in rows}
    return found


def reads(served: Served, guid: str, token: str) -> list[int]:
    return [
        served.call("GET", f"/api/tasks/{guid}{what}", token=token).status_code for what in READS
    ]


def everywhere(served: Served) -> str:
    """A queued task that any node may run, because its machine is not bound to a node."""
    body = {"name": new_guid(), "path": "/m"}
    hypervisor = served.call("POST", "/api/hypervisors", body | {"node": _own(served)}).json()
    task = str(hypervisor["task"]["guid"])
    with served.app.store.write() as sql:
        sql.exec_driver_sql(f"UPDATE task SET pinned_node = '' WHERE guid = '{task}'")
    return task


def _own(served: Served) -> dict[str, str]:
    return {"guid": str(served.identity["guid"])}


def pinned(served: Served) -> str:
    """A queued task that only the first node can run."""
    body = {"backupDestinations": [served.destination["guid"]]}
    return str(served.call("POST", "/api/tasks/verify", body).json()[0]["guid"])


def test_work_that_is_bound_to_another_node_does_not_exist(served: Served, stranger: str):
    guid = pinned(served)
    assert reads(served, guid, stranger) == [404] * len(READS)
    assert reads(served, guid, served.mover) == [200] * len(READS)
    assert guid not in listed(served, stranger)
    assert guid in listed(served, served.mover)


@pytest.mark.parametrize("end", [None, "FINISHED", "FAILED"])
def test_what_another_node_runs_or_ran_is_not_read(served: Served, stranger: str, end: str | None):
    guid = everywhere(served)
    assert reads(served, guid, stranger) == [200] * len(READS)
    assert guid in listed(served, stranger)
    assert served.state(guid, "RUNNING").status_code == 204
    if end:
        served.state(guid, end)
    assert set(reads(served, guid, stranger)) <= {403, 404}
    assert guid not in listed(served, stranger)
    assert reads(served, guid, served.mover) == [200] * len(READS)
    assert guid in listed(served, served.mover)


def test_the_pins_and_keys_of_a_destination_are_for_the_node_that_reaches_it(
    served: Served, stranger: str
):
    for what in ("pins", "keys"):
        path = f"/api/nodes/self/{what}/{served.destination['guid']}"
        assert is_error(served.call("GET", path, token=stranger), 403)
        assert served.call("GET", path, token=served.mover).status_code == 200


def test_a_node_hears_of_changes_of_its_own_tasks_only(served: Served, stranger: str):
    pinned(served)
    path = "/api/tasks/modification-timestamps"
    hers, own = (served.call("GET", path, token=t).json() for t in (stranger, served.mover))
    assert set(hers.values()) == {0}
    assert min(own.values()) > 0
