"""Each hypervisor has a manager and a cluster: those that a user set, or its platform's own."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.order_records import Hypervisor
from haulback.inventory.managers import (
    MANAGER_TYPES,
    SEEN,
    SEEN_AS,
    SEEN_ON,
    USUAL_TYPE,
    cluster_of,
    manager_of,
    own_cluster,
    own_manager,
    portal_type,
)

OWN = {
    "image-folder": "17f44408-2a2f-5804-8f48-22c1f8d92931",
    "libvirt": "4a53aab7-4158-5a82-8236-3118c525ed9d",
}


def host(driver: str = "libvirt", **settings: Any) -> Hypervisor:
    return Hypervisor(guid="h", name="h1", driver=driver, config={}, settings=settings)


def test_derived_guids_are_the_same_on_every_server_and_in_every_version():
    assert {driver: own_manager(driver).guid for driver in OWN} == OWN
    assert own_cluster(OWN["libvirt"], "libvirt").guid == "bbf44105-50d4-564e-a1d6-3eeea99416b8"


def test_derived_records_bear_the_platform_as_their_name():
    assert own_manager("libvirt").name == "libvirt"
    assert own_manager("image-folder").name == "a folder of images"
    assert own_cluster("m", "image-folder").name == "a folder of images"


def test_a_host_without_settings_belongs_to_its_platform():
    assert manager_of(host()) == own_manager("libvirt").guid
    assert cluster_of(host()) == own_cluster(own_manager("libvirt").guid, "libvirt").guid
    assert manager_of(host("image-folder")) != manager_of(host())


def test_the_settings_of_a_user_come_first():
    assert manager_of(host(hypervisorManager="m")) == "m"
    assert cluster_of(host(cluster="c")) == "c"
    assert manager_of(host(hypervisorManager="")) == own_manager("libvirt").guid
    assert cluster_of(host(cluster="")) == cluster_of(host())


def test_a_manager_has_a_cluster_for_each_platform():
    one, other = cluster_of(host(hypervisorManager="m")), cluster_of(host(hypervisorManager="n"))
    folder = cluster_of(host("image-folder", hypervisorManager="m"))
    assert len({one, other, folder, cluster_of(host())}) == 4


@pytest.mark.parametrize(
    "kind",
    [
        "AWS",
        "KUBERNETES",
        "NUTANIX",
        "OPENSHIFT",
        "OPENSTACK",
        "ORACLE",
        "RHEV",
        "RHV",
        "VCENTER",
    ],
)
def test_a_type_that_portals_know_is_shown_as_it_is(kind: str):
    assert portal_type(kind) == kind
    assert kind in MANAGER_TYPES


@pytest.mark.parametrize("kind", ["KVM", "rhv", "", "IMAGE_FOLDER"])
def test_another_type_is_shown_as_one_that_portals_know(kind: str):
    assert portal_type(kind) == "RHV"
    assert USUAL_TYPE == "RHV"
    assert len(MANAGER_TYPES) == 9


def test_the_marks_of_a_record_that_a_scan_made_are_stored_under_these_names():
    assert (SEEN_AS, SEEN_ON) == ("seenAs", "seenOn")
    assert SEEN == ("seenOn", "seenAs", "pool")
