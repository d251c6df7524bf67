"""Mounted backups in portals, and file requests that the node fetches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

from haulback.cli.output import when
from haulback.client.client import Client
from haulback.errors import Conflict, Incomplete, Unavailable
from haulback.filesystems.report import UnreadableReport
from haulback.ids import new_guid
from haulback.server.main import Server, ServerSettings
from haulback.server.services.maintenance import tick
from haulback.server.store.catalogue import SqlCatalogue
from tests import databases
from tests.contract.conftest import PASSWORD, Command, Served
from tests.contract.test_transport import is_error

ENTRY = {"name": "hosts", "type": "REGULAR_FILE", "size": 9, "modified": 5, "mode": 0o640}
ENTRY |= {"uid": 0, "gid": 0}
PAGE = json.dumps({"entries": [ENTRY], "more": True}).encode()


@pytest.fixture(autouse=True)
def _rested(served: Served):
    yield
    served.rest()


def test_a_folder_is_listed_by_its_node(served: Served):
    system = served.file_system(served.mounted()["guid"])
    node = served.answers(PAGE)
    path = f"/api/mounted-file-systems/{system}/listing?after=a&size=7"
    answer = served.call("POST", path, {"path": "/etc"})
    node.join()
    assert answer.status_code == 200, answer.text
    [row] = answer.json()
    assert (row["name"], row["fileType"], row["size"], row["modified"]) == (
        "hosts", {"name": "REGULAR_FILE", "description": "Regular file"}, 9, 5,
    )  # fmt: skip
    assert row["permissions"] == ["OWNER_READ", "OWNER_WRITE", "GROUP_READ"]
    assert answer.headers["x-next-name"] == "hosts"
    asked = {"type": "listing", "volume": "root1", "path": "/etc", "after": "a", "most": 7}
    assert served.asked.items() >= asked.items()


def test_rows_that_cannot_be_read_and_folders_that_are_damaged_say_so(served: Served):
    client, system = client_of(served), served.file_system(served.mounted()["guid"])
    bad = {**ENTRY, "name": "vm.vhdx", "reason": "the file is encrypted by Windows"}
    page = {"entries": [ENTRY, bad], "more": False, "reason": "a block of ü cannot be read"}
    node = served.answers(json.dumps(page).encode())
    answer = served.call("POST", f"/api/mounted-file-systems/{system}/listing", {"path": "/f"})
    node.join()
    good, row = answer.json()
    assert "readable" not in good
    assert good["contents"]["name"] == "NOT_TRIED"
    assert (row["readable"], row["reason"]) == (False, "the file is encrypted by Windows")
    assert row["contents"]["name"] == "NOT_READABLE"
    assert unquote(answer.headers["x-incomplete"]) == page["reason"]
    node, rows = served.answers(json.dumps(page).encode()), list[str]()
    with pytest.raises(Incomplete, match=r"/f: the listing is incomplete: .*a block of ü") as told:
        rows.extend(row.name for row in client.mounts.listing(system, "/f"))
    node.join()
    assert rows == ["hosts", "vm.vhdx"]
    assert told.value.exit_code == 3
    client.close()


def test_details_say_what_opening_a_file_told(served: Served):
    client, system = client_of(served), served.file_system(served.mounted()["guid"])
    opened = {"contents": "NOT_READABLE", "reason": "packs/07 is missing", "read": 4, "stored": 9}
    node = served.answers(json.dumps(ENTRY | opened | {"features": ["verity"]}).encode())
    entry = client.mounts.details(system, "/etc/hosts")
    node.join()
    assert served.asked.items() >= {"type": "details", "path": "/etc/hosts"}.items()
    assert (entry.readable, entry.reason) == (False, "packs/07 is missing")
    assert (entry.read, entry.stored, entry.features) == (4, 9, ["verity"])
    node = served.answers(b"[]")
    with pytest.raises(Unavailable, match="malformed"):
        client.mounts.details(system, "/etc/hosts")
    node.join()
    client.close()


def test_a_page_goes_on_behind_the_mark_that_the_node_gave(served: Served):
    system = served.file_system(served.mounted()["guid"])
    page = {"entries": [ENTRY], "more": True, "next": "\\raw-636166e9"}
    path = f"/api/mounted-file-systems/{system}/listing"
    node = served.answers(json.dumps(page).encode())
    mark = served.call("POST", path, {"path": "/"}).headers["x-next-name"]
    node.join()
    node = served.answers(PAGE)
    served.call("POST", f"{path}?after={mark}", {"path": "/"})
    node.join()
    assert served.asked["after"] == "\\raw-636166e9"


def client_of(served: Served) -> Client:
    return Client(served.server.url, served.person)


def tar_with(*said: tuple[str, str]) -> bytes:
    """A tar of one file, with a report of unreadable files."""
    info = tarfile.TarInfo("f/a")
    info.size = 1
    with UnreadableReport() as report:
        for path, reason in said:
            report.add(path, reason)
        last = b"".join(report.member())
    return info.tobuf(tarfile.PAX_FORMAT) + b"a".ljust(512, b"\0") + last + bytes(1024)


def test_files_that_a_tar_could_not_hold_are_raised_and_end_the_command_with_3(
    served: Served, tmp_path: Path
):
    client, system = client_of(served), served.file_system(served.mounted()["guid"])
    tar = tar_with(("/f/vm.vhdx", "a sparse file"), ("/f/b.dll", "compacted"))
    node, parts = served.answers(tar[:700], tar[700:]), list[bytes]()
    with pytest.raises(Incomplete) as told:
        parts.extend(client.mounts.download(system, ["/f", "/g"]))
    node.join()
    assert b"".join(parts) == tar
    assert [detail["path"] for detail in told.value.details["files"]] == ["/f/vm.vhdx", "/f/b.dll"]
    for to in (str(tmp_path / "f.tar"), "-"):
        node = served.answers(tar)
        said = haulback(served, "mount", "get", system, "/f", "/g", "--to", to)
        node.join()
        assert said.returncode == 3
        lines = said.stderr.decode().splitlines()
        assert lines[:2] == ["/f/vm.vhdx: a sparse file", "/f/b.dll: compacted"]
        assert said.stdout == (tar if to == "-" else f"{to}\n".encode())
    assert (tmp_path / "f.tar").read_bytes() == tar
    client.close()


@pytest.mark.parametrize("failed", [True, False])
def test_a_tar_that_breaks_off_is_an_error_and_leaves_no_file(
    served: Served, tmp_path: Path, failed: bool
):
    """The tar ends early because the node reports an error, or because a proxy closes the
    connection cleanly.
    """
    client, system = client_of(served), served.file_system(served.mounted()["guid"])
    told = json.dumps({"code": "unavailable", "message": "the node stops"}).encode()
    pieces = [tar_with()[:700], told] if failed else [tar_with()[:512], tar_with()[512:1024]]
    node = served.answers(*pieces, failed=failed)
    with pytest.raises(Unavailable):
        list(client.mounts.download(system, ["/f", "/g"]))
    node.join()
    node = served.answers(*pieces, failed=failed)
    said = haulback(served, "mount", "get", system, "/f", "/g", "--to", str(tmp_path / "f.tar"))
    node.join()
    assert said.returncode == 7, said.stderr
    assert list(tmp_path.iterdir()) == []
    client.close()


def test_a_single_file_that_fails_half_way_is_an_error_that_names_the_way_out(served: Served):
    client, system = client_of(served), served.file_system(served.mounted()["guid"])
    bad = json.dumps({"code": "damaged", "message": "packs/07 is missing"}).encode()
    node = answering(served, [b"REGULAR_FILE"], [b"x" * 1000, bad], failed=True)
    with pytest.raises(Unavailable, match="an archive contains its readable part"):
        list(client.mounts.download(system, ["/f/a"]))
    node.join()
    client.close()


def answering(served: Served, *answers: list[bytes], failed: bool) -> threading.Thread:
    """Answer several file requests as the node; the last answer fails or succeeds."""

    def work() -> None:
        for said in answers:
            served.answers(*said, failed=failed and said is answers[-1]).join()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def haulback(served: Served, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a person would."""
    sent = {"HAULBACK_SERVER": served.server.url, "HAULBACK_TOKEN": served.person}
    command = [str(Path(sys.executable).parent / "haulback"), *words]
    return subprocess.run(command, capture_output=True, env={**os.environ, **sent}, check=False)


INITIATOR = "iqn.2020-01.org.example:host"


def test_disks_are_shared_with_initiators_that_are_named(served: Served):
    backup = served.stored()
    [file] = served.call("GET", f"/api/backup-files?backup={backup}").json()
    assert file["iscsiMountable"]
    chosen = [{"backupFile": {"guid": file["guid"]}}]
    body = {"mode": {"name": "ISCSI"}, "backup": backup, "mountedDisks": chosen}
    body["allowedClients"] = [INITIATOR, INITIATOR, "eui.0123456789abcdef"]
    head = served.call("POST", "/api/tasks/restore-and-mount", body)
    assert head.status_code == 201, head.text
    guid = head.json()["mountedBackup"]["guid"]
    assert is_error(served.call("GET", f"/api/mounted-backups/{guid}/iscsi"), 409)
    served.run(head.json()["guid"], {"disks": 1})
    [task] = served.task(head.json()["guid"], "?extended=true")["followers"]
    wanted = {"disks": ["root"], "clients": [INITIATOR, "eui.0123456789abcdef"]}
    assert served.order(task["guid"])["target"].items() >= {**wanted, "port": 0}.items()
    result = {"disks": {"root": 10}, "volumes": [], "portal": "n1.example:3262"}
    served.as_node("PUT", f"/api/tasks/{task['guid']}/transfer-info", result)
    assert served.state(task["guid"], "FINISHED").status_code == 204
    told = served.call("GET", f"/api/mounted-backups/{guid}/iscsi").json()
    assert (told["portal"], told["user"], len(told["secret"])) == (
        "n1.example:3262",
        "haulback",
        16,
    )
    assert told["target"].endswith(guid)
    assert told["disks"] == [{"lun": 1, "disk": "root", "size": 10}]
    again = served.as_node("GET", f"/api/nodes/self/shares/{guid}").json()["order"]
    assert again["target"]["port"] == 3262  # clients rely on this value


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"allowedClients": []}, "allowedClients"),
        ({"allowedClients": None}, "allowedClients"),
        ({"allowedClients": ["host"]}, "allowedClients[0]"),
        ({"allowedClients": [INITIATOR, "iqn.2020-13.org.example:x"]}, "allowedClients[1]"),
        ({"allowedClients": [f"{INITIATOR} --op delete"]}, "allowedClients[0]"),
        ({"allowedClients": [INITIATOR + "x" * 223]}, "allowedClients[0]"),
        ({"mountedFileSystems": [{"mountPath": "/mnt/a"}]}, "mountedFileSystems"),
        ({"mode": "AUTO", "allowedClients": [INITIATOR]}, "allowedClients"),
        ({"mode": "AUTO", "allowedClients": None, "mountedDisks": ["FILE"]}, "mountedDisks"),
        ({"mode": "MANUAL", "allowedClients": None}, "mountedFileSystems"),
        ({"mountedDisks": ["FILE", "FILE"]}, "mountedDisks[1].backupFile"),
    ],
)
def test_who_may_see_disks_has_to_be_said_and_nothing_else_is_taken(
    served: Served, more: dict[str, Any], field: str
):
    backup = served.stored()
    [file] = served.call("GET", f"/api/backup-files?backup={backup}").json()
    if named := more.get("mountedDisks"):
        more = {**more, "mountedDisks": [{"backupFile": file["guid"]} for _ in named]}
    body = {"mode": "ISCSI", "backup": backup, "allowedClients": [INITIATOR], **more}
    before = len(served.call("GET", "/api/tasks").json())
    answer = served.call("POST", "/api/tasks/restore-and-mount", body)
    assert is_error(answer, 400), answer.text
    assert answer.json()["details"]["field"] == field
    unknown = {**body, "mode": "ISCSI", "mountedDisks": [{"backupFile": new_guid()}]}
    unknown |= {"allowedClients": [INITIATOR], "mountedFileSystems": None}
    assert is_error(served.call("POST", "/api/tasks/restore-and-mount", unknown), 404)
    assert len(served.call("GET", "/api/tasks").json()) == before


def test_a_file_is_fetched_piece_by_piece_and_that_is_audited(served: Served):
    mount = served.mounted()
    system = served.file_system(mount["guid"])
    pieces = [b"a" * 100_000 for _ in range(9)] + [b"end"]
    node = served.answers(*pieces)
    body = {"paths": ["/etc"], "archive": True}
    answer = served.call("POST", f"/api/mounted-file-systems/{system}/download", body)
    node.join()
    assert answer.content == b"".join(pieces)
    assert answer.headers["content-type"] == "application/x-tar"
    assert "etc.tar" in answer.headers["content-disposition"]
    entries = served.call("GET", "/api/audit-log?size=20").json()
    assert any((e["operation"], e["subject"]) == ("download", mount["guid"]) for e in entries)


@pytest.mark.parametrize(("code", "status"), [("not_found", 404), ("malformed", 400), ("x", 503)])
def test_what_a_node_refuses_is_told(served: Served, code: str, status: int):
    system = served.file_system(served.mounted()["guid"])
    told = json.dumps({"code": code, "message": "there is no /nowhere"}).encode()
    for what, body in (("listing", {"path": "/nowhere"}), ("download", {"paths": ["/nowhere"]})):
        node = served.answers(told, failed=True)
        answer = served.call("POST", f"/api/mounted-file-systems/{system}/{what}", body)
        node.join()
        assert is_error(answer, status), answer.text
        assert "/nowhere" in answer.json()["message"]


def test_nonsense_of_a_node_is_no_internal_error(served: Served):
    system = served.file_system(served.mounted()["guid"])
    for nonsense in (b"", b"[]", b"\xff", b'{"entries":[{"name":5}],"more":0}'):
        node = served.answers(nonsense)
        answer = served.call("POST", f"/api/mounted-file-systems/{system}/listing", {"path": "/"})
        node.join()
        assert is_error(answer, 503), answer.text


def test_an_answer_that_nobody_waits_for_is_refused(served: Served):
    answer = served.as_node("POST", f"/api/nodes/self/answers/{new_guid()}?part=0&last=true", b"x")
    assert is_error(answer, 404)


def test_mounted_backups_are_restricted_and_what_is_over_shows_nothing(served: Served):
    mount = served.mounted()
    backup = mount["backup"]["guid"]
    for query, there in (
        (f"backup={backup}", True),
        ("finished-mount=false", True),
        ("finished-mount=true", False),
        ("mode=MANUAL", False),
        (f"node={mount['node']['guid']}", True),
        (f"protected-entity={new_guid()}", False),
    ):
        rows = served.call("GET", f"/api/mounted-backups?{query}").json()
        assert (mount["guid"] in [row["guid"] for row in rows]) == there, query
    [disk] = served.call("GET", f"/api/mounted-files?mounted-backup={mount['guid']}").json()
    assert (disk["path"], disk["size"], disk["randomAccess"]) == ("root", 10, True)
    task = served.call("POST", "/api/tasks/unmount", {"mountedBackup": mount["guid"]}).json()
    served.run(task["guid"], {})
    system = served.file_system(mount["guid"])
    assert served.call("GET", f"/api/mounted-files?mounted-backup={mount['guid']}").json() == []
    answer = served.call("POST", f"/api/mounted-file-systems/{system}/listing", {"path": "/"})
    assert is_error(answer, 409)


def test_disks_and_volumes_of_an_ended_mount_are_refused_with_its_end_and_the_remedy(
    served: Served, said: Command
):
    mount = served.mounted()
    guid = mount["guid"]
    for verb, shown in (("disks", "root"), ("volumes", "root1")):
        assert shown in said("mount", verb, guid)
    task = served.call("POST", "/api/tasks/unmount", {"mountedBackup": guid}).json()
    begun = served.app.clock.now_ms()
    served.run(task["guid"], {})
    ended = served.call("GET", f"/api/mounted-backups/{guid}").json()["unmountTime"]
    assert begun <= ended <= served.app.clock.now_ms()
    for verb in ("disks", "volumes"):
        with pytest.raises(Conflict) as caught:
            said("mount", verb, guid)
        told = caught.value.message
        assert f"the mount ended at {when(ended)}; to mount it again: haulback mount again" in told
        assert told.endswith(guid)


def test_a_mount_that_waits_or_failed_says_so(served: Served, said: Command):
    body = {"mode": "AUTO", "backup": served.stored()}
    head = served.call("POST", "/api/tasks/restore-and-mount", body).json()
    guid = head["mountedBackup"]["guid"]
    with pytest.raises(Conflict, match="is not mounted yet; haulback task ls --machine db shows"):
        said("mount", "disks", guid)
    served.run(head["guid"], {"disks": 1})
    [task] = served.task(head["guid"], "?extended=true")["followers"]
    for state in ("RUNNING", "FAILED"):
        assert served.state(task["guid"], state).status_code == 204
    with pytest.raises(Conflict, match="is not mounted: the mount failed at 2"):
        said("mount", "volumes", guid)


def test_a_machine_that_ran_from_its_backup_runs_again_by_another_command(
    served: Served, said: Command
):
    mount = served.living_off(served.kvm())
    task = served.call("POST", "/api/tasks/unmount", {"mountedBackup": mount["guid"]}).json()
    served.run(task["guid"], {})
    with pytest.raises(Conflict, match=f"haulback restore instant {mount['backup']['guid']}$"):
        said("mount", "disks", mount["guid"])


def test_a_mounted_backup_is_kept_and_its_share_is_needed(served: Served):
    mount = served.mounted()
    with served.app.store.read() as sql:
        known = SqlCatalogue(sql)
        assert known.work.is_in_use(known.backups.get(mount["backup"]["guid"]))
    names = [mount["guid"], new_guid()]
    assert served.as_node("POST", "/api/nodes/self/needed", names).json() == names[:1]
    assert mount["guid"] in served.as_node("GET", "/api/nodes/self/shares").json()
    order = served.as_node("GET", f"/api/nodes/self/shares/{mount['guid']}").json()["order"]
    assert order["backup"] == mount["backup"]["guid"]
    assert is_error(served.as_node("GET", f"/api/nodes/self/shares/{new_guid()}"), 404)


def test_damage_that_a_mount_found_marks_its_backup(served: Served):
    mount = served.mounted()
    backup, to = mount["backup"]["guid"], served.destination["guid"]
    met = {"destination": to, "losses": [{"backup": backup, "disks": [{"name": "a", "bytes": 9}]}]}
    path = f"/api/nodes/self/shares/{mount['guid']}/damage"
    strange = {**met, "destination": new_guid()}
    assert served.as_node("POST", path, {"reports": [strange]}).status_code == 204
    shown = served.call("GET", f"/api/backups/{backup}").json()["backupLocations"][0]
    assert shown["status"]["name"] == "PRESENT"
    for _ in range(2):
        assert served.as_node("POST", path, {"reports": [met]}).status_code == 204
    shown = served.call("GET", f"/api/backups/{backup}").json()["backupLocations"][0]
    assert shown["status"]["name"] == "DAMAGED"
    assert is_error(served.as_node("POST", path, {"reports": "none"}), 400)
    wrong = f"/api/nodes/self/shares/{new_guid()}/damage"
    assert is_error(served.as_node("POST", wrong, {"reports": []}), 404)


def test_a_node_may_bring_its_answer_to_another_server(tmp_path: Path, cluster: str):
    url = databases.new_database(cluster, uuid.uuid4().hex)
    served = Served(tmp_path, url)
    other = Server(ServerSettings(data=tmp_path, port=0, password=PASSWORD, database=url))
    thread = threading.Thread(target=other.run)
    thread.start()
    try:
        served.furnish()
        system = served.file_system(served.mounted()["guid"])
        asked_at, served.http = served.http, httpx2.Client(base_url=served.server.url, timeout=30)
        pieces = [bytes([65 + n]) * 1000 for n in range(9)]
        node = threading.Thread(target=_answer, args=(other.url, served.mover, pieces))
        node.start()
        body = {"paths": ["/a", "/b"]}
        answer = served.call("POST", f"/api/mounted-file-systems/{system}/download", body)
        node.join()
        assert answer.content == b"".join(pieces)
        asked_at.close()
    finally:
        other.stop()
        thread.join()
        served.close()


def _answer(url: str, token: str, pieces: list[bytes]) -> None:
    sent = {"authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=url, timeout=30, headers=sent) as http:
        dicts: list[dict[str, Any]] = []
        while not dicts:
            dicts = http.get("/api/nodes/self/questions", headers={"prefer": "wait=5"}).json() or []
        for number, piece in enumerate(pieces):
            query = {"part": number, "last": number == len(pieces) - 1}
            path = f"/api/nodes/self/answers/{dicts[0]['guid']}"
            while not http.post(path, content=piece, params=query).json()["taken"]:
                pass


def test_the_mount_of_a_failed_instant_restore_is_removed(served: Served):
    body = {"mode": "INSTANT_RESTORE", "backup": served.stored(), "hypervisor": served.kvm()}
    head = served.call("POST", "/api/tasks/instant-restore", body).json()
    guid, mount = head["guid"], head["mountedBackup"]["guid"]
    for results in ({"disks": 1}, {"disks": {"root": 10}, "volumes": []}):
        served.run(guid, results)
        [after] = served.task(guid, "?extended=true")["followers"]
        guid = after["guid"]
    assert served.state(guid, "RUNNING").status_code == 204
    assert served.state(guid, "FAILED").status_code == 204
    shown = served.call("GET", f"/api/mounted-backups/{mount}").json()
    assert shown["unmountTime"] <= served.app.clock.now_ms()
    tick(served.app)
    waiting = served.call("GET", "/api/tasks/detailed?type=UNMOUNT&state=QUEUED").json()
    [task] = [item for item in waiting if item.get("mountedBackup", {}).get("guid") == mount]
    order = served.order(task["guid"])
    # on a hypervisor that can run a machine from the backup
    assert order["hypervisor"]["guid"] == body["hypervisor"]
    assert served.state(task["guid"], "FAILED").status_code == 204
    shown = served.call("GET", f"/api/mounted-backups/{mount}").json()
    assert shown["state"]["name"] == "MOUNTED"
    assert shown["unmountTime"] > served.app.clock.now_ms() + 3_000_000  # not again at once
