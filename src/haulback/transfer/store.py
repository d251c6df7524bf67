"""From staging to the destination: publishing an export, and keeping the index short."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from haulback.disk import Disk
from haulback.errors import HaulbackError
from haulback.repository.damage_report import record_findings
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Draft, Repository

_MS = 1_000_000  # nanoseconds
log = logging.getLogger(__name__)


def store_machine(
    repository: Repository, folder: Path, draft: Draft, disk: Disk | None = None
) -> Manifest:
    """Publish the draft in `folder`, merge index segments when due, and remove the folder.

    What the export could not read of older backups is recorded as damaged.
    Only adds: what a merge replaces is the clean-up's to delete.  Safe to repeat after a crash at
    any point as long as the folder is there.  Raises BaseGone when the backup has to be exported
    again, because something it reuses was cleaned up meanwhile.
    """
    manifest = repository.publish(folder, draft, disk)
    try:
        # Before the merge, which keeps of two copies of a chunk the one that is not damaged.
        record_findings(repository, f"the backup of {manifest.entity_name}", time.time_ns() // _MS)
        repository.merge_index(folder, disk)
    except HaulbackError as error:
        log.warning("the index is merged another time: %s", error.message)
    shutil.rmtree(folder, ignore_errors=True)
    return manifest
