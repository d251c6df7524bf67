"""A hypervisor type is declared once, as data that every program reads without its driver."""

from __future__ import annotations

import subprocess
import sys

import pytest

from haulback.errors import Malformed
from haulback.hypervisor_types import (
    IMAGE_FOLDER,
    LIBVIRT,
    LIBVIRT_BY_SSH,
    TYPES,
    Capability,
    config,
    driver_of,
    type_of,
)

_LOADED = """
import sys
import haulback.hypervisor_types
import haulback.inventory.hardware
import haulback.inventory.managers
print(*sorted(sys.modules))
"""
_HEAVY = ("blake3", "haulback.drivers", "libvirt", "numpy", "pyfastcdc", "zstandard")


def test_types_and_hardware_are_read_without_a_driver_and_its_libraries():
    loaded = subprocess.run(
        [sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "haulback.inventory.hardware" in loaded
    heavy = [name for name in loaded if name.split(".")[0] in _HEAVY or name.startswith(_HEAVY[1])]
    assert heavy == []


def test_a_libvirt_reached_by_ssh_has_a_type_of_its_own():
    assert type_of("libvirt", {"url": "qemu:///system"}) is LIBVIRT
    assert type_of("libvirt", {"url": "qemu+ssh://kvm/system"}) is LIBVIRT_BY_SSH
    assert type_of("image-folder", {"path": "/srv"}) is IMAGE_FOLDER
    with pytest.raises(Malformed, match="image-folder, libvirt"):
        type_of("tape", {})


@pytest.mark.parametrize("declared", [*TYPES.values(), LIBVIRT_BY_SSH], ids=lambda one: one.words)
@pytest.mark.parametrize("capability", Capability)
def test_a_missing_capability_is_refused_with_the_type_and_the_field(declared, capability):
    if declared.can(capability):
        declared.require(capability, "hypervisor")
        return
    with pytest.raises(Malformed) as caught:
        declared.require(capability, "hypervisor")
    assert caught.value.details["field"] == "hypervisor"
    assert declared.words in caught.value.message
    assert capability.value in caught.value.message
    assert declared.remedy in caught.value.message


def test_settings_that_are_left_out_get_the_defaults_of_their_type():
    assert config("libvirt", None, None) == (
        "libvirt", "/var/lib/libvirt/images", {"url": "qemu:///system"},
    )  # fmt: skip
    assert config(None, None, "qemu:///session")[0] == "libvirt"
    assert config(None, "/srv", None) == ("image-folder", "/srv", {})
    assert driver_of("KVM", None) == driver_of("kvm", "libvirt") == "libvirt"
    assert driver_of(None, "image-folder") == "image-folder"


@pytest.mark.parametrize(
    ("driver", "url", "field"),
    [
        ("tape", None, "at.driver"),
        ("image-folder", "qemu:///system", "at.url"),
        ("libvirt", "http://kvm", "at.url"),
        ("libvirt", "qemu+ssh://-l/system", "at.url"),
    ],
)
def test_settings_that_a_type_does_not_have_are_refused(driver, url, field):
    with pytest.raises(Malformed) as caught:
        config(driver, "/srv", url, "at.")
    assert caught.value.details["field"] == field


@pytest.mark.parametrize(("label", "driver"), [("KVM", "image-folder"), ("VCENTER", None)])
def test_a_label_and_a_driver_of_different_types_are_refused(label, driver):
    with pytest.raises(Malformed, match="type:"):
        driver_of(label, driver)
