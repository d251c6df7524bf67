"""Configuration records: policies, rules, schedules, networks and others, one interface for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Unpack

from haulback.client.calls import Calls, Collection, Narrowed, Page
from haulback.inventory.kept import (
    Base,
    Managed,
    Manager,
    NodeConfig,
    Policy,
    Project,
    RecoveryPlan,
    Rule,
    Schedule,
    SnapshotRule,
    Storage,
)
from haulback.wire import read

T = TypeVar("T", bound=Base)


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A record: `what` is the struct to change and send back, `shown` the server's full JSON."""

    guid: str
    name: str
    what: T
    shown: dict[str, Any]


class Kind(Collection[Kept[T]]):
    """All records of one type."""

    def __init__(self, calls: Calls, path: str, struct: type[T]) -> None:
        super().__init__(calls)
        self.path, self.struct = path, struct

    def page(self, page: int = 0, **query: Unpack[Narrowed]) -> Page[Kept[T]]:
        """Fetch one page of 50 records with the total; pages count from 0."""
        sent = {"page": page, "size": 50, **query}
        found = self._calls.page(dict[str, Any], self.path, sent)
        return Page([self._kept(one) for one in found.rows], found.total)

    def all(self, **query: Unpack[Narrowed]) -> Iterator[Kept[T]]:
        """Yield every record, fetched page by page."""
        return map(self._kept, self._calls.each(dict[str, Any], self.path, {**query}))

    def get(self, guid: str) -> Kept[T]:
        """Fetch one record by guid. Raises NotFound."""
        return self._ask("GET", f"{self.path}/{guid}")

    def add(self, new: T) -> Kept[T]:
        """Create a record."""
        return self._ask("POST", self.path, new)

    def change(self, guid: str, wanted: T) -> Kept[T]:
        """Replace a record; missing members get their defaults."""
        return self._ask("PUT", f"{self.path}/{guid}", wanted)

    def _ask(self, method: str, path: str, body: T | None = None) -> Kept[T]:
        return self._kept(self._calls.one(dict[str, Any], method, path, body))

    def _kept(self, shown: dict[str, Any]) -> Kept[T]:
        return Kept(shown["guid"], shown["name"], read(shown, self.struct, ""), shown)


class Networks(Kind[Managed]):
    """Networks, including those that belong to no hypervisor manager."""

    def shared(self) -> Iterator[Kept[Managed]]:
        """Yield the networks that belong to no hypervisor manager."""
        return map(self._kept, self._calls.each(dict[str, Any], f"{self.path}/shared", {}))


class Records:
    """All types of configuration records."""

    def __init__(self, calls: Calls) -> None:
        self.backup_policies = Kind(calls, "/policies/vm-backup", Policy)
        self.snapshot_policies = Kind(calls, "/policies/vm-snapshot", Policy)
        self.recovery_plans = Kind(calls, "/policies/recovery-plan", RecoveryPlan)
        self.rules = Kind(calls, "/rules/vm-backup", Rule)
        self.snapshot_rules = Kind(calls, "/rules/vm-snapshot", SnapshotRule)
        self.schedules = Kind(calls, "/schedules", Schedule)
        self.node_configs = Kind(calls, "/node-configs", NodeConfig)
        self.projects = Kind(calls, "/projects", Project)
        self.managers = Kind(calls, "/hypervisor-managers", Manager)
        self.clusters = Kind(calls, "/hypervisor-clusters", Managed)
        self.storages = Kind(calls, "/hypervisor-storages", Storage)
        self.flavors = Kind(calls, "/virtual-machine-flavors", Managed)
        self.networks = Networks(calls, "/network", Managed)
