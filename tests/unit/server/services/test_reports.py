"""The figures of reports, on both databases, and the formats in which users read them."""

from __future__ import annotations

import io
import subprocess
import sys

import msgspec
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from haulback.contract.events import Event, EventKind
from haulback.contract.reports import (
    BackupCounts,
    FailedBackup,
    FailedBackups,
    GroupSize,
    LateMachines,
    MachineCounts,
    PolicyReport,
    Report,
    SizeFilter,
    SizeTable,
)
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import (
    protection,
    report_document,
    report_pages,
    report_pdf,
    reports,
)
from haulback.server.services.reports import WantedReport
from haulback.server.store import events, tables
from haulback.wire import label
from tests.unit.server.conftest import START, House
from tests.unit.server.services.reported import DAY, backup, policy

ALL = SizeFilter()


def report(house: House, scope: Scope = EVERYTHING) -> Report:
    span = reports.span(house.app, None, None)
    return reports.report(house.app, scope, WantedReport(span, ALL, ALL))


def protect(house: House, **states: str) -> None:
    """Set the protection of machines by name, after the server has judged all changes."""
    protection.before_answer(house.app)
    with house.app.store.write() as sql:
        for name, state in states.items():
            machine = sa.update(tables.entity).where(tables.entity.c.name == name)
            sql.execute(machine.values(protection=state, protection_due=START + DAY))


def test_each_machine_and_each_backup_is_counted_once(house: House):
    db, mail, web = house.entities
    gold, gold_rule = policy(house, "gold", db, mail)
    policy(house, "silver")
    protect(house, db="PROTECTED", mail="NEVER", web="UNASSIGNED")
    backup(house, db, rule=gold_rule.guid)
    backup(house, db, rule=gold_rule.guid, status="SUCCESS_REMOVED")
    backup(house, mail, rule=gold_rule.guid, status="FAILED", size=0, status_info="no space")
    backup(house, web, status="INPROGRESS", size=0, read=0, stored=0)
    backup(house, db, rule=gold_rule.guid, ago=DAY + 1)
    made = report(house)
    assert made.machines == MachineCounts(machines=3, protected=1, never=1, unassigned=1)
    assert made.backups == BackupCounts(
        successful=1,
        failed=1,
        inProgress=1,
        removed=1,
        backupSize=200,
        transferSize=180,
        storedSize=60,
    )
    rows = {row.name: row for row in made.policies}
    assert list(rows) == ["gold", "silver", "without policy"], "trouble comes first"
    assert rows["gold"].machines == MachineCounts(machines=2, protected=1, never=1)
    assert rows["gold"].guid == gold.guid
    assert rows["without policy"].backups.inProgress == 1
    [failed] = made.failures.rows
    assert (failed.machine, failed.reason, failed.policy) == ("mail", "no space", "gold")
    [late] = made.late.rows
    assert (late.machine, late.state, late.lastBackup) == ("mail", "NEVER", None)


def test_runs_are_counted_by_policy(house: House):
    gold, _ = policy(house, "gold")
    with house.app.store.write() as sql:
        for ago in (0, 5, 2 * DAY):
            event = Event(
                kind=EventKind.RUN_ENDED,
                time=START - ago,
                subject=gold.guid,
                subject_name="gold",
                text="gold",
            )
            events.add(sql, event)
    [row] = report(house).policies
    assert (row.name, row.runs) == ("gold", 2)


def test_a_policy_report_tells_of_its_own_machines_only(house: House):
    db, mail, _ = house.entities
    gold, gold_rule = policy(house, "gold", db)
    _, other = policy(house, "silver", mail)
    backup(house, db, rule=gold_rule.guid)
    backup(house, mail, rule=other.guid, status="FAILED", size=0)
    wanted = reports.of_policy(gold, reports.span(house.app, None, None))
    made = reports.report(house.app, EVERYTHING, wanted)
    assert (made.title, made.backups.successful, made.backups.failed) == ("gold", 1, 0)
    assert made.machines.machines == 1
    assert [group.name for group in made.backupSize.groups] == ["db"]
    assert made.failures.total == 0


def test_a_tenant_reads_the_own_machines_and_backups(house: House):
    db, mail, _ = house.entities
    backup(house, db, project="red")
    backup(house, mail, project="blue", status="FAILED")
    made = report(house, Scope(frozenset({"red"})))
    assert (made.backups.successful, made.backups.failed, made.machines.machines) == (1, 0, 0)


def test_reports_take_memory_of_an_idle_server_when_they_are_made_only():
    code = (
        "import sys, haulback.server.main\n"
        "print([m for m in ('jinja2', 'reportlab', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def of(*names: str) -> Report:
    """A report about machines of these names."""
    rows = [FailedBackup(machine=name, time=START, reason=name) for name in names]
    table = SizeTable(
        groupBy=label("VIRTUAL_MACHINE"),
        total=0,
        groups=[GroupSize(name=name, size=1) for name in names],
    )
    return Report(
        start=START - DAY,
        end=START,
        generated=START,
        timeZone="Europe/Berlin",
        protectedEntityType=label("VM"),
        title=names[0],
        machines=MachineCounts(machines=1),
        backups=BackupCounts(failed=len(names)),
        policies=[],
        failures=FailedBackups(total=len(names), rows=rows),
        late=LateMachines(total=0, rows=[]),
        backupSize=table,
        transferSize=table,
    )


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=400).filter(str.strip))
def test_no_name_breaks_a_form(name: str):
    document = report_document.document(of(name, "other"))
    text, page = report_pages.text_page(document), report_pages.html_page(document)
    lines = report_pages.text_page(report_document.document(of("plain", "other"))).splitlines()
    assert len(text.splitlines()) == len(lines), "a name adds no line"
    assert page.count("<tr>") == report_pages.html_page(
        report_document.document(of("plain", "other"))
    ).count("<tr>")
    assert not any(letter in text + page for letter in "\u202e\u202d\u2066\x1b\x00")
    pdf = PdfReader(io.BytesIO(report_pdf.pdf_page(document)))
    assert "Failed backups" in "".join(shown.extract_text() for shown in pdf.pages)


def test_the_table_of_policies_counts_each_machine_in_one_state():
    counts = MachineCounts(machines=10, protected=4, late=3, failing=2, never=1)
    policy = PolicyReport(guid="p", name="gold", runs=1, machines=counts, backups=BackupCounts())
    told = msgspec.structs.replace(of("gold"), title="", policies=[policy])
    table = next(
        table for table in report_document.document(told).tables if table.title == "Policies"
    )
    row = dict(zip(table.heads, table.rows[0], strict=True))
    states = ("Protected", "Late", "Failing", "Never")
    assert [row[name] for name in states] == ["4", "3", "2", "1"]
    assert row["Machines"] == "10"
