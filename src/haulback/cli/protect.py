"""`haulback protect`: a policy with rule, schedule and notification in one command."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter

from haulback import units
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump
from haulback.client.client import Client
from haulback.contract.protect import Protecting, ProtectRequest
from haulback.errors import Conflict
from haulback.wire import Choice

_SHOWN = "%Y-%m-%d %H:%M"
Many = Annotated[list[str], Parameter(negative=())]


def protect(
    *,
    all: bool = False,  # noqa: A002 - the name of the option
    match: Many = [],  # noqa: B006 - read only
    tag: Many = [],  # noqa: B006 - read only
    exclude: Many = [],  # noqa: B006 - read only
    nightly: str = "",
    every: str = "",
    days: str = "",
    window: str = "",
    keep: str = "",
    to: str = "",
    copy_to: str = "",
    prove: str = "",
    mail: Many = [],  # noqa: B006 - read only
    rpo: str = "",
    full: bool = False,
    name: str = "",
    output: Output = "table",
) -> None:
    """Protect machines: all of them with --all, or those of --match and --tag, including later
    ones.

    Times like 22:00 or "22:00 Europe/Berlin", days like mon-fri, durations like 36h, keeps like
    7d,4w,12m; --copy-to gets a copy of each backup; --mail addresses hear of failures.  Without a
    zone, this machine's zone applies.
    """
    client = connect()
    wanted = ProtectRequest(
        name=name,
        all=all,
        match=match,
        tags=tag,
        exclude=exclude,
        nightly=nightly,
        every=every,
        days=days,
        timeZone=_own_zone(),
        window=window,
        keep=keep,
        to=_destination(client, to),
        copyTo=_destination(client, copy_to),
        prove=prove,
        mail=mail,
        rpo=rpo,
        full=full,
    )
    try:
        made = client.protection.protect(wanted)
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
    print(f"policy {made.policy.name}: {made.machines} machines, {to}")
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
