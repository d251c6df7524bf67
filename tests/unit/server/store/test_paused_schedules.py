"""Schedules of a version that never fired are paused at first, and one event lists them."""

import json
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from haulback.ids import new_guid
from haulback.server.store import engine as store_engine
from haulback.server.store.engine import open_store
from haulback.server.store.schedule_clocks import find

BEFORE = "0013"  # the last revision without clocks


def old_database(url: str, names: list[str]) -> list[str]:
    """A database of the previous version, with schedules of these names; returns their guids."""
    folder = Path(store_engine.__file__).parent / "migrations"
    config, guids = Config(), [new_guid() for _ in names]
    config.set_main_option("script_location", str(folder))
    driver = url.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(driver)
    with engine.begin() as sql:
        config.attributes["connection"] = sql
        command.upgrade(config, BEFORE)
        for guid, name in zip(guids, names, strict=True):
            body = json.dumps({"hour": 0, "interval": {"anything": 1}})
            values = {"guid": guid, "name": name, "body": body, "kind": "schedule"}
            columns = ("guid", "name", "body", "kind", "parent", "created", "modified")
            record = sa.table("record", *map(sa.column, columns))
            sql.execute(sa.insert(record).values(parent="", created=1, modified=1, **values))
    engine.dispose()
    return guids


def events(url: str) -> list[tuple[str, str]]:
    store = open_store(url)
    with store.read() as sql:
        rows = sql.execute(sa.text("SELECT kind, text FROM event")).all()
    store.close()
    return [(row.kind, row.text) for row in rows]


def test_schedules_that_never_fired_begin_paused_and_one_event_lists_them(url: str):
    guids = old_database(url, ["nightly", "weekly"])
    [(kind, text)] = events(url)
    assert kind == "SCHEDULES_PAUSED"
    assert "nightly, weekly" in text
    assert "haulback schedule resume --all" in text
    store = open_store(url)
    with store.read() as sql:
        clocks = [find(sql, guid) for guid in guids]
    store.close()
    assert [(clock.paused, clock.due_at) for clock in clocks if clock] == [(True, None)] * 2


def test_a_database_without_schedules_gets_no_event(url: str):
    old_database(url, [])
    assert events(url) == []
