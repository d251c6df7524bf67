"""Tables of sizes for reports and chargeback: bytes of backups by group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.reports import GroupBy, GroupSize, Measure, SizeFilter, SizeTable
from haulback.errors import Malformed
from haulback.inventory.managers import cluster_of, manager_of
from haulback.server.scope import Scope
from haulback.server.store import lists, report_figures
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.report_figures import LargestGroups, ReportedBackups, SizeGroup
from haulback.wire import Label, Ref

_MOST_GUIDS = 10_000  # values in one list of a filter; databases limit the values of a statement
_NAMES = {choice.value: choice for choice in GroupBy} | {
    "destination": GroupBy.BACKUP_DESTINATION,
    "policy": GroupBy.BACKUP_POLICY,
    "cluster": GroupBy.HYPERVISOR_CLUSTER,
    "manager": GroupBy.HYPERVISOR_MANAGER,
    "vm": GroupBy.VIRTUAL_MACHINE,
}
_COLUMNS = {
    GroupBy.BACKUP_DESTINATION: "destination",
    GroupBy.BACKUP_POLICY: "rule",
    GroupBy.PROJECT: "project",
}
_RECORDS = {
    GroupBy.BACKUP_POLICY: "vm-backup",
    GroupBy.HYPERVISOR_CLUSTER: "hypervisor-cluster",
    GroupBy.HYPERVISOR_MANAGER: "hypervisor-manager",
}
_NONE = {GroupBy.BACKUP_POLICY: "without policy", GroupBy.PROJECT: "without project"}


class ReportSpan(NamedTuple):
    """The moments (epoch ms) between which backups were made, and the type of their machines."""

    start: int
    end: int
    entity_type: str = "VM"


def group_by(wanted: SizeFilter, field: str = "") -> GroupBy:
    """The noun by which a table is grouped; `field` is the path of the filter.  Raises
    Malformed.
    """
    path = f"{field}groupBy"
    text = str(wanted.groupBy or GroupBy.VIRTUAL_MACHINE.value)
    noun = _NAMES.get(text.strip().lower().replace("_", "-"))
    if noun is None:
        known = ", ".join(choice.value for choice in GroupBy)
        raise Malformed(f"{path}: {text[:40]!r} is not one of {known}", field=path)
    return noun


class SizeReading:
    """Tables of sizes from one transaction, within the projects that a caller sees."""

    def __init__(self, sql: Connection, scope: Scope) -> None:
        self._sql, self._scope = sql, scope
        self._records = SqlCatalogue(sql, scope).records
        self._hosts = {host.guid: host for host in lists.places(sql, Hypervisor)}
        rules = self._records.of_kind("rule")
        self._policies = {rule.guid: rule.parent for rule in rules}

    def policy_of(self, rule: str) -> str:
        """The guid of the policy of a rule, "" for a rule that no longer exists."""
        return self._policies.get(rule, "")

    def table(
        self, span: ReportSpan, wanted: SizeFilter, measure: Measure, most: int, field: str = ""
    ) -> SizeTable:
        """The `most` largest groups by size, then a row for the remainder.

        `field` is the path of the filter in the request.  Raises Malformed.
        """
        by, backups = group_by(wanted, field), self.chosen(span, wanted, field)
        if by is GroupBy.VIRTUAL_MACHINE:
            largest = report_figures.by_machine(self._sql, backups, measure, most)
            named = report_figures.names(self._sql, [group.key for group in largest.groups])
        else:
            largest = _largest(self._groups(by, backups, measure), most)
            named = self._names(by)
        rows = [_row(by, group, named) for group in largest.groups]
        if largest.others:
            rest = largest.total - sum(row.size for row in rows)
            rows.append(GroupSize(name=f"{largest.others} others", size=rest))
        words = by.value.replace("-", " ").capitalize()
        return SizeTable(groupBy=Label(by.value, words), total=largest.total, groups=rows)

    def chosen(self, span: ReportSpan, wanted: SizeFilter, field: str = "") -> ReportedBackups:
        """The backups that a filter selects.  Raises Malformed for a list that is too long."""
        return ReportedBackups(
            scope=self._scope,
            span=range(span.start, span.end + 1),
            entity_type=span.entity_type,
            destinations=_guids(wanted, "backupDestinationGuids", field),
            rules=self._rules(_guids(wanted, "backupPolicyGuids", field)),
            hypervisors=self._hypervisors(wanted, field),
            projects=self._projects(_guids(wanted, "projectGuids", field)),
            machines=_guids(wanted, "virtualMachineGuids", field),
        )

    def _groups(self, by: GroupBy, backups: ReportedBackups, measure: Measure) -> list[SizeGroup]:
        if column := _COLUMNS.get(by):
            found = report_figures.by_column(self._sql, backups, measure, column)
            return _folded(found, self.policy_of) if column == "rule" else found
        found = report_figures.by_hypervisor(self._sql, backups, measure)
        if by is GroupBy.HYPERVISOR:
            return found
        place_of = cluster_of if by is GroupBy.HYPERVISOR_CLUSTER else manager_of
        return _folded(found, lambda host: place_of(self._hosts[host]))

    def _names(self, by: GroupBy) -> dict[str, str]:
        """The names of the groups of a noun by key."""
        if by is GroupBy.BACKUP_DESTINATION:
            return {place.guid: place.name for place in lists.places(self._sql, BackupDestination)}
        if by is GroupBy.HYPERVISOR:
            return {host.guid: host.name for host in self._hosts.values()}
        if by is GroupBy.PROJECT:
            tenants = self._records.of_kind("project")
            return {str(tenant.body.get("uuid")): tenant.name for tenant in tenants}
        return {record.guid: record.name for record in self._records.of_kind(_RECORDS[by])}

    def _rules(self, policies: list[str] | None) -> list[str] | None:
        if policies is None:
            return None
        wanted = set(policies)
        return [rule for rule, policy in self._policies.items() if policy in wanted]

    def _hypervisors(self, wanted: SizeFilter, field: str) -> list[str] | None:
        """The hypervisors that every given list of hypervisors, clusters and managers contains."""
        lists_of = (
            (_guids(wanted, "hypervisorGuids", field), lambda host: host.guid),
            (_guids(wanted, "hypervisorClusterGuids", field), cluster_of),
            (_guids(wanted, "hypervisorManagerGuids", field), manager_of),
        )
        given = [(set(guids), place_of) for guids, place_of in lists_of if guids is not None]
        if not given:
            return None
        return [
            host.guid
            for host in self._hosts.values()
            if all(place_of(host) in guids for guids, place_of in given)
        ]

    def _projects(self, wanted: list[str] | None) -> list[str] | None:
        """The uuids of projects; portals send the guid of the record or the tenant's own uuid."""
        if wanted is None:
            return None
        tenants = {
            item.guid: str(item.body.get("uuid")) for item in self._records.of_kind("project")
        }
        return [tenants.get(guid.lower(), guid) for guid in wanted]


def _guids(wanted: SizeFilter, name: str, field: str) -> list[str] | None:
    """A list of a filter, None for an empty list.  Raises Malformed for a list that is too long."""
    given: list[Ref | str] = getattr(wanted, name)
    if len(given) > _MOST_GUIDS:
        path = f"{field}{name}"
        raise Malformed(f"{path}: send at most {_MOST_GUIDS} guids", field=path)
    return [item.guid if isinstance(item, Ref) else item for item in given] or None


def _folded(groups: Iterable[SizeGroup], key_of: Callable[[str], str]) -> list[SizeGroup]:
    """Groups merged into larger groups, with the sums of their sizes."""
    sums: dict[str, int] = {}
    for group in groups:
        key = key_of(group.key)
        sums[key] = sums.get(key, 0) + group.size
    return [SizeGroup(key, size) for key, size in sums.items()]


def _largest(groups: Iterable[SizeGroup], most: int) -> LargestGroups:
    ordered = sorted(groups, key=lambda group: (-group.size, group.key))
    total = sum(group.size for group in ordered)
    return LargestGroups(ordered[:most], len(ordered[most:]), total)


def _row(by: GroupBy, group: SizeGroup, named: Mapping[str, str]) -> GroupSize:
    """A group in the form of answers; a project without a record is shown by its uuid."""
    name = named.get(group.key) or (group.key if by is GroupBy.PROJECT else "")
    known = bool(group.key) and group.key in named
    return GroupSize(
        name=name or _NONE.get(by, "deleted"), size=group.size, guid=group.key if known else None
    )
