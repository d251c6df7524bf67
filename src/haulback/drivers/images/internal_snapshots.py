"""Internal snapshots in the qcow2 images of a stopped machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from pathlib import Path

import msgspec

from haulback.drivers.hypervisor import SnapshotInfo
from haulback.drivers.images import qemu
from haulback.drivers.images.image import Image
from haulback.errors import Conflict, HaulbackError, NotFound, Unsupported


class RevertNote(msgspec.Struct, frozen=True):
    """A note of a running revert: the machine, the snapshot of its previous state, whether it ran.

    `paused` is set if the machine ran and was paused by a user.
    """

    uuid: str
    before: str
    ran: bool = False
    paused: bool = False


def able(images: Iterable[Image]) -> list[Path]:
    """Paths of the images. Raises Unsupported when an image cannot hold snapshots."""
    paths = []
    for image in images:
        if not image.qcow2:
            raise Unsupported(
                f"{image.disk.name} is a {image.disk.format} image, which cannot hold snapshots; "
                "convert it by `qemu-img convert -O qcow2`"
            )
        paths.append(image.path)
    if paths:
        qemu.require()
    return paths


def listed(images: Sequence[Image]) -> tuple[SnapshotInfo, ...]:
    """Snapshots of a machine, oldest first; only images whose header counts snapshots are
    queried.
    """
    times: dict[str, list[int]] = {}
    for image in images:
        if image.qcow2 and image.qcow2.snapshots:
            for snapshot in qemu.inner(image.path):
                at = snapshot.date_sec * 1000 + snapshot.date_nsec // 1_000_000
                times.setdefault(snapshot.name, []).append(at)
    taken = [SnapshotInfo(name, min(t), len(t) == len(images)) for name, t in times.items()]
    return tuple(sorted(taken, key=lambda snapshot: (snapshot.time, snapshot.name)))


def take(paths: Sequence[Path], name: str) -> None:
    """Take a snapshot of all images, or of none."""
    try:
        for path in paths:
            _drop(path, name)
            qemu.change_inner(path, "-c", name)
    except BaseException:
        with suppress(HaulbackError):
            remove(paths, {name})
        raise


def remove(paths: Sequence[Path], names: Set[str]) -> list[str]:
    """Remove snapshots from all images that have them; returns the removed ones."""
    return sorted({name for name in names for path in paths if _drop(path, name)})


def _drop(path: Path, name: str) -> bool:
    if _held(path, name) is None:
        return False
    qemu.change_inner(path, "-d", name)
    return True


def _held(path: Path, name: str) -> qemu.InternalSnapshot | None:
    return next((one for one in qemu.inner(path) if one.name == name), None)


def check(paths: Sequence[Path], name: str) -> None:
    """Raises NotFound for a snapshot that no image has, Conflict for a snapshot that only some
    images have.
    """
    without = [path for path in paths if _held(path, name) is None]
    if len(without) == len(paths):
        raise NotFound(f"the machine has no snapshot {name}")
    if without:
        names = ", ".join(path.name for path in without)
        raise Conflict(f"{names}: not in the snapshot; the disk was added or replaced later")


def revert(paths: Sequence[Path], name: str, before: str) -> None:
    """Revert all images to a snapshot, or no image; the previous state is kept as `before`."""
    take(paths, before)
    try:
        _apply(paths, name)
    except BaseException:
        undo(paths, before)
        raise


def undo(paths: Sequence[Path], before: str) -> None:
    """Undo an interrupted `revert`.

    If an image lacks the snapshot `before`, the revert had not changed any image yet.
    """
    held = [path for path in paths if _held(path, before)]
    if len(held) == len(paths):
        _apply(paths, before)
    remove(paths, {before})


def _apply(paths: Sequence[Path], name: str) -> None:
    """Apply a snapshot to all images, after removing all their bitmaps.

    QEMU refuses to apply a snapshot while an image has bitmaps, and their records would be wrong.
    """
    for path in paths:
        for bitmap in qemu.bitmaps(path):
            qemu.remove_bitmap(path, bitmap.name)
    for path in paths:
        if held := _held(path, name):
            qemu.change_inner(path, "-a", held.id)
