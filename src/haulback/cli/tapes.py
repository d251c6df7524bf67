"""`haulback tape`: tapes and the managers that hold tapes."""

from __future__ import annotations

from cyclopts import App

from haulback.cli.connection import connect
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, refs, report
from haulback.contract.unavailable import TapeManagers, Tapes
from haulback.errors import Malformed

app = App(name="tape")


@app.command
def eject(*guid: str, to: str = "", how: SubmitOptions = USUAL) -> None:
    """Eject tapes; --to is the guid of a location."""
    client = connect()
    request = Tapes(tapes=refs(_some(guid)), tapeLocation=ref(to), **how.times)
    report(client, client.tasks.eject_tape(request, **how.options), how)


@app.command(name="import")
def import_tape(*guid: str, destination: str = "", how: SubmitOptions = USUAL) -> None:
    """Import tapes into the library."""
    client = connect()
    to = ref(destination and client.destinations.find(destination).guid)
    request = Tapes(tapes=refs(_some(guid)), backupDestination=to, **how.times)
    report(client, client.tasks.import_tape(request, **how.options), how)


@app.command(name="sync")
def sync_tapes(*manager: str, how: SubmitOptions = USUAL) -> None:
    """Scan the tapes of tape managers (guids)."""
    client = connect()
    request = TapeManagers(tapeManagers=refs(_some(manager)), **how.times)
    report(client, client.tasks.tape_inventory_sync(request, **how.options), how)


def _some(guids: tuple[str, ...]) -> tuple[str, ...]:
    if not guids:
        raise Malformed("name at least one object by its guid")
    return guids
