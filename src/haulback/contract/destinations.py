"""Requests and answers of /backup-destinations, with retention and verification settings.

Times are epoch milliseconds, sizes bytes.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.contract.copies import Copying, CopyLinkRecord
from haulback.contract.destination_probe import StoreProbe
from haulback.contract.node_resources import NewNodeResource
from haulback.contract.order_records import Owner
from haulback.contract.space import SpaceLimits, SpaceRecord
from haulback.contract.tasks import TaskDetails
from haulback.units import DAY_MS
from haulback.wire import JsonObject, Label, Named, Ref, Word


class Retention(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Retention settings of a destination; absent counts and ages are no limit.  Ages in ms.

    A backup over either limit is removed.  The last backup of an absent machine stays for
    `keepLastBackupOfAbsentDays` days after the first scan that missed the machine, even over the
    limits; 0 turns this rule off.
    """

    keepLastNFull: int | None = None
    keepFullNewerThan: int | None = None
    keepLastNIncremental: int | None = None
    keepIncrementalNewerThan: int | None = None
    keepLastBackupWhenSourceStillExists: bool = True
    keepLastBackupOfAbsentDays: int = 30
    daysToKeepRetentionLock: int | None = None

    @property
    def lock_ms(self) -> int:
        """Length of the retention lock of a stored backup, ms."""
        return (self.daysToKeepRetentionLock or 0) * DAY_MS


class Verification(msgspec.Struct, kw_only=True):
    """Verification settings of a destination: every stored byte is read once in `days` days.

    `active` false turns the nightly runs off.  `seconds` limits the time of one nightly run.
    """

    active: bool = True
    days: int = 30
    seconds: int = 14_400


class VerifyState(msgspec.Struct, omit_defaults=True):
    """Verification progress of a destination; times in epoch ms.

    `cursor` is the last pack read; `begun` is the start of the current round, `completed` the end
    of the last complete round; `ran` is the end of the last task, `planned` the time when the last
    nightly task was planned.  `looked` is the backup after which the next task starts to read maps;
    `unknown` counts the backups that the catalogue does not know.  `catalogueRead` is the end of
    the last task that read the catalogue of the destination, `extractTime` the time of the newest
    extract that it read.
    """

    cursor: str = ""
    begun: int = 0
    completed: int = 0
    ran: int = 0
    planned: int = 0
    looked: str = ""
    unknown: int = 0
    catalogueRead: int = 0
    extractTime: int = 0


class BreakerState(Enum):
    """States of a breaker."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class BreakerRecord(msgspec.Struct, omit_defaults=True):
    """The breaker of a destination; times in epoch ms.

    OPEN: the destination has not answered since `since`, its tasks wait, and the server tests it at
    `nextTry`.  HALF_OPEN: a CONNECTIVITY_TEST of the destination waits or runs.  `failures` counts
    the tasks that could not reach the destination; `reason` is the last failure.
    """

    state: Label
    failures: int = 0
    since: int | None = None
    nextTry: int | None = None
    reason: str | None = None


class DestinationRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A backup destination; spaces in bytes.

    The destination is reached by `node`, by several `nodes`, or by every node (`allNodes`).
    `settings` holds the settings of its type by name, except write-only ones.  `verifiedTime`
    (epoch ms) is the end of the last verification round that read every stored byte;
    `unknownBackups` counts the backups there that the catalogue did not know at the last VERIFY.
    `owner` is the newest owner record that a task read; `catalogueReadTime` (epoch ms) is the end
    of the last task that read the destination's catalogue, `extractTime` the time of the newest
    extract: later changes of locks and hints are unknown. `probe` holds the results of the last
    probe of the store.  `copyOf` is the destination with whose master key the repository was made;
    `copies` are the destinations that receive a copy of every backup.
    """

    guid: str
    name: str
    type: Label
    driver: str
    path: str
    settings: JsonObject
    initialized: bool
    retention: Retention
    verification: Verification = msgspec.field(default_factory=Verification)
    verifiedTime: int | None = None
    unknownBackups: int = 0
    catalogueReadTime: int | None = None
    extractTime: int | None = None
    owner: Owner | None = None
    node: Named | None = None
    nodes: list[Named] = []
    allNodes: bool = False
    totalUsedSpace: int | None = None
    totalAvailableSpace: int | None = None
    probe: StoreProbe | None = None
    breaker: BreakerRecord | None = None
    space: SpaceRecord | None = None
    task: TaskDetails | None = None
    copyOf: Named | None = None
    copies: list[CopyLinkRecord] = []
    copying: Copying = msgspec.field(default_factory=Copying)


class NewDestination(NewNodeResource, kw_only=True):
    """Request to add a destination; a `type` must be one of the supported types.

    `settings` are the settings of the type by name; a request may give each setting beside `name`,
    like `path`.  With `copyOf` the repository gets the master key of that destination's repository:
    copies between the two are made without decryption, and one key opens both.
    """

    type: Word | None = None
    settings: JsonObject | None = None
    retention: Retention | None = None
    verification: Verification | None = None
    space: SpaceLimits | None = None
    copyOf: Ref | None = None
    copying: Copying | None = None


class ChangedDestination(msgspec.Struct, kw_only=True):
    """Changes of a destination; absent members stay.

    `settings` gives new values of secret settings and of settings that do not determine the
    location of the repository. Other settings may be repeated unchanged; only a move changes them.
    `removedSettings` names optional settings to remove: their defaults apply again. An empty text
    in `settings` removes an optional setting as well, unless the setting is a secret. `node`,
    `nodes` or `allNodes` replace the nodes that reach the destination.
    """

    type: Word | None = None
    settings: JsonObject | None = None
    removedSettings: list[str] | None = None
    name: str | None = None
    node: Ref | None = None
    nodes: list[Ref] | None = None
    allNodes: bool | None = None
    retention: Retention | None = None
    verification: Verification | None = None
    space: SpaceLimits | None = None
    copying: Copying | None = None
