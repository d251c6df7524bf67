"""An administrator of the first release upgrades: database, keys, node folder and scripts keep
working.

If a test here fails, the code is wrong, not the files: `site1` and `client_v1.py` never change.
"""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests import databases
from tests.images import restored_disk
from tests.programs import PASSWORD, Program, Site

HERE = Path(__file__).parent
GOLDEN = HERE / "site1"
HELD = json.loads((GOLDEN / "site.json").read_text())
# The digests of the folder `site1` and of `client_v1.py`.
SITE_DIGESTS = (
    "3ab4b621458fcd48e655d969840122ce1975b01a27c10dd567687d48b3e25bb5",
    "8854c0b0005e242d3be6f8ff94a933864781ffb31b20b09b7280f02c0bea7cff",
)
_PLACES = ("hypervisor", "destination")
# The tasks of the site wait for years: their start windows stay open.
_OPEN = "UPDATE task SET window_end = 9000000000000 WHERE state IN ('QUEUED', 'PLANNED')"


def digest_of(*paths: Path) -> str:
    """The SHA-256 over names and bytes."""
    hasher = hashlib.sha256()
    for path in paths:
        hasher.update(path.relative_to(HERE).as_posix().encode() + path.read_bytes())
    return hasher.hexdigest()


class OldSite(Site):
    """A copy of the golden site at another path, started by this version."""

    def __init__(self, folder: Path, which: str, database: str) -> None:
        super().__init__(folder, database=database)
        shutil.rmtree(folder)
        shutil.copytree(GOLDEN / which, folder)
        (folder / "restores").mkdir(exist_ok=True)
        self.held = HELD[which]

    def start_all(self) -> None:
        self.start_server()
        self.home = self.folder / "n1"
        roots = ("--restore-root", str(self.roots))
        node = ("node", "--server", self.api.url, "--data", str(self.home), *roots)
        self.node = Program(self.log, *node)
        self.node.start()
        [self.destination] = self.api.get("/backup-destinations")
        [self.hypervisor] = self.api.get("/hypervisors")


def _move_sqlite(folder: Path, old: str) -> str:
    with sqlite3.connect(folder / "server" / "haulback.db") as sql:
        for table in _PLACES:
            sql.execute(f"UPDATE {table} SET config = replace(config, ?, ?)", (old, str(folder)))
        sql.execute(_OPEN)
    sql.close()
    return ""


def _load_postgres(folder: Path, old: str, cluster: str) -> str:
    url = databases.new_database(cluster, f"golden-{uuid.uuid4()}")
    text = (GOLDEN / "postgres.sql").read_text().replace(old, str(folder))
    statements = [line for line in text.splitlines() if not line.startswith("\\")]
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute("\n".join(statements))  # type: ignore[arg-type]
        sql.execute(_OPEN.replace("task", "public.task", 1))
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldSite]:
    folder = tmp_path / "site"
    which, old = request.param, HELD[request.param]["folder"]
    url = ""
    if which == "postgres":
        url = _load_postgres(folder, old, request.getfixturevalue("cluster"))
    made = OldSite(folder, which, url)
    if which == "sqlite":
        _move_sqlite(folder, old)
    try:
        made.start_all()
        yield made
    finally:
        made.close()


def test_nobody_changed_the_golden_site():
    files = sorted(path for path in GOLDEN.rglob("*") if path.is_file())
    found = (digest_of(*files), digest_of(HERE / "client_v1.py"))
    assert found == SITE_DIGESTS


def test_an_old_site_goes_on_where_it_stopped(site):
    """The waiting export is stored; every backup restores; an increment builds on the old
    backup.
    """
    site.all_final()
    machines = site.sync()
    assert machines == site.held["machines"]
    waited = site.api.get(f"/backups/{site.held['waiting']}")
    assert waited["status"]["name"] == "SUCCESS", site.log.read_text()
    for name, guids in site.held["backups"].items():
        assert _restored(site, guids[-1]) == site.held["digests"][name]
    assert _restored(site, site.held["waiting"]) == site.held["digests"]["db"]
    new = site.backed_up(machines["web"], "INCREMENTAL")
    assert _restored(site, new["guid"]) == site.held["digests"]["web"]
    assert {item["name"] for item in site.api.get("/policies/vm-backup")} == {"gold"}


def test_an_old_script_runs_unchanged(site):
    target = str(site.roots / "by-script")
    command = [sys.executable, str(HERE / "client_v1.py"), site.api.url, PASSWORD, "web", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + site.log.read_text()
    found = json.loads(done.stdout)
    assert set(site.held["backups"]["web"]) <= set(found["before"])
    assert (found["status"], found["locations"]) == ("SUCCESS", ["PRESENT"])
    disk = restored_disk(site.roots / "by-script").read_bytes()
    assert hashlib.sha256(disk).hexdigest() == site.held["digests"]["web"]


def test_an_old_site_cleans_up_and_keeps_what_it_had(site):
    site.all_final()
    body = {"backupDestinations": [{"guid": site.destination["guid"]}]}
    [task] = site.api.post("/tasks/remove-old-backups", body)
    site.finished(task["guid"])
    for name, guids in site.held["backups"].items():
        assert _restored(site, guids[-1]) == site.held["digests"][name]


def _restored(site: OldSite, backup: str) -> str:
    """The SHA-256 of the only disk of a backup, restored to a folder."""
    [node] = site.api.get("/nodes")
    path = site.roots / backup
    request = {"node": {"guid": node["guid"]}, "restorePath": str(path), "backup": {"guid": backup}}
    task = site.api.post("/tasks/restore", request)
    site.finished(task["guid"])
    return hashlib.sha256(restored_disk(path).read_bytes()).hexdigest()
