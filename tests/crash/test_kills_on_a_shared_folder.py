"""Two nodes on one folder are killed at seeded moments: acknowledged backups restore identical."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import shares
from tests.crash.test_kills import Story
from tests.images import needs_qemu
from tests.programs import Program, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.open()
    yield made
    made.close()


@needs_qemu
def test_whatever_is_killed_on_a_shared_folder_every_backup_comes_back(site: Site, tmp_path: Path):
    cases = shares.cases("shared")
    story = SharedStory(site, tmp_path, random.Random(cases.first))
    try:
        for number in range(cases.count):
            story.round(number)
        story.check_all(cases.count)
    finally:
        story.close()


class SharedStory(Story):
    """The histories of `test_kills` with a second node; both nodes reach the machines and the
    folder.
    """

    def __init__(self, site: Site, folder: Path, chance: random.Random) -> None:
        self.nodes: dict[str, Program] = {"n1": site.node}
        self.homes = [site.home]
        site.enrol("n2")
        self.nodes["n2"] = site.node
        self.homes.append(site.home)
        self.nodes["n2"].start()
        both = {"nodes": site.wait_for(lambda: self._both(site))}
        at_once = {"settings": {"listingDelay": 0}}  # both nodes run on this machine
        site.api.put(f"/backup-destinations/{site.destination['guid']}", both | at_once)
        site.api.put(f"/hypervisors/{site.hypervisor['guid']}", both)
        super().__init__(site, folder, chance)

    def _both(self, site: Site) -> list[dict[str, str]]:
        seen = [{"guid": n["guid"]} for n in site.api.get("/nodes") if "lastSeen" in n]
        return seen if len(seen) == len(self.nodes) else []

    def kill(self, victim: str) -> None:
        """Kill a node, the server, or both; sometimes the node restarts only after its work was
        given away.
        """
        name = self.chance.choice(sorted(self.nodes))
        if victim in ("server", "both"):
            self.site.server.end()
        if victim in ("node", "both"):
            self.nodes[name].end()
        if victim in ("server", "both"):
            self.site.api.close()
            self.site.start_server()
        if victim in ("node", "both"):
            if self.chance.random() < 0.3:
                # Longer or shorter than the time for which its staging is kept.
                time.sleep(self.chance.random() * 12)
            self.nodes[name].start()

    def leftovers(self) -> list[str]:
        left = [str(path) for home in self.homes for path in home.glob("staging/*")]
        left += [str(path) for home in self.homes for path in home.glob("journal/*")]
        return left + super().leftovers()

    def close(self) -> None:
        for program in self.nodes.values():
            program.end()
