"""Volumes and entries, and the messages to and from the sandbox."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag, StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from haulback.texts import printable
from haulback.units import MIB

MOST_ENTRIES: Final = 10_000  # entries of a listing
MOST_BYTES: Final = 4 * MIB  # bytes of a piece, and of the data of a response
MOST_WINDOW: Final = 256 * MIB  # bytes of a file whose pieces are requested at once
MOST_PIECES: Final = 20_000  # pieces in a response
MOST_PATH: Final = 4096  # bytes
MOST_NAME: Final = 1024  # bytes; 255 UTF-16 units of NTFS can become 765
MOST_RANGES: Final = 10_000  # ranges in a response
MOST_ATTRIBUTES: Final = MIB  # bytes of the extended attributes of a file

_Text = Annotated[str, Meta(max_length=300)]
_Name = Annotated[bytes, Meta(min_length=1, max_length=MOST_NAME)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Word = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
_Value = Annotated[bytes, Meta(max_length=MOST_ATTRIBUTES)]
_Acl = Annotated[str, Meta(max_length=MOST_ATTRIBUTES)]
_Moment = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]


class EntryType(StrEnum):
    """Type of an entry. The target of a broken link does not exist within its volume."""

    DIRECTORY = "DIRECTORY"
    REGULAR_FILE = "REGULAR_FILE"
    SYMLINK = "SYMLINK"
    BROKEN_SYMLINK = "BROKEN_SYMLINK"
    OTHER = "OTHER"


class Contents(StrEnum):
    """Whether the contents of an entry can be read; only a request for details and a read test
    this.
    """

    READABLE = "READABLE"
    NOT_READABLE = "NOT_READABLE"
    NOT_TRIED = "NOT_TRIED"


class EntryHint(IntFlag):
    """Facts of an inode or a record; they show which further requests are useful."""

    ATTRIBUTES = 1  # the file has extended attributes, or access control lists
    HOLES = 2  # the file has holes: fewer bytes are stored than its size
    INSIDE = 4  # the contents are in the inode or the record


class Volume(msgspec.Struct, frozen=True):
    """A volume on the disks; `size` in bytes.

    `name` is unique among the disks: `vda` (a disk without partitions), `vda1`, `vg0/root`. `type`
    is ext4, ext3, ext2, xfs, ntfs, fat12, fat16, fat32, exfat, or the name of a type that cannot be
    read. `readable` means that its root folder was opened. `reason` says why a volume cannot be
    read, or is a warning about a readable one. `features` are those of note in the superblock.
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
    the contents cannot be read, as far as directory and inode show. `node` is the number of the
    file within its volume, 0 if unknown; `links` is the number of its names. `fine` is the
    nanoseconds after `modified`; `kind` holds the type bits, and `device` the numbers (major,
    minor) of a device.
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
    node: int = 0
    links: int = 1
    hints: EntryHint = EntryHint(0)
    fine: int = 0
    kind: int = 0
    device: tuple[int, int] = (0, 0)

    @property
    def readable(self) -> bool:
        """Whether no reason against reading is known; see `contents`."""
        return not self.reason

    @property
    def contents(self) -> Contents:
        """Whether the contents can be read; a file that was not opened is NOT_TRIED."""
        if self.reason:
            return Contents.NOT_READABLE
        if self.type is EntryType.DIRECTORY:
            return Contents.NOT_TRIED
        is_known = self.type is not EntryType.REGULAR_FILE or not self.size
        return (
            Contents.READABLE if is_known or self.hints & EntryHint.INSIDE else Contents.NOT_TRIED
        )

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


class DescribeFile(msgspec.Struct, tag="Describe"):
    """Request for the extended attributes and the features of an entry.

    A link at the end of the path is not followed.
    """

    volume: str
    path: bytes


class MapFile(msgspec.Struct, tag="Map"):
    """Request for the ranges of a file that are stored, from `offset`; the rest reads as zeros."""

    volume: str
    path: bytes
    offset: int


Query = Begin | ListVolumes | FindEntry | ListDirectory | ReadFile | DescribeFile | MapFile


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
    node: _Count = 0
    links: _Word = 1
    hints: _Word = 0
    fine: Annotated[int, Meta(ge=0, le=999_999)] = 0
    kind: _Word = 0
    device: tuple[_Word, _Word] = (0, 0)

    def entry(self) -> FileEntry:
        return FileEntry(
            text(self.name),
            self.type,
            self.size,
            self.modified,
            self.mode,
            self.uid,
            self.gid,
            None if self.target is None else text(self.target),
            printable(self.reason),
            self.node,
            self.links,
            EntryHint(self.hints & 7),
            self.fine,
            self.kind,
            self.device,
        )


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
    of fewer bytes: up to MOST_PIECES pieces or MOST_BYTES of data, or up to damage.
    """

    size: _Count
    pieces: Annotated[list[FilePiece], Meta(max_length=MOST_PIECES)]


class FileFacts(msgspec.Struct, tag=True):
    """Response to DescribeFile: extended attributes by their names in Linux, access control lists
    as text, features by name.

    `reason` says why attributes may be missing.
    """

    attributes: Annotated[list[tuple[_Name, _Value]], Meta(max_length=10_000)] = []
    access: _Acl = ""
    default: _Acl = ""
    features: Annotated[tuple[_Text, ...], Meta(max_length=100)] = ()
    reason: _Text = ""


class FileMap(msgspec.Struct, tag=True):
    """Response to MapFile: ascending ranges (offset, length), complete up to `end`."""

    ranges: Annotated[list[tuple[_Count, _Count]], Meta(max_length=MOST_RANGES)]
    end: _Count


class Failed(msgspec.Struct, tag=True):
    """Error response; `code` is the code of an error in `haulback.errors`."""

    code: _Text
    message: _Text


Answer = VolumesFound | Entries | Content | FileFacts | FileMap | Failed


def text(name: bytes) -> str:
    """A name from a disk as text, with surrogate escapes for bytes that are not UTF-8."""
    return name.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """A name as bytes, the reverse of `text`.

    Raises UnicodeEncodeError for surrogates that are not escapes.
    """
    return name.encode("utf-8", "surrogateescape")
