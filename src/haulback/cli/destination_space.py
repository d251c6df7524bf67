"""`haulback destination space`, `limit`: the stored bytes of destinations, and limits for new
backups.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

import haulback.cli.destination_catalogue  # noqa: F401 - adds its commands to the group
from haulback import units
from haulback.cli.arguments import DestinationWord
from haulback.cli.connection import connect
from haulback.cli.destinations import app
from haulback.cli.output import Output, named, show, size, when
from haulback.contract.destinations import ChangedDestination
from haulback.contract.space import SpaceLimits, SpaceRecord
from haulback.errors import Malformed
from haulback.units import GIB

_MOST_GIB = 1 << 30  # an exbibyte
_MACHINES = (named("protectedEntity"), size("unique"), size("shared"))


@app.command(name="space")
def space(name: DestinationWord, *, output: Output = "table") -> None:
    """Show the space that a destination holds, its growth, and the day on which it is full.

    The table has the stored bytes of each machine: of it alone, and shared with other machines.
    """
    client = connect()
    destination = client.destinations.find(name)
    if output == "table":
        print("\n".join(sentences(destination.name, destination.space or SpaceRecord())))
    show(client.destinations.space(destination.guid), _MACHINES, output)


def sentences(name: str, space: SpaceRecord) -> list[str]:
    """The space of a destination as text for users."""
    said = []
    if space.measured is None:
        said.append(f"{name} is not measured yet: its next clean-up counts the bytes")
    else:
        said.append(
            f"{name} holds {units.size(space.held or 0)}; backups use "
            f"{units.size(space.living or 0)} (clean-up of {when(space.measured)})"
        )
    if space.locked:
        said.append(f"{units.size(space.locked)} that no backup needs are under an object lock")
    if space.growthPerDay is not None:
        full = f", and is full on {when(space.fullAt)}" if space.fullAt else ""
        said.append(f"it grows by {_growth(space.growthPerDay)} a day{full}")
    if space.quota is not None:
        said.append(f"new backups may fill {units.size(space.quota)}")
    if space.minimumFree is not None:
        said.append(f"new backups leave {units.size(space.minimumFree)} free")
    if space.waits:
        said.append(f"new backups wait: {space.waits}")
    return said


def _growth(size: int) -> str:
    """Bytes with their sign, as a destination may shrink."""
    return f"-{units.size(-size)}" if size < 0 else units.size(size)


@app.command(name="limit")
def limit(
    name: DestinationWord,
    *,
    quota: Annotated[
        float | None, Parameter(help="GiB that the repository may hold; 0: no limit.")
    ] = None,
    free: Annotated[
        float | None, Parameter(help="GiB that must stay free on the file system.")
    ] = None,
) -> None:
    """Limit the space that new backups may take; restores never wait."""
    most = None if quota is None else _bytes("--quota", quota)
    least = None if free is None else _bytes("--free", free)
    if most is None and least is None:
        raise Malformed("name the limit to change: --quota or --free")
    client = connect()
    present = client.destinations.find(name)
    before = present.space
    limits = SpaceLimits(
        quota=before.quota if before else None, minimumFree=before.minimumFree if before else None
    )
    if most is not None:
        limits = msgspec.structs.replace(limits, quota=most or None)
    if least is not None:
        limits = msgspec.structs.replace(limits, minimumFree=least)
    client.destinations.change(present.guid, ChangedDestination(space=limits))


def _bytes(option: str, gib: float) -> int:
    """A size in GiB as bytes.  Raises Malformed."""
    if not 0 <= gib < _MOST_GIB:
        raise Malformed(f"{option}: a number of GiB, 0 or more")
    return round(gib * GIB)
