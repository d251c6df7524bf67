"""Things people keep: policies, rules, schedules, networks and the like, all in the same way.

A new sort of record is a struct that says what it holds, and a line in `_SORTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.kept import (
    Base,
    Managed,
    Manager,
    NodeConfig,
    Policy,
    Project,
    RecoveryPlan,
    Role,
    Rule,
    Schedule,
    SnapshotRule,
    Sort,
    Storage,
)
from haulback.inventory.records import Record
from haulback.kinds.table import KINDS
from haulback.server.http import lists, ownership, queries
from haulback.server.http.operation import GUID, Call, Param, Reply, Room
from haulback.server.store import shelves, tables
from haulback.server.store.catalogue import SqlCatalogue, add, change
from haulback.server.store.stock import SEEN
from haulback.tasks.queue import is_limit
from haulback.wire import Word

_LONGEST_WINDOW = 31 * 86_400_000
room = Room()


Check = Callable[[Any, SqlCatalogue], None]


class _Kept(NamedTuple):
    """A sort of record: where it is served, its kind, its struct, its parent's member and kind."""

    path: str
    kind: str
    struct: type[Base]
    parent: tuple[str, str] | None = None
    check: Check | None = None


def _check_config(wanted: NodeConfig, known: SqlCatalogue) -> None:
    for name, count in wanted.limits.items():
        if not is_limit(name):
            raise Malformed(f"limits: {name[:40]!r} is no lane to limit", field="limits")
        if not 1 <= count <= 100_000:
            raise Malformed(f"limits.{name}: at least 1", field=f"limits.{name}")
    for name, length in wanted.windows.items():
        if name not in KINDS:
            raise Malformed(f"windows: {name[:40]!r} is no type of task", field="windows")
        if not 1000 <= length <= _LONGEST_WINDOW:
            raise Malformed(f"windows.{name}: ms, at most 31 days", field=f"windows.{name}")


def _check_rule(wanted: Rule, known: SqlCatalogue) -> None:
    for one in wanted.ruleBackupDestinations:
        known.destination(one.backupDestination.guid)
    if len([1 for one in wanted.ruleBackupDestinations if one.roleType is Role.PRIMARY]) > 1:
        raise Malformed("ruleBackupDestinations: one PRIMARY only", field="ruleBackupDestinations")


def _check_snapshot_rule(wanted: SnapshotRule, known: SqlCatalogue) -> None:
    for name, most in (("retentionVersions", 1000), ("retentionDays", 36_500)):
        value = getattr(wanted, name)
        if value is not None and not 1 <= value <= most:
            raise Malformed(f"{name}: 1 to {most}", field=name)


def _check_schedule(wanted: Schedule, known: SqlCatalogue) -> None:
    kind = "snapshot-rule" if wanted.type is Sort.VM_SNAPSHOT else "rule"
    for ref in wanted.rules:
        known.changeable(kind, ref.guid)  # a schedule fires its rules for all of their machines
    day = range(86_400_000)
    if wanted.hour is not None and wanted.hour not in day:
        raise Malformed("hour: ms from midnight UTC", field="hour")
    if wanted.startWindowLength is not None and wanted.startWindowLength < 1000:
        raise Malformed("startWindowLength: ms, at least 1000", field="startWindowLength")


def _check_policy(wanted: Policy, known: SqlCatalogue) -> None:
    for name in ("Export", "Store"):
        field = f"failRemainingBackupTasks{name}Threshold"
        value = getattr(wanted, field)
        if value is not None and not 0 <= value <= 100:
            raise Malformed(f"{field}: percent, 0 to 100", field=field)
    _check_priority(wanted, known)


def _check_priority(wanted: Policy | RecoveryPlan, known: SqlCatalogue) -> None:
    if not 0 <= wanted.priority <= 100:
        raise Malformed("priority: between 0 and 100", field="priority")


def _check_plan(wanted: RecoveryPlan, known: SqlCatalogue) -> None:
    _check_priority(wanted, known)
    for rule in wanted.rules:
        known.entities_of([ref.guid for ref in rule.protectedEntities])
        if rule.hypervisor:
            known.hypervisor(rule.hypervisor.guid)


_MANAGER = ("hypervisorManager", "hypervisor-manager")
_SORTS = (
    _Kept("/node-configs", "node-config", NodeConfig, check=_check_config),
    _Kept("/hypervisor-managers", "hypervisor-manager", Manager),
    _Kept("/hypervisor-clusters", "hypervisor-cluster", Managed, _MANAGER),
    _Kept("/hypervisor-storages", "hypervisor-storage", Storage, _MANAGER),
    _Kept("/network", "network", Managed, _MANAGER),
    _Kept("/virtual-machine-flavors", "flavor", Managed, _MANAGER),
    _Kept("/projects", "project", Project),
    _Kept("/policies/vm-backup", "vm-backup", Policy, check=_check_policy),
    _Kept("/policies/vm-snapshot", "vm-snapshot", Policy, check=_check_policy),
    _Kept("/policies/recovery-plan", "recovery-plan", RecoveryPlan, check=_check_plan),
    _Kept("/rules/vm-backup", "rule", Rule, ("policy", "vm-backup"), _check_rule),
    _Kept(
        "/rules/vm-snapshot",
        "snapshot-rule",
        SnapshotRule,
        ("policy", "vm-snapshot"),
        _check_snapshot_rule,
    ),
    _Kept("/schedules", "schedule", Schedule, check=_check_schedule),
)
# What holds on to a record: it cannot be removed while one of these names it.
_HELD = {
    "hypervisor-manager": ("hypervisor-cluster", "hypervisor-storage", "network", "flavor"),
    "vm-backup": ("rule",),
    "vm-snapshot": ("snapshot-rule",),
}
_RULES = {kind: rules[0] for kind, rules in _HELD.items() if kind.startswith("vm-")}


class Kept(msgspec.Struct):
    """A record as it is shown: guid, name, and what its sort holds."""

    guid: str
    name: str


def _declare(sort: _Kept) -> None:
    path, one = sort.path, f"{sort.path}/{{guid}}"
    what = sort.kind.replace("-", " ")
    parent = sort.parent[1] if sort.parent else None
    filters = (Param(parent, f"Of this {parent.replace('-', ' ')}.", GUID),) if parent else ()

    @room("GET", path, f"All of: {what}.", answer=Kept, many=True, query=(*filters, *lists.COMMON))
    def show_all(call: Call) -> Reply:
        wanted = lists.wanted(call, parent=queries.guid(call, parent) if parent else None)
        with call.app.store.read() as sql:
            found, total = shelves.kept(sql, sort.kind, wanted)
            known = SqlCatalogue(sql)
            return lists.page(found, total, lambda record: _shown(record, sort, known))

    @room("GET", one, f"One {what}.", answer=Kept)
    def show(call: Call) -> dict[str, Any]:
        with call.app.store.read() as sql:
            known = SqlCatalogue(sql, call.who.scope)
            return _shown(known.record(sort.kind, call.guid), sort, known)

    @room("POST", path, f"Add a {what}.", request=sort.struct, answer=Kept, status=201)
    def make(call: Call) -> dict[str, Any]:
        with call.app.change(call.who, f"add {what}") as done:
            known = SqlCatalogue(done.sql, call.who.scope)
            record = _record(call, sort, known)
            record.created = record.modified = done.now
            add(done.sql, tables.record, record)
            done.subject, done.after = record.guid, record
            return _shown(record, sort, known)

    @room("PUT", one, f"Change a {what}.", request=sort.struct, answer=Kept)
    def put(call: Call) -> dict[str, Any]:
        with call.app.change(call.who, f"change {what}", call.guid) as done:
            known = SqlCatalogue(done.sql, call.who.scope)
            before = known.changeable(sort.kind, call.guid)
            record = _record(call, sort, known, before)
            record.created, record.modified = before.created, done.now
            record.body |= {k: before.body[k] for k in SEEN if k in before.body}
            change(done.sql, tables.record, record)
            if record.project != before.project:
                ownership.hand_down(done.sql, record)
            done.before, done.after = before, record
            return _shown(record, sort, known)

    @room("DELETE", one, f"Remove a {what}.", status=204)
    def remove(call: Call) -> None:
        with call.app.change(call.who, f"remove {what}", call.guid) as done:
            known = SqlCatalogue(done.sql, call.who.scope)
            done.before = known.changeable(sort.kind, call.guid)
            _check_unused(known, sort, call.guid)
            table = tables.record
            done.sql.execute(sa.delete(table).where(table.c.guid == call.guid))


def _check_unused(known: SqlCatalogue, sort: _Kept, guid: str) -> None:
    for kind in _HELD.get(sort.kind, ()):
        for one in known.records(kind, guid):
            raise Conflict(
                f"the {kind.replace('-', ' ')} {one.name} belongs to it; remove it first"
            )
    if sort.kind == "hypervisor-manager":
        for hypervisor in known.hypervisors():
            if hypervisor.settings.get("hypervisorManager") == guid:
                raise Conflict(f"the hypervisor {hypervisor.name} belongs to it; move it first")


def _record(call: Call, sort: _Kept, known: SqlCatalogue, before: Record | None = None) -> Record:
    """What a request wants kept.  Raises Malformed or NotFound."""
    wanted: Base = call.read(sort.struct)
    if not 0 < len(wanted.name.strip()) <= 200 or not wanted.name.isprintable():
        raise Malformed("name: 1 to 200 printable characters", field="name")
    if sort.check:
        sort.check(wanted, known)
    above = None
    if sort.parent and (ref := getattr(wanted, sort.parent[0])):
        above = known.record(sort.parent[1], ref.guid)
    owner = ownership.owner(call.who.scope, wanted, before, above)
    body = msgspec.to_builtins(wanted)
    apart = ("name", "project", sort.parent[0] if sort.parent else "")
    return Record(
        guid=before.guid if before else new_guid(),
        kind=sort.kind,
        name=wanted.name,
        parent=above.guid if above else "",
        project=owner,
        body={k: v for k, v in body.items() if k not in apart and v is not None},
    )


def _shown(record: Record, sort: _Kept, known: SqlCatalogue) -> dict[str, Any]:
    """A record with its enums and references as portals read them."""
    shown: dict[str, Any] = {"guid": record.guid, "name": record.name}
    shown |= {"project": record.project} if record.project is not None else {}
    for field in msgspec.structs.fields(sort.struct):
        if field.name in record.body:
            shown[field.name] = _member(record.body[field.name], field.type)
    if sort.parent and record.parent:
        above = known.record(sort.parent[1], record.parent)
        shown[sort.parent[0]] = {"guid": above.guid, "name": above.name}
    if kind := _RULES.get(sort.kind):
        rules = known.records(kind, record.guid)
        shown["rules"] = [{"guid": one.guid, "name": one.name} for one in rules]
        shown["rules"] = [{**one, "markedForDeletion": False} for one in shown["rules"]]
    return shown


def _member(value: Any, kind: Any) -> Any:
    """Enums leave as objects, whatever they lie in."""
    if kind is Word or (isinstance(kind, type) and issubclass(kind, Enum)):
        return {"name": value, "description": str(value).replace("_", " ").capitalize()}
    if isinstance(value, list):
        inner = getattr(kind, "__args__", (Any,))[0]
        return [_member(one, inner) for one in value]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        types = {field.name: field.type for field in msgspec.structs.fields(kind)}
        return {k: _member(v, types.get(k)) for k, v in value.items() if v is not None}
    return value


for _sort in _SORTS:
    _declare(_sort)


@room("GET", "/network/shared", "Networks of no manager.", answer=Kept, many=True,
      query=lists.COMMON)  # fmt: skip
def shared_networks(call: Call) -> Reply:
    """Networks that belong to no manager."""
    sort = next(one for one in _SORTS if one.kind == "network")
    with call.app.store.read() as sql:
        found = SqlCatalogue(sql).records("network", "")
        found = [one for one in found if call.who.scope.shares(one.project)]
        known = SqlCatalogue(sql)
        return lists.page(found, len(found), lambda record: _shown(record, sort, known))
