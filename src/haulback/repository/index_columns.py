"""The columns of an index file, as stored; `index_arrays` has the same columns as arrays."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Columns(NamedTuple):
    """The columns of an index file, as stored.  Chunks ascend by head; groups by session,
    counter.
    """

    heads: memoryview  # u8: bytes 0-7 of the chunk id, most significant first
    rests: memoryview  # u8: bytes 8-15
    sessions: memoryview  # u8: bytes 0-7 of the group id
    groups_of: memoryview  # u4: a chunk's row in the group columns
    counters: memoryview  # u4: bytes 8-11 of the group id
    packs_of: memoryview  # u4: a group's row in packs
    offsets: memoryview  # u4: length of the group's record in its pack, bytes
    lengths: memoryview  # u4
    packs: memoryview  # bytes: pack ids of 16 bytes
    replaces: memoryview  # bytes: names of 20 bytes of the index files that were merged into this


FORMATS: tuple[Literal["Q", "I", "B"], ...] = ("Q", "Q", "Q", "I", "I", "I", "I", "I", "B", "B")
