"""Reports and chargeback as portals ask for them."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from haulback.ids import new_guid
from haulback.inventory.records import Backup, Entity
from haulback.server.store import rows, tables
from tests.contract.conftest import Answer, Served
from tests.contract.portals import Portal, logged_in
from tests.contract.test_transport import is_error
from tests.receivers import mail_server

HOSTILE = (
    "<script>alert(1)</script>",
    "a&amp;b\"'<",
    "שלום-עולם",
    "evil\u202egnp.exe",
    "🚀 rocket",
    "数据库",
    "x" * 400,
    "{{ 7 * 7 }}",
)
F = {
    "groupBy": "virtual-machine",
    "backupDestinationGuids": [],
    "backupPolicyGuids": [],
    "hypervisorClusterGuids": [],
    "hypervisorGuids": [],
    "hypervisorManagerGuids": [],
    "projectGuids": [],
    "virtualMachineGuids": [],
}
LATER = 4_000_000_000_000  # no other test makes backups at this time
SPAN = f"from={LATER}&to={LATER + 1000}"


@pytest.fixture
def portal(served: Served) -> Any:
    served.rest()
    yield from logged_in(served)


@pytest.fixture(scope="module")
def made(served: Served) -> None:
    """A backup of each machine with a hostile name, and a failed backup."""
    hypervisor = served.hypervisor["guid"]
    machines = [
        Entity(guid=new_guid(), uuid=new_guid(), name=name, hypervisor=hypervisor)
        for name in HOSTILE
    ]
    with served.app.store.write() as sql:
        served.seen(sql).inventory.scanned(hypervisor, machines, complete_since=None)
        for at, machine in enumerate(machines):
            members: dict[str, Any] = {
                "status": "SUCCESS" if at else "FAILED",
                "status_info": "the disk\nis <b>full</b>",
            }
            backup = Backup(
                guid=new_guid(),
                entity=machine.guid,
                entity_name=machine.name,
                destination=served.destination["guid"],
                location=new_guid(),
                type="FULL",
                created=LATER + at,
                size=1024 * at,
                read=10,
                stored=5,
                **members,
            )
            rows.add(sql, tables.backup, backup)


def file(portal: Portal, form: str, **more: Any) -> Answer:
    body = {"backupSize": F, "transferSize": F, "value": "", **more}
    answer = portal.raw("POST", f"/dashboard/report-{form}?{SPAN}&protectedEntityType=VM", body)
    assert answer.is_success, answer.text
    assert answer.headers["content-disposition"].startswith('attachment; filename="backup-report-')
    return answer


@pytest.mark.usefixtures("made")
def test_the_report_counts_the_backups_of_its_span(portal: Portal):
    report = portal("GET", f"/dashboard/report?{SPAN}&protectedEntityType=VM")
    assert (report["from"], report["to"]) == (LATER, LATER + 1000)
    assert (report["backups"]["successful"], report["backups"]["failed"]) == (7, 1)
    assert report["backups"]["transferSize"] == 80
    [failed] = report["failures"]["rows"]
    assert failed["machine"] == HOSTILE[0]
    assert report["backupSize"]["total"] == sum(1024 * at for at in range(8))
    assert len(report["backupSize"]["groups"]) == 7
    nothing = portal("GET", f"/dashboard/report?{SPAN}&protectedEntityType=STORAGE")
    assert nothing["backups"]["successful"] == 0


@pytest.mark.usefixtures("made")
def test_a_page_shows_hostile_names_and_runs_none_of_them(portal: Portal):
    page = file(portal, "html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in page.text
    assert "<b>full" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "a&amp;amp;b&#34;&#39;&lt;" in page.text
    for shown in ("<bdi>שלום-עולם</bdi>", "evil\\u202egnp.exe", "🚀", "数据库", "x" * 400, "{{ 7"):
        assert shown in page.text


@pytest.mark.usefixtures("made")
def test_a_document_shows_hostile_names(portal: Portal):
    answer = file(portal, "pdf")
    assert answer.headers["content-type"] == "application/pdf"
    pages = PdfReader(io.BytesIO(answer.content)).pages
    text = "".join(page.extract_text() for page in pages)
    assert "<script>alert(1)</script>" in text
    for shown in ('a&amp;b"', "evil\\u202egnp.exe", "[U+1F680] rocket", "{{ 7 * 7 }}", "x" * 40):
        assert shown in text.replace("\n", " ")


@pytest.mark.usefixtures("made")
def test_a_text_has_one_line_for_each_machine(portal: Portal):
    answer = file(portal, "text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "the disk is <b>full</b>" in answer.text
    assert "\u202e" not in answer.text
    lines = answer.text.splitlines()
    assert (
        sum("KiB" in line for line in lines if not line.startswith(("Backup", "Total", "without")))
        == 7
    )


@pytest.mark.usefixtures("made")
def test_chargeback_answers_names_and_sizes(portal: Portal, served: Served):
    body = {**F, "groupBy": {"name": "backup-destination"}}
    rows = portal("POST", f"/chargeback-reporting/backup-size/vm?{SPAN}", body)
    assert rows == [
        {"name": "bd", "size": sum(1024 * at for at in range(8)), "guid": rows[0]["guid"]}
    ]
    moved = portal("POST", f"/chargeback-reporting/transfer-size/vm?{SPAN}", body)
    assert [row["size"] for row in moved] == [80]
    nobody = {**body, "virtualMachineGuids": [served.machines[0]]}
    assert portal("POST", f"/chargeback-reporting/backup-size/vm?{SPAN}", nobody) == []


@pytest.mark.parametrize(
    ("query", "body", "field"),
    [
        ("", {"backupSize": {**F, "groupBy": "colour"}}, "backupSize.groupBy"),
        ("", {"transferSize": {**F, "groupBy": "colour"}}, "transferSize.groupBy"),
        ("", {"backupSize": {"hypervisorGuids": ["x"]}}, "backupSize.hypervisorGuids[0]"),
        ("?from=2&to=1", {}, "from"),
        ("?from=-1", {}, "from"),
        ("?protectedEntityType=CAR", {}, "protectedEntityType"),
    ],
)
def test_a_report_that_cannot_be_is_refused_by_its_field(
    portal: Portal, query: str, body: Any, field: str
):
    for form in ("pdf", "html", "text"):
        answer = portal.raw("POST", f"/dashboard/report-{form}{query}", body)
        is_error(answer, 400)
        assert answer.json()["details"]["field"] == field


@pytest.mark.usefixtures("made")
def test_a_report_is_mailed_with_text_and_page(portal: Portal, tmp_path: Path):
    body = {"backupSize": F, "transferSize": F, "value": "x@example.org, y@example.org"}
    path = f"/dashboard/report-email?{SPAN}&protectedEntityType=VM"
    with mail_server(tmp_path) as box:
        channel = {
            "name": new_guid(),
            "type": "MAIL",
            "host": "127.0.0.1",
            "port": box.port,
            "security": "NONE",
            "sender": "haulback@example.org",
        }
        added = portal("POST", "/notification-channels", channel)
        sent = portal("POST", path, body)
        assert sent["recipients"] == ["x@example.org", "y@example.org"]
        for _ in range(200):
            if box.mails:
                break
            threading.Event().wait(0.05)
        [mail] = box.mails
        assert box.recipients == [["x@example.org", "y@example.org"]]
        assert {part.get_content_type() for part in mail.walk()} >= {"text/plain", "text/html"}
        answer = portal.raw("POST", path, {**body, "value": "x@example.org\nBcc: all@example.org"})
        is_error(answer, 400)
        assert answer.json()["details"]["field"] == "value"
        portal("DELETE", f"/notification-channels/{added['guid']}")
    is_error(portal.raw("POST", path, body), 409)
