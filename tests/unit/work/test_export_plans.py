"""The plan of an export is counted, for any number of changed places."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

from haulback.drivers.hypervisor import DiskView
from haulback.drivers.source import Extent
from haulback.units import KIB
from haulback.work.export import plan_of

COUNT = 20_000


class Scattered:
    """Every second block of a disk."""

    def __iter__(self) -> Iterator[Extent]:
        return (Extent(number * 128 * KIB, 64 * KIB) for number in range(COUNT))


def test_many_changed_places_take_no_memory():
    disk: Any = None
    peaks = []
    for _ in range(3):  # threads of earlier tests may take memory during one of the measurements
        tracemalloc.start()
        plan = plan_of(DiskView(disk, disk, Scattered(), None))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert plan.bytes == COUNT * 64 * KIB
    assert "changed in 20000 extents" in plan.text
    assert min(peaks) < 16 * KIB
