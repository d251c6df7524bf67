"""Every operation with every object and every restriction of the caller: the declared access is
enforced.

The expectation comes from the declaration alone.  A restricted caller must not be able to
distinguish an object of another project from a missing object: the response must equal the response
to an unrestricted caller for an unknown guid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PUBLIC
from haulback.ids import new_guid
from haulback.server.http.operation import GUID, Operation
from haulback.server.http.reference import OPERATIONS
from haulback.server.store import tables
from tests.contract.conftest import PASSWORD, Answer, Served
from tests.contract.tenants import OTHER, OWN, RECORD_KINDS, SHARED, World
from tests.contract.test_transport import is_error

HERE = example.GUID
ONE = {"guid": HERE}
# The type of object that a member, a query parameter or a path names.
MEMBERS = {
    "protectedEntities": "entity",
    "protectedEntity": "entity",
    "entities": "entity",
    "entity": "entity",
    "value": "entity",
    "backup": "backup",
    "backupLocation": "location",
    "backupLocations": "location",
    "mountedBackup": "mount",
    "snapshot": "snapshot",
    "snapshots": "snapshot",
    "tasks": "task",
    "rules": "rule",
    "vm-backup": "vm-backup",
    "vm-snapshot": "vm-snapshot",
    "virtual-machine": "entity",
    "protected-entity": "entity",
    "mounted-backup": "mount",
    "parent-task": "task",
    "workflow-execution": "task",
    "parent-backup": "backup",
    "backup-rule": "rule",
    "subject": "entity",
}
PATHS = {
    "/tasks": "task",
    "/virtual-machines": "entity",
    "/virtual-machine-disks": "disk",
    "/backups": "backup",
    "/backup-locations": "location",
    "/mounted-backups": "mount",
    "/mounted-file-systems": "file-system",
    "/snapshots": "snapshot",
    "/alarms": "alarm",
    "/restore-jobs": "job",
    "/workflow-executions": "task",
    **RECORD_KINDS,
}
# Runs and deliveries have separate tests, because the walk contains none.
KEYS = {
    "DELETE /virtual-machines/{guid}": "absent",
    "POST /tasks/{guid}": "recovery-plan",
    "POST /runs/{guid}/retry": "",
    "GET /deliveries/{guid}": "",
    "POST /deliveries/{guid}/redeliver": "",
}
PLACES = ("/nodes/", "/hypervisors/", "/backup-destinations/", "/users/", "/api-tokens/")
BY = ["account", "token", "header", "query"]


class By(NamedTuple):
    """A caller: a token, and a restriction that is sent with each request."""

    token: str
    project: str = ""
    where: str = ""


class Walk:
    """The operations, the objects, and a caller for each restriction."""

    def __init__(self, served: Served) -> None:
        self.served, self.world = served, World(served)
        self.whole = By(served.person)
        self.restricted = {how: self._caller(how) for how in BY}
        with served.app.store.read() as sql:
            query = sa.select(tables.api_token)
            self.tokens = [dict(row._mapping) for row in sql.execute(query)]
        self.build()

    def build(self) -> None:
        self.world.build(self.tokens)

    def _caller(self, how: str) -> By:
        if how == "account":
            body = {"login": new_guid(), "password": PASSWORD, "roles": ["administrator"]}
            assert self.served.call("POST", "/api/users", {**body, "projects": ["pa"]}).is_success
            answer = self.served.call("POST", "/api/session/login", body, token=None)
            self.served.http.cookies.clear()
            return By(str(answer.headers["x-session-token"]))
        if how == "token":
            body = {"name": "narrow", "roles": ["administrator"], "projects": ["pa"]}
            answer = self.served.call("POST", "/api/api-tokens", body)
            return By(str(answer.json()["token"]))
        return By(self.served.person, "pa", how)

    def ask(self, one: Operation, by: By, guid: str, param: str = "") -> Answer:
        """The response about the object `guid`: in the path, the body, or the query `param`."""
        path = "/api" + one.path.replace("{guid}", guid)
        query = [f"{param}={guid}"] if param else []
        query += [f"project-uuid={by.project}"] if by.where == "query" else []
        sent = {"3rd-party-project": by.project} if by.where == "header" else {}
        path += f"?{'&'.join(query)}" if query else ""
        return self.served.call(one.method, path, body_of(one, guid), token=by.token, headers=sent)


def body_of(one: Operation, guid: str) -> Any:
    if one.request is None:
        return None
    return json.loads(json.dumps((one.examples or [{}])[0]).replace(HERE, guid))


def sort_of(item: Operation) -> str:
    """The type of object of a call; "" for a call about no object of a project."""
    if item.key in KEYS:
        return KEYS[item.key]
    if "{guid}" in item.path:
        if item.path.startswith(PLACES):
            return ""
        return PATHS[item.path.partition("/{guid}")[0]]
    if HERE not in json.dumps(body_of(item, HERE)):
        return ""
    if item.path.startswith("/tasks/") and isinstance(body_of(item, HERE), list):
        return "entity" if "delete" in item.path and "finished" not in item.path else "task"
    return _named(body_of(item, HERE))


def _named(body: Any, name: str = "") -> str:
    """The type of the first object of a project in a body."""
    if body == HERE:
        return MEMBERS.get(name, "")
    if not isinstance(body, dict | list):
        return ""
    inner = body.items() if isinstance(body, dict) else [(name, one) for one in body]
    return next((found for k, v in inner if (found := _named(v, name if k == "guid" else k))), "")


def questions(one: Operation) -> Iterator[tuple[str, str]]:
    """(type, query parameter) of every way in which a call names an object."""
    if sort := sort_of(one):
        yield sort, ""
    elif "{guid}" not in one.path:
        yield "", ""
    for param in one.query:
        if param.sort is GUID and param.name in MEMBERS:
            yield MEMBERS[param.name], param.name


def said(answer: Answer, guid: str) -> tuple[int, str]:
    """A response without the parts that differ from object to object."""
    error = answer.status_code >= 400 and answer.text.replace(guid, "*")
    return answer.status_code, str(error or "")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A separate server on SQLite, because the test empties the database repeatedly."""
    made = Served(tmp_path_factory.mktemp("walk"))
    try:
        made.furnish()
        yield Walk(made)
    finally:
        made.close()


def _of_people(served: Served) -> list[Operation]:
    skipped = (
        "POST /session/login",
        "POST /session/logout",
        "POST /nodes/enrol",
        "POST /nodes/session",
    )
    return [one for one in OPERATIONS if one.key not in skipped]


@pytest.mark.parametrize("how", BY)
def test_each_operation_reaches_as_far_as_it_declares(walk: Walk, how: str):
    by = walk.restricted[how]
    wrong = [
        (one.key, sort, param, owner, problem)
        for one in _of_people(walk.served)
        for sort, param in questions(one)
        for owner in ((OWN, OTHER, SHARED) if sort else ("",))
        if (problem := _problem(walk, one, by, About(sort, param, owner)))
    ]
    assert not wrong, "\n".join(map(str, wrong))


class About(NamedTuple):
    """The object of a call: its type, the query parameter that names it, its owner."""

    sort: str
    param: str
    owner: str


def _problem(walk: Walk, item: Operation, by: By, about: About) -> str:
    """The difference between the effect of a call and the declared access, "" for none."""
    reaches, owner = item.access, about.owner
    if item.slow and owner == OWN:
        return ""  # a node would have to answer this call
    guid = walk.world.guids[owner][about.sort] if owner else new_guid()
    answer = walk.ask(item, by, guid, about.param)
    result = f"{answer.status_code} {answer.text[:300]}"
    if harm := _harm(walk, reaches, answer, guid):
        return f"{harm} by {result}"
    if answer.status_code >= 500:
        return result
    refused = reaches in (ProjectAccess.WHOLE, ProjectAccess.NODE)
    is_record = about.sort in RECORD_KINDS.values()
    if refused or (reaches is ProjectAccess.CHANGE and owner == SHARED and is_record):
        return "" if is_error(answer, 403) else f"not refused: {result}"
    if owner == OTHER or (owner == SHARED and not (is_record and reaches is ProjectAccess.USE)):
        nothing = _of_whole(walk, item, new_guid(), about.param)
        same = said(answer, guid) == nothing
        return "" if same else f"told apart: {result}, not {nothing}"
    if owner in (OWN, SHARED) and reaches is not ProjectAccess.ACCOUNT:
        whole = _of_whole(walk, item, walk.world.guids[owner][about.sort], about.param)
        return "" if answer.status_code == whole[0] else f"{result}, not as of all: {whole}"
    return ""


def _harm(walk: Walk, reaches: ProjectAccess, answer: Answer, guid: str) -> str:
    """Rows of other owners that a call changed, and names of other owners in its response."""
    changed = walk.world.changed()
    strange = {str(row) for row in changed if row[1] not in ("pa", *_OWN_PARTS)}
    open_to = (ProjectAccess.USE, ProjectAccess.CHANGE, ProjectAccess.COMMON)
    hidden = [OTHER] if reaches in open_to else [OTHER, SHARED]
    texts = {text for owner in hidden for text in walk.world.names(owner)} - {guid}
    told = sorted(text for text in texts if text in answer.text)
    if changed:
        walk.build()
    return " ".join([f"changed {strange}" * bool(strange), f"told {told}" * bool(told)]).strip()


_OWN_PARTS = ("of its mount", "of its backup", "of its schedule", "system")


def _of_whole(walk: Walk, one: Operation, guid: str, param: str) -> tuple[int, str]:
    """The response to an unrestricted caller."""
    found = said(walk.ask(one, walk.whole, guid, param), guid)
    if walk.world.changed():
        walk.build()
    return found


def test_every_operation_has_a_reach_and_the_documents_say_it(walk: Walk):
    document = walk.served.call("GET", "/api/openapi.json").json()
    for one in OPERATIONS:
        shown = document["paths"][one.path][one.method.lower()]
        assert shown["x-haulback-narrowed"] == one.access.value, one.key
        assert (one.access is ProjectAccess.ANYBODY) == (one.roles == PUBLIC), one.key


@pytest.mark.parametrize("how", BY)
def test_lists_show_what_the_reach_says(walk: Walk, how: str):
    walk.build()
    by, world = walk.restricted[how], walk.world
    for item in OPERATIONS:
        kind = PATHS.get(item.path) or {"/tasks/detailed": "task", "/tasks/queued": "task"}.get(
            item.path, ""
        )
        if item.method != "GET" or not kind or any(p.name == "virtual-machine" for p in item.query):
            continue
        if item.access is ProjectAccess.WHOLE:
            continue  # a restricted caller is refused
        text = walk.ask(item, by, "").text
        assert world.guids[OWN][kind] in text, item.key
        assert world.guids[OTHER][kind] not in text, item.key
        shown = world.guids[SHARED][kind] in text
        assert shown == (item.access is ProjectAccess.USE), item.key


@pytest.mark.parametrize("how", BY)
def test_a_record_bears_the_project_of_the_caller_and_keeps_it(walk: Walk, how: str):
    walk.build()
    by, served = walk.restricted[how], walk.served
    declared = {item.key: item for item in OPERATIONS}
    for path in ("/policies/vm-backup", "/policies/vm-snapshot", "/schedules"):
        record = {"name": how}
        if path == "/schedules":
            record = {"name": f"by {how}", "hour": 0, "rules": []}
        for said_project in (None, "pa"):
            body = {**record, "project": said_project} if said_project else record
            answer = walk.ask(replace(declared[f"POST {path}"], examples=[body]), by, "")
            assert (answer.status_code, answer.json()["project"]) == (201, "pa"), answer.text
            guid = answer.json()["guid"]
            kept = served.call("PUT", f"/api{path}/{guid}", record).json()
            assert kept["project"] == "pa"
            freed = served.call("PUT", f"/api{path}/{guid}", {**record, "project": ""}).json()
            assert "project" not in freed
            assert is_error(walk.ask(declared[f"DELETE {path}/{{guid}}"], by, guid), 403)
            assert served.call("DELETE", f"/api{path}/{guid}").status_code == 204
        foreign = replace(declared[f"POST {path}"], examples=[{**record, "project": "pb"}])
        assert is_error(walk.ask(foreign, by, ""), 403)


def test_two_tenants_may_give_a_policy_the_same_name(served: Served):
    for project in ("pa", "pb"):
        body = {"name": "gold", "project": project}
        assert served.call("POST", "/api/policies/vm-backup", body).status_code == 201
        assert is_error(served.call("POST", "/api/policies/vm-backup", body), 409)


def test_rules_follow_their_policy_to_another_project(served: Served):
    policy = served.call("POST", "/api/policies/vm-backup", {"name": new_guid()}).json()
    ref = {"guid": policy["guid"]}
    rule = served.call("POST", "/api/rules/vm-backup", {"name": "daily", "policy": ref}).json()
    body = {"name": policy["name"], "project": "pa"}
    served.call("PUT", f"/api/policies/vm-backup/{policy['guid']}", body)
    path = f"/api/rules/vm-backup/{rule['guid']}"
    assert served.call("GET", path).json()["project"] == "pa"
    theirs = {"3rd-party-project": "pb"}
    assert is_error(served.call("GET", path, headers=theirs), 404)
    body = {"name": "nightly", "policy": ref, "project": "pb"}
    assert is_error(served.call("POST", "/api/rules/vm-backup", body), 400)


def test_a_machine_is_not_governed_by_another_projects_policy(served: Served):
    path = f"/api/virtual-machines/{served.machines[served.new_machine()]}/settings"
    body = {"name": new_guid(), "project": "pb"}
    theirs = served.call("POST", "/api/policies/vm-backup", body).json()
    wanted = {"vmBackupPolicy": {"guid": theirs["guid"]}}
    assert is_error(served.call("PUT", path, {**wanted, "project": "pa"}), 409)
    assert served.call("PUT", path, {**wanted, "project": "pb"}).status_code == 204
    assert is_error(served.call("PUT", path, {"project": "pa"}), 409)


def test_a_token_reaches_no_further_than_its_maker(served: Served):
    mine = {"3rd-party-project": "pa"}
    made = served.call("POST", "/api/api-tokens", {"name": "t"}, headers=mine).json()
    assert made["projects"] == ["pa"]
    more = {"name": "more", "projects": ["pa", "pb"]}
    assert is_error(served.call("POST", "/api/api-tokens", more, headers=mine), 403)
    assert is_error(served.call("GET", "/api/users", token=made["token"]), 403)
    me = served.call("GET", "/api/user-info", token=made["token"]).json()
    assert me["projects"] == ["pa"]
    everything = served.call("POST", "/api/api-tokens", {"name": "all"}).json()
    shown = served.call("GET", "/api/api-tokens", headers=mine).json()
    assert made["guid"] in {item["guid"] for item in shown}
    assert everything["guid"] not in {item["guid"] for item in shown}
    path = f"/api/api-tokens/{everything['guid']}"
    assert is_error(served.call("DELETE", path, headers=mine), 404)
    assert served.call("DELETE", path).status_code == 204
    path = f"/api/api-tokens/{made['guid']}"
    assert is_error(served.call("DELETE", path, headers={"3rd-party-project": "pb"}), 404)
    assert served.call("DELETE", path, headers=mine).status_code == 204


@pytest.mark.parametrize("way", ["verify", "remove-old-backups", "repair"])
def test_work_on_a_shared_destination_takes_all_projects(served: Served, way: str):
    body = {"backupDestinations": [served.destination["guid"]]}
    mine = {"3rd-party-project": "pa"}
    assert is_error(served.call("POST", f"/api/tasks/{way}", body, headers=mine), 403)
    [task] = served.call("POST", f"/api/tasks/{way}", body).json()
    for path in ("", "/log", "/state"):
        path = f"/api/tasks/{task['guid']}{path}"
        assert is_error(served.call("GET", path, headers=mine), 404)
    served.call("DELETE", f"/api/tasks/{task['guid']}")
