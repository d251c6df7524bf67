"""Things people keep: policies, rules, schedules, networks and the like, all in the same way."""

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
    SnapshotPolicy,
    SnapshotRule,
    Storage,
)
from haulback.wire import read

T = TypeVar("T", bound=Base)


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A record: `what` can be changed and sent back, `shown` is how the server shows it."""

    guid: str
    name: str
    what: T
    shown: dict[str, Any]


class Kind(Collection[Kept[T]]):
    """All records of one sort."""

    def __init__(self, calls: Calls, path: str, struct: type[T]) -> None:
        super().__init__(calls)
        self.path, self.struct = path, struct

    def page(self, page: int = 0, **query: Unpack[Narrowed]) -> Page[Kept[T]]:
        """One page, from 0, with the total."""
        sent = {"page": page, "size": 50, **query}
        found = self._calls.page(dict[str, Any], self.path, sent)
        return Page([self._kept(one) for one in found.rows], found.total)

    def all(self, **query: Unpack[Narrowed]) -> Iterator[Kept[T]]:
        """Every record, read page by page."""
        return map(self._kept, self._calls.each(dict[str, Any], self.path, {**query}))

    def get(self, guid: str) -> Kept[T]:
        """One record.  Raises NotFound."""
        return self._ask("GET", f"{self.path}/{guid}")

    def add(self, new: T) -> Kept[T]:
        """Add one."""
        return self._ask("POST", self.path, new)

    def change(self, guid: str, wanted: T) -> Kept[T]:
        """Replace it: what is absent becomes the default."""
        return self._ask("PUT", f"{self.path}/{guid}", wanted)

    def _ask(self, method: str, path: str, body: T | None = None) -> Kept[T]:
        return self._kept(self._calls.one(dict[str, Any], method, path, body))

    def _kept(self, shown: dict[str, Any]) -> Kept[T]:
        return Kept(shown["guid"], shown["name"], read(shown, self.struct, ""), shown)


class Networks(Kind[Managed]):
    """Networks, those of no manager too."""

    def shared(self) -> Iterator[Kept[Managed]]:
        """Networks that belong to no manager."""
        return map(self._kept, self._calls.each(dict[str, Any], f"{self.path}/shared", {}))


class Records:
    """All sorts of records."""

    def __init__(self, calls: Calls) -> None:
        self.backup_policies = Kind(calls, "/policies/vm-backup", Policy)
        self.snapshot_policies = Kind(calls, "/policies/vm-snapshot", SnapshotPolicy)
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
