"""The record of a new mount."""

from __future__ import annotations

from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.kinds.api import AnyRequest, Context
from haulback.kinds.support import planning
from haulback.tasks.record import NewMount
from haulback.wire import JsonObject, Ref

_USUAL_MS = 86_400_000  # a mount ends after a day unless the request names a time
# A larger value is a time rather than a duration, as old clients send it.
_MOMENT_MS = 1_000_000_000_000
_LONGEST_MS = 366 * _USUAL_MS


def new_mount(
    request: AnyRequest,
    backup: Backup,
    wanted: JsonObject,
    catalogue: Catalogue,
    context: Context,
) -> NewMount:
    """The record of a mount, on the named node or the only possible node."""
    return NewMount(
        backup=backup.guid,
        entity=backup.entity,
        entity_name=backup.entity_name,
        node=_node(request.node, backup, catalogue),
        mode=request.mode.value,
        keep=_keep(request.unmountTime, context.now),
        wanted=wanted,
        snapshot_time=backup.snapshot_time,
        size=backup.size,
        project=backup.project or context.project,
    )


def _keep(wanted: int | None, now: int) -> int:
    keep = _USUAL_MS if wanted is None else wanted
    keep = keep - now if keep >= _MOMENT_MS else keep
    if not 0 <= keep <= _LONGEST_MS:
        raise Malformed(
            "unmountTime: give a duration in ms, from 0 (no end) to a year", field="unmountTime"
        )
    return keep


def _node(wanted: Ref | None, backup: Backup, catalogue: Catalogue) -> str:
    """The node of the mount: the named node, or the only node that reaches the backup."""
    to = catalogue.places.destination(backup.destination)
    return planning.on_node(catalogue, wanted, to).guid
