"""The subject of `audit`, `alarm ls` and `events` is an object of any type, by name or guid."""

from __future__ import annotations

import pytest

from haulback.cli import subjects
from haulback.cli.subjects import subject_guid
from haulback.client.client import Client
from haulback.errors import Malformed, NotFound
from tests.unit.web import Web

GUID = "0fe4cf77-e391-468b-ac47-ffcde17de62c"
MACHINES, BACKUPS = "/virtual-machines", "/backups"


@pytest.fixture
def client(web: Web) -> Client:
    web.says([])
    return Client(web.url, "t")


def test_a_whole_guid_asks_for_nothing(web: Web, client: Client):
    assert subject_guid(client, GUID) == GUID
    assert web.asked == []


def test_a_name_is_looked_for_in_every_list_of_named_records(web: Web, client: Client):
    with pytest.raises(NotFound, match="no object 'web': write its name, or six characters"):
        subject_guid(client, "web")
    paths = {asked.path for asked in web.asked}
    assert {MACHINES, "/nodes", "/users", "/policies/vm-backup", "/schedules"} <= paths
    assert not {BACKUPS, "/mounted-backups", "/workflow-executions", "/alarms"} & paths


def test_a_beginning_is_looked_for_in_the_newest_audit_entries_at_last(web: Web, client: Client):
    with pytest.raises(NotFound):
        subject_guid(client, GUID[:8])
    assert BACKUPS in {asked.path for asked in web.asked}
    assert web.last.path == "/audit-log"


def test_an_object_that_was_removed_is_found_in_its_audit_entries(web: Web, client: Client):
    with pytest.raises(NotFound):
        subject_guid(client, GUID[:8])
    lists, web.asked = len(web.asked) - 1, []
    for _ in range(lists - 1):  # the lists before the audit log are empty
        web.says([])
    entry = {"number": 1, "time": 1, "caller": "c", "login": "ann", "operation": "remove"}
    web.says([{**entry, "subject": GUID}])
    assert subject_guid(client, GUID[:8]) == GUID


def test_a_word_that_names_two_objects_is_refused_with_both(
    web: Web, client: Client, monkeypatch: pytest.MonkeyPatch
):
    lists = [client.records.projects, client.records.clusters]
    monkeypatch.setattr(subjects, "_collections", lambda *_: lists)
    web.answers = []
    for guid in (GUID, GUID.replace("0", "1")):
        web.says([{"guid": guid, "name": "web", "uuid": "u"}])
    with pytest.raises(Malformed, match=f"names the project {GUID} and the cluster 1fe4cf77"):
        subject_guid(client, "web")
