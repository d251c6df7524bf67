"""Table of the server halves of all task kinds; a new kind is one line."""

from __future__ import annotations

from haulback.errors import KindUnavailable
from haulback.kinds import (
    backup_cleanup,
    backup_destination_sync,
    connectivity_test,
    delete,
    destination_init,
    destination_move,
    export,
    import_machine,
    instant_restore,
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
    unavailable,
    unmount,
    upload,
    verify,
)
from haulback.kinds.api import Kinds, TaskKind

_ALL = (
    backup_cleanup.KIND,
    backup_destination_sync.KIND,
    connectivity_test.KIND,
    delete.KIND,
    destination_init.KIND,
    destination_move.KIND,
    export.KIND,
    import_machine.KIND,
    inventory_sync.KIND,
    live_migration.KIND,
    mount.KIND,
    prove.KIND,
    repair.KIND,
    restore.KIND,
    scoped_inventory_sync.KIND,
    snapshot.KIND,
    snapshot_cleanup.KIND,
    snapshot_reversion.KIND,
    staging_cleanup.KIND,
    store.KIND,
    unmount.KIND,
    upload.KIND,
    verify.KIND,
)


class _KnownKinds(dict[str, TaskKind]):
    """The kinds by type; a database of another version may hold tasks of other kinds."""

    def __missing__(self, type_: str) -> TaskKind:
        raise KindUnavailable(
            f"this version has no kind of task {type_}; end the task with the version that made it"
        )


KINDS: Kinds = _KnownKinds({kind.type: kind for kind in _ALL})
WAYS = [way for kind in _ALL for way in kind.submissions]
WAYS += [instant_restore.SUBMISSION, *unavailable.WAYS]
