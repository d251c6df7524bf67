"""A server starts only with the key that sealed its database."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from haulback.cli.programs import up
from haulback.cli.server_options import ServerOptions
from haulback.contract.destinations import NewDestination
from haulback.contract.nodes import Enrolled
from haulback.errors import Conflict, HaulbackError, WrongKey
from haulback.node.state_dir import NodeIdentity, write_identity
from haulback.server.main import Server, ServerSettings
from haulback.server.services import destinations, own_key
from haulback.server.store import nodes, sealed_secrets, tables
from tests import databases


def begun(data: Path, database: str, *, seals: bool = True) -> Server:
    """A server that is open and does not answer yet; with a destination if `seals`."""
    server = Server(ServerSettings(data=data, database=database, port=0, password="correct horse"))
    if seals and not destinations.all_destinations(server.app):
        with server.app.store.write() as sql:
            nodes.admit(sql, Enrolled(*["11111111-1111-4111-8111-111111111111"] * 2), "n", 1)
        destinations.add_destination(server.app, NewDestination(name="vault", path="/srv/vault"))
    return server


def closed(server: Server) -> None:
    server._socket.close()
    server.app.store.close()


def missing(key: Path) -> None:
    key.unlink()


def another(key: Path) -> None:
    key.write_bytes(os.urandom(32))


def cut(key: Path) -> None:
    key.write_bytes(key.read_bytes()[:16])


@pytest.mark.slow
@pytest.mark.parametrize("harm", [missing, another, cut])
def test_a_server_without_the_key_of_its_database_does_not_start(
    tmp_path: Path, url: str, harm: Callable[[Path], None]
):
    closed(begun(tmp_path, url))
    key = tmp_path / "server.key"
    right = key.read_bytes()
    harm(key)
    before = key.read_bytes() if key.exists() else None
    with pytest.raises(
        (Conflict, WrongKey), match=r"put the server's key file back|put a copy of the file back"
    ):
        begun(tmp_path, url)
    assert (key.read_bytes() if key.exists() else None) == before
    key.write_bytes(right)
    closed(begun(tmp_path, url))


@pytest.mark.parametrize("seals", [True, False])
@pytest.mark.parametrize("has", ["no file", "a file of its own"])
def test_two_servers_with_two_keys_do_not_share_a_database(
    tmp_path: Path, cluster_url: str, seals: bool, has: str
):
    first = begun(tmp_path / "first", cluster_url, seals=seals)
    other = tmp_path / "other"
    other.mkdir()
    if has != "no file":
        (other / "server.key").write_bytes(os.urandom(32))
    with pytest.raises((Conflict, WrongKey), match="put the server's key file back"):
        begun(other, cluster_url)
    assert (other / "server.key").exists() == (has != "no file")
    (other / "server.key").write_bytes((tmp_path / "first" / "server.key").read_bytes())
    closed(begun(other, cluster_url))
    closed(first)


def test_servers_that_begin_a_database_together_agree_on_one_key(tmp_path: Path, cluster_url: str):
    closed(begun(tmp_path / "migrated", cluster_url, seals=False))
    with_none = begun(tmp_path / "migrated", cluster_url, seals=False)
    with with_none.app.store.write() as sql:
        sql.execute(tables.key_check.delete())
    closed(with_none)
    (tmp_path / "migrated" / "server.key").unlink()
    started: list[Server] = []
    refused: list[HaulbackError] = []
    together = threading.Barrier(2)

    def begin(name: str) -> None:
        together.wait()
        try:
            started.append(begun(tmp_path / name, cluster_url, seals=False))
        except HaulbackError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(started), len(refused)) == (1, 1)
    closed(started[0])


def test_a_database_of_an_earlier_version_is_checked_by_its_sealed_keys(tmp_path: Path, url: str):
    server = begun(tmp_path, url)
    with server.app.store.write() as sql:
        sql.execute(tables.key_check.delete())
    closed(server)
    right = (tmp_path / "server.key").read_bytes()
    (tmp_path / "server.key").write_bytes(os.urandom(32))
    with pytest.raises(WrongKey, match="vault"):
        begun(tmp_path, url)
    (tmp_path / "server.key").write_bytes(right)
    server = begun(tmp_path, url)
    with server.app.store.read() as sql:
        assert sealed_secrets.check(sql) is not None
    closed(server)


@pytest.mark.slow
def test_an_embedded_database_that_seals_nothing_may_begin_anew(tmp_path: Path):
    for harm in (missing, another):
        closed(begun(tmp_path, "", seals=False))
        harm(tmp_path / "server.key")
    closed(begun(tmp_path, ""))


@pytest.mark.slow
def test_up_refuses_another_key_too(tmp_path: Path):
    server = begun(tmp_path, "")
    write_identity(tmp_path / "node", NodeIdentity(*["22222222-2222-4222-8222-222222222222"] * 2))
    closed(server)
    (tmp_path / "server.key").unlink()
    with pytest.raises(Conflict, match=r"server\.key is missing"):
        up(how=ServerOptions(data=tmp_path, port=0))
    another(tmp_path / "server.key")
    with pytest.raises(WrongKey, match="opens no key"):
        up(how=ServerOptions(data=tmp_path, port=0))


@pytest.mark.slow
@pytest.mark.parametrize("harm", [missing, another])
def test_a_running_server_whose_key_file_is_exchanged_is_not_ready(
    tmp_path: Path, harm: Callable[[Path], None]
):
    server = begun(tmp_path, "")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert httpx2.get(f"{server.url}/api/readyz").status_code == 200
        right = (tmp_path / "server.key").read_bytes()
        harm(tmp_path / "server.key")
        answer = httpx2.get(f"{server.url}/api/readyz")
        assert (answer.status_code, "server.key" in answer.text) == (503, True)
        (tmp_path / "server.key").write_bytes(right)
        assert httpx2.get(f"{server.url}/api/readyz").status_code == 200
        with server.app.store.write() as sql:
            sql.execute(tables.key_check.update().values(sealed="AAAA"))
        assert httpx2.get(f"{server.url}/api/readyz").status_code == 503
        assert own_key.trouble(server.app.vault, server.app.store)
    finally:
        server.stop()
        thread.join()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o600])
def test_a_key_that_other_users_can_use_is_a_warning_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
):
    databases.migrated_file(tmp_path / "haulback.db")
    key = tmp_path / "server.key"
    key.write_bytes(bytes(32))
    key.chmod(mode)
    closed(begun(tmp_path, "", seals=False))
    warned = [record.getMessage() for record in caplog.records if "chmod" in record.getMessage()]
    expected = f"{key} can be used by other users (mode {mode:04o}): run chmod 600 {key}"
    assert warned == ([] if mode == 0o600 else [expected])
