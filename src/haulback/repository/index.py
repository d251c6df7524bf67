"""The index: which group holds a chunk, and where a group lies.  A handful of sorted segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from haulback.repository.pack import Place
from haulback.repository.segment import ID, Segment


class Index:
    """The segments of a repository that no other replaces, and those of a running session."""

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self.segments = list(segments)

    def __len__(self) -> int:
        return sum(len(segment) for segment in self.segments)

    def add(self, segment: Segment) -> None:
        self.segments.insert(0, segment)

    def remove(self, names: Iterable[str]) -> None:
        gone = set(names)
        self.segments = [segment for segment in self.segments if segment.name not in gone]

    def find(self, chunks: Sequence[bytes]) -> list[bytes | None]:
        """The group of each chunk, None where it is not stored.  Ask in batches."""
        result: list[bytes | None] = [None] * len(chunks)
        ids = np.frombuffer(b"".join(chunks), ID)
        heads = ids["head"].astype("<u8")
        missing = np.argsort(heads)  # ascending, so that neighbours share the search's cache lines
        heads, rests = heads[missing], ids["rest"].astype("<u8")[missing]
        for segment in self.segments:
            found, rows = segment.find(heads, rests)
            if not found.any():
                continue
            groups = segment.group_ids(rows[found])
            for i, group in zip(missing[found].tolist(), groups, strict=True):
                result[i] = group
            missing, heads, rests = missing[~found], heads[~found], rests[~found]
            if not len(missing):
                break
        return result

    def place(self, group: bytes) -> Place | None:
        """Where a group lies, or None."""
        places = (segment.place(group) for segment in self.segments)
        return next((place for place in places if place), None)
