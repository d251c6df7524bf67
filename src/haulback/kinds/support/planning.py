"""Planning of tasks: windows, priorities, references and the task itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.errors import Malformed, NotFound
from haulback.hypervisor_types import INNER
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.managers import manager_of
from haulback.inventory.records import Record
from haulback.kinds.api import AnyRequest, Context
from haulback.tasks.record import DEFAULT_PRIORITY, HOUR_MS, Task
from haulback.tasks.scheduling import destination_slot, entity_slot, rank, source_slot
from haulback.texts import check_name
from haulback.wire import JsonObject, Named, Ref

PRIORITIES = range(101)
RETRIES = range(101)
_FAR = 1 << 48  # the year 10889; a later time is an error of the unit


class TaskSpec(msgspec.Struct, kw_only=True):
    """The objects of a new task, and its relation to other tasks.

    `locked` is the entity that no other mutating task may change meanwhile, `source` is the
    hypervisor that the task reads from, `pinned` is the pin of the nodes that can run the task
    (`inventory/ reach.py`; None for every node), `run` is the guid over which a failure threshold
    counts.  `window` is the length in ms if no node configuration sets a length.  The window of a
    task that `follows` another opens at the end of that task.
    """

    refs: Mapping[str, Named | None]
    params: JsonObject = {}
    window: int = HOUR_MS
    locked: str | None = None
    source: str | None = None
    pinned: str | None = None
    follows: Task | None = None
    run: str = ""

    def after(self, task: Task, locked: str | None = None) -> TaskSpec:
        """The circumstances of a task that follows `task`."""
        return msgspec.structs.replace(self, follows=task, locked=locked)


def task(kind: str, lane: str, context: Context, request: AnyRequest, spec: TaskSpec) -> Task:
    """A task as planned at `ask.now`; `request` may set priority, window and retries.

    Raises Malformed for a priority, a window or a number of retries out of range.
    """
    follows = spec.follows
    pin = spec.pinned or ""
    window = context.windows.get("" if reach.is_group(pin) else pin, {}).get(kind, spec.window)
    to = spec.refs.get("backupDestination")
    priority = _within(request, "priority", PRIORITIES, DEFAULT_PRIORITY)
    start, end = _window(request, context.now, window)
    made = Task(
        type=kind,
        lane=lane,
        state="PLANNED" if follows else "QUEUED",
        priority=priority,
        rank=rank(start, priority),
        window_start=start,
        window_end=end,
        window_length=window if follows else end - start,
        asked_start=getattr(request, "windowStart", None),
        created=context.now,
        modified=context.now,
        refs={role: ref for role, ref in spec.refs.items() if ref},
        params=spec.params,
        project=context.project,
        pinned_node=pin,
        source_slot=source_slot(lane, spec.source),
        entity_slot=entity_slot(spec.locked) if spec.locked else None,
        destination_slot=destination_slot(lane, to.guid if to else None),
        run=spec.run,
        follows=follows.guid if follows else None,
        ready=not follows and start <= context.now,
    )
    made.retry_count = made.tries = _within(request, "retryCount", RETRIES, 0)
    made.workflow = follows.workflow if follows else made.guid
    return made


def by_policy(request: AnyRequest, policy: Record | None) -> Any:
    """A request with the priority and the retries of a policy as defaults."""
    body = policy.body if policy else {}
    said = {"priority": body.get("priority"), "retryCount": body.get("backupRetryCount")}
    absent = {
        name: min(max(0, int(value)), PRIORITIES[-1])
        for name, value in said.items()
        if value is not None and getattr(request, name, 0) is None
    }
    return msgspec.structs.replace(request, **absent) if absent else request


def pinned(catalogue: Catalogue, *places: reach.Place | None) -> str:
    """The pin of a task that uses all these hypervisors and destinations.  Raises Malformed, naming
    the missing links, if no node reaches all.
    """
    pin = reach.pin(*places)
    if pin == reach.NOWHERE:
        raise Malformed(reach.missing_link(places, catalogue.places.node_names()))
    return pin


def on_node(catalogue: Catalogue, wanted: Ref | None, *places: reach.Place | None) -> Named:
    """The requested node, or else, of the nodes that reach all these hypervisors and destinations,
    the node with the latest heartbeat.

    Raises NotFound, and Malformed for a node that does not reach all.
    """
    if wanted is not None:
        node = catalogue.places.node(wanted.guid)
        far = [place.name for place in places if place and not reach.reaches(node.guid, place)]
        if far:
            raise Malformed(f"node: {node.name} does not reach {' and '.join(far)}", field="node")
        return node
    pin = pinned(catalogue, *places)
    guid = reach.only_node(pin) or catalogue.places.heard_last(reach.common(places))
    if guid is None:
        raise Malformed("node: there is no node yet; enrol one", field="node")
    return catalogue.places.node(guid)


def platform(hypervisor: Hypervisor, catalogue: Catalogue) -> dict[str, Named | None]:
    """A reference to a hypervisor with its manager; None for an internal record."""
    if hypervisor.driver in INNER:
        return {"hypervisor": named(hypervisor)}
    manager = catalogue.records.named("hypervisor-manager", manager_of(hypervisor))
    return {"hypervisor": named(hypervisor), "hypervisorManager": manager}


def place(name: str | None, path: str | None, within: str = "") -> tuple[str, str]:
    """Name and folder of a new hypervisor or destination.  Raises Malformed."""
    name = check_name(name, f"{within}name")
    if path is None or not path.startswith("/") or len(path) > 4096 or not path.isprintable():
        field = f"{within}path"
        raise Malformed(f"{field}: name a folder by its absolute path", field=field)
    return name, os.path.normpath(path)


def named(record: Any) -> Named:
    """A record as a plain reference."""
    return Named(record.guid, record.name)


def some(field: str, found: list[Any] | None) -> list[Any]:
    """A list that must not be empty, each object once.  Raises Malformed."""
    if not found:
        raise Malformed(f"{field}: name at least one object", field=field)
    return list({ref.guid: ref for ref in found}.values())


def repositories(refs: list[Ref] | None, catalogue: Catalogue) -> list[BackupDestination]:
    """The named destinations, each with a repository.  Raises Malformed, NotFound."""
    field = "backupDestinations"
    destinations = [catalogue.places.destination(ref.guid) for ref in some(field, refs)]
    for destination in destinations:
        if destination.repository is None:
            raise Malformed(
                f"{field}: {destination.name} has no repository yet; wait until its "
                "BACKUP_DESTINATION_INIT is FINISHED, or repeat it if it FAILED "
                "(`haulback destination init`; an attached store: `haulback destination sync`)",
                field=field,
            )
    return destinations


def no_such(request: AnyRequest, *fields: str) -> None:
    """Raises NotFound for the first reference to an object of a type that this version does not
    have.
    """
    for field in fields:
        for ref in getattr(request, field) or []:
            raise NotFound(f"{field}: there is no object {ref.guid}", guid=ref.guid, field=field)


def refuse(request: AnyRequest, platform: str, *fields: str, within: str = "") -> None:
    """Raises Malformed for the first of `fields` that requests a feature which the platform
    lacks.
    """
    for field in fields:
        if getattr(request, field, None) not in (None, "", False, []):
            path = f"{within}{field}"
            raise Malformed(f"{path}: {platform} cannot do this; leave it out", field=path)


def _within(request: AnyRequest, field: str, allowed: range, default: int) -> int:
    value = getattr(request, field, None)
    if value is None:
        return default
    if value not in allowed:
        last = allowed[-1]
        raise Malformed(f"{field}: {value} is not between {allowed[0]} and {last}", field=field)
    return int(value)


def _window(request: AnyRequest, now: int, length: int) -> tuple[int, int]:
    start = getattr(request, "windowStart", None)
    end = getattr(request, "windowEnd", None)
    start = now if start is None else start
    end = max(start, now) + length if end is None else end
    for field, value in (("windowStart", start), ("windowEnd", end)):
        if not 0 <= value < _FAR:
            raise Malformed(f"{field}: {value} is not a time in epoch milliseconds", field=field)
    if end <= start:
        raise Malformed(
            "windowEnd: the window ends before it starts; correct windowStart or windowEnd",
            field="windowEnd",
        )
    if end <= now:
        raise Malformed(
            "windowEnd: the window has closed already; name a later end", field="windowEnd"
        )
    return start, end
