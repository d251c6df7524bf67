"""Read-ahead on a remote store: neighbouring parts of an object come by one request.

A restore and a verification read the groups of a pack one after the other, each about 1 MiB; the
request costs as much as the bytes.  Random reads, as of a mount, are not enlarged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from threading import Lock

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, ObjectStore, list_many
from haulback.errors import HaulbackError

_AHEAD = 4 << 20  # bytes of a request that reads ahead: bounds the memory with `_BLOCKS`
_BLOCKS = 4  # blocks kept: two threads read two packs each at most
_NAMES = 64  # objects whose last read is remembered


class _Block:
    """Bytes of an object from `start` to `end`, fetched by one thread; others wait for `data`."""

    def __init__(self, name: str, start: int, end: int) -> None:
        self.name, self.start, self.end = name, start, end
        self.data: Future[bytes | None] = Future()
        self.served: set[int] = set()

    def covers(self, name: str, offset: int, end: int) -> bool:
        """Whether the range is inside, and was not served before.

        A range that is read again comes from the store: the first answer may have been damaged.
        """
        inside = self.name == name and self.start <= offset and end <= self.end
        return inside and offset not in self.served


class ReadAhead(PassThrough):
    """A store that reads ahead where a read continues the last read of the same object.

    Threads may share one store.  A block that cannot be read, such as one beyond the end of the
    object, is read again at the length that was asked for.
    """

    def __init__(self, destination: ObjectStore) -> None:
        super().__init__(destination)
        self._blocks: list[_Block] = []
        self._ends: OrderedDict[str, int] = OrderedDict()  # the end of the last read, by object
        # guards both; nothing is read from the store under the lock
        self._lock = Lock()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if length is None or length >= _AHEAD:
            return super().load(name, offset, length)
        block, is_mine = self._block(name, offset, length)
        if block is None:
            return super().load(name, offset, length)
        if is_mine:
            self._fill(block)
        data = block.data.result()
        if data is None:
            return super().load(name, offset, length)
        at = offset - block.start
        return data[at : at + length]

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        return list_many(self._destination, folders)

    def _block(self, name: str, offset: int, length: int) -> tuple[_Block | None, bool]:
        """The block that has or will have a range, and whether the caller must fill the block."""
        end = offset + length
        with self._lock:
            last = self._ends.pop(name, None)
            self._ends[name] = end
            while len(self._ends) > _NAMES:
                self._ends.popitem(last=False)
            for block in self._blocks:
                if block.covers(name, offset, end):
                    block.served.add(offset)
                    return block, False
            if last != offset:
                return None, False
            block = _Block(name, offset, offset + _AHEAD)
            block.served.add(offset)
            self._blocks = [*self._blocks[1 - _BLOCKS :], block]
            return block, True

    def _fill(self, block: _Block) -> None:
        data: bytes | None = None
        try:
            data = super().load(block.name, block.start, block.end - block.start)
        except HaulbackError:
            self._drop(block)
        finally:
            # set in any case: other threads wait
            block.data.set_result(data)

    def _drop(self, block: _Block) -> None:
        with self._lock:
            self._blocks = [other for other in self._blocks if other is not block]
