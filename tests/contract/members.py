"""The members of each record that clients in the field read, as data: operation, member, type.

A member is a path; `[]` stands for every row of an array.  A type is the name of a check in
`CHECKS`; with a `?` before it, the member may be absent but is never null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_enum(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_text(value.get(name)) and value[name] for name in ("name", "description")
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(value.get(name)) for name in ("guid", "name"))


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "filled": lambda value: _is_text(value) and bool(value),
    "number": _is_number,
    "flag": lambda value: isinstance(value, bool),
    "enum": _is_enum,
    "named": _is_named,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}

_LOCATION = {
    "guid": "filled",
    "backup": "named",
    "backupDestination": "named",
    "backupDestination.name": "filled",
    "snapshotTime": "number",
    "roleType": "enum",
    "status": "enum",
    "retentionHint": "enum",
    "type": "enum",
}
_RULE = {
    "guid": "filled",
    "name": "filled",
    "active": "flag",
    "markedForDeletion": "flag",
    "schedules": "array",
    "warnings": "array",
}
_BACKUP_RULE = {
    **_RULE,
    "backupDestinations": "array",
    "ruleBackupDestinations": "array",
    "ruleBackupDestinations[].roleType": "enum",
    "ruleBackupDestinations[].backupDestination": "object",
    "ruleBackupDestinations[].backupDestination.guid": "?filled",
    "ruleBackupDestinations[].backupDestination.name": "text",
    "ruleBackupDestinations[].backupRetentionSettings": "object",
    "ruleBackupDestinations[].backupRetentionSettings.retentionKeepLastNFull": "?number",
    "ruleBackupDestinations[].backupRetentionSettings.retentionKeepFullNewerThan": "?number",
    "ruleBackupDestinations[].backupRetentionSettings.retentionKeepLastNIncremental": "?number",
    "ruleBackupDestinations[].backupRetentionSettings.retentionKeepIncrementalNewerThan": "?number",
}
_SCHEDULE = {
    "guid": "filled",
    "name": "filled",
    "type": "enum",
    "active": "flag",
    "backupType": "enum",
    "executionType": "enum",
    "hour": "?number",
    "interval": "?object",
    "interval.frequency": "?number",
    "daysOfWeek": "array",
    "daysOfWeek[].name": "filled",
    "daysOfWeek[].shortName": "filled",
    "months": "array",
    "months[].shortName": "filled",
    "dayOfWeekOccurrences": "array",
    "dayOfWeekOccurrences[]": "enum",
    "startWindowLength": "?number",
    "timeZone": "filled",
    "rules": "array",
    "rules[]": "named",
    "rules[].name": "filled",
    "paused": "flag",
    "lastRun": "?number",
    "nextRun": "?number",
    "warnings": "array",
}
_POLICY = {
    "guid": "filled",
    "name": "filled",
    "active": "flag",
    "priority": "number",
    "backupRetryCount": "number",
    "description": "text",
    "autoAssignMode": "enum",
    "autoAssignSettings": "object",
    "autoAssignSettings.mode": "enum",
    "autoAssignSettings.includeTags": "array",
    "autoAssignSettings.excludeTags": "array",
    "autoAssignSettings.includeRegExps": "array",
    "autoAssignSettings.excludeRegExps": "array",
    "autoAssignSettings.hvClusters": "array",
    "vms": "array",
    "vms[]": "named",
    "vmCount": "number",
    "ruleCount": "number",
    "averageBackupSize": "number",
    "rules": "array",
    "warnings": "array",
}
_FILE = {
    "guid": "filled",
    "path": "filled",
    "size": "number",
    "backupFileType": "enum",
    "iscsiMountable": "flag",
    "vmDisk": "object",
    "vmDisk.excludedFromBackup": "flag",
    "vmDisk.originalStorage.guid": "text",
    "storageId": "?text",
}
_USER = {
    "privileges": "array",
    "privileges[].name": "filled",
    "uiTimeZone": "filled",
    "appUserSettings.unmountPeriodForMountedBackups": "number",
}
_MACHINE = {
    "guid": "filled",
    "name": "filled",
    "uuid": "filled",
    "present": "flag",
    "restoreStatus": "filled",
    "restorable": "flag",
    "hypervisor": "named",
    "hvType": "enum",
    "hvmType": "enum",
    "hvManager": "named",
    "hvManager.name": "filled",
    "hvManager.url": "text",
    "hvManager.type": "enum",
    "hvCluster": "named",
    "hvCluster.name": "filled",
    "project": "?named",
    "tags": "array",
    "backupUpToDate": "?flag",
    "lastBackup": "?number",
    "lastSuccessfulBackupSize": "?number",
    "lastSuccessfulFullBackup": "?named",
    "lastSuccessfulFullBackupSize": "?number",
    "lastSuccessfulIncBackup": "?named",
    "vmBackupPolicy": "?named",
    "snapshotMgmtPolicy": "?named",
    "lastStoredSnapshot": "?named",
    "settings": "?object",
}
_BACKUP = {
    "guid": "filled",
    "protectedEntity": "named",
    "snapshotTime": "number",
    "backupTime": "number",
    "status": "enum",
    "type": "enum",
    "size": "number",
    "hidden": "flag",
    "warnings": "array",
    "warningsPresent": "flag",
    "warningsAcknowledged": "flag",
    "statusInfo": "?text",
    "description": "?text",
    "backupLocations": "array",
    "originEntity": "named",
    "originEntity.type": "enum",
    "backupRule": "?named",
    "taskTimeStats": "object",
    "iscsiMountable": "flag",
    "networkInterfaceCards": "array",
    "networkInterfaceCards[].guid": "filled",
    "networkInterfaceCards[].name": "filled",
    "networkInterfaceCards[].network.guid": "text",
    "networkInterfaceCards[].network.name": "text",
    **{f"backupLocations[].{name}": kind for name, kind in _LOCATION.items()},
}
_MANAGER = {"guid": "filled", "name": "filled", "url": "text", "type": "enum"}

MEMBERS: Mapping[str, Mapping[str, str]] = {
    "POST /session/login": _USER,
    "GET /user-info": _USER,
    "GET /virtual-machines": _MACHINE,
    "GET /virtual-machines/{guid}": _MACHINE,
    "GET /virtual-machine-disks": {
        "guid": "filled",
        "name": "filled",
        "uuid": "filled",
        "size": "number",
        "present": "flag",
        "supported": "flag",
        "type": "enum",
        "excludedFromBackup": "flag",
    },
    "GET /hypervisor-managers": _MANAGER,
    "GET /hypervisor-clusters": {"guid": "filled", "uuid": "filled", "name": "filled"},
    "GET /hypervisor-storages": {
        "guid": "filled",
        "uuid": "text",
        "name": "filled",
        "clusters": "array",
        "clusters[].guid": "filled",
        "totalAvailableSpace": "?number",
        "totalUsedSpace": "?number",
    },
    "GET /hypervisors": {
        "guid": "filled",
        "host": "filled",
        "type": "enum",
        "licenseCovered": "flag",
        "user": "text",
        "vmCount": "number",
        "cluster": "named",
        "cluster.name": "filled",
        "node": "?named",
    },
    "GET /network": {"guid": "filled", "name": "filled"},
    "GET /backup-destinations": {
        "guid": "filled",
        "name": "filled",
        "type": "enum",
        "totalUsedSpace": "?number",
        "totalAvailableSpace": "?number",
    },
    "GET /nodes": {
        "guid": "filled",
        "name": "filled",
        "version": "text",
        "lastSeen": "?number",
        "stagingSpace.totalSpace": "number",
        "stagingSpace.usedSpace": "number",
        "state": "enum",
    },
    "GET /backups": _BACKUP,
    "GET /backups/{guid}": _BACKUP,
    "GET /backup-locations": _LOCATION,
    "GET /backup-files": {**_FILE, "backupTime": "number"},
    "GET /backup-files/detailed/for-restore": _FILE,
    "GET /file-systems": {
        "guid": "filled",
        "volume": "filled",
        "label": "text",
        "type": "filled",
        "size": "number",
    },
    "GET /workflow-executions": {
        "guid": "filled",
        "state": "enum",
        "definitionName": "enum",
        "averageProgress": "number",
        "currentStep": "enum",
        "protectedEntity": "?named",
        "backupDestinations": "array",
        "backupDestinations[].name": "filled",
        "originEntity": "named",
        "originEntity.type": "enum",
        "priority": "number",
        "startTime": "?number",
        "finishTime": "?number",
    },
    "GET /mounted-backups": {
        "guid": "filled",
        "backup.protectedEntity": "named",
        "backup.size": "number",
        "backup.snapshotTime": "number",
        "backup.iscsiMountable": "flag",
        "mode": "enum",
        "state": "enum",
        "node": "named",
        "mountedFileSystemCount": "number",
        "mountedFileCount": "number",
    },
    "GET /mounted-file-systems/detailed": {
        "guid": "filled",
        "mountPath": "?text",
        "fileSystem.volume": "filled",
        "fileSystem.size": "number",
        "fileSystem.type": "filled",
        "fileSystem.label": "text",
    },
    "POST /mounted-file-systems/{guid}/listing": {
        "name": "filled",
        "fileType": "enum",
        "size": "number",
        "modified": "number",
        "owner": "text",
        "group": "text",
        "permissions": "array",
    },
    "GET /mounted-files": {"path": "filled", "randomAccess": "flag"},
    "GET /restore-jobs": {
        "restoreTime": "number",
        "backup.snapshotTime": "number",
        "backup.size": "number",
        "status": "enum",
        "statusInfo": "?text",
        "restoreType": "enum",
        "taskTimeStats": "object",
    },
    "GET /snapshots": {
        "guid": "filled",
        "snapshotTime": "number",
        "status": "enum",
        "policy": "?text",
        "uuid": "filled",
    },
    "GET /dashboard/protection": {
        "vm.protectedNo": "number",
        "vm.notProtected": "number",
        "vm.noSchedule": "number",
    },
    "GET /dashboard/backup-stats": {
        "successful": "number",
        "failed": "number",
        "inProgress": "number",
        "queued": "number",
        "totalData": "text",
    },
    "GET /dashboard/staging-space": {
        "node.name": "filled",
        "totalSpace": "number",
        "availableSpace": "number",
    },
    "GET /dashboard/backup-destination-stats": {
        "totalUsedSpace": "number",
        "totalAvailableSpace": "number",
        "backupDestinations": "array",
    },
    "GET /dashboard/vm-backup-size-stats": {
        "backupSizeStatsResponses": "object",
        "restoreSizeStatsResponses": "object",
    },
    "GET /policies/vm-backup": {
        **_POLICY,
        "backupDestinations": "array",
        "backupDestinations[]": "named",
        **{f"rules[].{name}": kind for name, kind in _BACKUP_RULE.items()},
        **{f"rules[].schedules[].{name}": kind for name, kind in _SCHEDULE.items()},
    },
    "GET /policies/vm-snapshot": {
        **_POLICY,
        **{f"rules[].{name}": kind for name, kind in _RULE.items()},
        "rules[].retentionVersions": "?number",
        "rules[].retentionDays": "?number",
    },
    "GET /rules/vm-backup": {**_BACKUP_RULE, "policy": "?named"},
    "GET /rules/vm-snapshot": {**_RULE, "policy": "?named"},
    "GET /schedules": _SCHEDULE,
    "POST /policies/vm-backup/list-by-entities": {
        "guid": "filled",
        "name": "filled",
        "rules": "array",
        **{f"rules[].{name}": kind for name, kind in _BACKUP_RULE.items()},
    },
    "POST /virtual-machines/incremental-not-possible": {
        "virtualMachine.name": "filled",
        "virtualMachine.vmBackupPolicy": "?named",
        "reasons": "array",
        "reasons[]": "enum",
    },
    "POST /retention/mark-backups/preview": {
        **_LOCATION,
        "previousHint": "enum",
        "previousType": "enum",
        "previousArchiveExpire": "?number",
        "archiveExpire": "?number",
    },
}


def complaints(operation: str, record: Any) -> list[str]:
    """The members of a record that are missing, null, or of another type than clients expect."""
    result = []
    for path, kind in MEMBERS[operation].items():
        optional = kind.startswith("?")
        check = CHECKS[kind.removeprefix("?")]
        for there, value in _values(record, path.split(".")):
            if not there:
                result += [] if optional else [f"{operation}: {path} is missing"]
            elif not check(value):
                result.append(f"{operation}: {path} is {value!r}, not of type {kind}")
    return result


_ABSENT = object()


def _values(value: Any, path: list[str]) -> Iterator[tuple[bool, Any]]:
    """(exists, value) of a path; if a part of the path is missing, the value is missing too."""
    if not path:
        yield value is not _ABSENT, value
        return
    name, many = path[0].removesuffix("[]"), path[0].endswith("[]")
    inner = value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT
    if many and isinstance(inner, list):
        for item in inner:
            yield from _values(item, path[1:])
    elif inner is _ABSENT or many:
        yield False, None
    else:
        yield from _values(inner, path[1:])
