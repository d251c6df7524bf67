"""The preview of a rule's retention shows what the clean-up then does, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from haulback.cli.main import app as commands
from haulback.ids import new_guid
from tests.contract.conftest import Served
from tests.contract.portals import Portal, logged_in
from tests.contract.scene import watch
from tests.contract.test_transport import is_error

PATH = "/retention/preview"


@pytest.fixture
def portal(served: Served) -> Any:
    yield from logged_in(served)
    served.rest()


def target_of(served: Served, **settings: Any) -> dict[str, Any]:
    return {
        "roleType": {"name": "PRIMARY"},
        "backupDestination": served.destination,
        "backupRetentionSettings": settings,
    }


def rule_of(served: Served, portal: Portal, **settings: Any) -> dict[str, Any]:
    body = {"name": new_guid(), "ruleBackupDestinations": [target_of(served, **settings)]}
    return dict(portal("POST", "/rules/vm-backup", body))


def test_a_preview_equals_the_clean_up(served: Served, portal: Portal):
    rule, machine = rule_of(served, portal), served.new_machine()
    made = [served.stored(machine, rules=[{"guid": rule["guid"]}]) for _ in range(3)]
    rule["ruleBackupDestinations"] = [target_of(served, retentionKeepLastNFull="1")]
    shown = portal("POST", PATH, {"rule": rule})
    fates = {row["backup"]["guid"]: row["goes"] for row in shown["backups"]}
    assert fates == {made[0]: True, made[1]: True, made[2]: False}
    assert (shown["stay"], shown["go"]) == (1, 2)
    assert shown["sizeReturned"] == sum(row["size"] for row in shown["backups"] if row["goes"])
    reasons = {row["backup"]["guid"]: row["reason"]["name"] for row in shown["backups"]}
    assert reasons == {made[0]: "COUNT", made[1]: "COUNT", made[2]: "WITHIN_LIMITS"}
    portal("PUT", f"/rules/vm-backup/{rule['guid']}", rule)
    body = {"backupDestinations": [served.destination["guid"]]}
    [task] = served.call("POST", "/api/tasks/remove-old-backups", body).json()
    going = served.order(task["guid"])["backups"]
    served.finish(task["guid"], {"removed": going})
    shown = {guid: served.call("GET", f"/api/backups/{guid}").json() for guid in made}
    statuses = {guid: backup["status"]["name"] for guid, backup in shown.items()}
    assert statuses == {
        guid: "SUCCESS_REMOVED" if goes else "SUCCESS" for guid, goes in fates.items()
    }


def test_a_drafted_change_of_a_saved_rule_is_previewed(served: Served, portal: Portal):
    rule, machine = rule_of(served, portal), served.new_machine()
    made = [served.stored(machine, rules=[{"guid": rule["guid"]}]) for _ in range(2)]
    assert portal("POST", PATH, {"rule": rule["guid"]})["go"] == 0
    draft = {**rule, "ruleBackupDestinations": [target_of(served, retentionKeepLastNFull=1)]}
    shown = portal("POST", PATH, {"rule": draft})
    assert [row["backup"]["guid"] for row in shown["backups"] if row["goes"]] == [made[0]]
    assert portal("POST", PATH, {"rule": {"guid": rule["guid"]}})["go"] == 0


def test_a_new_rule_is_previewed_for_machines(served: Served, portal: Portal):
    machine = served.new_machine()
    made = [served.stored(machine) for _ in range(2)]
    rule = {"name": "new", "ruleBackupDestinations": [target_of(served, keepDaily=1)]}
    body = {"rule": rule, "protectedEntities": [served.machines[machine]]}
    shown = portal("POST", PATH, body)
    assert {row["backup"]["guid"] for row in shown["backups"]} == {*made}
    assert [row["backup"]["guid"] for row in shown["backups"] if row["goes"]] == [made[0]]
    assert is_error(portal.raw("POST", PATH, {"rule": rule}), 400)


def test_an_array_of_locations_is_previewed_as_marks(served: Served, portal: Portal):
    backup = served.stored(served.new_machine())
    [place] = portal("GET", f"/backup-locations?backup={backup}")
    body = [{**place, "retentionHint": {"name": "TO_REMOVE"}}]
    marked = portal("POST", "/retention/mark-backups/preview", body)
    assert portal("POST", PATH, body) == marked


@pytest.mark.parametrize(
    "settings",
    [
        {"retentionKeepLastNFull": 0},
        {"retentionKeepFullNewerThan": "0"},
        {"keepOthers": False},
        {"keepDaily": -1},
        {"keepYearly": 40_000},
        {"timeZone": "Europe/Nowhere", "keepDaily": 1},
        {"retentionKeepLastNFull": 10_000_000},
    ],
)
def test_retention_that_keeps_nothing_is_refused(served: Served, portal: Portal, settings: Any):
    body = {"name": new_guid(), "ruleBackupDestinations": [target_of(served, **settings)]}
    for path, sent in (("/rules/vm-backup", body), (PATH, {"rule": body, "protectedEntities": []})):
        answer = portal.raw("POST", path, sent)
        assert is_error(answer, 400), answer.text
        assert "backupRetentionSettings." in answer.text


def test_a_rule_that_gives_up_the_last_good_backup_warns(served: Served, portal: Portal):
    risky = rule_of(served, portal, keepLastBackupWhenSourceStillExists=False, keepDaily=1)
    assert any("last good backup" in text for text in risky["warnings"])
    assert portal("POST", PATH, {"rule": risky})["warnings"] == risky["warnings"]


def test_an_unknown_rule_is_not_found(served: Served, portal: Portal):
    for rule in (new_guid(), {"guid": new_guid()}):
        assert is_error(portal.raw("POST", PATH, {"rule": rule}), 404)
    for rule in (None, "x", {"guid": 5}, []):
        assert is_error(portal.raw("POST", PATH, {"rule": rule}), 400)
    assert is_error(portal.raw("POST", "/retention/confirm", {"rules": [new_guid()]}), 404)


@pytest.mark.parametrize("answer", ["-y", "--dry-run"])
def test_a_mark_that_removes_nothing_is_told_with_the_reason(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: str,
):
    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    machine = served.new_machine()
    older, newest = (served.stored(machine) for _ in range(2))
    line = ["backup", "mark", "remove", older, newest, answer]
    asked = watch(monkeypatch)
    commands(line, exit_on_error=False, result_action="return_value")
    asked.close()
    kept = [row for row in capsys.readouterr().out.splitlines() if "clean-up keeps" in row]
    assert len(kept) == 1
    assert newest in kept[0]
    assert kept[0].endswith("the last good backup of a machine that exists")
