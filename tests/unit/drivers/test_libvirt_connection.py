"""A libvirt that cannot be reached is refused with the remedy."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from haulback.drivers.libvirt.connection import Domain, Host
from haulback.errors import HaulbackError, Unavailable

libvirt = pytest.importorskip("libvirt")


def refused(uri: str) -> str:
    with pytest.raises(Unavailable) as error:
        Host(uri)
    assert uri in error.value.message
    return error.value.message


def test_a_socket_that_is_missing_or_closed_is_refused_with_the_way_to_start_libvirt(
    tmp_path: Path,
):
    place = tmp_path / "libvirt-sock"
    uri = f"qemu+unix:///system?socket={place}"
    assert "systemctl start libvirtd" in refused(uri)
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(place))
    assert "systemctl start libvirtd" in refused(uri)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_that_the_user_may_not_use_is_refused_with_the_group(tmp_path: Path):
    place = tmp_path / "libvirt-sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(place))
        place.chmod(0o700)
        tmp_path.chmod(0o755)
        os.seteuid(65534)
        try:
            message = refused(f"qemu+unix:///system?socket={place}")
        finally:
            os.seteuid(0)
    assert "usermod -aG libvirt nobody" in message


def test_a_url_that_names_no_driver_is_refused_with_the_way_to_try_it():
    assert "virsh -c" in refused("test:///nowhere")


class Guarded:
    """A machine of a host whose access control denies the secrets of machines."""

    def UUIDString(self) -> str:
        return "u"

    def XMLDesc(self, flags: int) -> str:
        denied = libvirt.libvirtError("")
        text = "access denied: 'domain' denied 'read-secure' access"
        denied.err = (libvirt.VIR_ERR_ACCESS_DENIED, 0, text, 2, "", "", "", 0, 0)
        raise denied


def test_a_host_that_shows_no_secrets_is_refused_with_the_right_that_the_node_needs():
    for read in (Domain(Guarded()).with_passwords, Domain(Guarded()).migratable):
        with pytest.raises(HaulbackError, match="need read-secure"):
            read()
