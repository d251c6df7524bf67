"""Publication of an export in the destination, and merging of the index."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from haulback.durable_files import DurableFiles
from haulback.errors import HaulbackError
from haulback.repository.damage_report import record_findings
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Draft, Repository

_MS = 1_000_000  # nanoseconds in a millisecond
log = logging.getLogger(__name__)


def store_machine(
    repository: Repository,
    folder: Path,
    draft: Draft,
    disk: DurableFiles | None = None,
    lock: int = 0,
) -> Manifest:
    """Publish the draft in `folder`, merge index files if due, and remove the folder.

    A store that keeps locks keeps the backup for at least `lock` ms.

    Damage that the export found in older backups is recorded. The function only adds objects:
    garbage collection deletes the index files that a merge replaced. A repetition after a crash is
    safe while the folder exists. Raises BaseGone when a reused chunk was garbage collected in the
    meantime and the backup has to be exported again.
    """
    manifest = repository.publish(folder, draft, disk, lock)
    try:
        # Record damage before the merge: of two copies of a chunk the merge keeps the intact one.
        record_findings(repository, f"the backup of {manifest.entity_name}", time.time_ns() // _MS)
        repository.merge_index(folder, disk)
    except HaulbackError as error:
        log.warning("the merge of index files is postponed: %s", error.message)
    shutil.rmtree(folder, ignore_errors=True)
    return manifest
