"""Followed tasks show why they wait."""

from __future__ import annotations

import msgspec
import pytest

from haulback.cli import watch
from haulback.cli.output import console
from haulback.client.client import Client
from tests.unit.web import Web

TASK = {
    "guid": "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b",
    "creationTime": 1,
    "priority": 50,
    "windowStart": 0,
}
TASK |= {"type": {"name": "EXPORT", "description": "Export"}, "progress": 0.0, "windowEnd": 9}
QUEUED = TASK | {"state": {"name": "QUEUED", "description": "Queued"}}
WAITING = QUEUED | {"queueReason": "the backup destination bd does not answer"}
ENDED = TASK | {"state": {"name": "FINISHED", "description": "Finished"}}


def test_a_followed_task_that_waits_shows_the_reason_once(
    web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(watch, "_PATIENCE", 0.0)
    for row in (QUEUED, WAITING, WAITING, ENDED):
        web.says(msgspec.json.encode(row))
    watch.follow(Client(web.url), str(TASK["guid"]), console())
    assert capsys.readouterr().out.count("EXPORT waits for: the backup destination bd") == 1


def test_the_progress_of_a_task_that_counts_records_shows_records_not_bytes(
    web: Web, capsys: pytest.CaptureFixture[str]
):
    read = ENDED | {"processedObjectCount": 4, "totalObjectCount": 4}
    web.says(msgspec.json.encode(read))
    watch.follow(Client(web.url), str(TASK["guid"]), console())
    shown = capsys.readouterr().out
    assert "4 records" in shown
    assert "4 B" not in shown
