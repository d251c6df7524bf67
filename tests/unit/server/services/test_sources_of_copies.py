"""A copy reads from its source: changes and failures of the source count for the copy."""

from __future__ import annotations

import pytest

from haulback.contract.destinations import ChangedDestination
from haulback.errors import Conflict
from haulback.server.services import destinations
from haulback.wire import Ref
from tests.unit.server.conftest import House
from tests.unit.server.services.test_destination_sync import Copies


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def test_a_waiting_copy_follows_the_nodes_of_its_source(copies: Copies):
    house, other = copies.house, copies.house.node("n2")
    copies.stored(copies.rule())
    [sync] = copies.syncs()
    source, app = house.destination.guid, house.app
    change = ChangedDestination(nodes=[Ref(other.guid)])
    destinations.change_destination(app, source, change, house.user)
    assert house.row(sync).pinned_node == other.guid
    house.take(other, sync)
    change = ChangedDestination(nodes=[Ref(copies.node.guid)])
    with pytest.raises(Conflict, match="a BACKUP_DESTINATION_SYNC on node n2 needs it"):
        destinations.change_destination(app, source, change, house.user)
