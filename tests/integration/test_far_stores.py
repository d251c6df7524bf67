"""Stores that a running site reaches, loses and reaches again; one site serves all tests."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.programs import Site

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
