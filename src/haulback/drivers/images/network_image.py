"""A disk on a network, served by a QEMU tool that opens it through QEMU's block drivers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from haulback.drivers.images import qemu
from haulback.drivers.images.image import Image, ImageFile
from haulback.wire import JsonObject


class NetworkImage(Image):
    """A disk that QEMU describes by `tree`; it can be neither locked nor checked for changes.

    Raises Unavailable for a disk that cannot be opened now.
    """

    def __init__(self, name: str, tree: JsonObject) -> None:
        form = str(tree["driver"])
        self.disk = ImageFile(name, name, form)  # type: ignore[arg-type]
        self.path, self.handle, self.qcow2 = Path(name), -1, None
        self._tree = tree
        self.size = size_of(tree)

    @property
    def source(self) -> str:
        return _name(self._tree)

    @property
    def form(self) -> str | None:
        return None

    @property
    def untracked(self) -> str:
        return "a network disk is read whole while the machine is off"

    @property
    def is_raw(self) -> bool:
        return False

    @property
    def is_allocated(self) -> bool:
        return False

    @property
    def is_guarded(self) -> bool:
        return False

    def refuse_if_written(self) -> None:
        """Do nothing, because QEMU's locks do not reach a disk on a network."""

    def close(self) -> None:
        """Do nothing, because no connection is open between two reads."""

    def _stamp(self) -> tuple[int, ...]:
        return ()

    def refuse_if_changed(self) -> None:
        """Do nothing, because the server of the disk counts no changes."""


def size_of(tree: JsonObject) -> int:
    """Size in bytes of a disk on a network.  Raises Unavailable where the disk does not answer."""
    return qemu.virtual_size(_name(tree), None)


def _name(tree: JsonObject) -> str:
    return f"json:{msgspec.json.encode(tree).decode()}"
