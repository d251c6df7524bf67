"""Configuration records: policies, rules, schedules, networks and others, one interface for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, Unpack

from haulback.client.calls import Calls, Collection, ListFilters, Page
from haulback.contract.credentials import Credential
from haulback.contract.mailing_lists import MailingList
from haulback.contract.managers import ManagedRecord, Manager, Storage
from haulback.contract.nodes import NodeConfig
from haulback.contract.notifications import NotificationChannel, NotificationRule
from haulback.contract.policies import (
    AnyPolicy,
    AssignmentPreview,
    Policy,
    Rule,
    SnapshotPolicy,
    SnapshotRule,
)
from haulback.contract.projects import Project
from haulback.contract.records import PolicyRecord
from haulback.contract.recovery_plans import RecoveryPlan
from haulback.contract.schedules import Schedule
from haulback.wire import JsonObject, read

T = TypeVar("T", bound=PolicyRecord)
P = TypeVar("P", bound=AnyPolicy)


@dataclass(frozen=True)
class ClientRecord(Generic[T]):
    """A record: `what` is the struct to change and send back, `shown` is the server's full JSON."""

    guid: str
    name: str
    what: T
    shown: JsonObject


class RecordCollection(Collection[ClientRecord[T]]):
    """All records of one type."""

    def __init__(self, calls: Calls, path: str, struct: type[T]) -> None:
        super().__init__(calls)
        self.path, self.struct = path, struct

    def page(self, page: int = 0, **query: Unpack[ListFilters]) -> Page[ClientRecord[T]]:
        """Fetch one page of 50 records with the total; pages count from 0."""
        sent = {"page": page, "size": 50, **query}
        found = self._calls.page(JsonObject, self.path, sent)
        return Page([self._kept(one) for one in found.rows], found.total)

    def all(self, **query: Unpack[ListFilters]) -> Iterator[ClientRecord[T]]:
        """Yield every record, fetched page by page."""
        return map(self._kept, self._calls.each(JsonObject, self.path, {**query}))

    def get(self, guid: str) -> ClientRecord[T]:
        """Fetch one record by guid. Raises NotFound."""
        return self._request("GET", f"{self.path}/{guid}")

    def add(self, new: T) -> ClientRecord[T]:
        """Create a record."""
        return self._request("POST", self.path, new)

    def change(self, guid: str, wanted: T) -> ClientRecord[T]:
        """Replace a record; missing members get their defaults."""
        return self._request("PUT", f"{self.path}/{guid}", wanted)

    def _request(self, method: str, path: str, body: T | None = None) -> ClientRecord[T]:
        return self._kept(self._calls.one(JsonObject, method, path, body))

    def _kept(self, shown: JsonObject) -> ClientRecord[T]:
        return ClientRecord(shown["guid"], shown["name"], read(shown, self.struct, ""), shown)


class Policies(RecordCollection[P]):
    """Policies of one type, with previews of their auto-assignment."""

    def preview(self, wanted: P, guid: str | None = None) -> AssignmentPreview:
        """The machines that a policy would take and lose; `guid` of a stored policy, or None."""
        path = f"{self.path}/{guid}" if guid else self.path
        return self._calls.one(AssignmentPreview, "POST", f"{path}/auto-assignment-preview", wanted)


class Networks(RecordCollection[ManagedRecord]):
    """Networks, including those that belong to no hypervisor manager."""

    def shared(self) -> Iterator[ClientRecord[ManagedRecord]]:
        """Yield the networks that belong to no hypervisor manager."""
        return map(self._kept, self._calls.each(JsonObject, f"{self.path}/shared", {}))


class Records:
    """All types of configuration records."""

    def __init__(self, calls: Calls) -> None:
        self.backup_policies = Policies(calls, "/policies/vm-backup", Policy)
        self.snapshot_policies = Policies(calls, "/policies/vm-snapshot", SnapshotPolicy)
        self.recovery_plans = RecordCollection(calls, "/policies/recovery-plan", RecoveryPlan)
        self.rules = RecordCollection(calls, "/rules/vm-backup", Rule)
        self.snapshot_rules = RecordCollection(calls, "/rules/vm-snapshot", SnapshotRule)
        self.schedules = RecordCollection(calls, "/schedules", Schedule)
        self.node_configs = RecordCollection(calls, "/node-configs", NodeConfig)
        self.projects = RecordCollection(calls, "/projects", Project)
        self.managers = RecordCollection(calls, "/hypervisor-managers", Manager)
        self.clusters = RecordCollection(calls, "/hypervisor-clusters", ManagedRecord)
        self.storages = RecordCollection(calls, "/hypervisor-storages", Storage)
        self.flavors = RecordCollection(calls, "/virtual-machine-flavors", ManagedRecord)
        self.mailing_lists = RecordCollection(calls, "/mailing-lists", MailingList)
        self.credentials = RecordCollection(calls, "/credential", Credential)
        self.channels = RecordCollection(calls, "/notification-channels", NotificationChannel)
        self.notification_rules = RecordCollection(calls, "/notification-rules", NotificationRule)
        self.networks = Networks(calls, "/network", ManagedRecord)
