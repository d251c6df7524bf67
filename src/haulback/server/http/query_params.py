"""Query strings: tolerant of the habits of known clients, strict about values."""

from __future__ import annotations

from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.ids import guid_of
from haulback.kinds.registry import KINDS
from haulback.server.http.operation import FLAG, GUID, PAGING, PROJECT, TEXT, ApiRequest, Param
from haulback.server.queries import MOST, Filter
from haulback.server.services.tasks import SORTS
from haulback.tasks.record import CONTRACT_TYPES

_LONGEST = 200  # maximum length of a filter, in characters
_DEEPEST = (
    10_000_000  # largest page number, whose product with the page size still fits into a BIGINT
)
_TYPES = CONTRACT_TYPES | KINDS.keys()
_REFS = {
    "backup": "backup",
    "backup-destination": "backupDestination",
    "hypervisor": "hypervisor",
    "hypervisor-manager": "hypervisorManager",
    "node": "node",
    "protected-entity": "protectedEntity",
    "restore-job": "restoreJob",
    "schedule": "schedule",
    "storage-provider": "storageProvider",
}
_OLDER = {"protectedEntity": "protected-entity"}  # the name in older clients
_PROJECTS = ("project-uuid", "project-id", "tenantId", "tenant-id")
TASKS = (
    *(Param(name, f"Tasks of this {name.replace('-', ' ')}.", GUID) for name in _REFS),
    Param("parent-task", "Tasks that follow this task.", GUID),
    Param("workflow-execution", "Tasks of this workflow.", GUID),
    Param(
        "mounted-backup-assigned",
        "true: only with a mounted backup; false: only without; absent: both.",
        FLAG,
    ),
    Param("nameLike", "Part of the name of the machine, or of another object of the task.", TEXT),
    Param("state", "Tasks in this state.", {"enum": sorted(State.__members__)}),
    Param("states", "Tasks in these states.", {"enum": sorted(State.__members__)}, many=True),
    Param("type", "Tasks of this type.", {"enum": sorted(_TYPES)}),
    *(param for param in PAGING if param.name != "orderBy"),
    Param("orderBy", "The member to sort by.", {"enum": SORTS}),
    PROJECT,
    Param(
        "cursor",
        "X-Next-Cursor of the previous page; every page takes the same time.",
        TEXT,
    ),
    Param(
        "modified-since",
        "Tasks that changed at or after this time, epoch ms.",
        {"type": "integer", "minimum": 0},
    ),
)


def task_filter(call: ApiRequest) -> Filter:
    """The 22 parameters of a list of tasks.  Empty values count as absent.  Raises Malformed."""
    return Filter(
        states=_states(call),
        types=names(call, "type", set(_TYPES)),
        refs={role: result for name, role in _REFS.items() if (result := guid(call, name))},
        parent=guid(call, "parent-task"),
        workflow=guid(call, "workflow-execution"),
        scope=call.who.scope,
        reader=call.who.node.guid if call.who.node else None,
        text=one(call, "filter"),
        name=one(call, "nameLike"),
        mounted=flag(call, "mounted-backup-assigned"),
        since=number(call, "modified-since", 1 << 53),
        order=one(call, "orderBy"),
        descending=descending(call),
        page=number(call, "page", _DEEPEST),
        size=number(call, "size", MOST),
        cursor=one(call, "cursor"),
    )


def _states(call: ApiRequest) -> list[str]:
    """The states of the query; if both `state` and `states` are given, the states in both."""
    single, many = (names(call, name, set(State.__members__)) for name in ("state", "states"))
    if single and many:
        return [state for state in many if state in single] or ["NONE"]
    return single or many


def one(call: ApiRequest, name: str) -> str | None:
    """A parameter's value; None when it is absent or empty.  Raises Malformed."""
    found = several(call, name)
    return found[-1] if found else None


def several(call: ApiRequest, name: str) -> list[str]:
    """All non-empty values of a parameter.  Raises Malformed."""
    found = [value for key, value in call.query if _OLDER.get(key, key) == name and value]
    return [checked(name, value) for value in found]


def checked(name: str, value: str) -> str:
    """Raises Malformed for a value that is too long or holds NUL."""
    if "\0" in value or len(value) > _LONGEST:
        raise Malformed(f"{name}: send at most {_LONGEST} characters, without NUL", field=name)
    return value


def project(query: list[tuple[str, str]], header: str | None) -> str | None:
    """The tenant that a portal adds to every call, as query parameter or header.  Raises
    Malformed.
    """
    said = {value for name, value in query if name in _PROJECTS and value}
    said |= {header} if header else set()
    for value in said:
        if "\0" in value or len(value) > 80:
            raise Malformed("project-uuid: send at most 80 characters", field="project-uuid")
    if len(said) > 1:
        raise Malformed("project-uuid: query and header name different projects; send one of them")
    return next(iter(said), None)


def flag(call: ApiRequest, name: str) -> bool | None:
    """The value true or false, None if absent.  Raises Malformed."""
    value = one(call, name)
    if value is None:
        return None
    if value.lower() not in ("true", "false"):
        raise Malformed(f"{name}: {value[:40]!r} is not true or false", field=name)
    return value.lower() == "true"


def number(call: ApiRequest, name: str, most: int) -> int | None:
    """A whole number from 0, at most `most`.  Raises Malformed."""
    value = one(call, name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 16:
        raise Malformed(f"{name}: {value[:40]!r} is not a whole number", field=name)
    return min(int(value), most)


def names(call: ApiRequest, name: str, allowed: set[str]) -> list[str]:
    """Enum values.  Raises Malformed with the list of known values."""
    found = several(call, name)
    for value in found:
        if value not in allowed:
            known = ", ".join(sorted(allowed))
            raise Malformed(f"{name}: {value[:40]!r} is not one of {known}", field=name)
    return found


def descending(call: ApiRequest) -> bool:
    """Whether `direction` requests descending order.  Raises Malformed."""
    value = (one(call, "direction") or "asc").lower()
    if value not in ("asc", "desc"):
        raise Malformed(f"direction: {value[:40]!r} is not asc or desc", field="direction")
    return value == "desc"


def guid(call: ApiRequest, name: str) -> str | None:
    """A guid, or None.  Raises Malformed."""
    value = one(call, name)
    return guid_of(value, name) if value else None


def paging(call: ApiRequest) -> tuple[int, int]:
    """Page number and size of a list; without a size the page is as large as possible.

    Raises Malformed.
    """
    return number(call, "page", _DEEPEST) or 0, size(call, MOST, MOST)


def size(call: ApiRequest, most: int, usual: int) -> int:
    """The number of requested rows, at most `most`; `usual` if no size is given.  Raises
    Malformed.
    """
    found = number(call, "size", most)
    return usual if found is None else found
