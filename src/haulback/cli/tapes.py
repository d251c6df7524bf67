"""`haulback tape`: tapes and the managers that hold tapes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import DestinationOption
from haulback.cli.connection import connect
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, refs, report
from haulback.contract.unavailable import TapeManagers, Tapes
from haulback.errors import KindUnavailable, Malformed
from haulback.ids import is_guid

app = App(name="tape")


@app.command
def eject(
    *guid: Annotated[str, Parameter(help="Tapes, by their guids.")],
    to: Annotated[str, Parameter(help="Guid of a location.")] = "",
    how: SubmitOptions = USUAL,
) -> None:
    """Eject tapes; --to is the guid of a location."""
    client = connect()
    request = Tapes(tapes=refs(_some(guid)), tapeLocation=ref(to), **how.times)
    report(client, client.tasks.eject_tape(request, **how.options), how)


@app.command(name="import")
def import_tape(
    *guid: Annotated[str, Parameter(help="Tapes, by their guids.")],
    destination: DestinationOption = "",
    how: SubmitOptions = USUAL,
) -> None:
    """Import tapes into the library."""
    client = connect()
    to = ref(destination and client.destinations.find(destination).guid)
    request = Tapes(tapes=refs(_some(guid)), backupDestination=to, **how.times)
    report(client, client.tasks.import_tape(request, **how.options), how)


@app.command(name="sync")
def sync_tapes(
    *manager: Annotated[str, Parameter(help="Tape managers, by their guids.")],
    how: SubmitOptions = USUAL,
) -> None:
    """Scan the tapes of tape managers (guids)."""
    client = connect()
    request = TapeManagers(tapeManagers=refs(_some(manager)), **how.times)
    report(client, client.tasks.tape_inventory_sync(request, **how.options), how)


def _some(guids: tuple[str, ...]) -> tuple[str, ...]:
    """The guids; the server keeps no records of tapes, so no name can stand for a guid."""
    if not guids:
        raise Malformed("name at least one object by its guid")
    if named := [word for word in guids if not is_guid(word)]:
        raise KindUnavailable(
            f"{named[0]!r}: Haulback does not use tapes; store on a folder, S3, Azure or "
            "SFTP (`haulback destination types`)"
        )
    return guids
