"""A destination fails by a seed, but no acknowledged backup is lost.

Errors before and after an operation, half writes, repeated requests, and listings that lag, break
off, lack entries or show foreign names.  `HAULBACK_CASES=SEED:COUNT` runs other cases than the
commit's own share; `scripts/soak faults` runs all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from haulback.destinations.protocol import ObjectStore
from haulback.destinations.settled_lists import SettledLists
from haulback.destinations.store_retries import Retrying
from haulback.drivers.source import Extent
from haulback.errors import BaseGone, HaulbackError, Missing
from haulback.repository.index_cache import CacheFolder
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Draft, Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from haulback.retry import Backoff
from haulback.testing.faulty_store import Fault, FaultyStore, seeded
from haulback.testing.memory_store import ManualClock, MemoryBucket, MemoryStore
from haulback.units import KIB
from tests import shares
from tests.conftest import SECRET
from tests.unit.repository.damaged_site import Site, disk_of, limits
from tests.unit.repository.scene import MemoryDisk, export, restored

STEPS = ("full", "increment", "increment", "clean", "clean", "forget", "merge", "verify", "restore")
TRIES = 40  # attempts of a task, because the server repeats a task whose destination did not answer
T = TypeVar("T")


class FaultySite(Site):
    """A site on a store in memory that fails; `calm` is the store without faults.

    Half of the seeds use the wrappers of remote stores, the others meet each fault directly. In
    half of the cases a catalogue knows the acknowledged backups.
    """

    def __init__(self, root: Path, pool: ThreadPoolExecutor, seed: int) -> None:
        super().__init__(root, pool)
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.delay = self.chance.choice([0.0, 0.0, 5.0])
        self.bucket = MemoryBucket(listing_delay=self.delay, clock=self.clock)
        self.wrapped = self.chance.random() < 0.5
        self.catalogue = self.chance.random() < 0.5
        self.rate = self.chance.choice([0.02, 0.05, 0.1])
        self.refused = 0
        self.written: list[Extent] = []  # writes since the last acknowledged backup
        self.cache = CacheFolder(root / "cache") if self.chance.random() < 0.5 else None

    def destination(self) -> ObjectStore:
        store: ObjectStore = MemoryStore(self.bucket)
        # Without a catalogue no check misses a backup that no listing shows; a store without the
        # wrapper has no library that repeats its requests.
        never = set() if self.catalogue else {Fault.LACKING_LIST}
        never |= set() if self.wrapped else {Fault.REPEATED}
        plan = seeded(self.chance, self.rate, never)
        store = FaultyStore(store, plan, self.leave_half)
        if self.wrapped:
            store = Retrying(store, Backoff(1.0, attempts=3), self.clock.wait)
        return SettledLists(store) if self.delay else store

    def leave_half(self, name: str, data: bytes) -> None:
        self.bucket.half_written.append(("a dead attempt", name, data))

    def open(self) -> Repository:
        self.clock.wait(self.delay)  # tasks follow each other; others lag in test_lists_that_lag
        opened = Repository.open(self.destination(), SECRET, self.cache)
        opened.listing_delay = self.delay
        return opened

    def clean(self, *arguments, **orders):
        return super().clean(*arguments, wait=self.clock.wait, **orders)

    def calm(self) -> Repository:
        """The repository as a later process without faults sees it."""
        self.clock.wait(self.delay)
        return Repository.open(MemoryStore(self.bucket), SECRET)

    def attempt(self, call: Callable[[], T]) -> T | None:
        """Repeat a task as the server does; None if the task fails for good."""
        for _ in range(TRIES):
            try:
                return call()
            except (BaseGone, Missing):
                return None
            except HaulbackError as error:
                if not error.retryable:
                    raise
                self.refused += 1
        return None

    def restores(self, backup: str) -> bool:
        found = self.calm()
        return restored(found, found.manifest(backup), self.pool) == self.held[backup].data

    def _back_up(self, base: Manifest | None, *, distrust: bool = False) -> str:
        self.written += self.disk.changed()
        changed = sorted(set(self.written)) if base else None
        root = base.disks[0].map if base else None
        parent = base.backup if base else None

        def exported() -> Draft:
            staging = self.root / "s"
            return export(self.open(), self.disk, staging, self.pool, root, changed, parent=parent)

        draft = self.attempt(exported)
        stored = draft and self.attempt(lambda: self.open().publish(self.root / "s", draft))
        if stored:
            self.last = self.keep(self.calm(), stored, bytes(self.disk.data))
            self.written.clear()
        return self.last


def begin(site: FaultySite) -> None:
    """Create the repository as a node does; a repeated INIT opens the one of an earlier INIT."""

    def init() -> Repository:
        try:
            return Repository.init(site.destination(), SECRET)
        except HaulbackError:
            return Repository.open(site.destination(), SECRET)

    rate, site.rate = site.rate, 0.1
    for _ in range(TRIES):
        try:
            init()
            break
        except HaulbackError as error:
            print(f"INIT is repeated: {error.message}")
    site.rate = rate
    site.disk = MemoryDisk(disk_of(1))


def follow(site: FaultySite, step: str) -> None:
    """A task on the destination, repeated while the destination fails."""
    expected = (lambda: list(site.held)) if site.catalogue else None
    if step == "full" or (step == "increment" and not site.last):
        site.full()
    elif step == "increment":
        base = site.held[site.last].manifest if site.last in site.held else None
        at = site.chance.randrange(250) * KIB
        site.disk.write_at(at, site.chance.randbytes(40 * KIB))
        site._back_up(base)
    elif step == "clean":
        site.attempt(lambda: site.clean(expected=expected))
    elif step == "forget" and len(site.held) > 1:
        gone = site.chance.choice(sorted(site.held.keys() - {site.last}))
        del site.held[gone]
        site.attempt(lambda: site.clean(forget=[gone], expected=expected))
    elif step == "merge":
        site.attempt(lambda: site.open().merge_index(site.room("m")))
    elif step == "verify":
        site.attempt(lambda: site.verify(record=True))
    elif step == "restore":
        for backup, held in site.held.items():
            result = site.attempt(lambda b=backup: restored_by(site, b))
            assert result in (None, held.data)


def restored_by(site: FaultySite, backup: str) -> bytes:
    """A backup's disk, read through the faults."""
    repository = site.open()
    return restored(repository, repository.manifest(backup), site.pool)


@pytest.mark.parametrize("seed", shares.cases("faults").seeds)
def test_whatever_fails_every_acknowledged_backup_restores(tmp_path, pool_of_two, seed):
    with limits(seed):
        site = FaultySite(tmp_path, pool_of_two, seed)
        told = f"seed {seed}, wrapped {site.wrapped}, lag {site.delay}, rate {site.rate}"
        begin(site)
        for _ in range(site.chance.randrange(6, 12)):
            step = site.chance.choice(STEPS)
            told += f", {step}"
            follow(site, step)
            assert site.restoring() == set(site.held), told
        print(told, f"; {len(site.held)} backups, {site.refused} refusals")
        clean_without_faults(site, told)


def clean_without_faults(site: FaultySite, told: str) -> None:
    """After the faults have ended, a clean-up and a verification find no damage."""
    site.rate = 0.0
    site.full()
    for _ in range(3 if site.delay else 2):
        site.clean(expected=lambda: list(site.held))
    assert site.restoring() == set(site.held), told
    report = verify(site.calm(), Depth.DATA, Resources(site.pool))
    assert report.ok, (told, report.findings)
