"""`haulback far-end`: the remote driver process that a node starts over SSH."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from haulback.drivers.remote import main


def far_end(
    url: Annotated[str, Parameter(help="URL of libvirt on this host.")],
    storage: Annotated[Path, Parameter(help="Folder of images on this host.")],
) -> None:
    """The command `haulback far-end`."""
    main.main(url, storage)
