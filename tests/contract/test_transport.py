"""Rules of every call: authentication, error format, accepted spellings."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from haulback.ids import new_guid
from tests.contract.conftest import Answer, Served

GUID = "00000000-0000-4000-8000-000000000000"
PEOPLE = [
    ("POST", "/tasks/export"),
    ("POST", "/tasks/restore"),
    ("POST", "/tasks/restore-and-import"),
    ("POST", "/tasks/inventory-sync"),
    ("POST", "/tasks/wizard/inventory-sync"),
    ("POST", "/tasks/connectivity-test"),
    ("POST", "/tasks/cancel-running"),
    ("POST", "/tasks/delete-finished"),
    ("POST", "/tasks/delete-finished-and-queued"),
    ("DELETE", "/tasks/all-finished"),
    ("DELETE", "/tasks/all-finished-and-queued"),
    ("DELETE", "/tasks/all-running"),
    ("DELETE", f"/tasks/{GUID}"),
    ("GET", "/user-info"),
    ("GET", "/nodes"),
    ("POST", "/nodes/enrolment"),
    ("GET", "/hypervisors"),
    ("POST", "/hypervisors"),
    ("GET", "/backup-destinations"),
    ("POST", "/backup-destinations"),
    ("GET", "/virtual-machines"),
    ("GET", f"/virtual-machines/{GUID}"),
    ("GET", "/backups"),
    ("GET", f"/backups/{GUID}"),
    ("GET", "/backup-locations"),
]
NODES = [
    ("PUT", f"/tasks/{GUID}/progress"),
    ("PUT", f"/tasks/{GUID}/backup-type"),
    ("PUT", f"/tasks/{GUID}/transfer-info"),
    ("PUT", f"/tasks/{GUID}/transfer-rate"),
    ("PUT", f"/tasks/{GUID}/transfer-rate/incremental"),
    ("PUT", "/tasks/cbt-id"),
    ("POST", f"/tasks/{GUID}/log"),
    ("GET", f"/nodes/self/orders/{GUID}"),
    ("GET", f"/nodes/self/keys/{GUID}"),
    ("POST", "/nodes/self/needed"),
    ("PUT", "/nodes/self/staging"),
]
BOTH = [
    ("GET", "/tasks"),
    ("GET", "/tasks/detailed"),
    ("GET", "/tasks/queued"),
    ("GET", "/tasks/modification-timestamps"),
    ("GET", f"/tasks/{GUID}"),
    ("GET", f"/tasks/{GUID}/state"),
    ("GET", f"/tasks/{GUID}/state/v2"),
    ("GET", f"/tasks/{GUID}/transfer-rate/last"),
    ("GET", f"/tasks/{GUID}/log"),
    ("PUT", f"/tasks/{GUID}/state"),
]


def is_error(answer: Answer, status: int) -> bool:
    """Whether a response is JSON with the four members of every error."""
    body = answer.json()
    return (
        answer.status_code == status
        and answer.headers["content-type"].startswith("application/json")
        and {"message", "code", "details", "status"} <= set(body)
        and bool(body["message"])
        and body["status"] == status
    )


@pytest.mark.parametrize(("method", "path"), PEOPLE + NODES + BOTH)
def test_nobody_gets_in_without_a_session(served: Served, method: str, path: str):
    assert is_error(served.call(method, "/api" + path, token=None), 401)
    assert is_error(served.call(method, path, token="wrong"), 401)


@pytest.mark.parametrize(("method", "path"), PEOPLE)
def test_a_node_may_not_do_what_is_for_people(served: Served, method: str, path: str):
    assert is_error(served.as_node(method, "/api" + path), 403)


@pytest.mark.parametrize(("method", "path"), NODES)
def test_people_may_not_do_what_is_for_nodes(served: Served, method: str, path: str):
    assert is_error(served.call(method, "/api" + path, {}), 403)


@pytest.mark.parametrize("path", [path for method, path in BOTH + PEOPLE if method == "GET"])
def test_what_is_read_is_read_below_api_and_at_the_root(served: Served, path: str):
    one, two = served.call("GET", "/api" + path), served.call("GET", path)
    assert one.status_code == two.status_code
    assert one.status_code in (200, 404)
    assert one.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [b"", b"{", b"[1", b'"\xff"', b"[" * 100_000, b"nul"])
def test_what_is_not_json_is_refused(served: Served, body: bytes):
    assert is_error(served.call("POST", "/api/tasks/export", body), 400)


@pytest.mark.parametrize("path", ["/api/nope", "/api/tasks/a/b/c", "/nope", "/apix/tasks"])
def test_an_unknown_path_is_404_with_json(served: Served, path: str):
    assert is_error(served.call("GET", path), 404)


def test_an_unknown_operation_is_named_with_the_page_of_all_operations(served: Served):
    for method, path in (
        ("GET", "/api/no-such-list"),
        ("GET", "/x/api/tasks"),
        ("PATCH", "/api/tasks"),
    ):
        message = served.call(method, path).json()["message"]
        asked = f"{method} {path.removeprefix('/api')}"  # paths are those below /api
        assert message == f"there is no operation {asked}; /api/docs lists the operations"


def test_a_wrong_method_is_405_with_json(served: Served):
    assert is_error(served.call("PATCH", "/api/tasks"), 405)


@pytest.mark.parametrize("guid", ["x", "%00", "..%2f..", "a" * 5000, "{}"])
def test_what_is_no_guid_is_named(served: Served, guid: str):
    answer = served.call("GET", f"/api/tasks/{guid}")
    assert is_error(answer, 400) or is_error(answer, 404)


def test_an_unknown_guid_is_404(served: Served):
    assert is_error(served.call("GET", f"/api/tasks/{new_guid()}"), 404)
    assert is_error(served.call("DELETE", f"/api/tasks/{new_guid()}"), 404)


def test_logging_in_answers_the_user_and_sets_a_cookie_scripts_cannot_read(served: Served):
    answer = served.login()
    assert answer.status_code == 200
    assert isinstance(answer.json()["privileges"], list)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert served.http.get("/api/user-info").json()["login"] == "admin"
    served.http.post("/api/session/logout")
    served.http.cookies.clear()


def test_after_logging_out_the_token_is_worth_nothing(served: Served):
    token = served.login().headers["x-session-token"]
    served.http.cookies.clear()
    assert served.call("GET", "/api/user-info", token=token).status_code == 200
    assert served.call("POST", "/api/session/logout", token=token).status_code == 201
    assert served.call("GET", "/api/user-info", token=token).status_code == 401


@pytest.mark.parametrize("body", [{}, {"login": "admin"}, {"login": "admin", "password": None}, []])
def test_half_a_login_is_malformed(served: Served, body: Any):
    assert is_error(served.call("POST", "/api/session/login", body, token=None), 400)


def test_a_wrong_password_is_refused(served: Served):
    assert is_error(served.login("wrong"), 401)


def test_an_enrolment_token_works_once(served: Served):
    token = served.call("POST", "/api/nodes/enrolment").json()["token"]
    body = {"token": token, "name": new_guid()}
    assert served.call("POST", "/api/nodes/enrol", body, token=None).status_code == 201
    assert is_error(served.call("POST", "/api/nodes/enrol", body, token=None), 401)


def test_a_node_with_a_wrong_secret_gets_no_session(served: Served):
    body = {**served.identity, "secret": "wrong", "version": "1"}
    assert is_error(served.call("POST", "/api/nodes/session", body, token=None), 401)


def test_a_second_process_with_a_nodes_identity_fences_the_first(served: Served):
    first, served.mover = served.mover, served.new_session()
    assert is_error(served.call("GET", "/api/tasks/queued", token=first), 401)


def test_keys_go_to_nodes_only_and_never_into_a_task(served: Served):
    guid = served.destination["guid"]
    key = served.as_node("GET", f"/api/nodes/self/keys/{guid}")
    assert key.headers["cache-control"] == "no-store"
    task = served.export()
    served.taken()
    shown = served.call("GET", f"/api/tasks/{task['guid']}?extended=true").text
    assert key.json()["key"] not in shown


def test_a_waiting_node_hears_of_new_work_at_once(served: Served):
    served.call("DELETE", "/api/tasks/all-finished-and-queued")
    served.call("DELETE", "/api/tasks/all-running")
    served.call("DELETE", "/api/tasks/all-running")
    served.mover = served.new_session()
    heard: list[Any] = []
    served.as_node("GET", "/api/tasks/queued")

    def listen() -> None:
        headers = {"authorization": f"Bearer {served.mover}", "prefer": "wait=25"}
        while not any(t["type"]["name"] == "CONNECTIVITY_TEST" for t in heard):
            heard.extend(served.http.get("/api/tasks/queued", headers=headers).json())

    listener = threading.Thread(target=listen)
    listener.start()
    body = {"hypervisors": [{"guid": served.hypervisor["guid"]}]}
    assert served.call("POST", "/api/tasks/connectivity-test", body).status_code == 201
    listener.join(20)
    assert not listener.is_alive()


def test_health_needs_no_session(served: Served):
    assert served.call("GET", "/livez", token=None).json() == {"status": "ok"}
    assert served.call("GET", "/readyz", token=None).json() == {"status": "ok"}
