"""The columns of an index file as arrays, for work on many chunks or groups at once.

Only this module, look-ups of many chunks (`index_lookup`), and work on a whole index (merges,
clean-ups, repairs) import numpy: its import takes 0.1 s, as long as a small increment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from haulback.repository.index_columns import FORMATS, Columns

# 16 of a chunk id's 20 bytes are enough to recognise it: among 2**24 chunks a false match has a
# probability of 2**-80, and a reader compares the whole id with the group it fetched.
ID = np.dtype([("head", ">u8"), ("rest", ">u8"), ("unused", "V4")])
_GROUP = np.dtype([("session", ">u8"), ("counter", ">u4")])
_TYPES = ("<u8", "<u8", "<u8", "<u4", "<u4", "<u4", "<u4", "<u4", "V16", "V20")
Array = np.ndarray[Any, Any]


class ArrayColumns(NamedTuple):
    """The columns of an index file (`index_columns.Columns`) as arrays of the same names."""

    heads: Array
    rests: Array
    sessions: Array
    groups_of: Array
    counters: Array
    packs_of: Array
    offsets: Array
    lengths: Array
    packs: Array
    replaces: Array

    def raw(self) -> Columns:
        """The columns as an index file keeps them."""
        pairs = zip(self, FORMATS, strict=True)
        return Columns(*(as_bytes(column).cast(code) for column, code in pairs))


def as_bytes(column: Array) -> memoryview:
    """The bytes of a column."""
    return np.ascontiguousarray(column).view(np.uint8).data


def arrays(raw: Columns) -> ArrayColumns:
    """The columns of an index file; nothing is copied."""
    pairs = zip(raw, _TYPES, strict=True)
    return ArrayColumns(*(np.frombuffer(part, width) for part, width in pairs))


def halves(chunks: Sequence[bytes]) -> tuple[Array, Array]:
    """The heads and rests of chunk ids."""
    ids = np.frombuffer(b"".join(chunks), ID)
    return ids["head"].astype("<u8"), ids["rest"].astype("<u8")


def rows_of(columns: ArrayColumns, heads: Array, rests: Array) -> tuple[Array, Array]:
    """Find chunk ids by one binary search; returns whether each id was found, and its row.
    Ascending ids are found fastest.
    """
    count = len(columns.heads)
    at = columns.heads.searchsorted(heads)
    if not count:
        return np.zeros(len(heads), bool), at
    row = np.minimum(at, count - 1)
    result = columns.heads[row] == heads
    if not result.any():
        return result, row
    equal = result & (columns.rests[row] == rests)
    for i in np.flatnonzero(result & ~equal):  # chunk ids that share 64 bits: very rare
        row[i], equal[i] = _scan(columns, int(at[i]), int(heads[i]), int(rests[i]))
    return equal, row


def _scan(columns: ArrayColumns, at: int, head: int, rest: int) -> tuple[int, bool]:
    while at < len(columns.heads) and int(columns.heads[at]) == head:
        if int(columns.rests[at]) == rest:
            return at, True
        at += 1
    return 0, False


def group_ids(columns: ArrayColumns, rows: Array) -> list[bytes]:
    """The group ids in `rows`."""
    found = np.empty(len(rows), _GROUP)
    found["session"], found["counter"] = columns.sessions[rows], columns.counters[rows]
    raw, width = found.tobytes(), _GROUP.itemsize
    return [raw[i : i + width] for i in range(0, len(raw), width)]
