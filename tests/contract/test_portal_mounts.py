"""Browsing and downloading from a mounted backup, as portal pages do."""

from __future__ import annotations

import json
import re
import threading
from email.message import Message
from urllib.parse import quote

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from haulback.server.http.content_disposition import attachment
from tests.contract.conftest import EXPORTED, Served

ENTRY = {"size": 9, "modified": 5, "mode": 0o755, "uid": 0, "gid": 0}
KINDS = ("DIRECTORY", "REGULAR_FILE", "SYMLINK", "BROKEN_SYMLINK", "OTHER")


@pytest.fixture(autouse=True)
def _rested(served: Served):
    yield
    served.rest()


def test_every_sort_of_file_is_an_object_with_a_name_and_a_description(served: Served):
    system = served.file_system(served.mounted()["guid"])
    entries = [{**ENTRY, "name": kind.lower(), "type": kind} for kind in KINDS]
    node = served.answers(json.dumps({"entries": entries, "more": False}).encode())
    path = f"/api/mounted-file-systems/{system}/listing"
    rows = served.call("POST", path, {"path": "/"}).json()
    node.join()
    assert [row["fileType"]["name"] for row in rows] == list(KINDS)
    assert all(row["fileType"]["description"] for row in rows)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/etc/hosts", "hosts"),
        ("/a/Jahresabschluß 2026.xlsx", "Jahresabschlu_ 2026.xlsx"),
        ("/a/résumé.pdf", "resume.pdf"),
        ('/a/say "hi"; rm.txt', "say _hi__ rm.txt"),
        ("/a/日本", "__"),
        ("/a/x%41\\y", "x_41_y"),
    ],
)
def test_a_download_has_a_plain_name_beside_the_full_one(served: Served, path: str, plain: str):
    system = served.file_system(served.mounted()["guid"])
    node = served.answers(b"REGULAR_FILE")
    call = f"/api/mounted-file-systems/{system}/download"
    answers = []
    looked = served.call

    def ask() -> None:
        answers.append(looked("POST", call, {"paths": [path], "archive": False}))

    asked = threading.Thread(target=ask)
    asked.start()
    node.join()
    served.answers(b"127.0.0.1").join()
    asked.join()
    [answer] = answers
    assert answer.status_code == 200, answer.text
    told = answer.headers["content-disposition"]
    name = path.rpartition("/")[2]
    assert re.search(r'filename="([^"]*)"', told)[1] == plain  # type: ignore[index]
    assert f"filename*=UTF-8''{quote(name, safe='')}" in told
    assert answer.content == b"127.0.0.1"


@pytest.mark.parametrize("name", ["", ".", "..", "   ", "\r\nSet-Cookie: x", "a\0b", "\u202e"])
def test_a_strange_name_never_leaves_the_header(name: str):
    told = attachment(name)
    assert told.isprintable()
    message = Message()
    message["content-disposition"] = told
    assert told.startswith('attachment; filename="')
    assert told.split('"')[1].strip(" .")


@pytest.mark.parametrize("chosen", [["root"], ["data"], ["root", "data"]])
def test_an_iscsi_mount_lists_the_disks_that_were_chosen(served: Served, chosen: list[str]):
    number = served.new_machine(VirtualDisk("root", 10), VirtualDisk("data", 10))
    disks = [{"name": name, "size": 10, "format": "raw"} for name in ("root", "data")]
    body = {"protectedEntities": [served.machines[number]], **served.there}
    [export] = served.call("POST", "/api/tasks/export", body).json()
    served.run(export["guid"], {**EXPORTED, "size": 20, "files": disks})
    [store] = served.task(export["guid"], "?extended=true")["followers"]
    served.run(store["guid"], {"stored": 5})
    backup = export["backup"]["guid"]
    files = served.call("GET", f"/api/backup-files?backup={backup}").json()
    more = {
        "mode": {"name": "ISCSI"},
        "backup": backup,
        "mountedFileSystems": [],
        "mountedDisks": [{"backupFile": f} for f in files if f["objectName"] in chosen],
        "allowedClients": ["iqn.2020-01.org.example:host"],
    }
    answer = served.call("POST", "/api/tasks/restore-and-mount", more)
    assert answer.status_code == 201, answer.text
    served.run(answer.json()["guid"], {"disks": 2})
    [task] = served.task(answer.json()["guid"], "?extended=true")["followers"]
    shown = {"disks": {"root": 10, "data": 10}, "volumes": [], "portal": "n1:3260"}
    served.run(task["guid"], shown)
    mount = answer.json()["mountedBackup"]["guid"]
    rows = served.call("GET", f"/api/mounted-files?mounted-backup={mount}").json()
    assert sorted(row["path"] for row in rows) == sorted(chosen)
    assert all(row["randomAccess"] is True for row in rows)
    record = served.call("GET", f"/api/mounted-backups/{mount}").json()
    assert record["mountedFileCount"] == len(chosen)


def test_a_mount_of_files_lists_every_disk(served: Served):
    mount = served.mounted()
    rows = served.call("GET", f"/api/mounted-files?mounted-backup={mount['guid']}").json()
    assert len(rows) == mount["mountedFileCount"] == 1
    assert served.call("GET", f"/api/mounted-files?mounted-backup={new_guid()}").status_code == 404
