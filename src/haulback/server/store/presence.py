"""Machines that inventory scans miss or cannot read; `inventory.presence` decides about them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence, Set

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.contract.alarms import AlarmKind
from haulback.inventory.presence import HypervisorScan, UnreadableMachine, judge, place, undecided
from haulback.inventory.records import Entity
from haulback.server.store import evaluations, tables
from haulback.server.store.alarm_tables import doubt
from haulback.server.store.alarms import AlarmLedger, plain
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.evaluations import EvaluationKind
from haulback.server.store.expressions import Row
from haulback.server.store.rows import records
from haulback.units import counted
from haulback.wire import Named

_MANY = 500  # guids in one statement
_SHOWN = 20  # names or folders of machines in one alarm
_REASON = 1000  # maximum length of the reason why a machine cannot be read, in characters


class PresenceLedger:
    """Decides which machines are present, on a connection at the server time `now`."""

    def __init__(self, sql: sa.Connection, now: int, alarms: AlarmLedger) -> None:
        self._sql, self._now, self._alarms = sql, now, alarms

    def machines_gone(self, hypervisor: str, uuids: Iterable[str], look: HypervisorScan) -> None:
        self._lock(hypervisor)
        missed = set(uuids)
        found = [machine for machine in self._present(hypervisor) if machine.uuid in missed]
        self._weigh(hypervisor, found, look)
        evaluations.request(self._sql, EvaluationKind.HOST, hypervisor)

    def confirmed_absent(self, hypervisor: str) -> list[Named]:
        """Mark missed machines as absent after an administrator's confirmation."""
        self._lock(hypervisor)
        missed = [
            machine for machine in self._present(hypervisor) if machine.absent_since is not None
        ]
        self._gone([machine.guid for machine in missed])
        evaluations.request(self._sql, EvaluationKind.HOST, hypervisor)
        self.settle_doubt(hypervisor)
        return [machine.named() for machine in missed]

    def settle_doubt(self, hypervisor: str) -> None:
        """Raise the alarm about missed machines in doubt, or clear it if there are none."""
        row = self._doubt(hypervisor)
        if row is None:
            return
        machines = self._present(hypervisor)
        missed = [machine for machine in machines if machine.absent_since is not None]
        if missed:
            self._not_believed(hypervisor, missed, len(machines), row.since)
            return
        self._sql.execute(sa.delete(doubt).where(doubt.c.hypervisor == hypervisor))
        self._alarms.clear(AlarmKind.SOURCE_NOT_BELIEVED, hypervisor)

    def _lock(self, hypervisor: str) -> None:
        """Lock the hosts between which machines may move, so that inventories are recorded one by
        one.

        The lock does not block the foreign key of a new machine to its hypervisor.
        """
        table = tables.hypervisor.c
        hosts = {hypervisor, *self._hosts_beside(hypervisor)}
        locked = sa.select(table.guid).where(table.guid.in_(hosts)).order_by(table.guid)
        self._sql.execute(locked.with_for_update(key_share=True)).all()

    def _hosts_beside(self, hypervisor: str) -> list[str]:
        """All hosts of the hypervisor's manager, including this host; an empty list without a
        manager.
        """
        hosts = SqlCatalogue(self._sql).places.hypervisors()
        managers = {host.guid: host.settings.get("hypervisorManager") for host in hosts}
        manager = managers.get(hypervisor)
        return [guid for guid, over in managers.items() if manager and over == manager]

    def _present(self, hypervisor: str) -> list[Entity]:
        table = tables.entity.c
        query = sa.select(tables.entity).where(table.hypervisor == hypervisor, table.present)
        return records(self._sql, query.order_by(table.name, table.guid), Entity)

    def _unseen(self, hypervisor: str, since: int) -> list[Entity]:
        """The present machines that no scan has seen since a time (epoch ms)."""
        return [machine for machine in self._present(hypervisor) if machine.seen < since]

    def _weigh(self, hypervisor: str, missed: Sequence[Entity], look: HypervisorScan) -> None:
        """Mark missed machines as absent, or doubt the inventory that missed them."""
        if missed:
            moved = self._elsewhere(hypervisor, missed)
            self._gone(moved)
            rest = {machine.guid for machine in missed} - moved
            self._judge(hypervisor, rest, look)
        self.settle_doubt(hypervisor)

    def _judge(self, hypervisor: str, missed: Set[str], look: HypervisorScan) -> None:
        machines = self._present(hypervisor)
        row = self._doubt(hypervisor)
        before = [machine.guid for machine in machines if row and machine.absent_since is not None]
        agrees = row is None or (look.begun >= row.seen and (not look.by or look.by != row.look))
        unshown = 0 if look.shown is None else len(machines) - look.shown
        present = {machine.guid for machine in machines}
        result = judge(present, missed, set(before), agrees=agrees, unshown=unshown)
        self._gone(result.absent)
        if result.doubted:
            self._miss(result.doubted)
            self._begin_doubt(hypervisor, look.by)

    def _elsewhere(self, hypervisor: str, missed: Sequence[Entity]) -> set[str]:
        """The guids of machines that have moved: another host of the manager listed them later."""
        hosts = [guid for guid in self._hosts_beside(hypervisor) if guid != hypervisor]
        if not hosts:
            return set()
        table = tables.entity.c
        shown = (table.hypervisor.in_(hosts), table.present, table.absent_since.is_(None))
        query = sa.select(table.uuid, sa.func.max(table.seen)).where(*shown).group_by(table.uuid)
        there = {row[0]: row[1] for row in self._sql.execute(query)}
        return {machine.guid for machine in missed if there.get(machine.uuid, -1) >= machine.seen}

    def _gone(self, guids: Iterable[str]) -> None:
        """Mark machines as absent since the first inventory that missed them."""
        table = tables.entity.c
        since = sa.func.coalesce(table.absent_since, self._now)
        for some in _parts(guids):
            here = sa.update(tables.entity).where(table.guid.in_(some))
            self._sql.execute(here.values(present=False, absent_since=since, problem=None))
            self._alarms.clear_many(AlarmKind.MACHINE_UNREADABLE, some)

    def _miss(self, guids: Iterable[str]) -> None:
        """Keep machines present, and record that an inventory missed them."""
        table = tables.entity.c
        for some in _parts(guids):
            first = (table.guid.in_(some), table.absent_since.is_(None))
            self._sql.execute(sa.update(tables.entity).where(*first).values(absent_since=self._now))

    def _doubt(self, hypervisor: str) -> Row | None:
        return self._sql.execute(
            sa.select(doubt).where(doubt.c.hypervisor == hypervisor)
        ).one_or_none()

    def _begin_doubt(self, hypervisor: str, by: str) -> None:
        """Begin a doubt that a later inventory must confirm; a continued doubt keeps its age."""
        insert = postgresql.insert if self._sql.dialect.name == "postgresql" else sqlite.insert
        row = {"hypervisor": hypervisor, "look": by, "since": self._now, "seen": self._now}
        new = insert(doubt).values(row)
        fresh = {name: new.excluded[name] for name in ("look", "seen")}
        self._sql.execute(new.on_conflict_do_update(index_elements=["hypervisor"], set_=fresh))

    def _not_believed(self, hypervisor: str, missed: Sequence[Entity], of: int, since: int) -> None:
        name = SqlCatalogue(self._sql).places.hypervisor(hypervisor).name
        text = (
            f"{name} no longer lists {len(missed)} of {counted(of, 'machine')}; missed machines "
            "count as present until a later inventory misses them too.  Check that the storage of "
            f"{name} is mounted; if the machines were deleted: haulback hypervisor confirm-absent "
            f"{shlex.quote(name)}"
        )
        names = [machine.name for machine in missed[:_SHOWN]]
        details = {"machines": names, "count": len(missed), "of": of, "since": since}
        self._alarms.report(AlarmKind.SOURCE_NOT_BELIEVED, Named(hypervisor, name), text, details)

    def _unread(
        self,
        hypervisor: str,
        unreadable_machines: Sequence[UnreadableMachine],
        unseen: Sequence[Entity],
        complete: bool,
    ) -> set[str]:
        """Record unreadable machines; returns guids in `unseen` whose records stay unchanged."""
        table = tables.entity.c
        here = sa.select(tables.entity).where(table.hypervisor == hypervisor)
        known = records(self._sql, here, Entity) if unreadable_machines else []
        placed = place(unreadable_machines, known, {machine.guid for machine in unseen})
        names = {machine.guid: machine for machine in known}
        for guid, problems in placed.known.items():
            self._unread_machine(names[guid], problems)
        self._unread_places(hypervisor, placed.unknown, complete)
        rest = {
            machine.guid: machine.place for machine in unseen if machine.guid not in placed.known
        }
        maybe = undecided(placed.unknown, rest)
        self._miss(maybe)
        return {*placed.known, *maybe}

    def _unread_machine(self, one: Entity, problems: Sequence[UnreadableMachine]) -> None:
        """Keep an unreadable machine present, because its platform lists it."""
        why = "; ".join(dict.fromkeys(broken.message for broken in problems))
        why = plain(why, _REASON)
        values = {"present": True, "absent_since": None, "seen": self._now}
        here = sa.update(tables.entity).where(tables.entity.c.guid == one.guid)
        self._sql.execute(here.values(problem=why, **values))
        where = [broken.where for broken in problems[:_SHOWN]]
        text = f"{one.name} cannot be read: {why}"
        self._alarms.report(AlarmKind.MACHINE_UNREADABLE, one.named(), text, {"places": where})

    def _unread_places(
        self, hypervisor: str, unknown: Sequence[UnreadableMachine], complete: bool
    ) -> None:
        """Raise or clear the alarm about unidentified unreadable machines; `complete` is true if
        these are all.
        """
        if not unknown:
            if complete:
                self._alarms.clear(AlarmKind.MACHINE_UNREADABLE, hypervisor)
            return
        name = SqlCatalogue(self._sql).places.hypervisor(hypervisor).name
        places = {item.where or "?": item.message[:_REASON] for item in unknown[:_SHOWN]}
        told = "; ".join(f"{where}: {why}" for where, why in places.items())
        text = f"{name}: {counted(len(unknown), 'machine')} cannot be read: {told}"
        details = {"places": places, "count": len(unknown)}
        self._alarms.report(AlarmKind.MACHINE_UNREADABLE, Named(hypervisor, name), text, details)

    def _readable(self, hypervisor: str, uuids: Set[str]) -> None:
        """Clear the problems of the machines with these uuids, since a scan has read them."""
        table = tables.entity.c
        query = sa.select(table.guid, table.uuid)
        broken = query.where(table.hypervisor == hypervisor, table.problem.is_not(None))
        found = [row.guid for row in self._sql.execute(broken) if row.uuid in uuids]
        self._alarms.clear_many(AlarmKind.MACHINE_UNREADABLE, found)


def doubts(sql: sa.Connection) -> Mapping[str, int]:
    """Hypervisors whose last inventory waits for a confirmation, with the start of the wait (epoch
    ms).
    """
    return {row.hypervisor: row.since for row in sql.execute(sa.select(doubt))}


def _parts(guids: Iterable[str]) -> Iterable[list[str]]:
    found = sorted(guids)
    return (found[at : at + _MANY] for at in range(0, len(found), _MANY))
