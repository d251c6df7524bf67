"""The node of the how-to page takes tasks of a real server, backs up a disk and restores it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_how_to import DOCS, blocks
from tests.programs import Site

PAGE = DOCS / "howto" / "write-a-node.md"


class Stranger:
    """A server and the node program of the page."""

    destination: dict[str, Any]
    hypervisor: dict[str, Any]

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder, lease=30.0)
        self.site.start_server()
        self.api = self.site.api
        made = self.api.post("/nodes", {"name": "mover"})
        self.here = {"node": {"guid": made["guid"]}}
        script = folder / "node.py"
        [text] = blocks(PAGE, "python")
        script.write_text(text)
        env = {"HAULBACK_SERVER": self.api.url, "NODE_TOKEN": made["token"]}
        env |= {"NODE_ROOT": str(self.site.roots)}
        self.said = (folder / "node.log").open("w+")
        self.program = subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, **env},
            stdout=self.said,
            stderr=subprocess.STDOUT,
        )

    def add(self, collection: str, name: str, path: Path) -> dict[str, Any]:
        body = {"name": name, "path": str(path), **self.here}
        made: dict[str, Any] = self.api.post(collection, body)
        self.finished(made["task"]["guid"])
        return made

    def final(self, guid: str) -> dict[str, Any]:
        return self.site.final(guid)

    def finished(self, guid: str) -> None:
        try:
            self.site.finished(guid)
        except AssertionError:
            self.said.seek(0)
            raise AssertionError(self.said.read()) from None

    def sync(self, hypervisor: dict[str, Any]) -> dict[str, str]:
        body = {"hypervisors": [hypervisor["guid"]]}
        [task] = self.api.post("/tasks/inventory-sync", body)
        self.finished(task["guid"])
        return {one["name"]: one["guid"] for one in self.api.get("/virtual-machines")}

    def backed_up(self, machine: str, kind: str) -> dict[str, Any]:
        body = {"protectedEntities": [machine], "backupType": kind}
        [task] = self.api.post("/tasks/export", body)
        self.finished(task["guid"])
        self.site.all_final()
        found: dict[str, Any] = self.api.get(f"/backups/{task['backup']['guid']}")
        return found

    def close(self) -> None:
        self.program.terminate()
        self.program.wait()
        self.said.close()
        self.site.close()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    made = Stranger(tmp_path_factory.mktemp("stranger") / "site")
    try:
        made.destination = made.add("/backup-destinations", "vault", made.site.folder / "vault")
        made.hypervisor = made.add("/hypervisors", "here", made.site.machines)
        yield made
    finally:
        made.close()


def test_the_node_of_the_page_backs_a_raw_disk_up_and_restores_it(stranger: Stranger):
    disk = stranger.site.machines / "web.raw"
    disk.write_bytes(os.urandom(3 << 20) + bytes(1 << 20) + b"end")
    destination = stranger.api.get(f"/backup-destinations/{stranger.destination['guid']}")
    assert destination["initialized"] is True
    machine = stranger.sync(stranger.hypervisor)["web"]
    backup = stranger.backed_up(machine, "FULL")
    assert backup["status"]["name"] == "SUCCESS", backup
    assert (backup["size"], backup["warnings"]) == (disk.stat().st_size, [])
    before = disk.read_bytes()
    disk.write_bytes(b"overwritten")
    body = {"backup": backup["guid"], **stranger.here}
    path = stranger.site.roots / "web"
    task = stranger.api.post("/tasks/restore", {**body, "restorePath": str(path)})
    stranger.finished(task["guid"])
    assert (path / "disk0.raw").read_bytes() == before
    outside = stranger.api.post("/tasks/restore", {**body, "restorePath": "/elsewhere"})
    shown = stranger.final(outside["guid"])
    assert shown["state"]["name"] == "FAILED"
    assert "/elsewhere" in shown["statusInfo"]


def test_an_increment_of_the_node_of_the_page_is_a_full_one_and_says_so(stranger: Stranger):
    (stranger.site.machines / "db.raw").write_bytes(b"x" * 5000)
    machine = stranger.sync(stranger.hypervisor)["db"]
    backup = stranger.backed_up(machine, "INCREMENTAL")
    assert (backup["status"]["name"], backup["type"]["name"]) == ("SUCCESS", "FULL")
    assert "INCREMENTAL" in backup["warnings"][0]


@pytest.mark.parametrize(
    ("token", "told"),
    [("", "set NODE_TOKEN in the environment"), ("x", "the server refuses this node")],
)
def test_a_missing_or_a_wrong_token_is_told_in_one_line(
    stranger: Stranger, tmp_path: Path, token: str, told: str
):
    script = tmp_path / "node.py"
    [text] = blocks(PAGE, "python")
    script.write_text(text)
    env = {"HAULBACK_SERVER": stranger.api.url, "NODE_TOKEN": token, "NODE_ROOT": str(tmp_path)}
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr


def test_the_example_is_about_a_hundred_lines():
    [text] = blocks(PAGE, "python")
    assert len([line for line in text.splitlines() if line.strip()]) <= 130
