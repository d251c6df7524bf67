"""Reports of nodes about scans of real folders of machines."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from haulback.contract.inventory_sync import InventorySyncOrder
from haulback.contract.order_records import Hypervisor
from haulback.contract.scoped_inventory_sync import ScopedInventorySyncOrder
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.errors import Unavailable
from haulback.ids import new_guid
from haulback.work import inventory_sync, scoped_inventory_sync
from tests.images import raw_machine

NAMES = ("db", "mail", "web")


class Folders:
    """Return the folder for any hypervisor."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, record: Hypervisor) -> ImageFolder:
        return ImageFolder(self.root)


class Looking:
    """The node's work on one order about a folder."""

    def __init__(self, root: Path, order: Any) -> None:
        self.machines, self.order = Folders(root), order
        self.said: list[str] = []

    def log(self, text: str) -> None:
        self.said.append(text)


class Folder:
    """Three machines, and scans of their folder."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.uuids = {name: new_guid() for name in NAMES}
        for name, uuid in self.uuids.items():
            raw_machine(root, name, uuid)
        self.said: list[str] = []
        self.record = Hypervisor(guid=new_guid(), name="hv", driver="image-folder", config={})

    def whole(self) -> dict[str, Any]:
        context: Any = Looking(self.root, InventorySyncOrder(self.record))
        return inventory_sync.run(context)

    def at(self, *names: str, known: bool = True) -> dict[str, Any]:
        """The report of a scan of some machines; `known`: the server knows their folders."""
        uuids = {self.uuids[name]: name for name in names}
        order = ScopedInventorySyncOrder(self.record, list(uuids), uuids if known else {})
        context: Any = Looking(self.root, order)
        self.said = context.said
        return scoped_inventory_sync.run(context)

    def spoil(self, name: str) -> None:
        (self.root / name / "machine.json").write_text("{")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "machines")


def test_an_inventory_reports_the_locations_of_machines_and_the_unreadable_machines(folder: Folder):
    folder.spoil("mail")
    (folder.root / "web" / "root.raw").unlink()
    found = folder.whole()
    assert [(one["name"], one["place"]) for one in found["machines"]] == [("db", "db")]
    assert found["problems"] == 2
    broken = {one["where"]: one["uuid"] for one in found["unreadable"]}
    assert broken == {"mail": "", "web": folder.uuids["web"]}


def test_both_machines_of_one_uuid_are_named_by_it(folder: Folder):
    shutil.copytree(folder.root / "db", folder.root / "copy")
    found = folder.whole()["unreadable"]
    assert {(one["where"], one["uuid"]) for one in found} == {
        ("copy", folder.uuids["db"]),
        ("db", folder.uuids["db"]),
    }


def test_a_machine_that_is_gone_is_told_apart_from_one_that_cannot_be_read(folder: Folder):
    folder.spoil("mail")
    shutil.rmtree(folder.root / "web")
    found = folder.at("db", "mail", "web")
    assert [one["name"] for one in found["machines"]] == ["db"]
    assert found["gone"] == [folder.uuids["web"]]
    [broken] = found["unreadable"]
    assert (broken["where"], broken["uuid"]) == ("mail", folder.uuids["mail"])
    assert found["shown"] == 2


def test_a_machine_whose_folder_is_unknown_may_be_any_that_cannot_be_read(folder: Folder):
    folder.spoil("mail")
    shutil.rmtree(folder.root / "web")
    found = folder.at("web", known=False)
    assert (found["gone"], found["unreadable"]) == ([], [])
    folder.spoil("db")
    (folder.root / "mail" / "machine.json").unlink()
    (folder.root / "mail" / "root.raw").unlink()
    assert folder.at("web", known=True)["gone"] == [folder.uuids["web"]]


def test_a_machine_without_its_image_is_there_and_cannot_be_read(folder: Folder):
    (folder.root / "web" / "root.raw").unlink()
    found = folder.at("web")
    [broken] = found["unreadable"]
    assert broken["uuid"] == folder.uuids["web"]
    assert "root.raw is missing" in broken["message"]
    assert "gone" not in found


def test_an_inventory_of_one_machine_counts_the_other_machines_of_the_folder(folder: Folder):
    for name in NAMES:
        shutil.rmtree(folder.root / name)
    assert folder.at("db")["shown"] == 0
    folder.root.rmdir()
    with pytest.raises(Unavailable):
        folder.at("db")


def test_the_report_of_a_tenants_inventory_names_no_other_machine(folder: Folder):
    folder.spoil("mail")
    shutil.rmtree(folder.root / "web")
    told = str(folder.at("web"))
    assert folder.uuids["db"] not in told
    assert "mail" not in told


def test_the_log_of_a_scoped_scan_names_each_machine(folder: Folder):
    shutil.rmtree(folder.root / "web")
    folder.at("db", "web")
    assert folder.said[:3] == [
        f"machine db was read, uuid {folder.uuids['db']}",
        f"there is no machine with the uuid {folder.uuids['web']}",
        "1 of 2 machines read",
    ]
