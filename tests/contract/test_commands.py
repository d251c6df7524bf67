"""Every operation has a command: the lines of the command reference are run one by one."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.main import app as commands
from haulback.contract.events import Event, EventKind
from haulback.contract.tokens import NewToken
from haulback.contract.users import NewUser
from haulback.errors import Conflict, NotFound, TaskFailed
from haulback.ids import is_guid, new_guid
from haulback.server.http.reference import TABLE
from haulback.server.store import events
from tests.contract.conftest import PASSWORD, Served
from tests.contract.scene import Scene, watch
from tests.contract.test_client import (
    CONTRACT,
    OTHERS,
    a_destination,
    a_hypervisor,
    a_plan,
    a_record,
    a_schedule,
    hypervisor_seen,
    known_paths,
    machine_seen,
    system_schedule,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
ROWS = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| `([^`]+)` \|$", PAGE.read_text(), re.MULTILINE)
ABOUT_ITSELF = {"GET /livez", "GET /readyz", "GET /openapi.json", "GET /global-settings"}
LISTED = ("GET /backup-locations/{guid}", "GET /users/{guid}")  # a list command shows them


@pytest.fixture
def scene(served: Served) -> Iterator[Scene]:
    made = Scene(served)
    try:
        yield made
    finally:
        made.close()


def words(s: Scene, line: str, folder: Path) -> list[str]:
    """A line of the reference with real objects in place of its words in capitals.

    Objects that a command removes are created for that command, because other commands need theirs.
    """
    spare = {
        "destination rm": a_destination,
        "hypervisor rm": a_hypervisor,
        "policy retry": a_policy_that_ran,
    }
    said = shlex.split(line)
    if "--system" in said:
        said = [system_schedule(s) if word == "SCHEDULE" else word for word in said]
    if make := spare.get(" ".join(said[:2])):
        return [*said[:2], make(s)]
    return [_real(s, word, folder) if word.isupper() else word for word in said]


def a_policy_that_ran(s: Scene) -> str:
    """A policy of which a run has ended."""
    policy = a_record(s.client.records.backup_policies)
    ended = Event(
        kind=EventKind.RUN_ENDED,
        time=s.served.app.clock.now_ms(),
        subject=policy.guid,
        subject_name=policy.name,
        policy=policy.guid,
        text="the run has ended",
        data={"run": new_guid()},
    )
    with s.served.app.store.write() as sql:
        events.add(sql, ended)
    return str(policy.guid)


def _real(s: Scene, word: str, folder: Path) -> str:
    result: dict[str, Any] = {
        "TASK": lambda: s.task,
        "MACHINE": lambda: s.with_disks(),
        "NODE": lambda: s.worker,
        "OTHER": lambda: s.other_node,
        "HYPERVISOR": lambda: s.hypervisor,
        "UNBELIEVED": lambda: s.unbelieved,
        "KVM": lambda: s.kvm,
        "DESTINATION": lambda: s.destination,
        "TARGET": lambda: a_destination(s),
        "FAILED": lambda: a_destination(s),
        "BACKUP": lambda: s.backup,
        "MOUNT": lambda: s.mount,
        "UNMOUNTED": lambda: s.unmounted,
        "ISCSI": lambda: s.iscsi,
        "GUEST": lambda: s.guest,
        "LIVING": lambda: s.living,
        "FILESYSTEM": lambda: s.file_system,
        "ALARM": lambda: s.alarm,
        "CHANNEL": lambda: s.channel,
        "DELIVERY": lambda: s.delivery,
        "SNAPSHOT": lambda: s.held,
        "PLAN": lambda: a_plan(s),
        "RULE": lambda: a_record(s.client.records.rules).guid,
        "SCHEDULE": lambda: a_schedule(s),
        "POLICY": lambda: a_record(s.client.records.backup_policies).guid,
        "SNAPSHOT-POLICY": lambda: a_record(s.client.records.snapshot_policies).guid,
        "PROVEN": lambda: s.proven,
        "MISSING": lambda: s.missing,
        "WORKFLOW": lambda: s.task,
        "USER": lambda: s.client.users.add(NewUser(f"u-{new_guid()}", PASSWORD, ["viewer"])).login,
        "TOKEN": lambda: s.client.users.tokens.add(NewToken("t")).guid,
        "FILE": lambda: str(folder / "file"),
        "KEY": lambda: str(folder / "key"),
        "FILES": lambda: str(folder / "files"),
    }
    return str(result.get(word, lambda: s.guid)())


def test_every_operation_is_on_the_page():
    shown = {key for key, _ in ROWS}
    assert set(CONTRACT) <= shown
    records = {key for key in TABLE if key.partition(" ")[2].removesuffix("/{guid}") in RECORDS}
    sessions = {"POST /session/login", "POST /tasks/{guid}/log"}
    assert set(TABLE) - OTHERS - records - ABOUT_ITSELF - sessions - set(LISTED) == shown


RECORDS = set(known_paths.values())


@pytest.mark.parametrize(("key", "line"), ROWS)
def test_a_command_asks_for_its_operation(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, line: str
):
    as_node = line.startswith("task node")
    if as_node:
        scene.task = scene.running  # type: ignore[misc]
        seen = machine_seen(scene) if "instance" in line else hypervisor_seen(scene)
        (tmp_path / "file").write_text(json.dumps(seen))
    (tmp_path / "key").write_text("0" * 64)
    (tmp_path / "files").write_text(json.dumps([{"backupFile": scene.guid}]))
    monkeypatch.setenv("HAULBACK_SERVER", scene.client.url)
    monkeypatch.setenv("HAULBACK_TOKEN", scene.served.mover if as_node else _token(scene))
    monkeypatch.setenv("HAULBACK_NEW_PASSWORD", PASSWORD)
    monkeypatch.setenv("HAULBACK_YES", "1")  # run like a script that is never asked
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for noun in ("hypervisors", "destinations", "destination_catalogue"):
        monkeypatch.setattr(f"haulback.cli.{noun}.watch", lambda client, heads: None)
    given = words(scene, line, tmp_path)
    if "show" not in given and given[0] != "tape":  # a `show` with a whole guid reads no list
        given = [_beginning(word) for word in given]
    asked = watch(monkeypatch)
    with contextlib.suppress(Conflict, NotFound, TaskFailed):
        commands(given, exit_on_error=False, result_action="return_value")
    if "show" in given and scene.guid not in given:
        commands([_beginning(word) for word in given], result_action="return_value")
    asked.close()
    assert key in asked


def _beginning(word: str) -> str:
    """The first characters of a guid, which name a record in every command; any other word."""
    return word[:8] if is_guid(word) else word


def _token(scene: Scene) -> str:
    """A separate login, because one of the commands ends it."""
    answer = scene.served.login()
    scene.served.http.cookies.clear()
    return str(answer.headers["x-session-token"])


def test_a_command_that_only_asks_loads_neither_server_nor_kinds():
    nouns = (
        "tasks",
        "backups",
        "restores",
        "machines",
        "destinations",
        "users",
        "records",
        "nodes",
    )
    names = ", ".join(f"haulback.cli.{noun}" for noun in nouns)
    heavy = ("haulback.server", "haulback.kinds", "haulback.node.", "numpy", "litestar")
    code = f"import sys, {names}\nprint([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("noun", ["policy", "project", "network"])
def test_a_record_is_written_changed_and_removed_in_words(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    noun: str,
):
    monkeypatch.setenv("HAULBACK_SERVER", scene.client.url)
    monkeypatch.setenv("HAULBACK_TOKEN", scene.served.person)

    asked = watch(monkeypatch)

    monkeypatch.setenv("HAULBACK_YES", "1")

    def said(*given: str) -> str:
        commands([noun, *given], exit_on_error=False, result_action="return_value")
        return capsys.readouterr().out

    name = f"record {new_guid()}"
    member = {"policy": "priority", "project": "uuid", "network": "uuid"}[noun]
    guid = said("add", name, f"{member}=70").strip()
    assert name in said("ls")
    said("set", name, f"{member}=80")
    assert str(json.loads(said("show", guid))[member]) == "80"
    said("rm", name)
    assert name not in said("ls", "-o", "json")
    asked.close()


@pytest.mark.parametrize("archive", [True, False])
def test_what_is_fetched_is_called_a_tar_when_it_is_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: bool
):
    monkeypatch.setenv("HAULBACK_SERVER", scene.client.url)
    monkeypatch.setenv("HAULBACK_TOKEN", scene.served.person)
    monkeypatch.chdir(tmp_path)
    result = scene.served.file_system(scene.mount)
    node = scene.served.answers(b"bytes", tar=bytes(1024))
    asked = watch(monkeypatch)
    more = ["/b"] if archive else []
    monkeypatch.setattr("haulback.server.http.mounts._is_folder", lambda *_: archive)
    given = ["mount", "get", result, "/etc", *more]
    commands(given, exit_on_error=False, result_action="return_value")
    node.join()
    asked.close()
    assert [path.name for path in tmp_path.iterdir()] == ["etc.tar" if archive else "etc"]
