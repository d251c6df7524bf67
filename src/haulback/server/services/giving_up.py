"""Giving up objects that are lost for good: a node, destination, hypervisor or machine.

The first transaction fences a node, or detaches a destination from its repository; later
transactions remove tasks and records in pieces.  Tasks that were planned meanwhile end after the
record of the object is removed.  If a server dies, the maintenance of any server continues its
work.  Nothing on a store or a platform is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from haulback.contract.losses import Losses
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.task_states import State
from haulback.errors import Fenced, HaulbackError, Malformed, NotFound, Unavailable
from haulback.inventory import reach
from haulback.inventory.reach import Place
from haulback.inventory.records import Backup, Record
from haulback.logs import members
from haulback.server.caller import Caller
from haulback.server.services import given_up_losses
from haulback.server.services.app import App
from haulback.server.store import (
    audit,
    configuration,
    destinations,
    given_up,
    hypervisors,
    lists,
    node_groups,
    nodes,
    pins,
    rows,
    tasks,
)
from haulback.server.store.accounts import digest
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.expressions import Condition
from haulback.server.store.given_up import DESTINATION as DESTINATION
from haulback.server.store.given_up import HYPERVISOR as HYPERVISOR
from haulback.server.store.given_up import MACHINE as MACHINE
from haulback.server.store.given_up import NODE as NODE
from haulback.server.store.given_up import GivenUp
from haulback.server.store.ledger import SqlLedger
from haulback.tasks import endings
from haulback.tasks.record import Task
from haulback.wire import JsonObject

log = logging.getLogger(__name__)
_TARGETS = "ruleBackupDestinations"
_PATIENCE = 10  # pieces of an object that may fail
_PIECES = 5  # seconds for one object in a tick, because leases, fires and unmounts wait meanwhile
# A node that was silent for this time counts as unable to reach its destinations, unless a user
# sets another time. A node is silent for minutes during a restart or an update, so this time is
# longer.
SILENT_MS = 86_400_000
LEAST_SILENT_MS = 90_000


@dataclass
class _Work:
    """A piece of the work: its transaction, its time, and the object to give up."""

    app: App
    sql: Connection
    item: GivenUp

    @property
    def now(self) -> int:
        return self.app.clock.now_ms()

    @property
    def ledger(self) -> SqlLedger:
        return SqlLedger(self.sql, self.now)


def preview(app: App, kind: str, guid: str, who: Caller, silent_ms: int = SILENT_MS) -> Losses:
    """The list of losses if an object is given up.

    A machine loses its backups on destinations whose nodes were all silent for `silent_ms`.
    Raises NotFound, Malformed.
    """
    with app.store.read() as sql:
        _check(sql, kind, guid, who)
        once = [work.type for work in app.kinds.values() if not work.repeatable]
        view = given_up_losses.LossView(sql, app.clock.now_ms(), silent_ms, once)
        return given_up_losses.of(view, kind, guid)


def give_up(app: App, kind: str, guid: str, who: Caller, silent_ms: int = SILENT_MS) -> Losses:
    """Give an object up; returns the list of the losses, as `preview`.

    Raises NotFound, Malformed, or Unavailable when the server stops: maintenance continues the work
    after the next start.
    """
    losses = msgspec.structs.replace(preview(app, kind, guid, who, silent_ms), dryRun=False)
    with app.change(who, f"give up {kind}", guid) as change:
        _check(change.sql, kind, guid, who)
        begun = _begin(_Beginning(app, change.sql, change.now, who, silent_ms), kind, guid)
        change.before = {"name": begun[0].name}
        change.after = {"counts": losses.counts, "items": losses.items}
    app.wakeups.ring()
    for item in reversed(begun):  # the destinations and hypervisors of a node before the node
        _carry_out(app, item.guid)
    return losses


def continue_all(app: App) -> int:
    """Continue, some pieces each, the work that other servers or processes have begun; returns the
    number of objects.

    An object whose records cannot be removed stops no other object.  Raises Unavailable when the
    server stops, or the database does not answer.
    """
    with app.store.read() as sql:
        begun = given_up.left(sql)
    for guid in begun:
        try:
            _carry_out(app, guid, most=_PIECES)
        except Unavailable:
            raise
        except Exception:
            if guid not in app.failed_steps:  # log an error once, not every second
                log.exception("giving up %s has not ended yet", guid)
            app.failed_steps.add(guid)
    return len(begun)


def refuse(item: GivenUp | None) -> None:
    """Raise Fenced for a node that was given up."""
    if item is not None:
        day = datetime.fromtimestamp(item.begun / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        raise Fenced(
            f"node {item.name} was given up by {item.login} on {day} UTC, and its tasks have ended;"
            " to use it again, enrol it: haulback node token, then haulback node with an empty"
            " --data"
        )


def refuse_secret(app: App, guid: str, secret: str) -> None:
    """Raise Fenced for the guid and the secret of a node that was given up."""
    with app.store.read() as sql:
        refuse(given_up.of_secret(sql, guid, digest(secret)))


def refuse_token(app: App, token: str) -> None:
    """Raise Fenced for the session token of a node that was given up."""
    with app.store.read() as sql:
        refuse(given_up.of_token(sql, digest(token)))


def _check(sql: Connection, kind: str, guid: str, who: Caller) -> None:
    """Raises NotFound, and Malformed for an internal record of the server."""
    known = SqlCatalogue(sql, who.scope)
    if kind == NODE:
        nodes.one_node(sql, guid)
    elif kind == DESTINATION:
        known.places.destination(guid)
    elif kind == HYPERVISOR:
        if given_up.is_inner(known.places.hypervisor(guid).driver):
            raise NotFound(f"there is no hypervisor {guid}", guid=guid)
    else:
        known.machines.get(guid)
        if given_up.is_own(guid):
            raise Malformed(
                "guid: the machine of the server's own database cannot be given up; name "
                "another machine"
            )


@dataclass
class _Beginning:
    """The first transaction, which fences the object."""

    app: App
    sql: Connection
    now: int
    who: Caller
    silent_ms: int

    def item(self, kind: str, guid: str, name: str, why: str, record: object) -> GivenUp:
        """The record of an object that is given up."""
        return GivenUp(
            guid=guid,
            kind=kind,
            name=name,
            begun=self.now,
            caller=self.who.guid,
            login=self.who.name,
            why=why,
            record=msgspec.to_builtins(record),
        )

    def by(self) -> str:
        return f"was given up by {self.who.name}"


def _begin(at: _Beginning, kind: str, guid: str, *cause: str) -> list[GivenUp]:
    """Fence an object; if another request has fenced it, the record of that request stays."""
    if before := given_up.begun(at.sql, guid):
        return [before]
    return _BEGIN[kind](at, guid, *cause)


def _begin_node(at: _Beginning, guid: str) -> list[GivenUp]:
    """Revoke the tokens of a node, and begin with the destinations and hypervisors that only it
    reached.
    """
    node = nodes.one_node(at.sql, guid)
    why = f"node {node.name} {at.by()}, and only this node could run the task"
    record = {"name": node.name, "version": node.version, "seen": node.seen}
    item = at.item(NODE, guid, node.name, why, record)
    item.secret, item.token = nodes.digests(at.sql, guid)
    given_up.begin(at.sql, item)
    begun = [item]
    given_up.end_mounts(at.sql, guid, at.now)
    cause = f", which only node {node.name} reached, {at.by()}"
    hosts, stores = lists.places(at.sql, Hypervisor), lists.places(at.sql, BackupDestination)
    for host in given_up.only_by(hosts, guid):
        begun += _begin(at, HYPERVISOR, host.guid, f"hypervisor {host.name}{cause}")
    for store in given_up.only_by(stores, guid):
        begun += _begin(at, DESTINATION, store.guid, f"destination {store.name}{cause}")
    places: list[Place] = [*hosts, *stores]
    for place in places:
        if guid in place.nodes and len(place.nodes) > 1:
            _drop_node(at, place, guid)
    given_up.leave_groups(at.sql, guid)
    nodes.remove_node(at.sql, guid)
    return begun


def _drop_node(at: _Beginning, place: Place, node: str) -> None:
    """Remove a node from the nodes of a hypervisor or destination, and assign its waiting tasks to
    other nodes.
    """
    others = [guid for guid in place.nodes if guid != node]
    one = others[0] if len(others) == 1 else None
    after = msgspec.structs.replace(place, node=one, nodes=[] if one else others)
    rows.change(at.sql, lists.PLACES[type(place)], after)
    node_groups.keep(at.sql)
    pins.renew(at.sql, after, at.now)


def _begin_destination(at: _Beginning, guid: str, cause: str = "") -> list[GivenUp]:
    """Keep the key of a destination, and remove the destination from rules and schedules."""
    place = SqlCatalogue(at.sql).places.destination(guid)
    why = cause or f"destination {place.name} {at.by()}"
    item = at.item(DESTINATION, guid, place.name, why, place)
    item.sealed_key = destinations.sealed_key(at.sql, guid)
    given_up.begin(at.sql, item)
    for record in SqlCatalogue(at.sql).records.of_kind("rule"):
        after = without_target(record, guid)
        if after is not None:
            configuration.change(at.sql, after)
    for record in SqlCatalogue(at.sql).records.of_kind("system-schedule"):
        if (record.body.get("backupDestination") or {}).get("guid") == guid:
            body = {k: v for k, v in record.body.items() if k != "backupDestination"}
            configuration.change(at.sql, msgspec.structs.replace(record, body=body))
    given_up.unlink(at.sql, guid)
    given_up.release_hold(at.sql, guid)
    return [item]


def without_target(rule: Record, destination: str) -> Record | None:
    """A rule without a destination, inactive if the destination is its PRIMARY; None for an
    unaffected rule.
    """
    targets = rule.body.get(_TARGETS, [])
    left = [item for item in targets if _guid_of(item) != destination]
    if len(left) == len(targets):
        return None
    body = {**rule.body, _TARGETS: left}
    going = [item for item in targets if item not in left]
    if any(item.get("roleType", "PRIMARY") == "PRIMARY" for item in going):
        body |= {"active": False}  # the copies stay in the rule until a user chooses a new PRIMARY
    return msgspec.structs.replace(rule, body=body)


def _guid_of(target: JsonObject) -> str:
    return str((target.get("backupDestination") or {}).get("guid", ""))


def _begin_hypervisor(at: _Beginning, guid: str, cause: str = "") -> list[GivenUp]:
    place = SqlCatalogue(at.sql).places.hypervisor(guid)
    why = cause or f"hypervisor {place.name} {at.by()}"
    item = at.item(HYPERVISOR, guid, place.name, why, place)
    given_up.begin(at.sql, item)
    given_up.leave_host(at.sql, guid)
    return [item]


def _begin_machine(at: _Beginning, guid: str) -> list[GivenUp]:
    """Record which destinations no node reaches now.

    The locations of these backups are removed, as the list of losses announced.
    """
    machine = SqlCatalogue(at.sql, at.who.scope).machines.get(guid)
    heard = given_up.last_heard(at.sql, given_up.holding(at.sql, guid))
    away = [place for place, last in heard.items() if last < at.now - at.silent_ms]
    record = {"uuid": machine.uuid, "hypervisor": machine.hypervisor, "away": away}
    item = at.item(MACHINE, guid, machine.name, f"machine {machine.name} {at.by()}", record)
    given_up.begin(at.sql, item)
    return [item]


_BEGIN: Mapping[str, Callable[..., list[GivenUp]]] = {
    NODE: _begin_node,
    DESTINATION: _begin_destination,
    HYPERVISOR: _begin_hypervisor,
    MACHINE: _begin_machine,
}


def _carry_out(app: App, guid: str, most: int | None = None) -> None:
    """Remove an object, or at most `most` pieces of it; other servers may work on it at the same
    time.

    Raises Unavailable when the server stops, or the database does not answer.
    """
    failures = 0
    for _ in count() if most is None else range(most):
        if app.wakeups.is_over:
            raise Unavailable("the server stops; it gives up the rest after its next start")
        try:
            if _is_over(app, guid):
                return
        except Unavailable:  # PostgreSQL aborts one of two transactions that wait for each other
            failures += 1
            if failures == _PATIENCE:
                raise
        app.wakeups.ring()


def _is_over(app: App, guid: str) -> bool:
    """Remove the next piece of an object; True once no piece is left."""
    with app.store.write() as sql:
        item = given_up.locked(sql, guid)
        if item is None:
            return True
        work = _Work(app, sql, item)
        if not any(step(work) for step in _STEPS[item.kind]):
            _finish(work)
    return False


def _finish(work: _Work) -> None:
    """Delete the record of an object whose pieces are all removed."""
    item = work.item
    given_up.end(work.sql, item.guid, work.now)
    entry = (item.guid, item.record if item.kind != DESTINATION else {"name": item.name}, None)
    audit.write(work.sql, work.now, (item.caller, item.login), f"gave up {item.kind}", entry)
    log.info("record is given up", extra=members(kind=item.kind, name=item.name))


def _end_tasks(of: Callable[[str], Any]) -> Callable[[_Work], bool]:
    def step(work: _Work) -> bool:
        some = given_up.some_tasks(work.sql, of(work.item.guid))
        for task in some:
            current = tasks.find(work.sql, task.guid)
            # A follower may have ended with its predecessor.
            if current and current.state == task.state:
                _end(work, current)
        return bool(some)

    return step


def _end(work: _Work, task: Task) -> None:
    """End a task, or let another node repeat it; a task with a broken record ends too."""
    try:
        with work.app.store.savepoint(work.sql):
            _end_or_repeat(work, task)
    except Unavailable:
        # PostgreSQL aborted the transaction: its repetition may leave the task to another node.
        raise
    except HaulbackError:
        log.exception("task ends without changing its records", extra=members(task=task.guid))
        task = tasks.get(work.sql, task.guid)
        values = endings.ended(task, State.CANCELLED, work.item.why, work.now)
        tasks.change(work.sql, task, work.now, **values)


def _end_or_repeat(work: _Work, task: Task) -> None:
    moves = work.app.task_changes(work.sql)
    if work.item.kind == NODE and _others_can(work, task):
        silent = f"node {work.item.name} was given up"
        if task.state == State.RUNNING.value:
            moves.lost(task, silent)
            return
        if task.type == "STORE" and "staging" in task.params:
            moves.begin_again(task, f"the export of the machine waited in the staging of {silent}")
            return
    task.retry_count = 0
    moves.end(task, State.CANCELLED, work.item.why, hidden=task.state == "PLANNED")


def _others_can(work: _Work, task: Task) -> bool:
    """Whether another node reaches the hypervisor and the destinations of a task, and the task is
    not bound to its node.
    """
    places = pins.places_of(task, SqlCatalogue(work.sql))
    able = reach.common(places)
    others = {node.guid for node in nodes.nodes(work.sql)} - {work.item.guid}
    bound = task.pinned_node == work.item.guid
    if task.type == "STORE" and "staging" in task.params:
        # The repeated export needs its hypervisor, which may be given up with the node.
        has_host = any(isinstance(place, Hypervisor) for place in places)
        bound = bool(task.ref("hypervisor")) and not has_host
    return not bound and bool(others if able is None else able & others)


def _clear_alarms(work: _Work) -> bool:
    work.ledger.alarms.clear_all([work.item.guid])
    return False


def _remove_backups(work: _Work) -> bool:
    guid = work.item.guid
    return _remove_locations(work, given_up.on_destination(guid), [guid])


def _remove_locations(work: _Work, where: Condition, leaving: Sequence[str]) -> bool:
    """Remove the next records of backups.

    Each stored backup has an entry in the audit log; failed and removed backups had no data, and
    the list of losses does not count them either.
    """
    removed = given_up.remove_locations(work.sql, work.ledger, where, leaving)
    by = (work.item.caller, work.item.login)
    for words, locations in (
        ("gave up backup", removed.lost),
        ("gave up a location of backup", removed.kept),
    ):
        lines = [_lost(item, work.item) for item in locations]
        audit.write_many(work.sql, work.now, by, words, lines)
    return bool(removed.total)


def _lost(item: Backup, cause: GivenUp) -> audit.AuditLine:
    about: JsonObject = {"machine": item.entity_name, "destination": item.destination}
    about |= {"with": f"{cause.kind} {cause.name}"}
    about |= {"type": item.type}
    about |= {"time": item.snapshot_time or item.created, "stored": item.stored}
    return item.guid, about, None


def _remove_destination(work: _Work) -> bool:
    if not destinations.names(work.sql, [work.item.guid]):
        return False
    removed = destinations.remove(work.sql, work.item.guid)
    work.ledger.alarms.clear_all([work.item.guid, *removed])
    return True  # tasks that were planned before the removal end after it


def _leave_machines(work: _Work) -> bool:
    found = given_up.some_machines(work.sql, work.item.guid)
    for machine in found:
        given_up.leave(work.sql, work.ledger, machine)
    return bool(found)


def _remove_hypervisor(work: _Work) -> bool:
    if not hypervisors.is_known(work.sql, work.item.guid):
        return False
    ledger = work.ledger
    ledger.inventory.unseen(work.item.guid)
    hypervisors.remove(work.sql, work.item.guid)
    ledger.alarms.clear_all([work.item.guid])
    return True  # as for a destination


def _remove_away(work: _Work) -> bool:
    away: Sequence[str] = work.item.record["away"]
    where = given_up.on_destinations(work.item.guid, away)
    return bool(away) and _remove_locations(work, where, away)


def _leave_machine(work: _Work) -> bool:
    machine = given_up.machine(work.sql, work.item.guid)
    if machine is None:
        return False
    given_up.leave(work.sql, work.ledger, machine)
    return not given_up.is_apart(machine)  # as for a destination


_STEPS: Mapping[str, Sequence[Callable[[_Work], bool]]] = {
    NODE: (_end_tasks(given_up.of_node), _clear_alarms),
    DESTINATION: (_end_tasks(given_up.of_destination), _remove_backups, _remove_destination),
    HYPERVISOR: (_end_tasks(given_up.of_hypervisor), _leave_machines, _remove_hypervisor),
    MACHINE: (_end_tasks(given_up.of_machine), _remove_away, _leave_machine),
}
