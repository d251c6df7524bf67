"""`haulback dashboard` and `workflow`: overview of protection and workflows."""

from __future__ import annotations

from cyclopts import App

from haulback import units
from haulback.cli.arguments import Rows, WorkflowWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, print_cells, show, text
from haulback.cli.questions import agreed

workflow = App(name="workflow")
_COLUMNS = (
    text("guid"),
    named("definitionName"),
    named("state"),
    named("protectedEntity"),
    named("currentStep"),
    text("averageProgress"),
    moment("creationTime"),
    text("statusInfo"),
)


@workflow.command
def ls(*, size: Rows = 50, output: Output = "table") -> None:
    """List the newest workflows."""
    show(connect().workflows.page(size=size).rows, _COLUMNS, output)


@workflow.command(name="show")
def show_workflow(guid: WorkflowWord) -> None:
    """Show a workflow with its tasks."""
    dump(connect().workflows.find(guid))


@workflow.command
def rm(guid: WorkflowWord, *, consent: Consent = ASK) -> None:
    """Remove a workflow's finished tasks from the lists."""
    client = connect()
    found = client.workflows.guid(guid)
    if agreed(client, consent, lambda: client.workflows.remove(found)):
        client.workflows.remove(found)


def dashboard(*, output: Output = "table") -> None:
    """Show protection, the last day's backups, alarms and used space."""
    client = connect()
    board = client.dashboard
    protection, backups = board.protection(), board.backups()
    destinations, staging = board.destinations(), board.staging()
    alarms = client.alarms.page(size=100)
    if output == "json":
        dump(
            {
                "protection": protection,
                "backups": backups,
                "destinations": destinations,
                "staging": staging,
                "sizes": board.sizes(),
                "alarms": alarms.rows,
            }
        )
        return
    cells = [("alarms", f"{alarms.total}: haulback alarm ls" if alarms.total else "none")]
    for key, counts in protection.items():
        cells.append((f"{key} protected", f"{counts.protectedNo}, not {counts.notProtected}"))
    done = f"{backups.successful} good, {backups.failed} failed, {backups.inProgress} running"
    cells.append(("backups of the last day", f"{done}, {backups.queued} waiting"))
    cells.append(("stored in the last day", backups.totalData))
    for place in destinations.backupDestinations:
        space = _space(place.totalUsedSpace, place.totalAvailableSpace)
        cells.append((f"destination {place.name}", space))
    for area in staging:
        space = _space(area.usedSpace, area.availableSpace)
        cells.append((f"staging of {area.node.name}", space))
    print_cells(("what", "how much"), cells)


def _space(used: int, free: int) -> str:
    return f"{units.size(used)} used, {units.size(free)} free"
