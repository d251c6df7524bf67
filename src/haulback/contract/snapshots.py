"""Answers of /snapshots."""

from __future__ import annotations

import msgspec

from haulback.wire import Label, Named


class SnapshotRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A snapshot on its platform; `uuid` is its name there; times in epoch ms.

    `managed`: Haulback took the snapshot and can revert the machine to the snapshot. `policy` is
    the name of its policy for portals; `snapshotPolicy` is a reference to the same policy.
    """

    guid: str
    name: str
    uuid: str
    snapshotTime: int
    status: Label
    protectedEntity: Named
    managed: bool
    standAlone: bool
    policy: str | None = None
    snapshotPolicy: Named | None = None
    rule: Named | None = None
    consistency: Label | None = None
    description: str | None = None
