"""Young backups on a store whose lists lag: this node may not see their index files yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from haulback.errors import Damaged, NotFound
from haulback.repository import manifest as manifests
from haulback.repository.manifest import Manifest
from haulback.repository.names import exists
from haulback.repository.recent_backups import is_listed
from haulback.repository.repository import Repository
from haulback.repository.verify import VerifyReport
from haulback.work.context import TaskContext
from haulback.work.support.pause import pause

_UNKNOWN_DELAY = 120.0  # seconds, where the delay of the lists is unknown


def let_be_listed(context: TaskContext, repository: Repository, backup: str) -> None:
    """Wait until a backup is older than the listing delay; then every list shows the objects to
    which it refers.

    Raises Cancelled or Fenced.
    """
    _await(context, _left(context, repository, backup))


def let_be_readable(context: TaskContext, repository: Repository, manifest: Manifest) -> None:
    """Wait for a young backup as `let_be_listed` does, but only while lists lack its data.

    Raises Cancelled or Fenced.
    """
    left = _left(context, repository, manifest.backup)
    until = time.monotonic() + left
    if left > 0 and not is_listed(repository, manifest, until, context.progress.meter):
        _await(context, until - time.monotonic())


def _left(context: TaskContext, repository: Repository, backup: str) -> float:
    """Seconds until every list shows the objects to which a backup refers; 0 or less for an old
    backup.
    """
    delay = repository.listing_delay
    if delay == 0:
        return 0
    delay = _UNKNOWN_DELAY if delay is None else delay
    with suppress(NotFound, Damaged):  # the work itself reports a missing or damaged manifest
        stored = repository.destination.info(manifests.name_of(backup)).stored
        age = (context.server.now_ms() - stored) / 1000 if stored is not None else delay
        # The wait is never longer than the delay, even if clocks differ.
        return min(delay, delay - age)
    return 0


def _await(context: TaskContext, left: float) -> None:
    if left > 0:
        pause(context, left, "the backup is so young that its index may not be listed here yet")


def await_lists(context: TaskContext, repository: Repository) -> None:
    """Wait until every list shows all objects that were stored before now.  Raises Cancelled or
    Fenced.
    """
    if repository.listing_delay != 0:
        delay = repository.listing_delay
        delay = _UNKNOWN_DELAY if delay is None else delay
        pause(context, delay, "the lists of this store may lag, and a repair needs complete lists")


def leave_out_young(context: TaskContext, repository: Repository) -> None:
    """Leave out manifests and index files that a list may show without the objects to which they
    refer.

    The clock of the store is not known here, so a further delay is added as a margin.
    """
    delay = repository.listing_delay
    if delay != 0:
        delay = _UNKNOWN_DELAY if delay is None else delay
        repository.objects.horizon = context.server.now_ms() - round(2000 * delay)


def expected_backups(
    context: TaskContext, repository: Repository, report: VerifyReport
) -> Iterator[str]:
    """The backups that the catalogue expects, without those that exist and were only left out."""
    met = {*report.listed, *report.unreadable}
    for backup in context.server.expected():
        if backup in met or not exists(repository.destination, manifests.name_of(backup)):
            yield backup
