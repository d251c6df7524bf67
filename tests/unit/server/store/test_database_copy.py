"""Copies of the database, made while it is being written."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from haulback.errors import Unavailable
from haulback.server.store import database_copy
from haulback.server.store.engine import parse_url
from tests.unit.server.conftest import House

on_sqlite = pytest.mark.parametrize("house_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize(
    "house_url", [pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


@on_sqlite
def test_a_copy_of_a_busy_sqlite_database_ends_and_has_one_moment(tmp_path: Path, house: House):
    store = house.app.store
    with store.write() as sql:
        sql.exec_driver_sql("CREATE TABLE pair (first INTEGER, second INTEGER)")
        sql.exec_driver_sql("INSERT INTO pair VALUES (0, 0)")
        sql.exec_driver_sql("CREATE TABLE bulk AS SELECT randomblob(8000000) AS data")
    stop = Event()

    def write() -> None:
        while not stop.is_set():
            with store.write() as sql:
                sql.exec_driver_sql("UPDATE pair SET first = first + 1")
                sql.exec_driver_sql("UPDATE pair SET second = second + 1")

    writer = Thread(target=write)
    writer.start()
    try:
        for _ in database_copy.copy(store, tmp_path / "copy"):
            pass
    finally:
        stop.set()
        writer.join()
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(tmp_path / "copy")) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        [(first, second)] = copied.execute("SELECT first, second FROM pair").fetchall()
    assert first == second


@on_postgresql
def test_a_copy_of_postgresql_is_a_dump(tmp_path: Path, house: House):
    for _ in database_copy.copy(house.app.store, tmp_path / "copy"):
        pass
    assert (tmp_path / "copy").read_bytes().startswith(b"PGDMP")


def test_a_copy_that_is_closed_early_leaves_no_file(tmp_path: Path, house: House):
    steps = database_copy.copy(house.app.store, tmp_path / "copy")
    next(steps)
    assert (tmp_path / "copy").exists()
    steps.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "copy").exists()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only one on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_missing_program_of_postgresql_is_named_with_the_remedy(programs: Path):
    with pytest.raises(Unavailable, match=r"pg_dump is not installed.*postgresql-client"):
        database_copy.tool("pg_dump", 99)


def test_an_old_pg_dump_is_refused(programs: Path):
    old = programs / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    old.chmod(0o755)
    assert database_copy.major(database_copy.tool("pg_dump", 99)) == 9
    with pytest.raises(Unavailable, match="has version 9, and the database is PostgreSQL 99"):
        database_copy.fitting("pg_dump", 99)
    old.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    with pytest.raises(Unavailable, match="does not run: broken"):
        database_copy.fitting("pg_dump", 99)


@pytest.mark.parametrize("place", ["u:secret@host/db?", "u@host/db?password=secret&"])
def test_a_password_reaches_the_program_by_its_environment_alone(place: str):
    url = parse_url(f"postgresql://{place}sslmode=require")
    assert "secret" not in database_copy.connection(url)
    assert database_copy.environment(url)["PGPASSWORD"] == "secret"
    assert "PGPASSWORD" not in os.environ
