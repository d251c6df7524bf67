"""An image file, checked before any tool opens it: its format, its size, and its users."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypeVar

import msgspec

from haulback.errors import Malformed, SourceChanged, Unavailable, Unsupported
from haulback.retry import Backoff, retry
from haulback.system_errors import denied

# QEMU locks single bytes of an image (block/file-posix.c): byte 100 + n means "I use permission n",
# byte 200 + n means "no other process may use permission n".
_DOES, _FORBIDS = 100, 200
_WRITE, _RESIZE = 1, 3
_LOCK = struct.Struct("hhqqi4x")  # struct flock on 64-bit Linux

# Header of qcow2 version 2, and the fields that version 3 adds (QEMU's qcow2 specification).
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_EXTERNAL_DATA = 1 << 2  # incompatible feature bit: the data is in another file
_BLOCK = 512  # bytes of the unit in which stat counts
_MOMENT = Backoff(0.1, seconds=2.0)  # orphaned QEMU tools end within this time
T = TypeVar("T")


class ImageFile(msgspec.Struct, frozen=True):
    """A disk and its image; `file` is a plain file name within a folder."""

    name: str
    file: str
    format: Literal["raw", "qcow2"]


class Qcow2(NamedTuple):
    """Fields of a qcow2 header: virtual size in bytes, version, number of internal snapshots."""

    size: int
    version: int
    snapshots: int = 0


class Image:
    """An open image, which must be a regular file directly in its folder.

    Raises Unavailable for a missing file, Malformed for a file that is no image, Unsupported for an
    image that needs other files or a key.
    """

    def __init__(self, folder: Path, disk: ImageFile) -> None:
        self.path, self.disk = folder / disk.file, disk
        self.handle = self._open()
        try:
            self._before = self._stamp()
            self.qcow2 = self._header() if disk.format == "qcow2" else None
            self.size = self.qcow2.size if self.qcow2 else self._length()
        except BaseException:
            os.close(self.handle)
            raise

    def _open(self) -> int:
        return open_regular(self.path)

    def _header(self) -> Qcow2:
        return read_header(self.handle, self.path)

    def _length(self) -> int:
        """Size in bytes of a disk that is no qcow2 image."""
        return os.fstat(self.handle).st_size

    @property
    def source(self) -> str:
        """The name by which QEMU's tools open the image."""
        return str(self.path)

    @property
    def form(self) -> str | None:
        """The format to pass to QEMU's tools; None where `source` contains the format."""
        return self.disk.format

    @property
    def untracked(self) -> str:
        """The reason why an image that is not qcow2 is read whole."""
        return f"{self.disk.format} images have no changed-block tracking"

    @property
    def is_raw(self) -> bool:
        """Whether the bytes of the file are identical to the bytes of the disk."""
        return self.disk.format == "raw"

    @property
    def is_allocated(self) -> bool:
        """Whether the space of the whole disk is allocated on its file system."""
        return is_full(os.fstat(self.handle), self.size)

    @property
    def is_guarded(self) -> bool:
        """Whether writes by another process are prevented or noticed while the image is read."""
        return True

    @property
    def writable(self) -> bool:
        """Whether this process may write to the image."""
        return os.access(self.path, os.W_OK)

    def hold(self) -> None:
        """Lock the image so that no QEMU writes to it until it is closed.

        Raises SourceChanged if a running QEMU already has write access.
        """
        for number in (_WRITE, _RESIZE):
            self._lock(_FORBIDS + number)
        self.refuse_if_written()

    def refuse_if_written(self) -> None:
        """Raise SourceChanged if a running QEMU has write access to the image."""
        in_a_moment(self._refuse_now)

    def _refuse_now(self) -> None:
        if any(self._is_locked(_DOES + number) for number in (_WRITE, _RESIZE)):
            raise in_use(self.path)

    def begin(self) -> None:
        """Start to watch the image for changes; see `refuse_if_changed`."""
        self._before = self._stamp()

    def refuse_if_changed(self) -> None:
        """Raise SourceChanged if size, mtime or inode differ from those at `begin`."""
        now = os.fstat(self.handle)
        try:
            there = self._there()
            same = self._stamp() == self._before and os.path.samestat(there, now)
        except FileNotFoundError:
            same = False
        if not same:
            raise SourceChanged(f"image {self.path} was changed or replaced while it was read")

    def _there(self) -> os.stat_result:
        """The file that has the image's name now."""
        return os.stat(self.path, follow_symlinks=False)

    def close(self) -> None:
        os.close(self.handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stamp(self) -> tuple[int, ...]:
        now = os.fstat(self.handle)
        return now.st_size, now.st_mtime_ns

    def _lock(self, byte: int) -> None:
        request = _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
        try:
            fcntl.fcntl(self.handle, fcntl.F_OFD_SETLK, request)
        except BlockingIOError:
            raise in_use(self.path) from None

    def _is_locked(self, byte: int) -> bool:
        request = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind = _LOCK.unpack(fcntl.fcntl(self.handle, fcntl.F_OFD_GETLK, request))[0]
        return bool(kind != fcntl.F_UNLCK)


def is_full(file: os.stat_result, size: int) -> bool:
    """Whether a regular file takes the space of a whole disk of `size` bytes.

    The space of a block device is unknown, because a thin volume looks like a full one.
    """
    return stat.S_ISREG(file.st_mode) and 0 < size <= file.st_blocks * _BLOCK


def in_a_moment(call: Callable[[], T]) -> T:
    """Retry a call for two seconds while an image is in use.

    A QEMU tool ends shortly after a killed process that started it.
    """
    return retry(call, _MOMENT, lambda error: isinstance(error, SourceChanged))


def in_use(path: Path) -> SourceChanged:
    """Error for an image that another process writes to."""
    return SourceChanged(
        f"image {path} is in use by a running machine; stop the machine and try again"
    )


def read_header(handle: int, path: Path, *, with_others: bool = False) -> Qcow2:
    """Read the header of a qcow2 image (by QEMU's qcow2 specification).

    The header is read here, because QEMU's own tools would open any file that the header names.
    Raises Malformed for a bad header, Unsupported for an image that needs a key, and unless
    `with_others` for an image that needs another file.
    """
    head = os.pread(handle, _HEADER.size, 0)
    if len(head) < _HEADER.size or head[:4] != b"QFI\xfb":
        raise Malformed(f"{path} is not a qcow2 image")
    _, version, backing, _, _, size, crypt, *_, snapshots, _ = _HEADER.unpack(head)
    if version not in (2, 3) or size >= 1 << 62:
        raise Malformed(f"{path} has a damaged qcow2 header")
    if backing and not with_others:
        raise Unsupported(f"{path} has a backing file; merge it by `qemu-img rebase -b '' {path}`")
    if crypt:
        raise Unsupported(f"{path} is encrypted by QEMU; its blocks cannot be read")
    if not with_others and version == 3 and _incompatible(handle, path) & _EXTERNAL_DATA:
        raise Unsupported(f"{path} has an external data file; convert it by `qemu-img convert`")
    return Qcow2(size, version, snapshots)


def _incompatible(handle: int, path: Path) -> int:
    more = os.pread(handle, _V3.size, _HEADER.size)
    if len(more) < _V3.size:
        raise Malformed(f"{path} has a damaged qcow2 header")
    return int(_V3.unpack(more)[0])


def open_regular(path: Path) -> int:
    """Open a regular file for reading, without following links or blocking on a pipe.

    Returns the descriptor. Raises Unavailable for a missing or unreadable file, Malformed for a
    link or any other type of file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unavailable(f"{path} is missing; put the file back") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Malformed(f"{path} is a symbolic link and is not followed") from None
        raise Unavailable(f"cannot open {path}: {denied(error)}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Malformed(f"{path} is not a regular file")
    return handle


def open_disk(path: Path) -> int:
    """Open a regular file or a block device for reading, behind any links.

    The type is known before the file is opened, because opening some devices has effects: a
    watchdog begins to count. Returns the descriptor. Raises OSError, or Malformed for any other
    type of file.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(place).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise Malformed(
                f"{path} is neither a file nor a block device; correct the path of the disk"
            )
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(place)


def read_regular(path: Path, most: int) -> bytes:
    """Read at most `most` bytes of a regular file; raises as `open_regular`."""
    with open(open_regular(path), "rb") as file:
        return file.read(most)
