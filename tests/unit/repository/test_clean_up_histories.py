"""Present backups restore after any order of backups, deletions, merges, clean-ups and crashes."""

import os
import random
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from haulback.destinations.add_only import AddOnly
from haulback.destinations.folder import Folder
from haulback.durable_files import DurableFiles
from haulback.errors import BaseGone
from haulback.repository.backup_loss import check_backup
from haulback.repository.compaction import plan_compaction
from haulback.repository.garbage_collection import clean_up
from haulback.repository.index_tiers import due
from haulback.repository.merge import MergePlan, merge
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.scan import scan_completing_index
from haulback.repository.verify import Depth, verify
from haulback.testing.crash import CrashingDisk, PowerLost
from haulback.units import KIB, MIB
from tests import shares
from tests.conftest import SECRET
from tests.unit.repository.scene import export, noise, restored
from tests.unit.repository.test_state_machine import LIMITS, Machine, dice

SIZES = (1, 700 * KIB, MIB + 513, 17 * MIB + 77)

machines = st.integers(0, 2)
seeds = st.integers(0, 3)
failing = st.one_of(st.none(), st.none(), st.integers(1, 120))
# Actions of other tasks: the call to the destination before which each runs, and the action.
MEANWHILE = ("full", "increment", "store", "back up", "forget", "merge", "lose export")
meanwhile = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from(MEANWHILE), machines, seeds), max_size=4
)


class Shared(Folder):
    """A destination that other tasks use between two calls."""

    def __init__(self, root, disk=None, plan=(), watch=None):
        super().__init__(root, disk)
        self.calls, self.plan, self.watch = 0, dict(plan), watch

    def next(self):
        self.calls += 1
        if what := self.plan.pop(self.calls, None):
            what()
        if self.watch:
            self.watch()

    def store(self, name, data):
        self.next()
        super().store(name, data)

    def adopt(self, name, path):
        self.next()
        super().adopt(name, path)

    def load(self, name, offset=0, length=None):
        self.next()
        return super().load(name, offset, length)

    def info(self, name):
        self.next()
        return super().info(name)

    def list(self, prefix):
        self.next()
        return super().list(prefix)

    def delete(self, name):
        self.next()
        super().delete(name)


class Cleaning(RuleBasedStateMachine):
    """A model of clean-ups; `present` are the backups that are PRESENT in the catalogue."""

    @initialize(sizes=st.tuples(*[st.sampled_from(SIZES)] * 3))
    def begin(self, sizes):
        self.patches = [patch(f"haulback.repository.{k}", v) for k, v in LIMITS.items()]
        self.patches.append(patch("os.urandom", dice()))
        chance = "haulback.repository.pack_verification.SystemRandom"
        self.patches.append(patch(chance, lambda: random.Random(0)))
        for limit in self.patches:
            limit.start()
        self.temp = TemporaryDirectory()
        self.root, self.pool = Path(self.temp.name), ThreadPoolExecutor(2)
        for name in ("d", "m", "c"):
            (self.root / name).mkdir()
        Repository.init(Folder(self.root / "d"), SECRET)
        self.machines = [Machine(size, self.root / str(i)) for i, size in enumerate(sizes)]
        self.present, self.unfinished = {}, set()
        self.at_work = set()  # machines during an export, a store or a merge
        self.merged = None
        self.set_up()

    def set_up(self):
        """The initial state for machines with more rules."""

    def open(self, io=None, plan=(), add_only=True, watch=None):
        shared = Shared(self.root / "d", io, plan, watch)
        return Repository.open(AddOnly(shared) if add_only else shared, SECRET)

    def pins(self):
        """The pins: an export pins until its store ends; each machine has the same name for
        both.
        """
        waiting = {str(m.waiting[0]) for m in self.machines if m.waiting}
        return (
            waiting
            | {str(machine) for machine in self.at_work}
            | ({"merge"} if self.merged else set())
        )

    def others(self, plan):
        """Calls of other tasks at given moments."""
        return [
            (at, lambda what=what, i=i, seed=seed: self.do(what, self.machines[i], seed))
            for at, what, i, seed in plan
        ]

    def do(self, subject, machine, seed):
        """Run a whole action of another task; a machine in use is skipped."""
        if machine.staging.name in self.at_work:
            return
        if subject == "full":
            self.export(machine, None, seed)
        elif subject == "increment":
            self.export(machine, machine.base, seed)
        elif subject == "store":
            self.store_waiting(machine)
        elif subject == "back up":
            self.export(machine, machine.base, seed)
            self.store_waiting(machine)
        elif subject == "forget":
            self.forget(seed)
        elif subject == "merge":
            self.merge()
        else:
            machine.waiting = None

    def forget(self, choice):
        for backup in sorted(self.present)[choice % max(len(self.present), 1) :][:1]:
            del self.present[backup]
            Repository.open(Folder(self.root / "d"), SECRET).forget(backup)

    def merge(self):
        """Begin a merge, or finish the running one: any action may come between."""
        repository = self.open()
        if self.merged:
            path, self.merged = self.merged, None
            repository.destination.adopt(f"index/{path.stem}", path)
        elif segments := due(repository.index().segments):
            names = {segment.name for segment in segments}
            names.update(name for segment in segments for name in segment.replaces)
            self.merged = merge(
                MergePlan(segments, sorted(names)),
                self.root / "m",
                repository.keys,
                DurableFiles(),
            )

    def export(self, machine, base, seed, io=None, plan=()):
        """Write and export; only the store moves the checkpoint."""
        if machine.staging.name in self.at_work:
            return
        length = min(200 * KIB, machine.disk.size)
        at = seed * 300 * KIB % max(machine.disk.size - length, 1)
        machine.disk.write_at(at, noise(length, seed))
        machine.note(at, length)
        if base is not None and base.backup not in self.present:
            base = None
        backup, data = str(uuid.UUID(bytes=os.urandom(16))), bytes(machine.disk.data)
        machine.waiting = None
        with self.working(machine), suppress(BaseGone), self.power(io):
            export(
                self.open(io, plan),
                machine.disk,
                machine.staging,
                self.pool,
                base.disks[0].map if base else None,
                machine.changed(4096) if base else None,
                io,
                backup,
                base.backup if base else None,
            )
            machine.waiting, machine.later = (backup, data), []

    def store_waiting(self, machine, io=None, plan=()):
        """Store, and repeat after power failures; stop if the store demands a new export."""
        if not machine.waiting or machine.staging.name in self.at_work:
            return
        backup, data = machine.waiting
        with self.working(machine), self.power(io):
            repository = self.open(io, plan)
            draft = repository.read_draft(machine.staging, backup)
            self.unfinished.add(backup)
            try:
                manifest = repository.publish(machine.staging, draft, io)
            except BaseGone:
                machine.waiting = None
                return
            self.unfinished.discard(backup)
            self.present[backup] = (manifest, data)
            machine.base, machine.since = manifest, list(machine.later)
            machine.waiting = None
            repository.merge_index(machine.staging, io)

    @contextmanager
    def working(self, machine):
        self.at_work.add(machine.staging.name)
        try:
            yield
        finally:
            self.at_work.discard(machine.staging.name)

    @contextmanager
    def power(self, io):
        """Finally, lose all data that was not synced."""
        with suppress(PowerLost):
            yield
        if io:
            io.drop_unsynced()

    def clean(self, io=None, plan=(), watched=False):
        shutil.rmtree(self.root / "c")
        (self.root / "c").mkdir()
        watch = self.what_is_present_restores if watched else None
        repository = self.open(io, plan, False, watch)
        with self.power(io):
            resources = Resources(self.pool, io or DurableFiles())
            return clean_up(repository, self.root / "c", self.pins, resources)

    @rule(machine=machines, seed=seeds)
    def back_up_in_peace(self, machine, seed):
        self.do("back up", self.machines[machine], seed)

    @rule(machine=machines, fail_at=failing, seed=seeds, full=st.booleans(), plan=meanwhile)
    def exporting(self, machine, fail_at, seed, full, plan):
        machine = self.machines[machine]
        base = None if full else machine.base
        self.export(machine, base, seed, CrashingDisk(fail_at, seed), self.others(plan))

    @rule(
        machine=machines,
        fail_at=failing,
        seed=seeds,
        at=st.integers(1, 40),
        plan=meanwhile,
    )
    def storing_while_a_clean_up_runs(self, machine, fail_at, seed, at, plan):
        others = [(at, lambda: self.clean(None, self.others(plan)))]
        self.store_waiting(self.machines[machine], CrashingDisk(fail_at, seed), others)

    @rule(machine=machines, fail_at=st.integers(1, 40), seed=seeds)
    def storing(self, machine, fail_at, seed):
        self.store_waiting(self.machines[machine], CrashingDisk(fail_at, seed))

    @rule(choice=st.integers(0, 5))
    def forgetting(self, choice):
        self.forget(choice)

    @rule(machine=machines)
    def losing_an_export(self, machine):
        self.machines[machine].waiting = None

    @rule()
    def merging(self):
        self.merge()

    @rule(fail_at=failing, seed=seeds, plan=meanwhile, watched=st.booleans())
    def cleaning(self, fail_at, seed, plan, watched):
        self.clean(CrashingDisk(fail_at, seed), self.others(plan), watched)

    @precondition(lambda self: not self.unfinished)
    @rule()
    def verifying(self):
        report = verify(self.open(), Depth.DATA, Resources(self.pool))
        assert report.ok, report.findings

    @invariant()
    def what_is_present_restores(self):
        repository = self.open()
        for backup in self.present:
            check_backup(repository, backup, thorough=False)

    def everything_restores(self):
        repository = self.open()
        for manifest, data in self.present.values():
            assert restored(repository, manifest, self.pool) == data

    def space_comes_back(self):
        for machine in self.machines:
            machine.waiting = None
        self.merged = None
        for backup in self.unfinished:
            Repository.open(Folder(self.root / "d"), SECRET).forget(backup)
        for _ in range(2):
            assert self.clean().damaged == []
        look = scan_completing_index(self.open(), self.root / "c", Resources(self.pool))
        assert sorted(look.backups) == sorted(self.present)
        assert look.packs.keys() == look.index.packs()
        worth = plan_compaction(look.mark)
        assert not (worth.dead | worth.thin).any()
        graves = [item.name for item in self.open().destination.list("graves")]
        assert graves in ([], ["graves/needs-haulback-revision-2"])
        assert len(list(self.open().destination.list("index"))) == len(look.index.segments)

    def teardown(self):
        if hasattr(self, "temp"):
            try:
                self.everything_restores()
                self.space_comes_back()
                self.everything_restores()
                report = verify(self.open(), Depth.DATA, Resources(self.pool))
                assert report.ok, report.findings
            finally:
                self.end()

    def end(self):
        self.pool.shutdown()
        self.temp.cleanup()
        for limit in self.patches:
            limit.stop()


TestCleaning = Cleaning.TestCase
TestCleaning.settings = settings(
    max_examples=shares.cases("histories").count, stateful_step_count=30
)
