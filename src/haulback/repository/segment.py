"""An index file: an immutable, sorted piece of the index, in columns, named by its keyed hash.

A chunk takes 20 bytes: 16 million chunks (1 TiB) take about 305 MiB on disk, and in memory only the
pages that look-ups touch.  The whole file is hashed before it is used, because a false entry would
leave a hole in a backup.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haulback.durable_files import DurableFiles
from haulback.errors import Damaged, NotFound
from haulback.repository.index_columns import FORMATS, Columns
from haulback.repository.keys import Keys
from haulback.repository.pack import PACK_ID_BYTES, GroupEntry, GroupLocation
from haulback.units import MIB

if TYPE_CHECKING:  # arrays are loaded on use
    from haulback.repository.index_arrays import ArrayColumns

NAME_BYTES = 20
_WIDTHS = (8, 8, 8, 4, 4, 4, 4, 4, PACK_ID_BYTES, NAME_BYTES)
_MAGIC = b"HBINDX01"
_FOOTER = struct.Struct("<QQQQ8s")
_GROUP = struct.Struct(">QI")
_CHUNK = struct.Struct(">QQ4x")  # the halves of a chunk id; see index_arrays.ID
if sys.byteorder != "little":  # columns are mapped as they are stored
    raise ImportError("index files can be mapped on little-endian machines only")


class Segment:
    """An index file, in memory or mapped; `name` is empty until the file is written."""

    def __init__(self, raw: Columns, name: str = "", file: mmap.mmap | None = None) -> None:
        self.raw, self.name = raw, name
        self._file = file
        self._by_pack: dict[bytes, array[int]] | None = None

    def __len__(self) -> int:
        return len(self.raw.heads)

    @cached_property
    def columns(self) -> ArrayColumns:
        """The columns as arrays.  The first call of a process imports numpy."""
        from haulback.repository.index_arrays import arrays

        return arrays(self.raw)

    @property
    def replaces(self) -> list[str]:
        """Names of the index files all of whose entries are in this file."""
        raw = bytes(self.raw.replaces)
        return [raw[i : i + NAME_BYTES].hex() for i in range(0, len(raw), NAME_BYTES)]

    def packs(self) -> list[bytes]:
        """The ids of the packs with groups of this file."""
        raw = bytes(self.raw.packs)
        return [raw[i : i + PACK_ID_BYTES] for i in range(0, len(raw), PACK_ID_BYTES)]

    @classmethod
    def build(cls, entries: Iterable[GroupEntry]) -> Segment:
        """Sort pack directories into an index file."""
        groups, packs = list(entries), dict[bytes, int]()
        packs_of = [packs.setdefault(entry.place.pack, len(packs)) for entry in groups]
        order = sorted(range(len(groups)), key=lambda i: groups[i].group)
        ids = [_GROUP.unpack(groups[i].group) for i in order]
        heads, rests, groups_of = _sorted_chunks(groups, order)
        columns: tuple[array[int] | bytes, ...] = (
            heads,
            rests,
            array("Q", (session for session, _ in ids)),
            groups_of,
            array("I", (counter for _, counter in ids)),
            array("I", map(packs_of.__getitem__, order)),
            array("I", (groups[i].place.offset for i in order)),
            array("I", (groups[i].place.length for i in order)),
            b"".join(packs),
            b"",
        )
        return cls(Columns(*(memoryview(column) for column in columns)))

    @classmethod
    def open(cls, path: Path, name: str, keys: Keys) -> Segment:
        """Map a file after checking its hash against its name.

        Raises NotFound when the file is gone, Damaged when its hash differs.
        """
        try:
            with open(path, "rb", buffering=0) as file:
                if _hash(file.readinto, keys) != name:
                    raise Damaged(f"index file {name} is damaged", name=name)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise NotFound(f"index file {name} no longer exists", name=name) from None
        except OSError as error:
            raise Damaged(f"index file {name} cannot be read: {error}", name=name) from None
        return cls(_columns(mapped, name), name, mapped)

    def write(self, folder: Path, keys: Keys, disk: DurableFiles) -> Path:
        """Write the index file durably into `folder`, as `<name>.index`."""
        return write((*self.raw, footer(self.raw)), folder, keys, disk)

    def renamed(self, *replaces: str) -> Segment:
        """The same entries under a new, unused name; the new file replaces those files.

        The name must be new, because the file could otherwise get the name of a replaced or damaged
        file.
        """
        names = (*replaces, os.urandom(NAME_BYTES).hex())
        raw = b"".join(map(bytes.fromhex, names))
        return Segment(self.raw._replace(replaces=memoryview(raw)))

    def release(self) -> None:
        """Give the mapped pages back to the system; the next access loads them again."""
        if self._file:
            self._file.madvise(mmap.MADV_DONTNEED)

    def group_of(self, chunk: bytes) -> int | None:
        """The row of the group that holds a chunk; None when this file does not list it."""
        head, rest = _CHUNK.unpack(chunk)
        heads, rests = self.raw.heads, self.raw.rests
        at = bisect_left(heads, head)
        while at < len(heads) and heads[at] == head:
            if rests[at] == rest:
                return int(self.raw.groups_of[at])
            at += 1  # chunk ids that share 64 bits: very rare
        return None

    def packs_at(self, rows: Iterable[int]) -> set[bytes]:
        """The packs of the groups in `rows`."""
        packs_of = self.raw.packs_of
        return {self._pack(row) for row in {packs_of[row] for row in rows}}

    def ends(self) -> dict[bytes, int]:
        """The least length in bytes of each pack: the end of its last group."""
        packs = self.packs()
        last = [0] * len(packs)
        for row, offset, length in zip(
            self.raw.packs_of, self.raw.offsets, self.raw.lengths, strict=True
        ):
            last[row] = max(last[row], offset + length)
        return dict(zip(packs, last, strict=True))

    def rows_in(self, pack: bytes) -> array[int]:
        """The rows of the groups in a pack, ascending.

        The first call sorts the rows by pack and keeps 4 bytes per group.
        """
        if self._by_pack is None:
            rows = [array("I") for _ in self.packs()]
            for row, number in enumerate(self.raw.packs_of):
                rows[number].append(row)
            self._by_pack = dict(zip(self.packs(), rows, strict=True))
        return self._by_pack.get(pack, array("I"))

    def groups_in(self, pack: bytes) -> Iterator[tuple[bytes, GroupLocation]]:
        """Every group in a pack, with its place."""
        rows = self.rows_in(pack)
        return zip(self.group_ids(rows), map(self.place_at, rows), strict=True)

    def group_ids(self, rows: Iterable[int]) -> list[bytes]:
        """The group ids in `rows`."""
        sessions, counters, join = self.raw.sessions, self.raw.counters, _GROUP.pack
        return [join(sessions[row], counters[row]) for row in rows]

    def place(self, group: bytes) -> GroupLocation | None:
        """The place of a group; None when this file does not list it."""
        row = self.row(group)
        return None if row is None else self.place_at(row)

    def row(self, group: bytes) -> int | None:
        """The row of a group; None when this file does not list it."""
        session, counter = _GROUP.unpack(group)
        sessions, counters = self.raw.sessions, self.raw.counters
        low, high = bisect_left(sessions, session), bisect_right(sessions, session)
        row = bisect_left(counters, counter, low, high)
        return row if row < high and counters[row] == counter else None

    def place_at(self, row: int) -> GroupLocation:
        """The place of the group in a row."""
        raw = self.raw
        return GroupLocation(self._pack(raw.packs_of[row]), raw.offsets[row], raw.lengths[row])

    def groups(self) -> Iterator[tuple[bytes, GroupLocation]]:
        """Every group, with its place."""
        rows = range(len(self.raw.sessions))
        return zip(self.group_ids(rows), map(self.place_at, rows), strict=True)

    def _pack(self, row: int) -> bytes:
        return bytes(self.raw.packs[row * PACK_ID_BYTES : (row + 1) * PACK_ID_BYTES])


def footer(columns: Columns, chunks: int | None = None) -> bytes:
    """The last bytes of an index file; `chunks` is given when the chunk columns are written in
    slices.
    """
    packs, replaces = columns.packs.nbytes, columns.replaces.nbytes
    counts = (len(columns.sessions), packs // PACK_ID_BYTES, replaces // NAME_BYTES)
    return _FOOTER.pack(len(columns.heads) if chunks is None else chunks, *counts, _MAGIC)


def write(
    parts: Iterable[bytes | memoryview], folder: Path, keys: Keys, disk: DurableFiles
) -> Path:
    """Write columns and footer, in this order, durably into a file named by their hash."""
    hasher = keys.segment_hasher()
    temp = folder / "index.part"
    disk.unlink(temp)
    with disk.create(temp) as file:
        for part in parts:
            raw = memoryview(part).cast("B")
            hasher.update(raw)
            disk.write(file, raw)
        disk.sync(file)
    path = folder / f"{hasher.hexdigest(length=NAME_BYTES)}.index"
    disk.replace(temp, path)
    disk.sync_folder(folder)
    return path


def _sorted_chunks(
    groups: Sequence[GroupEntry], order: Iterable[int]
) -> tuple[array[int], array[int], array[int]]:
    """Heads, rests and group rows of all chunks by head, equal heads in the order of `groups`;
    `order` sorts the groups into their rows.
    """
    rank = dict(zip(order, range(len(groups)), strict=True))
    owners = array("I")
    for number, entry in enumerate(groups):
        owners.extend([rank[number]] * len(entry.chunks))
    raw = b"".join(b"".join(entry.chunks) for entry in groups)
    halves = array("Q", chain.from_iterable(_CHUNK.iter_unpack(raw)))
    heads, rests = halves[::2], halves[1::2]
    by_head = sorted(range(len(heads)), key=heads.__getitem__)
    return (
        array("Q", map(heads.__getitem__, by_head)),
        array("Q", map(rests.__getitem__, by_head)),
        array("I", map(owners.__getitem__, by_head)),
    )


def _hash(read_into: Any, keys: Keys) -> str:
    hasher, buffer = keys.segment_hasher(), memoryview(bytearray(4 * MIB))
    while count := read_into(buffer):
        hasher.update(buffer[:count])
    return hasher.hexdigest(length=NAME_BYTES)


def _columns(mapped: mmap.mmap, name: str) -> Columns:
    raw = memoryview(mapped)
    chunks, groups, packs, replaces, magic = _FOOTER.unpack(raw[-_FOOTER.size :])
    if magic != _MAGIC:
        raise Damaged(f"index file {name} has an unknown format", name=name)
    counts = (chunks, chunks, groups, chunks, groups, groups, groups, groups, packs, replaces)
    sizes = [width * count for width, count in zip(_WIDTHS, counts, strict=True)]
    if len(raw) != sum(sizes) + _FOOTER.size:
        raise Damaged(f"index file {name} has a wrong length", name=name)
    parts = zip(accumulate(sizes), sizes, FORMATS, strict=True)
    return Columns(*(raw[end - size : end].cast(code) for end, size, code in parts))
