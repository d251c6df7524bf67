"""The page about damage leads from each alarm to its remedy, on a site that the test damages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.test_how_to import DOCS
from tests.integration.test_damage_site import add_machine, alarms, flip, packs, place, restored
from tests.programs import PASSWORD, Site

PAGE = DOCS / "howto" / "when-something-is-damaged.md"
# `repository verify` and `repair` exit with 1 when they find damage, or cannot repair it.
_MAY_FIND = re.compile(r"haulback repository (verify|repair|clean) ")


def sections() -> dict[str, list[str]]:
    """The lines of each section, by its heading; the lines before the first heading under ""."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE):
        heading = "" if part.startswith("# ") else part.partition("\n")[0]
        blocks = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
        found[heading] = [line for block in blocks for line in block.splitlines()]
    return found


class Reader:
    """A reader who types the commands of the page."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder, self.is_served = site, folder, True
        self.words: dict[str, str] = {"FOLDER": str(site.repository), "KEY": str(folder / "key")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, "HAULBACK_SERVER": site.api.url}
        self.env |= {"XDG_CONFIG_HOME": str(folder / "config")}
        token = site.api.post("/api-tokens", {"name": "reader", "roles": ["administrator"]})
        self.env |= {"HAULBACK_TOKEN": token["token"], "HAULBACK_ADMIN_PASSWORD": PASSWORD}

    def type(self, lines: list[str]) -> str:
        """The output of the lines; each line succeeds, or reports damage."""
        said = ""
        for line in lines:
            wanted = re.sub(r"\b[A-Z]{3,}\b", lambda m: self.words.get(m[0], m[0]), line)
            done = subprocess.run(
                ["bash", "-c", wanted],
                env=self.env,
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            said += done.stdout + done.stderr
            allowed = (0, 1) if _MAY_FIND.match(line) else (0,)
            assert done.returncode in allowed, (wanted, said, self.site.log.read_text()[-2000:])
            if self.is_served:
                self.site.all_final()
        return said


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "site", lease=5.0)
    made.open()
    # The server verifies by itself after damage, which would race with the steps of the page.
    place = f"/backup-destinations/{made.destination['guid']}"
    made.api.put(place, {"verification": {"active": False}})
    yield made
    made.close()


def test_every_alarm_has_a_section_and_every_section_that_types_is_tried():
    from haulback.contract.alarms import AlarmKind

    headings = ", ".join(sections())
    assert all(kind.value in headings for kind in AlarmKind), headings
    typed = {heading for heading, lines in sections().items() if lines}
    assert typed == {*CASES, "", "Without a server"}


def rotten(site: Site) -> str:
    backup = str(site.backed_up(add_machine(site, "web", 1))["guid"])
    flip(packs(site)[-1], 1000)
    assert restored(site, backup)["state"]["name"] == "FAILED"
    return backup


def lost(site: Site) -> str:
    backup = str(site.backed_up(add_machine(site, "web", 2))["guid"])
    (site.repository / "manifests" / backup).rename(site.folder / "away")
    body = {"backupDestinations": [{"guid": site.destination["guid"]}]}
    [task] = site.api.post("/tasks/remove-old-backups", body)
    site.final(task["guid"])
    return backup


def away(site: Site) -> str:
    """Unmount some packs for one scan."""
    backup = ""
    for seed in range(8):
        name = f"m{seed}" if seed else "web"
        backup = str(site.backed_up(add_machine(site, name, 10 + seed, 1 << 20))["guid"])
    site.repository.joinpath("packs").rename(site.folder / "packs")
    body = {"backupDestinations": [{"guid": site.destination["guid"]}]}
    [task] = site.api.post("/tasks/verify", body)
    site.final(task["guid"])
    assert alarms(site) == {"DESTINATION_UNRELIABLE"}
    (site.folder / "packs").rename(site.repository / "packs")
    return backup


def silent(site: Site) -> str:
    """Unmount the destination for three tasks."""
    backup = nothing(site)
    site.repository.rename(site.folder / "unmounted")
    for _ in range(3):
        body = {"backupDestinations": [{"guid": site.destination["guid"]}]}
        [task] = site.api.post("/tasks/connectivity-test", body)
        assert site.final(task["guid"])["state"]["name"] == "FAILED"
    (site.folder / "unmounted").rename(site.repository)
    return backup


def nothing(site: Site) -> str:
    return str(site.backed_up(add_machine(site, "web", 3))["guid"])


CASES: dict[str, Callable[[Site], str]] = {
    "REPOSITORY_DAMAGED, BACKUP_DAMAGED": rotten,
    "BACKUP_MISSING, CLEANUP_BLOCKED": lost,
    "DESTINATION_UNRELIABLE": away,
    "DESTINATION_AWAY": silent,
    "VERIFY_OVERDUE": nothing,
}


@pytest.mark.parametrize("heading", CASES)
def test_the_page_leads_from_each_alarm_to_its_end(site: Site, tmp_path: Path, heading: str):
    reader = Reader(site, tmp_path)
    reader.words["BACKUP"] = CASES[heading](site)
    shown = reader.type(sections()[""])
    assert all(kind in shown for kind in alarms(site))
    lines = sections()[heading]
    if heading.startswith("BACKUP_MISSING"):
        # the first section is about files that were restored, which is not the case here
        lines = lines[1:]
    reader.type(lines)
    assert alarms(site) == set()


def test_files_that_come_back_end_the_alarm_by_themselves(site: Site, tmp_path: Path):
    backup = lost(site)
    (site.folder / "away").rename(site.repository / "manifests" / backup)
    Reader(site, tmp_path).type(sections()["BACKUP_MISSING, CLEANUP_BLOCKED"][:1])
    assert alarms(site) == set()
    assert place(site, backup) == "PRESENT"


def test_a_repository_is_repaired_without_a_server(site: Site, tmp_path: Path):
    backup = rotten(site)
    flip(site.repository / "haulback.json", 40)
    reader = Reader(site, tmp_path)
    reader.words["BACKUP"] = backup
    command = f"haulback destination key bd --data {site.folder / 'server'} --output KEY"
    reader.type([command])
    site.close()
    reader.is_served = False
    said = reader.type(sections()["Without a server"])
    assert "is set aside" in said
    assert "lacks data of root" in said
    assert (site.repository / "aside" / "haulback.json").is_file()
