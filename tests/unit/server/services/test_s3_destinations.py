"""The server half of S3 destinations: locations, single writers, and the effects of a lock."""

from __future__ import annotations

import pytest

from haulback.contract.destinations import ChangedDestination, NewDestination, Retention
from haulback.errors import Conflict, Malformed
from haulback.server.services import destinations
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.units import DAY_MS
from haulback.wire import Ref, Word

BUCKET = {"bucket": "shop", "accessKeyId": "id", "secretAccessKey": "secret"}


def add(house, name: str, nodes: list[str], **settings: object):
    wanted = NewDestination(
        name=name, type=Word("S3"), settings=BUCKET | settings, nodes=[Ref(node) for node in nodes]
    )
    return destinations.add_destination(house.app, wanted, house.user)[0]


def test_a_store_that_replaces_objects_has_one_node(house):
    first, second = house.node(), house.node("n2")
    with pytest.raises(Malformed, match="singleWriter"):
        add(house, "vault", [first.guid, second.guid], singleWriter=True)
    made = add(house, "vault", [first.guid], singleWriter=True)
    wider = ChangedDestination(nodes=[Ref(first.guid), Ref(second.guid)])
    with pytest.raises(Malformed, match="singleWriter"):
        destinations.change_destination(house.app, made.guid, wider, house.user)


def test_two_destinations_at_one_place_are_refused_also_before_the_first_has_a_repository(house):
    node = house.node()
    made = add(house, "vault", [node.guid], prefix="north")
    with pytest.raises(Conflict, match="or remove vault, which has no repository yet"):
        add(house, "again", [node.guid], prefix="north")
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).destinations.initialised(made.guid, made.guid)
    with pytest.raises(Conflict, match="vault is there already"):
        add(house, "third", [node.guid], prefix="north")
    add(house, "fourth", [node.guid], prefix="south")


def test_the_order_of_a_store_carries_the_longer_lock(house):
    node = house.node()
    lock = ChangedDestination(retention=Retention(daysToKeepRetentionLock=9))
    destinations.change_destination(house.app, house.destination.guid, lock, house.user)
    store = house.exported(node)
    with house.app.store.read() as sql:
        order = house.app.kinds["STORE"].prepare(store, SqlCatalogue(sql))
    assert order.lock == 9 * DAY_MS


def test_an_optional_setting_can_be_taken_away_again(house):
    made = add(house, "vault", [house.node().guid], prefix="", proxy="http://proxy:3128")
    assert "prefix" not in made.config
    without = ChangedDestination(settings={"proxy": "", "storageClass": "STANDARD_IA"})
    after = destinations.change_destination(house.app, made.guid, without, house.user)
    assert "proxy" not in after.config
    assert after.config["storageClass"] == "STANDARD_IA"


def test_the_same_path_on_two_ssh_servers_makes_two_destinations(house):
    node, login = house.node(), {"user": "shop", "knownHosts": "a ssh-ed25519 AA", "password": "p"}

    def on(name: str, host: str, path: str) -> None:
        settings = {**login, "host": host, "path": path}
        wanted = NewDestination(
            name=name, type=Word("SFTP"), settings=settings, node=Ref(node.guid)
        )
        destinations.add_destination(house.app, wanted, house.user)

    on("first", "north.example.com", "/srv/backups")
    on("second", "south.example.com", "/srv/backups")
    with pytest.raises(Conflict, match="lies inside the folder of the destination first"):
        on("third", "North.example.com", "/srv/backups/inner")
