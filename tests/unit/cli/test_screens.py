"""Commands show the rows of the server, and name missing objects."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from haulback.cli import backups, events, machines, mounts, restores, status, tasks
from haulback.client.client import Client
from haulback.contract.protection import ProtectionState
from haulback.errors import Damaged, Incomplete, Malformed, NotFound
from tests.unit.web import Web

Out = pytest.CaptureFixture[str]
TASK = "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b"


@pytest.fixture
def client(web: Web, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of the prepared server, which every command uses."""
    made = Client(web.url)
    for module in (backups, events, machines, tasks):
        monkeypatch.setattr(module, "connect", lambda: made)
    return made


EVENT = {"number": 7, "time": 1_700_000_000_000, "text": "node n1 is down"}
EVENT |= {"kind": {"name": "NODE_DOWN", "description": "Node down"}}
EVENT |= {"subject": {"guid": "n", "name": "n1"}}


def stream(*rows: dict[str, Any]) -> bytes:
    return b"".join(f"id: {row['number']}\ndata: {json.dumps(row)}\n\n".encode() for row in rows)


class Enough(Exception):
    """The end of a stream that never ends."""


@pytest.mark.parametrize("output", ["table", "json"])
def test_events_are_printed_as_they_happen(
    web: Web, client: Client, capsys: Out, monkeypatch: pytest.MonkeyPatch, output: Any
):
    def enough(_: float) -> None:
        raise Enough

    monkeypatch.setattr("haulback.client.events.time.sleep", enough)
    web.says(stream(EVENT, EVENT | {"number": 8}))
    with pytest.raises(Enough):
        events.events(follow=True, after=6, kind=["node_down"], output=output)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("node n1 is down" in line for line in lines)
    assert ("kind", "NODE_DOWN") in web.last.query
    if output == "json":
        assert [json.loads(line)["number"] for line in lines] == [7, 8]


def machine(name: str, **more: Any) -> dict[str, Any]:
    row = {"guid": name, "name": name, "present": True, **more}
    return row | {"state": {"name": "LATE", "description": "Late"}}


def test_machines_in_trouble_are_named_with_their_age_and_the_rest_is_counted(
    web: Web, client: Client
):
    hour_ago = int((time.time() - 3600) * 1000)
    policy = {"guid": "p", "name": "nightly"}
    rows = [machine("db"), machine("web", lastBackup=hour_ago, policy=policy)]
    web.says(rows, x_total_count="5")
    told = list(status._troubles(client, ProtectionState.LATE))
    assert told[0] == ("late", "db: no good backup yet")
    assert told[1][1].startswith("web: last good backup ")
    assert told[1][1].endswith(" ago, policy nightly")
    assert told[2] == ("late", "and 3 more: haulback status --state late")
    assert status._until(int(time.time() * 1000) - 5000).startswith("in 0")


LABEL = {"name": "RAW", "description": "Raw"}
FILE = {"size": 1, "mountable": True, "iscsiMountable": True, "encryption": 0, "locations": []}
FILE |= {"backup": {"guid": "b"}, "backupFileType": LABEL, "format": LABEL, "vmDisk": {}}
FILES = [
    {"guid": name, "name": name, "path": name, "originalPath": name, "objectName": name, **FILE}
    for name in ("vda", "vdb")
]


@pytest.mark.parametrize(
    ("stored", "without", "error", "told"),
    [
        ([], ["vdc"], NotFound, "--without: the backup has no disk vdc; name one of vda, vdb"),
        (["vda"], [], Malformed, "'vda' is not of the form DISK=POOL"),
        (["vdc=fast"], [], NotFound, "--disk-storage: the backup has no disk vdc"),
    ],
)
def test_disks_that_a_backup_lacks_are_refused_with_their_names(
    web: Web, client: Client, stored: list[str], without: list[str], error: Any, told: str
):
    assert restores._files(client, "b", [], []) is None
    web.says(FILES)
    with pytest.raises(error, match=told):
        restores._files(client, "b", stored, without)
    chosen = restores._files(client, "b", ["vda=fast"], ["vdb"])
    assert chosen
    assert [(file.excludedFromRestore, file.storageId) for file in chosen] == [
        (True, None),
        (None, "fast"),
    ]


def test_a_node_must_be_named_where_none_is_the_only_one(web: Web, client: Client):
    web.says([])
    with pytest.raises(Malformed, match="name a node, because the server has none or several"):
        restores._node(client, "")


def proof(valid: bool, **evidence: Any) -> dict[str, Any]:
    level = {"name": "PROVEN", "description": "Proven"}
    signed = {"signature": "s", "publicKey": "k", "valid": valid, "time": 1}
    return {"level": level, "evidence": json.dumps(evidence), **signed}


def test_a_proof_is_shown_with_its_picture_and_its_signature(
    web: Web, client: Client, tmp_path: Path, capsys: Out
):
    web.says(proof(True, said="login:", screenshot="aW1hZ2U="))
    backups.proof(TASK, screenshot=tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes() == b"image"
    assert json.loads(capsys.readouterr().out)["evidence"] == {"said": "login:"}
    web.answers.clear()
    web.says(proof(False))
    with pytest.raises(NotFound, match="no screenshot"):
        backups.proof(TASK, screenshot=tmp_path / "other")
    with pytest.raises(Damaged, match="the evidence was changed"):
        backups.proof(TASK)


def test_the_log_of_a_task_is_shown_as_lines_or_as_json(web: Web, client: Client, capsys: Out):
    web.says([{"time": 1_700_000_000_000, "attempt": 1, "text": "vda is read whole"}])
    tasks.log(TASK)
    assert capsys.readouterr().out.endswith("  vda is read whole\n")
    tasks.log(TASK, output="json")
    assert json.loads(capsys.readouterr().out)[0]["text"] == "vda is read whole"


def test_the_log_of_a_running_task_is_followed_to_its_end(web: Web, client: Client, capsys: Out):
    def state(name: str) -> None:
        web.says({"state": {"name": name, "description": ""}, "statusInfo": None})

    first, last = ({"time": 1, "attempt": 1, "text": text} for text in ("begins", "FINISHED"))
    state("RUNNING")
    web.says([first])
    state("FINISHED")
    web.says([first, last])
    tasks.log(TASK, follow=True)
    assert [line[21:] for line in capsys.readouterr().out.splitlines()] == ["begins", "FINISHED"]


def test_unreadable_files_of_a_tar_are_named_and_the_tar_stays(tmp_path: Path, capsys: Out):
    def parts():
        yield b"tar"
        files = [{"path": "/etc/shadow", "reason": "the file is encrypted"}]
        raise Incomplete("files are missing", files=files, count=3)

    with pytest.raises(Incomplete):
        mounts._write(tmp_path / "etc.tar", parts())
    assert (tmp_path / "etc.tar").read_bytes() == b"tar"
    said = capsys.readouterr().err
    assert "/etc/shadow: the file is encrypted" in said
    assert "... and 2 more" in said
