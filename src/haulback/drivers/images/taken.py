"""Snapshots that stay, inside the qcow2 images of a machine that no QEMU runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from pathlib import Path

import msgspec

from haulback.drivers.hypervisor import Taken
from haulback.drivers.images import qemu
from haulback.drivers.images.image import Image
from haulback.errors import Conflict, HaulbackError, NotFound, Unsupported


class Reverting(msgspec.Struct, frozen=True):
    """A note before disks are put back: the machine, the snapshot of before, and if it ran.

    `paused`: the machine ran, and somebody had paused the machine.
    """

    uuid: str
    before: str
    ran: bool = False
    paused: bool = False


def able(images: Iterable[Image]) -> list[Path]:
    """Where the images lie.  Raises Unsupported when one of them cannot keep a snapshot."""
    found = []
    for image in images:
        if not image.qcow2:
            raise Unsupported(
                f"{image.disk.name} is a {image.disk.format} image, which keeps no snapshots; "
                "`qemu-img convert -O qcow2` makes one that does"
            )
        found.append(image.path)
    if found:
        qemu.require()
    return found


def listed(images: Sequence[Image]) -> tuple[Taken, ...]:
    """The snapshots of a machine, the oldest first; images without any are not asked."""
    found: dict[str, list[int]] = {}
    for image in images:
        if image.qcow2 and image.qcow2.snapshots:
            for one in qemu.inner(image.path):
                at = one.date_sec * 1000 + one.date_nsec // 1_000_000
                found.setdefault(one.name, []).append(at)
    taken = [Taken(name, min(t), len(t) == len(images)) for name, t in found.items()]
    return tuple(sorted(taken, key=lambda one: (one.time, one.name)))


def take(paths: Sequence[Path], name: str) -> None:
    """Keep what the images hold now, in all of them or in none."""
    try:
        for path in paths:
            _drop(path, name)
            qemu.change_inner(path, "-c", name)
    except BaseException:
        with suppress(HaulbackError):
            remove(paths, {name})
        raise


def remove(paths: Sequence[Path], names: Set[str]) -> list[str]:
    """Remove snapshots from whatever image has them; the removed ones."""
    return sorted({name for name in names for path in paths if _drop(path, name)})


def _drop(path: Path, name: str) -> bool:
    if name not in {one.name for one in qemu.inner(path)}:
        return False
    qemu.change_inner(path, "-d", name)
    return True


def check(paths: Sequence[Path], name: str) -> None:
    """Raises NotFound for a snapshot that no image has, Conflict for one that only some have."""
    without = [path for path in paths if name not in {one.name for one in qemu.inner(path)}]
    if len(without) == len(paths):
        raise NotFound(f"the machine has no snapshot {name}")
    if without:
        names = ", ".join(path.name for path in without)
        raise Conflict(f"{names}: not in the snapshot, the disk was added or replaced later")


def revert(paths: Sequence[Path], name: str, before: str) -> None:
    """Put all images back, or none; what they were is the snapshot `before` afterwards."""
    take(paths, before)
    try:
        _apply(paths, name)
    except BaseException:
        undo(paths, before)
        raise


def undo(paths: Sequence[Path], before: str) -> None:
    """What `revert` began is as if it had not: where it took no snapshot, it changed nothing."""
    held = [path for path in paths if before in {one.name for one in qemu.inner(path)}]
    if len(held) == len(paths):
        _apply(paths, before)
    remove(paths, {before})


def _apply(paths: Sequence[Path], name: str) -> None:
    """The bitmaps go first: QEMU would refuse, and what they recorded is not true any more."""
    for path in paths:
        for bitmap in qemu.bitmaps(path):
            qemu.remove_bitmap(path, bitmap.name)
    for path in paths:
        qemu.change_inner(path, "-a", name)
