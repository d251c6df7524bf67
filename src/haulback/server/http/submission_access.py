"""Access, examples and commands of the submissions of each kind, by path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, OPERATORS, RESTORERS, Roles


class Declared(NamedTuple):
    """Declaration of a submission that its kind does not hold yet."""

    roles: Roles
    projects: ProjectAccess = ProjectAccess.WHOLE
    examples: Sequence[Any] = ()
    command: str = ""


SUBMISSIONS = {
    "remove-old-backups": Declared(
        roles=OPERATORS,
        examples=[{"backupDestinations": [example.REF]}],
        command="backup rm-old DESTINATION",
    ),
    "connectivity-test": Declared(
        roles=OPERATORS,
        projects=ProjectAccess.COMMON,
        examples=[{"backupDestinations": [example.REF]}],
        command="destination test DESTINATION",
    ),
    "delete": Declared(
        roles=ADMINS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"value": example.GUID}],
        command="machine rm MACHINE",
    ),
    "batch-delete": Declared(
        roles=ADMINS,
        projects=ProjectAccess.OBJECTS,
        examples=[[{"value": example.GUID}]],
        command="machine rm MACHINE MACHINE",
    ),
    "export": Declared(
        roles=OPERATORS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {
                "protectedEntities": [example.REF],
                "backupType": {"name": "FULL", "description": "Full"},
                "priority": 50,
                "retryCount": 0,
                "rules": [],
                "protectedEntityType": "VM",
                "async": True,
            },
            {
                "protectedEntities": [example.GUID],
                "backupType": "INCREMENTAL",
                "windowStart": 4070908800000,
                "windowEnd": 4070930400000,
                "priority": 50,
            },
        ],
        command="backup create MACHINE --destination DESTINATION",
    ),
    "restore-and-import": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {
                "backupLocation": {
                    "guid": example.GUID,
                    "backup": {"guid": example.GUID, "name": "web"},
                },
                "hypervisor": example.REF,
                "restoredPeName": "web-again",
                "restoredDiskAllocationFormat": {"name": "SPARSE"},
                "overwrite": False,
            }
        ],
        command="restore machine BACKUP --hypervisor HYPERVISOR",
    ),
    "instant-restore": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {"mode": {"name": "INSTANT_RESTORE"}, "backup": example.GUID, "hypervisor": example.REF}
        ],
        command="restore instant BACKUP --hypervisor KVM",
    ),
    "inventory-sync": Declared(
        roles=OPERATORS,
        examples=[{"hypervisorManagers": []}, {"hypervisors": [example.GUID]}],
        command="hypervisor sync HYPERVISOR",
    ),
    "wizard/inventory-sync": Declared(
        roles=ADMINS,
        examples=[{"hypervisors": [{"name": "new", "path": "/srv/machines", "node": example.REF}]}],
        command="hypervisor try there /srv/machines --node NODE",
    ),
    "live-migration": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"mountedBackup": example.REF}],
        command="migrate LIVING",
    ),
    "restore-and-mount": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {
                "mode": {"name": "AUTO"},
                "backupLocation": {
                    "guid": example.GUID,
                    "backup": {"guid": example.GUID, "name": "web"},
                },
                "mountedFileSystems": [{"mountPath": "/mnt/web"}],
                "allowedClients": [],
                "unmountTime": 86400000,
            }
        ],
        command="restore mount BACKUP",
    ),
    "mount": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"mountedBackup": example.REF}],
        command="mount again UNMOUNTED",
    ),
    "prove": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {"backup": example.REF, "sign": "AGENT", "script": "systemctl is-active nginx"},
            {
                "backup": example.GUID,
                "hypervisor": example.REF,
                "text": "login:",
                "timeout": 300000,
            },
        ],
        command="backup prove BACKUP --hypervisor KVM",
    ),
    "repair": Declared(
        roles=ADMINS,
        examples=[
            {"backupDestinations": [example.REF]},
            {"backupDestinations": [example.REF], "apply": True},
        ],
        command="destination repair DESTINATION",
    ),
    "restore": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"backup": example.REF, "node": example.REF, "restorePath": "/srv/restores/web"}],
        command="restore disks BACKUP /srv/restores/web --node NODE",
    ),
    "snapshot": Declared(
        roles=OPERATORS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"protectedEntities": [example.REF], "priority": 50}],
        command="snapshot create MACHINE",
    ),
    "vm-snapshot": Declared(
        roles=OPERATORS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"protectedEntities": [example.REF], "priority": 50}],
        command="snapshot create MACHINE --vm",
    ),
    "remove-old-snapshots": Declared(
        roles=OPERATORS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"protectedEntities": [example.REF]}],
        command="snapshot clean MACHINE",
    ),
    "revert": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {
                "snapshot": example.REF,
                "windowStart": 4070908800000,
                "windowEnd": 4070930400000,
                "priority": 50,
            }
        ],
        command="snapshot revert SNAPSHOT",
    ),
    "unmount": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"mountedBackup": {"guid": example.GUID, "name": ""}}],
        command="mount unmount MOUNT",
    ),
    "upload": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"mountedBackup": example.REF, "paths": ["/etc/hosts"]}],
        command="mount upload MOUNT /etc/hosts --machine GUEST",
    ),
    "verify": Declared(
        roles=OPERATORS,
        examples=[
            {"backupDestinations": [example.REF]},
            {"backupDestinations": [example.GUID], "bytes": 107374182400, "seconds": 14400},
        ],
        command="destination verify DESTINATION",
    ),
    "eject-tape": Declared(
        roles=OPERATORS, examples=[{"tapes": [example.REF]}], command="tape eject TAPE"
    ),
    "import-tape": Declared(
        roles=OPERATORS, examples=[{"tapes": [example.REF]}], command="tape import TAPE"
    ),
    "tape-manager-inventory-sync": Declared(
        roles=OPERATORS, examples=[{"tapeManagers": [example.REF]}], command="tape sync MANAGER"
    ),
    "import-for-cloud": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"backup": example.REF, "restorePath": "/"}],
        command="cloud import BACKUP /mail",
    ),
    "import-for-cloud/per-feature": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {"backup": example.GUID, "optionsPerFeature": [{"feature": "MAIL", "options": {}}]}
        ],
        command="cloud import BACKUP /mail --per-feature MAIL",
    ),
    "import-for-os-agent": Declared(
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"backup": example.GUID, "restorePath": "/srv"}],
        command="agent import BACKUP /srv",
    ),
}
