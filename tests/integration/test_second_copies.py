"""Second copies through a real server and a real node: made, restored from, healed, expired."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.images import raw_machine
from tests.programs import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("second"), lease=5.0)
    made.open()
    (made.folder / "far").mkdir()
    body = {
        "name": "far",
        "path": str(made.folder / "far"),
        "node": made.api.get("/nodes")[0]["guid"],
    }
    body["copyOf"] = {"guid": made.destination["guid"]}
    added = made.api.post("/backup-destinations", body)
    made.finished(added["task"]["guid"])
    made.far = made.api.get(f"/backup-destinations/{added['guid']}")
    yield made
    made.close()


def policy(site: Site, machine: str, name: str) -> dict[str, Any]:
    """A policy with a PRIMARY and a SECONDARY destination, and its machine."""
    targets = [(site.destination, "PRIMARY"), (site.far, "SECONDARY")]
    rule = {
        "name": "both",
        "ruleBackupDestinations": [
            {"roleType": role, "backupDestination": {"guid": to["guid"]}} for to, role in targets
        ],
    }
    body = {"name": name, "active": True, "vms": [{"guid": machine}], "rules": [rule]}
    return dict(site.api.post("/policies/vm-backup", body))


def add_raw(site: Site, name: str) -> str:
    raw_machine(site.machines, name, str(uuid.uuid4()))
    return site.sync()[name]


def states(backup: dict[str, Any]) -> dict[str, str]:
    return {
        place["roleType"]["name"]: place["status"]["name"] for place in backup["backupLocations"]
    }


def test_a_rule_with_a_second_destination_makes_a_copy_after_the_store(site: Site):
    machine = add_raw(site, "web")
    policy(site, machine, "twice")
    [export] = site.api.post(
        "/tasks/export", {"protectedEntities": [machine], "backupType": "FULL"}
    )
    site.all_final()
    backup = site.api.get(f"/backups/{export['backup']['guid']}")
    assert states(backup) == {"PRIMARY": "PRESENT", "SECONDARY": "PRESENT"}
    assert [one["guid"] for one in site.api.get("/backups")] == [backup["guid"]]
