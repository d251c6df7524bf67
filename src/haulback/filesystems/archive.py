"""Tar of files of a volume, streamed while it is read.

An unreadable file does not end the tar: the remaining files follow, and the last member (`report`)
names the file. Only an unreachable disk ends the tar.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from typing import Protocol

from haulback.errors import HaulbackError, Incomplete, NotFound, is_away
from haulback.filesystems.paths import checked
from haulback.filesystems.records import DirectoryEntries, EntryType, FileEntry, text
from haulback.filesystems.report import UnreadableReport
from haulback.texts import printable
from haulback.units import KIB, MIB

_DEEPEST = 256  # nested directories
_PAGE = 1000  # entries per listing
_LINKS = (EntryType.SYMLINK, EntryType.BROKEN_SYMLINK)
_ZEROS = bytes(MIB)
_STEP = 64 * KIB  # precision with which the first unreadable byte is located


class FileSource(Protocol):
    """Source of a tar's members, for instance a Browser."""

    def entry(self, volume: str, path: str) -> FileEntry: ...

    def listing(
        self, volume: str, path: str, *, after: str = "", most: int = 1000
    ) -> DirectoryEntries: ...

    def stream(self, volume: str, path: str) -> Iterator[bytes]: ...

    def read(self, volume: str, path: str, offset: int, count: int) -> bytes: ...


def packed(
    source: FileSource, volume: str, paths: Sequence[str], *, strict: bool = False
) -> Iterator[bytes]:
    """Blocks of a tar.

    With `strict` an unreadable file raises Incomplete; otherwise the report names the file. Raises
    NotFound before the first block, and Unavailable when a disk becomes unreachable.
    """
    wanted: list[tuple[str, FileEntry | HaulbackError]] = []
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
    source: FileSource,
    volume: str,
    wanted: Sequence[tuple[str, FileEntry | HaulbackError]],
    strict: bool,
) -> Iterator[bytes]:
    with UnreadableReport() as report:
        tar = _Tar(source, volume, report, strict)
        for place, entry in wanted:
            if isinstance(entry, HaulbackError):
                tar.failed(place, entry)
            else:
                yield from tar.all(place, entry)
        yield from report.member()
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Tar:
    """Members of a tar under construction."""

    def __init__(
        self, source: FileSource, volume: str, report: UnreadableReport, strict: bool
    ) -> None:
        self._source, self._volume = source, volume
        self._report, self._strict = report, strict

    def failed(self, place: str, error: HaulbackError, what: str = "") -> None:
        """Report an unreadable file. Raises the error when the disk is unreachable."""
        if is_away(error):
            raise error
        self._missing(place, f"{what}{error.message}")

    def _missing(self, place: str, reason: str) -> None:
        if self._strict:
            raise Incomplete(
                f"{printable(place)[:200]} cannot be read: {reason[:500]};"
                " leave this path out to continue",
                files=[{"path": printable(place), "reason": printable(reason)}],
            )
        self._report.add(place, reason)

    def all(self, place: str, entry: FileEntry) -> Iterator[bytes]:
        """Members of an entry and of all entries below it."""
        name = place.strip("/") or "."
        left = [iter([(place, name, entry)])]
        while left:
            child = next(left[-1], None)
            if child is None:
                left.pop()
                continue
            place, name, entry = child
            self._report.avoid(name)
            yield from self._member(place, name, entry)
            if entry.type is EntryType.DIRECTORY:
                if len(left) > _DEEPEST:
                    self._missing(place, f"the folder is deeper than {_DEEPEST} directories")
                else:
                    left.append(self._below(place, name))

    def _member(self, place: str, name: str, entry: FileEntry) -> Iterator[bytes]:
        if entry.type is EntryType.DIRECTORY:
            yield _header(entry, name, tarfile.DIRTYPE)
        elif entry.reason:
            self._missing(place, entry.reason)
        elif entry.type is EntryType.REGULAR_FILE:
            yield from self._file(place, name, entry)
        elif entry.type in _LINKS:
            yield _header(entry, name, tarfile.SYMTYPE)

    def _below(self, place: str, name: str) -> Iterator[tuple[str, str, FileEntry]]:
        after, last = "", False
        while not last:
            try:
                page = self._source.listing(self._volume, place, after=after, most=_PAGE)
            except HaulbackError as error:
                known = "completely" if after else "at all"
                self.failed(place, error, f"the folder could not be listed {known}: ")
                return
            for row in page:
                yield f"{place.rstrip('/')}/{row.name}", f"{name}/{row.name}", row
            last = len(page) < _PAGE
            if last and page.reason:
                self._missing(place, f"the folder could not be listed completely: {page.reason}")
            after = page[-1].name if page else ""

    def _file(self, place: str, name: str, entry: FileEntry) -> Iterator[bytes]:
        """Header and contents of a file; zeros replace its unreadable end."""
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
            reason = told[0] if told else "its size differs from the one in its directory"
            zeros = f"damaged from byte {at} of {entry.size}, filled with zeros from there on: "
            self._missing(place, f"{zeros}{reason}" if at < entry.size else reason)
        for low in range(at, entry.size, len(_ZEROS)):
            yield _ZEROS[: entry.size - low]
        yield bytes(-entry.size % tarfile.BLOCKSIZE)

    def _chunks(self, place: str, told: list[str]) -> Iterator[bytes]:
        """Readable beginning of a file; after an early end, `told` holds the reason."""
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
        """Bytes before the damage, in small steps; a chunk that contains damage fails as a
        whole.
        """
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


def _header(entry: FileEntry, name: str, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = kind, entry.mode & 0o7777, entry.uid, entry.gid
    info.mtime = max(0, entry.modified) / 1000
    if kind == tarfile.REGTYPE:
        info.size = entry.size
    info.linkname = entry.target or ""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
