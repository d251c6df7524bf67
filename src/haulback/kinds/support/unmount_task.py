"""The task that ends a mount."""

from __future__ import annotations

from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Mount
from haulback.kinds.api import AnyRequest, Context
from haulback.kinds.support import planning
from haulback.tasks.record import Task
from haulback.wire import Named


def task(
    mount: Mount,
    catalogue: Catalogue,
    context: Context,
    request: AnyRequest = None,
    *,
    follows: Task | None = None,
) -> Task:
    """The task that unmounts a backup."""
    backup = catalogue.backups.get(mount.backup)
    refs = {
        "backup": Named(backup.guid, backup.entity_name),
        "protectedEntity": catalogue.machines.get(mount.entity).named(),
        "mountedBackup": Named(mount.guid, mount.entity_name),
    }
    return planning.task(
        "UNMOUNT",
        "restore",
        context.of(mount.project),
        request,
        planning.TaskSpec(
            refs=refs, params={"mode": mount.mode}, pinned=mount.node, follows=follows
        ),
    )
