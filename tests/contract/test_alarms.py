"""Alarms over HTTP: their visibility, their lists, and the output of commands."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from haulback.cli.main import app as commands
from haulback.client.client import Client
from haulback.contract.alarms import AlarmKind
from haulback.errors import NotFound
from haulback.ids import new_guid
from haulback.wire import Named
from tests.contract.conftest import Command, Served
from tests.contract.scene import watch
from tests.contract.test_access import in_project, user
from tests.contract.test_transport import is_error


def raised(served: Served, kind: AlarmKind, subject: str, name: str, text: str = "why") -> None:
    with served.app.store.write() as sql:
        served.seen(sql).alarms.report(kind, Named(subject, name), text, {"bytes": 5})


def rows(served: Served, query: str = "", token: str | None = "") -> list[dict[str, Any]]:
    answer = served.call("GET", f"/api/alarms{query}", token=token)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["x-total-count"]) >= len(answer.json())
    return list(answer.json())


def test_an_alarm_is_shown_with_its_subject_and_its_age(served: Served):
    machine = served.machines[served.new_machine()]
    raised(served, AlarmKind.MACHINE_UNREADABLE, machine, "db")
    [result] = rows(served, f"?subject={machine}")
    assert result["kind"] == {"name": "MACHINE_UNREADABLE", "description": "Machine unreadable"}
    assert (result["subject"]["guid"], result["subject"]["name"]) == (machine, "db")
    assert result["subject"]["type"]["name"] == "VM"
    assert (result["text"], result["details"]) == ("why", {"bytes": 5})
    assert result["since"] == result["seen"]
    assert "project" not in result
    assert served.call("GET", f"/api/alarms/{result['guid']}").json() == result
    with served.app.store.write() as sql:
        served.seen(sql).alarms.clear(AlarmKind.MACHINE_UNREADABLE, machine)
    assert rows(served, f"?subject={machine}") == []
    assert is_error(served.call("GET", f"/api/alarms/{result['guid']}"), 404)


def test_alarms_are_listed_by_kind_and_in_pages(served: Served):
    machine = served.machines[served.new_machine()]
    for kind in (AlarmKind.MACHINE_UNREADABLE, AlarmKind.BACKUP_DAMAGED, AlarmKind.BACKUP_MISSING):
        raised(served, kind, machine, "db")
    both = rows(served, f"?subject={machine}&kind=BACKUP_DAMAGED&kind=BACKUP_MISSING")
    assert [item["kind"]["name"] for item in both] == ["BACKUP_MISSING", "BACKUP_DAMAGED"]
    assert len(rows(served, f"?subject={machine}&size=2&page=1")) == 1
    by_kind = rows(served, f"?subject={machine}&orderBy=kind&direction=asc")
    assert by_kind[0]["kind"]["name"] == "BACKUP_DAMAGED"
    for wrong in ("kind=NO_SUCH", "subject=no-guid"):
        assert is_error(served.call("GET", f"/api/alarms?{wrong}"), 400), wrong


def test_a_tenant_sees_alarms_of_the_own_projects_only(served: Served):
    mine, theirs = (served.machines[served.new_machine()] for _ in range(2))
    for machine, project in ((mine, "alarm-a"), (theirs, "alarm-b")):
        in_project(served, machine, project)
        raised(served, AlarmKind.MACHINE_UNREADABLE, machine, "db")
    raised(served, AlarmKind.CLEANUP_BLOCKED, served.destination["guid"], "bd")
    tenant = user(served, "viewer", projects=["alarm-a"])
    assert [row["subject"]["guid"] for row in rows(served, token=tenant)] == [mine]
    [hidden] = rows(served, f"?subject={theirs}")
    assert is_error(served.call("GET", f"/api/alarms/{hidden['guid']}", token=tenant), 404)
    [restricted] = rows(served, "?project-uuid=alarm-b")
    assert restricted["subject"]["guid"] == theirs


def test_commands_list_alarms_whatever_their_names_hold(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    asked = watch(monkeypatch)
    machine = served.machines[served.new_machine()]
    raised(served, AlarmKind.MACHINE_UNREADABLE, machine, "[/red]db[bold]", "[/] torn")

    def said(*given: str) -> str:
        commands(list(given), exit_on_error=False, result_action="return_value")
        return capsys.readouterr().out

    told = said("alarm", "ls", "--subject", machine)
    assert all(word in told for word in ("since", "age", "[/red]db[bold]", "[/] torn", "0."))
    assert "haulback alarm ls" in said("dashboard")
    with Client(served.server.url, served.person) as client:
        [item] = client.alarms.all(subject=machine)
        assert '"bytes": 5' in said("alarm", "show", item.guid)
        with served.app.store.write() as sql:
            served.seen(sql).alarms.clear(AlarmKind.MACHINE_UNREADABLE, machine)
        with pytest.raises(NotFound, match="cleared"):
            client.alarms.get(item.guid)
    asked.close()


def test_the_status_shows_the_newest_alarms_and_the_command_for_the_rest(
    served: Served, said: Command
):
    project = f"status-{new_guid()}"
    tenant = user(served, "viewer", projects=[project])
    assert re.search(r"^alarms +none$", said("status", token=tenant), re.MULTILINE)
    machines = [served.machines[served.new_machine()] for _ in range(5)]
    for number, machine in enumerate(machines):
        in_project(served, machine, project)
        raised(served, AlarmKind.MACHINE_UNREADABLE, machine, f"db{number}", "the\ndisk is torn")
    lines = [line.split(maxsplit=1) for line in said("status", token=tenant).splitlines()]
    assert ["alarms", "5 open"] in lines
    shown = [how for head, how in lines if head == "alarm"]
    assert len(shown) == 4
    assert re.fullmatch(r"MACHINE_UNREADABLE db4, raised \d+\.\ds ago: the disk is torn", shown[0])
    assert [line.split()[1] for line in shown[:3]] == ["db4,", "db3,", "db2,"]
    assert shown[3] == "and 2 more: haulback alarm ls"
    facts = json.loads(said("status", "-o", "json", token=tenant))["alarms"]
    assert facts["total"] == len(facts["newest"]) == 5
    assert len(said("alarm", "ls", token=tenant).splitlines()) == 6
