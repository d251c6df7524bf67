"""Access rights: the whole table, each operation with each role, and the objects that projects
hide.
"""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.roles import PUBLIC, ROLES
from haulback.ids import new_guid
from haulback.server.http.reference import TABLE
from tests.contract.conftest import PASSWORD, Answer, Served
from tests.contract.test_transport import is_error

PEOPLE = [role for role in ROLES if role != "node"]


def login(served: Served, name: str, password: str = PASSWORD) -> str:
    body = {"login": name, "password": password}
    answer = served.http.post("/api/session/login", json=body)
    served.http.cookies.clear()
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-session-token"])


def user(served: Served, *roles: str, projects: list[str] | None = None) -> str:
    """The token of a new user."""
    name = f"user-{new_guid()}"
    body: dict[str, Any] = {"login": name, "password": PASSWORD, "roles": list(roles)}
    body |= {"projects": projects} if projects is not None else {}
    assert served.call("POST", "/api/users", body).status_code == 201
    return login(served, name)


@pytest.mark.parametrize("role", [None, *ROLES])
def test_the_table_of_access_is_what_the_server_does(served: Served, role: str | None):
    served.rest()
    token = None
    if role == "node":
        token = served.mover
    elif role:
        token = user(served, role)
    for key, allowed in TABLE.items():
        method, _, path = key.partition(" ")
        if path in ("/session/logout", "/session/login", "/nodes/session", "/nodes/enrol"):
            continue
        answer = served.call(method, "/api" + path.replace("{guid}", new_guid()), token=token)
        if allowed == PUBLIC:
            assert answer.status_code < 400, key
        elif role is None:
            assert is_error(answer, 401), key
        elif role in allowed:
            assert answer.status_code not in (401, 403, 500), (key, answer.text)
        else:
            assert is_error(answer, 403), (key, answer.text)


def in_project(served: Served, machine: str, project: str) -> None:
    path = f"/api/virtual-machines/{machine}/settings"
    assert served.call("PUT", path, {"project": project}).status_code == 204


@pytest.fixture
def tenants(served: Served) -> dict[str, str]:
    """Tokens of an operator of project `pa`, of one of `pb`, and of an administrator of `pa`."""
    served.rest()
    in_project(served, served.machines[0], "pa")
    in_project(served, served.machines[1], "pb")
    return {
        "pa": user(served, "operator", "restore_operator", projects=["pa"]),
        "pb": user(served, "operator", projects=["pb"]),
        "admin of pa": user(served, "administrator", projects=["pa"]),
    }


def names(answer: Answer) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {one["guid"] for one in answer.json()}


def test_another_projects_object_does_not_exist(served: Served, tenants: dict[str, str]):
    mine, theirs = served.machines[:2]
    token = tenants["pa"]
    task = served.call("POST", "/api/tasks/export", {"protectedEntities": [theirs]}).json()[0]
    backup = task["backup"]["guid"]
    for method, path, body in (
        ("GET", f"/api/virtual-machines/{theirs}", None),
        ("GET", f"/api/tasks/{task['guid']}", None),
        ("GET", f"/api/tasks/{task['guid']}/state", None),
        ("GET", f"/api/tasks/{task['guid']}/log", None),
        ("GET", f"/api/tasks/{task['guid']}/transfer-rate/last", None),
        ("GET", f"/api/workflow-executions/{task['guid']}", None),
        ("GET", f"/api/backups/{backup}", None),
        ("GET", f"/api/backup-files?backup={backup}", None),
        ("PUT", f"/api/backups/{backup}/description", {"value": "mine now"}),
        ("PUT", f"/api/tasks/{task['guid']}/state", "CANCELLED"),
        ("DELETE", f"/api/tasks/{task['guid']}", None),
        ("POST", "/api/tasks/export", {"protectedEntities": [mine, theirs]}),
        ("POST", "/api/tasks/restore-and-import", {"backup": backup, "hypervisor": new_guid()}),
        ("POST", "/api/tasks/snapshot", {"protectedEntities": [theirs]}),
    ):
        assert is_error(served.call(method, path, body, token=token), 404), path
    for path in ("/api/tasks", "/api/tasks/detailed", "/api/backups", "/api/workflow-executions"):
        assert not names(served.call("GET", path, token=token)) & {task["guid"], backup}, path
    assert names(served.call("GET", "/api/virtual-machines", token=token)) == {mine}
    served.call("POST", "/api/tasks/cancel-running", [{"guid": task["guid"]}], token=token)
    served.call("POST", "/api/tasks/delete-finished-and-queued", [task], token=token)
    served.call("DELETE", "/api/tasks/all-finished-and-queued", token=token)
    state = {"state": "CANCELLED", "tasks": [task["guid"]]}
    assert is_error(served.call("PUT", "/api/tasks/state", state, token=token), 409)
    assert served.task(task["guid"])["state"]["name"] == "QUEUED"


@pytest.mark.parametrize("how", ["query", "header"])
def test_naming_a_project_restricts_and_never_extends(
    served: Served, tenants: dict[str, str], how: str
):
    for machine in served.machines[:2]:
        served.call("POST", "/api/tasks/export", {"protectedEntities": [machine]})

    def seen(token: str, project: str) -> int:
        query = f"?project-uuid={project}" if how == "query" else ""
        headers = {"3rd-party": "HORIZON", "3rd-party-project": project} if not query else None
        answer = served.call("GET", f"/api/tasks{query}", token=token, headers=headers)
        return len(names(answer))

    assert seen(served.person, "pa") == 1
    assert seen(tenants["pa"], "pa") == 1
    assert seen(tenants["pa"], "pb") == 0
    assert seen(tenants["pb"], "pa") == 0


def test_what_a_confined_user_asks_for_belongs_to_the_project(
    served: Served, tenants: dict[str, str]
):
    body = {"protectedEntities": [served.machines[0]]}
    [task] = served.call("POST", "/api/tasks/export", body, token=tenants["pa"]).json()
    assert names(served.call("GET", "/api/tasks?project-uuid=pa")) == {task["guid"]}
    assert names(served.call("GET", "/api/tasks", token=tenants["pb"])) == set()


def test_an_api_token_has_no_more_rights_than_its_user(served: Served):
    viewer = user(served, "viewer")
    body = {"name": "exporter"}
    made = served.call("POST", "/api/api-tokens", body, token=viewer).json()
    assert served.call("GET", "/api/tasks", token=made["token"]).status_code == 200
    assert is_error(served.call("DELETE", "/api/tasks/all-finished", token=made["token"]), 403)
    more = {"name": "more", "roles": ["administrator"]}
    assert is_error(served.call("POST", "/api/api-tokens", more, token=viewer), 403)
    shown = served.call("GET", "/api/api-tokens", token=viewer).json()
    assert [item["name"] for item in shown] == ["exporter"]
    assert made["token"] not in str(shown)
    path = f"/api/api-tokens/{made['guid']}"
    assert served.call("DELETE", path, token=viewer).status_code == 204
    assert is_error(served.call("GET", "/api/tasks", token=made["token"]), 401)


def test_an_api_token_without_a_role_may_only_read(served: Served):
    made = served.call("POST", "/api/api-tokens", {"name": "of an administrator"}).json()
    assert made["roles"] == ["viewer"]
    assert served.call("GET", "/api/tasks", token=made["token"]).status_code == 200
    assert is_error(served.call("DELETE", "/api/tasks/all-finished", token=made["token"]), 403)
    operator = user(served, "operator")
    body = {"name": "of an operator"}
    assert served.call("POST", "/api/api-tokens", body, token=operator).json()["roles"] == [
        "viewer"
    ]


def test_a_users_logins_end_when_rights_change(served: Served):
    name = f"user-{new_guid()}"
    body = {"login": name, "password": PASSWORD, "roles": ["operator"]}
    made = served.call("POST", "/api/users", body).json()
    token = login(served, name)
    path = f"/api/users/{made['guid']}"
    changed = served.call("PUT", path, {"roles": ["viewer"], "password": "another secret"})
    assert changed.json()["roles"] == ["viewer"]
    assert is_error(served.call("GET", "/api/tasks", token=token), 401)
    body = {"login": name, "password": PASSWORD}
    assert is_error(served.call("POST", "/api/session/login", body, token=None), 401)
    assert served.call("DELETE", path).status_code == 204
    assert is_error(served.call("GET", path), 404)


def test_an_administrator_is_always_left(served: Served):
    admins = [u for u in served.call("GET", "/api/users").json() if u["login"] == "admin"]
    path = f"/api/users/{admins[0]['guid']}"
    for other in served.call("GET", "/api/users").json():
        if other["login"] != "admin":
            served.call("DELETE", f"/api/users/{other['guid']}")
    assert is_error(served.call("DELETE", path), 409)
    assert is_error(served.call("PUT", path, {"roles": ["viewer"]}), 409)
    assert served.call("GET", "/api/users").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"login": "", "password": PASSWORD, "roles": ["viewer"]},
        {"login": "x", "password": "short", "roles": ["viewer"]},
        {"login": "x", "password": PASSWORD, "roles": []},
        {"login": "x", "password": PASSWORD, "roles": ["node"]},
        {"login": "x", "password": PASSWORD, "roles": ["viewer"], "uiTimeZone": "Mars/Base"},
    ],
)
def test_a_user_that_makes_no_sense_is_refused(served: Served, body: dict[str, Any]):
    assert is_error(served.call("POST", "/api/users", body), 400)


def test_guessing_is_slowed_down_and_portals_are_not(served: Served):
    name = f"user-{new_guid()}"
    body = {"login": name, "password": PASSWORD, "roles": ["viewer"]}
    served.call("POST", "/api/users", body)
    login(served, name)  # a portal has logged in before this request
    wrong = {"login": name, "password": "guess"}
    answers = [served.call("POST", "/api/session/login", wrong, token=None) for _ in range(12)]
    assert [a.status_code for a in answers] == [401] * 10 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
    for _ in range(30):
        login(served, name)  # the node does so before every request


def test_every_write_is_in_the_audit_log(served: Served):
    served.rest()
    guid = served.export()["guid"]
    served.call("PUT", f"/api/tasks/{guid}/state", "CANCELLED")
    result = served.call("GET", f"/api/audit-log?subject={guid}").json()
    assert [item["operation"] for item in result] == ["set state CANCELLED", "submit export"]
    assert (result[0]["before"], result[0]["after"]) == ("QUEUED", "CANCELLED")
    assert result[0]["login"] == "admin"
    made = served.call("POST", "/api/projects", {"name": new_guid(), "uuid": "p1"}).json()
    path = f"/api/projects/{made['guid']}"
    served.call("PUT", path, {"name": made["name"], "uuid": "p2"})
    served.call("DELETE", path)
    trail = served.call("GET", f"/api/audit-log?subject={made['guid']}").json()
    assert [item["operation"] for item in trail] == [
        "remove project",
        "change project",
        "add project",
    ]
    assert trail[1]["before"]["body"] == {"uuid": "p1"}
    assert trail[1]["after"]["body"] == {"uuid": "p2"}
    node = served.identity["guid"]
    [enrolled] = served.call("GET", f"/api/audit-log?subject={node}&size=1000").json()[-1:]
    assert (enrolled["operation"], enrolled["after"]) == ("enrol node", {"name": "n1"})
    newest = served.call("GET", "/api/audit-log?size=1").json()
    older = served.call("GET", f"/api/audit-log?size=1&before={newest[0]['number']}").json()
    assert older[0]["number"] < newest[0]["number"]
    assert PASSWORD not in served.call("GET", "/api/audit-log?size=1000").text


def test_a_page_of_a_strange_site_cannot_write_with_a_visitors_cookie(served: Served):
    served.login()
    evil = {"origin": "https://evil.example", "content-type": "text/plain"}
    answer = served.call("DELETE", "/api/tasks/all-finished", token=None, headers=evil)
    assert is_error(answer, 403)
    own = {"origin": served.server.url}
    answer = served.call("DELETE", "/api/tasks/all-finished", token=None, headers=own)
    assert answer.status_code == 204
    served.http.cookies.clear()
