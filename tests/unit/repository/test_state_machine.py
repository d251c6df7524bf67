"""All backups restore after any order of machines, backups, merges, sweeps and power losses."""

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
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from haulback.destinations.folder import Folder
from haulback.drivers.source import Extent
from haulback.errors import Damaged, NotFound
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from haulback.testing.crash import CrashingDisk, PowerLost
from haulback.units import KIB, MIB
from tests import shares
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, export, noise, restored

# Small limits, so that a short history reaches full packs, spilled sessions and repeated merges.
LIMITS = {
    "writer.PACK_BYTES": 512 * KIB,
    "writer._NEW_CHUNKS_IN_MEMORY": 8,
    "index_tiers.FAN_IN": 2,
}
SIZES = (0, 1, 300 * KIB + 7, MIB, 2 * MIB + 513, 17 * MIB + 77)
LENGTHS = (1, 511, 4096, 64 * KIB, 300 * KIB)

machines = st.integers(0, 2)
seeds = st.integers(0, 5)
failing = st.one_of(st.none(), st.integers(1, 60))


def dice():
    """A reproducible random source; one per size, because the pool's threads only ask for
    nonces.
    """
    by_size = {}
    return lambda size: by_size.setdefault(size, random.Random(size)).randbytes(size)


class Machine:
    """A machine as a caller of the product sees it: its disk, last backup and waiting export."""

    def __init__(self, size: int, staging: Path) -> None:
        self.disk = MemoryDisk(noise(min(size, MIB), size).ljust(size, b"\0"))
        self.staging = staging
        self.base, self.since = None, []  # the last stored manifest, the writes after it
        self.waiting, self.later = None, []  # (backup, data) exported, the writes after that

    def note(self, offset: int, length: int) -> None:
        self.since.append((offset, offset + length))
        self.later.append((offset, offset + length))

    def changed(self, block: int) -> list[Extent]:
        """The extents written since the last stored backup, rounded to blocks."""
        spans = []
        for low, high in sorted(self.since):
            low, high = low // block * block, min(-(-high // block) * block, self.disk.size)
            if spans and low <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(high, spans[-1][1]))
            elif low < high:
                spans.append((low, high))
        return [Extent(low, high - low) for low, high in spans]


class Life(RuleBasedStateMachine):
    """The state machine: rules are the possible events; `stored` are the backups that must
    restore.
    """

    @initialize(sizes=st.tuples(*[st.sampled_from(SIZES)] * 3))
    def begin(self, sizes):
        self.patches = [patch(f"haulback.repository.{k}", v) for k, v in LIMITS.items()]
        self.patches.append(patch("os.urandom", dice()))
        for limit in self.patches:
            limit.start()
        self.temp = TemporaryDirectory()
        self.root, self.pool = Path(self.temp.name), ThreadPoolExecutor(2)
        for name in ("d", "m"):
            (self.root / name).mkdir()
        self.machines = [Machine(size, self.root / str(i)) for i, size in enumerate(sizes)]
        self.stored = {}
        self.repository = Repository.init(Folder(self.root / "d"), SECRET)

    @rule(
        machine=machines, at=st.integers(0, 18 * MIB), length=st.sampled_from(LENGTHS), seed=seeds
    )
    def write(self, machine, at, length, seed):
        """Write; seed 0 writes zeros, and equal seeds on all machines make them share chunks."""
        machine = self.machines[machine]
        at = at % max(machine.disk.size, 1)
        length = min(length, machine.disk.size - at)
        machine.disk.write_at(at, noise(length, seed) if seed else bytes(length))
        machine.note(at, length)

    @rule(machine=machines, size=st.sampled_from(SIZES))
    def resize(self, machine, size):
        machine = self.machines[machine]
        low, high = sorted((machine.disk.size, size))
        machine.disk.data = machine.disk.data[:size].ljust(size, b"\0")
        machine.note(low, high - low)

    @rule(machine=machines, fail_at=failing, seed=seeds)
    def full(self, machine, fail_at, seed):
        self.export(self.machines[machine], CrashingDisk(fail_at, seed), None, None)

    @rule(machine=machines, fail_at=failing, seed=seeds, block=st.sampled_from([1, 4096, 65536]))
    def increment(self, machine, fail_at, seed, block):
        machine = self.machines[machine]
        if machine.base:
            base, changed = machine.base.disks[0].map, machine.changed(block)
            self.export(machine, CrashingDisk(fail_at, seed), base, changed)

    @rule(machine=machines, fail_at=failing, seed=seeds)
    def increment_without_tracking(self, machine, fail_at, seed):
        machine = self.machines[machine]
        if machine.base:
            self.export(machine, CrashingDisk(fail_at, seed), machine.base.disks[0].map, None)

    def export(self, machine, io, base, changed):
        """Export; a waiting export is dropped, and a dying export may leave a complete draft."""
        backup, data = str(uuid.uuid4()), bytes(machine.disk.data)
        machine.waiting = None
        machine.disk.read = 0
        with self.power(io):
            export(
                self.repository, machine.disk, machine.staging, self.pool, base, changed, io, backup
            )
        try:
            self.repository.read_draft(machine.staging, backup)
        except (NotFound, Damaged):
            assert io.fail_at
        else:
            machine.waiting, machine.later = (backup, data), []

    @rule(machine=machines, at=st.integers(0, 18 * MIB), seed=seeds)
    def back_up_in_peace(self, machine, at, seed):
        """Write, export and store without an interruption."""
        self.write(machine, at, 64 * KIB, seed)
        if self.machines[machine].base:
            self.increment(machine, None, seed, 4096)
        else:
            self.full(machine, None, seed)
        self.store_waiting(self.machines[machine], CrashingDisk())

    @rule(machine=machines, fail_at=st.one_of(st.none(), st.integers(1, 25)), seed=seeds)
    def store(self, machine, fail_at, seed):
        waiting = [machine for machine in self.machines if machine.waiting]
        if waiting:
            self.store_waiting(waiting[machine % len(waiting)], CrashingDisk(fail_at, seed))

    def store_waiting(self, machine, io):
        """Publish repeatedly until all steps are done; `waiting` stays until then."""
        backup, data = machine.waiting
        with self.power(io):
            draft = self.repository.read_draft(machine.staging, backup)
            self.repository.publish(machine.staging, draft)
            self.repository.merge_index(machine.staging, io)
            shutil.rmtree(machine.staging)
            machine.waiting = None
        if machine.waiting is None or self.exists(backup):
            manifest = self.stored.setdefault(backup, (self.repository.manifest(backup), data))[0]
            machine.base, machine.since = manifest, list(machine.later)

    @rule(fail_at=failing, seed=seeds)
    def merge(self, fail_at, seed):
        io = CrashingDisk(fail_at, seed)
        with self.power(io):
            self.repository.merge_index(self.root / "m", io)

    @rule(fail_at=failing, seed=seeds)
    def sweep(self, fail_at, seed):
        with self.power(CrashingDisk(fail_at, seed)):
            self.repository.sweep_index()

    @contextmanager
    def power(self, io):
        """Send all durable writes through `io`; the power fails at the end in any case."""
        self.repository.destination.disk = io
        with suppress(PowerLost):
            yield
        io.drop_unsynced()
        self.repository = Repository.open(Folder(self.root / "d"), SECRET)

    def exists(self, backup):
        return any(found.backup == backup for found in self.repository.backups())

    @rule(choice=st.integers(0, 1000))
    def restore(self, choice):
        for manifest, data in list(self.stored.values())[choice % max(len(self.stored), 1) :][:1]:
            assert restored(self.repository, manifest, self.pool) == data

    @rule(depth=st.sampled_from(Depth))
    def verify(self, depth):
        report = verify(self.repository, depth, Resources(self.pool))
        assert report.ok, report.findings

    @invariant()
    def the_listing_is_what_was_stored(self):
        found = {manifest.backup: manifest for manifest in self.repository.backups()}
        assert found == {backup: manifest for backup, (manifest, _) in self.stored.items()}

    def everything_restores(self):
        self.verify(Depth.DATA)
        for manifest, data in self.stored.values():
            assert restored(self.repository, manifest, self.pool) == data

    def teardown(self):
        if hasattr(self, "temp"):
            try:
                self.everything_restores()
            finally:
                self.pool.shutdown()
                self.temp.cleanup()
                for limit in self.patches:
                    limit.stop()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=shares.cases("histories").count, stateful_step_count=40)
