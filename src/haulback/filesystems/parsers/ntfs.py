"""NTFS reader: file records, folder indexes, contents as runs or decompressed."""

from __future__ import annotations

import codecs
import stat
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

from haulback.errors import Unsupported
from haulback.filesystems.parsers import wof
from haulback.filesystems.parsers.attributes import AttributeCollector
from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.fat_names import units
from haulback.filesystems.parsers.filesystem import (
    DAMAGE,
    FileAttributes,
    FileStatus,
    Run,
    error_text,
    given,
    laid,
    zeros,
)
from haulback.filesystems.parsers.lznt1 import unpacked
from haulback.filesystems.parsers.ntfs_index import entries
from haulback.filesystems.parsers.ntfs_records import (
    BITMAP,
    COMPRESSED,
    DATA,
    ENCRYPTED,
    FILE_NAME,
    INDEX,
    INDEX_ROOT,
    LIST,
    NUMBER,
    REPARSE,
    SPARSE,
    STANDARD,
    VOLUME_NAME,
    Attribute,
    MftRecord,
    Runs,
    parsed,
)
from haulback.filesystems.parsers.reparse_tags import LINKS, SPECIAL, SYMLINK, UNIX_LINK, kept_as
from haulback.filesystems.records import MOST_BYTES, EntryHint, FilePiece
from haulback.units import GIB, KIB, MIB

_MFT, _LOG, _VOLUME, _ROOT = 0, 2, 3, 5
_INDEX_NAME = "$I30".encode("utf-16-le")
_LARGEST_CLUSTER, _LARGEST_RECORD = 2 * MIB, 64 * KIB
_MOST_OVERLAID = MIB  # bytes of an answer, which take a second to decompress
_MOST_LIST, _MOST_VALUE, _MOST_INDEX = 256 * KIB, 16 * MIB, GIB  # bytes, limits on memory
_MOST_STREAM = 64 * KIB  # bytes of a named stream, the limit of extended attributes in Linux
_READ_ONLY, _DOS = 1, b"\2"
_FLAGS = {
    0x200: "sparse",
    0x800: "compressed",
    0x1000: "offline",
    0x4000: "encrypted",
    0x40000: "recalled when opened",
    0x400000: "recalled when read",
}
_EPOCH = 11_644_473_600_000  # ms from 1601 to 1970
_utf16 = codecs.getdecoder("utf-16-le")  # imported now, because the sandbox cannot open files


class Ntfs:
    """NTFS at the start of `blocks`; nodes are references to file records."""

    root = _ROOT

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, head = blocks, blocks.read(0, 512)
        sector, per_cluster = struct.unpack_from("<HB", head, 11)
        first, second, record = struct.unpack_from("<QQb", head, 48)
        # Clusters of 128 KiB and more are stored as a negative power of two.
        count = per_cluster if per_cluster <= 0x80 else 1 << 256 - per_cluster
        self._cluster = sector * count
        self._record_size = 1 << -record if record < 0 else record * self._cluster
        sizes = (sector, 256, 4096), (self._cluster, 512, _LARGEST_CLUSTER)
        for size, least, most in (*sizes, (self._record_size, 512, _LARGEST_RECORD)):
            if size.bit_count() != 1 or not least <= size <= most:
                raise ValueError(f"the boot sector has an impossible size: {size}")
        self._table: Runs | None = None
        self._start = first * self._cluster
        self._record = lru_cache(1024)(self._load)
        self._attributes = lru_cache(16)(self._gather)
        self._runs = lru_cache(4)(self._find_runs)
        self._chunk = lru_cache(8)(self._unpacked_chunk)
        try:
            self._open_table()
        except DAMAGE:  # the volume has a mirror of the first records
            self._start = second * self._cluster
            self._open_table()

    @property
    def label(self) -> str:
        """Volume label; may be empty."""
        found = self._value(_VOLUME, VOLUME_NAME)
        return _utf16(found, "replace")[0]

    def log(self, count: int) -> bytes:
        """The first `count` bytes of the log ($LogFile)."""
        return self._bytes(_LOG, DATA, b"", 0, count)

    def status(self, node: int) -> FileStatus:
        record, reason, size, hints = self._known(node), "", 0, EntryHint(0)
        modified, flags = self._standard(node)
        tag = int.from_bytes(self._reparse(node)[:4], "little")
        kind = _kind(record, tag)
        data = self._first(node, DATA) if kind == stat.S_IFREG else None
        if data:
            size, hints, reason = data.size, _hints(data, tag), _refused(data)
        elif kind == stat.S_IFREG:
            reason = "the file system is damaged: the file has no data attribute"
        if tag and kind == stat.S_IFREG:
            reason = reason or self._kept_apart(node, tag)
        if self._streams(node):
            hints |= EntryHint.ATTRIBUTES
        rights = 0o555 if flags & _READ_ONLY else 0o755
        links = sum(attribute.type == FILE_NAME and (attribute.value or b"")[65:66] != _DOS
                    for attribute in self._attributes(node))  # fmt: skip
        time, fine = divmod(modified, 10_000)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            reason = "a device of Linux (WSL), whose device numbers Haulback does not read"
        return FileStatus(
            kind | rights, size, time - _EPOCH, reason=reason, links=max(1, links), hints=hints,
            fine=fine * 100,
        )  # fmt: skip

    def _standard(self, node: int) -> tuple[int, int]:
        """Time of the last change and flags of a file."""
        modified, flags = struct.unpack_from("<Q16xI", self._value(node, STANDARD), 8)
        return modified, flags

    def _streams(self, node: int) -> dict[bytes, Attribute]:
        """Named streams of a file beside its contents, by name."""
        return {attribute.name: attribute for attribute in self._attributes(node)
                if attribute.type == DATA and attribute.first == 0
                and attribute.name not in (b"", wof.STREAM)}  # fmt: skip

    def stored(self, node: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
        data = self._first(node, DATA)
        if data is None:
            return
        tag = int.from_bytes(self._reparse(node)[:4], "little")
        if data.value is not None or tag == wof.TAG:
            yield offset, size - offset
            return
        runs = self._runs(node, data.type, data.name)
        unit = self._cluster << (data.unit if data.flags & COMPRESSED else 0)
        end = min(size, data.written, runs.size)
        for run in runs.between(offset, max(0, end - offset)):
            if run.offset is not None:
                low, high = run.at // unit * unit, -(-(run.at + run.length) // unit) * unit
                yield low, min(high, end) - low

    def extras(self, node: int) -> FileAttributes:
        """Named streams as attributes of the user, as ntfs-3g shows them."""
        collected = AttributeCollector()
        for name, stream in self._streams(node).items():
            shown = _utf16(name, "surrogatepass")[0].encode(errors="surrogatepass")
            try:
                if stream.size > _MOST_STREAM:
                    raise Unsupported(f"a stream of {stream.size} bytes")
                if stream.value is None and stream.flags & (COMPRESSED | ENCRYPTED):
                    raise Unsupported("a compressed or encrypted stream")
                collected.add(b"user." + shown, self._value(node, DATA, name)[: stream.size])
            except (Unsupported, *DAMAGE) as error:
                collected.failed(
                    f"the stream {shown.decode(errors='replace')!r}: {error_text(error)}"
                )
        return collected.extras(self._features(node))

    def _features(self, node: int) -> tuple[str, ...]:
        _, flags = self._standard(node)
        result = [name for bit, name in _FLAGS.items() if flags & bit]
        reparse = self._reparse(node)
        tag = int.from_bytes(reparse[:4], "little")
        try:
            if tag == wof.TAG:
                result.append(f"compressed by WOF ({wof.format_of(reparse).name})")
            elif tag and tag not in LINKS:
                result.append(kept_as(tag))
        except Unsupported as error:
            result.append(f"compressed by WOF: {error.message}")
        return tuple(result)

    def _kept_apart(self, node: int, tag: int) -> str:
        """The reason why a regular file with a reparse point cannot be read; may be empty."""
        if tag != wof.TAG:
            return kept_as(tag)
        try:
            wof.format_of(self._reparse(node))
            reason = (
                "" if self._first(node, DATA, wof.STREAM) else "its compressed stream is missing"
            )
        except Unsupported as error:
            reason = error.message
        return reason and f"compressed by Windows (WOF, reparse tag {tag:#x}): {reason}"

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        self._known(node)
        root = self._value(node, INDEX_ROOT, _INDEX_NAME)
        (size,) = struct.unpack_from("<I", root, 8)
        if size.bit_count() != 1 or not 512 <= size <= _LARGEST_RECORD:
            raise ValueError(f"an index has an impossible block size of {size} bytes")
        index = self._first(node, INDEX, _INDEX_NAME)
        total = index.size if index else 0
        if total > _MOST_INDEX:
            raise Unsupported(f"the directory is larger than {_MOST_INDEX} bytes")
        # Blocks are numbered by clusters, or by sectors where a cluster is larger than a block.
        unit = self._cluster if self._cluster <= size else 512

        def block(number: int) -> bytes:
            return self._bytes(node, INDEX, _INDEX_NAME, number * size, size)

        used = self._value(node, BITMAP, _INDEX_NAME)
        yield from entries(root[16:], used, total // size, size // unit, block)

    def target(self, node: int) -> bytes:
        raw = self._reparse(node)
        tag = int.from_bytes(raw[:4], "little")
        if tag == UNIX_LINK:
            return raw[12:]
        start, length = struct.unpack_from("<HH", raw, 12)
        # The names follow a header of 16 bytes; a symbolic link has 4 bytes of flags more.
        start += 20 if tag == SYMLINK else 16
        return units(raw[start : start + length]).replace(b"\\", b"/")

    def pieces(self, node: int, offset: int, count: int) -> Iterator[FilePiece]:
        data = self._first(node, DATA)
        if data is None:
            raise ValueError("the file has no data attribute")
        if int.from_bytes(self._reparse(node)[:4], "little") == wof.TAG:
            return self._overlaid(node, data.size, offset, min(count, _MOST_OVERLAID))
        return self._pieces(node, data, offset, count)

    def _overlaid(self, node: int, size: int, offset: int, count: int) -> Iterator[FilePiece]:
        """Contents of a file that the overlay filter of Windows compressed."""
        step = wof.format_of(self._reparse(node)).chunk
        for number in range(offset // step, -(-(offset + count) // step)):
            start, end = max(number * step, offset), min((number + 1) * step, offset + count)
            data = self._chunk(node, size, number)[start - number * step : end - number * step]
            yield FilePiece(end - start, data=data)

    def _unpacked_chunk(self, node: int, size: int, number: int) -> bytes:
        def read(offset: int, count: int) -> bytes:
            return self._bytes(node, DATA, wof.STREAM, offset, count)

        return wof.WofStream(wof.format_of(self._reparse(node)), size, read).chunk(number)

    def _pieces(self, node: int, data: Attribute, offset: int, count: int) -> Iterator[FilePiece]:
        if data.value is not None:
            yield from given(data.value, offset, count)
            return
        written = max(0, min(count, data.written - offset))
        if written and data.flags & COMPRESSED:
            yield from self._unpacked(node, data, offset, written)
        elif written:
            runs = self._runs(node, data.type, data.name).between(offset, written)
            yield from laid(self._blocks, runs, offset, written)
        yield from zeros(count - written)

    def _unpacked(self, node: int, data: Attribute, offset: int, count: int) -> Iterator[FilePiece]:
        """Contents of a compressed file, which is compressed in units of several clusters."""
        size = self._cluster << data.unit
        if not 0 < data.unit < 8 or size > MOST_BYTES:
            raise Unsupported(f"the file is compressed in units of {size} bytes")
        runs = self._runs(node, data.type, data.name)
        if offset + count > runs.size:
            raise ValueError(f"the list of runs ends at {runs.size} bytes")
        for low in range(offset // size * size, offset + count, size):
            start, end = max(low, offset), min(low + size, offset + count)
            parts = list(_clipped(runs.between(low, min(size, runs.size - low)), low, low + size))
            stored = sum(part.length for part in parts if part.offset is not None)
            if not stored:
                yield from zeros(end - start)
            elif stored == size or low + stored == runs.size:
                yield from laid(self._blocks, parts, start, end - start)
            else:
                raw = b"".join(self._blocks.read(part.offset, part.length)
                               for part in parts if part.offset is not None)  # fmt: skip
                whole = unpacked(raw, size)
                yield FilePiece(end - start, data=whole[start - low : end - low])

    def _bytes(self, node: int, kind: int, name: bytes, offset: int, count: int) -> bytes:
        """Bytes of an attribute; fewer at its end."""
        data = self._first(node, kind, name)
        if data is None:
            return b""
        if data.value is not None:
            return data.value[offset : offset + count]
        count = max(0, min(count, data.size - offset))
        runs = self._runs(node, kind, name).between(offset, count)
        return self._read(runs, offset, count)

    def _read(self, runs: Iterable[Run], offset: int, count: int) -> bytes:
        found = bytearray(count)
        for run in _clipped(runs, offset, offset + count):
            if run.offset is not None:
                low = run.at - offset
                found[low : low + run.length] = self._blocks.read(run.offset, run.length)
        return bytes(found)

    def _reparse(self, node: int) -> bytes:
        """Reparse point of a file, up to its maximum size of 16 KiB; empty for most files."""
        return self._bytes(node, REPARSE, b"", 0, 16 * KIB)

    def _value(self, node: int, kind: int, name: bytes = b"") -> bytes:
        """All bytes of a small attribute; empty if the file lacks the attribute."""
        data = self._first(node, kind, name)
        if data is None:
            return b""
        if data.size > _MOST_VALUE:
            raise ValueError(f"an attribute has an impossible length of {data.size} bytes")
        return self._bytes(node, kind, name, 0, data.size)

    def _first(self, node: int, kind: int, name: bytes = b"") -> Attribute | None:
        """First part of an attribute, which holds its sizes; None without the attribute."""
        parts = [one for one in self._attributes(node) if (one.type, one.name) == (kind, name)]
        first = next((one for one in parts if one.first == 0), None)
        if parts and first is None:
            raise ValueError("the first part of an attribute is missing")
        return first

    def _find_runs(self, node: int, kind: int, name: bytes) -> Runs:
        parts = [one for one in self._attributes(node) if (one.type, one.name) == (kind, name)]
        return Runs(parts, self._cluster)

    def _known(self, node: int) -> MftRecord:
        """Record of a reference. Raises ValueError if the record was reused for another file."""
        record = self._record(node & NUMBER)
        if not record.is_used or node >> 48 not in (0, record.sequence) or record.base:
            raise ValueError("the name refers to a file that no longer exists")
        return record

    def _gather(self, node: int) -> list[Attribute]:
        """Attributes of a record and of its extension records."""
        own = self._record(node & NUMBER).attributes
        listed = next((attribute for attribute in own if attribute.type == LIST), None)
        if listed is None:
            return own
        raw = listed.value
        if raw is None:
            if listed.size > _MOST_LIST:
                raise ValueError(f"a list of attributes has {listed.size} bytes")
            runs = Runs([listed], self._cluster).between(0, listed.size)
            raw = self._read(runs, 0, listed.size)
        result = [attribute for attribute in own if attribute.type != LIST]
        for number in _records_of(raw):
            if number != node & NUMBER:
                more = self._record(number)
                if not more.is_used or more.base & NUMBER != node & NUMBER:
                    raise ValueError(f"extension record {number} belongs to another file")
                result += more.attributes
        return result

    def _open_table(self) -> None:
        """Find the runs of the master file table, which is itself a file."""
        own = parsed(self._blocks.read(self._start, self._record_size))
        parts = [
            attribute
            for attribute in own.attributes
            if (attribute.type, attribute.name) == (DATA, b"")
        ]
        self._table = Runs(parts, self._cluster)
        self._record.cache_clear()
        # The first records of the table locate the extension records with the remaining runs.
        if any(attribute.type == LIST for attribute in own.attributes):
            whole = self._find_runs(_MFT, DATA, b"")
            self._record.cache_clear()
            self._table = whole

    def _load(self, number: int) -> MftRecord:
        assert self._table is not None
        at, size = number * self._record_size, self._record_size
        return parsed(self._read(self._table.between(at, size), at, size))


def _kind(record: MftRecord, tag: int) -> int:
    """Type bits of a file with a reparse tag, 0 without one."""
    if tag in LINKS:
        return stat.S_IFLNK
    return stat.S_IFDIR if record.is_folder else SPECIAL.get(tag, stat.S_IFREG)


def _hints(data: Attribute, tag: int) -> EntryHint:
    if data.value is not None:
        return EntryHint(0) if tag else EntryHint.INSIDE
    return (
        EntryHint.HOLES
        if data.flags & (SPARSE | COMPRESSED) or data.written < data.size
        else EntryHint(0)
    )


def _refused(data: Attribute) -> str:
    """The reason why the contents cannot be read; empty if they can."""
    if data.flags & ENCRYPTED:
        return "the file is encrypted by Windows (EFS)"
    if data.flags & COMPRESSED > 1:
        return f"the file has an unknown compression ({data.flags:#x})"
    return ""


def _records_of(raw: bytes) -> list[int]:
    """Numbers of the records in an attribute list, without duplicates."""
    result: dict[int, None] = {}
    at = 0
    while at + 26 <= len(raw):
        length, reference = struct.unpack_from("<4xH10xQ", raw, at)
        if length < 26:
            raise ValueError("a list of attributes has an entry that is too short")
        result[reference & NUMBER] = None
        at += length
    return list(result)


def _clipped(runs: Iterable[Run], low: int, high: int) -> Iterator[Run]:
    """Runs limited to the range from `low` to before `high`."""
    for run in runs:
        start, end = max(low, run.at), min(high, run.at + run.length)
        if start < end:
            place = None if run.offset is None else run.offset + start - run.at
            yield Run(start, end - start, place)
