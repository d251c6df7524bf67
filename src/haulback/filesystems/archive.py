"""Tar of files of a volume, streamed while it is read.

An unreadable file does not end the tar: the remaining files follow, and the last member (`report`)
names the file. Only an unreachable disk ends the tar.
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator, Sequence
from tarfile import BLKTYPE, CHRTYPE, DIRTYPE, FIFOTYPE, LNKTYPE, REGTYPE, SYMTYPE
from typing import NamedTuple, Protocol

from haulback.errors import HaulbackError, Incomplete, NotFound, is_away
from haulback.filesystems.paths import checked
from haulback.filesystems.records import (
    DirectoryEntries,
    EntryHint,
    EntryType,
    FileEntry,
    FileFacts,
    text,
)
from haulback.filesystems.report import UnreadableReport
from haulback.filesystems.sparse import SparseMap
from haulback.filesystems.tar_members import TarMember, attribute_records
from haulback.texts import printable
from haulback.units import KIB, MIB

_DEEPEST = 256  # nested directories
_PAGE = 1000  # entries per listing
_LINKS = (EntryType.SYMLINK, EntryType.BROKEN_SYMLINK)
# Pipes and devices, by their type bits; sockets have no member, as in a tar of GNU tar.
_SPECIAL = {stat.S_IFIFO: FIFOTYPE, stat.S_IFCHR: CHRTYPE, stat.S_IFBLK: BLKTYPE}
_ZEROS = bytes(MIB)
# Smallest size for which the map of a file is requested, as reserved space is no data.
_MAPPED = MIB
# Bytes of holes that justify a map. In a strict tar, which goes to a guest, small holes are written
# as zeros, since the tar program of a small guest may not support sparse files.
_HOLES, _STRICT_HOLES = 4 * KIB, 16 * MIB
_MOST_LINKED = 100_000  # files with several names whose first name is kept
_STEP = 64 * KIB  # precision with which the first unreadable byte is located


class FileSource(Protocol):
    """Source of a tar's members, for instance a Browser."""

    def entry(self, volume: str, path: str) -> FileEntry: ...

    def listing(
        self, volume: str, path: str, *, after: str = "", most: int = 1000
    ) -> DirectoryEntries: ...

    def stream(self, volume: str, path: str) -> Iterator[bytes | memoryview]: ...

    def read(self, volume: str, path: str, offset: int, count: int) -> bytes: ...

    def facts(self, volume: str, path: str) -> FileFacts: ...

    def stored(self, volume: str, path: str, size: int) -> SparseMap: ...

    def parts(self, volume: str, path: str, ranges: SparseMap) -> Iterator[bytes]: ...


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


class _First(NamedTuple):
    """The member of a file with several names, and the reason if it is incomplete."""

    name: str
    reason: str


class _Tar:
    """Members of a tar under construction."""

    def __init__(
        self, source: FileSource, volume: str, report: UnreadableReport, strict: bool
    ) -> None:
        self._source, self._volume = source, volume
        self._report, self._strict = report, strict
        self._names: dict[int, _First] = {}
        self._sparse = 0

    def failed(self, place: str, error: HaulbackError, what: str = "") -> None:
        """Report an unreadable file. Raises the error if the disk is unreachable."""
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
            yield TarMember(entry, name, DIRTYPE, records=self._records(place, entry)).header()
        elif entry.reason:
            self._missing(place, entry.reason)
        elif entry.type is EntryType.REGULAR_FILE:
            yield from self._linked(place, name, entry)
        elif entry.type in _LINKS:
            records = self._records(place, entry)
            yield TarMember(entry, name, SYMTYPE, 0, entry.target or "", records).header()
        elif kind := _SPECIAL.get(entry.kind):
            yield TarMember(entry, name, kind, records=self._records(place, entry)).header()

    def _linked(self, place: str, name: str, entry: FileEntry) -> Iterator[bytes]:
        """A file, or a hard link to a member that holds the same file."""
        first = self._names.get(entry.node) if entry.links > 1 else None
        if first is not None and first.name != name:  # a request may name a path twice
            yield TarMember(entry, name, LNKTYPE, 0, first.name).header()
            if first.reason:
                self._missing(place, f"the file is a link to {first.name}: {first.reason}")
            return
        count = self._report.count
        blocks = self._file(place, name, entry)
        head = next(blocks, None)
        if head is None:
            return  # without a member of its own, each name of the file is reported
        yield head
        yield from blocks
        if entry.links > 1 and entry.node and len(self._names) < _MOST_LINKED:
            reason = "it is damaged" if self._report.count > count else ""
            self._names[entry.node] = _First(name, reason)

    def _records(self, place: str, entry: FileEntry) -> tuple[tuple[bytes, bytes], ...]:
        """Pax records of extended attributes; the report names those that cannot be read."""
        if not entry.hints & EntryHint.ATTRIBUTES:
            return ()
        try:
            facts = self._source.facts(self._volume, place)
        except HaulbackError as error:
            self.failed(place, error, "its extended attributes cannot be read: ")
            return ()
        if facts.reason:
            reason = printable(facts.reason)
            self._missing(place, f"not all of its extended attributes are delivered: {reason}")
        return tuple(attribute_records(facts))

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
        ranges = self._map(place, entry)
        chunks, size, at = self._chunks(place, ranges, told), ranges.stored, 0
        first = next(chunks, b"")
        if told and not first:
            self._missing(place, told[0])
            return
        yield self._header(place, name, entry, ranges)
        while first and at < size:
            part = first[: size - at]
            at += len(part)
            yield part
            first = next(chunks, b"")
        if first or at < size:
            reason = told[0] if told else "its size differs from the size in its directory"
            start = f"damaged from byte {ranges.place(at)} of {entry.size}"
            zeros = f"{start}, filled with zeros from there on: {reason}"
            self._missing(place, zeros if at < size else reason)
        for low in range(at, size, len(_ZEROS)):
            yield _ZEROS[: size - low]
        yield bytes(-size % tarfile.BLOCKSIZE)

    def _header(self, place: str, name: str, entry: FileEntry, ranges: SparseMap) -> bytes:
        records = self._records(place, entry)
        if not ranges.is_sparse:
            return TarMember(entry, name, REGTYPE, entry.size, records=records).header()
        encoded = ranges.encoded()
        member = TarMember(entry, name, REGTYPE, len(encoded) + ranges.stored, records=records)
        self._sparse += 1
        return member.sparse(self._sparse, entry.size) + encoded

    def _map(self, place: str, entry: FileEntry) -> SparseMap:
        """The stored ranges of a file: the whole file if it has no holes, or no readable map."""
        if entry.size >= _MAPPED or entry.hints & EntryHint.HOLES:
            try:
                ranges = self._source.stored(self._volume, place, entry.size)
                if ranges.size - ranges.stored >= (_STRICT_HOLES if self._strict else _HOLES):
                    return ranges
            except HaulbackError as error:  # reading the file reports the damage
                if is_away(error):
                    raise
        return SparseMap.whole(entry.size)

    def _chunks(self, place: str, ranges: SparseMap, told: list[str]) -> Iterator[bytes]:
        """Readable beginning of the stored bytes; after an early end, `told` has the reason."""
        at = 0
        try:
            for chunk in self._parts(place, ranges):
                at += len(chunk)
                yield chunk
        except HaulbackError as error:
            if is_away(error):
                raise
            yield from self._up_to_damage(place, ranges, at)
            told.append(error.message)

    def _parts(self, place: str, ranges: SparseMap) -> Iterator[bytes]:
        if ranges.is_sparse:
            return self._source.parts(self._volume, place, ranges)
        return map(bytes, self._source.stream(self._volume, place))

    def _up_to_damage(self, place: str, ranges: SparseMap, at: int) -> Iterator[bytes]:
        """Bytes before the damage, in small steps; a chunk that contains damage fails as a
        whole.
        """
        for offset, length in ranges.ranges():
            skipped = min(at, length)
            at -= skipped
            low, end = offset + skipped, offset + length
            while low < end:
                try:
                    count = min(_STEP, end - low)
                    part = self._source.read(self._volume, place, low, count)
                except HaulbackError as error:
                    if is_away(error):
                        raise
                    return
                if not part:
                    return
                low += len(part)
                yield part
