"""Writing new chunks and pages: deduplicated, grouped, compressed and sealed into local packs.

Compression and encryption run in `workers` threads; the caller's thread reads, looks up and writes.
A repository shows nothing of a writer before the draft is published.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from haulback.repository.group import (
    GROUP_BYTES,
    PAGE_GROUP_BYTES,
    RECORD_BYTES,
    Group,
    OpenGroup,
    encode,
    seal_frame,
)
from haulback.repository.index import Index
from haulback.repository.index_tiers import due
from haulback.repository.keys import Keys
from haulback.repository.pack import PACK_BYTES, GroupEntry, PackSealer, PackWriter
from haulback.repository.pack_verification import ReuseProof
from haulback.repository.pages import ChunkRef
from haulback.repository.resources import Resources
from haulback.repository.segment import Segment

_QUEUED_GROUPS = 3  # groups that wait for a thread, which limits the memory
# Number of chunks in memory beyond which they move into a local index file.
_NEW_CHUNKS_IN_MEMORY = 1 << 16
_COPIED_GROUPS_IN_MEMORY = 1 << 12
_HINTS_IN_MEMORY = 1 << 18


class Staged(NamedTuple):
    """The files of a finished writer in its folder, to be published in this order.

    `pages` are the packs of map pages among the packs.
    """

    packs: tuple[Path, ...]
    segments: tuple[Path, ...]
    stored: int
    pages: tuple[Path, ...] = ()


class _Memory(NamedTuple):
    """The buffers of a group: for its plain bytes, and for the record to store."""

    plain: bytearray
    record: bytearray


@dataclass
class _Stream:
    """A stream of groups into packs: data and pages have separate streams.

    `spare` holds the buffers of encoded groups, because new memory would cost as much as the copy
    into it.
    """

    group_bytes: int
    group: OpenGroup | None = None
    memory: _Memory | None = None  # the memory of `group`
    pack: PackWriter | None = None
    packs: list[PackWriter] = field(default_factory=list)
    queue: deque[tuple[Group, _Memory, Future[memoryview]]] = field(default_factory=deque)
    spare: list[_Memory] = field(default_factory=list)

    def new_memory(self, least: int) -> _Memory:
        """The buffers of a new group of at least `least` bytes."""
        if self.spare and least <= self.group_bytes:
            return self.spare.pop()
        plain = max(self.group_bytes, least)
        return _Memory(bytearray(plain), bytearray(plain + RECORD_BYTES - GROUP_BYTES))

    def reuse(self, memory: _Memory) -> None:
        """Take back the buffers of a group whose record is written."""
        if len(memory.plain) == self.group_bytes:
            self.spare.append(memory)


class Writer:
    """The new chunks of one backup.  `folder` must be empty; `index` lists the chunks stored
    already.
    """

    def __init__(
        self,
        keys: Keys,
        index: Index,
        folder: Path,
        resources: Resources,
        proof: ReuseProof | None = None,
    ) -> None:
        self._keys, self._index, self._folder, self._proof = keys, index, folder, proof
        self._disk, self._pool = resources.disk, resources.pool
        self._session, self._counter = os.urandom(8), 0
        self._data, self._pages = _Stream(GROUP_BYTES), _Stream(PAGE_GROUP_BYTES)
        self._new: dict[bytes, bytes] = {}
        self._hints: dict[bytes, bytes] = {}
        self._entries: list[GroupEntry] = []
        self._packs: list[PackWriter] = []
        self._sealer = PackSealer(keys)
        self._segments: dict[str, Segment] = {}

    def add(self, chunks: Sequence[tuple[bytes, memoryview]]) -> list[ChunkRef]:
        """Store chunks (id, bytes) unless they are stored already; call it in batches."""
        return self._add(chunks, self._data)

    def add_segment(
        self, chunks: Sequence[tuple[bytes, memoryview]], data: memoryview
    ) -> tuple[list[ChunkRef], memoryview]:
        """Store the chunks (id, bytes) that `data`, the memory of a segment, consists of.

        Unless some of them are stored already, the writer keeps the memory as a group, which saves
        a copy, and returns other memory of this length in place of it.
        """
        stored = self._stored([chunk for chunk, _ in chunks])
        is_new = len(stored) == len(chunks) and not any(stored.values())
        if len(data) != GROUP_BYTES or not is_new or not self._new.keys().isdisjoint(stored):
            return self._add(chunks, self._data, stored), data
        assert isinstance(data.obj, bytearray)
        other, group = self._data.new_memory(0), Group(self._new_id(), data)
        at = 0
        for chunk, piece in chunks:
            group.places[chunk], at = (at, len(piece)), at + len(piece)
        self._new.update(dict.fromkeys(stored, group.id))
        self._encode(group, _Memory(data.obj, other.record), self._data)
        if len(self._new) > _NEW_CHUNKS_IN_MEMORY:
            self._flush()
        refs = [ChunkRef(chunk, self._hints.get(chunk, group.id)) for chunk in stored]
        return refs, memoryview(other.plain)

    def add_page(self, page: bytes) -> ChunkRef:
        return self._add([(self._keys.chunk_id(page), memoryview(page))], self._pages)[0]

    def lacks(self, chunks: Sequence[bytes]) -> set[bytes]:
        """The chunks without a stored copy that this writer may reuse; ask in batches."""
        unknown = [chunk for chunk in chunks if chunk not in self._new]
        stored = self._stored(unknown) if unknown else {}
        return {chunk for chunk, group in stored.items() if group is None}

    @property
    def size(self) -> int:
        """Bytes in the packs so far."""
        return sum(pack.size for pack in self._packs)

    def copy(self, group: Group, record: bytes, page: bool) -> None:
        """Copy a sealed group unchanged, under its own id."""
        self._place(group, record, self._pages if page else self._data)
        if len(self._entries) > _COPIED_GROUPS_IN_MEMORY:
            self._flush()

    def add_frame(self, places: dict[bytes, tuple[int, int]], frame: bytes) -> None:
        """Store new chunks whose bytes are compressed together in `frame`, in this order."""
        group = Group(self._new_id(), places=places)
        self._new.update(dict.fromkeys(places, group.id))
        future = self._pool.submit(seal_frame, group, frame, self._keys)
        self._data.queue.append((group, _Memory(bytearray(), bytearray()), future))
        self._drain(self._data, _QUEUED_GROUPS)

    def _new_id(self) -> bytes:
        """The id of the next group."""
        self._counter += 1
        return self._session + struct.pack(">I", self._counter - 1)

    def finish(self) -> Staged:
        """Seal everything durably.  The folder then holds the files that `Staged` names."""
        for stream in (self._data, self._pages):
            self._close_group(stream)
            self._drain(stream, 0)
        self._sealer.finish()
        for stream in (self._data, self._pages):
            if stream.pack:
                stream.pack.seal(self._keys)
        self._spill()
        return Staged(
            tuple(pack.path for pack in self._packs),
            tuple(self._file(name) for name in self._segments),
            self.size,
            tuple(pack.path for pack in self._pages.packs),
        )

    def abandon(self) -> None:
        """Close all files; the caller removes the folder."""
        self._sealer.abandon()
        for pack in self._packs:
            pack.abandon()

    def _add(
        self,
        chunks: Sequence[tuple[bytes, memoryview]],
        stream: _Stream,
        stored: dict[bytes, bytes | None] | None = None,
    ) -> list[ChunkRef]:
        """Store chunks; `stored` has the groups of those that may be reused, if they are known."""
        refs = []
        if stored is None:
            unknown = [chunk for chunk, _ in chunks if chunk not in self._new]
            stored = self._stored(unknown) if unknown else {}
        for chunk, data in chunks:
            group = self._new.get(chunk) or stored[chunk] or self._append(chunk, data, stream)
            refs.append(ChunkRef(chunk, self._hints.get(chunk, group)))
        if len(self._new) > _NEW_CHUNKS_IN_MEMORY:
            self._flush()
        return refs

    def _stored(self, chunks: list[bytes]) -> dict[bytes, bytes | None]:
        """The group to reuse for each chunk; None if the chunk is not stored or its copy is
        doubtful.
        """
        found = dict(zip(chunks, self._index.find(chunks), strict=True))
        foreign = {g for g in found.values() if g and not g.startswith(self._session)}
        refused = foreign - self._proof.sound(foreign) if foreign and self._proof else set()
        self._keep_hints(found, refused)
        return {chunk: None if group in refused else group for chunk, group in found.items()}

    def _keep_hints(self, stored: dict[bytes, bytes | None], refused: set[bytes]) -> None:
        """Let maps name the old, damaged group of a chunk that is stored again.

        The group in a map is only a hint, because the index finds each chunk without the group.
        With the old group the pages of an equal map are identical to the old pages, so that the
        old backup finds its damaged pages again.
        """
        if len(self._hints) > _HINTS_IN_MEMORY:
            return
        self._hints.update({c: g for c, g in stored.items() if g is not None and g in refused})
        self._hints.update(self._index.hints([c for c, group in stored.items() if group is None]))

    def _append(self, chunk: bytes, data: memoryview, stream: _Stream) -> bytes:
        if stream.group and stream.group.size + len(data) > stream.group_bytes:
            self._close_group(stream)
        if not stream.group:
            stream.memory = stream.new_memory(len(data))
            stream.group = OpenGroup(self._new_id(), stream.memory.plain)
        stream.group.add(chunk, data)
        self._new[chunk] = stream.group.id
        return stream.group.id

    def _close_group(self, stream: _Stream) -> None:
        if stream.group and stream.memory:
            group, memory = stream.group.close(), stream.memory
            stream.group = stream.memory = None
            self._encode(group, memory, stream)

    def _encode(self, group: Group, memory: _Memory, stream: _Stream) -> None:
        future = self._pool.submit(encode, group, self._keys, memory.record)
        stream.queue.append((group, memory, future))
        self._drain(stream, _QUEUED_GROUPS)

    def _drain(self, stream: _Stream, keep: int) -> None:
        while len(stream.queue) > keep:
            group, memory, future = stream.queue.popleft()
            self._place(group, future.result(), stream)
            stream.reuse(memory)

    def _place(self, group: Group, record: bytes | memoryview, stream: _Stream) -> None:
        if stream.pack and stream.pack.size + len(record) > PACK_BYTES:
            self._sealer.seal(stream.pack)
            stream.pack = None
        if not stream.pack:
            stream.pack = PackWriter(self._folder, self._disk)
            self._packs.append(stream.pack)
            stream.packs.append(stream.pack)
        self._entries.append(stream.pack.add(group, record))
        if stream.pack.is_behind():
            self._sealer.write_out(stream.pack)

    def _flush(self) -> None:
        for stream in (self._data, self._pages):
            self._close_group(stream)
            self._drain(stream, 0)
        self._spill()

    def _spill(self) -> None:
        """Move the facts about new chunks from memory into a local index file."""
        if not self._entries:
            return
        self._adopt(Segment.build(self._entries).write(self._folder, self._keys, self._disk))
        self._entries.clear()
        self._new.clear()
        while segments := due(self._segments.values()):
            from haulback.repository.merge import MergePlan, merge

            self._adopt(merge(MergePlan(segments), self._folder, self._keys, self._disk))
            self._index.remove(segment.name for segment in segments)
            for segment in segments:
                del self._segments[segment.name]
                self._disk.unlink(self._file(segment.name))

    def _adopt(self, path: Path) -> None:
        segment = Segment.open(path, path.stem, self._keys)
        self._segments[segment.name] = segment
        self._index.add(segment)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.index"
