"""Things people keep: policies, rules, schedules, networks and the like, all in the same way.

A new sort of record is a struct that says what it holds, and a line in `_SORTS`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple, Union, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import sqlalchemy as sa

from haulback.contract import example_values as example
from haulback.contract.managers import Managed, Manager, Storage
from haulback.contract.nodes import NodeConfig
from haulback.contract.policies import (
    AnyPolicy,
    DestinationRole,
    Policy,
    Rule,
    RuleRetention,
    SnapshotPolicy,
    SnapshotRule,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.projects import Project
from haulback.contract.records import PolicyRecord, ShownRecord
from haulback.contract.recovery_plans import RecoveryPlan
from haulback.contract.roles import ADMINS, PEOPLE
from haulback.contract.schedules import Day, Month, Schedule, Sort
from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.managers import SEEN, cluster_of, manager_of
from haulback.inventory.records import Record
from haulback.kinds.registry import KINDS
from haulback.server.http import manager_views, ownership, paging, policy_views, query_params
from haulback.server.http.operation import GUID, ApiRequest, Param, Reply, Router
from haulback.server.http.policy_views import Surroundings
from haulback.server.queries import ListQuery
from haulback.server.services import policies
from haulback.server.services.policies import PolicyMembers
from haulback.server.store import lists, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.rows import add, change
from haulback.tasks.scheduling import is_limit
from haulback.wire import Word, parse

_LONGEST_WINDOW = 31 * 86_400_000
room = Router()


Check = Callable[[Any, SqlCatalogue], None]


class _Kept(NamedTuple):
    """A sort of record: its path, kind and struct, and the member and kind of its parent.

    `change` limits narrowed callers that add, change or remove records; `more` are members of the
    example beside its name.
    """

    path: str
    kind: str
    struct: type[PolicyRecord]
    parent: tuple[str, str] | None = None
    check: Check | None = None
    change: ProjectAccess = ProjectAccess.CHANGE
    more: Mapping[str, Any] = {}

    @property
    def example(self) -> dict[str, Any]:
        """A request to add a record."""
        return {"name": "new", **self.more}


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
    field = "ruleBackupDestinations"
    for one in wanted.ruleBackupDestinations:
        if one.backupDestination.guid:
            known.places.destination(one.backupDestination.guid)
        _check_retention(one.backupRetentionSettings or RuleRetention())
        days = one.daysToKeepRetentionLock
        if days is not None and not 0 <= days <= 36_500:
            raise Malformed(f"{field}: daysToKeepRetentionLock: 0 to 36500 days", field=field)
    primary = [
        one for one in wanted.ruleBackupDestinations if one.roleType is DestinationRole.PRIMARY
    ]
    if len(primary) > 1:
        raise Malformed(f"{field}: one PRIMARY only", field=field)
    if wanted.ruleBackupDestinations and not any(one.backupDestination.guid for one in primary):
        raise Malformed(f"{field}: choose a backup destination for PRIMARY", field=field)


def _check_retention(wanted: RuleRetention) -> None:
    for name in RuleRetention.__struct_fields__:
        value = getattr(wanted, name)
        if value is not None and value < 0:
            field = f"backupRetentionSettings.{name}"
            raise Malformed(f"{field}: at least 0", field=field)


def _check_snapshot_rule(wanted: SnapshotRule, known: SqlCatalogue) -> None:
    for name, most in (("retentionVersions", 1000), ("retentionDays", 36_500)):
        value = getattr(wanted, name)
        if value is not None and not 1 <= value <= most:
            raise Malformed(f"{name}: 1 to {most}", field=name)


def _check_schedule(wanted: Schedule, known: SqlCatalogue) -> None:
    kind = "snapshot-rule" if wanted.type is Sort.VM_SNAPSHOT else "rule"
    for ref in wanted.rules:
        known.records.changeable(
            kind, ref.guid
        )  # a schedule fires its rules for all of their machines
    day = range(86_400_000)
    if wanted.hour is not None and wanted.hour not in day:
        raise Malformed("hour: ms from midnight UTC", field="hour")
    if wanted.startWindowLength is not None and wanted.startWindowLength < 1000:
        raise Malformed("startWindowLength: ms, at least 1000", field="startWindowLength")

    try:
        ZoneInfo(wanted.timeZone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Malformed("timeZone: name an IANA time zone, like UTC", field="timeZone") from None


def _check_policy(wanted: AnyPolicy, known: SqlCatalogue) -> None:
    for name in ("Export", "Store"):
        field = f"failRemainingBackupTasks{name}Threshold"
        value = getattr(wanted, field)
        if value is not None and not 0 <= value <= 100:
            raise Malformed(f"{field}: percent, 0 to 100", field=field)
    if not 0 <= wanted.backupRetryCount <= 100:
        raise Malformed("backupRetryCount: between 0 and 100", field="backupRetryCount")
    _check_priority(wanted, known)


def _check_priority(wanted: AnyPolicy | RecoveryPlan, known: SqlCatalogue) -> None:
    if not 0 <= wanted.priority <= 100:
        raise Malformed("priority: between 0 and 100", field="priority")


def _check_plan(wanted: RecoveryPlan, known: SqlCatalogue) -> None:
    _check_priority(wanted, known)
    for rule in wanted.rules:
        known.machines.get_many([ref.guid for ref in rule.protectedEntities])
        if rule.hypervisor:
            known.places.hypervisor(rule.hypervisor.guid)


_MANAGER = ("hypervisorManager", "hypervisor-manager")
_SHARED = ProjectAccess.WHOLE  # records of all projects
_SORTS = (
    _Kept("/node-configs", "node-config", NodeConfig, check=_check_config, change=_SHARED),
    _Kept("/hypervisor-managers", "hypervisor-manager", Manager, change=_SHARED),
    _Kept("/hypervisor-clusters", "hypervisor-cluster", Managed, _MANAGER, change=_SHARED),
    _Kept("/hypervisor-storages", "hypervisor-storage", Storage, _MANAGER, change=_SHARED),
    _Kept("/network", "network", Managed, _MANAGER, change=_SHARED),
    _Kept("/virtual-machine-flavors", "flavor", Managed, _MANAGER, change=_SHARED),
    _Kept("/projects", "project", Project, change=_SHARED, more={"uuid": "px"}),
    _Kept("/policies/vm-backup", "vm-backup", Policy, check=_check_policy),
    _Kept("/policies/vm-snapshot", "vm-snapshot", SnapshotPolicy, check=_check_policy),
    _Kept(
        "/policies/recovery-plan",
        "recovery-plan",
        RecoveryPlan,
        check=_check_plan,
        more={"rules": [{"name": "all", "protectedEntities": [example.REF]}]},
    ),
    _Kept(
        "/rules/vm-backup",
        "rule",
        Rule,
        ("policy", "vm-backup"),
        _check_rule,
        more={"policy": {"vm-backup": example.GUID, "guid": example.GUID}},
    ),
    _Kept(
        "/rules/vm-snapshot",
        "snapshot-rule",
        SnapshotRule,
        ("policy", "vm-snapshot"),
        _check_snapshot_rule,
        more={"policy": {"vm-snapshot": example.GUID, "guid": example.GUID}},
    ),
    _Kept("/schedules", "schedule", Schedule, check=_check_schedule, more={"rules": [example.REF]}),
)
# What holds on to a record: it cannot be removed while one of these names it.
_HELD = {
    "hypervisor-manager": ("hypervisor-cluster", "hypervisor-storage", "network", "flavor"),
}


_FILTERS: dict[str, tuple[Param, ...]] = {
    "schedule": (
        Param("type", "Of these types.", {"enum": sorted(Sort.__members__)}, many=True),
        paging.ENTITY,
    ),
    "hypervisor-manager": (
        Param("backup-to-be-restored", "With a host of its machine's platform.", GUID),
    ),
}


def _declare(sort: _Kept) -> None:
    what = sort.kind.replace("-", " ")
    _declare_reading(sort, what)
    _declare_writing(sort, sort.path, f"{sort.path}/{{guid}}", what)


def _filters(sort: _Kept) -> tuple[Param, ...]:
    """Query parameters that choose records of a sort."""
    parent = sort.parent[1] if sort.parent else None
    filters: tuple[Param, ...] = (
        (Param(parent, f"Of this {parent.replace('-', ' ')}.", GUID),) if parent else ()
    )
    return filters + _FILTERS.get(sort.kind, ())


def _declare_reading(sort: _Kept, what: str) -> None:
    @room(
        "GET",
        sort.path,
        f"All of: {what}.",
        roles=PEOPLE,
        projects=ProjectAccess.USE,
        answer=ShownRecord,
        many=True,
        query=(*_filters(sort), *paging.COMMON),
    )
    def show_all(call: ApiRequest) -> Reply:
        with call.app.store.read() as sql:
            around = Surroundings(sql, call.who.scope)
            wanted = _wanted(call, sort, around)
            found, total = lists.kept(sql, sort.kind, wanted)
            return paging.page(found, total, lambda record: _shown(record, sort, around))

    @room(
        "GET",
        f"{sort.path}/{{guid}}",
        f"One {what}.",
        roles=PEOPLE,
        projects=ProjectAccess.USE,
        answer=ShownRecord,
    )
    def show(call: ApiRequest) -> dict[str, Any]:
        with call.app.store.read() as sql:
            around = Surroundings(sql, call.who.scope)
            return _shown(around.known.records.get(sort.kind, call.guid), sort, around)


def _declare_writing(sort: _Kept, path: str, one: str, what: str) -> None:
    @room(
        "POST",
        path,
        f"Add a {what}.",
        roles=ADMINS,
        projects=sort.change,
        request=sort.struct,
        answer=ShownRecord,
        status=201,
        examples=[sort.example],
    )
    def make(call: ApiRequest) -> dict[str, Any]:
        with call.app.change(call.who, f"add {what}") as done:
            known = SqlCatalogue(done.sql, call.who.scope)
            record = _record(call, sort, known)
            record.created = record.modified = done.now
            add(done.sql, tables.record, record)
            members = PolicyMembers(done.sql, call.who.scope, done.now)
            _keep_apart(call, sort, members, record, fresh=True)
            done.subject, done.after = record.guid, record
            return _shown(record, sort, Surroundings(done.sql, call.who.scope))

    @room(
        "PUT",
        one,
        f"Change a {what}.",
        roles=ADMINS,
        projects=sort.change,
        request=sort.struct,
        answer=ShownRecord,
        examples=[sort.example],
    )
    def put(call: ApiRequest) -> dict[str, Any]:
        with call.app.change(call.who, f"change {what}", call.guid) as done:
            known = SqlCatalogue(done.sql, call.who.scope)
            before = known.records.changeable(sort.kind, call.guid)
            record = _record(call, sort, known, before)
            record.created, record.modified = before.created, done.now
            record.body |= {k: before.body[k] for k in (*SEEN, "derived") if k in before.body}
            change(done.sql, tables.record, record)
            members = PolicyMembers(done.sql, call.who.scope, done.now)
            if record.project != before.project:
                ownership.hand_down(done.sql, record)
                if sort.kind in policies.OWNED:
                    members.handed_over(record)
            _keep_apart(call, sort, members, record, fresh=False)
            done.before, done.after = before, record
            return _shown(record, sort, Surroundings(done.sql, call.who.scope))

    @room("DELETE", one, f"Remove a {what}.", roles=ADMINS, projects=sort.change, status=204)
    def remove(call: ApiRequest) -> None:
        with call.app.change(call.who, f"remove {what}", call.guid) as done:
            done.before = _remove(call, sort, PolicyMembers(done.sql, call.who.scope, done.now))


def _remove(call: ApiRequest, sort: _Kept, keeper: PolicyMembers) -> Record:
    """Remove a record with the records that belong to it.  Raises NotFound, Conflict, Forbidden."""
    found = keeper.known.records.changeable(sort.kind, call.guid)
    _check_unused(keeper.known, sort, call.guid)
    if sort.kind in policies.OWNED:
        keeper.without_policy(found)
    if sort.kind in policies.RULES:
        keeper.without_rule(found)
    keeper.sql.execute(sa.delete(tables.record).where(tables.record.c.guid == call.guid))
    return found


def _wanted(call: ApiRequest, sort: _Kept, around: Surroundings) -> ListQuery:
    """The part of a list that a query asks for.  Raises Malformed, NotFound."""
    parent = query_params.guid(call, sort.parent[1]) if sort.parent else None
    wanted = paging.wanted(call, parent=parent)
    if sort.kind == "schedule":
        chosen = query_params.names(call, "type", set(Sort.__members__))
        wanted.only = policy_views.wanted_schedules(around, chosen, wanted.entity)
    if sort.kind == "hypervisor-manager" and (
        backup := query_params.guid(call, "backup-to-be-restored")
    ):
        wanted.only = manager_views.managers_for(around.known, backup)
    if sort.parent == _MANAGER and parent:
        wanted.only = manager_views.beneath(around.known, sort.kind, parent)
        wanted.parent = None
    return wanted


def _check_unused(known: SqlCatalogue, sort: _Kept, guid: str) -> None:
    for kind in _HELD.get(sort.kind, ()):
        for one in known.records.of_kind(kind, guid):
            if one.body.get("derived"):
                continue
            raise Conflict(
                f"the {kind.replace('-', ' ')} {one.name} belongs to it; remove it first"
            )
    place_of = {"hypervisor-manager": manager_of, "hypervisor-cluster": cluster_of}.get(sort.kind)
    for hypervisor in known.places.hypervisors() if place_of else ():
        if place_of and place_of(hypervisor) == guid:
            raise Conflict(f"the hypervisor {hypervisor.name} belongs to it; move it first")


def _record(
    call: ApiRequest, sort: _Kept, known: SqlCatalogue, before: Record | None = None
) -> Record:
    """What a request wants kept.  Raises Malformed or NotFound."""
    wanted: PolicyRecord = call.read(sort.struct)
    _check(wanted, sort, known)
    above = None
    if sort.parent and (ref := getattr(wanted, sort.parent[0])):
        above = known.records.get(sort.parent[1], ref.guid)
    elif sort.parent and sort.kind in policies.RULES and before and before.parent:
        above = known.records.get(sort.parent[1], before.parent)  # a rule stays with its policy
    return Record(
        guid=before.guid if before else new_guid(),
        kind=sort.kind,
        name=wanted.name,
        parent=above.guid if above else "",
        project=ownership.owner(call.who.scope, wanted, before, above),
        body=policies.body_of(wanted, sort.parent[0] if sort.parent else None),
    )


def _check(wanted: PolicyRecord, sort: _Kept, known: SqlCatalogue) -> None:
    if not 0 < len(wanted.name.strip()) <= 200 or not wanted.name.isprintable():
        raise Malformed("name: 1 to 200 printable characters", field="name")
    if sort.check:
        sort.check(wanted, known)


def _keep_apart(
    call: ApiRequest, sort: _Kept, keeper: PolicyMembers, record: Record, *, fresh: bool
) -> None:
    """Keep the members of a request that belong to other records.

    Raises Malformed, NotFound, Conflict.
    """
    sent = parse(call.body)
    if sort.kind in policies.RULES:
        keeper.fired_by(record.guid, call.read(sort.struct).schedules)
    if (owned := policies.OWNED.get(sort.kind)) is None:
        return
    wanted = call.read(sort.struct)
    if wanted.vms is not None:
        keeper.members(record, wanted.vms)
    if wanted.rules is not None:
        of_rules = next(one for one in _SORTS if one.kind == owned.kind)
        keeper.rules(
            record, sent["rules"], lambda rule, known: _check(rule, of_rules, known), fresh=fresh
        )


def shown_record(record: Record, around: Surroundings) -> dict[str, Any]:
    """A record of any sort as portals read it."""
    return _shown(record, next(one for one in _SORTS if one.kind == record.kind), around)


def _shown(record: Record, sort: _Kept, around: Surroundings) -> dict[str, Any]:
    """A record with its enums and references as portals read them."""
    shown: dict[str, Any] = {"guid": record.guid, "name": record.name}
    shown |= {"project": record.project} if record.project is not None else {}
    for field in msgspec.structs.fields(sort.struct):
        if field.name in record.body:
            shown[field.name] = _member(record.body[field.name], field.type)
    if sort.parent and record.parent:
        name = around.name(sort.parent[1], record.parent)
        shown[sort.parent[0]] = {"guid": record.parent, "name": name}
    if owned := policies.OWNED.get(sort.kind):
        rules = around.known.records.of_kind(owned.kind, record.guid)
        rules.sort(key=lambda one: (one.body.get("position", 0), one.name))
        shown["rules"] = [shown_record(one, around) for one in rules]
        policy_views.policy(shown, record, around)
    if sort.kind in policies.RULES:
        fired = around.schedules_of(record.guid)
        shown["schedules"] = [shown_record(one, around) for one in fired]
        policy_views.rule(shown, record, around)
    if sort.kind == "schedule":
        policy_views.schedule(shown, record, around)
    if view := manager_views.VIEWS.get(sort.kind):
        view(shown, record, around.known)
    return shown


def _member(value: Any, kind: Any) -> Any:
    """Enums leave as objects, whatever they lie in."""
    arms = [arm for arm in get_args(kind) if arm is not type(None)]
    if get_origin(kind) in (Union, types.UnionType) and len(arms) == 1:
        return _member(value, arms[0])
    if kind is Word or (isinstance(kind, type) and issubclass(kind, Enum)):
        told = {"name": value, "description": str(value).replace("_", " ").capitalize()}
        return {**told, "shortName": told["description"][:3]} if kind in (Day, Month) else told
    if isinstance(value, list):
        inner = getattr(kind, "__args__", (Any,))[0]
        return [_member(one, inner) for one in value]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        inner_kinds = {field.name: field.type for field in msgspec.structs.fields(kind)}
        return {k: _member(v, inner_kinds.get(k)) for k, v in value.items() if v is not None}
    return value


for _sort in _SORTS:
    _declare(_sort)


@room(
    "GET",
    "/network/shared",
    "Networks of no manager.",
    answer=ShownRecord,
    many=True,
    query=paging.COMMON,
    roles=PEOPLE,
    projects=ProjectAccess.USE,
    command="network shared",
)
def shared_networks(call: ApiRequest) -> Reply:
    """Networks that belong to no manager."""
    sort = next(one for one in _SORTS if one.kind == "network")
    with call.app.store.read() as sql:
        found = SqlCatalogue(sql).records.of_kind("network", "")
        found = [one for one in found if call.who.scope.shares(one.project)]
        around = Surroundings(sql, call.who.scope)
        return paging.page(found, len(found), lambda record: _shown(record, sort, around))
