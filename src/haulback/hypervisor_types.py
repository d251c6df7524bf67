"""Hypervisor types: each declares its settings and capabilities once, as data.

The server, the command line and the drivers read the same declaration; reading it loads no driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from haulback.errors import Malformed
from haulback.libvirt_url import SCHEME, Address

_LOCAL = re.compile(r"qemu(\+unix)?:///(system|session)(\?socket=/[^?&#\s]{1,200})?")


class Capability(Enum):
    """Optional capability of a hypervisor type; the value completes "the type cannot …".

    `drivers.capabilities.PROTOCOLS` has the members that a driver implements for each capability.
    """

    CREATE = "create machines"
    SNAPSHOTS = "keep snapshots"
    POWER = "start machines"
    GUEST = "run commands in a guest"
    PROOF = "boot a backup in isolation"
    INSTANT_RESTORE = "run a machine from a mounted backup"
    LIVE_MIGRATION = "move a running machine"


class HypervisorType(NamedTuple):
    """Declaration of a hypervisor type.

    `driver` is the name in records, `label` the type in the API, `words` the type in messages.
    `url` and `path` are the defaults of these settings: a type with an empty `url` has no such
    setting, and a type with an empty `path` requires one. `networks` tells whether new machines
    have network cards, `snapshot_formats` lists the disk formats that hold snapshots. `remedy` ends
    the message about a missing capability.
    """

    driver: str
    label: str
    words: str
    capabilities: frozenset[Capability]
    url: str = ""
    path: str = ""
    networks: bool = False
    snapshot_formats: tuple[str, ...] = ("qcow2",)
    remedy: str = "name another hypervisor"

    def can(self, capability: Capability) -> bool:
        """Whether drivers of this type implement a capability."""
        return capability in self.capabilities

    def lack(self, capability: Capability) -> str:
        """Sentence for the error about a missing capability, with the remedy."""
        return f"{self.words} cannot {capability.value}; {self.remedy}"

    def require(self, capability: Capability, field: str) -> None:
        """Raise Malformed, naming `field`, if the type lacks a capability."""
        if not self.can(capability):
            raise Malformed(f"{field}: {self.lack(capability)}", field=field)


IMAGE_FOLDER = HypervisorType(
    driver="image-folder",
    label="IMAGE_FOLDER",
    words="a folder of images",
    capabilities=frozenset({Capability.CREATE, Capability.SNAPSHOTS}),
)
LIBVIRT = HypervisorType(
    driver="libvirt",
    label="KVM",
    words="libvirt",
    capabilities=frozenset(Capability),
    url="qemu:///system",
    path="/var/lib/libvirt/images",  # libvirt's default storage pool
    networks=True,
)
# A mounted backup and a migration need resources of the node's own machine.
LIBVIRT_BY_SSH = LIBVIRT._replace(
    words="libvirt reached by SSH",
    capabilities=LIBVIRT.capabilities - {Capability.INSTANT_RESTORE, Capability.LIVE_MIGRATION},
    remedy="run a node on that machine",
)
# The record of the hypervisor of the server's own database: nodes read the database over their
# channel to the server.
OWN_SERVER = HypervisorType(
    driver="haulback-server",
    label="HAULBACK",
    words="Haulback's own server",
    capabilities=frozenset(),
)
# The record of the hypervisor of machines that came with an attached destination.
ATTACHED = HypervisorType(
    driver="attached",
    label="ATTACHED",
    words="a machine of an attached destination",
    capabilities=frozenset(),
    remedy="restore its backup to a hypervisor",
)
# Drivers of internal records, which users cannot add as hypervisors.
INNER = (OWN_SERVER.driver, ATTACHED.driver)
# The types of hypervisors that users add, by driver.
TYPES = {declared.driver: declared for declared in (IMAGE_FOLDER, LIBVIRT)}
_ALL = {**TYPES, OWN_SERVER.driver: OWN_SERVER, ATTACHED.driver: ATTACHED}


def declared(driver: str) -> HypervisorType:
    """Type of a recorded hypervisor by its driver."""
    return _ALL[driver]


def type_of(driver: str, config: Mapping[str, object]) -> HypervisorType:
    """Type of a hypervisor by its driver and its settings. Raises Malformed for an unknown type."""
    if driver in INNER:
        return _ALL[driver]
    if driver not in TYPES:
        raise Malformed(f"driver: {driver[:40]!r} is not one of {', '.join(TYPES)}", field="driver")
    if driver == LIBVIRT.driver and is_remote(config):
        return LIBVIRT_BY_SSH
    return TYPES[driver]


def driver_of(label: str | None, driver: str | None, within: str = "") -> str | None:
    """Driver of the type with a label; `driver` without a label.

    The case of the label does not matter. `within` is the path of the settings in the request.
    Raises Malformed for an unknown label, or for a driver that belongs to another type.
    """
    if not label:
        return driver
    drivers = {declared.label: declared.driver for declared in TYPES.values()}
    cases = {label.upper(): driver for label, driver in drivers.items()}
    labelled = cases.get(label.upper())
    if labelled is None or driver not in (None, labelled):
        known = ", ".join(drivers)
        why = f"has no driver {driver}" if labelled else f"is not one of {known}"
        raise Malformed(f"{within}type: {label[:40]!r} {why}", field=f"{within}type")
    return labelled


def config(
    driver: str | None, path: str | None, url: str | None, within: str = ""
) -> tuple[str, str | None, dict[str, object]]:
    """Check the settings of a new hypervisor; returns driver, folder and the other settings.

    Raises Malformed for an unknown driver, and for a setting that the type does not have.
    """
    driver = driver or (LIBVIRT.driver if url else IMAGE_FOLDER.driver)
    if driver not in TYPES:
        known = ", ".join(TYPES)
        raise Malformed(
            f"{within}driver: {driver[:40]!r} is not one of {known}", field=f"{within}driver"
        )
    declared = TYPES[driver]
    if url and not declared.url:
        raise Malformed(
            f"{within}url: {declared.words} has no URL; leave it out", field=f"{within}url"
        )
    path, url = path or declared.path or None, url or declared.url
    if not url:
        return driver, path, {}
    _check_url(url, f"{within}url")
    return driver, path, {"url": url}


def _check_url(url: str, field: str) -> None:
    if is_remote({"url": url}):
        try:
            Address.parse(url)
        except Malformed as error:
            raise Malformed(f"{field}: {error.message}", field=field) from None
    elif not _LOCAL.fullmatch(url):
        raise Malformed(
            f"{field}: use qemu:///system or qemu+unix:///system?socket=/… for the node's own "
            "machine, qemu+ssh://user@host/system for another machine; no other URL is supported",
            field=field,
        )


def is_remote(config: Mapping[str, object]) -> bool:
    """Whether a hypervisor is on another host than its node; such a host cannot use mounts of the
    node.
    """
    return str(config.get("url")).startswith(f"{SCHEME}:")
