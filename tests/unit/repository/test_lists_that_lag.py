"""No history of backups and clean-ups loses a backup, although each listing lags by client and
name.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from haulback.destinations.add_only import AddOnly
from haulback.destinations.folder import Folder
from haulback.destinations.protocol import Item
from haulback.destinations.settled_lists import SettledLists
from haulback.durable_files import DurableFiles
from haulback.repository.backup_loss import check_backup
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.scan import scan_completing_index
from haulback.testing.memory_store import ManualClock
from tests import shares
from tests.conftest import SECRET
from tests.unit.repository.test_clean_up_histories import Cleaning, Shared, meanwhile

DELAY = 120.0  # seconds
TICKS = (0.0, 0.0, 0.0, 0.0, 1.0, 7.0, 40.0)  # seconds that pass between two calls


class Share:
    """The changes of every name, in the order of the store's clock."""

    def __init__(self, seed: int) -> None:
        self.clock, self.chance = ManualClock(), random.Random(seed)
        self.clock.wait(1e6)
        self.changes: dict[str, list[tuple[float, bool]]] = {}
        self.sizes: dict[str, int] = {}

    def note(self, name: str, size: int | None) -> None:
        """Record a change of a name: its size in bytes, None for a deletion."""
        versions = self.changes.setdefault(name, [])
        if bool(versions and versions[-1][1]) != (size is not None):
            versions.append((self.clock.seconds, size is not None))
        if size is not None:
            self.sizes[name] = size

    def stored(self, name: str) -> int:
        times = [time for time, is_there in self.changes.get(name, ()) if is_there]
        return int(1000 * (times[-1] if times else 0.0))


class LateLists(Shared):
    """A client of the share: its listings show each change of each name up to DELAY late."""

    def __init__(self, root, share: Share, disk=None, plan=(), watch=None) -> None:
        super().__init__(root, disk, plan, watch)
        self.share = share
        self._late: dict[tuple[str, int], float] = {}

    def next(self) -> None:
        self.share.clock.wait(self.share.chance.choice(TICKS))
        super().next()

    def pass_time(self, seconds: float) -> None:
        """Let time pass in which other tasks continue."""
        for _ in range(4):
            self.share.clock.wait(seconds / 4)
            super().next()

    def store(self, name, data):
        try:
            super().store(name, data)
        finally:
            self._noted(name)

    def adopt(self, name, path):
        try:
            super().adopt(name, path)
        finally:
            self._noted(name)

    def delete(self, name):
        try:
            super().delete(name)
        finally:
            self._noted(name)

    def info(self, name):
        return super().info(name)._replace(stored=self.share.stored(name))

    def list(self, prefix) -> Iterator[Item]:
        real = {item.name: item.size for item in super().list(prefix)}
        known = {name for name in self.share.changes if name.startswith(f"{prefix}/")}
        for name in sorted(real.keys() | known):
            if self._shows(name, name in real):
                size = real.get(name, self.share.sizes.get(name, 0))
                yield Item(name, size, self.share.stored(name))

    def _noted(self, name) -> None:
        path = self.root / name
        self.share.note(name, path.stat().st_size if path.exists() else None)

    def _shows(self, name: str, is_there: bool) -> bool:
        versions = self.share.changes.get(name)
        if not versions:
            return is_there
        if versions[-1][1] and not is_there:  # a power failure lost the name
            del self.share.changes[name]
            return False
        shown = False
        for number, (time, state) in enumerate(versions):
            if time + self._lateness(name, number) <= self.share.clock.seconds:
                shown = state
        return shown

    def _lateness(self, name: str, number: int) -> float:
        chance = self.share.chance
        usual = (0.0, DELAY * 0.999, DELAY * chance.random())
        return self._late.setdefault((name, number), chance.choice(usual))


class CleaningLate(Cleaning):
    """The model of clean-ups on a share; every task is a client with its own listings."""

    @initialize(seed=st.integers(0, 1 << 32))
    def share_begins(self, seed):
        self.share = Share(seed)

    def set_up(self):
        self.share = Share(0)

    def client(self, io=None, plan=(), watch=None) -> LateLists:
        return LateLists(self.root / "d", self.share, io, plan, watch)

    def open(self, io=None, plan=(), add_only=True, watch=None):
        return self.opened(self.client(io, plan, watch), add_only=add_only)

    def opened(self, client, *, add_only=False):
        store = SettledLists(client)
        found = Repository.open(AddOnly(store) if add_only else store, SECRET)
        found.listing_delay = DELAY
        return found

    def calm(self):
        """The repository as a process with up-to-date listings sees it."""
        return Repository.open(Folder(self.root / "d"), SECRET)

    def forget(self, choice):
        for backup in sorted(self.present)[choice % max(len(self.present), 1) :][:1]:
            del self.present[backup]
            self.open(add_only=False).forget(backup)

    def export(self, machine, base, seed, io=None, plan=()):
        if base is not None and machine.staging.name not in self.at_work:
            self.share.clock.wait(DELAY)  # as an EXPORT waits for a young base
        super().export(machine, base, seed, io, plan)

    def clean(self, io=None, plan=(), watched=False):
        shutil.rmtree(self.root / "c")
        (self.root / "c").mkdir()
        client = self.client(io, plan, self.what_is_present_restores if watched else None)
        with self.power(io):
            resources = Resources(self.pool, io or DurableFiles())
            orders = CleanupOrder(wait=client.pass_time)
            repository = self.opened(client)
            return clean_up(repository, self.root / "c", self.pins, resources, orders)

    @rule(seconds=st.sampled_from((1.0, DELAY / 2, DELAY, 3 * DELAY)))
    def passing(self, seconds):
        self.share.clock.wait(seconds)

    @rule(machine=st.integers(0, 2), seed=st.integers(0, 3), plan=meanwhile)
    def storing_between_two_clean_ups(self, machine, seed, plan):
        """A backup reuses data that the first clean-up removes from the index, and that the second
        would delete.
        """
        self.do("back up", self.machines[machine], seed)
        self.share.clock.wait(DELAY)
        self.do("full", self.machines[machine], seed)
        for _ in range(len(self.present)):
            self.forget(0)
        self.clean(None, self.others(plan))
        self.store_waiting(self.machines[machine])
        self.clean()

    def verifying(self):
        """A chunk that a clean-up adds again later is not in the index now, so no rule applies."""

    @invariant()
    def what_is_present_restores(self):
        repository = self.calm()
        for backup in self.present:
            check_backup(repository, backup)

    def everything_restores(self):
        with patch.object(self, "open", self.calm):
            super().everything_restores()

    def space_comes_back(self):
        for machine in self.machines:
            machine.waiting = None
        self.merged = None
        for backup in self.unfinished:
            self.open(add_only=False).forget(backup)
        for _ in range(4):
            self.share.clock.wait(3 * DELAY)
            assert self.clean().damaged == []
        look = scan_completing_index(self.calm(), self.root / "c", Resources(self.pool))
        assert sorted(look.backups) == sorted(self.present)
        assert look.packs.keys() == look.index.packs()

    def teardown(self):
        if hasattr(self, "temp"):
            try:
                self.everything_restores()
                self.space_comes_back()
                self.everything_restores()
            finally:
                self.end()


_CASES = shares.cases("lag")
TestCleaningLate = CleaningLate.TestCase
TestCleaningLate.settings = settings(
    max_examples=_CASES.count if _CASES.whole else min(_CASES.count, 25), stateful_step_count=20
)
