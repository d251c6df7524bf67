"""Table of the node halves of all task kinds; a new kind is one line."""

from __future__ import annotations

from haulback.work import (
    backup_cleanup,
    backup_destination_sync,
    connectivity_test,
    delete,
    destination_init,
    destination_move,
    export,
    import_machine,
    inventory_sync,
    live_migration,
    mount,
    prove,
    repair,
    restore,
    scoped_inventory_sync,
    snapshot,
    snapshot_cleanup,
    snapshot_reversion,
    staging_cleanup,
    store,
    unmount,
    upload,
    verify,
)
from haulback.work.context import TaskWorks

_ALL = (
    backup_cleanup.WORK,
    backup_destination_sync.WORK,
    connectivity_test.WORK,
    delete.WORK,
    destination_init.WORK,
    destination_move.WORK,
    export.WORK,
    import_machine.WORK,
    inventory_sync.WORK,
    live_migration.WORK,
    mount.WORK,
    prove.WORK,
    repair.WORK,
    restore.WORK,
    scoped_inventory_sync.WORK,
    snapshot.WORK,
    snapshot_cleanup.WORK,
    snapshot_reversion.WORK,
    staging_cleanup.WORK,
    store.WORK,
    unmount.WORK,
    upload.WORK,
    verify.WORK,
)
WORK: TaskWorks = {work.type: work for work in _ALL}
