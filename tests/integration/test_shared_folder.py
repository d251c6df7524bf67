"""Several nodes on one folder: the commands of its page are run, and one node is killed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.errors import Malformed
from tests.docs.test_how_to import DOCS
from tests.images import raw_machine, restored_disk
from tests.programs import PASSWORD, Program, Site

PAGE = DOCS / "howto" / "share-a-folder-between-nodes.md"
BYTES = b"r" * (1 << 20)


class Nodes:
    """A site with the nodes n1 and n2, and a folder that both reach."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.programs: dict[str, Program] = {"n1": site.node}
        self.guids: dict[str, str] = {}
        self.folder = site.folder / "shared"
        self.folder.mkdir()
        self.start("n2")

    def start(self, name: str) -> None:
        if name not in self.programs:
            self.site.enrol(name)
            self.programs[name] = self.site.node
        self.programs[name].start()
        seen = self.site.wait_for(
            lambda: {n["name"]: n for n in self.site.api.get("/nodes")}.get(name, {}).get(
                "lastSeen"
            )
        )
        assert seen
        self.guids = {n["name"]: n["guid"] for n in self.site.api.get("/nodes")}

    def close(self) -> None:
        for program in self.programs.values():
            program.end()

    def type(self, lines: list[str], words: dict[str, str]) -> str:
        """The output of the page's commands, typed with these words."""
        site = self.site
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        token = site.api.post(
            "/api-tokens", {"name": str(uuid.uuid4()), "roles": ["administrator"]}
        )
        env = {**os.environ, "PATH": path, "HAULBACK_SERVER": site.api.url}
        env |= {"HAULBACK_TOKEN": token["token"], "HAULBACK_ADMIN_PASSWORD": PASSWORD}
        said = ""
        for line in lines:
            wanted = re.sub(r"\b[A-Z]{4,}\b", lambda m: words.get(m[0], m[0]), line)
            done = subprocess.run(
                ["bash", "-c", wanted], env=env, capture_output=True, text=True, timeout=120
            )
            said += done.stdout + done.stderr
            assert done.returncode == 0, (wanted, said, site.log.read_text()[-2000:])
        return said


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    site = Site(tmp_path_factory.mktemp("shared"), lease=0.5)
    site.open()
    made = Nodes(site)
    yield made
    made.close()
    site.close()


def blocks() -> list[list[str]]:
    found = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [block.splitlines() for block in found]


def restored(nodes: Nodes, backup: str, on: str) -> bytes:
    path = nodes.site.roots / str(uuid.uuid4())
    body = {"backup": backup, "node": nodes.guids[on], "restorePath": str(path)}
    nodes.site.finished(nodes.site.api.post("/tasks/restore", body)["guid"])
    return restored_disk(path).read_bytes()


@pytest.fixture(scope="module")
def shared(nodes: Nodes) -> Nodes:
    """The nodes after the commands of the page: both have restored the machine's backup."""
    site = nodes.site
    raw_machine(site.machines, "web", str(uuid.uuid4()))
    site.sync()
    new = site.folder / "elsewhere"
    words = {"FOLDER": str(nodes.folder), "NEWFOLDER": str(new), "SHARE": "LOCAL"}
    words |= {"NODE": "n1", "OTHERNODE": "n2", "SECONDS": "1"}
    add, use, delay, move = blocks()
    assert str(nodes.guids["n2"]) in nodes.type(add, words)
    # Before a backup, because a copy or a later backup waits for a young backup.
    nodes.type(delay, words)
    nodes.type(use, words)
    site.all_final()
    [backup] = [b["guid"] for b in site.api.get("/backups", {"status": "SUCCESS"})]
    assert restored(nodes, backup, "n1") == restored(nodes, backup, "n2") == BYTES
    shutil.copytree(nodes.folder, new)
    shutil.rmtree(nodes.folder)
    nodes.type(move, words)
    site.all_final()
    return nodes


def test_the_page_works_as_it_is_typed(shared: Nodes):
    [backup, *_] = [b["guid"] for b in shared.site.api.get("/backups", {"status": "SUCCESS"})]
    assert restored(shared, backup, "n2") == BYTES


def test_a_destination_does_not_move_where_its_repository_is_not(shared: Nodes):
    site = shared.site
    [vault] = [d for d in site.api.get("/backup-destinations") if d["name"] == "vault"]
    empty = site.folder / "empty"
    empty.mkdir()
    for place, why in ((empty, "holds none now"), (site.repository, "key")):
        if place == site.repository:
            away = site.folder / "copy"
            shutil.copytree(place, away)
            place = away
        made = site.api.post(f"/backup-destinations/{vault['guid']}/move", {"path": str(place)})
        ended = site.final(made["task"]["guid"])
        assert ended["state"]["name"] == "FAILED"
        assert why in ended["statusInfo"]
    again = site.api.get(f"/backup-destinations/{vault['guid']}")
    assert again["path"] == vault["path"]


def test_a_share_that_is_not_mounted_and_a_folder_in_a_repository_are_refused(nodes: Nodes):
    site = nodes.site
    inner = site.repository / "inner"
    inner.mkdir()
    bare = site.folder / "bare"
    bare.mkdir()
    node = {"guid": nodes.guids["n2"]}
    new = {"name": "share", "path": str(bare), "share": "NFS", "node": node}
    made = site.api.post("/backup-destinations", new)
    assert "is not mounted" in site.final(made["task"]["guid"])["statusInfo"]
    assert list(bare.iterdir()) == []
    made = site.api.post("/backup-destinations", {"name": "in", "path": str(inner), "node": node})
    assert "lies inside the repository" in site.final(made["task"]["guid"])["statusInfo"]
    assert list(inner.iterdir()) == []


def test_the_export_of_a_killed_node_is_made_again_by_the_other(shared: Nodes):
    nodes, site = shared, shared.site
    [vault] = [d for d in site.api.get("/backup-destinations") if d["name"] == "vault"]
    machine = site.sync()["web"]
    nodes.programs["n2"].end()
    export = site.export(machine, backupDestination=vault["guid"])
    site.finished(export["guid"])
    nodes.programs["n1"].end()  # its STORE waits or runs
    nodes.start("n2")
    site.wait_for(lambda: len(site.api.get("/backups", {"status": "SUCCESS"})) >= 2)
    for backup in site.api.get("/backups", {"status": "SUCCESS"}):
        assert restored(nodes, backup["guid"], "n2") == BYTES
    nodes.start("n1")
    site.all_final()


def test_a_plan_that_no_node_can_do_names_the_missing_links(shared: Nodes):
    nodes, site = shared, shared.site
    hypervisor, vault = site.hypervisor["guid"], "/backup-destinations/{}"
    [place] = [d for d in site.api.get("/backup-destinations") if d["name"] == "vault"]
    site.api.put(f"/hypervisors/{hypervisor}", {"node": nodes.guids["n1"]})
    site.api.put(vault.format(place["guid"]), {"node": {"guid": nodes.guids["n2"]}})
    [backup, *_] = site.api.get("/backups", {"status": "SUCCESS"})
    body = {"backup": backup["guid"], "hypervisor": {"guid": hypervisor}}
    for path, wanted in (
        (
            "export",
            {"protectedEntities": [site.sync()["web"]], "backupDestination": place["guid"]},
        ),
        ("restore-and-import", body),
    ):
        with pytest.raises(Malformed) as refused:
            site.api.post(f"/tasks/{path}", wanted)
        assert "node n1 reaches hypervisor hv but not destination vault" in refused.value.message
