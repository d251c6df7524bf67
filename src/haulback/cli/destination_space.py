"""`haulback destination space`, `limit`: the stored bytes of destinations, and limits for new
backups.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

import haulback.cli.destination_catalogue  # noqa: F401 - adds its commands to the group
from haulback.cli.connection import connect
from haulback.cli.destinations import app
from haulback.cli.output import Output, named, show, size
from haulback.contract.destinations import ChangedDestination
from haulback.contract.space import SpaceLimits
from haulback.units import GIB

_MACHINES = (named("protectedEntity"), size("unique"), size("shared"))


@app.command(name="space")
def space(name: str, *, output: Output = "table") -> None:
    """List the stored bytes of each machine, its own and those shared with other machines.

    `destination show` has the totals, the growth and the day on which the destination is full.
    """
    client = connect()
    show(client.destinations.space(client.destinations.find(name).guid), _MACHINES, output)


@app.command(name="limit")
def limit(
    name: str,
    *,
    quota: Annotated[
        float | None, Parameter(help="GiB that the repository may hold; 0: no limit.")
    ] = None,
    free: Annotated[
        float | None, Parameter(help="GiB that must stay free on the file system.")
    ] = None,
) -> None:
    """Limit the space that new backups may take; restores never wait."""
    client = connect()
    present = client.destinations.find(name)
    before = present.space
    limits = SpaceLimits(
        quota=before.quota if before else None, minimumFree=before.minimumFree if before else None
    )
    if quota is not None:
        limits = msgspec.structs.replace(limits, quota=round(quota * GIB) or None)
    if free is not None:
        limits = msgspec.structs.replace(limits, minimumFree=round(free * GIB))
    client.destinations.change(present.guid, ChangedDestination(space=limits))
