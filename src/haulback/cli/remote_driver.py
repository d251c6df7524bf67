"""`haulback far-end`: the remote driver process that a node starts over SSH."""

from __future__ import annotations

from pathlib import Path

from haulback.drivers.remote import main


def far_end(url: str, storage: Path) -> None:
    """Serve the libvirt at URL, with new images in STORAGE, over standard input and output.

    Nodes start this command for hypervisors at qemu+ssh://…; users do not need it.
    """
    main.main(url, storage)
