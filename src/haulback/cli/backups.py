"""`haulback backup`: back up machines, and look after what is stored."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from haulback.cli import places
from haulback.cli.connection import connect
from haulback.cli.how import USUAL, How, ref, refs, report
from haulback.cli.output import Output, dump, moment, named, show, size, text
from haulback.errors import Malformed
from haulback.inventory.requests import Hint
from haulback.tasks.states import BackupType

app = App(name="backup")
_COLUMNS = (
    text("guid"),
    text("name"),
    named("type"),
    named("status"),
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
    *machine: str,
    incremental: bool = False,
    destination: str = "",
    rule: list[str] = [],  # noqa: B006 - read only
    retries: int = 0,
    how: How = USUAL,
) -> None:
    """Back up machines, named or by guid; prints the guids of the tasks, or follows them."""
    from haulback.kinds.export import Request

    client = connect()
    kind = BackupType.INCREMENTAL if incremental else BackupType.FULL
    request = Request(
        protectedEntities=refs(client.machines.find(one).guid for one in machine),
        backupType=kind,
        backupDestination=ref(client.destinations.find(destination).guid if destination else ""),
        rules=refs(client.records.rules.find(one).guid for one in rule),
        retryCount=retries,
        **how.timed,
    )
    report(client, client.tasks.export(request, **how.asked), how)


@app.command
def ls(machine: str = "", *, size: int = 50, output: Output = "table") -> None:
    """The newest backups, of one machine or of all."""
    client = connect()
    of = client.machines.find(machine).guid if machine else ""
    show(client.backups.page(size=size, protected_entity=of).rows, _COLUMNS, output)


@app.command(name="show")
def show_backup(guid: str) -> None:
    """Everything about a backup."""
    dump(connect().backups.get(guid))


@app.command
def describe(guid: str, words: str) -> None:
    """Say something about a backup."""
    connect().backups.describe(guid, words)


@app.command
def acknowledge(guid: str, *, read: bool = True) -> None:
    """Note that somebody has read a backup's warnings."""
    connect().backups.acknowledge(guid, read)


@app.command
def mark(
    hint: Literal["remove", "archive", "standard"], *guid: str, until: int | None = None
) -> None:
    """Have backups removed at the next clean-up, kept (--until, epoch ms), or treated as usual."""
    if not guid:
        raise Malformed("name at least one backup by its guid")
    backups = connect().backups
    places = [place.guid for one in guid for place in backups.get(one).backupLocations]
    backups.mark(places, _HINTS[hint], until)


@app.command
def locations(machine: str = "", *, size: int = 50, output: Output = "table") -> None:
    """Where the newest backups lie, and how long they are kept."""
    client = connect()
    of = client.machines.find(machine).guid if machine else ""
    show(client.backups.locations(size=size, protected_entity=of).rows, _PLACES, output)


@app.command
def files(guid: str, *, to_restore: bool = False, output: Output = "table") -> None:
    """The disks of a backup, as restores name them."""
    backups = connect().backups
    found = backups.files_to_restore(guid) if to_restore else backups.files(guid)
    show(found, _FILES, output)


app.command(places.clean, name="rm-old")
