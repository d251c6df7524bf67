"""A tar of files of a volume, made while it is read.

A file that cannot be read does not end the tar: the rest is packed, and a last member (`report`)
names the file.  Only a disk that does not answer any more ends the tar.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from typing import Protocol

from haulback.errors import HaulbackError, Incomplete, NotFound, is_away
from haulback.filesystems.paths import checked
from haulback.filesystems.records import Entry, EntryType, Page, printable, text
from haulback.filesystems.report import Report
from haulback.units import KIB, MIB

_DEEPEST = 256
_PAGE = 1000
_LINKS = (EntryType.SYMLINK, EntryType.BROKEN_SYMLINK)
_ZEROS = bytes(MIB)
_STEP = 64 * KIB  # how closely the first byte that cannot be read is found


class Readable(Protocol):
    """A source of a tar's members."""

    def entry(self, volume: str, path: str) -> Entry: ...

    def listing(self, volume: str, path: str, *, after: str = "", most: int = 1000) -> Page: ...

    def stream(self, volume: str, path: str) -> Iterator[bytes]: ...

    def read(self, volume: str, path: str, offset: int, count: int) -> bytes: ...


def packed(
    source: Readable, volume: str, paths: Sequence[str], *, strict: bool = False
) -> Iterator[bytes]:
    """The blocks of a tar.  Raises NotFound before the first one.

    With `strict`, a file that cannot be read raises Incomplete; else the report names the file.
    """
    wanted: list[tuple[str, Entry | HaulbackError]] = []
    for place in [text(checked(path)) for path in paths]:
        try:
            wanted.append((place, source.entry(volume, place)))
        except NotFound:
            raise
        except HaulbackError as error:
            if is_away(error):
                raise
            wanted.append((place, error))
    return _blocks(source, volume, wanted, strict)


def _blocks(
    source: Readable,
    volume: str,
    wanted: Sequence[tuple[str, Entry | HaulbackError]],
    strict: bool,
) -> Iterator[bytes]:
    with Report() as report:
        tar = _Tar(source, volume, report, strict)
        for place, found in wanted:
            if isinstance(found, HaulbackError):
                tar.failed(place, found)
            else:
                yield from tar.all(place, found)
        yield from report.member()
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Tar:
    """The members of a tar in the making."""

    def __init__(self, source: Readable, volume: str, report: Report, strict: bool) -> None:
        self._source, self._volume = source, volume
        self._report, self._strict = report, strict

    def failed(self, place: str, error: HaulbackError, what: str = "") -> None:
        """Name a file that cannot be read.  Raises the error of a disk that is away."""
        if is_away(error):
            raise error
        self._missing(place, f"{what}{error.message}")

    def _missing(self, place: str, reason: str) -> None:
        if self._strict:
            raise Incomplete(
                f"{printable(place)[:200]} cannot be read: {reason[:500]};"
                " name the other paths to go on without it",
                files=[{"path": printable(place), "reason": printable(reason)}],
            )
        self._report.add(place, reason)

    def all(self, place: str, entry: Entry) -> Iterator[bytes]:
        """An entry, and all that lies below it."""
        name = place.strip("/") or "."
        left = [iter([(place, name, entry)])]
        while left:
            found = next(left[-1], None)
            if found is None:
                left.pop()
                continue
            place, name, entry = found
            self._report.avoid(name)
            yield from self._member(place, name, entry)
            if entry.type is EntryType.DIRECTORY:
                if len(left) > _DEEPEST:
                    self._missing(place, f"it is deeper than {_DEEPEST} directories")
                else:
                    left.append(self._below(place, name))

    def _member(self, place: str, name: str, entry: Entry) -> Iterator[bytes]:
        if entry.type is EntryType.DIRECTORY:
            yield _header(entry, name, tarfile.DIRTYPE)
        elif entry.reason:
            self._missing(place, entry.reason)
        elif entry.type is EntryType.REGULAR_FILE:
            yield from self._file(place, name, entry)
        elif entry.type in _LINKS:
            yield _header(entry, name, tarfile.SYMTYPE)

    def _below(self, place: str, name: str) -> Iterator[tuple[str, str, Entry]]:
        after, last = "", False
        while not last:
            try:
                page = self._source.listing(self._volume, place, after=after, most=_PAGE)
            except HaulbackError as error:
                known = "all of its files" if after else "its files"
                self.failed(place, error, f"the folder does not show {known}: ")
                return
            for one in page:
                yield f"{place.rstrip('/')}/{one.name}", f"{name}/{one.name}", one
            last = len(page) < _PAGE
            if last and page.reason:
                self._missing(place, f"the folder does not show all of its files: {page.reason}")
            after = page[-1].name if page else ""

    def _file(self, place: str, name: str, entry: Entry) -> Iterator[bytes]:
        """The header of a file, its contents, and zeros for those that cannot be read."""
        told: list[str] = []
        chunks, at = self._chunks(place, told), 0
        first = next(chunks, b"")
        if told and not first:
            self._missing(place, told[0])
            return
        yield _header(entry, name, tarfile.REGTYPE)
        while first and at < entry.size:
            part = first[: entry.size - at]
            at += len(part)
            yield part
            first = next(chunks, b"")
        if first or at < entry.size:
            reason = told[0] if told else "it has not the size that its directory says"
            zeros = f"damaged from byte {at} of {entry.size}, with zeros from there on: "
            self._missing(place, f"{zeros}{reason}" if at < entry.size else reason)
        for low in range(at, entry.size, len(_ZEROS)):
            yield _ZEROS[: entry.size - low]
        yield bytes(-entry.size % tarfile.BLOCKSIZE)

    def _chunks(self, place: str, told: list[str]) -> Iterator[bytes]:
        """The readable beginning of a file; `told` gets the reason of an early end."""
        at = 0
        try:
            for chunk in self._source.stream(self._volume, place):
                at += len(chunk)
                yield chunk
        except HaulbackError as error:
            if is_away(error):
                raise
            yield from self._up_to_damage(place, at)
            told.append(error.message)

    def _up_to_damage(self, place: str, at: int) -> Iterator[bytes]:
        """The bytes before the damage in a chunk that as a whole cannot be read."""
        while True:
            try:
                part = self._source.read(self._volume, place, at, _STEP)
            except HaulbackError as error:
                if is_away(error):
                    raise
                return
            if not part:
                return
            at += len(part)
            yield part


def _header(entry: Entry, name: str, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = kind, entry.mode & 0o7777, entry.uid, entry.gid
    info.mtime = max(0, entry.modified) / 1000
    if kind == tarfile.REGTYPE:
        info.size = entry.size
    info.linkname = entry.target or ""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
