"""Plans of system schedules: inventory, retention, verification, staging clean-up, own database."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from haulback.contract.order_records import BackupDestination
from haulback.contract.system_schedules import SystemTask
from haulback.errors import HaulbackError
from haulback.inventory.records import Record
from haulback.kinds import inventory_sync
from haulback.kinds.staging_cleanup import clean_up
from haulback.server.services import (
    destination_owners,
    own_database,
    retention_plan,
    verification,
)
from haulback.server.services.fire_plans import FirePlanning
from haulback.server.services.system_schedules import task_of
from haulback.server.store import fire_members, fires, nodes, queue
from haulback.server.store.engine import Connection
from haulback.server.store.fires import Skip
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.wire import Named


def plan(wanted: FirePlanning) -> Plan:
    """The tasks of a fire of a system schedule; objects without a task are recorded."""
    return _PLANS[task_of(wanted.schedule)](wanted)


def _inventory(wanted: FirePlanning) -> Plan:
    """A scan of each hypervisor, unless one waits or runs."""
    known, whole = wanted.known, Plan()
    busy = fire_members.scanned(wanted.sql)
    for hypervisor in known.places.hypervisors():
        if hypervisor.guid in busy:
            continue
        try:
            whole.tasks.append(inventory_sync.sync(hypervisor, wanted.context, known))
        except HaulbackError as error:
            _skip(wanted, Named(hypervisor.guid, hypervisor.name), error.message)
    return whole


def _skip(wanted: FirePlanning, about: Named, reason: str) -> None:
    fire = wanted.fire
    row = Skip(
        fire=fire.guid, rule=wanted.rule.rule, entity=about.guid, name=about.name, reason=reason
    )
    fires.skip(wanted.sql, [row])
    fire.skipped += 1


def _retention(wanted: FirePlanning) -> Plan:
    def nightly(sql: Connection, to: BackupDestination, now: int) -> Task | None:
        if not destination_owners.is_ours(sql, to):
            return None  # another server owns the destination and cleans it up
        return retention_plan.nightly(sql, to, now)

    return Plan(list(_places(wanted, nightly)))


def _verify(wanted: FirePlanning) -> Plan:
    return Plan(list(_places(wanted, verification.nightly)))


def _places(wanted: FirePlanning, nightly: Callable[..., Task | None]) -> Iterable[Task]:
    """The tasks of destinations that have stored backups before the fire."""
    for destination in wanted.known.places.destinations():
        if destination.repository and (
            task := nightly(wanted.sql, destination, wanted.context.now)
        ):
            yield task


def _tidy(wanted: FirePlanning) -> Plan:
    """A clean-up of each node with recent contact, because a platform may have been unreachable
    before.
    """
    whole, now = Plan(), wanted.context.now
    for node in nodes.nodes(wanted.sql):
        is_seen = node.seen is not None and now - node.seen < HOUR_MS
        if is_seen and not queue.is_waiting(wanted.sql, "STAGING_CLEANUP", "upkeep", node.guid):
            whole.tasks.append(clean_up(Named(node.guid, node.name), wanted.context))
    return whole


def _own_database(wanted: FirePlanning) -> Plan:
    to = wanted.schedule.body.get("backupDestination") or {}
    try:
        return own_database.plan(wanted.sql, wanted.context, to.get("guid"))
    except HaulbackError as error:
        _skip(wanted, Named(wanted.schedule.guid, wanted.schedule.name), error.message)
        return Plan()


def budget_of(record: Record) -> tuple[int, int]:
    """The largest number of proofs of a schedule at once, and in one fire."""
    return int(record.body.get("atOnce") or 1), int(record.body.get("most") or 5)


_PLANS: dict[SystemTask, Callable[[FirePlanning], Plan]] = {
    SystemTask.INVENTORY: _inventory,
    SystemTask.RETENTION: _retention,
    SystemTask.VERIFY: _verify,
    SystemTask.TIDY: _tidy,
    SystemTask.OWN_DATABASE: _own_database,
}
