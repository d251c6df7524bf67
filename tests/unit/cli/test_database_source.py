"""Copies of a server's database at a location, and the secrets that open them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from haulback.cli.database_source import DatabaseSource
from haulback.cli.repository_location import open_location
from haulback.errors import Damaged, HaulbackError, Malformed, NotFound, WrongKey
from haulback.ids import new_guid
from haulback.repository.keys import Keys, Secret
from haulback.repository.repository import Repository
from haulback.server.key_vault import CopyCipher
from haulback.server.sealed_copy import CopyHead, sealed

MINE = Keys.generate()


def head(slot: bytes) -> CopyHead:
    return CopyHead(
        haulback="1",
        schema="0018",
        database="SQLITE",
        made=1,
        destination="bd",
        repository="r",
        slot=base64.b64encode(slot).decode(),
        parts=[],
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A sealed copy that a RESTORE wrote."""
    path = tmp_path / "copy"
    made = head(MINE.enclose(b"k" * 32))
    path.write_bytes(b"".join(sealed(made, [], CopyCipher(b"k" * 32, "r"))))
    return path


def paper(folder: Path, keys: Keys) -> Path:
    path = folder / "kit"
    path.write_text(keys.kit(new_guid()))
    return path


def test_a_kit_or_the_key_file_opens_a_copy_in_a_file(tmp_path: Path, copy: Path):
    made = head(MINE.enclose(b"k" * 32))
    by_kit = DatabaseSource(copy, paper(tmp_path, MINE), None)
    assert by_kit.secret(made) == b"k" * 32
    key = tmp_path / "key"
    key.write_text((b"k" * 32).hex())
    assert DatabaseSource(copy, None, key).secret(made) == b"k" * 32
    by_kit.writer("")(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == copy.read_bytes()
    with pytest.raises(Malformed, match="--data"):
        by_kit.rows()
    with pytest.raises(Malformed, match="--kit"):
        DatabaseSource(copy, None, None)


def test_the_kit_of_another_repository_opens_no_copy(tmp_path: Path, copy: Path):
    other = DatabaseSource(copy, paper(tmp_path, Keys.generate()), None)
    with pytest.raises(WrongKey, match="belongs to another repository"):
        other.secret(head(MINE.enclose(b"k" * 32)))
    with pytest.raises(WrongKey):
        other.secret(head(b"too short"))
    broken = CopyHead(
        **{**{n: getattr(head(b""), n) for n in CopyHead.__struct_fields__}, "slot": "!"}
    )
    with pytest.raises(Damaged, match="head of the sealed copy is damaged"):
        other.secret(broken)


def test_a_repository_without_a_database_says_so(tmp_path: Path):
    folder = tmp_path / "repository"
    folder.mkdir()
    repository = Repository.init(open_location(folder), Secret("keyfile", b"k" * 32))
    found = DatabaseSource(folder, paper(tmp_path, repository.keys), None)
    assert found.rows() == []
    with pytest.raises(NotFound, match="holds no backup of a Haulback database"):
        found.writer("")
    with pytest.raises(HaulbackError):
        DatabaseSource(folder, paper(tmp_path, MINE), None)
