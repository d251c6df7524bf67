"""A store that fails as real stores do: before and after an operation, halfway, and in its
listings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence, Set
from enum import Enum
from pathlib import Path
from typing import TypeVar

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, ObjectStore
from haulback.errors import Unavailable

T = TypeVar("T")


class Fault(Enum):
    """A fault of one operation; faults of listings affect only listings, other faults only other
    operations.
    """

    NONE = "works"
    BEFORE = "is not reached"
    AFTER = "did it, and the reply is lost"
    HALF = "stores half of an object, unseen, and breaks off"
    REPEATED = "did it, and a library repeated the request after a lost reply"
    BROKEN_LIST = "breaks off in the middle of a list"
    LACKING_LIST = "leaves entries out of a list"
    FOREIGN_LIST = "lists names of other programs"


Plan = Callable[[str], Fault]  # the fault of the next operation, whose name is given
_LISTS = (Fault.BROKEN_LIST, Fault.LACKING_LIST, Fault.FOREIGN_LIST)
_WRITES = (Fault.HALF, Fault.REPEATED)
_FOREIGN = ("Thumbs.db", ".DS_Store", "0000.partial", "copy of a")


def seeded(
    chance: random.Random, rate: float, without: Set[Fault] = frozenset()
) -> Callable[[str], Fault]:
    """A plan by seed: a share `rate` of the operations gets a fault of a kind that fits the
    operation.
    """

    def plan(operation: str) -> Fault:
        if chance.random() >= rate:
            return Fault.NONE
        kinds = [Fault.BEFORE, Fault.AFTER]
        kinds += _LISTS if operation in ("list", "entries") else ()
        kinds += _WRITES if operation in ("store", "adopt") else ()
        return chance.choice([kind for kind in kinds if kind not in without])

    return plan


class FaultyStore(PassThrough):
    """Injects the faults of a plan; each fault raises Unavailable, except a wrong list.

    `half` is called with the name and the first half of the bytes, and leaves half of an object,
    like an attempt that dies while it stores the object.
    """

    def __init__(
        self,
        destination: ObjectStore,
        plan: Plan,
        half: Callable[[str, bytes], None] | None = None,
    ) -> None:
        super().__init__(destination)
        self._plan, self._half = plan, half

    def store(self, name: str, data: bytes) -> None:
        self._write("store", name, lambda: self._destination.store(name, data), data)

    def adopt(self, name: str, path: Path) -> None:
        data, sent = path.read_bytes(), path.with_name(f"{path.name}.sent")

        def send() -> None:
            sent.write_bytes(data)
            try:
                self._destination.adopt(name, sent)
            finally:
                sent.unlink(missing_ok=True)

        self._write("adopt", name, send, data)
        path.unlink()  # after a lost reply the file stays in its place

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._call("load", lambda: self._destination.load(name, offset, length))

    def info(self, name: str) -> Item:
        return self._call("info", lambda: self._destination.info(name))

    def list(self, prefix: str) -> Iterator[Item]:
        fault = self._plan("list")
        items = self._met(fault, "list", lambda: [*self._destination.list(prefix)])
        if fault is Fault.FOREIGN_LIST:
            items += [Item(f"{prefix}/{name}", 1) for name in _FOREIGN]
        return _listed(fault, items)

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        fault = self._plan("entries")
        found = self._met(fault, "entries", lambda: [*self._destination.entries(folder)])
        if fault is Fault.FOREIGN_LIST:
            found += [(name, True) for name in _FOREIGN]
        return _listed(fault, found)

    def delete(self, name: str) -> None:
        self._call("delete", lambda: self._destination.delete(name))

    def sweep(self, alive: Set[str]) -> int:
        return self._call("sweep", lambda: self._destination.sweep(alive))

    def _call(self, operation: str, call: Callable[[], T]) -> T:
        return self._met(self._plan(operation), operation, call)

    def _met(self, fault: Fault, operation: str, call: Callable[[], T]) -> T:
        if fault is Fault.BEFORE:
            raise Unavailable(f"{operation}: the store is not reached (injected)")
        result = call()
        if fault is Fault.AFTER:
            raise Unavailable(f"{operation}: the reply is lost (injected)")
        return result

    def _write(self, operation: str, name: str, call: Callable[[], None], data: bytes) -> None:
        fault = self._plan(operation)
        if fault is Fault.HALF:
            if self._half:
                self._half(name, data[: len(data) // 2])
            raise Unavailable(f"{operation}: the connection broke (injected)")
        self._met(fault, operation, call)
        if fault is Fault.REPEATED:
            call()


def _listed(fault: Fault, found: Sequence[T]) -> Iterator[T]:
    if fault is Fault.LACKING_LIST:
        found = found[::2]
    if fault is Fault.BROKEN_LIST:
        yield from found[: len(found) // 2]
        raise Unavailable("list: the connection broke (injected)")
    yield from found
