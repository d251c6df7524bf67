"""Hypervisors that an attempt uses, and the locks of machines on this node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from haulback import units
from haulback.contract.order_records import Hypervisor
from haulback.drivers import registry
from haulback.drivers.hypervisor import MachineSource
from haulback.errors import Malformed
from haulback.hypervisor_types import OWN_SERVER


def open_hypervisor(record: Hypervisor) -> MachineSource:
    """Open the driver of a hypervisor.  Raises Malformed if this node lacks the driver."""
    try:
        return registry.open_hypervisor(record.driver, record.config)
    except Malformed as error:
        raise Malformed(f"{record.name}: {error.message}") from None


class Locks:
    """Locks of machines on this node: one attempt works on a machine at a time."""

    def __init__(self) -> None:
        # guards only the table; attempts hold the lock of their machine while they work
        self._lock = Lock()
        self._by_machine: dict[str, Lock] = {}

    def of(self, machine: str) -> Lock:
        with self._lock:
            return self._by_machine.setdefault(machine, Lock())


class TaskMachines:
    """Hypervisors of one attempt; `used` are their records by guid, `own` opens the server's own
    database.
    """

    def __init__(
        self, locks: Locks, own: Callable[[], MachineSource], log: Callable[[str], None]
    ) -> None:
        self._locks, self._own, self._log = locks, own, log
        self.used: dict[str, Hypervisor] = {}
        self._opened: list[MachineSource] = []

    def open(self, record: Hypervisor) -> MachineSource:
        is_own = record.driver == OWN_SERVER.driver
        made = self._own() if is_own else open_hypervisor(record)
        if record.guid not in self.used:
            self._log(f"hypervisor {record.name} is used ({record.driver})")
        self.used[record.guid] = record
        self._opened.append(made)
        return made

    @contextmanager
    def lock(self, record: Hypervisor, uuid: str, *, wait: bool = True) -> Iterator[bool]:
        lock = self._locks.of(f"{record.guid}/{uuid}")
        is_mine = lock.acquire(blocking=False)
        if wait and not is_mine:
            begun = time.monotonic()
            lock.acquire()
            is_mine, waited = True, units.duration(time.monotonic() - begun)
            self._log(f"the task waited {waited} for another task on the same machine")
        try:
            yield is_mine
        finally:
            if is_mine:
                lock.release()

    def close(self) -> None:
        for hypervisor in self._opened:
            hypervisor.close()
