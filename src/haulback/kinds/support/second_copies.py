"""Copies of backups on other destinations: their records and the tasks that make them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from haulback.contract.backups import BackupType
from haulback.contract.copies import COPY_OF, Copying
from haulback.contract.order_records import BackupDestination
from haulback.errors import NotFound
from haulback.ids import new_guid
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup, Record
from haulback.kinds.api import AnyRequest, Context
from haulback.kinds.support import planning
from haulback.policy.copy_window import next_opening
from haulback.tasks.record import HOUR_MS, NewBackup, Plan, Task
from haulback.tasks.scheduling import rank
from haulback.wire import JsonObject, Named

TYPE = "BACKUP_DESTINATION_SYNC"
LANE = "copy"
WINDOW = 24 * HOUR_MS  # copies may wait for a network link that is down
SOURCE, COPIES, HEALS = "source", "copies", "heals"  # parameters of the task
MOST = 100  # copies of one task
_SYNCHRONIZATION = BackupType.SYNCHRONIZATION.value


class CopyGoal(NamedTuple):
    """A destination of copies, with its role, and the rule that requests them."""

    to: BackupDestination
    role: str
    rule: Record | None = None


class CopyWork(NamedTuple):
    """Copies of one machine's backups from one destination to another.

    `copies` are the guids of the copies, older backups first; `backup` refers to the first of the
    backups, `machine` to their machine.
    """

    origin: BackupDestination
    to: BackupDestination
    machine: Named
    backup: Named
    copies: list[str]
    rule: Named | None = None
    run: str = ""
    heals: bool = False


def copy_task(
    work: CopyWork, context: Context, request: AnyRequest = None, follows: Task | None = None
) -> Task:
    """The task that makes copies, or heals them."""
    params: JsonObject = {SOURCE: work.origin.guid, COPIES: work.copies}
    params |= {HEALS: True} if work.heals else {}
    spec = planning.TaskSpec(
        refs={
            "backupDestination": planning.named(work.to),
            "protectedEntity": work.machine,
            "backup": work.backup,
            "rule": work.rule,
        },
        params=params,
        pinned=_pin_of(work),
        follows=follows,
        window=WINDOW,
        run=work.run,
    )
    made = planning.task(TYPE, LANE, context, request, spec)
    made.backup_type = _SYNCHRONIZATION
    if opening := next_opening(copying_of(work.to), context.now):
        _wait_until(made, opening)
    return made


def _wait_until(task: Task, opening: int) -> None:
    """Let a task start in the next window for copies; a follower may start later."""
    if task.window_start < opening:
        length = task.window_end - task.window_start
        task.window_start = task.asked_start = opening
        task.window_end, task.ready = opening + length, False
        task.rank = rank(opening, task.priority)


def copying_of(to: BackupDestination) -> Copying:
    """The settings of a destination for the copies that are made on it."""
    return msgspec.convert(to.settings.get("copying") or {}, Copying)


def _pin_of(work: CopyWork) -> str:
    """The pin of the nodes that reach both destinations; if there are none, of those that reach the
    target.

    A missing link makes the copy fail, but never the backup.
    """
    pin = reach.pin(work.origin, work.to)
    return reach.pin(work.to) if pin == reach.NOWHERE else pin


def first_of(catalogue: Catalogue, guid: str) -> str:
    """The guid of the first destination of a family, at the end of the `copyOf` settings.

    A removed destination ends the search, because all of its copies still have its key.
    """
    passed = set[str]()
    while guid not in passed:
        passed.add(guid)
        try:
            copied = catalogue.places.destination(guid).settings.get(COPY_OF)
        except NotFound:
            return guid
        if not copied:
            return guid
        guid = str(copied)
    return guid


def family_of(catalogue: Catalogue, to: BackupDestination) -> BackupDestination | None:
    """The first destination of the family of a copy's destination; None if the server lacks it."""
    first = first_of(catalogue, to.guid)
    with suppress(NotFound):
        return None if first == to.guid else catalogue.places.destination(first)
    return None


def goals_of(rule: Record, catalogue: Catalogue, primary: str) -> list[CopyGoal]:
    """The other destinations of a rule, which get a copy of each backup."""
    goals = {
        target["backupDestination"]["guid"]: target["roleType"]
        for target in rule.body.get("ruleBackupDestinations", [])
        if target["roleType"] != "PRIMARY" and target["backupDestination"].get("guid")
    }
    goals.pop(primary, None)
    places = catalogue.places
    return [CopyGoal(places.destination(guid), role, rule) for guid, role in goals.items()]


def is_scheduled(rule: Record, catalogue: Catalogue) -> bool:
    """Whether an active schedule of the type SYNCHRONIZATION makes the copies of a rule."""
    for schedule in catalogue.records.of_kind("schedule"):
        body = schedule.body
        named = {ref["guid"] for ref in body.get("rules", ())}
        is_active = body.get("active", True)
        if is_active and body.get("backupType") == _SYNCHRONIZATION and rule.guid in named:
            return True
    return False


def new_copy(of: NewBackup, goal: CopyGoal) -> NewBackup:
    """The record of a planned copy of a backup."""
    return msgspec.structs.replace(
        of, guid=new_guid(), destination=goal.to.guid, role=goal.role, copy_of=of.guid
    )


class LackingCopies(NamedTuple):
    """Backups of one machine on `origin` that lack a copy, the oldest first."""

    origin: BackupDestination
    machine: Named
    backups: Sequence[Backup]


def plan_copies(
    lacking: LackingCopies, goal: CopyGoal, context: Context, request: AnyRequest = None
) -> Plan:
    """The task that copies some backups of a machine, with the records of the copies."""
    if not lacking.backups:
        return Plan()
    copies = [_of_stored(backup, goal) for backup in lacking.backups[:MOST]]
    first = lacking.backups[0]
    work = CopyWork(
        lacking.origin,
        goal.to,
        lacking.machine,
        Named(first.first, first.entity_name),
        [copy.guid for copy in copies],
        planning.named(goal.rule) if goal.rule else None,
    )
    return Plan([copy_task(work, context.of(first.project), request)], backups=copies)


def _of_stored(backup: Backup, goal: CopyGoal) -> NewBackup:
    return NewBackup(
        guid=new_guid(),
        entity=backup.entity,
        entity_name=backup.entity_name,
        destination=goal.to.guid,
        type=backup.type,
        project=backup.project,
        rule=goal.rule.guid if goal.rule else None,
        role=goal.role,
        copy_of=backup.first,
    )
