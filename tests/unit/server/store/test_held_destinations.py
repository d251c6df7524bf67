"""Destinations of a version without automatic retention: their retention waits."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from haulback.ids import new_guid
from haulback.server.store import engine as store_engine
from haulback.server.store import retention
from haulback.server.store.engine import open_store

BEFORE = "0014"  # the last revision whose retention ran only at a user's request


def add(sql: sa.Connection, kind: str, **values: Any) -> str:
    """A row with these values and some value for each required column; returns its guid."""
    table = sa.Table(kind, sa.MetaData(), autoload_with=sql)
    needed = {
        column.name: 1 if column.type.python_type in (int, bool) else "{}"
        for column in table.c
        if not column.nullable and column.server_default is None
    }
    row = {**needed, "guid": new_guid(), **values}
    sql.execute(sa.insert(table).values(row))
    return str(row["guid"])


def test_a_destination_with_retention_and_backups_waits_for_a_confirmation(url: str):
    folder = Path(store_engine.__file__).parent / "migrations"
    config, kept = Config(), '{"retention": {"keepLastNFull": 1}}'
    config.set_main_option("script_location", str(folder))
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as sql:
        config.attributes["connection"] = sql
        command.upgrade(config, BEFORE)
        held = add(sql, "destination", name="held", settings=kept)
        add(sql, "destination", name="empty", settings=kept)
        free = add(sql, "destination", name="free", settings="{}")
        machine = add(sql, "entity", hypervisor=add(sql, "hypervisor"))
        for to in (held, free):
            stored = {"destination": to, "entity": machine, "location": new_guid()}
            add(sql, "backup", status="SUCCESS", **stored)
    engine.dispose()
    store = open_store(url)
    with store.read() as sql:
        assert retention.waiting(sql) == {held: None}
    store.close()
