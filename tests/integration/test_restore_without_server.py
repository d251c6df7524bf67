"""A machine is restored onto a libvirt host with a store and a key alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from haulback.testing.libvirt_lab import LibvirtLab
from tests.hosts import needs_libvirt
from tests.unit.cli.test_repository_restore import VARIABLES, Shop, entity

pytestmark = needs_libvirt
DEFINITION = """<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>{}</os><features><acpi/></features><devices>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/the/original/a'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>"""
UEFI = "<loader readonly='yes' type='pflash'>/CODE.fd</loader><nvram>/the/original</nvram>"


@pytest.mark.parametrize("firmware", ["", UEFI], ids=["bios", "uefi"])
def test_a_machine_is_defined_on_a_host_from_the_store_alone(
    host: LibvirtLab, tmp_path: Path, pool: ThreadPoolExecutor, firmware: str
):
    shop = Shop(tmp_path, pool, DEFINITION.format(firmware))
    del shop.disks["data disk"]
    made = shop.backed_up(entity())
    words = (str(shop.folder), "web")
    shop.restore(*words, libvirt=host.uri, storage=host.storage, power_on=not firmware)
    domain = host.connection.lookupByUUIDString(made.entity)
    assert (domain.name(), bool(domain.isActive())) == ("web", not firmware)
    root = ET.fromstring(domain.XMLDesc(0))
    if firmware:
        assert Path(root.findtext("os/nvram") or "").read_bytes() == VARIABLES
    else:
        domain.destroy()
    image = root.find("devices/disk/source")
    assert image is not None
    assert Path(image.get("file", "")).read_bytes() == shop.disks["vda"]
    shop.restore(*words, libvirt=host.uri, storage=host.storage)  # a copy besides the first one
    assert len(host.connection.listAllDomains()) == 2
    host.clear()
