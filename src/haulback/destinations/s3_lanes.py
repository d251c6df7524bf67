"""The limits of requests and bandwidth that all tasks of a process share for a bucket."""

from __future__ import annotations

from threading import BoundedSemaphore, Lock
from typing import NamedTuple

from haulback.contract.destination_types import S3Settings
from haulback.destinations.bandwidth import RateTable, Throttle


class Lane(NamedTuple):
    """The limits that all tasks of this process share for a destination."""

    slots: BoundedSemaphore
    throttle: Throttle
    creating: Lock


_lanes: dict[tuple[object, ...], Lane] = {}
_lanes_lock = Lock()


def lane_of(settings: S3Settings) -> Lane:
    """The lane of a destination; all stores with these settings share one lane."""
    key = (settings.endpoint, settings.bucket, settings.prefix, settings.parallelism)
    with _lanes_lock:
        return _lanes.setdefault(
            (*key, settings.bandwidth),
            Lane(
                BoundedSemaphore(settings.parallelism),
                Throttle(RateTable(settings.bandwidth)),
                Lock(),
            ),
        )
