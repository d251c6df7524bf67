"""Giving up loses exactly the listed objects, on any site, wherever the process dies.

Each case is a random site; a dry run rolls it back, so that all cases share a database.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.contract.losses import Losses
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.errors import NotFound
from haulback.ids import new_guid
from haulback.inventory import reach
from haulback.inventory.records import Backup, Entity
from haulback.kinds.registry import KINDS
from haulback.server.key_vault import KeyVault
from haulback.server.services import giving_up
from haulback.server.services.app import App
from haulback.server.services.giving_up import DESTINATION, HYPERVISOR, MACHINE, NODE
from haulback.server.store import given_up, rows, tables, tasks
from haulback.server.store.engine import open_store
from haulback.tasks.record import Task
from haulback.wire import Named
from tests import databases, shares
from tests.unit.server.conftest import START, Clock, House

CASES = shares.cases("gone")
_GOOD = ("SUCCESS", "PRESENT")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    clock = Clock()
    url = databases.migrated_file(tmp_path_factory.mktemp("gone") / "haulback.db")
    app = App(open_store(url), KINDS, KeyVault(bytes(32)), clock=clock)  # type: ignore[arg-type]
    yield House(app, clock)
    app.store.close()


class Site:
    """Nodes, hypervisors, destinations, machines, backups with copies, and tasks, all at random."""

    def __init__(self, house: House, dice: random.Random) -> None:
        self.house, self.dice = house, dice
        self.nodes = [new_guid() for _ in range(dice.randint(1, 3))]
        self.hosts = [self._place(Hypervisor, "image-folder") for _ in range(dice.randint(1, 2))]
        self.stores = [self._place(BackupDestination, "folder") for _ in range(dice.randint(1, 3))]
        self.machines = [
            Entity(
                guid=new_guid(),
                uuid=dice.choice(["same", new_guid()]) if not number else new_guid(),
                name=f"m{number}",
                hypervisor=dice.choice(self.hosts).guid,
            )
            for number in range(dice.randint(1, 3))
        ]
        self.backups = [
            backup
            for machine in self.machines
            for _ in range(dice.randint(0, 2))
            for backup in self._locations(machine)
        ]
        with house.app.store.write() as sql:
            self._write(sql)

    def _place(self, kind: Any, driver: str) -> Any:
        some = self.dice.sample(self.nodes, self.dice.randint(0, len(self.nodes)))
        one, several = (some[0], []) if len(some) == 1 else (None, sorted(some))
        made = {"guid": new_guid(), "name": new_guid(), "driver": driver, "config": {}}
        return kind(**made, node=one, nodes=several)

    def _locations(self, machine: Entity) -> list[Backup]:
        """A backup and its copies, some of them lost or damaged."""
        places = self.dice.sample(self.stores, self.dice.randint(1, len(self.stores)))
        first = new_guid()
        return [
            Backup(
                guid=new_guid() if number else first,
                entity=machine.guid,
                entity_name=machine.name,
                destination=place.guid,
                location=new_guid(),
                type="FULL",
                status=self.dice.choice(["SUCCESS", "SUCCESS", "SUCCESS", "FAILED"]),
                location_status=self.dice.choice(["PRESENT", "PRESENT", "MISSING"]),
                created=START,
                copy_of=first if number else None,
            )
            for number, place in enumerate(places)
        ]

    def _write(self, sql: sa.Connection) -> None:
        for guid in self.nodes:
            seen = START - self.dice.choice([0, 10_000_000, 100_000_000])
            node = {"guid": guid, "name": guid, "secret": guid, "version": "1", "created": START}
            node |= {"seen": seen, "staging_total": 0, "staging_used": 0, "protocol": 1}
            sql.execute(sa.insert(tables.node).values(**node, restore_roots="[]"))
        for host in self.hosts:
            rows.add(sql, tables.hypervisor, host)
        for store in self.stores:
            rows.add(sql, tables.destination, store, sealed_key="sealed")
        for machine in self.machines:
            rows.add(sql, tables.entity, machine)
        for backup in self.backups:
            rows.add(sql, tables.backup, backup)
        tasks.insert(sql, [self._task() for _ in range(self.dice.randint(0, 4))])

    def _task(self) -> Task:
        machine, store = self.dice.choice(self.machines), self.dice.choice(self.stores)
        host: Hypervisor | None = next(
            host for host in self.hosts if host.guid == machine.hypervisor
        )
        assert host
        refs = {
            "protectedEntity": Named(machine.guid, machine.name),
            "hypervisor": Named(host.guid, host.name),
            "backupDestination": Named(store.guid, store.name),
        }
        kind = self.dice.choice(["EXPORT", "DELETE", "BACKUP_CLEANUP", "VERIFY"])
        if kind not in ("EXPORT", "DELETE"):
            refs = {"backupDestination": refs["backupDestination"]}
            host = None
        made = Task(type=kind, lane="cleanup", refs=refs, pinned_node=reach.pin(host, store))
        made.workflow = made.guid
        return made

    def chosen(self) -> tuple[str, str]:
        """An object to give up."""
        kind = self.dice.choice([NODE, DESTINATION, HYPERVISOR, MACHINE])
        guids = {
            NODE: self.nodes,
            DESTINATION: [place.guid for place in self.stores],
            HYPERVISOR: [place.guid for place in self.hosts],
            MACHINE: [machine.guid for machine in self.machines],
        }
        return kind, self.dice.choice(guids[kind])

    def groups(self) -> dict[str, dict[str, bool]]:
        """Whether each location of a backup is good, by the guid that it had at the start."""
        made: dict[str, dict[str, bool]] = {}
        for backup in self.backups:
            good = (backup.status, backup.location_status) == _GOOD
            made.setdefault(backup.first, {})[backup.guid] = good
        return made


class Dies(Exception):
    """The process dies."""


def give_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Losses]:
    """Give an object up in small pieces, with a crash at a random one; returns the object and its
    list.
    """
    app, user = site.house.app, site.house.user
    kind, guid = site.chosen()
    listed = giving_up.preview(app, kind, guid, user)
    monkeypatch.setattr(given_up, "PIECE", site.dice.randint(1, 3))
    left, locked = site.dice.randint(1, 12), given_up.locked

    def dying(sql: Any, guid: str) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise Dies
        return locked(sql, guid)

    with monkeypatch.context() as patch:
        patch.setattr(given_up, "locked", dying)
        try:
            giving_up.give_up(app, kind, guid, user)
        except Dies:
            while giving_up.continue_all(app):  # some pieces in each tick
                pass
    assert giving_up.continue_all(app) == 0
    return kind, listed


def test_giving_up_loses_what_the_list_names_and_nothing_else(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    for seed in CASES.seeds:
        print(f"HAULBACK_CASES={seed}:1")
        with house.app.store.rehearsal():
            site = Site(house, random.Random(seed))
            kind, listed = give_up(site, monkeypatch)
            with house.app.store.read() as sql:
                check(sql, site, kind, listed)


def check(sql: sa.Connection, site: Site, kind: str, listed: Losses) -> None:
    """Compare the database with the list."""
    backup, fate = tables.backup.c, {(item.kind, item.guid): item.fate for item in listed.items}
    kept = {
        row.guid: (row.destination, (row.status, row.location_status) == _GOOD, row.copy_of)
        for row in sql.execute(sa.select(tables.backup))
    }
    stores = set(sql.scalars(sa.select(tables.destination.c.guid)))
    for locations in site.groups().values():
        for guid, good in locations.items():
            if ("backup", guid) not in fate or fate["backup", guid] == "kept":
                assert guid in kept or not good, "an unnamed location is gone"
            if fate.get(("backup", guid)) == "given up":
                assert not any(kept.get(other, (0, False))[1] for other in locations)
            if fate.get(("backup", guid)) == "kept elsewhere":
                assert any(kept.get(other, (0, False))[1] for other in locations)
    for destination, _, copy_of in kept.values():
        assert destination in stores
        assert copy_of is None or copy_of in kept, "a copy has no first location"
    of_machine = {row.entity for row in sql.execute(sa.select(backup.entity).where(~backup.gone))}
    machines = set(sql.scalars(sa.select(tables.entity.c.guid)))
    assert of_machine <= machines
    for machine in site.machines:
        if fate.get(("machine", machine.guid)) == "given up":
            assert machine.guid not in machines
        else:
            assert machine.guid in machines, "an unnamed machine is gone"
    for place in (*site.stores, *site.hosts):
        name = "destination" if place in site.stores else "hypervisor"
        if fate.get((name, place.guid)) == "given up":
            where = (given_up.of_destination if name == "destination" else given_up.of_hypervisor)(
                place.guid
            )
            assert not given_up.some_tasks(sql, where)
            with pytest.raises(NotFound):
                giving_up.preview(site.house.app, name, place.guid, site.house.user)
    if kind == NODE:
        left = set(sql.scalars(sa.select(tables.node.c.guid)))
        pinned = sql.scalars(sa.select(tables.task.c.pinned_node).where(given_up.LIVE))
        assert {pin for pin in pinned if reach.only_node(pin)} <= left
