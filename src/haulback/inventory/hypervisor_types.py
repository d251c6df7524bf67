"""Hypervisor types: required settings and capabilities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from haulback.drivers.remote.url import SCHEME, Address
from haulback.errors import Malformed

_LIBVIRT = "libvirt"
_POOL = "/var/lib/libvirt/images"  # libvirt's default storage pool
_LOCAL = re.compile(r"qemu(\+unix)?:///(system|session)(\?socket=/[^?&#\s]{1,200})?")


class HypervisorType(NamedTuple):
    """A hypervisor type: `label` for the API, `words` for messages, and its capabilities."""

    label: str
    words: str
    power_on: bool = False
    networks: bool = False
    snapshots: tuple[str, ...] = ("qcow2",)  # formats of disks that keep them


PLATFORMS = {
    "image-folder": HypervisorType("IMAGE_FOLDER", "a folder of images"),
    _LIBVIRT: HypervisorType("KVM", "libvirt", power_on=True, networks=True),
}


def driver_of(kind: str | None, driver: str | None, within: str = "") -> str | None:
    """The driver of a type of hypervisor; `driver` where no type is named.  Raises Malformed."""
    if not kind:
        return driver
    found = next((name for name, one in PLATFORMS.items() if one.label == kind), None)
    if found is None or driver not in (None, found):
        known = ", ".join(one.label for one in PLATFORMS.values())
        why = f"has not the driver {driver}" if found else f"is not one of {known}"
        raise Malformed(f"{within}type: {kind[:40]!r} {why}", field=f"{within}type")
    return found


def config(
    driver: str | None, path: str | None, url: str | None, within: str = ""
) -> tuple[str, str | None, dict[str, Any]]:
    """Check a new hypervisor's settings: (driver, folder, other settings).  Raises Malformed."""
    chosen = driver or (_LIBVIRT if url else "image-folder")
    if chosen not in PLATFORMS:
        known = ", ".join(PLATFORMS)
        raise Malformed(
            f"{within}driver: {chosen[:40]!r} is not one of {known}", field=f"{within}driver"
        )
    if chosen != _LIBVIRT:
        if url:
            raise Malformed(
                f"{within}url: {PLATFORMS[chosen].words} has none; leave it out",
                field=f"{within}url",
            )
        return chosen, path, {}
    url = url or "qemu:///system"
    _check(url, f"{within}url")
    return chosen, path or _POOL, {"url": url}


def _check(url: str, field: str) -> None:
    if is_far({"url": url}):
        try:
            Address.parse(url)
        except Malformed as error:
            raise Malformed(f"{field}: {error.message}", field=field) from None
    elif not _LOCAL.fullmatch(url):
        raise Malformed(
            f"{field}: qemu:///system and qemu+unix:///system?socket=/… are the node's own machine,"
            " qemu+ssh://user@host/system is another one; nothing else is known",
            field=field,
        )


def is_far(config: Mapping[str, Any]) -> bool:
    """Tell whether a hypervisor is on another host than its node: mounts do not reach it."""
    return str(config.get("url")).startswith(f"{SCHEME}:")
