"""`haulback far-end`: the remote driver process that a node starts over SSH."""

from __future__ import annotations

from pathlib import Path

from haulback.drivers.remote import main


def far_end(url: str, storage: Path) -> None:
    """Offer the libvirt at URL, new images in STORAGE, over standard input and output.

    Nodes start it for hypervisors at qemu+ssh://…; nobody else needs to.
    """
    main.main(url, storage)
