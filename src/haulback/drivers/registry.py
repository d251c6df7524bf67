"""Registry of hypervisor drivers: the driver of each declared type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from haulback.drivers.hypervisor import MachineSource
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.remote.ssh import far_libvirt
from haulback.errors import Malformed
from haulback.hypervisor_types import IMAGE_FOLDER, LIBVIRT, is_remote
from haulback.wire import JsonMapping

Config = JsonMapping


def _libvirt(config: Config) -> MachineSource:
    url, storage = str(config.get("url")), _path(config)
    return far_libvirt(url, storage) if is_remote(config) else LibvirtHost(url, storage)


def _path(config: Config) -> Path:
    path = config.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise Malformed("its path is not an absolute one")
    return Path(path)


DRIVERS: Mapping[str, Callable[[Config], MachineSource]] = {
    IMAGE_FOLDER.driver: lambda config: ImageFolder(_path(config)),
    LIBVIRT.driver: _libvirt,
}


def open_hypervisor(driver: str, config: Config) -> MachineSource:
    """Open the driver of a hypervisor by its name and the hypervisor's settings.

    Raises Malformed for an unknown driver, and for settings that name no folder.
    """
    if driver not in DRIVERS:
        raise Malformed(f"this node has no driver {driver!r}")
    return DRIVERS[driver](config)
