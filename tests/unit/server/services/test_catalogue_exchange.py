"""The server sends its catalogue for extracts, and accepts found backups without a loss."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haulback.contract.alarms import AlarmKind
from haulback.contract.catalogue import AttachedDestination, CatalogueItem, FoundBackup, FoundDisk
from haulback.contract.copies import NewCopyLink
from haulback.contract.order_records import BackupDestination
from haulback.errors import Conflict, Fenced, Malformed
from haulback.inventory.records import Backup, Entity
from haulback.server.caller import Node
from haulback.server.services import (
    attach,
    catalogue_exchange,
    destination_owners,
    destination_sync,
    hold,
    maintenance,
)
from haulback.server.services import tasks as task_service
from haulback.server.store import alarms, catalogue_pages, rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.rows import records, row_of
from haulback.wire import Ref
from tests.unit.server.conftest import START, House


def guid() -> str:
    return str(uuid.uuid4())


def found(entity: str = "", name: str = "web", **more: Any) -> FoundBackup:
    disks = [FoundDisk("vda", 10)]
    values = {"guid": guid(), "entity": entity or guid(), "name": name, "disks": disks}
    return FoundBackup(**{**values, "snapshotTime": START - 5, **more})


class Reading:
    """A task that reads the catalogue of the house's destination, on a node."""

    def __init__(self, house: House) -> None:
        self.house, self.node = house, house.node()
        to = house.destination.guid
        _, self.task = attach.read_again(house.app, to, house.user, take_over=False, revoked=False)
        house.take(self.node, self.task)

    def send(self, *backups: FoundBackup) -> int:
        return catalogue_exchange.take(self.house.app, self.node, self.task.guid, list(backups))

    def finish(self, **results: Any) -> None:
        report = {"repository": self.house.destination.repository, "backups": 1, **results}
        self.house.finish(self.node, self.task, **report)


@pytest.fixture
def reading(house: House) -> Reading:
    return Reading(house)


def backup(house: House, wanted: str) -> Backup:
    with house.app.store.read() as sql:
        return SqlCatalogue(sql).backups.get(wanted)


def entity(house: House, wanted: str) -> Entity:
    with house.app.store.read() as sql:
        return SqlCatalogue(sql).machines.get(wanted)


def test_an_unknown_backup_comes_with_its_machine_and_the_facts(reading: Reading):
    facts = {"hint": "ARCHIVE", "keep_until": START + 9, "level": "BOOTED", "project": "acme"}
    facts |= {"rule": "gold", "policy": "nightly", "warnings": "no list", "stored_time": START - 4}
    item = found(facts=facts, about={"uuid": "u-1", "name": "web 1", "project": "acme"})
    assert reading.send(item) == 1
    made, machine = backup(reading.house, item.guid), entity(reading.house, item.entity)
    assert (made.hint, made.keep_until, made.level) == ("ARCHIVE", START + 9, "BOOTED")
    assert (made.status, made.location_status, made.size) == ("SUCCESS", "PRESENT", 10)
    assert (made.project, made.rule, made.warnings) == ("acme", None, [])
    assert made.origin == {"rule": "gold", "policy": "nightly"}
    assert (machine.uuid, machine.name, machine.present) == ("u-1", "web 1", False)
    assert machine.facts["lastSuccessfulFullBackup"]["guid"] == item.guid


def test_a_page_that_is_sent_again_changes_nothing(reading: Reading):
    items = [found(), found()]
    assert reading.send(*items, items[0]) == 2
    assert reading.send(*items) == 0
    assert backup(reading.house, items[0].guid).hint == "STANDARD_RETENTION"


def test_facts_of_the_catalogue_are_never_overwritten(reading: Reading):
    item = found()
    reading.send(item)
    assert reading.send(msgspec.structs.replace(item, facts={"hint": "ARCHIVE"})) == 0
    assert backup(reading.house, item.guid).hint == "STANDARD_RETENTION"


def test_facts_that_no_column_takes_are_left_out(reading: Reading):
    facts = {"hint": "X" * 50, "keep_until": 1 << 80, "description": "a\0b", "level": 3}
    facts |= {"location": "no guid", "proof": {"time": "soon"}, "damage": 7, "project": "p" * 99}
    item = found(facts=facts, about={"name": "n" * 9000, "disks": "none", "uuid": "u" * 900})
    assert reading.send(item) == 1
    made = backup(reading.house, item.guid)
    assert (made.hint, made.keep_until, made.description) == ("STANDARD_RETENTION", None, None)
    assert (made.level, made.project) == ("STORED", None)
    assert entity(reading.house, item.entity).name == "web"


def test_machines_of_one_uuid_stay_two_machines(reading: Reading):
    items = [found(about={"uuid": "same"}), found(about={"uuid": "same"})]
    assert reading.send(*items) == 2
    uuids = {entity(reading.house, item.entity).uuid for item in items}
    assert uuids == {"same", items[1].entity}


def test_a_backup_that_only_an_extract_names_is_missing_with_an_alarm(reading: Reading):
    item = found(isHere=False)
    reading.send(item)
    assert backup(reading.house, item.guid).location_status == "MISSING"
    with reading.house.app.store.read() as sql:
        assert alarms.seen(sql, AlarmKind.BACKUP_MISSING, item.guid) is not None
    reading.send(msgspec.structs.replace(item, isHere=True))
    assert backup(reading.house, item.guid).location_status == "PRESENT"
    with reading.house.app.store.read() as sql:
        assert alarms.seen(sql, AlarmKind.BACKUP_MISSING, item.guid) is None


def test_a_manifest_that_does_not_open_is_a_damaged_backup(reading: Reading):
    item = found(damaged=True)
    reading.send(item)
    made = backup(reading.house, item.guid)
    assert (made.location_status, made.damage["objects"]) == (
        "DAMAGED",
        [f"manifests/{item.guid}"],
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("at_once", [False, True])
def test_copies_are_joined_with_their_backup_in_any_order(
    reading: Reading, order: tuple[int, ...], at_once: bool
):
    first = found()
    copies = [found(first.entity, labels={"copyOf": first.guid}) for _ in range(2)]
    items = [(first, *copies)[place] for place in order]
    for page in [items] if at_once else [[item] for item in items]:
        reading.send(*page)
    assert backup(reading.house, first.guid).copy_of is None
    assert {backup(reading.house, copy.guid).copy_of for copy in copies} == {first.guid}


def test_copies_of_a_lost_backup_stand_for_it(reading: Reading):
    lost = guid()
    items = [found(labels={"copyOf": lost}, entity=lost) for _ in range(3)]
    for item in items:
        reading.send(item)
    heads = [backup(reading.house, item.guid).copy_of for item in items]
    assert heads == [None, items[0].guid, items[0].guid]


def test_another_task_neither_reads_nor_writes_a_catalogue(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    app = house.app
    assert "writes no extract" in house.refuses(
        Conflict, catalogue_exchange.page, app, node, export.guid, ""
    )
    house.refuses(Conflict, catalogue_exchange.take, app, node, export.guid, [found()])


def test_an_attempt_that_is_over_changes_nothing(reading: Reading):
    stale: Node = reading.node
    reading.house.node()  # a new session of the same node
    with pytest.raises(Fenced):
        reading.send(found())
    with pytest.raises(Fenced):
        catalogue_exchange.page(reading.house.app, stale, reading.task.guid, "")


def pages(reading: Reading, size: int) -> list[CatalogueItem]:
    items, after = [], ""
    with reading.house.app.store.read() as sql:
        while True:
            page = catalogue_pages.page(sql, reading.house.destination.guid, after, size)
            assert len(page.items) <= size
            items += page.items
            if not page.after:
                return items
            after = page.after


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_the_catalogue_is_handed_out_in_pages_each_object_once(reading: Reading, size: int):
    items = [found(name=f"m{number}") for number in range(4)]
    reading.send(*items, found(items[0].entity))
    handed = pages(reading, size)
    assert len({(item.kind, item.guid) for item in handed}) == len(handed) == 4 + 5
    kinds = [item.kind for item in handed]
    assert kinds == sorted(kinds, reverse=True)  # entities before the backups that refer to them


def test_what_is_handed_out_comes_back_as_it_was(reading: Reading):
    facts = {"hint": "ARCHIVE", "keep_until": START + 9, "level": "VERIFIED", "description": "é"}
    item = found(facts=facts, about={"uuid": "u-1", "hardware": {"tags": ["x"]}})
    reading.send(item)
    before = backup(reading.house, item.guid)
    told = {(sent.kind, sent.guid): sent.facts for sent in pages(reading, 1000)}
    with reading.house.app.store.write() as sql:
        for table in (tables.backup, tables.entity):
            sql.execute(table.delete())
    again = msgspec.structs.replace(
        item, facts=told["backup", item.guid], about=told["entity", item.entity]
    )
    reading.send(again)
    after = backup(reading.house, item.guid)
    skipped = {"facts": None}
    assert row_of(after, tables.backup) | skipped == row_of(before, tables.backup) | skipped
    assert entity(reading.house, item.entity).hardware == {"tags": ["x"]}


def test_a_cursor_of_another_form_is_refused(reading: Reading):
    app, task = reading.house.app, reading.task.guid
    with pytest.raises(Malformed, match="after"):
        catalogue_exchange.page(app, reading.node, task, "robert'); --")


def test_a_held_server_is_released_by_reading_the_catalogue(house: House):
    with house.app.store.write() as sql:
        hold.begin(sql, house.clock.now, 1, "restored")
    house.clock.now += 1
    reading = Reading(house)
    reading.send(found())
    reading.finish(extractTime=START)
    maintenance.tick(house.app)
    assert not hold.shown(house.app).held
    with house.app.store.read() as sql:
        [to] = records(sql, tables.destination.select(), type(house.destination))
    assert (to.verify_state["extractTime"], to.verify_state["catalogueRead"]) == (
        START,
        house.clock.now,
    )


OWNER = {"server": guid(), "name": "new", "number": 2, "time": START}


def test_a_destination_that_another_server_owns_is_read_only(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    report = {"destination": house.destination.guid, "owner": OWNER}
    house.finish(
        node, export, type="FULL", snapshotTime=START, size=1, read=1, stored=1, owner=report
    )
    with house.app.store.read() as sql:
        assert alarms.seen(sql, AlarmKind.DESTINATION_TAKEN_OVER, house.destination.guid)
    why = house.refuses(Conflict, house.export)
    assert "belongs to the server new" in why
    house.submit("verify", {"backupDestinations": [{"guid": house.destination.guid}]})
    reading = Reading(house)
    own = {"server": own_server(house), "name": "me", "number": 3, "time": START}
    reading.finish(owner={"destination": house.destination.guid, "owner": own})
    with house.app.store.read() as sql:
        assert not alarms.seen(sql, AlarmKind.DESTINATION_TAKEN_OVER, house.destination.guid)
    house.export(house.entities[1])


def test_an_older_record_replaces_no_newer_one(house: House):
    for number in (5, 4):
        reading = Reading(house)
        owner = {**OWNER, "number": number}
        reading.finish(owner={"destination": house.destination.guid, "owner": owner})
    with house.app.store.read() as sql:
        assert SqlCatalogue(sql).places.destination(house.destination.guid).owner.number == 5


@pytest.mark.parametrize("is_same", [True, False])
def test_a_task_reports_no_owner_of_another_destination_and_no_impossible_record(
    house: House, is_same: bool
):
    other = BackupDestination(
        guid=guid(), name="other", driver="folder", config={}, repository=guid()
    )
    with house.app.store.write() as sql:
        sealed = house.app.vault.seal(other.guid, b"k" * 32)
        rows.add(sql, tables.destination, other, sealed_key=sealed)
    to = house.destination if is_same else other
    number = 100_000_000 if is_same else 2
    Reading(house).finish(owner={"destination": to.guid, "owner": {**OWNER, "number": number}})
    with house.app.store.read() as sql:
        assert SqlCatalogue(sql).places.destination(to.guid).owner.number == 0


def own_server(house: House) -> str:
    from haulback.server.store import epoch

    with house.app.store.read() as sql:
        return epoch.server_of(sql)


def test_a_second_task_that_reads_waits_for_the_first(reading: Reading):
    house = reading.house
    with pytest.raises(Conflict, match="already"):
        attach.read_again(
            house.app, house.destination.guid, house.user, take_over=True, revoked=False
        )
    assert task_service.task(house.app, reading.task.guid, house.user.scope).state == "RUNNING"


def test_a_link_copies_the_backups_that_a_reading_of_its_source_brings(reading: Reading):
    house, to = reading.house, reading.house.destination
    far = msgspec.structs.replace(to, guid=guid(), name="far", repository=guid())
    with house.app.store.write() as sql:
        rows.add(sql, tables.destination, far, sealed_key=house.app.vault.seal(far.guid, b"k" * 32))
    link = NewCopyLink(backupDestination=Ref(far.guid))
    destination_sync.set_links(house.app, to.guid, [link], house.user)
    assert destination_sync.plan_due(house.app) == 0
    reading.send(found())
    assert destination_sync.plan_due(house.app) == 1


def test_an_attached_repository_without_owner_records_is_read_only_until_it_is_taken_over(
    house: House, tmp_path: Path
):
    node = house.node()
    wanted = AttachedDestination(name="old", path=str(tmp_path), keyFile="ab" * 32, allNodes=True)
    to, task = attach.attach(house.app, wanted, house.user)
    house.take(node, task)
    house.finish(node, task, repository=guid(), backups=0)

    def may_write() -> bool:
        with house.app.store.read() as sql:
            return destination_owners.is_ours(sql, SqlCatalogue(sql).places.destination(to.guid))

    assert not may_write()
    _, task = attach.read_again(house.app, to.guid, house.user, take_over=True, revoked=False)
    house.take(node, task)
    own = {"server": own_server(house), "name": "me", "number": 1, "time": START}
    house.finish(
        node, task, repository=guid(), backups=0, owner={"destination": to.guid, "owner": own}
    )
    assert may_write()
