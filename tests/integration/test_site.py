"""Server and node as processes on real images: the work of an administrator, and failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.client.api import Api
from haulback.drivers.images import qemu
from haulback.errors import Conflict, Malformed, Unavailable
from haulback.server.main import Server, ServerSettings
from haulback.units import size
from tests import databases
from tests.certificates import self_signed
from tests.images import needs_qemu, qcow2_machine, qemu_img, qemu_io, raw_machine, restored_disk
from tests.programs import PASSWORD, Program, Site

HAULBACK = (sys.executable, "-m", "haulback")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, lease=5.0)
    made.open()
    yield made
    made.close()


def add_raw(site: Site, name: str = "web") -> str:
    """Add a machine with one raw image of 1 MiB; return its guid."""
    raw_machine(site.machines, name, str(uuid.uuid4()))
    return site.sync()[name]


def fails(site: Site, task: dict[str, Any], why: str) -> None:
    found = site.final(task["guid"])
    assert found["state"]["name"] == "FAILED"
    assert why in found["statusInfo"]
    site.all_final()


def restore(site: Site, backup: dict[str, Any], path: str) -> dict[str, Any]:
    node = site.api.get("/nodes")[0]["guid"]
    body = {"backup": backup["guid"], "node": node, "restorePath": path}
    return dict(site.api.post("/tasks/restore", body))


def test_a_raw_machine_comes_back_as_files_and_as_a_machine(site: Site):
    backup = site.backed_up(add_raw(site))
    target = site.roots / "deep" / "web"
    site.finished(restore(site, backup, str(target))["guid"])
    assert restored_disk(target).read_bytes() == b"r" * (1 << 20)
    shutil.rmtree(site.machines / "web")
    body = {"backup": backup["guid"], "hypervisor": {"guid": site.hypervisor["guid"]}}
    head = site.api.post("/tasks/restore-and-import", body)
    site.finished(head["guid"])
    site.all_final()
    assert (site.machines / "web" / "root.raw").read_bytes() == b"r" * (1 << 20)
    assert list(site.sync()) == ["web"]


@needs_qemu
def test_an_increment_reads_only_what_changed(site: Site):
    image = qcow2_machine(site.machines, "db", str(uuid.uuid4()), "64M")
    qemu_io(image, "write -P 1 0 32M")
    machine = site.sync()["db"]
    full = site.backed_up(machine)
    qemu_io(image, "write -P 2 5M 64k")
    increment = site.backed_up(machine, "INCREMENTAL")
    # The older checkpoint was dropped before the end was reported, and the image is free.
    assert len(qemu.bitmaps(image)) == 1
    qemu_io(image, "write -P 3 6M 64k")
    assert full["transferredSize"] >= 32 << 20
    assert increment["transferredSize"] <= 1 << 20
    assert increment["parentBackup"]["guid"] == full["guid"]


@needs_qemu
@pytest.mark.parametrize("size", ["16M", "96M"])
def test_an_image_that_shrank_or_grew_is_backed_up_whole(site: Site, size: str):
    image = qcow2_machine(site.machines, "db", str(uuid.uuid4()), "64M")
    qemu_io(image, "write -P 1 0 8M")
    machine = site.sync()["db"]
    site.backed_up(machine)
    qemu_img("resize", "-q", "--shrink", "-f", "qcow2", image, size)
    qemu_io(image, "write -P 3 1M 1M")
    backup = site.backed_up(machine, "INCREMENTAL")
    site.finished(restore(site, backup, str(site.roots / "x"))["guid"])
    qemu_img("compare", "-q", "-f", "qcow2", "-F", "raw", image, restored_disk(site.roots / "x"))


def test_a_missing_image_fails_with_its_name_and_leaves_nothing(site: Site):
    machine = add_raw(site)
    (site.machines / "web" / "root.raw").unlink()
    export = site.export(machine)
    fails(site, export, "root.raw")
    assert site.api.get(f"/backups/{export['backup']['guid']}")["status"]["name"] == "FAILED"
    assert not list(site.home.glob("staging/*"))


def test_a_destination_that_is_gone_fails_and_works_again_when_it_is_back(site: Site):
    machine = add_raw(site)
    away = site.repository.with_name("away")
    site.repository.rename(away)
    fails(site, site.export(machine), "does not exist; mount or create it")
    [test] = site.api.post(
        "/tasks/connectivity-test", {"backupDestinations": [site.destination["guid"]]}
    )
    fails(site, test, "does not exist")
    away.rename(site.repository)
    assert site.backed_up(machine)


def test_a_repository_that_was_exchanged_is_refused(site: Site):
    machine = add_raw(site)
    other = site.repository.with_name("other")
    other.mkdir()
    site.add("/backup-destinations", "other", other)
    shutil.copy(other / "haulback.json", site.repository / "haulback.json")
    more = {"backupDestination": {"guid": site.destination["guid"]}}
    fails(site, site.export(machine, **more), "does not open the repository")


def test_a_damaged_pack_is_not_restored(site: Site):
    backup = site.backed_up(add_raw(site))
    for pack in (site.repository / "packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:-100])
    target = site.roots / "x"
    task = restore(site, backup, str(target))
    assert site.final(task["guid"])["state"]["name"] == "FAILED"
    site.all_final()
    assert not target.exists()
    assert not list(site.roots.glob(".haulback*"))


@pytest.mark.parametrize("path", ["/etc/haulback", "{roots}/../x", "{roots}", "{roots}/link/x"])
def test_files_are_restored_below_the_roots_only(site: Site, path: str):
    backup = site.backed_up(add_raw(site))
    (site.roots / "link").symlink_to("/tmp")
    fails(site, restore(site, backup, path.format(roots=site.roots)), "not below a restore root")


def test_files_that_are_there_are_not_overwritten(site: Site):
    backup = site.backed_up(add_raw(site))
    (site.roots / "full").mkdir()
    (site.roots / "full" / "precious").write_text("mine")
    fails(site, restore(site, backup, str(site.roots / "full")), "not empty")
    assert (site.roots / "full" / "precious").read_text() == "mine"


def test_a_second_process_on_a_nodes_folder_is_refused(site: Site):
    twin = subprocess.run(
        [*HAULBACK, "node", "--server", site.api.url, "--data", str(site.home)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert twin.returncode == 6
    assert "another node process" in twin.stderr


def test_a_copy_of_a_node_takes_over_and_the_first_one_ends(site: Site):
    copy = site.folder / "copy"
    shutil.copytree(site.home, copy)
    twin = Program(site.log, "node", "--server", site.api.url, "--data", str(copy))
    twin.start()
    try:
        assert site.node.process
        assert site.node.process.wait(60) == 6
        site.sync()
    finally:
        twin.end(signal.SIGTERM)


def test_a_second_server_on_the_same_file_is_refused(site: Site):
    twin = subprocess.run(
        [*HAULBACK, "server", "--port", "0", "--data", str(site.folder / "server")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert twin.returncode == 6
    assert "another server" in twin.stderr


def test_without_tls_nobody_beyond_this_machine_is_served(tmp_path: Path):
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(Malformed, match="--tls-cert"):
            Server(ServerSettings(data=tmp_path, host=host, port=0))


def test_a_job_runs_on_postgresql_and_outlives_a_server(tmp_path: Path, cluster: str):
    url = databases.new_database(cluster, uuid.uuid4().hex)
    site = Site(tmp_path, lease=5.0, database=url)
    site.open()
    try:
        machine = add_raw(site)
        site.backed_up(machine)
        site.server.end()
        site.start_server()
        assert site.backed_up(machine, "INCREMENTAL")["type"]["name"] == "INCREMENTAL"
    finally:
        site.close()


def test_the_commands_do_what_the_api_does(site: Site):
    add_raw(site)
    environment = {
        **os.environ,
        "HAULBACK_SERVER": site.api.url,
        "HAULBACK_ADMIN_PASSWORD": PASSWORD,
        "XDG_CONFIG_HOME": str(site.folder / "config"),
    }

    def call(*arguments: str, code: int = 0) -> str:
        command = [*HAULBACK, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "logged in" in call("login")
    assert "web" in call("machine", "ls")
    assert "STORE" in call("backup", "create", "web", "--watch")
    [backup] = json.loads(call("backup", "ls", "web", "-o", "json"))
    target = site.roots / "by-command"
    assert "RESTORE" in call("restore", "disks", backup["guid"], str(target), "--watch")
    assert restored_disk(target).exists()
    made = call("restore", "machine", backup["guid"], "--hypervisor", "hv", "--name", "two")
    call("task", "watch", made.strip())
    assert json.loads(call("task", "show", made.strip()))["state"]["name"] == "FINISHED"
    assert "two" in call("machine", "ls")
    key = site.folder / "key"
    key.write_text(call("destination", "key", "bd", "--data", str(site.folder / "server")))
    assert "ok" in call("repository", "verify", str(site.repository), "--key-file", str(key))
    assert "n1" in call("node", "ls")
    assert "ONLINE" in call("api", "GET", "/nodes")
    assert "no backup" in call("backup", "show", str(uuid.uuid4()), code=5)
    failed = call("restore", "disks", backup["guid"], "/etc/x", "--watch", code=8)
    assert "not below a restore root" in failed
    call("task", "rm", made.strip(), "-y")
    call("task", "show", made.strip(), code=5)


def test_over_tls_a_node_trusts_the_certificate_it_was_given(tmp_path: Path):
    site = Site(tmp_path / "site", lease=5.0, tls=self_signed(tmp_path))
    site.open()
    try:
        assert site.api.url.startswith("https://")
        assert site.backed_up(add_raw(site))
        with pytest.raises(Unavailable, match="certificate"):
            Api(site.api.url).get("/nodes")
    finally:
        site.close()


def test_server_and_node_stop_quietly(site: Site):
    assert site.server.end(signal.SIGTERM) == 0
    assert site.node.end(signal.SIGTERM) == 0
    assert "Traceback" not in site.log.read_text()


def test_a_signal_to_up_alone_ends_its_node_before_the_server(tmp_path: Path):
    log = tmp_path / "log"
    program = Program(log, "up", "--data", str(tmp_path / "data"), "--port", "0")
    api = Api(program.start().split()[-1])
    api.log_in("admin", PASSWORD)
    site = Site.__new__(Site)
    site.api, site.log = api, log
    site.wait_for(lambda: [node for node in api.get("/nodes") if "lastSeen" in node])
    site.all_final()
    api.close()
    assert program.end(signal.SIGTERM) == 0
    lines = log.read_text().splitlines()
    assert [line for line in lines if " INFO " not in line] == []
    ends = [line.rpartition(" ")[0].split()[-1] for line in lines if line.endswith(" stopped")]
    assert ends == ["node", "server"]


def test_the_log_tells_which_node_did_which_task_and_how_it_ended(site: Site):
    site.backed_up(add_raw(site))
    guid = site.api.get("/tasks?type=EXPORT")[0]["guid"]
    node = site.api.get("/nodes")[0]["guid"]
    lines = [line for line in site.log.read_text().splitlines() if f"task={guid}" in line]
    for event, more in (
        ("task taken", f"node={node}"),
        ("task begins", "type=EXPORT attempt=1"),
        ("task ended", "state=FINISHED"),
        ("task finished", "type=EXPORT attempt=1"),
    ):
        [line] = [line for line in lines if f" {event} " in line]
        assert " INFO " in line
        assert more in line


def test_a_log_in_json_has_one_object_a_line(tmp_path: Path):
    log = tmp_path / "log"
    options = ("--data", str(tmp_path / "data"), "--port", "0", "--log-format", "json")
    program = Program(log, "server", *options)
    url = program.start().split()[-1]
    api = Api(url)
    api.get("/readyz")
    api.close()
    assert program.end(signal.SIGTERM) == 0
    decodeds = [json.loads(line) for line in log.read_text().splitlines()]
    messages = [item["message"] for item in decodeds]
    assert "server listens" in messages
    assert messages[-1] == "server stopped"
    assert {"time", "level", "logger"} <= set(decodeds[0])


@needs_qemu
def test_space_comes_back_and_what_is_kept_is_restored(site: Site):
    image = qcow2_machine(site.machines, "db", str(uuid.uuid4()), "64M")
    place = f"/backup-destinations/{site.destination['guid']}"
    kept: dict[str, Any] = {}
    for number in range(3):
        source = site.folder / "patch"
        source.write_bytes(os.urandom(8 << 20))
        qemu_io(image, f"write -q -s {source} 0 8M")
        kept = site.backed_up(site.sync()["db"], "INCREMENTAL" if number else "FULL")
    stored = sum(path.stat().st_size for path in site.repository.rglob("*") if path.is_file())
    keep = {"retention": {"keepLastNFull": 1, "keepLastNIncremental": 1}}
    site.api.put(place, keep)
    locations = [b["backupLocations"][0]["guid"] for b in site.api.get("/backups")]
    full = site.api.get("/backups", {"type": "FULL"})[0]["backupLocations"][0]["guid"]
    mark = {"backupLocations": [full], "retentionHint": "TO_REMOVE"}
    site.api.post("/retention/mark-backups", mark)
    for _ in range(2):
        body = {"backupDestinations": [site.destination["guid"]]}
        [task] = site.api.post("/tasks/remove-old-backups", body)
        site.finished(task["guid"])
    statuses = [b["status"]["name"] for b in site.api.get("/backups")]
    assert statuses == ["SUCCESS", "SUCCESS_REMOVED", "SUCCESS_REMOVED"]
    assert len(locations) == 3
    left = sum(path.stat().st_size for path in site.repository.rglob("*") if path.is_file())
    assert left < stored * 0.6
    target = site.roots / "db"
    site.finished(restore(site, kept, str(target))["guid"])
    raw = restored_disk(target).read_bytes()
    assert raw[: 8 << 20] == (site.folder / "patch").read_bytes()


def test_deleting_a_machine_removes_its_backups_and_then_its_record(site: Site):
    machine = add_raw(site)
    site.backed_up(machine)
    shutil.rmtree(site.machines / "web")
    site.sync()
    [task] = site.api.post("/tasks/delete", {"value": machine})
    site.finished(task["guid"])
    assert site.api.get("/virtual-machines") == []
    assert site.api.get("/backups") == []
    assert not list(site.repository.glob("manifests/*"))
    assert not list(site.repository.glob("packs/*/*"))
    assert site.api.post("/tasks/delete", {"value": machine}) == []


def test_the_log_of_a_deletion_tells_the_backups_their_bytes_and_the_time(site: Site):
    machine = add_raw(site)
    stored = site.backed_up(machine)["storedSize"]
    [task] = site.api.post("/tasks/delete", {"value": machine})
    site.finished(task["guid"])
    log = "\n".join(line["text"] for line in site.api.get(f"/tasks/{task['guid']}/log"))
    assert stored > 0
    assert f"1 backup of the machine removed, with {size(stored)} that the backups had" in log
    assert "FINISHED after" in log


def test_a_disk_that_is_excluded_is_not_backed_up(site: Site):
    machine = add_raw(site)
    [disk] = site.api.get("/virtual-machine-disks", {"virtual-machine": machine})
    with pytest.raises(Conflict):
        site.api.put(
            f"/virtual-machine-disks/{disk['guid']}/settings", {"excludedFromBackup": True}
        )


def vaulted(site: Site, machine: str) -> int:
    """The number of good backups of a machine."""
    found = site.api.get("/backups", {"protected-entity": machine})
    return sum(one["status"]["name"] == "SUCCESS" for one in found)


def cleaned(site: Site) -> None:
    """Apply a retention without any limit, which keeps all backups."""
    place = f"/backup-destinations/{site.destination['guid']}"
    site.api.put(place, {"retention": {"keepFullNewerThan": 1}})
    body = {"backupDestinations": [site.destination["guid"]]}
    [task] = site.api.post("/tasks/remove-old-backups", body)
    site.finished(task["guid"])


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_share_that_is_away_costs_no_last_backup(site: Site, looks: int):
    for name in ("one", "two"):
        raw_machine(site.machines, name, str(uuid.uuid4()))
    machines = site.sync()
    for guid in machines.values():
        site.backed_up(guid)
        site.backed_up(guid)
    away = site.folder / "aside"
    site.machines.rename(away)
    site.machines.mkdir()  # the mount point exists and is empty
    for _ in range(looks):
        site.sync()
    alarms = site.api.get("/alarms")
    assert [alarm["kind"]["name"] for alarm in alarms] == ["SOURCE_NOT_BELIEVED"][: 2 - looks]
    cleaned(site)
    assert [vaulted(site, guid) for guid in machines.values()] == [1, 1]
    site.machines.rmdir()
    away.rename(site.machines)
    assert site.sync() == machines
    assert site.api.get("/alarms") == []
    answer = site.api.get("/virtual-machines")
    assert all(item["present"] and "absentSince" not in item for item in answer)


def test_one_unreadable_machine_hides_no_deleted_neighbour(site: Site):
    for name in ("bad", "gone", "good"):
        raw_machine(site.machines, name, str(uuid.uuid4()))
    machines = site.sync()
    text = (site.machines / "bad" / "machine.json").read_text()
    (site.machines / "bad" / "machine.json").write_text(text[:-5])
    shutil.rmtree(site.machines / "gone")
    assert set(site.sync()) == {"bad", "good"}
    shown = {item["name"]: item for item in site.api.get("/virtual-machines")}
    assert {name: item["present"] for name, item in shown.items()} == {
        "bad": True,
        "gone": False,
        "good": True,
    }
    assert "machine.json" in shown["bad"]["problem"]
    [alarm] = site.api.get("/alarms")
    assert (alarm["kind"]["name"], alarm["subject"]["guid"]) == (
        "MACHINE_UNREADABLE",
        machines["bad"],
    )
    (site.machines / "bad" / "machine.json").write_text(text)
    site.sync()
    assert site.api.get("/alarms") == []
    assert "problem" not in site.api.get(f"/virtual-machines/{machines['bad']}")


def test_a_store_that_returns_tells_its_backups_and_the_command_that_adds_them(site: Site):
    backup = site.backed_up(add_raw(site))["guid"]
    guid = site.destination["guid"]
    site.api.delete(f"/backup-destinations/{guid}?gone=true")
    again = site.add("/backup-destinations", "bd", site.repository)
    assert again["guid"] == guid
    log = json.dumps(site.api.get(f"/tasks/{again['task']['guid']}/log"))
    assert "1 backup stored there" in log
    assert "haulback destination sync bd" in log
    assert site.api.get("/backups") == []
    read = site.api.post(f"/backup-destinations/{guid}/read-catalogue", {})
    ended = site.finished(read["task"]["guid"])
    assert (ended["processedObjectCount"], ended["totalObjectCount"]) == (1, 1)
    assert "dataTransferRate" not in ended
    assert [row["guid"] for row in site.api.get("/backups")] == [backup]
