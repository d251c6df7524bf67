"""`haulback repository` lists, reads, forgets and opens by key, passphrase or recovery kit."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from haulback.cli import repository as command
from haulback.cli import stored_backups
from haulback.cli.confirmation import Consent
from haulback.cli.repository_location import StoreOptions
from haulback.cli.repository_restore import ls
from haulback.cli.stored_backups import backup_named
from haulback.destinations.folder import Folder
from haulback.errors import Conflict, Malformed, NotFound
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.units import MIB
from tests.unit.repository.scene import MemoryDisk, back_up, export, noise


class Made:
    """A repository that the command created, with one backup of one disk."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor) -> None:
        self.folder, self.key = root / "d", root / "key"
        command.init(self.folder, key_file=self.key)
        self.repository = Repository.open(Folder(self.folder), Secret.keyfile(self.key))
        self.disk = MemoryDisk(noise(MIB, 3) + bytes(3 * MIB))
        self.backup = back_up(self.repository, self.disk, root / "s", pool)


@pytest.fixture
def made(tmp_path: Path, pool: ThreadPoolExecutor) -> Made:
    return Made(tmp_path, pool)


def test_a_second_init_keeps_the_first_key_and_leaves_no_other(made: Made, tmp_path: Path):
    key, other = made.key.read_bytes(), tmp_path / "other"
    for file in (made.key, other):
        with pytest.raises(Conflict, match="holds a repository already"):
            command.init(made.folder, key_file=file)
    assert made.key.read_bytes() == key
    assert not other.exists()


def test_a_failed_init_leaves_no_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(Repository, "init", fail)
    with pytest.raises(OSError, match="disk"):
        command.init(tmp_path / "d", key_file=tmp_path / "key")
    assert not (tmp_path / "key").exists()


def test_backups_are_listed_as_text_and_as_json(made: Made, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    ls(made.folder, key_file=made.key)
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["backup", "machine", "type", "time", "size", "stored", "disks"]
    assert row.startswith(made.backup.backup)
    assert made.backup.entity_name in row
    ls(made.folder, key_file=made.key, json=True)
    assert json.loads(capsys.readouterr().out)["backup"] == made.backup.backup


def test_the_printed_kit_opens_the_repository(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    command.print_kit(made.folder, key_file=made.key)
    (tmp_path / "kit").write_text(capsys.readouterr().out)
    ls(made.folder, kit=tmp_path / "kit")
    assert made.backup.backup in capsys.readouterr().out
    with pytest.raises(Malformed, match="cannot be read"):
        ls(made.folder, kit=tmp_path / "nothing")


def test_the_kit_of_a_store_is_printed_by_type_and_settings(
    made: Made, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    store = StoreOptions(kind="FILESYSTEM", setting=[f"path={made.folder}"])
    command.print_kit(key_file=made.key, store=store)
    assert made.repository.guid in capsys.readouterr().out
    with pytest.raises(Malformed, match="name the FOLDER, or another store by --type"):
        command.print_kit(key_file=made.key)


def test_a_store_without_a_repository_is_named_with_its_settings(made: Made, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    store = StoreOptions(kind="FILESYSTEM", setting=[f"path={tmp_path}/empty"])
    with pytest.raises(
        NotFound, match=f"^FILESYSTEM path={tmp_path}/empty: there is no repository"
    ):
        ls(key_file=made.key, store=store)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_disk_is_written_to_a_new_file_or_to_standard_output(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_name: bool
):
    name = made.backup.disks[0].name if by_name else None
    output = tmp_path / "image"
    command.cat(made.folder, made.backup.backup, name, output=output, key_file=made.key)
    assert output.read_bytes() == made.disk.data
    with pytest.raises(Malformed, match="exists already"):
        command.cat(made.folder, made.backup.backup, name, output=output, key_file=made.key)
    buffer = io.BytesIO()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=buffer))
    command.cat(made.folder, made.backup.backup, name, key_file=made.key)
    assert buffer.getvalue() == made.disk.data


def test_a_backup_is_named_by_the_beginning_of_its_guid_by_its_machine_or_as_the_latest(
    made: Made, tmp_path: Path, pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
):
    staging = tmp_path / "later"
    draft = export(made.repository, MemoryDisk(noise(MIB, 4)), staging, pool)
    newer = replace(draft.manifest, snapshot_time=draft.manifest.snapshot_time + 1)
    later = made.repository.publish(staging, replace(draft, manifest=newer))
    words = [made.backup.backup[:6], made.backup.backup[:20].upper()]
    words += ["latest", f"latest:{later.entity_name}", later.entity_name]
    named = [backup_named(made.repository, word).backup for word in words]
    assert named == [made.backup.backup] * 2 + [later.backup] * 3
    for word in ("nobody", "latest:nobody", "000000"):
        with pytest.raises(NotFound, match="`haulback repository ls` lists the backups"):
            backup_named(made.repository, word)
    capsys.readouterr()
    words = (later.backup[:8], later.backup)  # the same backup is deleted and told once
    command.forget(made.folder, *words, key_file=made.key, consent=Consent(yes=True))
    assert capsys.readouterr().out.count(f"{later.backup} is deleted") == 1
    assert [kept.backup for kept in made.repository.backups()] == [made.backup.backup]


def test_a_beginning_of_two_backups_is_refused_with_both(made: Made):
    guids = ["abcdef00-0000-4000-8000-000000000001", "abcdef00-0000-4000-8000-000000000002"]
    with pytest.raises(Malformed, match=", ".join(guids)):
        stored_backups._begun(guids, "abcdef")


def test_a_place_without_a_repository_is_named_with_the_remedy(made: Made, tmp_path: Path):
    with pytest.raises(NotFound, match=f"^{tmp_path}: .* the location that holds haulback.json"):
        command.cat(tmp_path, "latest", key_file=made.key)


def test_a_disk_that_the_backup_lacks_is_refused_with_the_names(made: Made):
    with pytest.raises(NotFound, match=made.backup.disks[0].name):
        command.cat(made.folder, made.backup.backup, "vdz", key_file=made.key)


def test_a_failed_restore_leaves_no_file(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OSError("no pack")

    monkeypatch.setattr(command, "restore_disk", fail)
    with pytest.raises(OSError, match="no pack"):
        command.cat(made.folder, made.backup.backup, output=tmp_path / "image", key_file=made.key)
    assert not (tmp_path / "image").exists()


def test_a_backup_is_forgotten_and_a_missing_one_given_up(
    made: Made, capsys: pytest.CaptureFixture[str]
):
    missing = "11111111-1111-4111-8111-111111111111"
    with pytest.raises(Malformed, match="at least one backup"):
        command.forget(made.folder, key_file=made.key, consent=Consent(yes=True))
    command.forget(
        made.folder, made.backup.backup, missing, key_file=made.key, consent=Consent(yes=True)
    )
    said = capsys.readouterr().out
    assert f"{made.backup.backup} is deleted" in said
    assert f"{missing} is missing and is given up" in said
    assert list(made.repository.backups()) == []


def test_a_passphrase_opens_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HAULBACK_PASSPHRASE", raising=False)
    assert command.secret_of(None) is None
    with pytest.raises(Malformed, match="HAULBACK_PASSPHRASE"):
        command.init(tmp_path / "d")
    monkeypatch.setenv("HAULBACK_PASSPHRASE", "correct horse")
    assert command.secret_of(None) is not None
    command.init(tmp_path / "d")
    ls(tmp_path / "d")
