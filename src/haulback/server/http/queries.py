"""Query strings: tolerant of what clients in the field send, strict about values that matter."""

from __future__ import annotations

from haulback.errors import Malformed
from haulback.ids import guid_of
from haulback.server.http.callers import Call
from haulback.server.store.reports import MOST, Filter
from haulback.tasks.record import CONTRACT_TYPES
from haulback.tasks.states import State

_LONGEST = 200
_REFS = {
    "backup": "backup",
    "backup-destination": "backupDestination",
    "hypervisor": "hypervisor",
    "hypervisor-manager": "hypervisorManager",
    "node": "node",
    "protected-entity": "protectedEntity",
    "protectedEntity": "protectedEntity",
    "restore-job": "restoreJob",
    "schedule": "schedule",
    "storage-provider": "storageProvider",
}


def task_filter(request: Call) -> Filter:
    """The 22 parameters of a list of tasks.  Empty values count as absent.  Raises Malformed."""
    return Filter(
        states=_names(request, ("state", "states"), set(State.__members__)),
        types=_names(request, ("type",), set(CONTRACT_TYPES)),
        refs={role: _guid(v, name) for name, role in _REFS.items() if (v := one(request, name))},
        parent=_optional_guid(request, "parent-task"),
        workflow=_optional_guid(request, "workflow-execution"),
        project=project(request),
        text=one(request, "filter"),
        name=one(request, "nameLike"),
        mounted=flag(request, "mounted-backup-assigned"),
        order=one(request, "orderBy"),
        descending=_direction(request),
        page=number(request, "page", 10_000_000),
        size=number(request, "size", MOST),
    )


def one(request: Call, name: str) -> str | None:
    """A parameter's value; None when it is absent or empty.  Raises Malformed."""
    value = str(request.query_params.get(name) or "")
    if "\0" in value or len(value) > _LONGEST:
        raise Malformed(f"{name}: at most {_LONGEST} characters, none of them NUL", field=name)
    return value or None


def several(request: Call, name: str) -> list[str]:
    """All values of a parameter that are not empty.  Raises Malformed."""
    found = [str(value) for value in request.query_params.getall(name, []) if value]
    if any("\0" in value or len(value) > _LONGEST for value in found):
        raise Malformed(f"{name}: at most {_LONGEST} characters, none of them NUL", field=name)
    return found


def project(request: Call) -> str | None:
    """The tenant a portal adds to every call.  Raises Malformed."""
    value = one(request, "project-uuid")
    if value and len(value) > 80:
        raise Malformed("project-uuid: at most 80 characters", field="project-uuid")
    return value


def flag(request: Call, name: str) -> bool | None:
    """true, false or absent.  Raises Malformed."""
    value = one(request, name)
    if value is None:
        return None
    if value.lower() not in ("true", "false"):
        raise Malformed(f"{name}: {value[:40]!r} is not true or false", field=name)
    return value.lower() == "true"


def number(request: Call, name: str, most: int) -> int | None:
    """A whole number from 0; larger ones than `most` count as `most`.  Raises Malformed."""
    value = one(request, name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 15:
        raise Malformed(f"{name}: {value[:40]!r} is not a whole number", field=name)
    return min(int(value), most)


def _names(request: Call, parameters: tuple[str, ...], allowed: set[str]) -> list[str]:
    found = [v for p in parameters for v in request.query_params.getall(p, []) if v]
    for value in found:
        if value not in allowed:
            known = ", ".join(sorted(allowed))
            raise Malformed(f"{parameters[0]}: {value[:40]!r} is not one of {known}")
    return found


def _direction(request: Call) -> bool:
    value = (one(request, "direction") or "asc").lower()
    if value not in ("asc", "desc"):
        raise Malformed(f"direction: {value[:40]!r} is not asc or desc", field="direction")
    return value == "desc"


def _optional_guid(request: Call, name: str) -> str | None:
    value = one(request, name)
    return _guid(value, name) if value else None


def _guid(value: str, name: str) -> str:
    return guid_of(value, name)
