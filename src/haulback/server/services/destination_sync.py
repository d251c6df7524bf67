"""BACKUP_DESTINATION_SYNC tasks that the server plans automatically: copies, healing,
catalogues.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from haulback.contract.copies import NewCopyLink
from haulback.contract.damage import LocationStatus
from haulback.contract.order_records import BackupDestination
from haulback.contract.policies import DestinationRole
from haulback.errors import Conflict, Malformed
from haulback.inventory.records import Backup
from haulback.kinds.api import Context
from haulback.kinds.support import planning, second_copies
from haulback.kinds.support.second_copies import CopyGoal, CopyWork, LackingCopies
from haulback.server.caller import Caller
from haulback.server.services import destination_owners
from haulback.server.services.app import App
from haulback.server.store import copy_links, hold, nodes, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.copy_links import CopyLink, Healable, Route
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Plan, Task
from haulback.wire import Named

_PIECE = 100  # copies or healings that one transaction plans
_LATER_MS = 600_000  # time until a target of another server is checked again
_HEAL_MS = 6 * 3_600_000  # time until a healing that did not end is planned again


def set_links(app: App, source: str, wanted: Sequence[NewCopyLink], who: Caller) -> None:
    """Set the destinations that receive a copy of every backup of `source`.

    Raises NotFound, Malformed or Conflict.
    """
    if any(item.roleType is DestinationRole.PRIMARY for item in wanted):
        raise Malformed(
            "roleType: send SECONDARY or ARCHIVE for a copy; PRIMARY is the destination "
            "that is copied",
            field="roleType",
        )
    with app.change(who, "copy a destination", source) as change:
        known, now = SqlCatalogue(change.sql), change.now
        origin = known.places.destination(source)
        targets = {item.backupDestination.guid: item.roleType.value for item in wanted}
        if len(targets) < len(wanted):
            raise Malformed(
                "backupDestination: a destination is named twice; name each destination "
                "once, with one role",
                field="backupDestination",
            )
        for target in targets:
            _check(known, origin, known.places.destination(target))
        links = [CopyLink(source, target, role, now) for target, role in targets.items()]
        change.before = {link.target: link.role for link in copy_links.of(change.sql, source)}
        copy_links.replace(change.sql, source, links, now)
        change.after = targets


def _check(known: SqlCatalogue, origin: BackupDestination, to: BackupDestination) -> None:
    field = "backupDestination"
    if origin.guid == to.guid:
        raise Malformed(
            f"{field}: a destination cannot be a copy of itself; name another destination",
            field=field,
        )
    for place in (origin, to):
        if place.repository is None:
            raise Conflict(
                f"{field}: {place.name} has no repository yet; wait until its "
                "BACKUP_DESTINATION_INIT is FINISHED, or repeat it if it FAILED "
                "(`haulback destination init`)",
                field=field,
            )
    planning.pinned(known, origin, to)


def links(app: App) -> dict[str, list[tuple[CopyLink, str]]]:
    """The destinations of which all backups are copied, with the names of their targets."""
    with app.store.read() as sql:
        names = {place.guid: place.name for place in SqlCatalogue(sql).places.destinations()}
        result: dict[str, list[tuple[CopyLink, str]]] = {}
        for link in copy_links.all_links(sql):
            result.setdefault(link.source, []).append((link, names[link.target]))
        return result


def plan_due(app: App) -> int:
    """Plan missing copies of links and the healing of locations; returns the number of tasks."""
    with app.store.read() as sql:
        now = app.clock.now_ms()
        is_due, damaged = copy_links.is_due(sql, now), copy_links.is_damaged(sql, now)
        if not (is_due or damaged) or hold.is_held(sql):
            return 0
    planned = 0
    with app.store.write() as sql:
        planned += _copy_piece(sql, app.clock.now_ms()) if is_due else 0
    with app.store.write() as sql:
        planned += _heal_piece(sql, app.clock.now_ms()) if damaged else 0
    return planned


def _copy_piece(sql: Connection, now: int) -> int:
    """Plan some copies: for new links, and for due backups."""
    walk = copy_links.next_walk(sql, now)
    planned = _walk(sql, walk, now) if walk else 0
    due = copy_links.take_due(sql, now, _PIECE)
    for link in copy_links.all_links(sql) if due else ():
        only = [backup.guid for backup in due if backup.destination == link.source]
        if only and not _is_ours(sql, link.target):
            for guid in only:
                copy_links.look(sql, guid, link.source, now + _LATER_MS)
        elif only:
            backups = _plan_lacking(sql, link, Route(link.source, link.target, only=only), now)
            planned += len({backup.entity for backup in backups})
    return planned


def _walk(sql: Connection, walk: CopyLink, now: int) -> int:
    """Plan the next copies of a new link; a target of another server is checked again later."""
    if not _is_ours(sql, walk.target):
        copy_links.walk_later(sql, walk, now + _LATER_MS)
        return 0
    route = Route(walk.source, walk.target, since=walk.after)
    backups = _plan_lacking(sql, walk, route, now)
    is_over = len(backups) < _PIECE
    copy_links.walked(sql, walk, None if is_over else backups[-1].entity)
    return len({backup.entity for backup in backups})


def _is_ours(sql: Connection, target: str) -> bool:
    return destination_owners.is_ours(sql, SqlCatalogue(sql).places.destination(target))


def _plan_lacking(sql: Connection, link: CopyLink, route: Route, now: int) -> list[Backup]:
    """Plan the tasks that copy some backups of a link; returns these backups."""
    known, context, whole = SqlCatalogue(sql), Context(now, None, nodes.windows(sql)), Plan()
    origin, to = (known.places.destination(guid) for guid in (link.source, link.target))
    backups = copy_links.lacking(sql, route, _PIECE)
    for entity, of_machine in groupby(backups, lambda backup: backup.entity):
        machine = known.machines.get(entity).named()
        lacking = LackingCopies(origin, machine, list(of_machine))
        whole.add(second_copies.plan_copies(lacking, CopyGoal(to, link.role), context))
    _enter(sql, whole, now)
    return backups


def _heal_piece(sql: Connection, now: int) -> int:
    """Plan the healing of some locations."""
    whole, known = Plan(), SqlCatalogue(sql)
    for pair in copy_links.healable(sql, now, now + _HEAL_MS, _PIECE):
        place = known.places.destination(pair.damaged.destination)
        if destination_owners.is_ours(sql, place) and _can_heal(known, pair):
            whole.tasks.append(_healing(known, pair, Context(now)))
    _enter(sql, whole, now)
    return len(whole.tasks)


def _can_heal(known: SqlCatalogue, pair: Healable) -> bool:
    """Whether the other location may supply data.  A location without a manifest needs a location
    that is sound, or in a repository of its family.
    """
    damaged, other = pair
    if other.is_whole or damaged.location_status != LocationStatus.MISSING.value:
        return True
    return second_copies.first_of(known, damaged.destination) == second_copies.first_of(
        known, other.destination
    )


def _healing(known: SqlCatalogue, pair: Healable, context: Context) -> Task:
    damaged, other = pair
    work = CopyWork(
        known.places.destination(other.destination),
        known.places.destination(damaged.destination),
        known.machines.get(damaged.entity).named(),
        Named(other.guid, other.entity_name),
        [damaged.guid],
        heals=True,
    )
    return second_copies.copy_task(work, context.of(damaged.project))


def _enter(sql: Connection, plan: Plan, now: int) -> None:
    """Store the tasks and the records of copies of a plan."""
    SqlLedger(sql, now).backups.begun(plan.backups, {})
    tasks.insert(sql, plan.tasks)
