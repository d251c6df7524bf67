"""Reading a machine of the image folder at one moment, and the bitmaps that record from then on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, suppress
from typing import NamedTuple, Self

from haulback.drivers.hypervisor import Disk, DiskView, Machine
from haulback.drivers.imagefolder import qemu
from haulback.drivers.imagefolder.image import Image
from haulback.drivers.nbd import Export
from haulback.drivers.source import Extent, RawImage
from haulback.errors import HaulbackError

PREFIX = "haulback-"


class Mark(NamedTuple):
    """A bitmap of ours: the checkpoint it records since, and the disk's size in bytes then."""

    checkpoint: str
    size: int

    @property
    def bitmap(self) -> str:
        return f"{self.checkpoint}.{self.size}"

    @classmethod
    def parse(cls, bitmap: str) -> Mark | None:
        """None for a bitmap that is not ours."""
        checkpoint, _, size = bitmap.rpartition(".")
        ours = checkpoint.startswith(PREFIX) and size.isdecimal() and size.isascii()
        return cls(checkpoint, int(size)) if ours else None


class Dirty:
    """The extents a bitmap marks, asked of the server anew each time they are iterated."""

    def __init__(self, export: Export, bitmap: str) -> None:
        self._export, self._bitmap = export, bitmap

    def __iter__(self) -> Iterator[Extent]:
        return self._export.dirty(self._bitmap)


class FolderSnapshot:
    """A Snapshot: each image held open and locked, so that no QEMU writes it meanwhile.

    Takes over `images`.
    """

    def __init__(
        self, machine: Machine, images: Sequence[Image], checkpoint: str, base: str | None
    ) -> None:
        self.machine, self._images = machine, images
        self._open = ExitStack()
        for image in images:
            self._open.callback(image.close)
        try:
            self.checkpoint = checkpoint if begin(images, checkpoint) else None
            self._views = [self._view(image, base) for image in images]
            for image in images:
                image.begin()
        except BaseException:
            self._open.close()
            with suppress(HaulbackError):
                drop(images, {checkpoint})
            raise

    def views(self) -> list[DiskView]:
        return self._views

    def close(self) -> None:
        images, self._images = self._images, ()
        with self._open:
            for image in images:
                image.refuse_if_changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:  # the error at hand says more than a failure to close
            with suppress(HaulbackError):
                self.close()

    def _view(self, image: Image, base: str | None) -> DiskView:
        if not image.qcow2:
            image.hold()
            raw = RawImage(image.path, os.dup(image.handle))
            self._open.callback(raw.close)
            return DiskView(disk_of(image), raw, None, "raw images have no changed-block tracking")
        bitmap, reason = _usable(image, base)
        served = qemu.Served(image.path, bitmap=bitmap)
        self._open.callback(served.close)
        changed = Dirty(served.export, bitmap) if bitmap else None
        return DiskView(disk_of(image), served.export, changed, reason)


def disk_of(image: Image) -> Disk:
    """The image as the Protocol names it."""
    return Disk(image.disk.name, image.size, image.disk.format)


def begin(images: Sequence[Image], checkpoint: str) -> bool:
    """Add the bitmaps of a checkpoint; whether any image took one.

    Raises SourceChanged when an image is in use, Unsupported for qcow2 without QEMU's tools.
    """
    for image in images:
        image.refuse_if_written()
    if any(image.qcow2 for image in images):
        qemu.require()
    able = [image for image in images if not _unable(image)]
    for image in able:
        qemu.add_bitmap(image.path, Mark(checkpoint, image.size).bitmap)
    return bool(able)


def checkpoints(images: Sequence[Image]) -> set[str]:
    """All our checkpoints that any of the images still records for."""
    return {mark.checkpoint for image in images for mark in _marks(image)}


def drop(images: Sequence[Image], unwanted: Set[str]) -> None:
    """Remove the bitmaps of checkpoints.  Raises SourceChanged when an image is in use."""
    for image in images:
        for mark in _marks(image):
            if mark.checkpoint in unwanted:
                qemu.remove_bitmap(image.path, mark.bitmap)


def _marks(image: Image) -> dict[Mark, tuple[str, ...]]:
    """Our bitmaps of an image, and their flags."""
    if _unable(image):
        return {}
    found = ((Mark.parse(bitmap.name), bitmap.flags) for bitmap in qemu.bitmaps(image.path))
    return {mark: flags for mark, flags in found if mark}


def _unable(image: Image) -> str | None:
    """Why an image cannot record what changes."""
    if not image.qcow2:
        return "raw images have no changed-block tracking"
    if image.qcow2.version < 3:
        return f"{image.path.name} is of an old kind; `qemu-img amend -o compat=1.1` lets it track"
    return None if image.writable else f"{image.path.name} may not be written by this user"


def _usable(image: Image, base: str | None) -> tuple[str | None, str | None]:
    """The bitmap that says what changed since `base`; or None and why there is none."""
    if base is None:
        return None, "there is no earlier checkpoint to build on"
    if why := _unable(image):
        return None, why
    for mark, flags in _marks(image).items():
        if mark.checkpoint != base:
            continue
        if mark.size != image.size:
            return None, f"{image.path.name} was resized since {base}"
        if "in-use" in flags:
            return None, f"the record of changes since {base} was cut off and is inconsistent"
        return mark.bitmap, None
    return None, f"{image.path.name} has no record of changes since {base}"
