"""Refusal of requests that would disturb a waiting or running task."""

from __future__ import annotations

from collections.abc import Callable

from haulback.errors import Conflict
from haulback.inventory.catalogue import Catalogue
from haulback.tasks.record import Task
from haulback.wire import JsonObject, Named

_SHARES = ("MOUNT", "UNMOUNT", "LIVE_MIGRATION")  # kinds that begin or end the use of a mount


def share_free(mount: Named, catalogue: Catalogue) -> None:
    """Raises Conflict while a task mounts, unmounts or migrates the mount."""
    _refuse(catalogue, "mountedBackup", mount, _SHARES)


def is_free(mount: str, catalogue: Catalogue) -> bool:
    """Whether no task mounts, unmounts or migrates the mount.

    The call waits for other servers that plan tasks of the mount at this moment.
    """
    return not catalogue.work.under_way("mountedBackup", mount, *_SHARES)


def machine_free(entity: Named, kind: str, catalogue: Catalogue) -> None:
    """Raises Conflict while a task of this kind waits or runs for the machine."""
    _refuse(catalogue, "protectedEntity", entity, (kind,))


def backup_free(backup: Named, same: JsonObject, catalogue: Catalogue) -> None:
    """Raises Conflict while a MOUNT with the same parameters waits or runs for the backup."""

    def is_same(other: Task) -> bool:
        return all(other.params.get(name) == value for name, value in same.items())

    _refuse(catalogue, "backup", backup, ("MOUNT",), is_same)


def _refuse(
    catalogue: Catalogue,
    role: str,
    about: Named,
    kinds: tuple[str, ...],
    counts: Callable[[Task], bool] = lambda _: True,
) -> None:
    for other in catalogue.work.under_way(role, about.guid, *kinds):
        if counts(other):
            verb = "runs" if other.state == "RUNNING" else "waits"
            raise Conflict(
                f"{role}: the {other.type} task {other.guid} {verb} for {about.name} "
                "already; wait for the end of that task, or cancel it first",
                field=role,
                task=other.guid,
            )
