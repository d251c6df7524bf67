"""An index file: an immutable, sorted piece of the index, in columns, named by its keyed hash.

A chunk takes 20 bytes: 16 million chunks (1 TiB) take about 305 MiB on disk, and in memory only the
pages that look-ups touch.  The whole file is hashed before it is used, because a false entry would
leave a hole in a backup.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from haulback.durable_files import DurableFiles
from haulback.errors import Damaged, NotFound
from haulback.repository.keys import Keys
from haulback.repository.pack import GroupEntry, GroupLocation
from haulback.units import MIB

NAME_BYTES = 20
_MAGIC = b"HBINDX01"
_FOOTER = struct.Struct("<QQQQ8s")
# 16 of a chunk id's 20 bytes are enough to recognise it: among 2**24 chunks a false match has a
# probability of 2**-80, and a reader compares the whole id with the group it fetched.
ID = np.dtype([("head", ">u8"), ("rest", ">u8"), ("unused", "V4")])
GROUP = np.dtype([("session", ">u8"), ("counter", ">u4")])
Array = np.ndarray[Any, Any]


class Columns(NamedTuple):
    """The arrays of an index file, as stored.  Chunks ascend by head; groups by session,
    counter.
    """

    heads: Array  # u8: bytes 0-7 of the chunk id, most significant first
    rests: Array  # u8: bytes 8-15
    sessions: Array  # u8: bytes 0-7 of the group id
    groups_of: Array  # u4: a chunk's row in the group columns
    counters: Array  # u4: bytes 8-11 of the group id
    packs_of: Array  # u4: a group's row in packs
    offsets: Array  # u4: length of the group's record in its pack, bytes
    lengths: Array  # u4
    packs: Array  # V16: pack ids
    replaces: Array  # V20: names of the index files that were merged into this one


_WIDTHS = ("<u8", "<u8", "<u8", "<u4", "<u4", "<u4", "<u4", "<u4", "V16", f"V{NAME_BYTES}")


class Segment:
    """An index file, in memory or mapped; `name` is empty until the file is written."""

    def __init__(self, columns: Columns, name: str = "", file: mmap.mmap | None = None) -> None:
        self.columns, self.name = columns, name
        self._file = file
        self._by_pack: tuple[dict[bytes, int], Array, Array] | None = None

    def __len__(self) -> int:
        return len(self.columns.heads)

    @property
    def replaces(self) -> list[str]:
        """Names of the index files all of whose entries are in this file."""
        raw = self.columns.replaces.tobytes()
        return [raw[i : i + NAME_BYTES].hex() for i in range(0, len(raw), NAME_BYTES)]

    @classmethod
    def build(cls, entries: Iterable[GroupEntry]) -> Segment:
        """Sort pack directories into an index file."""
        groups = list(entries)
        packs: dict[bytes, int] = {}
        rows = [(packs.setdefault(e.place.pack, len(packs)), *e.place[1:]) for e in groups]
        ids = np.frombuffer(b"".join(e.group for e in groups), GROUP)
        order = np.lexsort((ids["counter"], ids["session"]))
        places = np.array(rows, "<u4").reshape(-1, 3)[order]
        rank = np.empty(len(groups), "<u4")
        rank[order] = np.arange(len(groups), dtype="<u4")
        owner = np.repeat(rank, [len(e.chunks) for e in groups]).astype("<u4")
        chunks = np.frombuffer(b"".join(b"".join(e.chunks) for e in groups), ID)
        by_head = np.argsort(chunks["head"], kind="stable")
        return cls(
            Columns(
                heads=chunks["head"][by_head].astype("<u8"),
                rests=chunks["rest"][by_head].astype("<u8"),
                sessions=ids["session"][order].astype("<u8"),
                groups_of=owner[by_head],
                counters=ids["counter"][order].astype("<u4"),
                packs_of=places[:, 0].copy(),
                offsets=places[:, 1].copy(),
                lengths=places[:, 2].copy(),
                packs=np.frombuffer(b"".join(packs), "V16"),
                replaces=np.empty(0, f"V{NAME_BYTES}"),
            )
        )

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
            raise NotFound(f"index file {name} is gone", name=name) from None
        except OSError as error:
            raise Damaged(f"index file {name} cannot be read: {error}", name=name) from None
        return cls(_columns(mapped, name), name, mapped)

    def write(self, folder: Path, keys: Keys, disk: DurableFiles) -> Path:
        """Write the index file durably into `folder`, as `<name>.index`."""
        return write((*self.columns, footer(self.columns)), folder, keys, disk)

    def renamed(self, *replaces: str) -> Segment:
        """The same entries under a new, unused name; the new file replaces those files.

        The name must be new, because the file could otherwise get the name of a replaced or damaged
        file.
        """
        names = (*replaces, os.urandom(NAME_BYTES).hex())
        raw = np.frombuffer(b"".join(map(bytes.fromhex, names)), f"V{NAME_BYTES}")
        return Segment(self.columns._replace(replaces=raw))

    def release(self) -> None:
        """Give the mapped pages back to the system; the next access loads them again."""
        if self._file:
            self._file.madvise(mmap.MADV_DONTNEED)

    def find(self, heads: Array, rests: Array) -> tuple[Array, Array]:
        """(found mask, group row) for chunk ids, best ascending; one binary search for all."""
        found, row = self.rows(heads, rests)
        return found, self.columns.groups_of[row] if found.any() else row

    def rows(self, heads: Array, rests: Array) -> tuple[Array, Array]:
        """(found mask, chunk row) for chunk ids."""
        at = self.columns.heads.searchsorted(heads)
        if not len(self):
            return np.zeros(len(heads), bool), at
        row = np.minimum(at, len(self) - 1)
        result = self.columns.heads[row] == heads
        if not result.any():
            return result, row
        equal = result & (self.columns.rests[row] == rests)
        for i in np.flatnonzero(result & ~equal):  # chunk ids that share 64 bits: very rare
            row[i], equal[i] = self._scan(int(at[i]), int(heads[i]), int(rests[i]))
        return equal, row

    def _scan(self, at: int, head: int, rest: int) -> tuple[int, bool]:
        while at < len(self) and int(self.columns.heads[at]) == head:
            if int(self.columns.rests[at]) == rest:
                return at, True
            at += 1
        return 0, False

    def packs_at(self, rows: Array) -> set[bytes]:
        """The packs of the groups in `rows`."""
        c = self.columns
        return {pack.tobytes() for pack in c.packs[np.unique(c.packs_of[rows])]}

    def ends(self) -> dict[bytes, int]:
        """The least length in bytes of each pack: the end of its last group."""
        c = self.columns
        last = np.zeros(len(c.packs), "<u8")
        np.maximum.at(last, c.packs_of, c.offsets.astype("<u8") + c.lengths)
        ids = (pack.tobytes() for pack in c.packs)
        return dict(zip(ids, last.tolist(), strict=True))

    def rows_in(self, pack: bytes) -> Array:
        """The rows of the groups in a pack, ascending.

        The first call sorts the rows by pack and keeps 4 bytes per group.
        """
        if self._by_pack is None:
            c = self.columns
            rows = np.argsort(c.packs_of, kind="stable").astype("<u4")
            ends = np.cumsum(np.bincount(c.packs_of, minlength=len(c.packs)))
            known = {pack.tobytes(): row for row, pack in enumerate(c.packs)}
            self._by_pack = known, rows, ends
        known, rows, ends = self._by_pack
        if pack not in known:
            return rows[:0]
        row = known[pack]
        return rows[ends[row - 1] if row else 0 : ends[row]]

    def groups_in(self, pack: bytes) -> Iterator[tuple[bytes, GroupLocation]]:
        """Every group in a pack, with its place."""
        rows = self.rows_in(pack)
        for row, group in zip(rows.tolist(), self.group_ids(rows), strict=True):
            yield group, self.place_at(row)

    def group_ids(self, rows: Array) -> list[bytes]:
        """The group ids in `rows`."""
        found = np.empty(len(rows), GROUP)
        found["session"], found["counter"] = (
            self.columns.sessions[rows],
            self.columns.counters[rows],
        )
        raw, width = found.tobytes(), GROUP.itemsize
        return [raw[i : i + width] for i in range(0, len(raw), width)]

    def place(self, group: bytes) -> GroupLocation | None:
        """The place of a group; None when this file does not list it."""
        row = self.row(group)
        return None if row is None else self.place_at(row)

    def row(self, group: bytes) -> int | None:
        """The row of a group; None when this file does not list it."""
        session, counter = struct.unpack(">QI", group)
        c = self.columns
        wanted = np.uint64(session)
        low = int(np.searchsorted(c.sessions, wanted, "left"))
        high = int(np.searchsorted(c.sessions, wanted, "right"))
        row = low + int(np.searchsorted(c.counters[low:high], np.uint32(counter)))
        return row if row < high and int(c.counters[row]) == counter else None

    def place_at(self, row: int) -> GroupLocation:
        """The place of the group in a row."""
        c = self.columns
        pack = c.packs[int(c.packs_of[row])].tobytes()
        return GroupLocation(pack, int(c.offsets[row]), int(c.lengths[row]))

    def groups(self) -> Iterator[tuple[bytes, GroupLocation]]:
        """Every group, with its place."""
        for row, group in enumerate(self.group_ids(np.arange(len(self.columns.sessions)))):
            yield group, self.place_at(row)


def footer(columns: Columns, chunks: int | None = None) -> Array:
    """The last bytes of an index file; `chunks` is given when the chunk columns are written in
    slices.
    """
    counts = (len(columns.sessions), len(columns.packs), len(columns.replaces))
    raw = _FOOTER.pack(len(columns.heads) if chunks is None else chunks, *counts, _MAGIC)
    return np.frombuffer(raw, np.uint8)


def write(parts: Iterable[Array], folder: Path, keys: Keys, disk: DurableFiles) -> Path:
    """Write columns and footer, in this order, durably into a file named by their hash."""
    hasher = keys.segment_hasher()
    temp = folder / "index.part"
    disk.unlink(temp)
    with disk.create(temp) as file:
        for part in parts:
            raw = np.ascontiguousarray(part).view(np.uint8).data
            hasher.update(raw)
            disk.write(file, raw)
        disk.sync(file)
    path = folder / f"{hasher.hexdigest(length=NAME_BYTES)}.index"
    disk.replace(temp, path)
    disk.sync_folder(folder)
    return path


def _hash(read_into: Any, keys: Keys) -> str:
    hasher, buffer = keys.segment_hasher(), memoryview(bytearray(4 * MIB))
    while count := read_into(buffer):
        hasher.update(buffer[:count])
    return hasher.hexdigest(length=NAME_BYTES)


def _columns(mapped: mmap.mmap, name: str) -> Columns:
    raw = np.frombuffer(mapped, np.uint8)
    chunks, groups, packs, replaces, magic = _FOOTER.unpack(raw[-_FOOTER.size :].tobytes())
    if magic != _MAGIC:
        raise Damaged(f"index file {name} has an unknown format", name=name)
    counts = (chunks, chunks, groups, chunks, groups, groups, groups, groups, packs, replaces)
    sizes = [np.dtype(w).itemsize * n for w, n in zip(_WIDTHS, counts, strict=True)]
    if len(raw) != sum(sizes) + _FOOTER.size:
        raise Damaged(f"index file {name} has a wrong length", name=name)
    ends = np.cumsum(sizes).tolist()
    parts = [raw[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return Columns(*(part.view(width) for part, width in zip(parts, _WIDTHS, strict=True)))
