"""Every present backup restores in two repositories, after any history of backups, copies,
clean-ups of both, and power failures.

HAULBACK_CASES=SEED:COUNT gives the first seed and the number of cases; by default tests/shares.py
selects them.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from haulback.errors import BaseGone, Damaged, NotFound
from haulback.ids import new_guid
from haulback.repository.manifest import Manifest
from haulback.testing.crash import CrashingDisk, PowerLost
from haulback.units import KIB, MIB
from tests import shares
from tests.unit.repository.scene import MemoryDisk
from tests.unit.repository.test_state_machine import LIMITS
from tests.unit.transfer.copy_site import CopySite

SIZE = 17 * MIB  # two leaves below an inner page
STEPS = 14
ORDINARY = 40  # histories of an ordinary run
HERE = ("first", "second")
SMALL = {
    "copy_groups._LACKING": 8,
    "copy_groups._CARRIED": 4,
    "portions.PORTION": 300 * KIB,
}  # many portions in a small copy


@pytest.mark.slow
def test_every_present_backup_restores_at_both_sides_after_any_history(
    tmp_path: Path, pool: ThreadPoolExecutor
):
    cases = shares.cases("copies")
    seeds = cases.seeds if cases.whole else cases.seeds[:ORDINARY]
    with ExitStack() as held:
        for name, value in LIMITS.items():
            held.enter_context(patch(f"haulback.repository.{name}", value))
        for name, value in SMALL.items():
            held.enter_context(patch(f"haulback.transfer.{name}", value))
        for seed in seeds:
            folder = tmp_path / str(seed)
            folder.mkdir()
            history = History(folder, pool, seed)
            try:
                history.run()
            except BaseException as error:
                error.add_note(f"HAULBACK_CASES={seed}:1; {' / '.join(history.told)}")
                raise
            shutil.rmtree(folder)


class History:
    """Two repositories, two machines, and the backups that are present in each."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor, seed: int) -> None:
        self.chance = random.Random(seed)
        self.site = CopySite(root, pool, family=self.chance.random() < 0.85)
        self.disks = [MemoryDisk(bytes(SIZE)) for _ in range(2)]
        for disk in self.disks:
            self._write(disk, 700 * KIB)
        self.last: list[Manifest | None] = [None, None]
        self.present: dict[str, dict[str, Manifest]] = {"first": {}, "second": {}}
        self.machine: dict[str, int] = {}
        self.told: list[str] = []

    def run(self) -> None:
        steps = [self._back_up] * 4 + [self._copy] * 5 + [self._copy_back, self._cut_copy]
        steps += [self._forget] * 2 + [self._clean] * 3
        for _ in range(STEPS):
            step = self.chance.choice(steps)
            self.told.append(step.__name__.strip("_"))
            step()
        self._check()

    def _write(self, disk: MemoryDisk, size: int) -> None:
        at = self.chance.choice((0, MIB - 5000, 16 * MIB + 7))
        disk.write_at(at, self.chance.randbytes(min(size, SIZE - at)))

    def _back_up(self) -> None:
        number = self.chance.randrange(2)
        disk, base = self.disks[number], self.last[number]
        self._write(disk, self.chance.choice((30, 200, 500)) * KIB)
        is_full = base is None or base.backup not in self.present["first"]
        made = self.site.back_up(disk, None if is_full or self.chance.random() < 0.2 else base)
        self.last[number] = made
        self.present["first"][made.backup] = made
        self.machine[made.backup] = number

    def _copy(self, route: tuple[str, str] = HERE, disk: CrashingDisk | None = None) -> None:
        source, target = route
        if not self.present[source]:
            return
        backup = self.chance.choice(list(self.present[source].values()))
        number, guid = self.machine[backup.backup], new_guid()
        alike = [m for m in self.present[target].values() if self.machine[m.backup] == number]
        older = self.chance.choice([*alike, None])
        with suppress(NotFound, BaseGone, Damaged):
            confirm = self._meanwhile(route, backup)
            if disk:
                self._crash(lambda: self.site.copy(backup, older, guid, disk=disk), disk)
            older = older if older and older.backup in self.present[target] else None
            made = self.site.copy(backup, older, guid, confirm=confirm, route=route).manifest
            self.present[target][made.backup] = made
            self.machine[made.backup] = number
            assert self.site.restores(target, made)
            return
        # A copy fails only if its source, or data that it would reuse, was removed meanwhile.
        assert self.told[-1].startswith("meanwhile"), "a copy failed by itself"

    def _copy_back(self) -> None:
        self._copy(("second", "first"))

    def _cut_copy(self) -> None:
        """A copy that is interrupted by a power failure, and repeated under the same guid."""
        self._copy(disk=CrashingDisk(self.chance.randint(1, 120), self.chance.randrange(1 << 30)))

    def _crash(self, act: Callable[[], object], disk: CrashingDisk) -> None:
        try:
            act()
        except PowerLost:
            disk.drop_unsynced()

    def _meanwhile(self, route: tuple[str, str], backup: Manifest) -> Callable[[], None]:
        """Other tasks between the steps of a copy: clean-ups, and removals before them."""
        plan = {self.chance.randint(1, 6) for _ in range(self.chance.randint(0, 2))}
        calls = 0

        def confirm() -> None:
            nonlocal calls
            calls += 1
            if calls not in plan:
                return
            side = self.chance.choice(route)
            self.told.append(f"meanwhile on {side}")
            if self.chance.random() < 0.5:
                self._forget_one(side)
            pins = frozenset({"copy"}) if self.chance.random() < 0.6 else frozenset()
            self.site.clean(side, pins)

        return confirm

    def _forget(self) -> None:
        self._forget_one(self.chance.choice(HERE))

    def _forget_one(self, side: str) -> None:
        if self.present[side]:
            guid = self.chance.choice(list(self.present[side]))
            self.site.forget(side, self.present[side].pop(guid))

    def _clean(self) -> None:
        self.site.clean(self.chance.choice(HERE))

    def _check(self) -> None:
        for side, backups in self.present.items():
            for backup in backups.values():
                assert self.site.restores(side, backup), (side, backup.backup)
