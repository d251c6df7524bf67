"""Snapshot of a stopped machine's images, and the dirty bitmaps that track later changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from typing import NamedTuple

from haulback.drivers.auto_close import ClosesAtExit
from haulback.drivers.hypervisor import DiskView, Machine, MachineDisk
from haulback.drivers.images import qemu
from haulback.drivers.images.image import Image
from haulback.drivers.nbd import Export
from haulback.drivers.source import Extent, RawImage
from haulback.errors import HaulbackError

PREFIX = "haulback-"


class TrackingBitmap(NamedTuple):
    """A dirty bitmap of Haulback: its checkpoint, and the size of the disk in bytes at that time.

    `size` is None where the bitmap must have the checkpoint's name (libvirt) and the size is
    recorded elsewhere.
    """

    checkpoint: str
    size: int | None

    @property
    def bitmap(self) -> str:
        return self.checkpoint if self.size is None else f"{self.checkpoint}.{self.size}"

    @classmethod
    def parse(cls, bitmap: str, *, sized: bool) -> TrackingBitmap | None:
        """Parse the name of a bitmap; None for a bitmap that is not Haulback's."""
        checkpoint, dot, size = bitmap.partition(".")
        ours = bool(dot) == sized and (not dot or (size.isdecimal() and size.isascii()))
        if not ours or not checkpoint.startswith(PREFIX):
            return None
        return cls(checkpoint, int(size) if sized else None)


class DirtyExtents:
    """Extents marked in a dirty bitmap; each iteration queries the NBD server again."""

    def __init__(self, export: Export, bitmap: str) -> None:
        self._export, self._bitmap = export, bitmap

    def __iter__(self) -> Iterator[Extent]:
        return self._export.dirty(self._bitmap)


class FolderSnapshot(ClosesAtExit):
    """A Snapshot of a stopped machine; its images are open and locked against QEMU.

    A running machine cannot be read: its images are locked by QEMU. The snapshot takes ownership of
    `images`. `sizes` maps disk names to their sizes at `base` where the hypervisor records them;
    without it the names of the bitmaps contain the sizes.
    """

    consistency = "STOPPED"

    def __init__(
        self,
        machine: Machine,
        images: Sequence[Image],
        checkpoint: str,
        base: str | None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.machine, self._images, self._sizes = machine, images, sizes
        self._open = ExitStack()
        for image in images:
            self._open.callback(image.close)
        try:
            self.checkpoint = checkpoint if begin(images, checkpoint, sized=sizes is None) else None
            self._views = [self._view(image, base) for image in images]
            for image in images:
                image.begin()
        except BaseException:
            self._open.close()
            with suppress(HaulbackError):
                drop(images, {checkpoint}, sized=sizes is None)
            raise

    def at_close(self, call: Callable[[], None]) -> None:
        """Call `call` after the read, before the images are closed; it may raise SourceChanged."""
        self._open.callback(call)

    def views(self) -> list[DiskView]:
        return self._views

    def close(self) -> None:
        images, self._images = self._images, ()
        with self._open:
            for image in images:
                image.refuse_if_changed()

    def _view(self, image: Image, base: str | None) -> DiskView:
        if image.is_raw:
            image.hold()
            raw = RawImage(image.path, os.dup(image.handle))
            self._open.callback(raw.close)
            return DiskView(disk_of(image), raw, None, "raw images have no changed-block tracking")
        bitmap, reason = _usable(image, base, self._sizes)
        served = qemu.ServedImage(image.source, bitmap=bitmap, form=image.form)
        self._open.callback(served.close)
        changed = DirtyExtents(served.export, bitmap) if bitmap else None
        return DiskView(disk_of(image), served.export, changed, reason)


def disk_of(image: Image) -> MachineDisk:
    """Description of an image as a Disk."""
    return MachineDisk(image.disk.name, image.size, image.disk.format, image.is_allocated)


def begin(images: Sequence[Image], checkpoint: str, *, sized: bool) -> bool:
    """Add the bitmaps of a checkpoint; returns whether any image can record changes.

    Raises SourceChanged when an image is in use, Unsupported for qcow2 without QEMU's tools.
    """
    for image in images:
        image.refuse_if_written()
    if any(image.qcow2 for image in images):
        qemu.require()
    able = [image for image in images if not _unable(image)]
    for image in able:
        qemu.add_bitmap(
            image.path, TrackingBitmap(checkpoint, image.size if sized else None).bitmap
        )
    return bool(able)


def checkpoints(images: Sequence[Image], *, sized: bool = True) -> set[str]:
    """Names of Haulback's checkpoints for which any image has a bitmap."""
    return {mark.checkpoint for image in images for mark in _marks(image, sized=sized)}


def drop(images: Sequence[Image], unwanted: Set[str], *, sized: bool = True) -> None:
    """Remove the bitmaps of checkpoints. Raises SourceChanged when an image is in use."""
    for image in images:
        for mark in _marks(image, sized=sized):
            if mark.checkpoint in unwanted:
                qemu.remove_bitmap(image.path, mark.bitmap)


def _marks(image: Image, *, sized: bool) -> dict[TrackingBitmap, tuple[str, ...]]:
    """Haulback's bitmaps of an image, with their flags."""
    if _unable(image):
        return {}
    found = (
        (TrackingBitmap.parse(bitmap.name, sized=sized), bitmap.flags)
        for bitmap in qemu.bitmaps(image.path)
    )
    return {mark: flags for mark, flags in found if mark}


def _unable(image: Image) -> str | None:
    """Reason why an image cannot track changes; None if it can."""
    if not image.qcow2:
        return image.untracked
    if image.qcow2.version < 3:
        return f"{image.path.name} has version 2; `qemu-img amend -o compat=1.1` enables tracking"
    return None if image.writable else f"{image.path.name} is not writable for this user"


def _usable(
    image: Image, base: str | None, sizes: Mapping[str, int] | None
) -> tuple[str | None, str | None]:
    """Bitmap of the changes since `base`; or None and the reason."""
    if base is None:
        return None, "there is no earlier checkpoint to build on"
    if why := _unable(image):
        return None, why
    for mark, flags in _marks(image, sized=sizes is None).items():
        if mark.checkpoint != base:
            continue
        then = mark.size if sizes is None else sizes.get(image.disk.name)
        if then is None:
            return None, f"the record of the checkpoint {base} is gone"
        if then != image.size:
            return None, f"{image.path.name} was resized since {base}"
        if "in-use" in flags:
            return None, f"the record of changes since {base} was not closed and is inconsistent"
        return mark.bitmap, None
    return None, f"{image.path.name} has no record of changes since {base}"
