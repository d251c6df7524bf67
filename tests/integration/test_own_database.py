"""Haulback's own database: backed up by a node, and restored with the recovery kit alone."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.repository import open_repository
from haulback.cli.repository_keys import key_of
from haulback.errors import Conflict, NotFound
from tests import databases
from tests.images import raw_machine, restored_disk
from tests.programs import Site


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = ""
    if request.param == "postgresql":
        cluster = request.getfixturevalue("cluster")
        url = databases.new_database(cluster, "own-1")
        databases.new_database(cluster, "new-own-1")
    made = Site(tmp_path, lease=5.0, database=url)
    made.open()
    yield made
    made.close()


def back_up(site: Site) -> dict[str, Any]:
    """A backup of the server's own database."""
    [task] = site.api.post("/server/database-backups", {})
    site.all_final()
    found: dict[str, Any] = site.api.get(f"/backups/{task['backup']['guid']}")
    assert found["status"]["name"] == "SUCCESS", (found, site.log.read_text())
    return found


def kit(site: Site) -> Path:
    """The recovery kit of the site's repository, in a file."""
    path, key = site.folder / "kit.txt", site.folder / "key"
    key.write_text(key_of(site.folder / "server", site.database, "bd"))
    repository = open_repository(site.repository, key, None)
    path.write_text(repository.keys.kit(repository.guid))
    return path


def haulback(*words: str | Path) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-m", "haulback", *map(str, words)]
    return subprocess.run(given, capture_output=True, text=True, check=False)


def beside(site: Site) -> str:
    """The URL of the empty database beside the site's own."""
    return site.database.replace("/own-1", "/new-own-1")


def restored(site: Site, *more: str | Path) -> subprocess.CompletedProcess[str]:
    """Restore into the folder `new`, and if the site has PostgreSQL also into a new database."""
    into = ["--data", site.folder / "new"]
    if site.database:
        into += ["--database", beside(site)]
    return haulback("server", "restore-database", *more, *into)


def test_a_lost_server_comes_back_with_the_recovery_kit_alone(site: Site):
    raw_machine(site.machines, "web", str(uuid.uuid4()))
    machine = site.sync()["web"]
    known = site.backed_up(machine)
    own = back_up(site)
    unknown = site.backed_up(machine)
    paper = kit(site)
    where = {"node": site.api.get("/nodes")[0]["guid"], "restorePath": str(site.roots / "own")}
    site.finished(site.api.post("/tasks/restore", {"backup": own["guid"], **where})["guid"])
    assert [h["name"] for h in site.api.get("/hypervisors")] == ["hv"]
    assert [m["name"] for m in site.api.get("/virtual-machines")] == ["web"]
    assert not list((site.folder / "server").glob("copies/*"))
    site.node.end()
    site.server.end()
    (site.folder / "server").rename(site.folder / "lost")

    listed = haulback("server", "restore-database", site.repository, "--kit", paper, "-o", "json")
    assert len(json.loads(listed.stdout)) == 1, listed.stderr
    # The file of an ordinary RESTORE is the sealed copy itself.
    done = restored(site, restored_disk(site.roots / "own"), "--kit", paper)
    assert done.returncode == 0, done.stderr
    assert "epoch 1" in done.stdout
    key = (site.folder / "lost" / "server.key").read_bytes()
    assert (site.folder / "new" / "server.key").read_bytes() == key
    again = restored(site, site.repository, "--kit", paper)
    assert again.returncode == 6
    assert "is not empty; name a new folder" in again.stderr

    site.move_to(site.folder / "new", beside(site))
    site.start_server()
    held = site.api.get("/server/hold")
    assert held["held"]
    assert [row["destination"]["name"] for row in held["destinations"]] == ["bd"]
    [alarm] = site.api.get("/alarms")
    assert alarm["kind"]["name"] == "SERVER_HELD"
    body = {"backupDestinations": [site.destination["guid"]]}
    with pytest.raises(Conflict, match="the server is held"):
        site.api.post("/tasks/remove-old-backups", body)

    site.node.start()
    site.wait_for(lambda: not site.api.get("/server/hold")["held"])
    assert site.api.get("/alarms") == []
    [record] = site.api.get("/backup-destinations")
    assert record["unknownBackups"] == 2  # the later backup of web, and the copy's own backup
    verify = site.api.get("/tasks", {"type": "VERIFY", "size": 1})[0]["guid"]
    assert site.api.get(f"/tasks/{verify}")["state"]["name"] == "FINISHED"
    [task] = site.api.post("/tasks/remove-old-backups", body)
    site.finished(task["guid"])
    stored = {path.name for path in (site.repository / "manifests").rglob("*") if path.is_file()}
    assert {known["guid"], unknown["guid"]} <= stored
    assert site.backed_up(machine)
    [export] = site.api.get("/tasks", {"type": "EXPORT", "size": 1})
    assert export["state"]["name"] == "FINISHED"


def test_a_node_from_before_the_restore_neither_reports_nor_deletes(tmp_path: Path):
    site = Site(tmp_path, lease=60.0)
    site.open()
    try:
        raw_machine(site.machines, "web", str(uuid.uuid4()))
        machine = site.sync()["web"]
        doomed = [site.backed_up(machine)["guid"] for _ in range(2)]
        back_up(site)
        paper = kit(site)
        cleanup = _half_done_cleanup(site, doomed)
        site.server.end()
        done = restored(site, site.repository, "--kit", paper)
        assert done.returncode == 0, done.stderr
        site.move_to(tmp_path / "new")
        site.start_server()
        site.node.signal(signal.SIGCONT)
        assert site.node.wait() != 0  # its session has ended, so the process ends
        assert _stored(site) >= set(doomed)
        with pytest.raises(NotFound):
            site.api.get(f"/tasks/{cleanup}")  # submitted after the copy was made
        site.node.start()
        site.wait_for(lambda: not site.api.get("/server/hold")["held"])
        assert {b["guid"]: b["status"]["name"] for b in site.api.get("/backups")}.items() >= {
            (guid, "SUCCESS") for guid in doomed
        }
    finally:
        site.close()


def _stored(site: Site) -> set[str]:
    return {path.name for path in (site.repository / "manifests").rglob("*") if path.is_file()}


def _half_done_cleanup(site: Site, doomed: list[str]) -> str:
    """A clean-up that was stopped before it reached the backups to delete, with its node."""
    database = sqlite3.connect(site.folder / "server" / "haulback.db", timeout=30)
    with database:
        for guid in doomed:
            database.execute("UPDATE backup SET status = 'SUCCESS_REMOVED' WHERE guid = ?", (guid,))
        # Removed backups without data, which the clean-up deletes first, in about a second.
        names = [row[1] for row in database.execute("PRAGMA table_info(backup)")]
        copied = ", ".join({"guid": "?", "location": "?"}.get(name, name) for name in names)
        for number in range(400):
            fresh = (f"00000000-0000-4000-8000-{number:012x}", str(uuid.uuid4()))
            database.execute(
                f"INSERT INTO backup SELECT {copied} FROM backup WHERE guid = ?",
                (*fresh, doomed[0]),
            )
    database.close()
    [task] = site.api.post(
        "/tasks/remove-old-backups", {"backupDestinations": [site.destination["guid"]]}
    )
    site.wait_for(lambda: site.api.get(f"/tasks/{task['guid']}")["state"]["name"] == "RUNNING")
    site.node.signal(signal.SIGSTOP)
    assert _stored(site) >= set(doomed)
    return str(task["guid"])
