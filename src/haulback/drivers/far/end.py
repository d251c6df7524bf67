"""The far end: offers the libvirt of this machine to whoever started it, over its two pipes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import haulback
from haulback.drivers.far.exchange import Exchange
from haulback.drivers.far.served import Platform
from haulback.drivers.hypervisor import Hypervisor

GREETING = b"haulback far end "


def serve(inner: Hypervisor, incoming: int, outgoing: int) -> None:
    """Greet, and work until the other side is gone; what it had open is closed then."""
    os.write(outgoing, GREETING + haulback.__version__.encode() + b"\n")
    link = Exchange(incoming, outgoing)
    link.offer(Platform(link, inner))
    link.start()
    link.wait()


def main(url: str, storage: Path) -> None:
    """Nothing but messages goes to the standard output, whoever else writes there."""
    from haulback.drivers.libvirt.driver import LibvirtHost

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the pipe's end is what counts
        signal.signal(number, signal.SIG_IGN)
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(LibvirtHost(url, storage), incoming, outgoing)
