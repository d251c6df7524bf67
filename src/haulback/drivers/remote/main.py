"""The remote driver's process: serves the hypervisor of this machine over standard input and
output.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import haulback
from haulback.drivers.hypervisor import MachineSource
from haulback.drivers.remote.rpc import PeerConnection
from haulback.drivers.remote.server import ServedHypervisor

GREETING = b"haulback far end "


def serve(inner: MachineSource, incoming: int, outgoing: int) -> None:
    """Send the greeting and serve calls until the node disconnects; open objects are closed
    then.
    """
    os.write(outgoing, GREETING + haulback.__version__.encode() + b"\n")
    link = PeerConnection(incoming, outgoing)
    link.offer(ServedHypervisor(link, inner))
    link.start()
    link.wait()


def main(url: str, storage: Path) -> None:
    """Serve the libvirt at `url`; new images go to the folder `storage`.

    The standard output is reserved for messages: descriptor 1 is redirected to standard error, so
    that prints of libraries cannot corrupt the stream.
    """
    from haulback.drivers.libvirt.driver import LibvirtHost

    # The process ends when its pipe ends; a signal must not skip the clean-up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(LibvirtHost(url, storage), incoming, outgoing)
