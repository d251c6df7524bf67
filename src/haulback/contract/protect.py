"""Requests and answers of /protect, which makes a policy with rule, schedule and notification in
one step.
"""

from __future__ import annotations

import msgspec

from haulback.wire import Choice, Named


class ProtectRequest(msgspec.Struct, kw_only=True):
    """A request for protection: machines, times, destination, retention and recipients as people
    write them.

    Machines: `all`, or each machine with a name like `web*` in `match` or a tag in `tags`, without
    the names in `exclude`.  Machines that are added later are protected as well. Either `nightly`
    (`22:00 Europe/Berlin`) or `every` (`4h`) sets the times, on the `days` `mon-fri`; `timeZone`
    (IANA) applies where `nightly` names none.  `keep` is retention such as `7d,4w,12m`; without it
    no backup is removed. `to` is a destination; the default is the only destination. `copyTo` is a
    destination for a copy of each backup, with the same retention. `mail` lists the addresses that
    receive reports of failures.  `prove` (`daily`, `weekly`, `monthly`) is the time in which each
    machine is proven.  `window` and `rpo` are durations like `6h`.
    """

    name: str = ""
    all: bool = False
    match: list[str] = []
    tags: list[str] = []
    exclude: list[str] = []
    nightly: str = ""
    every: str = ""
    days: str = ""
    timeZone: str = ""
    window: str = ""
    keep: str = ""
    to: Choice | None = None
    copyTo: Choice | None = None
    prove: str = ""
    mail: list[str] = []
    rpo: str = ""
    full: bool = False


class Protecting(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The records that a request for protection made, the present number of machines, and the first
    run in epoch ms.

    `rpo` is in ms.  `notes` are sentences for the user.
    """

    policy: Named
    rule: Named
    schedule: Named
    destination: Named
    copyDestination: Named | None = None
    notificationRule: Named | None = None
    machines: int
    firstRun: int | None = None
    timeZone: str
    rpo: int | None = None
    notes: list[str] = []
