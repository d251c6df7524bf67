"""Followed tasks show why they wait."""

from __future__ import annotations

import msgspec
import pytest

from haulback.cli import submit_options, watch
from haulback.cli.output import console
from haulback.client.client import Client
from haulback.errors import TaskFailed
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


def test_all_tasks_are_followed_when_the_first_one_fails(
    web: Web, capsys: pytest.CaptureFixture[str]
):
    first, second, third = (str(TASK["guid"])[:-1] + end for end in "123")
    failed = {"state": {"name": "FAILED", "description": "Failed"}}
    web.says(msgspec.json.encode(TASK | failed | {"guid": first, "statusInfo": "disk full"}))
    web.says(msgspec.json.encode(ENDED | {"guid": second}))
    web.says(msgspec.json.encode(TASK | failed | {"guid": third, "statusInfo": "no node"}))
    both = f"^EXPORT {first} failed: disk full; EXPORT {third} failed: no node$"
    with pytest.raises(TaskFailed, match=both):
        submit_options.watch(Client(web.url), [first, second, third])
    assert capsys.readouterr().out.count("EXPORT") == 3


def test_the_progress_of_a_task_that_counts_records_shows_records_not_bytes(
    web: Web, capsys: pytest.CaptureFixture[str]
):
    read = ENDED | {"processedObjectCount": 4, "totalObjectCount": 4}
    web.says(msgspec.json.encode(read))
    watch.follow(Client(web.url), str(TASK["guid"]), console())
    shown = capsys.readouterr().out
    assert "4 records" in shown
    assert "4 B" not in shown
