"""Restore of the server's database from a sealed copy, on both databases."""

from __future__ import annotations

import os
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from haulback.errors import Conflict, Damaged, Fenced, Malformed, WrongKey
from haulback.server.key_vault import KeyVault
from haulback.server.services import database_restore, database_stream, node_tasks
from haulback.server.services import tasks as task_service
from haulback.server.services.database_restore import RestoredServer, restore
from haulback.server.store import epoch, hold, nodes, tables
from haulback.server.store.engine import RESTORING, open_store, peek, sqlite_url
from haulback.server.store.schema import known_schemas
from tests import databases
from tests.unit.server.conftest import House

SECRET = b"k" * 32
on_sqlite = pytest.mark.parametrize("house_url", ["sqlite"], indirect=True)


@pytest.fixture
def home(house: House, tmp_path: Path) -> House:
    """A house whose server has a data folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "server.key").write_bytes(bytes(32))
    house.app.vault = KeyVault(bytes(32), folder / "server.key")
    return house


def copied(home: House) -> bytes:
    """The sealed copy that a node receives for its EXPORT."""
    node = home.node("copier")
    [export] = task_service.back_up_database(home.app, None, home.user).heads
    home.take(node, export)
    parts = b"".join(database_stream.stream(home.app, node, export.guid, "c2xvdA=="))
    line, _, data = parts.lstrip(b"\n").partition(b"\n")
    assert msgspec.json.decode(line) == {"size": len(data)}
    return data


@pytest.fixture
def site(home: House, tmp_path: Path, request: pytest.FixtureRequest) -> RestoredServer:
    database = ""
    if not home.app.store.is_sqlite:
        database = databases.new_database(request.getfixturevalue("cluster"), uuid.uuid4().hex)
    return RestoredServer(tmp_path / "new", database)


def into(
    site: RestoredServer, data: bytes, secret: bytes = SECRET
) -> database_restore.RestoredDatabase:
    return restore(site, lambda path: path.write_bytes(data) and None, lambda _: secret)


def url(site: RestoredServer) -> str:
    return site.database or sqlite_url(site.data)


@pytest.fixture
def reopened(site: RestoredServer, home: House) -> Iterator[Any]:
    """A function that opens the restored database as a house."""
    opened: list[House] = []

    def open_house() -> House:
        made = House.__new__(House)
        made.__dict__ |= home.__dict__
        made.app = type(home.app)(open_store(url(site)), home.app.kinds, home.app.vault)
        opened.append(made)
        return made

    yield open_house
    for house in opened:
        house.app.store.close()


def test_a_restored_server_is_held_and_has_ended_what_was_going_on(
    home: House, site: RestoredServer, reopened: Any
):
    node = home.node()
    [running] = home.export(home.entities[0])
    home.take(node, running)
    [queued] = home.export(home.entities[1])
    [harmless] = home.submit("verify", {"backupDestinations": [home.destination.guid]})
    home.take(node, harmless)
    assert into(site, copied(home)).epoch == 1
    assert (site.data / "server.key").read_bytes() == bytes(32)
    assert sorted(path.name for path in site.data.parent.glob("*new*")) == ["new"]
    house = reopened()
    assert house.state(running) == house.state(queued) == "FAILED"
    assert "the server's database was restored" in (house.row(running).status_info or "")
    assert house.state(harmless) == "QUEUED"
    with house.app.store.read() as sql:
        assert hold.is_held(sql)
        assert epoch.current(sql) == 1
        rows = sql.execute(tables.backup.select()).all()
    # Both count as deleted: a clean-up must not delete what a node stored after the copy.
    assert {(row.status, row.gone) for row in rows} == {("FAILED", True)}


def test_an_attempt_of_an_earlier_epoch_reports_nothing(
    home: House, site: RestoredServer, reopened: Any
):
    zombie = home.node()
    [task] = home.submit("verify", {"backupDestinations": [home.destination.guid]})
    home.take(zombie, task)
    into(site, copied(home))
    house = reopened()
    with house.app.store.read() as sql:
        assert [node.session for node in nodes.nodes(sql)] == [None, None]
        assert not sql.execute(tables.node.select().where(tables.node.c.token.is_not(None))).all()
    zombie.attempt = 1
    house.refuses(Fenced, node_tasks.report, house.app, zombie, task.guid)
    again = house.node()
    house.take(again, task)
    assert (again.session or "").startswith("00000001")
    assert house.row(task).attempt_name == f"{task.guid}-10001"
    for old in (zombie, type(zombie)(**{**_members(again), "attempt": 1})):
        house.refuses(Fenced, node_tasks.report, house.app, old, task.guid)
    house.finish(again, task)
    assert house.state(task) == "FINISHED"


def _members(node: Any) -> dict[str, Any]:
    return {name: getattr(node, name) for name in node.__struct_fields__}


@on_sqlite
def test_a_wrong_key_restores_nothing(home: House, site: RestoredServer):
    with pytest.raises(WrongKey, match="check that the kit or key file belongs"):
        into(site, copied(home), b"x" * 32)
    assert not site.data.exists()


@on_sqlite
@pytest.mark.parametrize("change", ["cut", "damage", "no copy"])
def test_a_damaged_copy_restores_nothing_and_a_good_one_does_afterwards(
    home: House, site: RestoredServer, change: str
):
    data = copied(home)
    broken = {
        "cut": data[:-40],
        "damage": data[:-500] + bytes([data[-500] ^ 1]) + data[-499:],
        "no copy": b"SQLite format 3\0" * 10_000,
    }[change]
    with pytest.raises(Damaged):
        into(site, broken)
    assert not site.data.exists()
    assert into(site, data).epoch == 1


@on_sqlite
def test_a_copy_of_a_newer_version_names_the_remedy(home: House, site: RestoredServer):
    newest = f'"schema":"{known_schemas()[0]}"'.encode()
    data = copied(home).replace(newest, b'"schema":"9999"', 1)
    with pytest.raises(Conflict, match="install that Haulback, or a newer one"):
        into(site, data)
    assert not site.data.exists()


def test_a_copy_goes_into_a_database_of_its_kind_only(home: House, site: RestoredServer):
    data = copied(home)
    other = "" if site.database else "postgresql://localhost/haulback"
    with pytest.raises(Malformed, match="--database"):
        into(RestoredServer(site.data, other), data)
    site.data.mkdir()
    (site.data / "file").touch()
    with pytest.raises(Conflict, match="is not empty; name a new folder"):
        into(site, data)


@pytest.mark.parametrize(
    "house_url", [pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
def test_a_postgresql_database_that_holds_tables_is_left_alone(home: House, site: RestoredServer):
    data = copied(home)
    open_store(site.database).close()
    with pytest.raises(Conflict, match="holds tables already"):
        into(site, data)
    open_store(site.database).close()


def test_a_restore_that_dies_anywhere_leaves_nothing_half_done_and_can_be_repeated(
    home: House, site: RestoredServer
):
    data = copied(home)
    lines = _lines_until_the_end(site, data)
    random = Random(7)
    count = 8 if home.app.store.is_sqlite else 5
    for die_at in sorted(random.sample(range(1, lines), count)):
        fresh = _beside(site, die_at)
        assert _died(fresh, data, die_at)
        _check_nothing_half_done(fresh)
        if not fresh.data.exists():
            into(fresh, data)
        _check_held(fresh)


def _beside(site: RestoredServer, number: int) -> RestoredServer:
    """Another location for a restore, with a separate database."""
    data = site.data.with_name(f"new{number}")
    if not site.database:
        return RestoredServer(data)
    name = site.database.partition("@/")[2].partition("?")[0]
    cluster = site.database.replace(name, "{database}", 1)
    return RestoredServer(data, databases.new_database(cluster, uuid.uuid4().hex))


def _check_nothing_half_done(site: RestoredServer) -> None:
    """No server opens a location whose restore has not ended, or the restore is complete and
    held.
    """
    if site.data.exists():
        _check_held(site)
    elif site.database:
        with closing(peek(site.database)) as store:
            names = sa.inspect(store.engine).get_table_names()
        if names:
            # A table that exists without the mark belongs to a complete restore.
            with suppress(Conflict), closing(open_store(site.database)) as store:
                assert RESTORING not in names
                with store.read() as sql:
                    assert hold.is_held(sql)


def _check_held(site: RestoredServer) -> None:
    store = open_store(url(site))
    with store.read() as sql:
        assert hold.is_held(sql)
        assert epoch.current(sql) == 1
    store.close()


def _died(site: RestoredServer, data: bytes, at: int) -> bool:
    """Restore in a process that dies at a line; returns whether it died there."""
    return _in_child(lambda: _restore_until(site, data, at)) == 9


def _lines_until_the_end(site: RestoredServer, data: bytes) -> int:
    """The number of lines that a whole restore executes."""
    other, note = _beside(site, 0), site.data.with_name("lines")
    work = lambda: note.write_text(str(_restore_until(other, data, 1 << 60)))  # noqa: E731
    assert _in_child(work) == 0
    return int(note.read_text())


def _in_child(work: Callable[[], object]) -> int:
    """The exit code of a child process that does some work."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must not go on as a second test run
            traceback.print_exc()
            os._exit(2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _restore_until(site: RestoredServer, data: bytes, at: int) -> int:
    """Restore, and die at the line number `at` of the restore's own files; returns their number."""
    count = 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if "database_restore" not in frame.f_code.co_filename:
            return None
        if event == "line":
            count += 1
            if count == at:
                os._exit(9)
        return step

    sys.settrace(step)
    try:
        into(site, data)
    finally:
        sys.settrace(None)
    return count
