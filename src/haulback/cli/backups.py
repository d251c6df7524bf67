"""`haulback backup`: back up machines and manage stored backups."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from haulback.cli import destinations
from haulback.cli.arguments import (
    BackupWord,
    DestinationOption,
    HypervisorOption,
    MachineWord,
    Rows,
)
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, show, size, text
from haulback.cli.questions import agreed
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, refs, report
from haulback.cli.times import FORMS, epoch_ms
from haulback.contract.backups import BackupType, Hint
from haulback.contract.export import ExportRequest
from haulback.contract.prove import BootSign, ProveRequest
from haulback.errors import Damaged, HaulbackError, Malformed, NotFound
from haulback.wire import Ref

if TYPE_CHECKING:
    from haulback.client.resources import Backups

app = App(name="backup")
_COLUMNS = (
    text("guid"),
    text("name"),
    named("type"),
    named("status"),
    named("level"),
    moment("snapshotTime"),
    size("size"),
    size("transferredSize"),
    size("storedSize"),
    text("statusInfo"),
)
_PLACES = (
    text("guid"),
    named("backup"),
    named("backupDestination"),
    named("status"),
    named("retentionHint"),
    moment("snapshotTime"),
    moment("archiveExpire"),
)
_FILES = (text("guid"), text("path"), size("size"), named("format"), named("backupFileType"))
_HINTS = {
    "remove": Hint.TO_REMOVE,
    "archive": Hint.ARCHIVE,
    "standard": Hint.STANDARD_RETENTION,
}


@app.command
def create(
    *machine: MachineWord,
    incremental: Annotated[
        bool, Parameter(help="Store only what changed since the last backup, where possible.")
    ] = False,
    destination: DestinationOption = "",
    rule: Annotated[
        list[str],
        Parameter(help="Rule of the backup: name, guid or its beginning; may be repeated."),
    ] = [],  # noqa: B006 - read only
    retries: Annotated[int, Parameter(help="Attempts after a failure.")] = 0,
    how: SubmitOptions = USUAL,
) -> None:
    """Back up machines, by name or guid; prints the tasks' guids, or follows the tasks."""
    client = connect()
    kind = BackupType.INCREMENTAL if incremental else BackupType.FULL
    request = ExportRequest(
        protectedEntities=refs(client.machines.find(wanted).guid for wanted in machine),
        backupType=kind,
        backupDestination=ref(client.destinations.find(destination).guid if destination else ""),
        rules=refs(client.records.rules.find(wanted).guid for wanted in rule),
        retryCount=retries,
        **how.times,
    )
    report(client, client.tasks.export(request, **how.options), how)


@app.command
def ls(machine: MachineWord = "", *, size: Rows = 50, output: Output = "table") -> None:
    """List the newest backups, of one machine or of all."""
    client = connect()
    of = client.machines.find(machine).guid if machine else ""
    show(client.backups.page(size=size, protected_entity=of).rows, _COLUMNS, output)


@app.command(name="show")
def show_backup(guid: BackupWord) -> None:
    """Show all details of a backup."""
    dump(connect().backups.find(guid))


@app.command
def prove(
    guid: BackupWord,
    *,
    hypervisor: HypervisorOption = "",
    text: Annotated[
        str, Parameter(help="Text on the console that shows that the machine is up.")
    ] = "",
    screen: Annotated[
        bool, Parameter(help="Wait for a change of the screen.", negative="")
    ] = False,
    script: Annotated[
        Path | None, Parameter(help="Shell script that the guest agent runs; it must exit with 0.")
    ] = None,
    timeout: Annotated[int, Parameter(help="Seconds to wait for the sign of life.")] = 600,
    how: SubmitOptions = USUAL,
) -> None:
    """Boot a backup in isolation and wait up to --timeout seconds for a sign of life.

    The machine is up when its guest agent answers, its console shows --text, or its --screen
    changes. --script is a shell script that the guest agent runs; it must exit with 0.
    """
    client = connect()
    request = ProveRequest(
        backup=Ref(client.backups.guid(guid)),
        hypervisor=ref(hypervisor and client.hypervisors.find(hypervisor).guid),
        sign=BootSign.SCREEN if screen else BootSign.TEXT if text else BootSign.AGENT,
        text=text or None,
        script=script.read_text() if script else None,
        timeout=timeout * 1000,
        **how.times,
    )
    report(client, [client.tasks.prove(request, **how.options)], how)


@app.command
def proof(
    guid: BackupWord,
    *,
    screenshot: Annotated[Path | None, Parameter(help="File for the screenshot.")] = None,
) -> None:
    """Show the proof of a backup and its signature; --screenshot is a file to write."""
    backups = connect().backups
    result = backups.proof(backups.guid(guid))
    evidence = msgspec.json.decode(result.evidence)
    picture = evidence.pop("screenshot", None)
    if screenshot:
        if picture is None:
            raise NotFound("the proof has no screenshot")
        screenshot.write_bytes(base64.b64decode(picture))
    signed = {"signature": result.signature, "publicKey": result.publicKey, "valid": result.valid}
    dump({"level": result.level.name, "evidence": evidence, **signed})
    if not result.valid:
        raise Damaged("the signature of the proof is not this server's: the evidence was changed")


@app.command(name="confirm-missing")
def confirm_missing(*guid: BackupWord, consent: Consent = ASK) -> None:
    """Give up backups that are missing from their destination, so that clean-ups continue.

    Data that only these backups need is deleted then.  If possible, restore their files instead.
    """
    if not guid:
        raise Malformed("name at least one backup by its guid")
    client = connect()
    backups = [client.backups.find(wanted).guid for wanted in guid]
    acts = [partial(client.backups.confirm_missing, backup) for backup in backups]
    if agreed(client, consent, *acts):
        for act in acts:
            act()


@app.command
def describe(guid: BackupWord, words: Annotated[str, Parameter(help="The description.")]) -> None:
    """Set the description of a backup."""
    backups = connect().backups
    backups.describe(backups.guid(guid), words)


@app.command
def acknowledge(
    guid: BackupWord,
    *,
    read: Annotated[bool, Parameter(help="Whether the warnings count as read.")] = True,
) -> None:
    """Acknowledge the warnings of a backup."""
    backups = connect().backups
    backups.acknowledge(backups.guid(guid), read)


_MARKED = (
    named("backup"),
    named("backupDestination"),
    named("previousHint"),
    named("retentionHint"),
    moment("archiveExpire"),
    text("toBeRemoved"),
    text("reason"),
)


@app.command
def mark(
    hint: Annotated[
        Literal["remove", "archive", "standard"], Parameter(help="The wanted retention.")
    ],
    *guid: BackupWord,
    until: Annotated[str | None, Parameter(help=f"End of an archive: {FORMS}.")] = None,
    preview: Annotated[bool, Parameter(help="Show the effect, and change nothing.")] = False,
    output: Output = "table",
    consent: Consent = ASK,
) -> None:
    """Set the retention hint of backups: remove at the next clean-up, keep (--until), or default;
    names the backups that the next clean-up keeps in spite of `remove`.

    --preview changes nothing and shows the effect on these backups and on others.
    """
    if not guid:
        raise Malformed("name at least one backup by its guid")
    end = epoch_ms(until, "--until")
    client = connect()
    backups = client.backups
    places = [place.guid for wanted in guid for place in backups.find(wanted).backupLocations]
    if preview:
        show(backups.preview_mark(places, _HINTS[hint], end), _MARKED, output)
        return
    if agreed(client, consent, lambda: backups.mark(places, _HINTS[hint], end)):
        backups.mark(places, _HINTS[hint], end)
        if hint == "remove":
            _tell_staying(backups, places)


def _tell_staying(backups: Backups, places: Sequence[str]) -> None:
    """Print the backups that are marked for removal, but that the next clean-up keeps."""
    try:
        rows = backups.preview_mark(places, Hint.TO_REMOVE, None)
    except HaulbackError as error:  # a clean-up may have removed a backup meanwhile
        print(f"the marks are set; their effect is unknown: {error.message}", file=sys.stderr)
        return
    for row in rows:
        if row.retentionHint.name == Hint.TO_REMOVE.value and not row.toBeRemoved:
            print(
                f"the next clean-up keeps {row.backup.name} {row.backup.guid} on "
                f"{row.backupDestination.name}: {row.reason or 'its retention keeps it'}"
            )


@app.command
def locations(machine: MachineWord = "", *, size: Rows = 50, output: Output = "table") -> None:
    """List the locations of the newest backups, with their retention."""
    client = connect()
    of = client.machines.find(machine).guid if machine else ""
    show(client.backups.locations(size=size, protected_entity=of).rows, _PLACES, output)


@app.command
def files(
    guid: BackupWord,
    *,
    to_restore: Annotated[bool, Parameter(help="Show the form that a restore takes.")] = False,
    output: Output = "table",
) -> None:
    """List the disks of a backup, with the names that restores use."""
    backups = connect().backups
    guid = backups.guid(guid)
    rows = backups.files_to_restore(guid) if to_restore else backups.files(guid)
    show(rows, _FILES, output)


app.command(destinations.clean, name="rm-old")
