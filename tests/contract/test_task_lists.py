"""Task lists: filters, sort orders and page sizes."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.ids import new_guid
from haulback.server.store import task_lists
from tests.contract.conftest import EXPORTED, Served
from tests.contract.test_transport import is_error


@pytest.fixture(autouse=True)
def at_rest(served: Served) -> None:
    served.rest()


def found(served: Served, query: str) -> list[str]:
    answer = served.call("GET", f"/api/tasks?{query}")
    assert answer.status_code == 200, answer.text
    return [row["guid"] for row in answer.json()]


def connecting(served: Served) -> str:
    body = {"backupDestinations": [served.destination["guid"]]}
    return str(served.call("POST", "/api/tasks/connectivity-test", body).json()[0]["guid"])


def test_a_name_is_that_of_the_machine_and_of_nothing_besides(served: Served):
    db = served.export()["guid"]
    other = connecting(served)
    assert found(served, "nameLike=DB") == [db]
    assert found(served, "nameLike=b") == [other, db]  # "bd" names the object of the other task
    assert found(served, "nameLike=bd") == [other]
    for stranger in ("admin", "hv", "n1", "EXPORT", "%25", "_"):
        assert found(served, f"nameLike={stranger}") == [], stranger
    # a free text search covers more members
    assert set(found(served, "filter=admin")) == {db, other}


def test_the_machine_sorts_by_its_name(served: Served):
    by_name = {}
    for number, name in enumerate(("db", "web")):
        by_name[name] = served.export(protectedEntities=[served.machines[number]])["guid"]
    assert found(served, "orderBy=protectedEntity&direction=asc") == [by_name["db"], by_name["web"]]
    assert found(served, "orderBy=protectedEntity&direction=desc") == [
        by_name["web"],
        by_name["db"],
    ]


def node(served: Served, name: str) -> str:
    return str(served.call("POST", "/api/nodes", {"name": name}).json()["token"])


def test_nodes_sort_by_their_names(served: Served):
    """Guids are random: with five nodes, sorting by guid almost never equals sorting by name."""
    mark = new_guid()[:6]
    taken = []
    for number in (3, 1, 4, 0, 2):
        token = node(served, f"{mark}-{number}")
        row = served.call("GET", f"/api/nodes?filter={mark}").json()
        guid = next(item["guid"] for item in row if item["name"] == f"{mark}-{number}")
        place = {"name": new_guid(), "path": "/z", "node": {"guid": guid}}
        task = served.call("POST", "/api/backup-destinations", place).json()["task"]["guid"]
        answer = served.call("PUT", f"/api/tasks/{task}/state", "RUNNING", token=token)
        assert answer.status_code == 204, answer.text
        taken.append((number, task, token))
    wanted = [task for _, task, _ in sorted(taken)]
    assert found(served, "orderBy=node&direction=asc&size=100") == wanted
    assert found(served, "orderBy=node&direction=desc&size=2") == wanted[::-1][:2]
    assert found(served, "orderBy=node&direction=asc&size=2&page=1") == wanted[2:4]
    for _, task, token in taken:
        served.call("PUT", f"/api/tasks/{task}/state", "FAILED", token=token)


@pytest.mark.parametrize("kind", ["PROVE", "VERIFY", "REPAIR", "EXPORT", "EJECT_TAPE"])
def test_every_type_of_task_filters(served: Served, kind: str):
    body = {"backupDestinations": [served.destination["guid"]]}
    verify = served.call("POST", "/api/tasks/verify", body).json()[0]["guid"]
    assert found(served, f"type={kind}") == ([verify] if kind == "VERIFY" else [])
    assert is_error(served.call("GET", f"/api/tasks?type={kind.lower()}"), 400)


def test_a_page_of_no_rows_says_how_many_there_are(served: Served):
    for _ in range(3):
        connecting(served)
    for path in ("tasks", "tasks/detailed", "hypervisors", "backup-destinations", "backups"):
        whole = served.call("GET", f"/api/{path}?size=10000")
        answer = served.call("GET", f"/api/{path}?size=0")
        assert (answer.status_code, answer.json()) == (200, []), path
        assert answer.headers["x-total-count"] == whole.headers["x-total-count"], path
        assert "x-next-cursor" not in answer.headers
    for path in ("tasks/queued", "audit-log"):
        assert served.call("GET", f"/api/{path}?size=0").json() == [], path


def test_a_page_is_never_longer_than_a_page_may_be(served: Served, monkeypatch: pytest.MonkeyPatch):
    made = [connecting(served) for _ in range(4)]
    monkeypatch.setattr(task_lists, "MOST", 2)
    assert len(found(served, "size=10000000")) == 2
    answer = served.call("GET", "/api/tasks?size=2")
    cursor = answer.headers["x-next-cursor"]
    assert set(found(served, f"size=2&cursor={cursor}")) == set(made[:2])
    for wrong in ("-1", "1.5", "x", "9" * 30):
        assert is_error(served.call("GET", f"/api/tasks?size={wrong}"), 400), wrong


def test_followers_show_the_node_that_runs_them(served: Served):
    guid = served.taken()
    served.finish(guid, EXPORTED)
    [store] = served.task(guid, "?extended=true")["followers"]
    assert served.state(store["guid"], "RUNNING").status_code == 204
    [shown] = served.task(guid, "?extended=true")["followers"]
    assert shown["node"] == {"guid": served.identity["guid"], "name": "n1"}
    flow = served.call("GET", f"/api/workflow-executions/{guid}").json()
    steps: dict[str, Any] = {step["guid"]: step for step in flow["tasks"]}
    assert steps[store["guid"]]["node"]["name"] == "n1"
