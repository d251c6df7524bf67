"""Automatic assignment of machines to policies, after inventories and after changes of policies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from haulback.contract.events import Event, EventKind
from haulback.contract.policies import AnyPolicy, AutoAssign, AutoAssignSettings
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.managers import cluster_of
from haulback.inventory.records import Entity, Record
from haulback.policy.assignment import AssignableMachine, AssigningPolicy, Assignment, Conditions
from haulback.server.caller import Caller
from haulback.server.scope import Scope
from haulback.server.services import ownership
from haulback.server.services.app import App
from haulback.server.services.policies import OWNED, completed
from haulback.server.services.record_kinds import RecordKind
from haulback.server.store import copies, evaluations, events, machines
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.evaluations import Evaluation, EvaluationKind
from haulback.units import counted
from haulback.wire import JsonObject, read

_KINDS = (EvaluationKind.HOST, EvaluationKind.POLICY)
_PIECES = 40  # pieces of evaluations in one maintenance tick
_NAMED = 100  # names of machines in the data of an event


class Preview(NamedTuple):
    """The guids of the machines that a policy would take, and of those it would lose, ordered by
    name.
    """

    assigned: list[str]
    removed: list[str]


class _Move(NamedTuple):
    """A machine that moves from one policy to another; "" means no policy."""

    machine: Entity
    before: str
    after: str


class _Names(NamedTuple):
    """Machines that a policy took and lost."""

    assigned: list[str]
    removed: list[str]


def continue_evaluations(app: App) -> None:
    """Evaluate the next machines of the requested evaluations, one transaction for each piece."""
    for _ in range(_PIECES):
        with app.store.read() as sql:
            if not evaluations.is_assigning(sql):
                return
        with app.store.write() as sql:
            evaluation = evaluations.next_evaluation(sql, _KINDS)
            if evaluation is None:
                return
            _piece(app, sql, evaluation)


def assign_now(app: App, policy: str) -> None:
    """Complete the evaluation of a policy; after a crash, maintenance continues the
    evaluation.
    """
    is_over = False
    while not is_over:
        with app.store.write() as sql:
            evaluation = evaluations.of_subject(sql, EvaluationKind.POLICY, policy)
            is_over = evaluation is None or _piece(app, sql, evaluation)


def preview(app: App, who: Caller, kind: RecordKind, wanted: AnyPolicy, guid: str) -> Preview:
    """The effect that a policy would have if it were saved; `guid` of a stored policy, or "".

    Machines outside the caller's projects are left out.  Raises NotFound, Malformed.
    """
    result = Preview([], [])
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        before = known.records.changeable(kind.name, guid) if guid else None
        wanted = completed(wanted, before)
        kind.check_record(wanted, known)
        drafted = _drafted(wanted, kind.name, before, who.scope)
        others = [item for item in _policies(sql, kind.name) if item.guid != drafted.guid]
        judged = Assignment([*others, drafted])
        evaluation = Evaluation(EvaluationKind.POLICY, drafted.guid, 0, "", 0)
        while page := evaluations.next_machines(sql, evaluation):
            for move in _moves(_Surroundings.of(sql, page), judged, kind.name, page):
                if drafted.guid == move.after and who.scope.allows(move.machine.project):
                    result.assigned.append(move.machine.guid)
                elif drafted.guid == move.before and who.scope.allows(move.machine.project):
                    result.removed.append(move.machine.guid)
            evaluation = evaluation._replace(cursor=page[-1].guid)
    return result


def unreadable_conditions(policy: Record) -> str:
    """The reason why the conditions of a stored policy cannot be read, "" if they can."""
    try:
        _assigning(policy)
    except Malformed as error:
        return error.message
    return ""


def _piece(app: App, sql: Connection, evaluation: Evaluation) -> bool:
    """Evaluate one piece of machines; returns whether the evaluation has ended."""
    page, now = evaluations.next_machines(sql, evaluation), app.clock.now_ms()
    surroundings = _Surroundings.of(sql, page)
    for kind in OWNED:
        judged = Assignment(_policies(sql, kind))
        moves = [] if judged.is_idle else _moves(surroundings, judged, kind, page)
        if evaluation.kind is EvaluationKind.POLICY:
            moves = [move for move in moves if evaluation.subject in (move.before, move.after)]
        _carry_out(sql, kind, moves, now)
    return evaluations.advance(sql, evaluation, page)


def _moves(
    around: _Surroundings, judged: Assignment, kind: str, page: Sequence[Entity]
) -> list[_Move]:
    """The machines of a page that change their policy of a kind."""
    result, setting = [], OWNED[kind].setting
    for machine in page:
        before = str(machine.settings.get(setting) or "")
        after = judged.policy_of(around.candidate(machine, before))
        if after != before:
            result.append(_Move(machine, before, after))
    return result


class _Surroundings(NamedTuple):
    """The clusters of hosts, and those machines of a page that Haulback made."""

    clusters: Mapping[str, str]
    made: frozenset[str]

    @classmethod
    def of(cls, sql: Connection, page: Sequence[Entity]) -> _Surroundings:
        """Read the records to which the machines of a page refer."""
        hosts = SqlCatalogue(sql).places.hypervisors()
        return cls({host.guid: cluster_of(host) for host in hosts}, copies.copies(sql, page))

    def candidate(self, machine: Entity, policy: str) -> AssignableMachine:
        """A machine as input of the assignment, with its policy of one kind."""
        return AssignableMachine(
            guid=machine.guid,
            name=machine.name,
            tags=frozenset(machine.hardware.get("tags", ())),
            cluster=self.clusters.get(machine.hypervisor, ""),
            project=machine.project,
            policy=policy,
            present=machine.present,
            copied=machine.guid in self.made,
        )


def _carry_out(sql: Connection, kind: str, moves: Sequence[_Move], now: int) -> None:
    """Write the policies of machines whose settings have not changed meanwhile, and add the events.

    A machine that a user changes at the same time is evaluated by the next evaluation.
    """
    if not moves:
        return
    setting = OWNED[kind].setting
    same = {item.guid for item in machines.unchanged(sql, [move.machine for move in moves])}
    made = [move for move in moves if move.machine.guid in same]
    for move in made:
        move.machine.settings = _settings(move, setting)
    machines.set_many(sql, {move.machine.guid: move.machine.settings for move in made})
    changed: dict[str, _Names] = defaultdict(lambda: _Names([], []))
    for move in made:
        changed[move.before].removed.append(move.machine.name)
        changed[move.after].assigned.append(move.machine.name)
    policies = SqlCatalogue(sql).records.of_kind(kind)
    told = [policy for policy in policies if policy.guid in changed]
    events.add_many(sql, [_event(policy, changed[policy.guid], now) for policy in told])


def _settings(move: _Move, setting: str) -> JsonObject:
    others = {name: value for name, value in move.machine.settings.items() if name != setting}
    return {**others, setting: move.after} if move.after else others


def _event(policy: Record, names: _Names, now: int) -> Event:
    counts = {"assigned": len(names.assigned), "removed": len(names.removed)}
    told = [f"{counted(count, 'machine')} {verb}" for verb, count in counts.items() if count]
    return Event(
        kind=EventKind.ASSIGNMENT_CHANGED,
        time=now,
        subject=policy.guid,
        subject_name=policy.name,
        project=policy.project,
        policy=policy.guid,
        text=f"auto-assignment of {policy.name}: {', '.join(told)}",
        data={
            **{f"{verb}Count": count for verb, count in counts.items()},
            "assigned": names.assigned[:_NAMED],
            "removed": names.removed[:_NAMED],
        },
    )


def _policies(sql: Connection, kind: str) -> list[AssigningPolicy]:
    """All policies of a kind.

    A policy of an earlier version may hold an expression that cannot be read; it assigns nothing,
    and its `warnings` say so.
    """
    return [_readable(record) for record in SqlCatalogue(sql).records.of_kind(kind)]


def _readable(record: Record) -> AssigningPolicy:
    try:
        return _assigning(record)
    except Malformed:
        return AssigningPolicy(record.guid, record.name, Conditions(AutoAssignSettings()))


def _assigning(record: Record) -> AssigningPolicy:
    body = record.body
    settings = read(body.get("autoAssignSettings") or {}, AutoAssignSettings, "")
    mode = settings.mode or AutoAssign(body.get("autoAssignMode") or "DISABLED")
    return AssigningPolicy(
        guid=record.guid,
        name=record.name,
        conditions=Conditions(settings),
        mode=mode,
        priority=int(body.get("priority", 50)),
        project=record.project,
        active=body.get("active", True),
        removes_absent=bool(body.get("autoRemoveNonPresent")),
    )


def _drafted(wanted: AnyPolicy, kind: str, before: Record | None, scope: Scope) -> AssigningPolicy:
    record = Record(
        guid=before.guid if before else new_guid(),
        kind=kind,
        name=wanted.name,
        project=ownership.owner(scope, wanted, before, None),
        body=msgspec.to_builtins(wanted),
    )
    return _assigning(record)
