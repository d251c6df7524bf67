"""The page about a total loss leads from store and kit alone to machines that run."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.testing.libvirt_lab import LibvirtLab
from tests.docs.test_how_to import DOCS, blocks, typed_lines
from tests.docs.test_troubleshooting import SOURCE, spelled
from tests.hosts import needs_libvirt
from tests.images import raw_machine
from tests.programs import Site

PAGE = DOCS / "howto" / "everything-is-gone.md"
DISK = b"r" * (1 << 20)


class Loss:
    """A store and a typed kit; everything else is deleted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kit = folder, folder / "kit"
        self.store, self.out = folder / "vault", folder / "out"
        site = Site(folder / "old", lease=5.0)
        site.open()
        try:
            raw_machine(site.machines, "web", str(uuid.uuid4()))
            machine = site.sync()["web"]
            self.backup = site.backed_up(machine)["guid"]
            body = {"backupDestinations": [site.destination["guid"]]}
            [task] = site.api.post("/tasks/remove-old-backups", body)
            site.finished(task["guid"])
            self.typed(
                "haulback destination key bd --data DATA --output KEY\n"
                + blocks(PAGE, "sh")[0].replace("FOLDER", str(site.repository)),
                DATA=str(site.folder / "server"),
            )
        finally:
            site.close()
        shutil.move(site.repository, self.store)
        for path in (folder / "old", folder / "key"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def typed(self, block: str, site: Site | None = None, **words: str) -> str:
        """The output of the lines of a block."""
        words |= {"FOLDER": str(self.store), "KIT": str(self.kit), "OUT": str(self.out)}
        words |= {"KEY": str(self.folder / "key"), "BACKUP": self.backup}
        return typed_lines(block, words, site)


@pytest.fixture(scope="module")
def loss(tmp_path_factory: pytest.TempPathFactory) -> Loss:
    return Loss(tmp_path_factory.mktemp("loss"))


@pytest.fixture(scope="module")
def site(loss: Loss) -> Iterator[Site]:
    made = Site(loss.folder / "new", lease=5.0)
    made.open()
    yield made
    made.close()


@pytest.fixture(scope="module")
def attached(loss: Loss, site: Site) -> str:
    """The words of the commands that attach the store to the new server."""
    _, _, _, attach, _ = blocks(PAGE, "sh")
    return loss.typed(attach, site)


def test_a_machine_comes_back_without_any_server(loss: Loss):
    _, by_hand, *_ = blocks(PAGE, "sh")
    assert "web" in loss.typed(by_hand)
    about = json.loads((loss.out / "web" / "machine.json").read_text())
    [disk] = about["disks"]
    assert (disk["name"], disk["format"]) == ("root", "raw")
    assert (loss.out / "web" / disk["file"]).read_bytes() == DISK


def test_a_new_server_brings_everything_back(loss: Loss, site: Site, attached: str):
    assert "locks, marks and proof levels are those of" in attached
    assert loss.backup in attached
    body = {"backup": loss.backup, "hypervisor": site.hypervisor["guid"]}
    site.finished(site.api.post("/tasks/restore-and-import", body)["guid"])
    site.all_final()
    assert (site.machines / "web" / "root.raw").read_bytes() == DISK


@needs_libvirt
@pytest.mark.usefixtures("attached")
def test_the_machine_runs_on_a_host_with_a_server_and_without(
    loss: Loss, site: Site, host: LibvirtLab
):
    _, _, without, _, by_server = blocks(PAGE, "sh")
    words = {"URL": f"'{host.uri}'", "IMAGES": str(host.storage)}
    loss.typed(without, **words)
    assert [domain.isActive() for domain in host.connection.listAllDomains()] == [1]
    host.clear()
    loss.typed(by_server, site, **words)
    [domain] = host.connection.listAllDomains()
    assert (domain.name(), domain.isActive()) == ("web", 1)


def test_every_message_on_the_page_is_one_that_the_product_has():
    source = spelled(SOURCE)
    rows = re.findall(r"^\| (`.+?) \|", PAGE.read_text(), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 6
    assert [text for text in quoted if text not in source] == []
