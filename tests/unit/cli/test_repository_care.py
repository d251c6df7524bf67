"""`haulback repository` verifies, repairs and cleans, and its exit code reports damage."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

import pytest

from haulback.cli import repository as command
from haulback.cli import repository_care as care
from haulback.cli.confirmation import Consent
from haulback.destinations.folder import Folder
from haulback.errors import Conflict, Malformed
from haulback.repository.cleanup_preview import preview_clean_up
from haulback.repository.keys import Secret
from haulback.repository.owners import OwnerRecord
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.units import MIB, counted
from tests.unit.repository.scene import MemoryDisk, back_up, noise

YES = Consent(yes=True)

Out = pytest.CaptureFixture[str]


class Made:
    """A repository with two backups of different machines."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor) -> None:
        self.folder, self.key = root / "d", root / "key"
        command.init(self.folder, key_file=self.key)
        self.repository = Repository.open(Folder(self.folder), Secret.keyfile(self.key))
        self.backups = [
            back_up(self.repository, MemoryDisk(noise(MIB, seed)), root / "s", pool)
            for seed in (1, 2)
        ]

    def spoil(self, folder: str) -> None:
        """Change a byte in the middle of the first object of a folder."""
        path = min(file for file in (self.folder / folder).rglob("*") if file.is_file())
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.chmod(0o600)
        path.write_bytes(raw)


@pytest.fixture
def made(tmp_path: Path, pool: ThreadPoolExecutor, capsys: Out) -> Made:
    result = Made(tmp_path, pool)
    capsys.readouterr()
    return result


def damaged(call, *given: object, **more: object) -> None:
    """Run a command that must exit with 1."""
    with pytest.raises(SystemExit) as ended:
        call(*given, **more)
    assert ended.value.code == 1


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_whole_repository_is_verified_and_nothing_is_written(made: Made, capsys: Out, depth: int):
    before = {item.name for item in made.repository.destination.list("damage")}
    care.verify_command(made.folder, depth=depth, key_file=made.key)
    assert capsys.readouterr().out.startswith("2 backups, ")
    assert {item.name for item in made.repository.destination.list("damage")} == before


@pytest.mark.parametrize("record", [True, False])
def test_damage_is_listed_with_a_stranger_and_the_exit_code_is_1(
    made: Made, capsys: Out, record: bool
):
    made.spoil("packs")
    (made.folder / "packs" / "no pack").write_bytes(b"")
    damaged(care.verify_command, made.folder, record=record, key_file=made.key)
    said = capsys.readouterr().out
    assert "DAMAGED  " in said
    assert "FOREIGN  packs/no pack is not a file" in said
    assert "`haulback repository repair` lists the possible repairs" in said


def test_a_whole_repository_needs_no_repair(made: Made, capsys: Out):
    (made.folder / "packs" / "no pack").write_bytes(b"")
    care.repair_command(made.folder, key_file=made.key)
    said = capsys.readouterr().out
    assert "nothing to repair" in said
    assert "FOREIGN  packs/no pack" in said


def test_a_repair_is_listed_first_and_carried_out_on_demand(made: Made, capsys: Out):
    made.spoil("index")
    care.repair_command(made.folder, key_file=made.key)
    said = capsys.readouterr().out
    assert "WOULD DO " in said
    assert "add --apply to carry the repair out" in said
    care.repair_command(made.folder, apply=True, consent=YES, key_file=made.key)
    assert "DONE     " in capsys.readouterr().out
    care.verify_command(made.folder, key_file=made.key)


def test_lost_data_is_named_and_the_exit_code_is_1(made: Made, capsys: Out):
    made.spoil("packs")
    damaged(care.repair_command, made.folder, key_file=made.key)
    assert "LOST     " in capsys.readouterr().out


def test_replaced_index_files_are_counted(made: Made, capsys: Out):
    care.sweep(made.folder, key_file=made.key)
    assert capsys.readouterr().out == "0 replaced index files deleted\n"


def test_a_clean_up_names_a_manifest_that_cannot_be_read(made: Made, capsys: Out, tmp_path: Path):
    care.clean(made.folder, work=tmp_path, key_file=made.key, consent=YES)
    assert capsys.readouterr().out.startswith("2 backups kept, 0 packs deleted")
    made.spoil("manifests")
    damaged(care.clean, made.folder, work=tmp_path, key_file=made.key, consent=YES)
    said = capsys.readouterr().out
    assert "DAMAGED  the manifest of backup" in said
    assert "0 packs deleted" in said


def stored_bytes(made: Made) -> int:
    return sum(item.size for item in made.repository.objects.list("packs"))


@pytest.mark.parametrize("shared", [False, True], ids=["dead packs", "mostly dead packs"])
def test_a_dry_run_of_a_clean_up_names_the_bytes_that_it_frees(
    made: Made, tmp_path: Path, pool: ThreadPoolExecutor, capsys: Out, shared: bool
):
    if shared:  # a quarter of the packs of the first backup stays in use
        part = MemoryDisk(noise(MIB, 1)[: MIB // 4])
        back_up(made.repository, part, tmp_path / "part", pool)
    made.repository.forget(made.backups[0].backup)
    before, there = stored_bytes(made), names(made)
    care.clean(made.folder, work=tmp_path, key_file=made.key, consent=Consent(dry_run=True))
    said = capsys.readouterr().out
    assert (names(made), stored_bytes(made)) == (there, before)
    assert re.search(
        rf"no backup needs is deleted: \d packs?, about \d.*; {counted(1 + shared, 'backup')} kept",
        said,
    )
    preview = preview_clean_up(made.repository, empty(tmp_path), Resources(pool))
    care.clean(made.folder, work=tmp_path, key_file=made.key, consent=YES)
    freed = before - stored_bytes(made)
    assert freed > MIB // 2
    assert preview.bytes == pytest.approx(freed, rel=0.25 if shared else 0.01)
    assert preview_clean_up(made.repository, empty(tmp_path), Resources(pool)).bytes == 0


def test_a_preview_with_an_unlisted_pack_stores_no_index_file(
    made: Made, tmp_path: Path, pool: ThreadPoolExecutor
):
    next((made.folder / "index").iterdir()).unlink()
    before = names(made)
    preview = preview_clean_up(made.repository, empty(tmp_path), Resources(pool))
    assert (preview.backups, preview.packs) == (2, 0)
    assert names(made) == before


@pytest.mark.parametrize("word", ["latest", "db", "latest:db"])
def test_a_deletion_is_refused_for_a_name(made: Made, word: str):
    with pytest.raises(Malformed, match="is no guid of a backup"):
        command.forget(made.folder, word, key_file=made.key, consent=YES)


def empty(root: Path) -> Path:
    return Path(mkdtemp(dir=root))


@pytest.mark.parametrize("deletion", ["clean", "forget", "repair", "sweep"])
def test_a_command_that_deletes_acts_for_the_owner_and_waits_like_the_owner(
    made: Made, capsys: Out, deletion: str
):
    owners, now = made.repository.owners, time.time_ns() // 1_000_000
    owners.claim(1, OwnerRecord("guid-of-old", "old", now))
    run_command(made, deletion)
    assert "the server old owns the repository (owner record 1)" in capsys.readouterr().out
    made.spoil("index")
    owners.claim(2, OwnerRecord("guid-of-new", "new", now))
    before = names(made)
    if deletion == "repair":
        run_command(made, deletion)
        assert "stays in place: nothing is deleted for another 24 hours" in capsys.readouterr().out
    else:
        with pytest.raises(Conflict, match="nothing is deleted for another 24 hours"):
            run_command(made, deletion)
    assert before <= names(made)


def names(made: Made) -> set[Path]:
    """The stored objects, without the marks of changes."""
    return {file for file in made.folder.rglob("*/*") if file.is_file()}


def run_command(made: Made, deletion: str) -> None:
    key = made.key
    if deletion == "forget":
        command.forget(made.folder, made.backups[0].backup, key_file=key, consent=YES)
    elif deletion == "repair":
        care.repair_command(made.folder, apply=True, key_file=key, consent=YES)
    elif deletion == "clean":
        care.clean(made.folder, key_file=key, consent=YES)
    else:
        care.sweep(made.folder, key_file=key)
