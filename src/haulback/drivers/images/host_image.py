"""An image named by the definition of a host's own machine, read while the machine is off.

Such a definition is trusted like the host, because QEMU would open the same files at the next
start.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from haulback.drivers.images import backing_chain, qemu
from haulback.drivers.images.image import Image, ImageFile, Qcow2, open_disk, read_header
from haulback.drivers.source import length_of
from haulback.errors import Unavailable
from haulback.system_errors import denied

_WRITES, _DISCARDS = 4, 11  # fields of /sys/dev/block/…/stat: finished requests


class HostImage(Image):
    """An open image: a file behind any links, or a block device, with the files that it needs.

    Raises Unavailable for a missing file, Malformed for a file that is no image, Unsupported for an
    image that needs a key, and for a backing file without a recorded format.
    """

    def __init__(self, path: Path, name: str, form: str) -> None:
        self._others: list[Path] = []
        # Links stay in the path: QEMU reads relative names of other files against it.
        super().__init__(path.parent, ImageFile(name, path.name, form))  # type: ignore[arg-type]

    @property
    def is_guarded(self) -> bool:
        states = [os.fstat(self.handle), *map(_state, self._others)]
        return all(not stat.S_ISBLK(one.st_mode) or _writes(one.st_rdev) for one in states)

    def begin(self) -> None:
        if stat.S_ISBLK(os.fstat(self.handle).st_mode):
            os.fsync(self.handle)  # late writes of the page cache do not change the disk
        super().begin()

    def _there(self) -> os.stat_result:
        return os.stat(self.path)

    def _open(self) -> int:
        try:
            return open_disk(self.path)
        except FileNotFoundError:
            raise Unavailable(f"{self.path} is missing") from None
        except OSError as error:
            raise Unavailable(f"cannot open {self.path}: {denied(error)}") from None

    def _header(self) -> Qcow2:
        header = read_header(self.handle, self.path, with_others=True)
        self._others = backing_chain.others(self.path)
        return header

    def _length(self) -> int:
        if self.is_raw:
            return length_of(self.handle)
        return qemu.virtual_size(str(self.path), self.disk.format)

    def _stamp(self) -> tuple[int, ...]:
        states = [os.fstat(self.handle), *map(_state, self._others)]
        return tuple(number for state in states for number in _signs(state))


def _state(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None


def _signs(state: os.stat_result) -> tuple[int, ...]:
    """Numbers that change when a file or a block device is written or replaced."""
    if not stat.S_ISBLK(state.st_mode):
        return state.st_ino, state.st_size, state.st_mtime_ns
    return state.st_rdev, *_writes(state.st_rdev)


def _writes(device: int) -> list[int]:
    """Finished writes and discards of a block device; empty where the kernel does not count."""
    place = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat"
    try:
        fields = Path(place).read_text().split()
    except OSError:
        return []
    return [int(fields[number]) for number in (_WRITES, _DISCARDS) if number < len(fields)]
