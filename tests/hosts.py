"""Real libvirt hosts and guests, if this machine supports them."""

import pytest

from haulback.testing import azure_server, guest, libvirt_lab, remote

try:
    import libvirt_qemu
except ImportError:
    libvirt_qemu = None
_LACKS = libvirt_lab.missing()
needs_libvirt = pytest.mark.skipif(_LACKS is not None, reason=f"needs {_LACKS}")
needs_guest = pytest.mark.skipif(guest.missing() is not None, reason="no guest to boot")
needs_sshd = pytest.mark.skipif(remote.sshd() is None, reason="needs sshd (openssh-server)")
needs_azurite = pytest.mark.skipif(
    azure_server.command() is None, reason="needs azurite (scripts/setup dev)"
)
