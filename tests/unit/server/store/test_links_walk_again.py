"""A database of an earlier version copies the backups that its links have skipped."""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from haulback.server.services import maintenance
from haulback.server.store.copy_links import CopyLink, is_due, replace
from haulback.server.store.copy_tables import copy_due, copy_link
from tests.unit.server.conftest import House
from tests.unit.server.services.test_destination_sync import Copies

_MIGRATION = "haulback.server.store.migrations.versions.0037_locked_bytes"


def test_copies_that_lay_on_the_source_of_a_link_before_are_copied(house: House):
    copies = Copies(house)
    backup, third = copies.both(), copies.destination("third")
    with house.app.store.write() as sql:
        replace(sql, copies.far.guid, [CopyLink(copies.far.guid, third.guid, "ARCHIVE", None)], 0)
        sql.execute(sa.update(copy_link).values(due=None))  # an earlier version saw no copies
        sql.execute(sa.delete(copy_due))
        assert not is_due(sql, house.clock.now)
        with Operations.context(MigrationContext.configure(sql)):
            import_module(_MIGRATION).walk_again()
    maintenance.tick(house.app)
    [sync] = copies.syncs()
    copies.copied(sync)
    places = {place.destination for place in copies.locations(backup)}
    assert places == {house.destination.guid, copies.far.guid, third.guid}
