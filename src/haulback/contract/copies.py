"""Requests and answers about destinations whose backups are copied to another one."""

from __future__ import annotations

import msgspec

from haulback.contract.policies import DestinationRole
from haulback.wire import Label, Named, Ref


class NewCopyLink(msgspec.Struct, kw_only=True):
    """Request to copy all backups of a destination to `backupDestination`, with a role."""

    backupDestination: Ref
    roleType: DestinationRole = DestinationRole.SECONDARY


class CopyLinkRecord(msgspec.Struct, kw_only=True):
    """A destination that gets a copy of every backup of another one."""

    backupDestination: Named
    roleType: Label
