"""A libvirt that cannot be reached is refused with the remedy."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from haulback.drivers.libvirt.connection import Host
from haulback.errors import Unavailable

pytest.importorskip("libvirt")


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
