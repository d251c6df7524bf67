"""The copy of the database goes to the node that runs its EXPORT, and to no other caller."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from haulback.errors import Conflict, Fenced, Forbidden
from haulback.inventory.own_server import OWN_ENTITY
from haulback.server.key_vault import KeyVault
from haulback.server.services import database_stream, maintenance
from haulback.server.services import tasks as task_service
from haulback.tasks.record import Task
from tests.unit.server.conftest import House


@pytest.fixture
def home(house: House, tmp_path: Path) -> House:
    """A house whose server has a data folder."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "server.key").write_bytes(bytes(32))
    house.app.vault = KeyVault(bytes(32), tmp_path / "server" / "server.key")
    return house


def own_export(home: House) -> Task:
    [export] = task_service.back_up_database(home.app, None, home.user).heads
    return export


def answer(home: House, node: object, task: Task) -> bytes:
    return b"".join(database_stream.stream(home.app, node, task.guid, "c2xvdA=="))  # type: ignore[arg-type]


def test_only_the_node_that_runs_the_export_gets_the_copy(home: House):
    node, other = home.node("n1"), home.node("n2")
    export = own_export(home)
    home.refuses(Fenced, answer, home, node, export)  # not yet taken
    home.take(node, export)
    home.refuses(Forbidden, answer, home, other, export)
    assert answer(home, node, export)
    [machine] = home.export()
    home.take(node, machine)
    home.refuses(Conflict, answer, home, node, machine)
    assert not list((home.app.vault.path.parent / "copies").iterdir())  # type: ignore[union-attr]


def test_a_key_file_that_is_gone_is_named_in_the_answer(home: House):
    node, export = home.node(), own_export(home)
    home.take(node, export)
    path = home.app.vault.path
    assert path
    path.unlink()
    line = answer(home, node, export).lstrip(b"\n")
    assert "server.key is missing" in msgspec.json.decode(line)["message"]


def test_a_copy_of_a_dead_process_is_removed_at_the_start(home: House):
    assert home.app.vault.path
    left = home.app.vault.path.parent / "copies" / "x"
    left.mkdir(parents=True)
    (left / "haulback.db").touch()
    maintenance.start(home.app)
    assert not left.exists()


def test_the_database_is_an_entity_that_lists_of_machines_leave_out(home: House):
    export = own_export(home)
    assert export.ref("protectedEntity") == OWN_ENTITY
    assert export.refs["protectedEntity"].type.name == "APP"  # type: ignore[union-attr]
    [again] = task_service.back_up_database(home.app, home.destination.guid, home.user).heads
    assert home.state(again) == "QUEUED"
    foreign = home.node()
    foreign.version = ""  # a program that opens no session
    assert home.offered(foreign) == []
