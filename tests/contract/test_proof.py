"""Proofs are stored, signed, and shown to permitted users only."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.server.store import tables
from tests.contract.conftest import Served
from tests.contract.test_access import user
from tests.contract.test_transport import is_error

EVIDENCE = {"sign": "AGENT", "took": 4100, "disks": {"root": "ab"}, "console": "login:",
            "screenshot": "aGVsbG8="}  # fmt: skip


@pytest.fixture
def kvm(served: Served) -> str:
    nodes = served.call("GET", "/api/nodes").json()
    mine = next(one["guid"] for one in nodes if one["name"] == "n1")
    body = {"name": f"kvm-{served.new_machine()}", "url": "qemu:///system", "node": mine}
    return str(served.call("POST", "/api/hypervisors", body).json()["guid"])


def proved(served: Served, kvm: str, evidence: Any = EVIDENCE) -> str:
    backup = served.stored()
    body = {"backup": backup, "hypervisor": kvm}
    task = served.call("POST", "/api/tasks/prove", body).json()
    assert served.state(task["guid"], "RUNNING").status_code == 204
    said = served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", {"evidence": evidence})
    assert said.status_code == 204
    return backup if served.state(task["guid"], "FINISHED").status_code == 204 else ""


def level(served: Served, backup: str) -> str:
    return str(served.call("GET", f"/api/backups/{backup}").json()["level"]["name"])


def test_a_backup_rises_from_stored_to_booted(served: Served, kvm: str):
    backup = served.stored()
    assert level(served, backup) == "STORED"
    assert is_error(served.call("GET", f"/api/backups/{backup}/proof"), 404)
    backup = proved(served, kvm)
    assert level(served, backup) == "BOOTED"
    result = served.call("GET", f"/api/backups/{backup}/proof").json()
    evidence = json.loads(result["evidence"])
    assert result["valid"] is True
    assert evidence["backup"] == backup
    assert {k: evidence[k] for k in EVIDENCE} == EVIDENCE
    task = served.task(evidence["task"], "?extended=true")
    assert "evidence" not in task["transferInfo"]


def test_a_restore_that_read_everything_verifies(served: Served):
    backup = served.stored()
    body = {"backup": backup, "hypervisor": served.hypervisor["guid"]}
    task = served.call("POST", "/api/tasks/restore-and-import", body).json()
    served.run(task["guid"], {"checked": True})
    assert level(served, backup) == "STORED"  # a check of only the maps
    [follower] = served.task(task["guid"], "?extended=true")["followers"]
    served.run(follower["guid"], {"uuid": new_guid(), "name": "again"})
    assert level(served, backup) == "VERIFIED"


def test_evidence_that_was_changed_is_not_valid(served: Served, kvm: str):
    backup = proved(served, kvm)
    with served.app.store.write() as sql:
        table = tables.proof
        text = sql.scalar(sa.select(table.c.evidence).where(table.c.backup == backup))
        forged = str(text).replace("4100", "4101")
        sql.execute(sa.update(table).where(table.c.backup == backup).values(evidence=forged))
    assert served.call("GET", f"/api/backups/{backup}/proof").json()["valid"] is False


@pytest.mark.parametrize(
    "nonsense",
    [
        {**EVIDENCE, "sign": "HOPE"},
        {**EVIDENCE, "took": "long"},
        {"sign": "AGENT"},
        [],
        {**EVIDENCE, "console": "x" * 200_000},
    ],
)
def test_nonsense_proves_nothing(served: Served, kvm: str, nonsense: Any):
    assert proved(served, kvm, nonsense) == ""
    served.rest()


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"sign": "TEXT"}, "text"),
        ({"sign": "AGENT", "text": "login"}, "text"),
        ({"sign": "SCREEN", "script": "true"}, "script"),
        ({"timeout": 10}, "timeout"),
        ({"timeout": 10**9}, "timeout"),
        ({"sign": "MAYBE"}, "sign"),
    ],
)
def test_what_cannot_be_proved_is_refused(served: Served, kvm: str, more: Any, field: str):
    body = {"backup": served.stored(), "hypervisor": kvm, **more}
    answer = served.call("POST", "/api/tasks/prove", body)
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == field


def test_a_folder_of_images_boots_nothing(served: Served):
    answer = served.call("POST", "/api/tasks/prove", {"backup": served.stored()})
    assert is_error(answer, 400)
    assert "cannot boot" in answer.json()["message"]


def test_proofs_of_others_are_not_there(served: Served, kvm: str):
    backup = proved(served, kvm)
    token = user(served, "restore_operator", projects=["px"])
    assert is_error(served.call("GET", f"/api/backups/{backup}/proof", token=token), 404)
    body = {"backup": backup, "hypervisor": kvm}
    assert is_error(served.call("POST", "/api/tasks/prove", body, token=token), 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "qemu+tls://host/system"}, "url"),
        ({"url": "qemu+ssh://root@host/system?netcat=nc"}, "url"),
        ({"url": "qemu+ssh://-oProxyCommand=x/system"}, "url"),
        ({"url": "qemu:///system", "driver": "image-folder", "path": "/m"}, "url"),
        ({"driver": "vmware"}, "driver"),
        ({}, "path"),
        ({"url": "qemu:///system", "path": "images"}, "path"),
    ],
)
def test_a_hypervisor_that_cannot_be_is_refused(served: Served, body: Any, field: str):
    answer = served.call("POST", "/api/hypervisors", {"name": "x", **body})
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == field
