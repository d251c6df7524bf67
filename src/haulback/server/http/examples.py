"""Examples of requests, as real clients send them; the contract tests send every one of them."""

from __future__ import annotations

from typing import Any

_GUID = "f8f73bf9-2445-4bce-a7dd-753be3b40a67"
_LOCATION = {"guid": _GUID, "backup": {"guid": _GUID, "name": "web"}}
_WINDOW = {"windowStart": 4070908800000, "windowEnd": 4070930400000, "priority": 50}

REQUESTS: dict[str, list[Any]] = {
    "POST /session/login": [{"login": "admin", "password": "secret"}],
    "POST /tasks/export": [
        {
            "protectedEntities": [{"guid": _GUID}],
            "backupType": {"name": "FULL", "description": "Full"},
            "priority": 50,
            "retryCount": 0,
            "rules": [],
            "protectedEntityType": "VM",
            "async": True,
        },
        {"protectedEntities": [_GUID], "backupType": "INCREMENTAL", **_WINDOW},
    ],
    "POST /tasks/restore": [
        {"backup": {"guid": _GUID}, "node": {"guid": _GUID}, "restorePath": "/srv/restores/web"}
    ],
    "POST /tasks/restore-and-import": [
        {
            "backupLocation": _LOCATION,
            "hypervisor": {"guid": _GUID},
            "restoredPeName": "web-again",
            "restoredDiskAllocationFormat": {"name": "SPARSE"},
            "overwrite": False,
        }
    ],
    "POST /tasks/prove": [
        {"backup": {"guid": _GUID}, "sign": "AGENT", "script": "systemctl is-active nginx"},
        {"backup": _GUID, "hypervisor": {"guid": _GUID}, "text": "login:", "timeout": 300000},
    ],
    "POST /tasks/verify": [
        {"backupDestinations": [{"guid": _GUID}]},
        {"backupDestinations": [_GUID], "bytes": 107374182400, "seconds": 14400},
    ],
    "POST /tasks/repair": [
        {"backupDestinations": [{"guid": _GUID}]},
        {"backupDestinations": [{"guid": _GUID}], "apply": True},
    ],
    "POST /tasks/restore-and-mount": [
        {
            "mode": {"name": "AUTO"},
            "backupLocation": _LOCATION,
            "mountedFileSystems": [{"mountPath": "/mnt/web"}],
            "allowedClients": [],
            "unmountTime": 86400000,
        }
    ],
    "POST /tasks/instant-restore": [
        {"mode": {"name": "INSTANT_RESTORE"}, "backup": _GUID, "hypervisor": {"guid": _GUID}}
    ],
    "POST /tasks/live-migration": [{"mountedBackup": {"guid": _GUID}}],
    "POST /tasks/mount": [{"mountedBackup": {"guid": _GUID}}],
    "POST /tasks/unmount": [{"mountedBackup": {"guid": _GUID, "name": ""}}],
    "POST /tasks/snapshot": [{"protectedEntities": [{"guid": _GUID}], "priority": 50}],
    "POST /tasks/vm-snapshot": [{"protectedEntities": [{"guid": _GUID}], "priority": 50}],
    "POST /tasks/revert": [{"snapshot": {"guid": _GUID}, **_WINDOW}],
    "POST /tasks/remove-old-snapshots": [{"protectedEntities": [{"guid": _GUID}]}],
    "POST /tasks/remove-old-backups": [{"backupDestinations": [{"guid": _GUID}]}],
    "POST /tasks/delete": [{"value": _GUID}],
    "POST /tasks/batch-delete": [[{"value": _GUID}]],
    "POST /tasks/inventory-sync": [{"hypervisorManagers": []}, {"hypervisors": [_GUID]}],
    "POST /tasks/wizard/inventory-sync": [
        {"hypervisors": [{"name": "new", "path": "/srv/machines", "node": {"guid": _GUID}}]}
    ],
    "POST /tasks/connectivity-test": [{"backupDestinations": [{"guid": _GUID}]}],
    "POST /tasks/eject-tape": [{"tapes": [{"guid": _GUID}]}],
    "POST /tasks/import-tape": [{"tapes": [{"guid": _GUID}]}],
    "POST /tasks/tape-manager-inventory-sync": [{"tapeManagers": [{"guid": _GUID}]}],
    "POST /tasks/import-for-cloud": [{"backup": {"guid": _GUID}, "restorePath": "/"}],
    "POST /tasks/import-for-cloud/per-feature": [
        {"backup": _GUID, "optionsPerFeature": [{"feature": "MAIL", "options": {}}]}
    ],
    "POST /tasks/import-for-os-agent": [{"backup": _GUID, "restorePath": "/srv"}],
    "POST /tasks/upload": [{"mountedBackup": {"guid": _GUID}, "paths": ["/etc/hosts"]}],
    "POST /tasks/cancel-running": [[{"guid": _GUID}]],
    "POST /tasks/delete-finished": [[{"guid": _GUID}]],
    "POST /tasks/delete-finished-and-queued": [[{"guid": _GUID}]],
    "PUT /tasks/{guid}/state": [
        "CANCELLED",
        {"name": "CANCELLED"},
        {"state": {"name": "CANCELLED"}, "statusInfo": "Canceled by user"},
    ],
    "PUT /tasks/state": [{"state": {"name": "CANCELLED"}, "tasks": [{"guid": _GUID}]}],
    "PUT /tasks/{guid}/backup-type": ["FULL", {"name": "FULL"}],
    "PUT /tasks/{guid}/progress": [{"value": 66.5}, 66.5],
    "PUT /tasks/{guid}/cloud-progress": [{"processedObjectCount": 3, "totalObjectCount": 10}],
    "PUT /tasks/{guid}/os-progress": [{"processedObjectCount": 3, "totalObjectCount": 10}],
    "PUT /tasks/{guid}/restore-host-id": [{"value": "host-1"}],
    "PUT /tasks/{guid}/restore-storage-id": [{"value": "storage-1"}],
    "PUT /tasks/{guid}/transfer-info": [{"transferredBytes": 1048576, "totalBytes": 2097152}],
    "PUT /tasks/{guid}/transfer-rate": [{"transferRate": 1048576.0, "transferredBytes": 4194304}],
    "PUT /tasks/{guid}/transfer-rate/incremental": [
        {"transferRate": 1048576.0, "transferredBytes": 1048576}
    ],
    "PUT /tasks/cbt-id": [{"task": {"guid": _GUID}, "cbtId": "checkpoint-1"}],
    "PUT /tasks/inc-snap-required": [{"task": {"guid": _GUID}, "incSnapRequired": True}],
    "POST /tasks/{guid}/task-files": [{"taskFiles": [{"backupFile": {"guid": _GUID}}]}],
    "POST /tasks/inventory": [
        {
            "type": {"name": "KVM", "description": "Kvm"},
            "hypervisor": {"guid": _GUID},
            "virtualMachines": [{"uuid": "a", "name": "web", "disks": []}],
        }
    ],
    "POST /tasks/instance-inventory": [
        {"protectedEntity": {"guid": _GUID}, "instance": {"name": "web", "disks": []}}
    ],
    "POST /tasks/tape-manager-inventory": [{"tapeManager": {"guid": _GUID}, "tapes": []}],
    "POST /hypervisors": [{"name": "here", "path": "/srv/machines"}],
    "POST /backup-destinations": [
        {"name": "vault", "path": "/srv/vault", "retention": {"keepLastNFull": 4}}
    ],
    "POST /users": [{"login": "eve", "password": "long enough", "roles": ["viewer"]}],
    "POST /api-tokens": [{"name": "exporter", "roles": ["viewer"], "validFor": 31536000000}],
    "POST /nodes": [{"name": "mover-2"}],
}
