"""Record changes after a removal of backups: BACKUP_CLEANUP and DELETE."""

from __future__ import annotations

from haulback.contract.backup_cleanup import RemovalResult
from haulback.inventory.ledger import Ledger
from haulback.kinds.support.reports import SPACE, ReportMember
from haulback.tasks.record import Task

REMOVAL_REPORT = (
    ReportMember("removed", "guids", "The backups of the order that were removed.", needed=True),
    ReportMember(
        "givenUp", "guids", "Backups that were not found, and whose loss a user confirmed."
    ),
    *SPACE,
)


def is_blocked(task: Task) -> bool:
    """Whether a clean-up deleted no data because expected backups were missing."""
    damage = task.results.get("damage")
    return isinstance(damage, dict) and bool(damage.get("missing") or damage.get("unreadable"))


def settle_removal(task: Task, found: RemovalResult, ledger: Ledger) -> None:
    """Record a successful clean-up: it found all expected backups."""
    ledger.damage.found_again(task)
    ledger.damage.lost_for_good(found.givenUp)
    ledger.removals.deleted(found.removed)
