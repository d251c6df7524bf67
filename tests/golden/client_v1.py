"""A client script as people wrote it against the first release.  It must run unchanged for ever.

Usage: python client_v1.py URL PASSWORD MACHINE.  Prints one JSON object.
"""

import contextlib
import json
import sys

from haulback.client.client import Client
from haulback.kinds import export, restore
from haulback.tasks.states import BackupType
from haulback.wire import Ref


def main(url: str, password: str, name: str, target: str) -> None:
    with contextlib.closing(Client(url)) as client:
        client.log_in("admin", password)
        machine = client.machines.find(name)
        before = [one.guid for one in client.backups.all(protected_entity=machine.guid)]
        wanted = export.Request(
            protectedEntities=[Ref(machine.guid)], backupType=BackupType.INCREMENTAL
        )
        [task] = client.tasks.export(wanted, key="golden")
        client.tasks.wait(task.guid)
        backup = client.backups.get(task.backup.guid)
        [node] = client.nodes.all()
        request = restore.Request(Ref(node.guid), target, backup=Ref(backup.guid))
        client.tasks.wait(client.tasks.restore(request).guid)
        found = {
            "before": before,
            "backup": backup.guid,
            "status": backup.status.name,
            "type": backup.type.name,
            "locations": [one.status.name for one in backup.backupLocations],
            "finished": sum(1 for _ in client.tasks.all(states=["FINISHED"])),
        }
        print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
