"""System schedules as records: their defaults, their checks and their changes."""

from __future__ import annotations

import uuid

import msgspec

from haulback.contract.prove import BootSign
from haulback.contract.system_schedules import SystemSchedule, SystemTask
from haulback.errors import Conflict, Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.policy.schedule_times import schedule_of
from haulback.server.caller import Caller
from haulback.server.services.app import App
from haulback.server.services.schedule_checks import check_times
from haulback.server.store import configuration, schedule_clocks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import HOUR_MS
from haulback.texts import check_name
from haulback.units import DAY_MS
from haulback.wire import JsonObject

KIND = schedule_clocks.SYSTEM
_NAMESPACE = uuid.UUID("6d0a7e3e-5c0c-4b53-9d5b-6f2f0f6b8f10")
_MOST_PROOFS = 10_000  # machines of one schedule of proofs


def _every(frequency: int) -> JsonObject:
    lengths = {"startHour": 0, "endHour": DAY_MS, "frequency": frequency}
    return {"executionType": "INTERVAL", "interval": lengths}


def _nightly(hour: int) -> JsonObject:
    """A daily time whose window of a day lets a server run a missed task late."""
    return {"hour": hour * HOUR_MS, "startWindowLength": DAY_MS}


DEFAULTS: dict[SystemTask, JsonObject] = {
    SystemTask.INVENTORY: _every(4 * HOUR_MS),
    SystemTask.RETENTION: _nightly(1),
    SystemTask.VERIFY: _nightly(2),
    SystemTask.PROVE: {"hour": 3 * HOUR_MS, "active": False, "atOnce": 1, "most": 5},
    SystemTask.TIDY: _every(HOUR_MS),
    SystemTask.OWN_DATABASE: _nightly(4),
}
_MEMBERS = {
    SystemTask.PROVE: frozenset(("atOnce", "most", "sign")),
    SystemTask.OWN_DATABASE: frozenset(("backupDestination",)),
}
_OWN_MEMBERS = ("atOnce", "most", "sign", "backupDestination")


def guid_of(task: SystemTask) -> str:
    """The guid of the schedule of a task, the same on every server."""
    return str(uuid.uuid5(_NAMESPACE, task.value))


def ensure(app: App) -> None:
    """Add the system schedules that a database lacks, with their default times."""
    with app.store.read() as sql:
        known = {record.guid for record in SqlCatalogue(sql).records.of_kind(KIND)}
    for task in SystemTask:
        if guid_of(task) not in known:
            _add(app, task)


def _add(app: App, task: SystemTask) -> None:
    name = task.value.lower().replace("_", " ")
    wanted = SystemSchedule(name=name, task=task)
    try:
        with app.store.write() as sql:
            now = app.clock.now_ms()
            record = Record(guid=guid_of(task), kind=KIND, name=name, created=now, modified=now)
            record.body = {**_body(wanted), **DEFAULTS[task]}
            configuration.add(sql, record)
    except Conflict:
        return  # another server that started at the same time has added the schedule


def _body(wanted: SystemSchedule) -> JsonObject:
    body = msgspec.to_builtins(wanted)
    left_out = ("name", "project")
    return {k: v for k, v in body.items() if k not in left_out and v is not None}


def task_of(record: Record) -> SystemTask:
    """The task of a stored system schedule."""
    return SystemTask(record.body["task"])


def change(app: App, who: Caller, guid: str, wanted: SystemSchedule) -> None:
    """Change the times and settings of a system schedule.

    Raises NotFound, Malformed, Conflict for a taken name.
    """
    with app.change(who, "change system schedule", guid) as change:
        known = SqlCatalogue(change.sql, who.scope)
        before = known.records.changeable(KIND, guid)
        task = task_of(before)
        if wanted.task not in (None, task):
            raise Malformed(
                f"task: is {task.value} and cannot be changed; leave the member out", field="task"
            )
        _check(wanted, task, known)
        body = {**_body(wanted), "task": task.value}
        record = msgspec.structs.replace(before, name=wanted.name, body=body, modified=change.now)
        configuration.change(change.sql, record)
        change.before, change.after = before, record


def _check(wanted: SystemSchedule, task: SystemTask, known: Catalogue) -> None:
    check_name(wanted.name)
    check_times(schedule_of(_body(wanted)))
    for member in _OWN_MEMBERS:
        if getattr(wanted, member) is not None and member not in _MEMBERS.get(task, ()):
            raise Malformed(
                f"{member}: does not belong to {task.value}; leave the member out", field=member
            )
    for member in ("atOnce", "most"):
        value = getattr(wanted, member)
        if value is not None and not 1 <= value <= _MOST_PROOFS:
            raise Malformed(f"{member}: send a number from 1 to {_MOST_PROOFS}", field=member)
    if wanted.sign is BootSign.TEXT:
        raise Malformed(
            "sign: write AGENT or SCREEN; a text on the console differs from machine to machine",
            field="sign",
        )
    if wanted.backupDestination:
        known.places.destination(wanted.backupDestination.guid)
