"""Damage to the repository of a running site is found, shown and healed, and backups continue."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import restored_disk
from tests.programs import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, lease=5.0)
    made.open()
    yield made
    made.close()


def add_machine(site: Site, name: str, seed: int, size: int = 3 << 20) -> str:
    """Add a machine with one raw image of random data; return the guid of the machine."""
    place = site.machines / name
    place.mkdir()
    (place / "root.raw").write_bytes(random.Random(seed).randbytes(size))
    disk = {"name": "root", "file": "root.raw", "format": "raw"}
    about = {"uuid": str(uuid.uuid4()), "name": name, "disks": [disk]}
    (place / "machine.json").write_text(json.dumps(about))
    return site.sync()[name]


def flip(path: Path, at: int) -> None:
    """Change one bit, as a failing disk would; other programs see the object as read-only."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.unlink()
    path.write_bytes(raw)


def packs(site: Site) -> list[Path]:
    return sorted((p for p in (site.repository / "packs").rglob("*") if p.is_file()), key=size_of)


def size_of(path: Path) -> int:
    return path.stat().st_size


def restored(site: Site, backup: str) -> dict[str, Any]:
    """The final state of a restore of a backup to files."""
    node = site.api.get("/nodes")[0]["guid"]
    path = site.roots / str(uuid.uuid4())
    body = {"backup": backup, "node": node, "restorePath": str(path)}
    task = site.api.post("/tasks/restore", body)
    result = site.final(task["guid"])
    site.all_final()
    if result["state"]["name"] == "FINISHED":
        result["bytes"] = restored_disk(path).read_bytes()
    return result


def place(site: Site, backup: str) -> str:
    found = site.api.get(f"/backups/{backup}")
    return str(found["backupLocations"][0]["status"]["name"])


def work(site: Site, kind: str, **more: Any) -> dict[str, Any]:
    """The final state of a task about the destination."""
    body = {"backupDestinations": [{"guid": site.destination["guid"]}], **more}
    [task] = site.api.post(f"/tasks/{kind}", body)
    found = site.final(task["guid"])
    site.all_final()
    return found


def alarms(site: Site) -> set[str]:
    return {one["kind"]["name"] for one in site.api.get("/alarms")}


def test_a_damaged_pack_is_found_by_a_restore_and_healed_by_the_next_backup(site: Site):
    machine = add_machine(site, "web", 1)
    data = (site.machines / "web" / "root.raw").read_bytes()
    old = site.backed_up(machine)["guid"]
    flip(packs(site)[-1], 1000)
    failed = restored(site, old)
    assert failed["state"]["name"] == "FAILED"
    assert place(site, old) == "DAMAGED"
    assert {"BACKUP_DAMAGED", "REPOSITORY_DAMAGED"} <= alarms(site)
    log = " ".join(line["text"] for line in site.api.get(f"/tasks/{failed['guid']}/log"))
    assert "packs/" in log
    assert "lacks data of root" in log
    new = site.backed_up(machine, "INCREMENTAL")
    assert new["type"]["name"] == "FULL", "a damaged backup is no base"
    assert restored(site, new["guid"])["bytes"] == data
    for _ in range(2):
        assert work(site, "remove-old-backups")["state"]["name"] == "FINISHED"
    assert restored(site, old)["bytes"] == restored(site, new["guid"])["bytes"] == data
    assert work(site, "verify")["state"]["name"] == "FINISHED"
    assert (place(site, old), place(site, new["guid"])) == ("PRESENT", "PRESENT")
    assert alarms(site) == set()


def lines(site: Site, task: dict[str, Any], word: str) -> list[str]:
    """The lines of a task's log with a word."""
    log = site.api.get(f"/tasks/{task['guid']}/log")
    return [line["text"] for line in log if word in line["text"]]


def test_a_log_names_a_damaged_object_once(site: Site):
    old = site.backed_up(add_machine(site, "web", 2))["guid"]
    pack = packs(site)[-1]
    flip(pack, 70_000)
    for damage in ("flip", "loss"):
        if damage == "loss":
            pack.unlink()
        restore, check = restored(site, old), work(site, "verify")
        for task in (restore, check):
            assert len(lines(site, task, "damaged: packs/")) == 1
            assert len(lines(site, task, f"backup {old} lacks data of root (")) == 1


def test_damage_that_no_reader_found_is_found_by_verify_and_healed(site: Site):
    machine = add_machine(site, "web", 2)
    old = site.backed_up(machine)["guid"]
    other = site.backed_up(add_machine(site, "db", 3))["guid"]
    flip(next(p for p in packs(site) if size_of(p) > 1 << 20), 70_000)
    result = work(site, "verify")
    assert result["state"]["name"] == "FINISHED"
    assert sorted([place(site, old), place(site, other)]) == ["DAMAGED", "PRESENT"]
    [hurt] = [item for item in (old, other) if place(site, item) == "DAMAGED"]
    entity = site.api.get(f"/backups/{hurt}")["protectedEntity"]["guid"]
    new = site.backed_up(entity)["guid"]
    assert restored(site, new)["state"]["name"] == "FINISHED"
    assert restored(site, hurt)["state"]["name"] == "FINISHED"
    work(site, "verify")
    assert place(site, hurt) == "PRESENT"


def test_manifests_that_are_away_stop_the_clean_up_and_nothing_else(site: Site):
    guids = [site.backed_up(add_machine(site, name, 4))["guid"] for name in ("web", "db")]
    before = packs(site)
    manifests, away = site.repository / "manifests", site.folder / "away"
    manifests.rename(away)
    blocked = work(site, "remove-old-backups")
    assert blocked["state"]["name"] == "FAILED"
    assert "Nothing was deleted" in blocked["statusInfo"]
    assert [place(site, guid) for guid in guids] == ["MISSING", "MISSING"]
    assert {"BACKUP_MISSING", "CLEANUP_BLOCKED"} <= alarms(site)
    assert packs(site) == before
    away.rename(manifests)
    assert work(site, "remove-old-backups")["state"]["name"] == "FINISHED"
    assert [place(site, guid) for guid in guids] == ["PRESENT", "PRESENT"]
    assert alarms(site) == set()


def test_a_lost_manifest_is_given_up_by_a_person_and_the_space_comes_back(site: Site):
    lost = site.backed_up(add_machine(site, "web", 5))["guid"]
    kept = site.backed_up(add_machine(site, "db", 6))["guid"]
    (site.repository / "manifests" / lost).unlink()
    for _ in range(2):
        assert work(site, "remove-old-backups")["state"]["name"] == "FAILED"
    assert place(site, lost) == "MISSING"
    site.api.post(f"/backups/{lost}/confirm-missing")
    for _ in range(2):
        assert work(site, "remove-old-backups")["state"]["name"] == "FINISHED"
    assert restored(site, kept)["state"]["name"] == "FINISHED"
    assert sum(map(size_of, packs(site))) < 5 << 20
    assert work(site, "verify")["state"]["name"] == "FINISHED"
    assert alarms(site) == set()


def test_a_flipped_bit_of_the_index_and_strangers_stop_nothing(site: Site):
    machine = add_machine(site, "web", 7)
    old = site.backed_up(machine)["guid"]
    for path in (site.repository / "index").iterdir():
        flip(path, 30)
    for folder in ("index", "manifests", "packs", "graves", "damage", "rolls", "tombstones"):
        (site.repository / folder).mkdir(exist_ok=True)
        for stranger in (".nfs0001", ".DS_Store", "x.tmp", "Thumbs.db"):
            (site.repository / folder / stranger).write_bytes(b"x")
        (site.repository / folder / ".snapshot").mkdir()
    assert restored(site, old)["state"]["name"] == "FINISHED"
    assert alarms(site) == {"REPOSITORY_DAMAGED"}, "what the restore met is reported"
    new = site.backed_up(machine)["guid"]
    assert work(site, "remove-old-backups")["state"]["name"] == "FINISHED"
    assert restored(site, old)["state"]["name"] == restored(site, new)["state"]["name"]
    assert work(site, "verify")["state"]["name"] == "FINISHED"
    assert (place(site, old), place(site, new)) == ("PRESENT", "PRESENT")
    assert alarms(site) == set(), "the index was rebuilt on the way"
    result = work(site, "repair", apply=True)
    assert result["state"]["name"] == "FINISHED"


def test_a_damaged_base_manifest_falls_back_to_a_full_with_a_warning(site: Site):
    machine = add_machine(site, "web", 8)
    base = site.backed_up(machine)["guid"]
    flip(site.repository / "manifests" / base, 60)
    new = site.backed_up(machine, "INCREMENTAL")
    assert new["type"]["name"] == "FULL"
    assert any("full" in text for text in new["warnings"])
    assert restored(site, new["guid"])["state"]["name"] == "FINISHED"


def test_repair_says_first_and_then_does(site: Site):
    machine = add_machine(site, "web", 9)
    old = site.backed_up(machine)["guid"]
    damaged = packs(site)[-1]
    flip(damaged, 5_000)
    said = work(site, "repair")
    assert said["state"]["name"] == "FINISHED"
    log = [line["text"] for line in site.api.get(f"/tasks/{said['guid']}/log")]
    assert any(text.startswith("would be done") for text in log)
    assert damaged.exists()
    assert not (site.repository / "aside").exists()
    assert work(site, "repair", apply=True)["state"]["name"] == "FINISHED"
    assert not damaged.exists()
    assert place(site, old) == "DAMAGED"
    site.backed_up(machine)
    work(site, "verify")
    assert place(site, old) == "PRESENT"


def test_a_mount_that_is_away_marks_no_backup(site: Site):
    machine = add_machine(site, "web", 10, 1 << 20)
    guids = []
    for seed in range(8):
        path = site.machines / "web" / "root.raw"
        path.write_bytes(random.Random(100 + seed).randbytes(1 << 20))
        guids.append(site.backed_up(machine)["guid"])
    (site.repository / "packs").rename(site.folder / "away")
    work(site, "verify")
    assert {place(site, guid) for guid in guids} == {"PRESENT"}
    assert "DESTINATION_UNRELIABLE" in alarms(site)
    assert work(site, "remove-old-backups")["state"]["name"] == "FAILED"
    (site.folder / "away").rename(site.repository / "packs")
    work(site, "verify")
    assert alarms(site) == set()
    assert restored(site, guids[0])["state"]["name"] == "FINISHED"
