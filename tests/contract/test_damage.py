"""Damage is a state of a backup: any task that finds damage sets it, lists show it, and no
increment builds on it.
"""

from __future__ import annotations

from typing import Any

import pytest

from haulback.ids import new_guid
from tests.contract.conftest import EXPORTED, Served
from tests.contract.test_access import user
from tests.contract.test_transport import is_error

DISK = {"name": "root", "bytes": 1 << 20}


def report(served: Served, **damage: Any) -> dict[str, Any]:
    return {"damage": {"destination": served.destination["guid"], **damage}}


def loss(backup: str) -> dict[str, Any]:
    return {"backup": backup, "disks": [DISK], "objects": ["packs/ab/abcd, group 12"]}


def verified(served: Served, damage: dict[str, Any]) -> None:
    """Run a VERIFY of the whole destination."""
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/verify", body).json()
    served.run(task["guid"], {"cursor": "", "isRound": True, **damage})


def shown(served: Served, backup: str) -> dict[str, Any]:
    return dict(served.call("GET", f"/api/backups/{backup}").json())


def alarms(served: Served, subject: str) -> list[str]:
    rows = served.call("GET", f"/api/alarms?subject={subject}").json()
    return sorted(row["kind"]["name"] for row in rows)


def failed_restore(served: Served, backup: str, damage: dict[str, Any]) -> dict[str, Any]:
    """A RESTORE that found damage."""
    nodes = served.call("GET", "/api/nodes").json()
    node = next(item["guid"] for item in nodes if item["name"] == "n1")
    body = {"backup": backup, "node": {"guid": node}, "restorePath": "/srv/r"}
    task = served.call("POST", "/api/tasks/restore", body).json()
    served.order(task["guid"])
    answer = served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", damage)
    assert answer.status_code == 204, answer.text
    state = {"state": "FAILED", "statusInfo": "chunk 12 is not what was stored"}
    assert served.state(task["guid"], state).status_code == 204
    return served.task(task["guid"])


def test_a_failed_restore_leaves_the_backup_damaged_shown_alarmed_and_no_base(served: Served):
    backup = served.stored()
    failed_restore(served, backup, report(served, losses=[loss(backup)], objects=["packs/ab/abcd"]))
    result = shown(served, backup)
    [place] = result["backupLocations"]
    assert place["status"]["name"] == "DAMAGED"
    assert (result["status"]["name"], result["level"]["name"]) == ("PARTIAL_SUCCESS", "DAMAGED")
    assert "root lacks 1 MiB" in result["statusInfo"]
    assert result["warningsPresent"]
    assert "packs/ab/abcd" in result["warnings"][0]
    assert place["damage"]["disks"] == [DISK]
    assert place["damage"]["foundBy"].startswith("RESTORE ")
    assert place["damage"]["since"]
    assert alarms(served, backup) == ["BACKUP_DAMAGED"]
    assert "REPOSITORY_DAMAGED" in alarms(served, served.destination["guid"])
    where = f"/api/backup-locations?backup-destination={served.destination['guid']}&size=1000"
    listed = served.call("GET", f"{where}&location-status=DAMAGED").json()
    assert backup in [item["backup"]["guid"] for item in listed]
    good = served.call("GET", "/api/backups?status=SUCCESS&size=1000").json()
    assert backup not in [item["guid"] for item in good]
    partial = served.call("GET", "/api/backups?status=PARTIAL_SUCCESS&size=1000").json()
    assert backup in [item["guid"] for item in partial]
    task = served.export(backupType="INCREMENTAL")
    assert served.order(task["guid"])["base"] is None
    verified(served, report(served, complete=True))
    served.rest()


def test_a_complete_verify_clears_repaired_damage_and_keeps_the_age_of_the_rest(
    served: Served,
):
    first, second = served.stored(), served.stored()
    verified(served, report(served, losses=[loss(first), loss(second)], complete=True))
    since = shown(served, first)["backupLocations"][0]["damage"]["since"]
    verified(served, report(served, losses=[loss(first)], complete=True))
    places = [shown(served, item)["backupLocations"][0] for item in (first, second)]
    assert [place["status"]["name"] for place in places] == ["DAMAGED", "PRESENT"]
    assert places[0]["damage"]["since"] == since
    assert alarms(served, second) == []
    assert shown(served, second)["status"]["name"] == "SUCCESS"
    verified(served, report(served, complete=True))
    assert alarms(served, first) == alarms(served, served.destination["guid"]) == []


def test_an_incomplete_report_clears_nothing(served: Served):
    backup = served.stored()
    verified(served, report(served, losses=[loss(backup)], complete=True))
    failed_restore(served, served.stored(), report(served, objects=["packs/cd/cdef"]))
    assert shown(served, backup)["backupLocations"][0]["status"]["name"] == "DAMAGED"
    verified(served, report(served, complete=True))


def test_a_store_that_doubts_marks_nothing_and_raises_an_alarm(served: Served):
    backup = served.stored()
    why = "40 of 60 packs cannot be read, all at once"
    found = report(served, losses=[loss(backup)], missing=[backup], unreliable=why)
    failed_restore(served, backup, found)
    assert shown(served, backup)["status"]["name"] == "SUCCESS"
    assert "DESTINATION_UNRELIABLE" in alarms(served, served.destination["guid"])
    verified(served, report(served, complete=True))
    assert alarms(served, served.destination["guid"]) == []


def test_a_blocked_clean_up_is_an_alarm_until_a_person_confirms_the_loss(served: Served):
    backup = served.stored()
    served.cleaned({"missing": [backup]})
    result = shown(served, backup)
    assert result["backupLocations"][0]["status"]["name"] == "MISSING"
    assert (result["status"]["name"], result["iscsiMountable"]) == ("FAILED", False)
    assert alarms(served, backup) == ["BACKUP_MISSING"]
    [blocked] = served.call("GET", "/api/alarms?kind=CLEANUP_BLOCKED").json()
    assert blocked["details"]["bytesWaiting"] >= 0
    assert blocked["since"]
    body = {"mode": "AUTO", "backup": backup}
    assert is_error(served.call("POST", "/api/tasks/restore-and-mount", body), 409)
    path = f"/api/backups/{backup}/confirm-missing"
    assert is_error(served.call("POST", path, token=user(served, "operator")), 403)
    assert served.call("POST", path).status_code == 204
    assert served.call("POST", path).status_code == 204, "twice is fine"
    assert alarms(served, backup) == []
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/remove-old-backups", body).json()
    order = served.order(task["guid"])
    assert backup in order["given_up"]
    expected = served.as_node("GET", f"/api/nodes/self/expected/{task['guid']}").json()
    assert backup not in expected
    served.finish(task["guid"], {"removed": [], "givenUp": [backup]})
    result = shown(served, backup)
    assert result["status"]["name"] == "SUCCESS_REMOVED"
    assert result["backupLocations"][0]["status"]["name"] == "REMOVED"
    assert served.call("GET", "/api/alarms?kind=CLEANUP_BLOCKED").json() == []
    said = served.call("GET", f"/api/audit-log?subject={backup}").json()
    assert "confirm missing backup" in [item["operation"] for item in said]


def test_a_clean_up_that_finds_everything_again_calls_it_present(served: Served):
    backup = served.stored()
    served.cleaned({"missing": [backup]})
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/remove-old-backups", body).json()
    served.order(task["guid"])
    expected = served.as_node("GET", f"/api/nodes/self/expected/{task['guid']}").json()
    assert backup in expected, "what is missing has to be found, until its loss is confirmed"
    served.finish(task["guid"], {"removed": []})
    assert shown(served, backup)["status"]["name"] == "SUCCESS"
    assert alarms(served, backup) == []


def test_the_set_to_find_is_fixed_when_the_clean_up_is_taken_and_comes_in_pages(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("haulback.server.services.node_tasks._EXPECTED", 2)
    before = {served.stored() for _ in range(3)}
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/remove-old-backups", body).json()
    served.order(task["guid"])
    later = served.stored(1)
    result: list[str] = []
    path = f"/api/nodes/self/expected/{task['guid']}"
    while page := served.as_node("GET", f"{path}?after={result[-1]}" if result else path).json():
        assert len(page) <= 2
        result += page
    assert before <= set(result)
    assert later not in result
    assert is_error(served.call("GET", path), 403)
    served.finish(task["guid"], {"removed": []})


@pytest.mark.parametrize(
    "damage",
    [
        "x",
        {"destination": "x"},
        {"losses": 5},
        {"losses": [{"backup": "x"}]},
        {"missing": ["x\0"]},
        {"objects": ["x" * 5000]},
        {"losses": [{"backup": new_guid(), "disks": [{"name": "a", "bytes": -1}]}]},
    ],
)
def test_a_report_that_cannot_be_read_is_refused(served: Served, damage: Any):
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/verify", body).json()
    served.order(task["guid"])
    if isinstance(damage, dict):
        damage = {"destination": served.destination["guid"], **damage}
    path = f"/api/tasks/{task['guid']}/transfer-info"
    served.as_node("PUT", path, {"cursor": "", "isRound": True, "damage": damage})
    assert is_error(served.state(task["guid"], "FINISHED"), 400)
    served.rest()


def test_a_task_cannot_report_on_a_destination_that_is_not_its_own(served: Served):
    backup = served.stored()
    other = {"damage": {"destination": new_guid(), "losses": [loss(backup)], "complete": True}}
    verified(served, other)
    assert shown(served, backup)["status"]["name"] == "SUCCESS"


def test_nobody_confirms_the_loss_of_what_is_there(served: Served):
    backup = served.stored()
    assert is_error(served.call("POST", f"/api/backups/{backup}/confirm-missing"), 409)
    assert is_error(served.call("POST", f"/api/backups/{new_guid()}/confirm-missing"), 404)


def test_a_damaged_backup_is_not_the_last_good_one(served: Served):
    """Retention by count keeps the last good backups; the damaged backup does not count."""
    machine = served.new_machine()
    good, damaged, newest = (served.stored(machine) for _ in range(3))
    verified(served, report(served, losses=[loss(damaged), loss(newest)], complete=True))
    path = f"/api/backup-destinations/{served.destination['guid']}"
    changed = served.call("PUT", path, {"retention": {"keepLastNFull": 1}})
    assert changed.status_code < 300, changed.text
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/remove-old-backups", body).json()
    going = served.order(task["guid"])["backups"]
    assert good not in going
    served.finish(task["guid"], {"removed": going})
    served.call("PUT", path, {"retention": {}})
    verified(served, report(served, complete=True))


def test_a_node_of_the_first_release_gets_no_work_that_writes_a_repository(served: Served):
    token = served.call("POST", "/api/nodes/enrolment").json()["token"]
    body = {"token": token, "name": f"old-{new_guid()}"}
    identity = served.call("POST", "/api/nodes/enrol", body, token=None).json()
    session = {**identity, "version": "0.1.0"}
    old = served.call("POST", "/api/nodes/session", session, token=None).json()["token"]
    task = served.export()
    clean = {"backupDestinations": [served.destination["guid"]]}
    [clean_up] = served.call("POST", "/api/tasks/remove-old-backups", clean).json()
    for guid in (task["guid"], clean_up["guid"]):
        assert is_error(served.call("PUT", f"/api/tasks/{guid}/state", "RUNNING", token=old), 409)
    offered = served.call("GET", "/api/tasks/queued", token=old).json()
    assert not {item["type"]["name"] for item in offered} & {"EXPORT", "STORE", "BACKUP_CLEANUP"}
    new = served.call("POST", "/api/nodes/session", {**session, "revision": 2}, token=None)
    assert new.status_code == 201
    served.rest()


def test_a_bounded_verify_goes_on_where_the_last_one_stopped(served: Served):
    pack = "ab" * 16
    body = {"backupDestinations": [served.destination["guid"]], "bytes": 1}
    [task] = served.call("POST", "/api/tasks/verify", body).json()
    assert served.order(task["guid"])["cursor"] == ""
    served.finish(task["guid"], {"cursor": pack, "isRound": False})
    [task] = served.call("POST", "/api/tasks/verify", body).json()
    assert served.order(task["guid"])["cursor"] == pack
    served.finish(task["guid"], {"cursor": "ff" * 16, "isRound": True})
    path = f"/api/backup-destinations/{served.destination['guid']}"
    assert served.call("GET", path).json()["verifiedTime"]
    [task] = served.call("POST", "/api/tasks/verify", body).json()
    assert served.order(task["guid"])["cursor"] == ""
    bad = {"cursor": "zz", "isRound": False}
    assert served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", bad).status_code == 204
    assert is_error(served.state(task["guid"], "FINISHED"), 400)
    served.rest()


def test_a_verify_whose_time_is_over_goes_on_with_the_backups_that_it_left(served: Served):
    body = {"backupDestinations": [served.destination["guid"]], "seconds": 1}
    left = new_guid()
    for looked, then in ((left, left), ("", "")):
        [task] = served.call("POST", "/api/tasks/verify", body).json()
        served.order(task["guid"])
        served.finish(task["guid"], {"cursor": "ab" * 16, "isRound": False, "looked": looked})
        [task] = served.call("POST", "/api/tasks/verify", body).json()
        assert served.order(task["guid"])["looked"] == then
        served.finish(
            task["guid"], {"cursor": "", "isRound": True}
        )  # a node that does not send this member
    [task] = served.call("POST", "/api/tasks/verify", body).json()
    served.order(task["guid"])
    bad = {"cursor": "", "isRound": True, "looked": "x" * 500}
    assert served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", bad).status_code == 204
    assert is_error(served.state(task["guid"], "FINISHED"), 400)
    served.rest()


def test_a_whole_round_verifies_the_backups_that_were_there_before_it(served: Served):
    before = served.stored()
    assert shown(served, before)["level"]["name"] == "STORED"
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/verify", body).json()
    served.order(task["guid"])
    during = served.stored(1)
    damaged = served.stored()
    result = report(served, losses=[loss(damaged)], complete=True)
    served.finish(task["guid"], {"cursor": "", "isRound": True, **result})
    levels = [shown(served, item)["level"]["name"] for item in (before, during, damaged)]
    assert levels == ["VERIFIED", "STORED", "DAMAGED"]
    verified(served, report(served, complete=True))


def test_verification_by_itself_is_a_setting_of_the_destination(served: Served):
    path = f"/api/backup-destinations/{served.destination['guid']}"
    usual = {"active": True, "days": 30, "seconds": 14_400}
    served.call("PUT", path, {"verification": usual})
    assert served.call("GET", path).json()["verification"] == usual
    wanted = {"active": False, "days": 7, "seconds": 600}
    assert served.call("PUT", path, {"verification": wanted}).status_code < 300
    assert served.call("GET", path).json()["verification"] == wanted
    for wrong in ({"days": 0}, {"seconds": 1}, {"days": "x"}):
        assert is_error(served.call("PUT", path, {"verification": wrong}), 400)
    served.call("PUT", path, {"verification": usual})


def test_wrong_bounds_of_a_verify_are_refused_by_name(served: Served):
    for more, field in (({"bytes": 0}, "bytes"), ({"seconds": 0}, "seconds")):
        body = {"backupDestinations": [served.destination["guid"]], **more}
        answer = served.call("POST", "/api/tasks/verify", body)
        assert is_error(answer, 400)
        assert answer.json()["details"]["field"] == field


def test_exports_report_damage_whatever_becomes_of_them(served: Served):
    """A retried export is not settled, but the damage that it reports still counts."""
    backup = served.stored()
    task = served.export(retryCount=2)
    served.order(task["guid"])
    result = report(served, losses=[loss(backup)], objects=["packs/ab/abcd"])
    path = f"/api/tasks/{task['guid']}/transfer-info"
    assert served.as_node("PUT", path, result).status_code == 204
    assert served.state(task["guid"], "FAILED").status_code == 204
    assert shown(served, backup)["backupLocations"][0]["status"]["name"] == "DAMAGED"
    served.rest()
    verified(served, report(served, complete=True))
    assert EXPORTED["type"] == "FULL"
