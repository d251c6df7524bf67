"""Every 400 and 404 names the field, the value and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.ids import new_guid
from tests.contract.conftest import Served
from tests.contract.test_transport import is_error

GONE = "9e3c8a52-7a57-4b5b-9e9b-0b1a4a6a2f10"
WRONG: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/tasks/export", {"protectedEntities": [GONE]}, 404, "protectedEntities[0]"),
    ("POST", "/tasks/export", {"protectedEntities": [{"guid": GONE}]}, 404, "protectedEntities[0]"),
    ("POST", "/tasks/export", {}, 400, "protectedEntities"),
    ("POST", "/tasks/export", b"", 400, "body"),
    ("POST", "/tasks/export", b"{", 400, "body"),
    ("POST", "/tasks/restore", {"backup": GONE, "node": GONE, "restorePath": "/x"}, 404, "backup"),
    ("POST", "/tasks/restore-and-mount", {"mode": "AUTO", "backup": {"guid": GONE}}, 404, "backup"),
    ("POST", "/tasks/mount", {"mountedBackup": {"guid": GONE}}, 404, "mountedBackup"),
    ("POST", "/tasks/unmount", {"mountedBackup": GONE}, 404, "mountedBackup"),
    ("POST", "/tasks/revert", {"snapshot": GONE}, 404, "snapshot"),
    (
        "POST",
        "/tasks/remove-old-backups",
        {"backupDestinations": [GONE]},
        404,
        "backupDestinations[0]",
    ),
    ("POST", "/tasks/inventory-sync", {"hypervisors": [{"guid": GONE}]}, 404, "hypervisors[0]"),
    ("POST", f"/tasks/{GONE}", None, 404, "guid"),
    ("GET", f"/tasks/{GONE}", None, 404, "guid"),
    ("GET", "/tasks/nonsense", None, 404, "guid"),
    ("GET", f"/backups/{GONE}", None, 404, "guid"),
    ("GET", "/no-such-thing", None, 404, "path"),
    ("GET", "/tasks?state=BROKEN", None, 400, "state"),
    ("GET", "/tasks?size=x", None, 400, "size"),
    ("GET", "/tasks?orderBy=nothing", None, 400, "orderBy"),
    ("GET", f"/backup-files?backup={GONE}", None, 404, "backup"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "field"), WRONG)
def test_an_error_names_the_field(
    served: Served, method: str, path: str, body: Any, status: int, field: str
):
    answer = served.call(method, f"/api{path}", body)
    assert is_error(answer, status), answer.text
    assert answer.json()["details"]["field"] == field, answer.text
    assert answer.json()["message"]


def test_a_type_that_is_not_served_is_not_said_to_be_made_elsewhere(served: Served):
    for kind in ("SYNCHRONIZATION", "SYNTHETIC"):
        body = {"protectedEntities": served.machines[:1], "backupType": kind}
        said = served.call("POST", "/api/tasks/export", body).json()
        assert said["details"]["field"] == "backupType"
        assert kind in said["message"]
        assert "FULL" in said["message"]
        assert "their own tasks" not in said["message"]


def test_an_import_that_is_not_served_is_told_from_the_one_that_is(served: Served):
    body = {"backup": served.stored(), "restorePath": "/"}
    for path in ("import-for-cloud", "import-for-cloud/per-feature", "import-for-os-agent"):
        said = served.call("POST", f"/api/tasks/{path}", body).json()
        assert said["status"] == 409
        assert path in said["message"]
        assert "restore-and-import" in said["message"]


def test_a_rule_without_a_primary_destination_says_so(served: Served):
    place = {"roleType": "SECONDARY", "backupDestination": served.destination["guid"]}
    policy = served.call("POST", "/api/policies/vm-backup", {"name": new_guid()}).json()["guid"]
    rule = {"name": new_guid(), "policy": policy, "ruleBackupDestinations": [place]}
    made = served.call("POST", "/api/rules/vm-backup", rule)
    if made.status_code == 400:  # refused when the record is written
        assert "PRIMARY" in made.json()["message"]
        return
    body = {"protectedEntities": served.machines[:1], "rules": [made.json()["guid"]]}
    said = served.call("POST", "/api/tasks/export", body).json()
    assert (said["status"], said["details"]["field"]) == (400, "rules")
    assert "PRIMARY" in said["message"]
