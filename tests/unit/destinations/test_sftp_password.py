"""A password logs in to an SFTP server that accepts passwords; a wrong password is reported by
name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncssh
import msgspec
import pytest

from haulback.contract.destination_types import SftpSettings
from haulback.destinations.background_loop import run
from haulback.destinations.sftp import open_store
from haulback.errors import Conflict, Misconfigured

pytestmark = pytest.mark.slow


class PasswordServer(asyncssh.SSHServer):
    """Users and their passwords; no keys."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("backup", "open sesame")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpSettings]:
    """Settings of a destination on a server that accepts only passwords."""
    folder: Path = tmp_path_factory.mktemp("password")
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=PasswordServer,
            server_host_keys=[key],
            sftp_factory=True,
        )

    server = run(listen())
    yield SftpSettings(
        host="127.0.0.1",
        port=server.get_port(),
        user="backup",
        password="open sesame",
        path=str(folder),
        knownHosts=key.export_public_key().decode(),
    )

    async def close() -> None:
        server.close()
        await server.wait_closed()

    run(close())


def test_a_password_opens_the_destination(settings: SftpSettings):
    store = open_store(settings, "a1")
    store.store("manifests/a", b"x")
    assert store.load("manifests/a") == b"x"
    assert [item.name for item in store.list("manifests")] == ["manifests/a"]
    with pytest.raises(Conflict):
        open_store(settings, "a2").store("manifests/a", b"y")
    store.delete("manifests/a")


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"user": "nobody-here"}])
def test_a_wrong_password_or_user_names_the_settings(settings: SftpSettings, change):
    store = open_store(msgspec.structs.replace(settings, **change), "a1")
    with pytest.raises(Misconfigured, match="check `user`, `key` and `password`") as told:
        store.info("haulback.json")
    assert "open sesame" not in told.value.message
