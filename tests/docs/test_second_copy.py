"""The page about second copies, typed by a reader on a server with a backup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from haulback.contract.policies import Rule
from haulback.wire import read
from tests.docs.test_how_to import DOCS, blocks
from tests.images import raw_machine
from tests.programs import Site

PAGE = DOCS / "howto" / "second-copy.md"


def test_the_rule_of_the_page_is_a_rule():
    [text] = blocks(PAGE, "json")
    rule = read(json.loads(text), Rule, "")
    assert [target.roleType.value for target in rule.ruleBackupDestinations] == [
        "PRIMARY",
        "SECONDARY",
    ]


def test_the_commands_of_the_page_make_and_limit_copies(tmp_path: Path):
    site = Site(tmp_path, lease=5.0)
    site.open()
    try:
        raw_machine(site.machines, "web", str(uuid.uuid4()))
        backup = site.backed_up(site.sync()["web"])
        (tmp_path / "far").mkdir()
        lines = "".join(blocks(PAGE, "sh")).replace("/srv/far", str(tmp_path / "far"))
        known = [line for line in lines.splitlines() if "verify" not in line]
        limits = [line for line in known if " copying " in line]
        typed(site, [line for line in known if line not in limits])
        place = f"/backups/{backup['guid']}"
        site.wait_for(lambda: len(site.api.get(place)["backupLocations"]) == 2)
        site.wait_for(lambda: all_present(site, place))
        typed(site, limits)  # typed last, because a copy waits for the hours of its destination
    finally:
        site.close()


def all_present(site: Site, place: str) -> bool:
    locations = site.api.get(place)["backupLocations"]
    return {one["status"]["name"] for one in locations} == {"PRESENT"}


def typed(site: Site, lines: list[str]) -> None:
    token = site.api.post("/api-tokens", {"name": "reader", "roles": ["administrator"]})
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HAULBACK_SERVER": site.api.url}
    env |= {"HAULBACK_TOKEN": token["token"], "XDG_CONFIG_HOME": str(site.folder / "config")}
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], env=env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
