"""An image folder finds its machines without reading every definition again."""

import json
import os
import shutil
import uuid
from pathlib import Path

import pytest

from haulback.drivers.imagefolder import known_machines as places
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.errors import Malformed, NotFound


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ten machines whose definitions count as settled at once."""
    monkeypatch.setattr(places, "_SETTLED", -(10**18))
    monkeypatch.setattr(places, "_SETTLED_COARSE", -(10**18))
    for number in range(10):
        define(tmp_path / f"vm{number}", guid(number))
    return tmp_path


def guid(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def define(folder: Path, identity: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "disk.raw").touch()
    disk = {"name": "vda", "file": "disk.raw", "format": "raw"}
    whole = {"uuid": identity, "name": folder.name, "disks": [disk]}
    (folder / "machine.json.new").write_text(json.dumps(whole))
    (folder / "machine.json.new").replace(folder / "machine.json")


def test_an_export_reads_the_definition_of_its_own_machine_only(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, opened = list[str](), places.open_regular

    def noted(path: Path) -> int:
        read.append(path.parent.name)
        return opened(path)

    monkeypatch.setattr(places, "open_regular", noted)
    assert ImageFolder(root).folder_of(guid(3)) == root / "vm3"
    assert len(read) == 10
    assert ImageFolder(root).folder_of(guid(4)) == root / "vm4"
    define(root / "vm5", guid(50))
    assert ImageFolder(root).folder_of(guid(50)) == root / "vm5"
    assert read[10:] == ["vm5"]


def test_a_machine_is_found_where_it_was_moved_to(root: Path) -> None:
    driver = ImageFolder(root)
    driver.folder_of(guid(1))
    (root / "vm1").rename(root / "renamed")
    assert driver.folder_of(guid(1)) == root / "renamed"
    shutil.rmtree(root / "renamed")
    with pytest.raises(NotFound):
        driver.folder_of(guid(1))


def test_a_copied_machine_is_refused_though_the_original_is_known(root: Path) -> None:
    driver = ImageFolder(root)
    driver.folder_of(guid(1))
    define(root / "copy", guid(1).upper())
    with pytest.raises(Malformed, match="several machines"):
        driver.folder_of(guid(1))


def test_a_young_definition_is_read_again(tmp_path: Path) -> None:
    define(tmp_path / "vm", guid(1))
    file, known = tmp_path / "vm" / "machine.json", places.MachinePlaces()
    assert known.folders(tmp_path, guid(1)) == [tmp_path / "vm"]
    before = file.stat()
    file.write_text(file.read_text().replace(guid(1), guid(2)))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.folders(tmp_path, guid(2)) == [tmp_path / "vm"]


def test_a_definition_that_cannot_be_read_hides_no_other_machine(root: Path) -> None:
    (root / "vm2" / "machine.json").write_bytes(b'{"uuid": 7}')
    (root / "vm3" / "machine.json").write_bytes(b"\xff")
    (root / "vm4" / "machine.json").unlink()
    os.symlink(root / "vm5", root / "link")
    assert ImageFolder(root).folder_of(guid(5)) == root / "vm5"
