"""File names in a FAT directory, decoded from its slots of 32 bytes.

A long name is stored in up to 20 slots before the slot of the short name, the last part first; each
slot carries the checksum of the short name. Slots in any other order belong to no file, and the
short name is used. Specification: "Microsoft FAT Specification", 2005, section 7.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from haulback.filesystems.parsers.names import unlike_dots

SLOT: Final = 32
DIRECTORY: Final = 0x10
_LABEL, _LONG = 0x08, 0x0F
_FREE, _END, _E5 = 0xE5, 0x00, 0x05  # first bytes of a slot; 0x05 stands for a real 0xE5
_LAST, _MOST_SLOTS = 0x40, 20
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10
_DOTS = (b".          ", b"..         ")
_utf16 = codecs.getdecoder("utf-16-le")  # imported now, because the sandbox cannot open files


class CodePage:
    """Character set of short names, with one or two bytes per character."""

    def __init__(self, name: str) -> None:
        """Load the Python codec `name`, for instance cp850. Raises LookupError."""
        found = codecs.lookup(name)
        self._decode, self._encode = found.decode, found.encode

    def text(self, raw: bytes, lower: bool) -> str:
        r"""Decode a name; undecodable bytes become text like \x81, `lower` makes letters small."""
        text = self._decode(raw, "backslashreplace")[0]
        return "".join(map(self._lowered, text)) if lower else text

    def _lowered(self, letter: str) -> str:
        try:
            made = letter.lower()
            return made if len(self._encode(made, "strict")[0]) == 1 else letter
        except UnicodeEncodeError:
            return letter


class FatEntry(NamedTuple):
    """A file or directory, and the offset of the slot with its short name."""

    name: bytes
    offset: int


def names(slots: Iterable[tuple[int, bytes]], page: CodePage) -> Iterator[FatEntry]:
    """Files in a directory, up to the end mark; `slots` are pairs of offset and 32 bytes, in order.

    Empty bytes represent unreadable slots.
    """
    long = _Long()
    for offset, slot in slots:
        if not slot or slot[0] == _FREE:
            long = _Long()
        elif slot[0] == _END:
            return
        elif slot[11] == _LONG:
            long = long.with_part(slot)
        else:
            name = long.name_of(slot[:11])
            long = _Long()
            if slot[11] & _LABEL or _is_dots(name, slot):
                continue
            yield FatEntry(unlike_dots(name or _short(slot, page)), offset)


def units(raw: bytes) -> bytes:
    """Convert UTF-16-LE up to a NUL to UTF-8.

    A lone surrogate becomes three bytes that are not valid UTF-8, so that names stay distinct.
    """
    text = _utf16(raw, "surrogatepass")[0].partition("\0")[0]
    return text.encode(errors="surrogatepass")


class _Long(NamedTuple):
    """A long name that is being assembled; `missing` parts are still to come."""

    missing: int = 0
    checksum: int = 0
    raw: bytes = b""

    def with_part(self, slot: bytes) -> _Long:
        number, checksum = slot[0], slot[13]
        part = slot[1:11] + slot[14:26] + slot[28:32]
        if number & _LAST:
            number &= ~_LAST
            return _Long(number - 1, checksum, part) if 0 < number <= _MOST_SLOTS else _Long()
        if self.missing and (number, checksum) == (self.missing, self.checksum):
            return _Long(number - 1, checksum, part + self.raw)
        return _Long()

    def name_of(self, short: bytes) -> bytes:
        """The long name of the file with this short name; empty if the checksum or a part is
        wrong.
        """
        if not self.raw or self.missing or self.checksum != _checksum(short):
            return b""
        return units(self.raw)


def _checksum(short: bytes) -> int:
    found = 0
    for byte in short:
        found = ((found & 1) << 7 | found >> 1) + byte & 0xFF
    return found


def _is_dots(long: bytes, slot: bytes) -> bool:
    return not long and slot[:11] in _DOTS and bool(slot[11] & DIRECTORY)


def _short(slot: bytes, page: CodePage) -> bytes:
    raw = (b"\xe5" if slot[0] == _E5 else slot[:1]) + slot[1:11]
    base = page.text(raw[:8].rstrip(b" "), bool(slot[12] & _LOWER_BASE))
    extension = page.text(raw[8:].rstrip(b" "), bool(slot[12] & _LOWER_EXTENSION))
    return (f"{base}.{extension}" if extension else base).encode()
