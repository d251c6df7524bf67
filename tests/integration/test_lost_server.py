"""A server's database and key are lost: stored backups and the recovery kit remain."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.client.api import Api
from haulback.errors import Conflict
from tests.images import raw_machine
from tests.programs import PASSWORD, Program, Site

QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart.md"


class Home:
    """`haulback up` on one data folder, and the commands of the quickstart."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.machines, self.usb = folder / "machines", folder / "usb"
        self.machines.mkdir()
        self.usb.mkdir()
        self.log = folder / "log"
        self.program = Program(self.log, "up", "--data", str(self.data), "--port", "0")
        self.api = Api("http://127.0.0.1:1")

    def start(self) -> None:
        line = self.program.start()
        assert line.startswith("Haulback listens"), self.log.read_text()
        self.api.close()
        self.api = Api(line.split()[-1])
        self.api.log_in("admin", PASSWORD)

    def stop(self) -> None:
        self.api.close()
        self.program.end()

    def task(self, kind: str) -> dict[str, Any]:
        """The newest task of a kind, after its end."""
        site = Site.__new__(Site)
        site.api, site.log = self.api, self.log
        site.wait_for(lambda: self.api.get("/tasks", {"type": kind}))
        return site.final(self.api.get("/tasks", {"type": kind})[0]["guid"])

    def shown(self, first: str) -> subprocess.CompletedProcess[str]:
        """Run the quickstart's command that begins with `first`, with the paths of this test."""
        lines = QUICKSTART.read_text().splitlines()
        [line] = [one for one in lines if one.startswith(first)]
        assert ">" not in line
        line = line.replace("~/haulback-data", str(self.data)).replace("~/", f"{self.usb}/")
        return command(*shlex.split(line)[1:])

    def stored(self) -> dict[str, str]:
        root = self.data / "repository"
        files = [path for path in root.rglob("*") if path.is_file()]
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }


def command(*words: str) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-m", "haulback", *words]
    return subprocess.run(given, capture_output=True, text=True, check=False)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("lost", ["database and key", "database"])
def test_a_key_that_was_locked_away_survives_the_loss_of_its_server(home: Home, lost: str):
    assert home.task("BACKUP_DESTINATION_INIT")["state"]["name"] == "FINISHED"
    raw_machine(home.machines, "web", str(uuid.uuid4()))
    home.api.post("/hypervisors", {"name": "hv", "path": str(home.machines)})
    assert home.task("INVENTORY_SYNC")["state"]["name"] == "FINISHED"
    [machine] = home.api.get("/virtual-machines")
    home.api.post("/tasks/export", {"protectedEntities": [machine["guid"]]})
    assert home.task("STORE")["state"]["name"] == "FINISHED"
    written = home.shown("haulback destination key")
    assert written.returncode == 0, written.stderr
    [file] = home.usb.iterdir()
    good = file.read_bytes()
    home.stop()

    gone = ["haulback.db*"] + (["server.key"] if lost == "database and key" else [])
    for pattern in gone:
        for path in home.data.glob(pattern):
            path.unlink()
    before = home.stored()
    home.start()
    init = home.task("BACKUP_DESTINATION_INIT")
    assert init["state"]["name"] == "FAILED"
    assert "another server made this repository: attach it" in init["statusInfo"]
    assert "another server made" in home.log.read_text()
    assert home.stored() == before
    again = home.shown("haulback destination key")
    assert again.returncode == 4
    assert "another server made this repository: attach it" in again.stderr
    assert "Traceback" not in again.stderr
    printed = command("destination", "key", "local", "--data", str(home.data))
    assert (printed.returncode, printed.stdout) == (4, "")
    assert file.read_bytes() == good
    assert list(home.usb.iterdir()) == [file]
    checked = home.shown("haulback repository verify")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 backup," in checked.stdout


@pytest.mark.parametrize("left", ["configuration", "packs only"])
def test_a_folder_with_another_ones_repository_becomes_no_destination(tmp_path: Path, left: str):
    site = Site(tmp_path / "site", lease=5.0)
    site.open()
    try:
        raw_machine(site.machines, "web", str(uuid.uuid4()))
        site.backed_up(site.sync()["web"])
        with pytest.raises(Conflict, match="is the folder of the destination"):
            site.api.post("/backup-destinations", {"name": "b", "path": str(site.repository)})
        strange = shutil.copytree(site.repository, site.folder / "strange")
        if left == "packs only":
            for path in strange.glob("haulback*.json"):
                path.unlink()
        before = sorted(os.walk(strange))
        body = {"name": "mine now", "path": str(strange)}
        made = site.api.post("/backup-destinations", body)
        failed = site.final(made["task"]["guid"])
        assert failed["state"]["name"] == "FAILED"
        is_whole = left == "configuration"
        expected = "the repository of the destination bd" if is_whole else "holds a repository"
        assert expected in failed["statusInfo"]
        assert sorted(os.walk(strange)) == before
        shown = site.api.get(f"/backup-destinations/{made['guid']}")
        assert not shown["initialized"]
        given = ("destination", "key", "mine now", "--data", str(site.folder / "server"))
        refused = command(*given)
        assert refused.returncode in (4, 6)
        assert refused.stdout == ""
        assert command(*given, "--unchecked").stdout == ""
    finally:
        site.close()
