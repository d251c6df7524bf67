"""Task operations of nodes: offer, take, report and end tasks."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from haulback.contract.nodes import DestinationKeys, Enrolled, FinishedWork, NodeSession, WorkOrder
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.errors import Conflict, Fenced, Forbidden, HaulbackError, NotFound
from haulback.inventory import reach
from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.repository_revision import REVISION, WRITING
from haulback.kinds import backup_cleanup, destination_move, mount, staging_cleanup
from haulback.kinds.support import export_report
from haulback.logs import members
from haulback.server.caller import Node, Process
from haulback.server.services import (
    destination_owners,
    destination_secrets,
    hold,
    retention_run,
)
from haulback.server.services.app import App
from haulback.server.services.tasks import one_by_one
from haulback.server.store import (
    destinations,
    nodes,
    queue,
    task_lifecycle,
    task_lists,
    tasks,
)
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.damage_ledger import expected_backups
from haulback.server.store.engine import Connection, mapped
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.nodes import with_node_names
from haulback.tasks.destination_health import TEST
from haulback.tasks.record import Task
from haulback.wire import JsonObject

log = logging.getLogger(__name__)
OFFERED = queue.OFFERED  # tasks in one offer, unless the node asks for more or less
_REQUEUED = "the node returned the task"
_HEARD_MS = 10_000  # `seen` is written at most once in this time
_EXPECTED = 5_000  # guids in one page: 200 KB
_SAMPLES = 120  # samples of the transfer rate that a task keeps


class StateChange(NamedTuple):
    """A change of state that the node `who` requests; `info` is the reason, "" without a reason."""

    state: State
    info: str | None
    who: Node


def open_session(
    app: App, who: Enrolled, process: Process, done: list[FinishedWork]
) -> NodeSession:
    """Open a session of a node: the previous session is fenced, but its finished work counts."""
    finished = {(item.task, item.attempt): item for item in done}
    with app.store.write() as sql:
        now = app.clock.now_ms()
        session, token, old = nodes.open_session(sql, who, process, now)
        moves = app.task_changes(sql)
        for task in task_lifecycle.of_session(sql, old) if old else []:
            item = finished.get((task.guid, task.attempt))
            if item is None or not _adopt(moves, task, item.results):
                moves.lost(tasks.get(sql, task.guid), "its node restarted")
        app.tidy_node(sql, who.guid)
    about = {"node": who.guid, "version": process.version, "finished": len(finished)}
    log.info("node connected", extra=members(**about))
    app.wakeups.ring()
    return NodeSession(session, token, app.lease_ms, app.clock.now_ms())


def give_up(app: App, sql: Connection, session: str | None, why: str) -> None:
    """Requeue or fail the tasks of a session that ended without a report."""
    moves = app.task_changes(sql)
    for task in task_lifecycle.of_session(sql, session) if session else []:
        moves.lost(task, why)


def _adopt(moves: task_lifecycle.TaskChanges, task: Task, results: JsonObject) -> bool:
    """End a task as FINISHED with the journalled results of its dead process, if readable."""
    try:
        with mapped(), moves.sql.begin_nested():
            tasks.change(moves.sql, task, moves.now, results=results)
            moves.end(task, State.FINISHED, None)
    except HaulbackError:
        return False
    return True


def offer(app: App, who: Node, most: int = OFFERED) -> list[Task]:
    """Tasks that a node may start now, by rank, at most `most` tasks."""
    with app.store.read() as sql:
        now = app.clock.now_ms()
        found = queue.offer(sql, who.guid, now, app.limits_of(who), most)
        able = hold.startable(sql, app.kinds, (task for task in found if _is_able(who, task)))
        return with_node_names(sql, able)


def _is_able(who: Node, task: Task) -> bool:
    """Whether a node can write repositories in the format of this version.

    A node of an earlier Haulback would reuse damaged data, and overlook missing backups.  A node
    that opens no session (`version` empty) is a third-party program with its own format; it cannot
    seal the secret of a key file, which the copy of the server's database needs.
    """
    if not who.version and task.ref("protectedEntity") == OWN_ENTITY:
        return False
    return not who.version or who.revision >= REVISION or task.type not in WRITING


def heard(app: App, who: Node) -> None:
    """Record that a node that asks for work is alive."""
    now = app.clock.now_ms()
    if who.seen is None or now - who.seen > _HEARD_MS:
        with app.store.write() as sql:
            nodes.seen(sql, who.guid, now, who.staging_total, who.staging_used)


def set_state(app: App, who: Node, guid: str, state: State, info: str | None) -> None:
    """Take a task, end it, or give it back.  A repeated request changes nothing.

    Raises Conflict, Forbidden, Fenced, or Malformed for results that cannot be read.
    """
    with app.store.write() as sql:
        task = tasks.get(sql, guid, lock=True)
        held = task.slots
        _move(app, sql, task, StateChange(state, info, who))
    if state is not State.RUNNING:
        _ring(app, who, [] if task.type == TEST else held)


def _ring(app: App, who: Node, freed: list[str]) -> None:
    """Wake the nodes that may start tasks within the freed limits.

    Without a freed limit, all nodes are woken: a test ended, and may have closed the breaker of its
    destination.
    """
    if freed and all(key.startswith(("node:", "share:")) for key in freed):
        app.wakeups.ring_for([who.guid])
    else:
        app.wakeups.ring()


def set_states(app: App, who: Node, guids: list[str], state: State, info: str | None) -> None:
    """Change the states of many tasks, in one transaction if possible, otherwise one by one.

    Raises Conflict, with `refused` in its details, when some tasks were refused; the other tasks
    have changed.
    """
    refused: Conflict | None = None
    wanted = list(dict.fromkeys(guids))
    with app.store.write() as sql:
        if not _move_all(app, sql, wanted, who, state):
            refused = _move_each(app, sql, wanted, StateChange(state, info, who))
    app.wakeups.ring()
    if refused:
        raise refused


def _move_all(app: App, sql: Connection, guids: list[str], who: Node, state: State) -> bool:
    """Take or finish many tasks together; False, with nothing changed, if one of them cannot."""
    if state not in (State.RUNNING, State.FINISHED):
        return False
    result = tasks.get_many(sql, guids)
    if len(result) != len(guids):
        return False
    try:
        with mapped(), sql.begin_nested():
            moves, chosen = app.task_changes(sql), list(result.values())
            if state is State.RUNNING:
                _check_able(app, sql, who, chosen)
                limits = app.limits_of(who)
                moves.take(chosen, who.guid, who.session or "", app.lease_ms, limits)
                return True
            for task in chosen:
                _check_mine(task, who)
                if task.cancel_wanted:
                    raise Conflict("a user cancelled one of the tasks")
            moves.finish(chosen)
    except (HaulbackError, msgspec.ValidationError):
        return False
    return True


def _move_each(app: App, sql: Connection, guids: list[str], change: StateChange) -> Conflict | None:
    result = tasks.get_many(sql, guids)

    def move(guid: str) -> None:
        task = result.get(guid) or tasks.get(sql, guid)
        with sql.begin_nested():
            _move(app, sql, task, change)

    try:
        one_by_one(guids, move)
    except Conflict as error:
        return error
    return None


def _move(app: App, sql: Connection, task: Task, change: StateChange) -> None:
    state, info, who = change
    if task.state == state.value and (state is State.QUEUED or _is_mine(task, who)):
        return
    moves = app.task_changes(sql)
    if state is State.RUNNING:
        _check_able(app, sql, who, [task])
        moves.take([task], who.guid, who.session or "", app.lease_ms, app.limits_of(who))
        return
    _check_mine(task, who)
    if state is State.QUEUED:
        moves.give_back(task, _REQUEUED)
    else:
        moves.end(task, state, info)
    # The hourly clean-up repeats a failed clean-up; immediate retries could continue for ever.
    if task.state != State.FINISHED.value and task.type != staging_cleanup.KIND.type:
        app.tidy_node(sql, who.guid)


def _check_able(app: App, sql: Connection, who: Node, wanted: list[Task]) -> None:
    if len(hold.startable(sql, app.kinds, wanted)) < len(wanted):
        raise Conflict("the server is held after the restore of its database: nothing is deleted")
    for task in wanted:
        if not _is_able(who, task):
            raise Conflict(
                f"node {who.name} runs Haulback {who.version}, which must no longer run "
                f"{task.type}: update Haulback on the node"
            )


def order(app: App, who: Node, guid: str) -> WorkOrder:
    """The order of a task, computed from the present records; only the node that took the task may
    read it.

    Retention first decides about the backups on the clean-up's destination.  Raises Unavailable
    meanwhile.
    """
    with app.store.read() as sql:
        judges = mine(sql, who, guid).type == backup_cleanup.KIND.type
    if judges:
        retention_run.carry_out(app, lambda sql: mine(sql, who, guid, lock=True))
    with app.store.read() as sql:
        task = mine(sql, who, guid)
        prepared = app.kinds[task.type].prepare(task, SqlCatalogue(sql))
        prepared = destination_owners.with_owner(sql, task, prepared)
    return WorkOrder(task.attempt, destination_secrets.without_secrets(prepared))


def share(app: App, who: Node, guid: str) -> WorkOrder:
    """The order of a mount of a node.  Raises NotFound if the mount should not exist."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql)
        found = known.mounts.get(guid)
        if found.node != who.guid or found.state != "MOUNTED":
            raise NotFound(f"this node has no mount {guid}", guid=guid)
        prepared = mount.order_of(found, known)
    return WorkOrder(0, destination_secrets.without_secrets(prepared))


def progress(app: App, who: Node, guid: str, percent: float) -> None:
    """Increase the progress of a running task and renew its lease, by one statement."""
    now, session = app.clock.now_ms(), who.session
    lease = now + app.lease_ms
    values = {"guid": guid, "percent": percent, "now": now, "lease": lease, "session": session}
    with app.store.once() as sql:
        if not tasks.advance(sql, who.attempt, **values):
            mine(sql, who, guid)
            raise Fenced("this attempt has ended")


def became(app: App, who: Node, guid: str, kind: str) -> Task:
    """Change the type of the backup of a running task, with a warning on the backup."""
    with app.store.write() as sql:
        task = mine(sql, who, guid, lock=True)
        _check_member(app, task, "backupType")
        if kind == task.backup_type:
            _change(app, sql, task, {})
            return task
        asked = export_report.asked_type(task)
        _change(app, sql, task, {"params": {**task.params, export_report.ASKED: asked}})
        warning = [export_report.other_type(asked, kind)] if kind != asked else []
        SqlLedger(sql, app.clock.now_ms()).backups.type_changed(task, kind, warning)
        return task


def set_member(app: App, who: Node, guid: str, name: str, value: object) -> Task:
    """Set a member of a running task.  Raises Conflict for a kind that has no such member."""

    def made(task: Task) -> JsonObject:
        _check_member(app, task, name)
        return {"results": {**task.results, name: value}}

    return _reported(app, who, guid, made)


def _check_member(app: App, task: Task, name: str) -> None:
    if name not in app.kinds[task.type].members:
        having = sorted(kind.type for kind in app.kinds.values() if name in kind.members)
        raise Conflict(
            f"{name}: a task of type {task.type} has no such value, only "
            f"{', '.join(having)} has; nothing was changed",
            field=name,
            type=task.type,
        )


def report(app: App, who: Node, guid: str, **values: object) -> Task:
    """Write members of a running task and renew its lease.  Progress never decreases."""
    return _reported(app, who, guid, lambda _: values)


def add_results(app: App, who: Node, guid: str, more: JsonObject, **values: object) -> Task:
    """Add results to the report of a running task, and renew its lease."""
    return _reported(app, who, guid, lambda task: {"results": {**task.results, **more}, **values})


def _reported(app: App, who: Node, guid: str, made: Callable[[Task], JsonObject]) -> Task:
    with app.store.write() as sql:
        task = mine(sql, who, guid, lock=True)
        _change(app, sql, task, made(task))
        return task


def check_mine(app: App, who: Node, guid: str) -> None:
    """Raises Forbidden or Fenced unless the node runs the task."""
    with app.store.read() as sql:
        mine(sql, who, guid)


def _change(app: App, sql: Connection, task: Task, values: JsonObject) -> None:
    if "progress" in values:
        values["progress"] = max(task.progress, min(100.0, values["progress"]))
    now = app.clock.now_ms()
    tasks.change(sql, task, now, lease_until=now + app.lease_ms, **values)


def keep_lease(app: App, sql: Connection, task: Task) -> None:
    """Renew the lease of a running task, because its node is at work."""
    _change(app, sql, task, {})


def add_bytes(app: App, who: Node, guid: str, sample: JsonObject, more: int) -> None:
    """Add a transfer sample and its bytes to the total."""
    with app.store.write() as sql:
        task = mine(sql, who, guid, lock=True)
        before = task.results.get("dataTransferRate", {}).get("transferredBytes", 0)
        _add_sample(app, sql, task, {**sample, "transferredBytes": before + more})


def add_sample(app: App, who: Node, guid: str, sample: JsonObject) -> None:
    """A sample of the transfer rate; the task keeps the last samples as its history."""
    with app.store.write() as sql:
        _add_sample(app, sql, mine(sql, who, guid, lock=True), sample)


def _add_sample(app: App, sql: Connection, task: Task, sample: JsonObject) -> None:
    history = [*task.results.get("transferHistory", []), sample][-_SAMPLES:]
    results = {**task.results, "dataTransferRate": sample, "transferHistory": history}
    _change(app, sql, task, {"results": results})


def inc_snap_required(app: App, who: Node, guid: str, wanted: bool) -> None:
    """Record whether the export must leave a snapshot: only if an incremental schedule uses it."""
    with app.store.write() as sql:
        task = mine(sql, who, guid, lock=True)
        _check_member(app, task, "incSnapRequired")
        entity = task.ref("protectedEntity")
        held = wanted and bool(entity) and SqlCatalogue(sql).machines.is_scheduled(entity or "")
        if wanted and not held:
            line = "no active incremental schedule applies: no snapshot must be kept"
            task_lists.append_log(sql, task, app.clock.now_ms(), [line])
        _change(app, sql, task, {"results": {**task.results, "incSnapRequired": held}})


def add_log(app: App, who: Node, guid: str, lines: list[str]) -> None:
    """Add lines to the log of a running task."""
    with app.store.write() as sql:
        task = mine(sql, who, guid, lock=True)
        task_lists.append_log(sql, task, app.clock.now_ms(), [line[:2000] for line in lines])


def state_for(app: App, who: Node, guid: str) -> Task:
    """The task as its node reads it; the state is CANCELLED once a cancellation was requested.

    Raises Fenced; Forbidden for a task that another node runs; NotFound for a task that this node
    neither ran nor may take.
    """
    with app.store.read() as sql:
        task = tasks.get(sql, guid)
        if task.state == State.RUNNING.value:
            _check_mine(task, who)
            if task.cancel_wanted:
                task.state = State.CANCELLED.value
            return task
        return tasks.of_node(sql, guid, who.guid)


def destination_keys(app: App, who: Node, destination: str, task: str = "") -> DestinationKeys:
    """The secrets of a destination, for a node that reaches it.

    Secrets that delete are given for a running `task` of the node whose order may delete; the
    secrets of a new location are given for the task that moves the destination.  Raises Forbidden,
    Fenced.
    """
    with app.store.read() as sql:
        record = SqlCatalogue(sql).places.destination(destination)
        _check_reaches(sql, who, record)
        key = app.vault.unseal(destination, destinations.sealed_key(sql, destination))
        ordered = _ordered(app, sql, mine(sql, who, task), destination) if task else []
        may_delete = any(place.may_delete for place in ordered)
    used = next((place for place in ordered if place.config != record.config), record)
    secrets = destination_secrets.for_node(app.vault, used, may_delete=may_delete)
    return DestinationKeys(base64.b64encode(key).decode(), secrets)


def _ordered(app: App, sql: Connection, task: Task, destination: str) -> list[BackupDestination]:
    """A destination in the order of a task: with rights, and for a move at its new location."""
    order = app.kinds[task.type].prepare(task, SqlCatalogue(sql))
    members = (getattr(order, name) for name in order.__struct_fields__)
    places = [place for place in members if isinstance(place, BackupDestination)]
    return [place for place in places if place.guid == destination]


def needed(app: App, names: list[str]) -> list[str]:
    """The names (attempts, checkpoints) that a backup or a task still needs."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql)
        return [name for name in names if known.work.is_needed(name)]


def abandoned(app: App, names: list[str]) -> list[str]:
    """The snapshots that failed attempts of this server left behind."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql)
        return [name for name in names if known.work.is_abandoned(name)]


def pins(app: App, who: Node, destination: str) -> list[str]:
    """Attempts whose data on a destination is still needed.  Raises Forbidden."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql)
        _check_reaches(sql, who, known.places.destination(destination))
        return known.work.pins(destination)


def _probes(sql: Connection, who: Node, record: BackupDestination) -> bool:
    """Whether a node probes the new location of a destination."""
    return queue.runs(sql, destination_move.TYPE, record.guid, who.guid)


def _check_reaches(sql: Connection, who: Node, record: BackupDestination) -> None:
    if not reach.reaches(who.guid, record) and not _probes(sql, who, record):
        raise Forbidden(f"{record.name} is bound to other nodes; bind it to this node too")


def expected(app: App, who: Node, guid: str, after: str) -> list[str]:
    """A page of the backups that a task of this node must find.  Raises Forbidden, Fenced."""
    with app.store.read() as sql:
        mine(sql, who, guid)
        return expected_backups(sql, guid, after, _EXPECTED)


def mine(sql: Connection, who: Node, guid: str, *, lock: bool = False) -> Task:
    task = tasks.get(sql, guid, lock=lock)
    _check_mine(task, who)
    return task


def _check_mine(task: Task, who: Node) -> None:
    """Raises Forbidden for the task of another node, Fenced for an ended attempt."""
    if task.node not in (None, who.guid):
        raise Forbidden("another node runs this task")
    if task.state != State.RUNNING.value:
        raise Fenced(f"the task is {task.state}; this attempt has ended", state=task.state)
    if not _is_mine(task, who):
        raise Fenced("another attempt runs this task; this attempt has ended")


def _is_mine(task: Task, who: Node) -> bool:
    return task.session == who.session and who.attempt in (None, task.attempt)
