"""The resources that long operations on a repository share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from haulback.durable_files import DurableFiles

Meter = Callable[[int], None]


def unmetered(count: int) -> None:
    """The default meter: counts nothing."""


def _always_running() -> None:
    """The default confirmation: no attempt can have ended."""


@dataclass(frozen=True)
class Resources:
    """The resources of a long operation.

    `pool` runs the decoding and encoding of groups.  `meter` gets numbers of bytes as the operation
    proceeds.  `confirm` raises when the attempt that the operation belongs to has ended; a writing
    operation calls `confirm` before every step that others see.
    """

    pool: ThreadPoolExecutor
    disk: DurableFiles = field(default_factory=DurableFiles)
    meter: Meter = unmetered
    confirm: Callable[[], None] = _always_running
