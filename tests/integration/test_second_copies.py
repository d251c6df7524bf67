"""Second copies through a real server and a real node: made, restored from, healed, expired."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.repository_keys import key_of
from haulback.destinations.folder import Folder
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from tests.images import raw_machine, restored_disk
from tests.programs import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("second"), lease=5.0)
    made.open()
    (made.folder / "far").mkdir()
    body = {
        "name": "far",
        "path": str(made.folder / "far"),
        "node": made.api.get("/nodes")[0]["guid"],
    }
    body["copyOf"] = {"guid": made.destination["guid"]}
    added = made.api.post("/backup-destinations", body)
    made.finished(added["task"]["guid"])
    made.far = made.api.get(f"/backup-destinations/{added['guid']}")
    yield made
    made.close()


def policy(site: Site, machine: str, name: str) -> dict[str, Any]:
    """A policy with a PRIMARY and a SECONDARY destination, and its machine."""
    targets = [(site.destination, "PRIMARY"), (site.far, "SECONDARY")]
    rule = {
        "name": "both",
        "ruleBackupDestinations": [
            {"roleType": role, "backupDestination": {"guid": to["guid"]}} for to, role in targets
        ],
    }
    body = {"name": name, "active": True, "vms": [{"guid": machine}], "rules": [rule]}
    return dict(site.api.post("/policies/vm-backup", body))


def add_raw(site: Site, name: str) -> str:
    raw_machine(site.machines, name, str(uuid.uuid4()))
    return site.sync()[name]


def states(backup: dict[str, Any]) -> dict[str, str]:
    return {
        place["roleType"]["name"]: place["status"]["name"] for place in backup["backupLocations"]
    }


def test_a_rule_with_a_second_destination_makes_a_copy_after_the_store(site: Site):
    machine = add_raw(site, "web")
    policy(site, machine, "twice")
    [export] = site.api.post(
        "/tasks/export", {"protectedEntities": [machine], "backupType": "FULL"}
    )
    site.all_final()
    backup = site.api.get(f"/backups/{export['backup']['guid']}")
    assert states(backup) == {"PRIMARY": "PRESENT", "SECONDARY": "PRESENT"}
    assert [one["guid"] for one in site.api.get("/backups")] == [backup["guid"]]


def test_the_key_of_the_first_destination_opens_its_copy(site: Site):
    for name in ("bd", "far"):
        key = key_of(site.folder / "server", "", name, unchecked=True)
        secret = Secret("keyfile", bytes.fromhex(key))
        opened = Repository.open(Folder(site.folder / "far"), secret)
        assert opened.is_itself()


def test_a_restore_goes_on_from_the_copy_and_the_damage_is_healed(site: Site):
    backup = a_backup_at_both(site, "rotten")
    rot_all_packs(site.repository)
    assert restored(site, backup, "first") == original(site, "rotten")
    place = f"/backups/{backup['guid']}"
    healing = site.wait_for(lambda: of_type(site, "BACKUP_DESTINATION_SYNC", backup))
    site.finished(healing["guid"])
    assert states(site.api.get(place)) == {"PRIMARY": "PRESENT", "SECONDARY": "PRESENT"}
    with away(site.folder / "far"):
        assert restored(site, backup, "second") == original(site, "rotten")


def test_damage_that_a_mount_meets_marks_its_location_and_is_healed(site: Site):
    before = {*site.repository.glob("packs/*/*")}
    backup = a_backup_at_both(site, "shown", content=random.Random(1).randbytes(1 << 20))
    rot({*site.repository.glob("packs/*/*")} - before)
    node = site.api.get("/nodes")[0]["guid"]
    body = {"mode": "AUTO", "backup": backup["guid"], "node": {"guid": node}}
    for task in site.api.post("/tasks/restore-and-mount", body), None:
        site.all_final()
        [mount] = site.api.get("/mounted-backups", {"backup": backup["guid"]})
        if task:
            site.api.post("/tasks/unmount", {"mountedBackup": {"guid": mount["guid"]}})
    tasks = {"type": "BACKUP_DESTINATION_SYNC", "backup-destination": site.destination["guid"]}
    [healing, *_] = site.wait_for(
        lambda: [
            task
            for task in site.api.get("/tasks", tasks)
            if task["protectedEntity"]["name"] == "shown"
        ]
    )
    site.finished(healing["guid"])
    place = f"/backups/{backup['guid']}"
    assert states(site.api.get(place)) == {"PRIMARY": "PRESENT", "SECONDARY": "PRESENT"}


def test_a_missing_destination_does_not_stop_a_restore(site: Site):
    backup = a_backup_at_both(site, "split")
    with away(site.repository):
        assert restored(site, backup, "elsewhere") == original(site, "split")


def test_each_destination_keeps_what_its_own_retention_says(site: Site):
    machine = add_raw(site, "kept")
    policy(site, machine, "kept apart")
    backups = []
    for _ in range(2):
        export = site.export(machine)
        site.all_final()
        backups.append(export["backup"]["guid"])
    far = f"/backup-destinations/{site.far['guid']}"
    site.api.put(far, {"retention": {"keepLastNFull": 1}})
    try:
        [clean] = site.api.post("/tasks/remove-old-backups", {"backupDestinations": [site.far]})
        site.finished(clean["guid"])
    finally:
        site.api.put(far, {"retention": {}})
    older, newer = (states(site.api.get(f"/backups/{guid}")) for guid in backups)
    assert older == {"PRIMARY": "PRESENT", "SECONDARY": "REMOVED"}
    assert newer == {"PRIMARY": "PRESENT", "SECONDARY": "PRESENT"}
    site.api.post("/retention/mark-backups", [to_remove(site, backups[0])])
    [clean] = site.api.post("/tasks/remove-old-backups", {"backupDestinations": [site.destination]})
    site.finished(clean["guid"])
    assert site.api.get(f"/backups/{backups[0]}")["status"]["name"] == "SUCCESS_REMOVED"
    assert site.api.get(f"/backups/{backups[1]}")["status"]["name"] == "SUCCESS"


def to_remove(site: Site, backup: str) -> dict[str, Any]:
    """The first location of a backup, as portals mark it."""
    [first, *_] = site.api.get(f"/backups/{backup}")["backupLocations"]
    return {**first, "retentionHint": {"name": "TO_REMOVE"}}


def of_type(site: Site, kind: str, backup: dict[str, Any]) -> dict[str, Any] | None:
    """The newest task of a kind that writes to the first location of a backup."""
    to = backup["backupLocations"][0]["backupDestination"]["guid"]
    found = site.api.get("/tasks", {"type": kind, "backup-destination": to})
    return found[0] if found else None


def restored(site: Site, backup: dict[str, Any], name: str) -> bytes:
    target = site.roots / name
    node = site.api.get("/nodes")[0]["guid"]
    body = {"backup": backup["guid"], "node": node, "restorePath": str(target)}
    site.finished(site.api.post("/tasks/restore", body)["guid"])
    return restored_disk(target).read_bytes()


def original(site: Site, name: str) -> bytes:
    return (site.machines / name / "root.raw").read_bytes()


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """A destination whose file system is not mounted."""
    folder.rename(folder.with_name("away"))
    try:
        yield
    finally:
        folder.with_name("away").rename(folder)


def a_backup_at_both(site: Site, name: str, content: bytes = b"") -> dict[str, Any]:
    machine = add_raw(site, name)
    if content:
        (site.machines / name / "root.raw").write_bytes(content)
    policy(site, machine, f"both of {name}")
    export = site.export(machine)
    site.all_final()
    return dict(site.api.get(f"/backups/{export['backup']['guid']}"))


def rot_all_packs(repository: Path) -> None:
    rot({*repository.glob("packs/*/*")})


def rot(packs: set[Path]) -> None:
    """Flip a byte in the first group of each pack."""
    for path in packs:
        data = bytearray(path.read_bytes())
        data[60] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
