"""New images: created empty, written once, and synced when they are closed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from haulback.drivers.hypervisor import MachineDisk
from haulback.drivers.images import qemu
from haulback.drivers.sink import RawFile, Sink
from haulback.errors import Malformed, Unsupported

FORMATS = ("raw", "qcow2")
_READ_ONLY = ("qcow", "qed", "vdi", "vhdx", "vmdk", "vpc", "parallels", "cloop", "bochs", "dmg")


def restored_format(original: str) -> str:
    """The format of a restored disk: the format of the original, or qcow2 if Haulback only reads
    that format.
    """
    return "qcow2" if original in _READ_ONLY else original


def check_disks(disks: Sequence[MachineDisk]) -> None:
    """Check the disks of a new machine.  Raises Malformed, or Unsupported for a format."""
    if len({disk.name for disk in disks}) != len(disks):
        raise Malformed("each disk of a machine needs a name of its own")
    for disk in disks:
        if not disk.name or disk.size < 0:
            raise Malformed(f"disk {disk.name!r} needs a name and a size")
        if disk.format not in FORMATS:
            raise Unsupported(f"disk {disk.name!r}: {disk.format!r} is not one of {FORMATS}")
    if any(disk.format == "qcow2" for disk in disks):
        qemu.require()


class ImageSink(Sink, Protocol):
    """A Sink that writes a new image."""

    def close(self, *, sync: bool = True) -> None:
        """Finish the image; with `sync` its content is durable."""


class Qcow2File:
    """A new qcow2 image that is written through qemu-nbd."""

    def __init__(self, path: Path, size: int, *, allocate: bool = False) -> None:
        self.path = path
        qemu.make_qcow2(path, size, allocate=allocate)
        self._served = qemu.ServedImage(path, writable=True)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._served.export.write_at(offset, data)

    def close(self, *, sync: bool = True) -> None:
        try:
            if sync:
                self._served.export.flush()
        finally:
            self._served.close()
        if sync:
            _sync(self.path)


def new_image(path: Path, disk: MachineDisk) -> ImageSink:
    """Create an empty image for a disk and return its sink."""
    kind: type[Qcow2File | RawFile] = Qcow2File if disk.format == "qcow2" else RawFile
    return kind(path, disk.size, allocate=disk.allocate)


def close_images(sinks: Iterable[ImageSink], *, sync: bool) -> None:
    """Close all sinks, also those after a sink that fails; raises the last error."""
    with ExitStack() as closing:
        for sink in sinks:
            closing.callback(sink.close, sync=sync)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free_name(taken: Callable[[str], bool], name: str) -> str:
    """`name`, or the first of "name (2)", "name (3)" ... that is free."""
    candidate, number = name, 1
    while taken(candidate):
        number += 1
        candidate = f"{name} ({number})"
    return candidate
