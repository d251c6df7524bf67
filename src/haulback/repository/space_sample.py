"""The space that machines take in a repository, from a sample of its chunks.

A repository of up to 65,536 chunks is counted completely.  In a larger one only the chunks whose
ids end in zeros are counted: ids are hashes, so the sample is even, and memory stays bounded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from haulback.repository.index_arrays import Array
from haulback.repository.segment import Segment

_MOST = 65_536  # chunks of a sample


class MachineBytes(NamedTuple):
    """Stored bytes of a machine: `unique` bytes belong to no other machine, `shared` bytes do."""

    entity: str
    name: str
    unique: int
    shared: int


class SpaceSample:
    """The sampled chunks of `segment`, with the machines that use them.

    `begin` names the machine whose maps are walked next.
    """

    def __init__(self, segment: Segment) -> None:
        heads = segment.columns.heads
        bits = max(0, (len(heads) - 1).bit_length() - _MOST.bit_length() + 1)
        self._scale = 1 << bits
        self._mask = np.uint64(self._scale - 1)
        self._rows = np.flatnonzero((heads & self._mask) == 0)
        self._segment, self._heads = segment, heads
        self._names: dict[str, str] = {}
        self._used: dict[str, Array] = {}  # a bit for each sampled chunk
        self._entity, self._bits = "", np.zeros(0, np.uint8)
        self._pages: dict[bytes, str] = {}
        self._more: set[tuple[bytes, str]] = set()

    def begin(self, entity: str, name: str) -> None:
        """Count the following chunks for a machine."""
        self._entity, self._names[entity] = entity, name
        empty = np.zeros(len(self._rows), np.bool_)
        self._bits = self._used.setdefault(entity, np.packbits(empty))

    def is_new_to_machine(self, page: bytes) -> bool:
        """Whether a page was counted first for another machine, and not yet for this machine."""
        if self._pages.setdefault(page, self._entity) == self._entity:
            return False
        key = (page, self._entity)
        is_new = key not in self._more
        self._more.add(key)
        return is_new

    def note(self, rows: Array) -> None:
        """Count chunks, by their rows in the segment."""
        chosen = rows[(self._heads[rows] & self._mask) == 0]
        places = np.searchsorted(self._rows, chosen)
        if self._entity and len(places):
            marks = (128 >> (places & 7)).astype(np.uint8)
            np.bitwise_or.at(self._bits, places >> 3, marks)

    def by_machine(self) -> list[MachineBytes]:
        """The bytes of each machine, the largest first."""
        sizes, users = self._sizes(), np.zeros(len(self._rows), np.int64)
        for bits in self._used.values():
            users += self._unpacked(bits)
        result = [
            MachineBytes(
                entity,
                self._names[entity],
                self._sum(sizes, self._unpacked(bits) & (users == 1)),
                self._sum(sizes, self._unpacked(bits) & (users > 1)),
            )
            for entity, bits in self._used.items()
        ]
        return sorted(result, key=lambda machine: (-machine.unique, machine.entity))

    def living(self) -> int:
        """The stored bytes that any backup uses."""
        used = np.zeros(len(self._rows), np.bool_)
        for bits in self._used.values():
            used |= self._unpacked(bits)
        return self._sum(self._sizes(), used)

    def _unpacked(self, bits: Array) -> Array:
        return np.unpackbits(bits, count=len(self._rows)).astype(np.bool_)

    def _sizes(self) -> Array:
        """Stored bytes of each sampled chunk: an equal part of its group."""
        columns = self._segment.columns
        groups = columns.groups_of[self._rows]
        members = np.bincount(columns.groups_of, minlength=len(columns.lengths))
        return columns.lengths[groups] / np.maximum(members[groups], 1)

    def _sum(self, sizes: Array, chosen: Array) -> int:
        return round(float(sizes[chosen].sum()) * self._scale)
