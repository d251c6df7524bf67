"""Power may fail at every write, fsync and link of a copy: the next attempt completes it."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from haulback.ids import new_guid
from haulback.testing.crash import CrashingDisk, PowerLost
from haulback.units import KIB, MIB
from tests.unit.repository.scene import MemoryDisk, noise
from tests.unit.transfer.copy_site import CopySite


@pytest.mark.slow
def test_a_copy_is_completed_by_the_next_attempt_wherever_power_fails(tmp_path, pool):
    site = CopySite(tmp_path, pool)
    disk = MemoryDisk(bytes(17 * MIB))
    disk.write_at(0, noise(900 * KIB, 1))
    backup = site.back_up(disk)
    failed, done = 0, False
    limits = {"copy_groups._LACKING": 6, "copy_groups._CARRIED": 2, "portions.PORTION": 300 * KIB}
    patches = [patch(f"haulback.transfer.{k}", v) for k, v in limits.items()]
    for limit in patches:
        limit.start()
    try:
        while not done:
            site.new_target()
            io = CrashingDisk(fail_at=failed * 3 + 1, seed=failed)
            guid = new_guid()
            try:
                site.copy(backup, guid=guid, disk=io)
                done = True
            except PowerLost:
                failed += 1
                io.drop_unsynced()
            made = site.copy(backup, guid=guid).manifest
            assert site.restores("second", made), f"operation {failed}"
    finally:
        for limit in patches:
            limit.stop()
    assert failed > 10
