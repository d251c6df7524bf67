"""Requests and answers of /retention/preview and /retention/confirm.

Times are epoch milliseconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.wire import Label, Named, Ref


class RetentionPreviewRequest(msgspec.Struct, kw_only=True):
    """A rule to preview: a saved rule by its guid, changed by the other members, or a new rule with
    its members.

    A new rule is previewed for the machines in `protectedEntities`, or the machines of `policy`, as
    if the rule had made all their backups on its destinations.  `after` continues a long preview.
    """

    rule: Any = None
    policy: Ref | None = None
    protectedEntities: list[Ref] | None = None
    after: str | None = None


class JudgedBackup(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """A backup of a preview: whether the next clean-up keeps or removes the backup.

    `reason` is a name, `description` a sentence.  `size` is the space in bytes that the backup
    added to the destination.
    """

    backup: Named
    location: Named
    protectedEntity: Named
    backupDestination: Named
    roleType: Label
    type: Label
    snapshotTime: int | None = None
    goes: bool
    reason: Label
    retentionHint: Label
    archiveExpire: int | None = None
    size: int


class RetentionPreview(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The effect of a rule's retention at this time.

    `stay` and `go` are numbers of backups.  `sizeReturned` is the estimated space that is freed:
    the bytes that the removed backups added to their destinations, without data that other backups
    share. `waits` is true if the retention removes nothing before a confirmation.  `after`
    continues a long preview.
    """

    rule: Named
    stay: int
    go: int
    sizeReturned: int
    backups: list[JudgedBackup]
    warnings: list[str] = []
    waits: bool = False
    after: str | None = None


class RetentionConfirmation(msgspec.Struct, kw_only=True):
    """The rules whose retention may begin to remove backups; absent: all rules that wait."""

    rules: list[Ref] | None = None
