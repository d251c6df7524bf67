"""The reach of each operation within projects: one declaration for server, tests and documents."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class ProjectAccess(Enum):
    """Limits of a narrowed caller; the value is the word of the access page."""

    ANYBODY = "anybody"
    ACCOUNT = "own login"
    COMMON = "common"
    OBJECTS = "own objects"
    USE = "own and shared"
    CHANGE = "own"
    WHOLE = "403"
    NODE = "node"


_P = ProjectAccess
ABOUT: Final[Mapping[ProjectAccess, str]] = {
    _P.ANYBODY: "Nobody has to log in; the answer holds nothing of any project.",
    _P.ACCOUNT: "Concerns the caller's own login, and tokens that reach no further than it.",
    _P.COMMON: "The same answer for all projects; figures count the caller's projects only.",
    _P.OBJECTS: "Objects of other projects and of no project do not exist: 404, absent from "
    "lists, passed over by bulk operations.",
    _P.USE: "Records of no project can be read and used; records of other projects do not "
    "exist: 404.",
    _P.CHANGE: "Records of no project are 403, those of other projects 404; a new record "
    "belongs to the caller's project.",
    _P.WHOLE: "Acts on a shared place or on all projects: 403 for every narrowed caller.",
    _P.NODE: "The channel of nodes: the tasks that a node runs, ran or may start.",
}
_OBJECTS: Final = (
    "GET /tasks",
    "GET /tasks/detailed",
    "GET /tasks/queued",
    "GET /tasks/modification-timestamps",
    "GET /tasks/{guid}",
    "GET /tasks/{guid}/state",
    "GET /tasks/{guid}/state/v2",
    "GET /tasks/{guid}/transfer-rate/last",
    "GET /tasks/{guid}/log",
    "POST /tasks/export",
    "POST /tasks/snapshot",
    "POST /tasks/vm-snapshot",
    "POST /tasks/remove-old-snapshots",
    "POST /tasks/restore",
    "POST /tasks/restore-and-import",
    "POST /tasks/prove",
    "POST /tasks/restore-and-mount",
    "POST /tasks/instant-restore",
    "POST /tasks/live-migration",
    "POST /tasks/mount",
    "POST /tasks/unmount",
    "POST /tasks/revert",
    "POST /tasks/import-for-cloud",
    "POST /tasks/import-for-cloud/per-feature",
    "POST /tasks/import-for-os-agent",
    "POST /tasks/upload",
    "POST /tasks/delete",
    "POST /tasks/batch-delete",
    "DELETE /tasks/{guid}",
    "DELETE /tasks/all-finished",
    "DELETE /tasks/all-finished-and-queued",
    "DELETE /tasks/all-running",
    "POST /tasks/cancel-running",
    "POST /tasks/delete-finished",
    "POST /tasks/delete-finished-and-queued",
    "PUT /tasks/{guid}/state",
    "PUT /tasks/state",
    "GET /virtual-machines",
    "GET /virtual-machines/{guid}",
    "DELETE /virtual-machines/{guid}",
    "DELETE /virtual-machines/all-non-present",
    "PUT /virtual-machines/{guid}/settings",
    "POST /virtual-machines/incremental-not-possible",
    "GET /virtual-machine-disks",
    "PUT /virtual-machine-disks/{guid}/settings",
    "POST /backup-destinations/usable-for-vms",
    "GET /backups",
    "GET /backups/{guid}",
    "GET /backups/{guid}/proof",
    "PUT /backups/{guid}/description",
    "PUT /backups/{guid}/warnings-acknowledged",
    "GET /backup-locations",
    "GET /backup-locations/{guid}",
    "GET /backup-files",
    "GET /backup-files/detailed/for-restore",
    "POST /retention/mark-backups",
    "POST /retention/mark-backups/preview",
    "GET /mounted-backups",
    "GET /mounted-backups/{guid}",
    "GET /mounted-backups/{guid}/iscsi",
    "GET /file-systems",
    "GET /mounted-file-systems/detailed",
    "GET /mounted-files",
    "POST /mounted-file-systems/{guid}/listing",
    "POST /mounted-file-systems/{guid}/download",
    "GET /snapshots",
    "GET /snapshots/{guid}",
    "GET /alarms",
    "GET /alarms/{guid}",
    "GET /restore-jobs",
    "GET /restore-jobs/{guid}",
    "GET /workflow-executions",
    "GET /workflow-executions/{guid}",
    "DELETE /workflow-executions/{guid}",
    "POST /policies/vm-backup/list-by-entities",
)
_ACCOUNT: Final = (
    "POST /session/logout",
    "GET /user-info",
    "GET /api-tokens",
    "POST /api-tokens",
    "DELETE /api-tokens/{guid}",
)
_COMMON: Final = (
    "POST /tasks/connectivity-test",  # looks at a place, and tells nothing of what lies there
    "GET /roles",
    "GET /nodes",
    "GET /nodes/{guid}",
    "GET /hypervisors",
    "GET /hypervisors/{guid}",
    "GET /backup-destinations",
    "GET /backup-destinations/{guid}",
    "GET /dashboard/protection",
    "GET /dashboard/backup-stats",
    "GET /dashboard/staging-space",
    "GET /dashboard/backup-destination-stats",
    "GET /dashboard/vm-backup-size-stats",
    "GET /global-settings",
)
SHARED_RECORDS: Final = (
    "/node-configs",
    "/hypervisor-managers",
    "/hypervisor-clusters",
    "/hypervisor-storages",
    "/network",
    "/virtual-machine-flavors",
    "/projects",
)
TENANT_RECORDS: Final = (
    "/policies/vm-backup",
    "/policies/vm-snapshot",
    "/policies/recovery-plan",
    "/rules/vm-backup",
    "/rules/vm-snapshot",
    "/schedules",
)
TABLE: dict[str, ProjectAccess] = {
    **dict.fromkeys(_OBJECTS, ProjectAccess.OBJECTS),
    **dict.fromkeys(_ACCOUNT, ProjectAccess.ACCOUNT),
    **dict.fromkeys(_COMMON, ProjectAccess.COMMON),
    "GET /network/shared": ProjectAccess.USE,
    "POST /tasks/{guid}": ProjectAccess.USE,
}
for _path in (*SHARED_RECORDS, *TENANT_RECORDS):
    TABLE |= {f"GET {_path}": ProjectAccess.USE, f"GET {_path}/{{guid}}": ProjectAccess.USE}
for _path in TENANT_RECORDS:
    for _key in (f"POST {_path}", f"PUT {_path}/{{guid}}", f"DELETE {_path}/{{guid}}"):
        TABLE[_key] = ProjectAccess.CHANGE


def reach_of(key: str, roles: frozenset[str]) -> ProjectAccess:
    """The reach of an operation; one that declares none is refused to narrowed callers."""
    if not roles:
        return ProjectAccess.ANYBODY
    if roles == {"node"}:
        return ProjectAccess.NODE
    return TABLE.get(key, ProjectAccess.WHOLE)
