"""Stores that a running site reaches, loses and reaches again; one site serves all tests."""

from __future__ import annotations

import getpass
import json
import os
import random
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.testing.azure_server import ACCOUNT, KEY
from tests import azure, sftp
from tests.docs.test_how_to import DOCS, blocks
from tests.hosts import needs_azurite, needs_sshd
from tests.images import restored_disk
from tests.programs import PASSWORD, Site

MACHINES = ("web", "mail", "db")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), lease=10.0)
    made.open()
    for seed, name in enumerate(MACHINES):
        folder = made.machines / name
        folder.mkdir()
        (folder / "root.raw").write_bytes(random.Random(seed).randbytes(2 << 20))
        disk = {"name": "root", "file": "root.raw", "format": "raw"}
        about = {"uuid": str(uuid.uuid4()), "name": name, "disks": [disk]}
        (folder / "machine.json").write_text(json.dumps(about))
    yield made
    made.close()


def breaker(site: Site, destination: str) -> dict[str, Any]:
    shown: dict[str, Any] = site.api.get(f"/backup-destinations/{destination}")["breaker"]
    return {**shown, "state": shown["state"]["name"]}


def test_a_folder_that_is_away_stops_its_own_tasks_until_it_is_back(site: Site):
    machines = site.sync()
    other = site.folder / "other"
    other.mkdir()
    well = {"guid": site.add("/backup-destinations", "well", other)["guid"]}
    bad = {"guid": site.destination["guid"]}
    away = site.repository.rename(site.folder / "unmounted")
    for name in MACHINES:
        export = site.export(machines[name], backupDestination=bad)
        assert site.final(export["guid"])["state"]["name"] == "FAILED"
    shown = breaker(site, bad["guid"])
    assert (shown["state"], shown["failures"]) == ("OPEN", 3)
    assert "mount or create it" in shown["reason"]
    alarms = {alarm["kind"]["name"] for alarm in site.api.get("/alarms")}
    assert "DESTINATION_AWAY" in alarms
    waits = site.export(machines["web"], backupDestination=bad)
    goes_on = site.export(machines["mail"], backupDestination=well)
    site.finished(goes_on["guid"])
    reason = site.api.get(f"/tasks/{waits['guid']}")["queueReason"]
    assert "the backup destination bd does not answer since" in reason
    away.rename(site.repository)
    [test] = site.api.post("/tasks/connectivity-test", {"backupDestinations": [bad]})
    site.finished(test["guid"])
    site.finished(waits["guid"])
    site.all_final()
    backup = site.api.get(f"/backups/{waits['backup']['guid']}")
    assert backup["status"]["name"] == "SUCCESS"
    assert breaker(site, bad["guid"]) == {"state": "CLOSED"}
    events = {event["kind"]["name"] for event in site.api.get("/events")}
    assert {"BREAKER_OPENED", "BREAKER_CLOSED"} <= events


def run_page(site: Site, name: str, folder: Path, words: dict[str, str]) -> None:
    """Run the shell blocks of a how-to page, with some words replaced."""
    text = "\n".join(blocks(DOCS / "howto" / f"{name}.md", "sh"))
    for word, value in words.items():
        assert re.search(word, text), word
        text = re.sub(word, value, text)
    tools = Path(sys.executable).parent
    env = {**os.environ, "HAULBACK_SERVER": site.api.url, "HAULBACK_ADMIN_PASSWORD": PASSWORD}
    env["PATH"] = f"{tools}:{env['PATH']}"
    subprocess.run(["bash", "-euc", text], check=True, cwd=folder, env=env)


def goes_out_and_comes_back(site: Site, destination: str, machine: str) -> None:
    """Back a machine up to a destination, twice, and restore both backups to files."""
    to = {"guid": destination}
    for kind in ("FULL", "INCREMENTAL"):
        disk = site.machines / machine / "root.raw"
        with open(disk, "r+b") as file:
            file.seek(300_000)
            file.write(random.Random(kind).randbytes(200_000))
        export = site.export(site.sync()[machine], kind, backupDestination=to)
        site.all_final()
        backup = site.api.get(f"/backups/{export['backup']['guid']}")
        assert backup["status"]["name"] == "SUCCESS", site.log.read_text()
        node = site.api.get("/nodes")[0]["guid"]
        path = site.roots / str(uuid.uuid4())
        body = {"backup": backup["guid"], "node": node, "restorePath": str(path)}
        site.finished(site.api.post("/tasks/restore", body)["guid"])
        assert restored_disk(path).read_bytes() == disk.read_bytes()
    [task] = site.api.post("/tasks/remove-old-backups", {"backupDestinations": [to]})
    site.finished(task["guid"])
    space = site.api.get(f"/backup-destinations/{destination}")["space"]
    [row] = site.api.get(f"/backup-destinations/{destination}/space")
    assert row["protectedEntity"]["name"] == machine
    assert 2 << 20 < row["unique"] <= space["living"] <= space["held"]


@needs_sshd
def test_the_how_to_of_sftp_stores_and_restores(site: Site, tmp_path: Path):
    server = sftp.server()
    root = server.root / "how-to"
    root.mkdir()
    (tmp_path / "haulback-key.pub").touch()
    words = {
        "ssh-keygen -q .*": f"cp {server.folder / 'key'} haulback-key",
        r"backup\.example\.com": "127.0.0.1",
        "-p 22": f"-p {server.port}",
        "port=22": f"port={server.port}",
        "user=haulback": f"user={getpass.getuser()}",
        "path=/srv/haulback": f"path={root}",
    }
    run_page(site, "store-on-sftp", tmp_path, words)
    places = site.api.get("/backup-destinations")
    far = next(place for place in places if place["name"] == "far")
    assert far["initialized"]
    assert "BEGIN" not in json.dumps(far)
    assert far["totalAvailableSpace"] > 0
    goes_out_and_comes_back(site, far["guid"], "web")
    site.all_final()
    assert [path.name for path in (root / ".tmp").iterdir()] == []


@needs_azurite
def test_the_how_to_of_azure_stores_and_restores(site: Site, tmp_path: Path):
    container = azure.new_container()
    (tmp_path / "account-key").write_text(KEY)
    words = {
        "account=haulbackstore": f"account={ACCOUNT} --set endpoint={azure.server().endpoint}",
        "container=vault": f"container={container}",
    }
    run_page(site, "store-on-azure", tmp_path, words)
    places = site.api.get("/backup-destinations")
    cloud = next(place for place in places if place["name"] == "cloud")
    assert cloud["initialized"]
    assert KEY not in json.dumps(cloud)
    goes_out_and_comes_back(site, cloud["guid"], "mail")
