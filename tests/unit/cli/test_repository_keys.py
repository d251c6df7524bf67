"""Key files for users: each exported key opens the repository of its destination."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from haulback.cli.destinations import key as command
from haulback.cli.repository_keys import key_of
from haulback.contract.order_records import BackupDestination
from haulback.destinations.folder import Folder
from haulback.errors import Conflict, HaulbackError, Malformed, NotFound, Unavailable, WrongKey
from haulback.ids import new_guid
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.server.key_vault import KeyVault
from haulback.server.main import Server, ServerSettings
from haulback.server.store import rows, tables
from haulback.server.store.engine import open_store


class Kept:
    """A server's data folder, and the folder of its destination `bd` with a repository."""

    def __init__(self, folder: Path) -> None:
        self.data, self.place = folder / "data", folder / "bd"
        self.data.mkdir(), self.place.mkdir()
        self.secret = os.urandom(32)
        made = Repository.init(Folder(self.place), Secret("keyfile", self.secret))
        self.save(self.secret, made.guid)

    def save(self, secret: bytes, repository: str | None) -> None:
        """Write a database with one destination whose key is `secret`."""
        for path in self.data.glob("haulback.db*"):
            path.unlink()
        vault = KeyVault.open(self.data / "server.key")
        store = open_store(f"sqlite:///{self.data}/haulback.db")
        record = BackupDestination(
            guid=new_guid(),
            name="bd",
            driver="folder",
            config={"path": str(self.place)},
            repository=repository,
        )
        self.guid = record.guid
        with store.write() as sql:
            sealed = vault.seal(record.guid, secret)
            rows.add(sql, tables.destination, record, sealed_key=sealed)
        store.close()

    def key(self, **more: object) -> str:
        return key_of(self.data, "", "bd", **more)  # type: ignore[arg-type]

    def refuses(self, kind: type[HaulbackError], **more: object) -> str:
        with pytest.raises(kind) as caught:
            self.key(**more)
        assert self.secret.hex() not in caught.value.message
        return caught.value.message


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_key_that_opens_its_repository_is_given(kept: Kept):
    assert kept.key() == kept.secret.hex()
    assert key_of(kept.data, "", kept.guid[:6]) == kept.secret.hex()
    with pytest.raises(NotFound, match="there is no destination"):
        key_of(kept.data, "", "other")


@pytest.mark.parametrize("known", ["never made", "made elsewhere"])
def test_a_key_that_opens_another_ones_repository_not_is_never_given(kept: Kept, known: str):
    kept.save(os.urandom(32), new_guid() if known == "made elsewhere" else None)
    for unchecked in (False, True):
        why = kept.refuses(WrongKey, unchecked=unchecked)
        assert "another server made this repository: attach it" in why
        assert str(kept.place) in why


def test_a_key_that_opens_a_repository_of_another_guid_is_not_given(kept: Kept):
    kept.save(kept.secret, new_guid())
    assert "another server made" in kept.refuses(WrongKey, unchecked=True)


def test_a_repository_that_was_exchanged_gives_no_key(kept: Kept):
    shutil.rmtree(kept.place)
    kept.place.mkdir()
    Repository.init(Folder(kept.place), Secret("keyfile", os.urandom(32)))
    assert "another server made" in kept.refuses(WrongKey)


def test_a_key_that_cannot_be_tried_is_given_only_on_demand(kept: Kept):
    away = kept.place.with_name("away")
    kept.place.rename(away)
    why = kept.refuses(Unavailable)
    assert "--unchecked" in why
    assert "--folder" in why
    assert kept.key(unchecked=True) == kept.secret.hex()
    assert kept.key(folder=away) == kept.secret.hex()
    kept.place.mkdir()  # the mount point exists and is empty
    kept.refuses(Unavailable)
    for name in ("haulback.json", "haulback.copy.json"):
        (kept.place / name).write_bytes(b"torn")
    kept.refuses(Unavailable)


def test_a_destination_without_a_repository_gives_no_key(kept: Kept):
    kept.save(kept.secret, None)
    assert kept.key() == kept.secret.hex()  # created, but the server has no report of it yet
    shutil.rmtree(kept.place)
    for unchecked in (False, True):
        kept.refuses(Conflict, unchecked=unchecked)


def test_a_key_file_is_private_and_never_overwrites_another_key(kept: Kept, tmp_path: Path):
    file = tmp_path / "usb.key"
    for _ in range(2):  # the same result again changes nothing
        command("bd", output=file, data=kept.data)
        assert file.read_text() == kept.secret.hex() + "\n"
        assert file.stat().st_mode & 0o777 == 0o600
    for other in (b"", os.urandom(32).hex().encode(), b"\xff" * 100_000):
        file.write_bytes(other)
        with pytest.raises(Conflict, match="other content"):
            command("bd", output=file, data=kept.data)
        assert file.read_bytes() == other
    with pytest.raises(Conflict):
        command("bd", output=tmp_path, data=kept.data)
    with pytest.raises(Unavailable):
        command("bd", output=tmp_path / "no" / "folder", data=kept.data)
    with pytest.raises(Malformed, match="--output"):
        command("bd", output=tmp_path / "new", unchecked=True, data=kept.data)
    kept.save(os.urandom(32), None)
    with pytest.raises(WrongKey):
        command("bd", output=tmp_path / "new", data=kept.data)
    assert not (tmp_path / "new").exists()


def test_a_server_makes_no_new_key_beside_keys_that_another_one_sealed(kept: Kept):
    key = (kept.data / "server.key").read_bytes()
    (kept.data / "server.key").unlink()
    with pytest.raises(Conflict, match="put the server's key file back"):
        Server(ServerSettings(data=kept.data, port=0))
    assert not (kept.data / "server.key").exists()
    with pytest.raises(NotFound):
        kept.key()
    (kept.data / "server.key").write_bytes(os.urandom(32))
    kept.refuses(WrongKey, unchecked=True)
    (kept.data / "server.key").write_bytes(key)
    assert kept.key() == kept.secret.hex()
    assert key_of(kept.data, "", kept.guid[:6]) == kept.secret.hex()
