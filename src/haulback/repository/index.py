"""The index: sorted immutable segments that say which group holds a chunk and where a group lies.

A segment is columns of fixed width, mapped into memory and searched in batches; it is named by the
keyed hash of its bytes, which authenticates it.  24 bytes a chunk: 16 million chunks (1 TiB) take
about 390 MiB on disk, and only the pages that look-ups touch in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from haulback.disk import Disk
from haulback.errors import Damaged
from haulback.repository.keys import Keys
from haulback.repository.pack import Entry, Place
from haulback.units import MIB

_MAGIC = b"HBINDX01"
_HEADER = struct.Struct("<8sQQQ")
_ID = np.dtype([("head", ">u8"), ("rest", "V12")])
_GROUP = np.dtype([("session", ">u8"), ("counter", ">u4")])
Array = np.ndarray[Any, Any]


class Columns(NamedTuple):
    """The arrays of one segment.  Chunks sorted by head; groups by session, then counter."""

    heads: Array  # u8: first 8 bytes of the chunk id
    rests: Array  # V12: the other 12
    groups_of: Array  # u4: row in the group columns
    sessions: Array  # u8: first 8 bytes of the group id
    counters: Array  # u4: last 4
    packs_of: Array  # u4: row in packs
    offsets: Array  # u4
    lengths: Array  # u4
    packs: Array  # V16


_WIDTHS = ("<u8", "V12", "<u4", "<u8", "<u4", "<u4", "<u4", "<u4", "V16")


class Segment:
    """One immutable piece of the index."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns.heads)

    @classmethod
    def build(cls, entries: Iterable[Entry]) -> Segment:
        """Sort pack directories into a segment."""
        groups = list(entries)
        packs: dict[bytes, int] = {}
        rows = [(packs.setdefault(e.place.pack, len(packs)), *e.place[1:]) for e in groups]
        ids = np.frombuffer(b"".join(e.group for e in groups), _GROUP)
        order = np.lexsort((ids["counter"], ids["session"]))
        places = np.array(rows, "<u4").reshape(-1, 3)[order]
        rank = np.empty(len(groups), "<u4")
        rank[order] = np.arange(len(groups), dtype="<u4")
        owner = np.repeat(rank, [len(e.chunks) for e in groups]).astype("<u4")
        chunks = np.frombuffer(b"".join(b"".join(e.chunks) for e in groups), _ID)
        by_head = np.argsort(chunks["head"], kind="stable")
        return cls(
            Columns(
                chunks["head"][by_head].astype("<u8"),
                chunks["rest"][by_head].copy(),
                owner[by_head],
                ids["session"][order].astype("<u8"),
                ids["counter"][order].astype("<u4"),
                places[:, 0].copy(),
                places[:, 1].copy(),
                places[:, 2].copy(),
                np.frombuffer(b"".join(packs), "V16"),
            )
        )

    @classmethod
    def open(cls, path: Path, name: str, keys: Keys) -> Segment:
        """Map a segment file after checking that it is the one its name says.  Raises Damaged."""
        hasher = keys.segment_hasher()
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEADER.size)
            hasher.update(head)
            while block := file.read(4 * MIB):
                hasher.update(block)
        if hasher.hexdigest(length=20) != name:
            raise Damaged(f"index segment {name} is damaged", name=name)
        magic, chunks, groups, packs = _HEADER.unpack(head)
        if magic != _MAGIC:
            raise Damaged(f"index segment {name} has an unknown format", name=name)
        counts = (chunks,) * 3 + (groups,) * 5 + (packs,)
        return cls(_map_columns(path, counts))

    def write(self, folder: Path, keys: Keys, disk: Disk) -> Path:
        """Write the segment durably into `folder`; the file's name is the keyed hash."""
        c = self.columns
        head = _HEADER.pack(_MAGIC, len(c.heads), len(c.sessions), len(c.packs))
        hasher = keys.segment_hasher()
        temp = folder / "index.part"
        disk.unlink(temp)
        with disk.create(temp) as file:
            for part in (np.frombuffer(head, np.uint8), *c):
                raw = np.ascontiguousarray(part).view(np.uint8).data
                hasher.update(raw)
                disk.write(file, raw)
            disk.sync(file)
        path = folder / f"{hasher.hexdigest(length=20)}.index"
        disk.replace(temp, path)
        disk.sync_folder(folder)
        return path

    def groups_of(self, ids: Array) -> tuple[Array, Array]:
        """(found mask, group row) for an array of chunk ids; one binary search for the batch."""
        heads = ids["head"].astype("<u8")
        at = np.searchsorted(self.columns.heads, heads)
        inside = at < len(self)
        row = np.where(inside, at, 0)
        if not len(self):
            return inside, row
        found = inside & (self.columns.heads[row] == heads)
        equal = found & (self.columns.rests[row] == ids["rest"])
        for i in np.flatnonzero(found & ~equal):  # two ids that share 64 bits: practically never
            row[i] = self._scan(int(at[i]), ids[i])
            equal[i] = row[i] >= 0
        return equal, self.columns.groups_of[row]

    def _scan(self, at: int, wanted: Any) -> int:
        while at < len(self) and self.columns.heads[at] == int(wanted["head"]):
            if self.columns.rests[at] == wanted["rest"]:
                return at
            at += 1
        return -1

    def group_id(self, row: int) -> bytes:
        c = self.columns
        return struct.pack(">QI", int(c.sessions[row]), int(c.counters[row]))

    def place(self, group: bytes) -> Place | None:
        """Where a group lies, if this segment knows."""
        session, counter = struct.unpack(">QI", group)
        c = self.columns
        wanted = np.uint64(session)
        low = int(np.searchsorted(c.sessions, wanted, "left"))
        high = int(np.searchsorted(c.sessions, wanted, "right"))
        row = low + int(np.searchsorted(c.counters[low:high], np.uint32(counter)))
        if row >= high or int(c.counters[row]) != counter:
            return None
        pack = c.packs[int(c.packs_of[row])].tobytes()
        return Place(pack, int(c.offsets[row]), int(c.lengths[row]))


class Index:
    """All segments of a repository, newest first."""

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self.segments = list(segments)

    def __len__(self) -> int:
        return sum(len(segment) for segment in self.segments)

    def add(self, segment: Segment) -> None:
        self.segments.insert(0, segment)

    def find(self, chunks: Sequence[bytes]) -> list[bytes | None]:
        """The group of each chunk, None where it is not stored.  Ask in batches."""
        result: list[bytes | None] = [None] * len(chunks)
        missing = np.arange(len(chunks))
        ids = np.frombuffer(b"".join(chunks), _ID)
        for segment in self.segments:
            found, rows = segment.groups_of(ids[missing])
            for i, row in zip(missing[found].tolist(), rows[found].tolist(), strict=True):
                result[i] = segment.group_id(row)
            missing = missing[~found]
            if not len(missing):
                break
        return result

    def place(self, group: bytes) -> Place | None:
        """Where a group lies, or None."""
        places = (segment.place(group) for segment in self.segments)
        return next((place for place in places if place), None)


def _map_columns(path: Path, counts: Sequence[int]) -> Columns:
    sizes = [np.dtype(w).itemsize * n for w, n in zip(_WIDTHS, counts, strict=True)]
    if path.stat().st_size != _HEADER.size + sum(sizes):
        raise Damaged(f"index segment {path.name} has a wrong length")
    raw = np.memmap(path, np.uint8, "r", _HEADER.size) if sum(sizes) else np.empty(0, np.uint8)
    ends = np.cumsum(sizes)
    parts = [raw[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return Columns(*(part.view(width) for part, width in zip(parts, _WIDTHS, strict=True)))
