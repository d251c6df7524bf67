"""A tar of files of a volume, made while it is read."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from typing import Protocol

from haulback.errors import Malformed
from haulback.filesystems.paths import checked
from haulback.filesystems.records import Entry, EntryType, printable, text

_DEEPEST = 256
_PAGE = 1000
_LINKS = (EntryType.SYMLINK, EntryType.BROKEN_SYMLINK)


class Readable(Protocol):
    """What a tar is made from."""

    def entry(self, volume: str, path: str) -> Entry: ...

    def listing(
        self, volume: str, path: str, *, after: str = "", most: int = 1000
    ) -> list[Entry]: ...

    def stream(self, volume: str, path: str) -> Iterator[bytes]: ...


def packed(source: Readable, volume: str, paths: Sequence[str]) -> Iterator[bytes]:
    """The blocks of a tar.  Raises NotFound before the first one; Malformed for a too deep tree."""
    places = [text(checked(path)) for path in paths]
    entries = [source.entry(volume, place) for place in places]
    return _all(source, volume, list(zip(places, entries, strict=True)))


def _all(source: Readable, volume: str, wanted: Sequence[tuple[str, Entry]]) -> Iterator[bytes]:
    for place, entry in wanted:
        yield from _member(source, volume, place, entry, place.strip("/") or ".", 0)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(
    source: Readable, volume: str, place: str, entry: Entry, name: str, depth: int
) -> Iterator[bytes]:
    if depth > _DEEPEST:
        raise Malformed(f"{printable(place)[:200]} is deeper than {_DEEPEST} directories")
    if entry.type is EntryType.DIRECTORY:
        yield _header(entry, name, tarfile.DIRTYPE)
        for child in _children(source, volume, place):
            below = f"{place.rstrip('/')}/{child.name}"
            yield from _member(source, volume, below, child, f"{name}/{child.name}", depth + 1)
    elif entry.type is EntryType.REGULAR_FILE:
        yield _header(entry, name, tarfile.REGTYPE)
        yield from _contents(source.stream(volume, place), entry.size, place)
    elif entry.type in _LINKS and entry.target is not None:
        yield _header(entry, name, tarfile.SYMTYPE)


def _children(source: Readable, volume: str, place: str) -> Iterator[Entry]:
    after = ""
    while page := source.listing(volume, place, after=after, most=_PAGE):
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].name


def _contents(stream: Iterator[bytes], size: int, place: str) -> Iterator[bytes]:
    left = size
    for chunk in stream:
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise Malformed(f"{printable(place)[:200]} has not the size that its directory says")
    yield bytes(-size % tarfile.BLOCKSIZE)


def _header(entry: Entry, name: str, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = kind, entry.mode & 0o7777, entry.uid, entry.gid
    info.mtime = max(0, entry.modified) / 1000
    if kind == tarfile.REGTYPE:
        info.size = entry.size
    info.linkname = entry.target or ""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
