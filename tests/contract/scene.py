"""The server with one object of each type that the tests of the client and of the commands
share.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest

from haulback.client.api import Api, HttpCall
from haulback.client.client import Client
from haulback.contract.alarms import AlarmKind
from haulback.contract.machines import VirtualDisk
from haulback.contract.notifications import ChannelType, NotificationChannel
from haulback.ids import new_guid
from haulback.server.store.catalogue import SqlCatalogue
from haulback.wire import Named
from tests.contract.conftest import Served

CHANNEL: Any = {"type": ChannelType.MONITOR, "successUrl": "http://127.0.0.1:9/"}
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Asked(list[str]):
    """The operations that were called, by their keys in the access table, with their callers."""

    def __init__(self) -> None:
        super().__init__()
        self.by: list[Api] = []

    def close(self) -> None:
        """Keep connections open; commands close them when their process ends."""
        for api in self.by:
            api.close()


def watch(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Record all calls from now on."""
    seen = Asked()
    ask: Callable[..., Any] = Api.ask
    stream: Callable[..., Any] = Api.stream

    def watched(self: Api, call: HttpCall) -> Any:
        seen.append(f"{call.method} {_GUID.sub('{guid}', call.path)}")
        seen.by.append(self)
        return ask(self, call)

    def streamed(self: Api, path: str, *rest: Any) -> Any:
        seen.append(f"POST {_GUID.sub('{guid}', path)}")
        return stream(self, path, *rest)

    monkeypatch.setattr(Api, "ask", watched)
    monkeypatch.setattr(Api, "stream", streamed)
    return seen


class Scene:
    """A user, a node, and an object of each type; objects that a test changes are created again."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.client = Client(served.server.url, served.person)
        self.mover = Client(served.server.url, served.mover)
        self.tasks, self.node = self.client.tasks, self.mover.tasks.node
        self.machine = served.machines[0]
        self.hypervisor = str(served.hypervisor["guid"])
        self.destination = str(served.destination["guid"])
        self.guid = new_guid()

    def with_disks(self) -> str:
        """The machine, with two disks."""
        with self.served.app.store.write() as sql:
            found = SqlCatalogue(sql).machines.get(self.machine)
            found.disks = [VirtualDisk("root", 10, "qcow2"), VirtualDisk("data", 10, "qcow2")]
            self.served.seen(sql).inventory.scanned(self.hypervisor, [found], complete_since=None)
        return self.machine

    @cached_property
    def backup(self) -> str:
        return self.served.stored()

    @property
    def qcow2(self) -> str:
        """A machine whose qcow2 disks support snapshots."""
        return self.served.machines[self.served.new_machine(VirtualDisk("root", 10, "qcow2"))]

    @cached_property
    def held(self) -> str:
        """A snapshot that the node reports."""
        return str(self.served.snapped()["guid"])

    @cached_property
    def mount(self) -> str:
        """A mounted backup that the node reports."""
        return str(self.served.mounted()["guid"])

    @cached_property
    def iscsi(self) -> str:
        """A mounted backup with iSCSI disks that the node reports."""
        more = {"mode": "ISCSI", "allowedClients": ["iqn.2020-01.org.example:host"]}
        return str(self.served.mounted(**more)["guid"])

    @property
    def unmounted(self) -> str:
        """A backup that was mounted and unmounted again."""
        guid = str(self.served.mounted()["guid"])
        task = self.served.call("POST", "/api/tasks/unmount", {"mountedBackup": guid}).json()
        self.served.run(task["guid"], {})
        return guid

    @property
    def file_system(self) -> str:
        """A mounted file system; the node answers the next file request."""
        found = self.served.file_system(self.mount)
        row = {"name": "a", "type": "DIRECTORY", "size": 0, "modified": 0, "mode": 0}
        said = {"entries": [], "more": False, "uid": 0, "gid": 0, "contents": "READABLE"}
        self.served.answers(json.dumps(row | said).encode(), tar=bytes(1024))
        return found

    @cached_property
    def kvm(self) -> str:
        """A hypervisor that can run machines."""
        return self.served.kvm()

    @property
    def guest(self) -> str:
        """A machine on that hypervisor."""
        return self.served.machines[self.served.new_machine(hypervisor=self.kvm)]

    @cached_property
    def living(self) -> str:
        """A mounted backup with a machine that runs from it."""
        return str(self.served.living_off(self.kvm)["guid"])

    @cached_property
    def proven(self) -> str:
        """A backup with a proof that the node reports."""
        body = {"backup": self.backup, "hypervisor": self.kvm}
        task = self.served.call("POST", "/api/tasks/prove", body).json()
        evidence = {"sign": "AGENT", "took": 5, "disks": {"root": "00"}, "console": "hello"}
        self.served.run(task["guid"], {"evidence": evidence})
        return self.backup

    @property
    def unbelieved(self) -> str:
        """A hypervisor that no longer lists its only machine."""
        kvm = self.served.kvm()
        self.served.new_machine(hypervisor=kvm)
        self.served.machines.pop()  # the other tests do not see this hypervisor
        with self.served.app.store.write() as sql:
            now = self.served.app.clock.now_ms() + 1
            self.served.seen(sql).inventory.scanned(kvm, [], complete_since=now)
        return kvm

    @property
    def missing(self) -> str:
        """A backup that a clean-up reported as missing."""
        backup = self.served.stored()
        self.served.cleaned({"missing": [backup]})
        return backup

    @property
    def channel(self) -> str:
        """A channel whose monitor cannot be reached, because its address is that of this
        machine.
        """
        made = NotificationChannel(name=new_guid(), **CHANNEL)
        return self.client.records.channels.add(made).guid

    @property
    def delivery(self) -> str:
        """A message that was not delivered."""
        return self.client.notifications.test(self.channel).guid

    @property
    def alarm(self) -> str:
        """An alarm about the backup."""
        subject = Named(self.backup, "db")
        with self.served.app.store.write() as sql:
            self.served.seen(sql).alarms.report(
                AlarmKind.BACKUP_DAMAGED, subject, "one pack is torn", {}
            )
        return next(iter(self.client.alarms.all(subject=self.backup))).guid

    @cached_property
    def location(self) -> str:
        return self.client.backups.get(self.backup).backupLocations[0].guid

    @cached_property
    def task(self) -> str:
        return str(self.served.export()["guid"])

    @cached_property
    def running(self) -> str:
        return self.served.taken()

    @cached_property
    def restoring(self) -> str:
        return self.served.restoring()

    @property
    def other_node(self) -> str:
        return self.client.nodes.add(f"node-{new_guid()}").guid

    @cached_property
    def worker(self) -> str:
        return self.client.nodes.find("n1").guid

    def close(self) -> None:
        self.client.close()
        self.mover.close()
        self.served.rest()
