"""`haulback protect`: a policy with rule, schedule and notification in one command."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter

from haulback import units
from haulback.cli.arguments import DestinationOption
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump
from haulback.client.client import Client
from haulback.contract.protect import Protecting, ProtectRequest
from haulback.errors import Conflict
from haulback.wire import Choice

_SHOWN = "%Y-%m-%d %H:%M"
Many = Annotated[list[str], Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProtectOptions:
    """The machines to protect, the times, the destinations and the recipients."""

    all: Annotated[bool, Parameter(help="Protect all machines.")] = False
    match: Annotated[
        Many, Parameter(help='Pattern of machine names, like "db-*"; may be repeated.')
    ] = field(default_factory=list)
    tag: Annotated[Many, Parameter(help="Tag of machines; may be repeated.")] = field(
        default_factory=list
    )
    exclude: Annotated[
        Many, Parameter(help="Pattern of machine names that stay unprotected; may be repeated.")
    ] = field(default_factory=list)
    nightly: Annotated[
        str, Parameter(help='Time of the daily backup, like 22:00 or "22:00 Europe/Berlin".')
    ] = ""
    every: Annotated[str, Parameter(help="Interval of backups, like 4h.")] = ""
    days: Annotated[str, Parameter(help="Days of backups, like mon-fri.")] = ""
    window: Annotated[str, Parameter(help="Duration in which backups may start, like 6h.")] = ""
    keep: Annotated[str, Parameter(help="Backups to keep, like 7d,4w,12m.")] = ""
    to: DestinationOption = ""
    copy_to: Annotated[
        str, Parameter(help="Destination of a second copy: name, guid or its beginning.")
    ] = ""
    prove: Annotated[str, Parameter(help="Interval of boot proofs, like 7d.")] = ""
    mail: Annotated[
        Many, Parameter(help="Mail address that receives failures; may be repeated.")
    ] = field(default_factory=list)
    rpo: Annotated[
        str, Parameter(help="Age of the last good backup at which a machine is late, like 36h.")
    ] = ""
    full: Annotated[bool, Parameter(help="Make every backup a full one.")] = False
    name: Annotated[str, Parameter(help="Name of the policy.")] = ""

    def request(self, client: Client) -> ProtectRequest:
        """The request for these options.  Raises NotFound for an unknown destination."""
        return ProtectRequest(
            name=self.name,
            all=self.all,
            match=self.match,
            tags=self.tag,
            exclude=self.exclude,
            nightly=self.nightly,
            every=self.every,
            days=self.days,
            timeZone=_own_zone(),
            window=self.window,
            keep=self.keep,
            to=_destination(client, self.to),
            copyTo=_destination(client, self.copy_to),
            prove=self.prove,
            mail=self.mail,
            rpo=self.rpo,
            full=self.full,
        )


_NOTHING = ProtectOptions()


def protect(
    *,
    options: ProtectOptions = _NOTHING,
    output: Output = "table",
) -> None:
    """The command `haulback protect`."""
    client = connect()
    try:
        made = client.protection.protect(options.request(client))
    except Conflict as error:
        if error.details.get("field") != "name":
            raise
        raise Conflict(
            f"{error.message}; --name NAME makes another policy, and `haulback policy ls` lists "
            "the present ones"
        ) from None
    if output == "json":
        dump(made)
        return
    _print(made)


def _destination(client: Client, name: str) -> Choice | None:
    return Choice(client.destinations.find(name).guid) if name else None


def _own_zone() -> str:
    """The IANA zone of this machine, "" if it cannot be determined."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if not named:
        _, _, named = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")
    try:
        return ZoneInfo(named).key if named else ""
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return ""


def _print(made: Protecting) -> None:
    copied = f", copied to {made.copyDestination.name}" if made.copyDestination else ""
    to = f"to {made.destination.name}{copied}"
    print(f"policy {made.policy.name}: {units.counted(made.machines, 'machine')}, {to}")
    print(f"schedule {made.schedule.name}")
    if made.firstRun is not None:
        zone = ZoneInfo(made.timeZone)
        first = datetime.fromtimestamp(made.firstRun / 1000, zone).strftime(_SHOWN)
        print(f"first run: {first} ({made.timeZone})")
    if made.rpo is not None:
        print(f"a machine is late without a good backup for {units.duration(made.rpo / 1000)}")
    if made.notificationRule:
        print(f"notification rule {made.notificationRule.name}")
    for note in made.notes:
        print(f"note: {note}")
