"""libvirt keeps the promises of every hypervisor, for machines that are stopped and that run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.testing.hypervisors import CHECKS
from tests.hosts import LibvirtLab, lab, needs_libvirt
from tests.images import qemu_io

libvirt_qemu: Any = pytest.importorskip("libvirt_qemu")
pytestmark = needs_libvirt


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtLab]:
    with lab(tmp_path_factory.mktemp("lab") / "h1") as made:
        yield made


class StoppedBench:
    """Its guests write while they are stopped: their images change."""

    format, tracks = "qcow2", True

    def __init__(self, host: LibvirtLab) -> None:
        self.host = host
        self.hypervisor = LibvirtHost(host.uri, host.storage, host.folder / "work")

    def guest_writes(self, uuid: str, disk: str, offset: int, data: bytes) -> None:
        [image] = self.host.storage.rglob("*.qcow2")
        qemu_io(image, f"write -q -P {data[0]} {offset} {len(data)}")


class Awake:
    """A hypervisor whose machines are started before they are read."""

    def __init__(self, host: LibvirtLab, inner) -> None:
        self._host, self._inner = host, inner

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def wake(self, uuid: str):
        domain = self._host.connection.lookupByUUIDString(uuid)
        if not domain.isActive():
            domain.create()
        return domain

    def asleep(self) -> None:
        for domain in self._host.connection.listAllDomains():
            if domain.isActive():
                domain.destroy()

    def snapshot(self, uuid: str, attempt: str, base: str | None = None):
        if any(one.uuid == uuid for one in self._inner.inventory().machines):
            self.wake(uuid)
        return self._inner.snapshot(uuid, attempt, base)

    def create(self, *arguments, **more):
        self.asleep()
        return self._inner.create(*arguments, **more)

    def remove(self, uuid: str) -> None:
        self.asleep()
        self._inner.remove(uuid)


class RunningBench(StoppedBench):
    """Its guests run; what they write goes through QEMU's block layer."""

    def __init__(self, host: LibvirtLab) -> None:
        super().__init__(host)
        self.hypervisor = Awake(host, self.hypervisor)

    def guest_writes(self, uuid: str, disk: str, offset: int, data: bytes) -> None:
        domain = self.hypervisor.wake(uuid)
        write = f"write -P {data[0]} {offset} {len(data)}"
        command = f'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "{write}"'
        answer = libvirt_qemu.qemuMonitorCommand(
            domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        )
        assert "rror" not in answer, answer


@pytest.fixture(params=[StoppedBench, RunningBench])
def bench(request: pytest.FixtureRequest, host: LibvirtLab):
    yield request.param(host)
    host.clear()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_libvirt_keeps_the_promises_of_a_hypervisor(bench, host: LibvirtLab, check):
    check(bench)
    assert not list((host.folder / "work").iterdir())
    assert not [p for p in host.storage.iterdir() if p.name.startswith(".")]
    assert bench.hypervisor.sweep(set()) == []
