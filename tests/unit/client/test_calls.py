"""Lists are read to their end, records found by guid or name, tasks followed to the last one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.client import record_names
from haulback.client.calls import spelled
from haulback.client.client import Client
from haulback.client.tasks import check
from haulback.contract.task_states import State
from haulback.contract.tasks import TaskDetails, Workflow
from haulback.errors import Cancelled, Malformed, NotFound, TaskFailed
from haulback.wire import label
from tests.unit.web import Web

GUID = "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b"
UUID = "90819ef5-f5b4-497b-be6b-20bd405fb197"


def described(name: str) -> dict[str, str]:
    return {"name": name, "description": ""}


def row(guid: str, state: str = "FINISHED", **more: Any) -> dict[str, Any]:
    named = {"type": {"name": "EXPORT", "description": "Export"}}
    named["state"] = {"name": state, "description": ""}
    usual = {"windowStart": 0, "windowEnd": 1, "progress": 0, "priority": 50}
    return {"guid": guid, **named, **usual, "creationTime": 0, **more}


def test_a_page_has_its_rows_the_total_and_the_next_cursor(web: Web, client: Client):
    web.says([row("a")], x_total_count="7", x_next_cursor="c1")
    page = client.tasks.page(states=["QUEUED", "RUNNING"], project_uuid="p", type="")
    assert [one.guid for one in page.rows] == ["a"]
    assert (page.total, page.cursor, page.counted) == (7, "c1", True)
    query = [("size", "50"), ("states", "QUEUED"), ("states", "RUNNING"), ("project-uuid", "p")]
    assert web.last.query == query
    client.tasks.page(2, size=9)
    assert web.last.query == [("page", "2"), ("size", "9")]


def test_a_page_without_a_total_counts_its_rows(web: Web, client: Client):
    web.says([row("a"), row("b")])
    page = client.tasks.page()
    assert (page.total, page.cursor, page.counted) == (2, None, False)


def test_a_list_is_followed_by_cursor(web: Web, client: Client):
    web.says([row("a")], x_total_count="3", x_next_cursor="c1")
    web.says([row("b")], x_total_count="3", x_next_cursor="c2")
    web.says([row("c")], x_total_count="3")
    assert [one.guid for one in client.tasks.all(node="n")] == ["a", "b", "c"]
    assert web.asked[0].query == [("page", "0"), ("size", "500"), ("node", "n")]
    assert web.asked[1].query == [("size", "500"), ("node", "n"), ("cursor", "c1")]
    assert len(web.asked) == 3


def test_a_list_is_followed_by_page_number_until_all_have_come(web: Web, client: Client):
    web.says([row("a"), row("b")], x_total_count="3")
    web.says([row("c")], x_total_count="3")
    assert [one.guid for one in client.tasks.all(size=2)] == ["a", "b", "c"]
    assert [one.query[0] for one in web.asked] == [("page", "0"), ("page", "1")]


def test_a_list_that_shrinks_meanwhile_ends_with_its_first_empty_page(web: Web, client: Client):
    web.says([row("a")], x_total_count="9")
    web.says([], x_total_count="9")
    assert [one.guid for one in client.tasks.all()] == ["a"]
    assert len(web.asked) == 2


def test_a_list_without_a_total_is_one_page(web: Web, client: Client):
    web.says([row("a")])
    assert [one.guid for one in client.tasks.all_detailed()] == ["a"]
    assert len(web.asked) == 1


@given(st.dictionaries(st.sampled_from(["a", "b_c", "from_", "d_e_"]), st.text() | st.none()))
def test_query_parameters_are_spelled_as_the_api_does(query: dict[str, str | None]):
    names = {"a": "a", "b_c": "b-c", "from_": "from", "d_e_": "d-e"}
    assert spelled(query) == {names[name]: value for name, value in query.items() if value}


def test_flags_of_a_query_are_words_and_numbers_stay():
    assert spelled({"a": True, "b": False, "c": 0, "d": 1}) == {
        "a": "true",
        "b": "false",
        "c": 0,
        "d": 1,
    }


def project(guid: str, name: str) -> dict[str, str]:
    return {"guid": guid, "name": name, "uuid": name}


def test_a_record_is_found_by_its_guid(web: Web, client: Client):
    web.says(project(GUID, "p1"))
    assert client.records.projects.find(GUID).guid == GUID
    assert web.last.path == f"/projects/{GUID}"


def test_a_record_is_found_by_its_whole_name(web: Web, client: Client):
    web.says([project("a", "web-2"), project(GUID, "web")])
    assert client.records.projects.find("web").guid == GUID
    assert ("filter", "web") in web.last.query


def test_a_name_that_several_records_bear_asks_for_a_guid(web: Web, client: Client):
    web.says([project("g1", "web"), project("g2", "web")])
    with pytest.raises(
        Malformed, match=r"several projects named 'web'; .*: g1 \(web\), g2 \(web\)"
    ):
        client.records.projects.find("web")


def test_six_characters_of_a_guid_name_its_record_and_fewer_do_not(web: Web, client: Client):
    web.says([project(GUID, "web"), project("a", "db")])
    assert client.records.projects.guid(GUID[:6].upper()) == GUID
    with pytest.raises(NotFound, match="needs 6 characters or more"):
        client.records.projects.find(GUID[:5])


def test_the_beginning_of_several_guids_is_refused_with_the_candidates(web: Web, client: Client):
    other = f"{GUID[:-1]}{'0' if GUID[-1] != '0' else '1'}"
    web.says([project(GUID, "web"), project(other, "db")])
    with pytest.raises(Malformed) as caught:
        client.records.projects.find(GUID[:10])
    assert f"{GUID} (web)" in caught.value.message
    assert f"{other} (db)" in caught.value.message


def test_a_machine_is_found_by_the_uuid_on_its_hypervisor(web: Web, client: Client):
    web.says({"message": "there is no protected entity", "code": "not_found"}, 404)
    web.says(
        [{"guid": "a", "name": "db", "uuid": "b"}, {"guid": GUID, "name": "web", "uuid": UUID}]
    )
    web.says([])
    with pytest.raises(NotFound):
        client.backups.find(f"latest:{UUID}")
    assert ("protected-entity", GUID) in web.last.query


def test_the_candidates_of_a_name_tell_which_machine_is_absent():
    gone, here = SimpleNamespace(guid="g1", present=False), SimpleNamespace(guid="g2", present=True)
    with pytest.raises(Malformed, match=r": g1 \(web, absent\), g2 \(web\)$"):
        record_names.chosen([gone, here], "web", "machine", lambda _: "web")


def test_an_unknown_uuid_of_a_machine_is_refused_with_the_command_that_lists_machines(
    web: Web, client: Client
):
    web.says({"message": "there is no protected entity", "code": "not_found"}, 404)
    web.says([])
    with pytest.raises(NotFound, match="haulback machine ls"):
        client.machines.find(UUID)


def test_tasks_of_a_removed_machine_are_found_by_its_guid(web: Web, client: Client):
    web.says({"message": "there is no protected entity", "code": "not_found"}, 404)
    web.says([])
    assert client.machines.guid(GUID) == GUID


def test_the_newest_backup_of_a_machine_that_can_be_restored_has_a_name(web: Web, client: Client):
    web.says([{"guid": GUID, "name": "web"}])
    web.says([])
    with pytest.raises(NotFound, match="latest:web: there is no backup of web"):
        client.backups.find("latest:web")
    assert ("protected-entity", GUID) in web.last.query
    assert ("status", "SUCCESS") in web.last.query
    web.says([])
    with pytest.raises(NotFound, match="latest: there is no task"):
        client.tasks.guid("latest")


@pytest.mark.parametrize("owners", [0, 1, 2])
def test_the_latest_of_machines_of_one_name_is_that_of_the_only_machine_with_records(
    web: Web, client: Client, owners: int
):
    machines = [{"guid": guid, "name": "web"} for guid in ("original", "restored")]
    web.says(machines)
    web.says(machines)
    snapshot = {"guid": GUID, "name": "s", "uuid": GUID, "snapshotTime": 1, "managed": True}
    snapshot |= {"status": {"name": "PRESENT", "description": ""}, "standAlone": False}
    snapshot |= {"protectedEntity": {"guid": "original", "name": "web"}}
    for number in range(2):
        web.says([snapshot] if number < owners else [])
    if owners == 1:
        assert client.snapshots.find("latest:web").guid == GUID
    else:
        with pytest.raises(Malformed, match="several machines named 'web'"):
            client.snapshots.find("latest:web")


def test_the_latest_mount_is_one_that_has_not_ended_and_again_takes_an_ended_one(
    web: Web, client: Client
):
    web.says([])
    with pytest.raises(NotFound, match="latest: there is no"):
        client.mounts.find("latest")
    assert [asked.query for asked in web.asked] == [
        [("page", "0"), ("size", "1"), *more] for more in ([("finished-mount", "false")], [])
    ]
    with pytest.raises(NotFound, match="latest: no mount has ended"):
        client.mounts.ended("latest")
    assert ("finished-mount", "true") in web.last.query


def test_the_beginning_of_the_guid_of_an_old_delivery_is_asked_of_the_server(
    web: Web, client: Client
):
    web.says([])
    with pytest.raises(NotFound, match="there is no delivery"):
        client.notifications.guid(GUID[:8])
    assert ("filter", GUID[:8]) in web.last.query


def test_a_name_that_no_record_bears_is_not_found(web: Web, client: Client):
    web.says([project("g1", "web-2")])
    with pytest.raises(
        NotFound, match=r"^there is no project 'web': `haulback project ls` lists them$"
    ):
        client.records.projects.find("web")


def test_an_unknown_guid_is_refused_with_the_command_that_lists_the_records(
    web: Web, client: Client
):
    for collection, noun in ((client.destinations, "destination"), (client.backups, "backup")):
        web.says({"message": f"there is no {noun} {GUID}", "code": "not_found"}, 404)
        with pytest.raises(NotFound, match=f"^there is no {noun} '{GUID}': `haulback {noun} ls`"):
            collection.find(GUID)


def test_a_word_longer_than_any_name_is_refused_without_a_request(client: Client, web: Web):
    for find in (client.records.projects.find, client.tasks.guid, client.notifications.guid):
        with pytest.raises(NotFound, match=r"^there is no \w+ 'x{60}'… \(201 characters\): `haulb"):
            find("x" * 201)
    assert not web.asked


def test_a_record_is_removed_by_its_guid(web: Web, client: Client):
    web.says(b"", 204)
    client.records.projects.remove(GUID)
    assert (web.last.method, web.last.path) == ("DELETE", f"/projects/{GUID}")


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        (lambda c: c.tasks.remove("g"), "DELETE", "/tasks/g"),
        (lambda c: c.tasks.remove_finished(), "DELETE", "/tasks/all-finished"),
        (lambda c: c.tasks.remove_finished("g"), "POST", "/tasks/delete-finished"),
        (
            lambda c: c.tasks.remove_finished_and_queued(),
            "DELETE",
            "/tasks/all-finished-and-queued",
        ),
        (
            lambda c: c.tasks.remove_finished_and_queued("g"),
            "POST",
            "/tasks/delete-finished-and-queued",
        ),
        (lambda c: c.tasks.cancel_running(), "DELETE", "/tasks/all-running"),
        (lambda c: c.tasks.cancel_running("g"), "POST", "/tasks/cancel-running"),
    ],
)
def test_removals_concern_all_tasks_or_the_named_ones(
    web: Web, client: Client, call: Any, method: str, path: str
):
    web.says(b"", 204)
    call(client)
    assert (web.last.method, web.last.path) == (method, path)
    assert web.last.body == (b'[{"guid":"g"}]' if method == "POST" else b"")


def test_a_cancelled_task_gets_a_reason(web: Web, client: Client):
    web.says(b"", 204)
    client.tasks.cancel("g")
    assert web.last.body == b'{"state":"CANCELLED","statusInfo":"Cancelled by user"}'
    client.tasks.set_states(["g", "h"], State.QUEUED)
    assert web.last.body == b'{"state":"QUEUED","tasks":[{"guid":"g"},{"guid":"h"}]}'


def plan(*steps: tuple[str, str]) -> dict[str, Any]:
    tasks = [
        {
            "guid": guid,
            "type": {"name": "X", "description": ""},
            "state": {"name": state, "description": ""},
        }
        for guid, state in steps
    ]
    return {"guid": "w", "commonContext": {}, "tasks": tasks}


def test_a_task_is_followed_to_the_end_of_its_last_follower(web: Web, client: Client):
    web.says(row("g", "RUNNING", workflowExecution=plan(("g", "RUNNING"), ("h", "PLANNED"))))
    web.says(row("g", "FINISHED", workflowExecution=plan(("g", "FINISHED"), ("h", "QUEUED"))))
    web.says(row("h", "QUEUED"))
    web.says(row("g", "FINISHED", workflowExecution=plan(("g", "FINISHED"), ("h", "FINISHED"))))
    web.says(row("h", "FINISHED"))
    looks = list(client.tasks.follow("g", every=0))
    assert [[one.guid for one in look] for look in looks] == [["g"], ["g", "h"], ["g", "h"]]
    assert web.asked[0].query == [("extended", "true")]


def test_a_finished_task_with_a_planned_follower_is_not_over(web: Web, client: Client):
    web.says(row("g", workflowExecution=plan(("g", "FINISHED"), ("h", "PLANNED"))))
    web.says(row("g", workflowExecution=plan(("g", "FINISHED"))))
    assert [one.guid for one in client.tasks.wait("g", every=0)] == ["g"]
    assert len(web.asked) == 2


def test_a_follower_that_was_removed_is_passed_over(web: Web, client: Client):
    web.says(row("g", "CANCELLED", workflowExecution=plan(("h", "CANCELLED"))))
    web.says({"code": "not_found", "message": "no"}, 404)
    with pytest.raises(Cancelled, match=r"^EXPORT g was cancelled: no reason given$"):
        client.tasks.wait("g", every=0)


def details(guid: str, kind: str, state: str, info: str | None = None) -> TaskDetails:
    return TaskDetails(
        guid=guid,
        type=label(kind),
        state=label(state),
        windowStart=0,
        windowEnd=0,
        progress=0.0,
        priority=50,
        statusInfo=info,
        creationTime=0,
    )


def test_the_first_task_that_did_not_finish_is_the_reason():
    check([details("g", "EXPORT", "FINISHED"), details("h", "STORE", "FINISHED")])
    with pytest.raises(TaskFailed, match=r"^EXPORT g failed: disk full$"):
        check([details("g", "EXPORT", "FAILED", "disk full"), details("h", "STORE", "CANCELLED")])
    with pytest.raises(Cancelled, match=r"^STORE h was cancelled: no reason given$"):
        check([details("g", "EXPORT", "FINISHED"), details("h", "STORE", "CANCELLED")])


def test_of_several_attempts_of_a_type_the_last_one_counts():
    check([details("g", "STORE", "FAILED"), details("h", "STORE", "FINISHED")])
    with pytest.raises(TaskFailed, match="STORE h"):
        check([details("g", "STORE", "FINISHED"), details("h", "STORE", "FAILED")])


def test_a_workflow_without_steps_is_over():
    assert Workflow(guid="w", commonContext={}).tasks == []
