"""A repository belongs to one destination of the server, however the repository is attached."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from haulback.contract.catalogue import AttachedDestination
from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.server.services import attach, folders
from haulback.server.store import destinations, rows, tables
from haulback.wire import Ref
from tests.unit.server.conftest import House

KEY = "0" * 64


def attached(house: House, path: str, **more: object):
    wanted = AttachedDestination(
        name=path[1:].replace("/", "-"), type="FILESYSTEM", path=path, keyFile=KEY, **more
    )
    return attach.attach(house.app, wanted, house.user)


@pytest.mark.parametrize("path", ["/srv/vault", "/srv/vault/inner", "/srv"])
@pytest.mark.parametrize("is_initialised", [True, False])
def test_a_folder_of_a_destination_is_not_attached_again(
    house: House, path: str, is_initialised: bool
):
    repository = house.destination.repository if is_initialised else None
    to = msgspec.structs.replace(
        house.destination, config={"path": "/srv/vault"}, repository=repository
    )
    with house.app.store.write() as sql:
        rows.change(sql, tables.destination, to)
    with pytest.raises(Conflict, match="the destination bd"):
        attached(house, path, allNodes=True)
    attached(house, "/srv/other", allNodes=True)


def test_a_store_that_is_attached_for_reading_names_the_take_over(house: House):
    node = Ref(house.node().guid)
    attached(house, "/srv/vault", node=node)
    with pytest.raises(Conflict, match="`haulback destination take-over srv-vault`"):
        attached(house, "/srv/vault", node=node, takeOver=True)
    with pytest.raises(Conflict, match=r"the destination srv-vault; name another folder$"):
        attached(house, "/srv/vault/inner", node=node)


def test_a_repository_that_is_found_on_a_second_path_stays_with_its_destination(house: House):
    node = house.node()
    made, task = attached(house, "/mnt/same", node=Ref(node.guid))
    house.take(node, task)
    with pytest.raises(Conflict, match="the destination bd has this repository already"):
        house.finish(node, task, repository=house.destination.repository, backups=1)
    with house.app.store.read() as sql:
        query = tables.destination.select().where(tables.destination.c.guid == made.guid)
        [kept] = rows.records(sql, query, type(made))
    assert kept.repository is None


def test_a_revoked_credential_without_a_take_over_is_refused_by_name(house: House):
    node = Ref(house.node().guid)
    with pytest.raises(Malformed) as caught:
        attached(house, "/srv/vault", node=node, oldCredentialRevoked=True)
    assert caught.value.details["field"] == "oldCredentialRevoked"
    attached(house, "/srv/vault", node=node, oldCredentialRevoked=True, takeOver=True)


def test_of_two_servers_that_attach_one_folder_at_an_instant_one_does(house: House):
    if house.app.store.is_sqlite:
        pytest.skip("SQLite has one writer")
    record = msgspec.structs.replace(
        house.destination, guid=new_guid(), name="first", config={"path": "/srv/vault"}
    )
    with ThreadPoolExecutor() as pool, house.app.store.write() as sql:
        folders.check(sql, record)
        destinations.add(sql, record, "sealed")
        second = pool.submit(attached, house, "/srv/vault", allNodes=True)
        while not (second.done() or is_any_blocked(house)):
            pass
    with pytest.raises(Conflict, match="the destination first"):
        second.result()


def is_any_blocked(house: House) -> bool:
    """Whether a transaction of the database waits for another."""
    with house.app.store.read() as sql:
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return sql.exec_driver_sql(waiting).first() is not None
