"""Configuration records: policies, rules, schedules, networks and the like.

A new kind of record is a kind in `services/record_kinds.py`, and its path in `_SERVED`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec

from haulback import units
from haulback.contract import example_values as example
from haulback.contract.losses import Losses
from haulback.contract.notifications import ADDRESSES, cut_address
from haulback.contract.project_access import ProjectAccess
from haulback.contract.records import ShownRecord
from haulback.contract.roles import ADMINS, PEOPLE
from haulback.contract.schedules import Day, Month, Sort
from haulback.inventory.records import Record
from haulback.server.http import manager_views, paging, policy_views, query_params
from haulback.server.http.operation import GUID, ApiRequest, Param, Reply, Router
from haulback.server.http.policy_views import PolicyReferences
from haulback.server.queries import ListQuery
from haulback.server.services import configuration, policies, policy_losses, record_losses
from haulback.server.services.configuration import ConfigurationReading, RequestRecord
from haulback.server.services.record_kinds import MANAGER, RECORD_KINDS, RecordKind
from haulback.wire import JsonObject, Word

router = Router()


class _Served(NamedTuple):
    """The path of a kind of record.

    `change` limits restricted callers that add, change or remove records; `more` are members of the
    example in addition to the name.
    """

    path: str
    kind: RecordKind
    change: ProjectAccess = ProjectAccess.CHANGE
    more: Mapping[str, object] = {}

    @property
    def example(self) -> JsonObject:
        """A request to add a record."""
        return {"name": "new", **self.more}


_SHARED = ProjectAccess.WHOLE  # records of all projects
_SERVED = (
    _Served("/node-configs", RECORD_KINDS["node-config"], _SHARED),
    _Served("/hypervisor-managers", RECORD_KINDS["hypervisor-manager"], _SHARED),
    _Served("/hypervisor-clusters", RECORD_KINDS["hypervisor-cluster"], _SHARED),
    _Served("/hypervisor-storages", RECORD_KINDS["hypervisor-storage"], _SHARED),
    _Served("/network", RECORD_KINDS["network"], _SHARED),
    _Served("/virtual-machine-flavors", RECORD_KINDS["flavor"], _SHARED),
    _Served("/projects", RECORD_KINDS["project"], _SHARED, {"uuid": "px"}),
    _Served("/policies/vm-backup", RECORD_KINDS["vm-backup"]),
    _Served("/policies/vm-snapshot", RECORD_KINDS["vm-snapshot"]),
    _Served(
        "/policies/recovery-plan",
        RECORD_KINDS["recovery-plan"],
        more={"rules": [{"name": "all", "protectedEntities": [example.REF]}]},
    ),
    _Served(
        "/rules/vm-backup",
        RECORD_KINDS["rule"],
        more={"policy": {"vm-backup": example.GUID, "guid": example.GUID}},
    ),
    _Served(
        "/rules/vm-snapshot",
        RECORD_KINDS["snapshot-rule"],
        more={"policy": {"vm-snapshot": example.GUID, "guid": example.GUID}},
    ),
    _Served("/schedules", RECORD_KINDS["schedule"], more={"hour": 0, "rules": [example.REF]}),
    _Served(
        "/mailing-lists",
        RECORD_KINDS["mailing-list"],
        more={"recipients": ["ops@example.org"]},
    ),
    _Served(
        "/credential", RECORD_KINDS["credential"], more={"username": "ops", "password": "secret"}
    ),
    _Served(
        "/notification-channels",
        RECORD_KINDS["notification-channel"],
        more={
            "type": "MAIL",
            "host": "mail.example.org",
            "sender": "haulback@example.org",
            "recipients": ["ops@example.org"],
        },
    ),
    _Served(
        "/notification-rules",
        RECORD_KINDS["notification-rule"],
        more={"channels": [example.REF], "events": ["WORKFLOW_ENDED"], "states": ["FAILED"]},
    ),
)

_FILTERS: dict[str, tuple[Param, ...]] = {
    "schedule": (
        Param("type", "Of these types.", {"enum": sorted(Sort.__members__)}, many=True),
        paging.ENTITY,
    ),
    "hypervisor-manager": (
        Param("backup-to-be-restored", "Only with a host of the platform of this machine.", GUID),
    ),
}


def _declare(served: _Served) -> None:
    _declare_reading(served.path, served.kind)
    _declare_writing(served, served.kind, f"{served.path}/{{guid}}")


def _filters(kind: RecordKind) -> tuple[Param, ...]:
    """Query parameters that choose records of a kind."""
    parent = kind.parent[1] if kind.parent else None
    filters: tuple[Param, ...] = (
        (Param(parent, f"Of this {RECORD_KINDS[parent].words}.", GUID),) if parent else ()
    )
    return filters + _FILTERS.get(kind.name, ())


def _declare_reading(path: str, kind: RecordKind) -> None:
    @router(
        "GET",
        path,
        f"All {units.plural(kind.words)}.",
        roles=PEOPLE,
        projects=ProjectAccess.USE,
        answer=ShownRecord,
        many=True,
        query=(*_filters(kind), *paging.COMMON),
    )
    def show_all(call: ApiRequest) -> Reply:
        with ConfigurationReading.of(call.app, call.who.scope) as reading:
            around = PolicyReferences(reading)
            result, total = reading.page(kind.name, _wanted(call, kind, around))
            return paging.page(
                result, total, lambda record: _for(call, _shown(record, kind, around))
            )

    @router(
        "GET",
        f"{path}/{{guid}}",
        f"A {kind.words}.",
        roles=PEOPLE,
        projects=ProjectAccess.USE,
        answer=ShownRecord,
    )
    def show(call: ApiRequest) -> JsonObject:
        with ConfigurationReading.of(call.app, call.who.scope) as reading:
            record = reading.catalogue.records.get(kind.name, call.guid)
            return _for(call, _shown(record, kind, PolicyReferences(reading)))


def _for(call: ApiRequest, shown: JsonObject) -> JsonObject:
    """A record as a caller may see it: addresses that contain a secret are shortened."""
    if call.who.roles & ADMINS:
        return shown
    cut = {name: cut_address(shown[name]) for name in ADDRESSES if shown.get(name)}
    return {**shown, **cut}


def _changed(kind: RecordKind) -> Callable[[ApiRequest], Losses] | None:
    """The list of losses from a changed rule or policy; None for other records."""
    if kind.name in policies.OWNED:
        return lambda call: policy_losses.of_changed_policy(
            call.app, call.who, _sent(call, kind), call.guid
        )
    if kind.name == "rule":
        return lambda call: record_losses.of_changed_record(
            call.app, call.who, _sent(call, kind), call.guid
        )
    return None


def _declare_writing(served: _Served, kind: RecordKind, text: str) -> None:
    @router(
        "POST",
        served.path,
        f"Add a {kind.words}.",
        roles=ADMINS,
        projects=served.change,
        request=kind.struct,
        answer=ShownRecord,
        status=201,
        examples=[served.example],
    )
    def make(call: ApiRequest) -> JsonObject:
        return configuration.add(call.app, call.who, _sent(call, kind), _view(kind))

    @router(
        "PUT",
        text,
        f"Change a {kind.words}.",
        roles=ADMINS,
        projects=served.change,
        request=kind.struct,
        answer=ShownRecord,
        examples=[served.example],
        destroys=_changed(kind),
    )
    def put(call: ApiRequest) -> JsonObject:
        sent = _sent(call, kind)
        return configuration.change(call.app, call.who, call.guid, sent, _view(kind))

    @router(
        "DELETE",
        text,
        f"Remove a {kind.words}.",
        roles=ADMINS,
        projects=served.change,
        status=204,
        destroys=lambda call: record_losses.of_record(call.app, call.who, kind, call.guid),
    )
    def remove(call: ApiRequest) -> None:
        configuration.remove(call.app, call.who, kind, call.guid)


def _sent(call: ApiRequest, kind: RecordKind) -> RequestRecord:
    return RequestRecord(kind, lambda: call.read(kind.struct), call.body)


def _view(kind: RecordKind) -> Callable[[Record, ConfigurationReading], JsonObject]:
    """The view of a stored record, from the transaction that stores it."""
    return lambda record, reading: _shown(record, kind, PolicyReferences(reading))


def _wanted(call: ApiRequest, kind: RecordKind, around: PolicyReferences) -> ListQuery:
    """The part of a list that a query selects.  Raises Malformed, NotFound."""
    parent = query_params.guid(call, kind.parent[1]) if kind.parent else None
    wanted = paging.wanted(call, parent=parent)
    if kind.name == "schedule":
        chosen = query_params.names(call, "type", set(Sort.__members__))
        wanted.only = policy_views.wanted_schedules(around, chosen, wanted.entity)
    if kind.name == "hypervisor-manager" and (
        backup := query_params.guid(call, "backup-to-be-restored")
    ):
        wanted.only = manager_views.managers_for(around.known, backup)
    if kind.parent == MANAGER and parent:
        wanted.only = manager_views.beneath(around.known, kind.name, parent)
        wanted.parent = None
    return wanted


def shown_record(record: Record, around: PolicyReferences) -> JsonObject:
    """A record of any kind in the form that portals read."""
    return _shown(record, RECORD_KINDS[record.kind], around)


def _shown(record: Record, kind: RecordKind, around: PolicyReferences) -> JsonObject:
    """A record with its enums and references in the form that portals read."""
    shown: JsonObject = {"guid": record.guid, "name": record.name}
    shown |= {"project": record.project} if record.project is not None else {}
    for field in msgspec.structs.fields(kind.struct):
        if field.name in record.body:
            shown[field.name] = _member(record.body[field.name], field.type)
    if kind.parent and record.parent:
        name = around.name(kind.parent[1], record.parent)
        shown[kind.parent[0]] = {"guid": record.parent, "name": name}
    if owned := policies.OWNED.get(kind.name):
        rules = around.known.records.of_kind(owned.kind, record.guid)
        rules.sort(key=lambda item: (item.body.get("position", 0), item.name))
        shown["rules"] = [shown_record(rule, around) for rule in rules]
        policy_views.policy(shown, record, around)
    if kind.name in policies.FIRED:
        fired = around.schedules_of(record.guid)
        shown["schedules"] = [shown_record(item, around) for item in fired]
    if kind.name == "recovery-plan":
        policy_views.recovery_plan(shown)
    if kind.name in policies.RULES:
        policy_views.rule(shown, record, around)
    if kind.name == "schedule":
        policy_views.schedule(shown, record, around)
    if kind.name == "system-schedule":
        shown |= around.clock(record.guid)
    if kind.secrets:
        shown["secrets"] = record.body.get("secrets", [])
    if view := manager_views.VIEWS.get(kind.name):
        view(shown, record, around.known)
    return shown


def _member(value: Any, kind: object) -> object:
    """Enums become objects, in structs, lists and mappings."""
    arms = [arm for arm in get_args(kind) if arm is not type(None)]
    if get_origin(kind) in (Union, types.UnionType) and len(arms) == 1:
        return _member(value, arms[0])
    if kind is Word or (isinstance(kind, type) and issubclass(kind, Enum)):
        told = {"name": value, "description": str(value).replace("_", " ").capitalize()}
        return {**told, "shortName": told["description"][:3]} if kind in (Day, Month) else told
    if isinstance(value, list):
        inner = getattr(kind, "__args__", (Any,))[0]
        return [_member(item, inner) for item in value]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        inner_kinds = {field.name: field.type for field in msgspec.structs.fields(kind)}
        return {k: _member(v, inner_kinds.get(k)) for k, v in value.items() if v is not None}
    return value


for _served in _SERVED:
    _declare(_served)


@router(
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
    kind = RECORD_KINDS["network"]
    with ConfigurationReading.of(call.app, call.who.scope) as reading:
        records = reading.catalogue.records.of_kind("network", "")
        found = [record for record in records if call.who.scope.shares(record.project)]
        around = PolicyReferences(reading)
        return paging.page(found, len(found), lambda record: _shown(record, kind, around))
