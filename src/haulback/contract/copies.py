"""Requests and answers about destinations whose backups are copied to another one."""

from __future__ import annotations

import msgspec

from haulback.contract.policies import DestinationRole
from haulback.wire import Label, Named, Ref

# Setting of a destination: the guid of the destination whose master key its repository has.
COPY_OF = "copyOf"


class Copying(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Settings of a destination for the copies that are made on it; absent members: no limit.

    `rate` is in bytes per second.  Copies start between `startHour` and `endHour` (ms from
    midnight, by the clocks of `timeZone`, an IANA name; default UTC).
    """

    rate: int | None = None
    startHour: int | None = None
    endHour: int | None = None
    timeZone: str | None = None


class NewCopyLink(msgspec.Struct, kw_only=True):
    """Request to copy all backups of a destination to `backupDestination`, with a role."""

    backupDestination: Ref
    roleType: DestinationRole = DestinationRole.SECONDARY


class CopyLinkRecord(msgspec.Struct, kw_only=True):
    """A destination that receives a copy of every backup of another destination."""

    backupDestination: Named
    roleType: Label
