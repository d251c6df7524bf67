"""The space of destinations: the stored bytes, the growth, and the limits for new backups."""

from __future__ import annotations

import msgspec

from haulback.wire import Named

MACHINES_TOLD = 500  # machines in the report of a clean-up: those with the most bytes of their own


class MachineSpace(msgspec.Struct):
    """Stored bytes of a machine: bytes that only this machine uses, and bytes shared with other
    machines.
    """

    entity: str
    name: str
    unique: int
    shared: int


class SpaceUsage(msgspec.Struct):
    """The space of a repository as a clean-up found it, in bytes.

    `held` is the size of all packs, `living` the size of the data that backups use, `locked` the
    size of packs that no backup needs and that the store keeps under lock.
    """

    held: int
    living: int
    machines: list[MachineSpace] = []
    locked: int = 0


class SpaceLimits(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Limits of a destination in bytes; new backups wait while a limit is reached.

    `quota` limits the size of the repository; None is no limit.  `minimumFree` is the space that
    must stay free on the file system; None means 1 % of the file system, at most 1 GiB.
    """

    quota: int | None = None
    minimumFree: int | None = None


class SpaceRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The space of a destination as the API shows it, in bytes; times in epoch ms.

    `held` is the size of all packs, `living` the size of the data that backups use, `locked` the
    size of packs that no backup needs and that the store keeps under lock; the clean-up at
    `measured` counted them, and `held` includes the bytes that were stored since.  `growthPerDay`
    is the mean growth of the last 30 days, None before two days are known; `fullAt` the time at
    which the destination is full if the growth continues.  `waits` is the reason why new backups
    wait.
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

    `unique` bytes are freed when the machine's last backup is removed; `shared` bytes belong to
    other machines too.
    """

    protectedEntity: Named
    unique: int
    shared: int
