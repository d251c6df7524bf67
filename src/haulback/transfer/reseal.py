"""Chunks of a repository for another key: decrypted and checked, but with the compressed data
kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from haulback.errors import Damaged
from haulback.repository.group import FramedGroup, decode_framed
from haulback.repository.group_runs import GroupRuns
from haulback.repository.keys import Keys
from haulback.repository.pages import ChunkRef
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.transfer.copy_groups import by_group


@dataclass
class ForeignGroup(FramedGroup):
    """A decoded group of the source; `ids` gives the target's id of each chunk."""

    ids: dict[bytes, bytes] = field(default_factory=dict)


class ForeignChunks:
    """Reads chunks of `source` group by group, with their ids in `target`."""

    def __init__(self, source: Repository, target: Repository, resources: Resources) -> None:
        self._own, self._foreign = source.keys, target.keys
        self._index, self._reader = source.index(), source.reader()
        self._pool = resources.pool
        self._runs = GroupRuns(
            source.destination, self._index, source.keys, source.findings, self._open
        )

    @property
    def reader(self) -> Reader:
        """A reader of the source."""
        return self._reader

    def read(self, refs: Sequence[ChunkRef]) -> Iterator[tuple[ForeignGroup, set[bytes]]]:
        """Groups that together contain the chunks, each with its needed chunks.

        Raises Damaged or BaseGone when the source lacks a chunk.
        """
        wanted = by_group(self._index, refs)
        left = {ref.id: ref for ref in refs}
        for sealed in self._runs.read(wanted, self._pool):
            group = sealed.group
            assert isinstance(group, ForeignGroup)
            if held := wanted[group.id] & group.ids.keys() & left.keys():
                yield group, held
                for chunk in held:
                    del left[chunk]
        yield from self._rest(left.values())

    def _rest(self, refs: Iterable[ChunkRef]) -> Iterator[tuple[ForeignGroup, set[bytes]]]:
        """Chunks whose groups could not be read, from any place."""
        for ref in refs:
            data = bytes(self._reader.chunk(ref))
            group = ForeignGroup(b"", data, {ref.id: (0, len(data))})
            group.ids[ref.id] = self._foreign.chunk_id(data)
            yield group, {ref.id}

    def _open(self, record: bytes, group_id: bytes, keys: Keys) -> ForeignGroup:
        """Decode a group, check its chunks, and name them by the target's key."""
        group = decode_framed(record, group_id, keys)
        made = ForeignGroup(group_id, group.data, group.places, group.frame)
        for chunk in group.places:
            data = group.chunk(chunk)
            if self._own.chunk_id(data) != chunk:
                raise Damaged(f"chunk {chunk.hex()} does not match its id")
            made.ids[chunk] = self._foreign.chunk_id(data)
        return made
