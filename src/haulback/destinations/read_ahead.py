"""Read-ahead on a remote store: one request reads adjacent parts of an object before they are
needed.

A restore and a verification read the groups of a pack nearly in order, each about 1 MiB; at this
size the overhead of a request is as large as the transfer.  Random reads, such as those of a mount,
are not enlarged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from threading import Lock

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, ObjectStore, list_many
from haulback.errors import HaulbackError

_AHEAD = 4 << 20  # bytes of a request that reads ahead; with `_BLOCKS` it limits the memory
_BLOCKS = 6  # blocks kept: enough for two objects that are read in turn, each with three blocks
# Bytes between two reads that still count as consecutive, as one group may be left out.
_GAP = 1 << 20
_ROW = 3  # consecutive reads before read-ahead begins, because two are often adjacent by chance
_NAMES = 64  # objects whose size and last read are remembered
_THREADS = 3


class _Block:
    """Bytes of an object from `start` to `end`; None if they cannot be read."""

    def __init__(self, name: str, start: int, end: int, data: Future[bytes | None]) -> None:
        self.name, self.start, self.end, self.data = name, start, end, data
        self.served: set[int] = set()

    def read(self) -> bytes | None:
        """Wait for the bytes and return them."""
        try:
            return self.data.result()
        except CancelledError:  # the store was closed
            return None


class ReadAhead(PassThrough):
    """A store that reads ahead if a read continues the last two reads of the same object.

    Threads may share one store.  A range that is read again is read from the store itself, because
    the first answer may have been damaged, as is a range whose block cannot be read.  Blocks are
    `ahead` bytes long; reads at most `gap` bytes apart count as consecutive.
    """

    def __init__(self, destination: ObjectStore, ahead: int = _AHEAD, gap: int = _GAP) -> None:
        super().__init__(destination)
        self._ahead, self._gap = ahead, gap
        self._blocks: list[_Block] = []
        # by object: the end of the last read, and the number of reads in a row
        self._ends: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None
        # guards all members above; no thread reads the store while it holds the lock
        self._lock = Lock()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if length is None or length >= self._ahead or not length:
            return super().load(name, offset, length)
        blocks = self._blocks_of(name, offset, offset + length)
        data, at = bytearray(), offset
        for block in blocks:
            whole = block.read()
            if whole is None:
                break
            data += whole[at - block.start : offset + length - block.start]
            at = block.end
        return bytes(data) if len(data) == length else super().load(name, offset, length)

    def close(self) -> None:
        """End the threads; a later read comes from the store, or starts new threads."""
        with self._lock:
            pool, self._pool, self._blocks = self._pool, None, []
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        return list_many(self._destination, folders)

    def _blocks_of(self, name: str, offset: int, end: int) -> list[_Block]:
        """The blocks that have or will have a range; empty if the store serves the range itself."""
        is_next = self._continues(name, offset, end)
        if is_next and name not in self._sizes:
            self._learn_size(name)
        with self._lock:
            size = self._sizes.get(name)
            if size is None or end > size:
                return []
            blocks: list[_Block] = []
            at = offset
            while at < end:
                block = self._at(name, at)
                if block is None and (blocks or is_next):
                    block = self._begin(name, at, size)
                if block is None or offset in block.served:
                    return []
                blocks.append(block)
                at = block.end
            blocks[0].served.add(offset)
            if is_next and at < size and self._at(name, at) is None:
                self._begin(name, at, size)  # the next block, before its reader comes
            return blocks

    def _at(self, name: str, at: int) -> _Block | None:
        """The block with a byte of an object, or None; the caller holds the lock."""
        blocks = (b for b in self._blocks if b.name == name and b.start <= at < b.end)
        return next(blocks, None)

    def _continues(self, name: str, offset: int, end: int) -> bool:
        """Whether a range continues the last reads of an object."""
        with self._lock:
            last, row = self._ends.pop(name, (-self._gap - 1, 0))
            row = row + 1 if 0 <= offset - last <= self._gap else 1
            self._ends[name] = (end, row)
            while len(self._ends) > _NAMES:
                self._ends.popitem(last=False)
            return row >= _ROW

    def _learn_size(self, name: str) -> None:
        try:
            size = super().info(name).size
        except HaulbackError:
            return  # the read of the range itself raises the error
        with self._lock:
            self._sizes[name] = size
            while len(self._sizes) > _NAMES:
                self._sizes.popitem(last=False)

    def _begin(self, name: str, start: int, size: int) -> _Block:
        """Request a block; the caller holds the lock."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="read-ahead")
        end = min(start + self._ahead, size)
        block = _Block(name, start, end, self._pool.submit(self._fetch, name, start, end))
        self._blocks = [*self._blocks[1 - _BLOCKS :], block]
        return block

    def _fetch(self, name: str, start: int, end: int) -> bytes | None:
        try:
            return self._destination.load(name, start, end - start)
        except HaulbackError:
            return None
