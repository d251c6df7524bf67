"""The project of a record: the requested project, the caller's own, or the project of its
policy.
"""

from __future__ import annotations

from haulback.contract.projects import Project
from haulback.contract.records import PolicyRecord
from haulback.errors import Malformed
from haulback.inventory.records import Record
from haulback.server.scope import Scope
from haulback.server.store import configuration
from haulback.server.store.engine import Connection

_GOVERNED = {"vm-backup": "rule", "vm-snapshot": "snapshot-rule"}  # rules belong to their policy


def owner(
    scope: Scope, wanted: PolicyRecord, before: Record | None, above: Record | None
) -> str | None:
    """The project of the record that `wanted` describes, None for a record of all projects.

    `above` is the record that contains this record.  Raises Forbidden, Malformed.
    """
    if isinstance(wanted, Project):
        return wanted.uuid[:80] or None
    if above is None or above.kind not in _GOVERNED:
        return scope.owner(wanted.project, before.project if before else None)
    scope.check_change(above.project, above.name)
    if wanted.project is not None and wanted.project != (above.project or ""):
        raise Malformed(
            "project: a rule belongs to the project of its policy, "
            f"{above.project or 'none'}; leave the member out",
            field="project",
        )
    return above.project


def hand_down(sql: Connection, policy: Record) -> None:
    """Give the rules of a policy the policy's project."""
    if rules := _GOVERNED.get(policy.kind):
        configuration.hand_down(sql, policy, rules)
