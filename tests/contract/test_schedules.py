"""Schedules over HTTP: their times, pause, run and fires, the forecast, and system schedules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from haulback.contract.system_schedules import SystemTask
from haulback.ids import new_guid
from haulback.server.services import maintenance, system_schedules
from tests.contract.conftest import Served
from tests.contract.portals import Portal, logged_in
from tests.contract.test_transport import is_error

HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def portal(served: Served) -> Iterator[Portal]:
    yield from logged_in(served)
    served.rest()


def scheduled(served: Served, portal: Portal, **more: Any) -> Any:
    """A schedule, as a portal sends it, with the rule of a policy of one machine."""
    policy = portal("POST", "/policies/vm-backup", {
        "name": new_guid(), "vms": [{"guid": served.machines[0]}],
        "rules": [{"ruleBackupDestinations": [{"backupDestination": served.destination}]}],
    })  # fmt: skip
    body = {
        "name": new_guid(), "type": {"name": "VM_BACKUP"}, "active": True, "hour": str(22 * HOUR),
        "interval": None, "executionType": {"name": "TIME"}, "rules": policy["rules"], **more,
    }  # fmt: skip
    return portal("POST", "/schedules", body)


def test_a_schedule_shows_its_next_run_and_keeps_it_while_it_is_not_changed(served, portal):
    made = scheduled(served, portal)
    now = served.app.clock.now_ms()
    assert now < made["nextRun"] <= now + DAY
    assert made["nextRun"] % DAY == 22 * HOUR
    assert (made["paused"], "lastRun" in made) == (False, False)
    path = f"/schedules/{made['guid']}"
    other = portal("PUT", path, {**made, "hour": 21 * HOUR, "timeZone": "Europe/Berlin"})
    assert other["nextRun"] != made["nextRun"]


def test_a_paused_schedule_has_no_next_run_and_is_resumed_with_all_others(served, portal):
    made = scheduled(served, portal)
    path = f"/schedules/{made['guid']}"
    assert portal.raw("POST", f"{path}/pause").status_code == 204
    shown = portal("GET", path)
    assert (shown["paused"], "nextRun" in shown) == (True, False)
    assert portal("GET", f"{path}/fires")["next"] == []
    answer = portal("POST", "/schedules/resume")
    assert made["guid"] in {one["guid"] for one in answer["resumed"]}
    assert portal("GET", path)["nextRun"] == made["nextRun"]


def test_a_schedule_runs_at_once_and_its_fire_and_tasks_name_it(served, portal):
    made = scheduled(served, portal)
    path = f"/schedules/{made['guid']}"
    fire = portal("POST", f"{path}/run")
    assert (fire["manual"], fire["schedule"]["guid"]) == (True, made["guid"])
    maintenance.tick(served.app)
    shown = portal("GET", f"{path}/fires?past=5&next=3")
    assert [entry["guid"] for entry in shown["past"]] == [fire["guid"]]
    assert shown["past"][0]["workflows"] == 1
    assert [entry["due"] for entry in shown["next"]] == [
        made["nextRun"] + n * DAY for n in range(3)
    ]
    [task] = portal("GET", f"/tasks?schedule={made['guid']}")
    assert (task["type"]["name"], task["originEntity"]["type"]["name"]) == ("EXPORT", "SCHEDULE")
    assert portal("GET", path)["lastRun"] == fire["created"]
    portal("PUT", path, {**made, "active": False})
    assert is_error(portal.raw("POST", f"{path}/run"), 409)


def test_the_forecast_lists_what_runs_when(served, portal):
    made = scheduled(served, portal)
    rows = portal("GET", "/forecast?days=7&size=10000")
    of_it = [row["due"] for row in rows if row["schedule"]["guid"] == made["guid"]]
    assert of_it == [made["nextRun"] + n * DAY for n in range(7)]
    assert [row["due"] for row in rows] == sorted(row["due"] for row in rows)
    cut = portal.raw("GET", "/forecast?size=1")
    assert len(cut.json()) == 1
    assert "X-Incomplete" in cut.headers


def test_own_work_is_seen_and_changed_as_system_schedules(served, portal):
    system_schedules.ensure(served.app)
    listed = {row["guid"]: row for row in portal("GET", "/system-schedules?size=1000")}
    rows = {task.value: listed[system_schedules.guid_of(task)] for task in SystemTask}
    assert all(row["task"]["name"] == name for name, row in rows.items())
    verify = rows["VERIFY"]
    path = f"/system-schedules/{verify['guid']}"
    later = portal("PUT", path, {**verify, "hour": 5 * HOUR, "timeZone": "Europe/Berlin"})
    assert (later["hour"], later["timeZone"]) == (5 * HOUR, "Europe/Berlin")
    assert portal("PUT", path, verify)["nextRun"] == verify["nextRun"]
    assert is_error(portal.raw("PUT", path, {**verify, "atOnce": 3}), 400)
    assert portal.raw("POST", f"{path}/pause").status_code == 204
    assert portal("GET", path)["paused"] is True
    assert portal.raw("POST", f"{path}/resume").status_code == 204
    fire = portal("POST", f"/system-schedules/{rows['TIDY']['guid']}/run")
    assert fire["state"]["name"] == "PLANNING"
    assert portal.raw("DELETE", path).status_code == 405
