"""Volumes and entries, and the messages to and from the confined process."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from haulback.texts import printable
from haulback.units import MIB

MOST_ENTRIES: Final = 10_000  # entries of a listing
MOST_BYTES: Final = 4 * MIB  # bytes of a read
MOST_PIECES: Final = 20_000  # pieces in a response
MOST_PATH: Final = 4096  # bytes
MOST_NAME: Final = 1024  # bytes; 255 UTF-16 units of NTFS can become 765

_Text = Annotated[str, Meta(max_length=300)]
_Name = Annotated[bytes, Meta(min_length=1, max_length=MOST_NAME)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Word = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
_Moment = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]


class EntryType(StrEnum):
    """Type of an entry. The target of a broken link does not exist within its volume."""

    DIRECTORY = "DIRECTORY"
    REGULAR_FILE = "REGULAR_FILE"
    SYMLINK = "SYMLINK"
    BROKEN_SYMLINK = "BROKEN_SYMLINK"
    OTHER = "OTHER"


class Volume(msgspec.Struct, frozen=True):
    """A volume on the disks; `size` in bytes.

    `name` is unique among the disks: `vda` (a disk without partitions), `vda1`, `vg0/root`. `type`
    is ext4, ext3, ext2, xfs, ntfs, fat12, fat16, fat32, exfat, or the name of a type that cannot be
    read. `readable` means that its root folder was opened. `reason` says why a volume cannot be
    read, or is a caution about a readable one. `features` are those of note in the superblock.
    """

    name: _Text
    type: _Text
    size: _Count
    disks: Annotated[tuple[_Text, ...], Meta(max_length=1000)]
    label: _Text = ""
    uuid: _Text = ""
    readable: bool = True
    reason: _Text = ""
    features: Annotated[tuple[_Text, ...], Meta(max_length=100)] = ()


class FileEntry(msgspec.Struct, frozen=True):
    """An entry of a directory; `size` in bytes, `modified` in epoch milliseconds.

    Bytes of a name that are not UTF-8 are kept as surrogate escapes; see `shown`. `reason` says why
    the contents cannot be read, as far as directory and inode tell; it is empty for readable
    entries.
    """

    name: str
    type: EntryType
    size: int
    modified: int
    mode: int
    uid: int
    gid: int
    target: str | None = None
    reason: str = ""

    @property
    def readable(self) -> bool:
        """Whether the contents can be read, as far as directory and inode tell."""
        return not self.reason

    @property
    def shown(self) -> str:
        """Printable form of the name."""
        return printable(self.name)


class DirectoryEntries(list[FileEntry]):
    """Entries of a directory; `reason` says why entries may be missing."""

    def __init__(self, entries: Iterable[FileEntry] = (), reason: str = "") -> None:
        super().__init__(entries)
        self.reason = reason


class Begin(msgspec.Struct, tag=True):
    """First message to the process: names and sizes (bytes) of the disks, in numbering order.

    `code_page` is the codec of short FAT names.
    """

    disks: list[tuple[str, int]]
    code_page: str = "cp850"


class ListVolumes(msgspec.Struct, tag="Volumes"):
    """Request for all volumes."""


class FindEntry(msgspec.Struct, tag="Look"):
    """Request for one entry; a link at the end of the path is not followed."""

    volume: str
    path: bytes


class ListDirectory(msgspec.Struct, tag="Listing"):
    """Request for at most `most` entries of a directory, sorted by name, after the name `after`."""

    volume: str
    path: bytes
    after: bytes
    most: int


class ReadFile(msgspec.Struct, tag="Read"):
    """Request for the pieces of `count` bytes of a file from `offset`."""

    volume: str
    path: bytes
    offset: int
    count: int


Ask = Begin | ListVolumes | FindEntry | ListDirectory | ReadFile


class RawEntry(msgspec.Struct, array_like=True):
    """An Entry in a message; its names are bytes."""

    name: _Name
    type: EntryType
    size: _Count
    modified: _Moment
    mode: _Word
    uid: _Word
    gid: _Word
    target: Annotated[bytes, Meta(max_length=MOST_PATH)] | None = None
    reason: _Text = ""

    def entry(self) -> FileEntry:
        target = None if self.target is None else text(self.target)
        name = text(self.name)
        numbers = self.size, self.modified, self.mode, self.uid, self.gid
        return FileEntry(name, self.type, *numbers, target, printable(self.reason))


class FilePiece(msgspec.Struct, array_like=True):
    """`length` bytes of a file: `data` if not empty, otherwise bytes of disk number `disk` at
    `offset`.

    A negative disk number means zeros.
    """

    length: Annotated[int, Meta(gt=0, le=MOST_BYTES)]
    disk: Annotated[int, Meta(ge=-1)] = -1
    offset: _Count = 0
    data: Annotated[bytes, Meta(max_length=MOST_BYTES)] = b""


class VolumesFound(msgspec.Struct, tag="Disks"):
    """Response to ListVolumes."""

    volumes: Annotated[list[Volume], Meta(max_length=4096)]


class Entries(msgspec.Struct, tag=True):
    """Response to FindEntry and ListDirectory; `reason` says why entries may be missing."""

    entries: Annotated[list[RawEntry], Meta(max_length=MOST_ENTRIES)]
    reason: _Text = ""


class Content(msgspec.Struct, tag=True):
    """Response to ReadFile: size of the file, and pieces from the requested offset, possibly
    fewer.
    """

    size: _Count
    pieces: Annotated[list[FilePiece], Meta(max_length=MOST_PIECES)]


class Failed(msgspec.Struct, tag=True):
    """Error response; `code` is the code of an error in `haulback.errors`."""

    code: _Text
    message: _Text


Answer = VolumesFound | Entries | Content | Failed


def text(name: bytes) -> str:
    """A name from a disk as text, with surrogate escapes for bytes that are not UTF-8."""
    return name.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """A name as bytes, the reverse of `text`.

    Raises UnicodeEncodeError for surrogates that are not escapes.
    """
    return name.encode("utf-8", "surrogateescape")
