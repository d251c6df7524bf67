"""Requests of /hypervisor-managers, and of the records that belong to a manager."""

from __future__ import annotations

from haulback.contract.records import PolicyRecord
from haulback.wire import Ref, Word


class Manager(PolicyRecord, kw_only=True):
    """A hypervisor manager."""

    url: str = ""
    type: Word = Word("")


class ManagedRecord(PolicyRecord, kw_only=True):
    """A record that belongs to a hypervisor manager."""

    uuid: str = ""
    hypervisorManager: Ref | None = None


class Storage(ManagedRecord, kw_only=True):
    """A hypervisor storage; spaces in bytes."""

    clusters: list[Ref] = []
    totalAvailableSpace: int | None = None
    totalUsedSpace: int | None = None
