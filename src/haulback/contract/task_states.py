"""Task states."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """The contract's five task states; the internal state PLANNED is only shown in workflows."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in FINAL


PLANNED = "PLANNED"
FINAL = frozenset({State.FINISHED, State.FAILED, State.CANCELLED})
