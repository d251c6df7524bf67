"""The first password of a server, and a password that was lost."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.cli.password_reset import reset_password
from haulback.errors import Malformed, NotFound, Unauthenticated, Unavailable
from haulback.server.main import Server, ServerSettings, admit_admin
from haulback.server.services import users
from tests import databases
from tests.unit.server.conftest import House


def test_a_server_that_cannot_listen_gives_its_password_at_the_next_start(tmp_path: Path):
    databases.migrated_file(tmp_path / "haulback.db")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match="another program listens there"):
            Server(ServerSettings(data=tmp_path, port=port))
    server = Server(ServerSettings(data=tmp_path, port=0))
    password = server.admit()
    assert password
    users.log_in(server.app, "admin", password, "127.0.0.1")
    assert server.admit() is None
    server._socket.close()
    server.app.store.close()


def test_servers_that_start_at_one_moment_create_one_first_user(house: House):
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(admit_admin, house.app, None) for _ in range(4)]
        [password] = [done.result() for done in made if done.result()]
    users.log_in(house.app, "admin", password, "a")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(admit_admin, house.app, "correct horse") for _ in range(4)]:
            done.result()
    users.log_in(house.app, "admin", "correct horse", "b")


def test_a_lost_password_is_set_anew_beside_a_running_server(
    house: House,
    house_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr("sys.argv", ["haulback"])
    reset_password(database=house_url)
    first = capsys.readouterr().out.split()[-1]
    _, token = users.log_in(house.app, "admin", first, "a")
    (tmp_path / "password").write_text("correct horse battery\n")
    reset_password(database=house_url, password_file=tmp_path / "password")
    assert "correct" not in capsys.readouterr().out
    assert users.account_of_token(house.app, token) is None
    with pytest.raises(Unauthenticated):
        users.log_in(house.app, "admin", first, "b")
    users.log_in(house.app, "admin", "correct horse battery", "c")
    assert [line.operation for line in users.audit_log(house.app, None, None, 2)][:1] == [
        "reset password"
    ]
    with pytest.raises(NotFound, match="the users are admin"):
        reset_password("ann", database=house_url)
    monkeypatch.setenv("HAULBACK_NEW_PASSWORD", "a")
    with pytest.raises(Malformed, match="HAULBACK_NEW_PASSWORD: give 8 to 1000 characters"):
        reset_password(database=house_url)
    users.log_in(house.app, "admin", "correct horse battery", "d")
