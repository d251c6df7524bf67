"""Lost increment bases: each has a reason, and two transactions may delete the same one."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from haulback.server.store import given_up
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from tests.unit.server.conftest import House


def based(house: House) -> str:
    """The backup that is the base of the first machine."""
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    return str(store.ref("backup"))


def reason(house: House) -> str:
    entity = house.entities[0].guid
    with house.app.store.read() as sql:
        known = SqlCatalogue(sql).bases
        assert known.of_entity(entity) == []
        return known.why_lost(entity, house.destination.guid)


def void(house: House, why: str) -> None:
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).bases.void(house.entities[0].guid, why)


def wait_for_lock(house: House) -> None:
    """Wait until another transaction waits for a row; on SQLite it waits at its beginning."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while house.app.store.engine.dialect.name == "postgresql":
        with house.app.store.read() as sql:
            if sql.scalar(waiting):
                return


def test_two_transactions_that_give_up_one_base_both_succeed(house: House):
    based(house)
    with ThreadPoolExecutor(1) as pool:
        with house.app.store.write() as sql:
            SqlLedger(sql, house.clock.now).bases.void(house.entities[0].guid, "first")
            second = pool.submit(void, house, "second")
            wait_for_lock(house)
        second.result()
    assert reason(house) in ("first", "second")


def test_a_base_whose_backup_is_removed_has_a_reason(house: House):
    backup = based(house)
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).removals.remove([backup], "retention")
    assert reason(house) == "its backup was removed"


def test_a_base_whose_backup_is_given_up_has_a_reason(house: House):
    based(house)
    with house.app.store.write() as sql:
        where = given_up.on_destination(house.destination.guid)
        given_up.remove_locations(sql, SqlLedger(sql, house.clock.now), where, [])
    assert reason(house) == "its backup was given up"
