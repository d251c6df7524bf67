"""`haulback snapshot`: snapshots that stay on the platform."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import MachineWord, Rows, SnapshotWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, show, text
from haulback.cli.questions import agreed
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, refs, report
from haulback.client.calls import ListFilters
from haulback.client.client import Client
from haulback.contract.snapshot import SnapshotRequest
from haulback.contract.snapshot_cleanup import SnapshotCleanupRequest
from haulback.contract.snapshot_reversion import SnapshotReversionRequest
from haulback.errors import Malformed
from haulback.wire import Ref

app = App(name="snapshot")
_SNAPSHOTS = (
    text("guid"),
    named("protectedEntity"),
    moment("snapshotTime"),
    named("consistency"),
    text("policy"),
    text("managed"),
    text("description"),
)


@app.command
def create(
    *machine: MachineWord,
    rule: Annotated[
        str, Parameter(help="Snapshot rule whose retention counts: name, guid or its beginning.")
    ] = "",
    description: Annotated[str, Parameter(help="Description of the snapshot.")] = "",
    vm: Annotated[bool, Parameter(help="Submit by the path VM_SNAPSHOT, as portals do.")] = False,
    how: SubmitOptions = USUAL,
) -> None:
    """Take snapshots of machines; --rule sets their retention.

    --vm uses the alias of the operation.
    """
    client = connect()
    request = SnapshotRequest(
        protectedEntities=refs(_found(client, machine)),
        rule=ref(rule and client.records.snapshot_rules.find(rule).guid),
        description=description or None,
        **how.times,
    )
    take = client.tasks.vm_snapshot if vm else client.tasks.snapshot
    report(client, take(request, **how.options), how)


@app.command(name="ls")
def list_snapshots(machine: MachineWord = "", *, size: Rows = 50, output: Output = "table") -> None:
    """List the newest snapshots, of all machines or of one."""
    client = connect()
    query: ListFilters = {"size": size}
    if machine:
        query["protected_entity"] = client.machines.find(machine).guid
    show(client.snapshots.page(**query).rows, _SNAPSHOTS, output)


@app.command(name="show")
def show_snapshot(guid: SnapshotWord) -> None:
    """Show all details of a snapshot."""
    dump(connect().snapshots.find(guid))


@app.command
def revert(guid: SnapshotWord, *, how: SubmitOptions = USUAL, consent: Consent = ASK) -> None:
    """Revert a machine's disks to a snapshot; the current disks are kept as another snapshot."""
    client = connect()
    found = client.snapshots.guid(guid)
    request = SnapshotReversionRequest(snapshot=Ref(found), **how.times)
    act = partial(client.tasks.revert, request, **how.options)
    if agreed(client, consent, act):
        report(client, [act()], how)


@app.command
def clean(*machine: MachineWord, how: SubmitOptions = USUAL, consent: Consent = ASK) -> None:
    """Remove expired snapshots of machines."""
    client = connect()
    request = SnapshotCleanupRequest(protectedEntities=refs(_found(client, machine)), **how.times)
    act = partial(client.tasks.remove_old_snapshots, request, **how.options)
    if agreed(client, consent, act):
        report(client, act(), how)


@app.command
def rm(*guid: SnapshotWord, how: SubmitOptions = USUAL, consent: Consent = ASK) -> None:
    """Remove these snapshots, regardless of their retention rules."""
    client = connect()
    request = SnapshotCleanupRequest(snapshots=refs(map(client.snapshots.guid, guid)), **how.times)
    act = partial(client.tasks.remove_old_snapshots, request, **how.options)
    if agreed(client, consent, act):
        report(client, act(), how)


def _found(client: Client, names: tuple[str, ...]) -> list[str]:
    """Guids of machines.  Raises Malformed when the list is empty."""
    if not names:
        raise Malformed("name at least one machine")
    return [client.machines.find(name).guid for name in names]
