"""A repository belongs to one destination of the server, however the repository is attached."""

from __future__ import annotations

import msgspec
import pytest

from haulback.contract.catalogue import AttachedDestination
from haulback.errors import Conflict, Malformed
from haulback.server.services import attach
from haulback.server.store import rows, tables
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
