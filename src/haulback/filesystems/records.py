"""Volumes and entries, and what the confined process is asked and answers about them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from haulback.units import MIB

MOST_ENTRIES: Final = 10_000  # of one listing
MOST_BYTES: Final = 4 * MIB  # of one read
MOST_PIECES: Final = 20_000  # of one answer
MOST_PATH: Final = 4096  # bytes
MOST_NAME: Final = 1024  # bytes; NTFS has 255 UTF-16 units

_Text = Annotated[str, Meta(max_length=300)]
_Name = Annotated[bytes, Meta(min_length=1, max_length=MOST_NAME)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Word = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
_Moment = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]


class EntryType(StrEnum):
    """What a name stands for.  A broken link leads to nothing within its volume."""

    DIRECTORY = "DIRECTORY"
    REGULAR_FILE = "REGULAR_FILE"
    SYMLINK = "SYMLINK"
    BROKEN_SYMLINK = "BROKEN_SYMLINK"
    OTHER = "OTHER"


class Volume(msgspec.Struct, frozen=True):
    """Something on the disks that holds files, or could.

    `name` is unique among the disks: `vda` (no partitions), `vda1`, `vg0/root`.  `type` is ext4,
    ext3, ext2, xfs, ntfs, fat12, fat16, fat32, exfat, or the name of what cannot be read.
    `reason` says why it cannot, or what to know of one that can.  `size` in bytes.
    """

    name: _Text
    type: _Text
    size: _Count
    disks: Annotated[tuple[_Text, ...], Meta(max_length=1000)]
    label: _Text = ""
    uuid: _Text = ""
    readable: bool = True
    reason: _Text = ""


class Entry(msgspec.Struct, frozen=True):
    """One name in a directory.  `size` in bytes, `modified` in epoch milliseconds.

    Bytes of a name that are not UTF-8 are kept as surrogate escapes; see `shown`.  `reason` says
    why the contents cannot be read, as far as the directory and the inode tell; empty for others.
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
        """Whether no reason against reading the contents is known."""
        return not self.reason

    @property
    def shown(self) -> str:
        """The name, fit to be printed anywhere."""
        return printable(self.name)


class Page(list[Entry]):
    """Entries of a directory; `reason` says why some entries of the directory may be missing."""

    def __init__(self, entries: Iterable[Entry] = (), reason: str = "") -> None:
        super().__init__(entries)
        self.reason = reason


def printable(text: str) -> str:
    """Text of unknown origin without control characters and lone surrogates."""
    sound = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in sound)


class Begin(msgspec.Struct, tag=True):
    """The first message: the names and sizes of the disks, in the order of their numbers.

    `code_page` is the codec of short FAT names.
    """

    disks: list[tuple[str, int]]
    code_page: str = "cp850"


class Volumes(msgspec.Struct, tag=True):
    """Asks for the volumes."""


class Look(msgspec.Struct, tag=True):
    """Asks for one entry; a link at the end of the path is not followed."""

    volume: str
    path: bytes


class Listing(msgspec.Struct, tag=True):
    """Asks for at most `most` entries of a directory, by name, behind `after`."""

    volume: str
    path: bytes
    after: bytes
    most: int


class Read(msgspec.Struct, tag=True):
    """Asks where `count` bytes of a file lie."""

    volume: str
    path: bytes
    offset: int
    count: int


Ask = Begin | Volumes | Look | Listing | Read


class Found(msgspec.Struct, array_like=True):
    """An Entry with its names as they are stored."""

    name: _Name
    type: EntryType
    size: _Count
    modified: _Moment
    mode: _Word
    uid: _Word
    gid: _Word
    target: Annotated[bytes, Meta(max_length=MOST_PATH)] | None = None
    reason: _Text = ""

    def entry(self) -> Entry:
        target = None if self.target is None else text(self.target)
        name = text(self.name)
        numbers = self.size, self.modified, self.mode, self.uid, self.gid
        return Entry(name, self.type, *numbers, target, printable(self.reason))


class Piece(msgspec.Struct, array_like=True):
    """`length` bytes of a file: `data`, or what disk number `disk` has at `offset`, or zeros."""

    length: Annotated[int, Meta(gt=0, le=MOST_BYTES)]
    disk: Annotated[int, Meta(ge=-1)] = -1
    offset: _Count = 0
    data: Annotated[bytes, Meta(max_length=MOST_BYTES)] = b""


class Disks(msgspec.Struct, tag=True):
    """Answers Volumes."""

    volumes: Annotated[list[Volume], Meta(max_length=4096)]


class Entries(msgspec.Struct, tag=True):
    """Answers Look and Listing; `reason` as that of a Page."""

    entries: Annotated[list[Found], Meta(max_length=MOST_ENTRIES)]
    reason: _Text = ""


class Content(msgspec.Struct, tag=True):
    """Answers Read: the file's size, and its pieces from where it was asked; maybe not all."""

    size: _Count
    pieces: Annotated[list[Piece], Meta(max_length=MOST_PIECES)]


class Failed(msgspec.Struct, tag=True):
    """Answers anything; `code` is that of an error of ours."""

    code: _Text
    message: _Text


Answer = Disks | Entries | Content | Failed


def text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """Raises UnicodeEncodeError for surrogates that no bytes stand behind."""
    return name.encode("utf-8", "surrogateescape")
