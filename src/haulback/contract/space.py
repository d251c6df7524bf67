"""The space of destinations: what they hold, how they grow, and the limits of new backups."""

from __future__ import annotations

import msgspec

from haulback.wire import Named

MACHINES_TOLD = 500  # machines in the report of a clean-up, those with most bytes of their own


class MachineSpace(msgspec.Struct):
    """Stored bytes of a machine: of it alone, and shared with other machines."""

    entity: str
    name: str
    unique: int
    shared: int


class SpaceUsage(msgspec.Struct):
    """The space of a repository as a clean-up found it, in bytes.

    `held` is the size of all packs, `living` the part of it that backups use, `locked` the size of
    packs that no backup needs and that the store keeps under lock.
    """

    held: int
    living: int
    machines: list[MachineSpace] = []
    locked: int = 0


class SpaceLimits(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Limits of a destination in bytes; new backups wait while one is reached.

    `quota` limits what the repository holds, None for no limit.  `minimumFree` is what must stay
    free on the file system, None for 1 % of it and at most 1 GiB.
    """

    quota: int | None = None
    minimumFree: int | None = None


class SpaceRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The space of a destination as the API shows it, in bytes; times in epoch ms.

    `held` is what the repository holds, `living` what backups use of it, `locked` what no backup
    needs and the store keeps under lock, as the clean-up at `measured` found them; `held` includes
    the bytes that were stored since.  `growthPerDay` is the mean growth of the last 30 days, None
    before two days are known; `fullAt` the time at which the destination is full if the growth goes
    on.  `waits` is the reason why new backups wait.
    """

    held: int | None = None
    living: int | None = None
    locked: int | None = None
    measured: int | None = None
    growthPerDay: int | None = None
    fullAt: int | None = None
    quota: int | None = None
    minimumFree: int | None = None
    waits: str | None = None


class MachineShare(msgspec.Struct, kw_only=True):
    """A row of GET /backup-destinations/{guid}/space: stored bytes of a machine.

    `unique` bytes are freed with the machine's last backup; `shared` bytes belong to other
    machines too.
    """

    protectedEntity: Named
    unique: int
    shared: int
