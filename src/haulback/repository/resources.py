"""The resources that long operations on a repository share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from haulback.durable_files import DurableFiles

Meter = Callable[[int], None]


def unmetered(count: int) -> None:
    """The default meter, which counts nothing."""


def _always_running() -> None:
    """The default confirmation, for work whose attempt cannot end early."""


@dataclass(frozen=True)
class Resources:
    """The resources of a long operation.

    `pool` runs the decoding and encoding of groups.  `meter` gets numbers of bytes as the operation
    proceeds.  `confirm` raises if the attempt of the operation has ended; a writing operation calls
    it before every step that others can see.
    """

    pool: ThreadPoolExecutor
    disk: DurableFiles = field(default_factory=DurableFiles)
    meter: Meter = unmetered
    confirm: Callable[[], None] = _always_running
