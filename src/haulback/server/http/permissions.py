"""The one table of who may do what.  The server enforces it, a test walks it, the docs show it.

An operation without a row here does not start; a row without an operation neither.
"""

from __future__ import annotations

from haulback.server.caller import ADMINISTRATOR, NODE, OPERATOR, RESTORER, ROLES, VIEWER
from haulback.server.http.project_access import (
    ABOUT,
    SHARED_RECORDS,
    TENANT_RECORDS,
    ProjectAccess,
    reach_of,
)

PUBLIC: frozenset[str] = frozenset()
ADMINS = frozenset({ADMINISTRATOR})
OPERATORS = ADMINS | {OPERATOR}
RESTORERS = ADMINS | {RESTORER}
WORKERS = OPERATORS | RESTORERS
PEOPLE = WORKERS | {VIEWER}
NODES = frozenset({NODE})
READERS = PEOPLE | NODES
MOVERS = WORKERS | NODES

TABLE: dict[str, frozenset[str]] = {
    # the Tasks Controller: reading
    "GET /tasks": READERS,
    "GET /tasks/detailed": READERS,
    "GET /tasks/queued": READERS,
    "GET /tasks/modification-timestamps": READERS,
    "GET /tasks/{guid}": READERS,
    "GET /tasks/{guid}/state": READERS,
    "GET /tasks/{guid}/state/v2": READERS,
    "GET /tasks/{guid}/transfer-rate/last": READERS,
    "GET /tasks/{guid}/log": READERS,
    # asking for work
    "POST /tasks/export": OPERATORS,
    "POST /tasks/snapshot": OPERATORS,
    "POST /tasks/vm-snapshot": OPERATORS,
    "POST /tasks/remove-old-snapshots": OPERATORS,
    "POST /tasks/remove-old-backups": OPERATORS,
    "POST /tasks/verify": OPERATORS,
    "POST /tasks/repair": ADMINS,
    "POST /tasks/inventory-sync": OPERATORS,
    "POST /tasks/connectivity-test": OPERATORS,
    "POST /tasks/eject-tape": OPERATORS,
    "POST /tasks/import-tape": OPERATORS,
    "POST /tasks/tape-manager-inventory-sync": OPERATORS,
    "POST /tasks/restore": RESTORERS,
    "POST /tasks/restore-and-import": RESTORERS,
    "POST /tasks/prove": RESTORERS,
    "POST /tasks/restore-and-mount": RESTORERS,
    "POST /tasks/instant-restore": RESTORERS,
    "POST /tasks/live-migration": RESTORERS,
    "POST /tasks/mount": RESTORERS,
    "POST /tasks/unmount": RESTORERS,
    "POST /tasks/revert": RESTORERS,
    "POST /tasks/import-for-cloud": RESTORERS,
    "POST /tasks/import-for-cloud/per-feature": RESTORERS,
    "POST /tasks/import-for-os-agent": RESTORERS,
    "POST /tasks/upload": RESTORERS,
    "POST /tasks/{guid}": RESTORERS,
    "POST /tasks/delete": ADMINS,
    "POST /tasks/batch-delete": ADMINS,
    "POST /tasks/wizard/inventory-sync": ADMINS,
    # cancelling and removing
    "DELETE /tasks/{guid}": WORKERS,
    "DELETE /tasks/all-finished": WORKERS,
    "DELETE /tasks/all-finished-and-queued": WORKERS,
    "DELETE /tasks/all-running": WORKERS,
    "POST /tasks/cancel-running": WORKERS,
    "POST /tasks/delete-finished": WORKERS,
    "POST /tasks/delete-finished-and-queued": WORKERS,
    # people cancel; the node that takes or runs a task moves it on
    "PUT /tasks/{guid}/state": MOVERS,
    "PUT /tasks/state": MOVERS,
    # what a node says of the task it runs
    "PUT /tasks/{guid}/backup-type": NODES,
    "PUT /tasks/{guid}/progress": NODES,
    "PUT /tasks/{guid}/cloud-progress": NODES,
    "PUT /tasks/{guid}/os-progress": NODES,
    "PUT /tasks/{guid}/restore-host-id": NODES,
    "PUT /tasks/{guid}/restore-storage-id": NODES,
    "PUT /tasks/{guid}/transfer-info": NODES,
    "PUT /tasks/{guid}/transfer-rate": NODES,
    "PUT /tasks/{guid}/transfer-rate/incremental": NODES,
    "POST /tasks/{guid}/task-files": NODES,
    "PUT /tasks/cbt-id": NODES,
    "PUT /tasks/inc-snap-required": NODES,
    "POST /tasks/inventory": NODES,
    "POST /tasks/instance-inventory": NODES,
    "POST /tasks/tape-manager-inventory": NODES,
    "POST /tasks/{guid}/log": NODES,
    # who is who
    "POST /session/login": PUBLIC,
    "POST /session/logout": PEOPLE,
    "GET /user-info": PEOPLE,
    "GET /roles": PEOPLE,
    "GET /users": ADMINS,
    "POST /users": ADMINS,
    "GET /users/{guid}": ADMINS,
    "PUT /users/{guid}": ADMINS,
    "DELETE /users/{guid}": ADMINS,
    "GET /api-tokens": PEOPLE,
    "POST /api-tokens": PEOPLE,
    "DELETE /api-tokens/{guid}": PEOPLE,
    "GET /audit-log": ADMINS,
    # nodes
    "GET /nodes": PEOPLE,
    "POST /nodes": ADMINS,
    "GET /nodes/{guid}": PEOPLE,
    "PUT /nodes/{guid}": ADMINS,
    "DELETE /nodes/{guid}": ADMINS,
    "POST /nodes/{guid}/token": ADMINS,
    "POST /nodes/enrolment": ADMINS,
    "POST /nodes/enrol": PUBLIC,
    "POST /nodes/session": PUBLIC,
    "GET /nodes/self/orders/{guid}": NODES,
    "GET /nodes/self/keys/{guid}": NODES,
    "GET /nodes/self/pins/{guid}": NODES,
    "POST /nodes/self/needed": NODES,
    "POST /nodes/self/abandoned": NODES,
    "GET /nodes/self/expected/{guid}": NODES,
    "GET /nodes/self/shares": NODES,
    "GET /nodes/self/shares/{guid}": NODES,
    "GET /nodes/self/questions": NODES,
    "POST /nodes/self/answers/{guid}": NODES,
    "PUT /nodes/self/staging": NODES,
    # what there is to protect, and where
    "GET /hypervisors": PEOPLE,
    "POST /hypervisors": ADMINS,
    "GET /hypervisors/{guid}": PEOPLE,
    "PUT /hypervisors/{guid}": ADMINS,
    "DELETE /hypervisors/{guid}": ADMINS,
    "POST /hypervisors/{guid}/confirm-absent": ADMINS,
    "GET /virtual-machines": PEOPLE,
    "GET /virtual-machines/{guid}": PEOPLE,
    "DELETE /virtual-machines/{guid}": ADMINS,
    "DELETE /virtual-machines/all-non-present": ADMINS,
    "PUT /virtual-machines/{guid}/settings": ADMINS,
    "POST /virtual-machines/incremental-not-possible": PEOPLE,
    "GET /virtual-machine-disks": PEOPLE,
    "PUT /virtual-machine-disks/{guid}/settings": ADMINS,
    "GET /backup-destinations": PEOPLE,
    "POST /backup-destinations": ADMINS,
    "POST /backup-destinations/usable-for-vms": PEOPLE,
    "GET /backup-destinations/{guid}": PEOPLE,
    "PUT /backup-destinations/{guid}": ADMINS,
    "DELETE /backup-destinations/{guid}": ADMINS,
    # what is stored, and what was brought back
    "GET /backups": PEOPLE,
    "GET /backups/{guid}": PEOPLE,
    "GET /backups/{guid}/proof": PEOPLE,
    "POST /backups/{guid}/confirm-missing": ADMINS,
    "PUT /backups/{guid}/description": OPERATORS,
    "PUT /backups/{guid}/warnings-acknowledged": OPERATORS,
    "GET /backup-locations": PEOPLE,
    "GET /backup-locations/{guid}": PEOPLE,
    "GET /backup-files": PEOPLE,
    "GET /backup-files/detailed/for-restore": PEOPLE,
    "POST /retention/mark-backups": ADMINS,
    "POST /retention/mark-backups/preview": ADMINS,
    "GET /mounted-backups": PEOPLE,
    "GET /mounted-backups/{guid}": PEOPLE,
    "GET /mounted-backups/{guid}/iscsi": RESTORERS,
    "GET /file-systems": PEOPLE,
    "GET /mounted-file-systems/detailed": PEOPLE,
    "GET /mounted-files": PEOPLE,
    "POST /mounted-file-systems/{guid}/listing": RESTORERS,
    "POST /mounted-file-systems/{guid}/download": RESTORERS,
    "GET /snapshots": PEOPLE,
    "GET /snapshots/{guid}": PEOPLE,
    "GET /alarms": PEOPLE,
    "GET /alarms/{guid}": PEOPLE,
    "GET /restore-jobs": PEOPLE,
    "GET /restore-jobs/{guid}": PEOPLE,
    "GET /workflow-executions": PEOPLE,
    "GET /workflow-executions/{guid}": PEOPLE,
    "DELETE /workflow-executions/{guid}": WORKERS,
    # figures
    "GET /dashboard/protection": PEOPLE,
    "GET /dashboard/backup-stats": PEOPLE,
    "GET /dashboard/staging-space": PEOPLE,
    "GET /dashboard/backup-destination-stats": PEOPLE,
    "GET /dashboard/vm-backup-size-stats": PEOPLE,
    "GET /global-settings": PEOPLE,
    "POST /policies/vm-backup/list-by-entities": PEOPLE,
    # the server about itself
    "GET /livez": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /docs": PUBLIC,
}
for path in (*SHARED_RECORDS, *TENANT_RECORDS):
    TABLE |= {
        f"GET {path}": PEOPLE,
        f"GET {path}/{{guid}}": PEOPLE,
        f"POST {path}": ADMINS,
        f"PUT {path}/{{guid}}": ADMINS,
        f"DELETE {path}/{{guid}}": ADMINS,
    }
TABLE["GET /network/shared"] = PEOPLE


def reach(key: str) -> ProjectAccess:
    """The limits of a narrowed caller in an operation."""
    return reach_of(key, TABLE[key])


def as_markdown() -> str:
    """The table as the page docs/reference/access.md."""
    roles = list(ROLES)
    lines = [
        "# Who may do what",
        "",
        "Made from the tables that the server enforces (`server/http/permissions.py` and "
        "`server/http/project_access.py`).  "
        "A dot: this role may; *all*: nobody has to log in.  A user may have several roles.",
        "",
        *(f"- **{role}**: {about}." for role, about in ROLES.items()),
        "",
        "A caller is **narrowed** by the projects of the account, by those of the API token, by "
        "the header `3rd-party-project` or by the query `project-uuid`; all four confine in the "
        "same way, and together they confine to what all of them allow.  The last column says "
        "what a narrowed caller reaches; roles count besides.",
        "",
        *(f"- **{one.value}**: {about}" for one, about in ABOUT.items()),
        "",
        "| operation | " + " | ".join(roles) + " | narrowed |",
        "|---|" + ":-:|" * len(roles) + "---|",
    ]
    for key, allowed in TABLE.items():
        cells = ["*all*" if allowed == PUBLIC else "•" if r in allowed else "" for r in roles]
        lines.append(f"| `{key}` | " + " | ".join(cells) + f" | {reach(key).value} |")
    return "\n".join(lines) + "\n"
