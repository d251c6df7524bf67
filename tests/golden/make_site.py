"""Make the golden site: `python -m tests.golden.make_site FOLDER POSTGRES_FOLDER`.

This script made `site1` in November 2026, before the database recorded damage; `site1` is never
made again.  The site has the files of an administrator of that release: the server's folder (SQLite
database, key), the database again as an SQL dump of PostgreSQL, the node's folder with an export
that waits to be stored, the repository, and two machines.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import databases
from tests.golden.make import machine
from tests.programs import Site

NAMES = ("web", "db")


def add_machines(folder: Path) -> None:
    """Two machines with one raw disk each."""
    for number, name in enumerate(NAMES):
        place = folder / name
        place.mkdir()
        disk = bytes(machine()["root"].data[: (number + 1) << 20])
        (place / "root.raw").write_bytes(disk)
        about = {
            "uuid": f"00000000-0000-4000-8000-00000000000{number}",
            "name": name,
            "disks": [{"name": "root", "file": "root.raw", "format": "raw"}],
        }
        (place / "machine.json").write_text(json.dumps(about))


def fill(site: Site) -> dict[str, object]:
    """Make backups of both machines, a policy, and an export of `db` whose STORE has to wait."""
    machines = site.sync()
    backups = {name: [site.backed_up(machines[name])["guid"]] for name in NAMES}
    disk = site.machines / "web" / "root.raw"
    changed = bytearray(disk.read_bytes())
    changed[4096:8192] = b"changed!" * 512
    disk.write_bytes(changed)
    backups["web"].append(site.backed_up(machines["web"], "INCREMENTAL")["guid"])
    digests = {
        name: hashlib.sha256((site.machines / name / "root.raw").read_bytes()).hexdigest()
        for name in NAMES
    }
    site.node.end(signal.SIGTERM)
    site.api.post("/policies/vm-backup", {"name": "gold"})
    waiting = wait_between(site, machines["db"])
    return {
        "machines": machines,
        "backups": backups,
        "digests": digests,
        "waiting": waiting["backup"]["guid"],
        "folder": str(site.folder),
    }


def wait_between(site: Site, machine: str) -> dict[str, Any]:
    """Finish an export on a node that dies before the STORE finishes."""
    while True:
        site.node.start()
        export = site.export(machine)
        site.finished(export["guid"])
        site.node.end(signal.SIGKILL)
        query = {"states": ["QUEUED", "RUNNING"], "type": "STORE"}
        if site.api.get("/tasks", query):
            return export
        print("the STORE was faster; once more")


def make(folder: Path, work: Path, database: str = "") -> dict[str, object]:
    """Make one site without running tasks."""
    site = Site(work, lease=20.0, database=database)
    add_machines(site.machines)
    site.open()
    try:
        held = fill(site)
    finally:
        site.close()
    shutil.copytree(work, folder, ignore=shutil.ignore_patterns("log", "lock", "*.sock"))
    return held


def main(folder: Path, work: Path) -> None:
    folder.mkdir()
    held = {"sqlite": make(folder / "sqlite", work / "sqlite")}
    with databases.cluster() as cluster:
        url = databases.new_database(cluster, "golden")
        held["postgres"] = make(folder / "postgres", work / "postgres", url)
        dump = subprocess.run(
            ["pg_dump", "--inserts", "--no-owner", "--no-comments", "--dbname", url],
            check=True,
            capture_output=True,
        )
        (folder / "postgres.sql").write_bytes(dump.stdout)
    (folder / "site.json").write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
