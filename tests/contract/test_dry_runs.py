"""Operations that remove objects: each has a dry run, and each of their commands asks first."""

from __future__ import annotations

import inspect
import io
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cyclopts import App

from haulback.cli.confirmation import Consent
from haulback.cli.main import app as commands
from haulback.contract.machines import VirtualDisk
from haulback.errors import Conflict, HaulbackError, Malformed
from haulback.ids import new_guid
from haulback.kinds.registry import KINDS
from haulback.server.http.reference import OPERATIONS
from haulback.server.store.catalogue import SqlCatalogue
from haulback.wire import JsonObject
from tests.contract.conftest import Served
from tests.contract.scene import Scene, watch
from tests.contract.test_access import user
from tests.contract.test_commands import words
from tests.contract.test_restricted import HERE

DESTROYING = [operation for operation in OPERATIONS if operation.destroys]
REMOVES = {way.path for kind in KINDS.values() if kind.removes for way in kind.submissions}
# Words of commands that remove objects.
TAKES = {"rm", "clear", "forget", "clean", "revert", "rm-old", "move", "unmount", "repair"} | {
    "take-over"
}
# Commands with such a word that ask no question, with the reasons.
UNASKED = {
    "task move": "a node reports the state of its own task",
    "repository sweep": "deletes index files that a merged file replaces: nothing is lost",
}


def test_every_operation_that_removes_has_a_dry_run_or_a_reason():
    for operation in OPERATIONS:
        takes = operation.method == "DELETE" or operation.path.removeprefix("/tasks/") in REMOVES
        if takes and not operation.destroys:
            assert operation.unasked, operation.key
        assert not (operation.destroys and operation.unasked), operation.key


def _all_commands(app: App, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name in app:
        if not name.startswith("-"):
            below = app[name]
            yield from _all_commands(below, (*before, name))
            if below.default_command:
                yield " ".join((*before, name)), below.default_command


COMMANDS = dict(_all_commands(commands))


def _asks(command: Any) -> bool:
    annotations = [item.annotation for item in inspect.signature(command).parameters.values()]
    return any(item in (Consent, "Consent") for item in annotations)


def test_every_command_that_takes_something_away_asks():
    for name, command in COMMANDS.items():
        if name.split()[-1] in TAKES and name not in UNASKED:
            assert _asks(command), name


def test_every_command_of_an_operation_with_a_dry_run_asks():
    for operation in DESTROYING:
        said = shlex.split(operation.command)
        known = [" ".join(said[:length]) for length in (3, 2, 1)]
        for name in (name for name in known if name in COMMANDS):
            assert _asks(COMMANDS[name]), (operation.key, name)
            break
        else:
            assert not said, operation.key


_KEPT = {
    **dict.fromkeys(("audit", "task", "record", "hypervisor"), "*"),
    "backup": "guid, status, hint, keep_until, location_status, gone",
    "destination": "guid, name, settings, config",
}


def _rows(served: Served) -> JsonObject:
    """The rows that users change, and the numbers of all rows except events."""
    with served.app.store.read() as sql:
        counts = {
            name: sql.scalar(sa.text(f'SELECT count(*) FROM "{name}"'))
            for name in sa.inspect(sql).get_table_names()
            if not name.startswith(("event", "alarm", "delivery", "walk", "promise"))
        }
        rows = {
            name: sorted(map(repr, sql.execute(sa.text(f'SELECT {columns} FROM "{name}"'))))
            for name, columns in _KEPT.items()
        }
    return {**counts, **rows}


# The losses that the scene determines; the lists of the other operations may vary.
_ENDS = {
    "DELETE /tasks/{guid}": "1 task cancelled",
    "DELETE /tasks/all-finished": "off the lists",
    "POST /tasks/delete-finished-and-queued": "1 task cancelled",
    "POST /tasks/batch-delete": "stays: ",
    "POST /tasks/revert": "1 machine reverted",
    "DELETE /users/{guid}": "1 user removed",
    "DELETE /api-tokens/{guid}": "1 token revoked",
    "POST /nodes/{guid}/token": "1 token replaced",
    "DELETE /nodes/{guid}": "1 node removed",
    "DELETE /hypervisors/{guid}": "1 hypervisor removed",
    "POST /hypervisors/{guid}/confirm-absent": "1 machine absent",
    "DELETE /backup-destinations/{guid}": "1 destination removed",
    "POST /backup-destinations/{guid}/take-over": "nothing is deleted there for 24 hours",
    "POST /backup-destinations/attach": "the store is only read",
    "POST /backups/{guid}/confirm-missing": "1 backup given up",
}
_REFUSED = {
    "POST /tasks/delete": "is being backed up",
    "POST /backup-destinations/{guid}/move": "is mounted",
    "DELETE /virtual-machines/{guid}": "is present",
}


def test_a_dry_run_names_what_goes_and_changes_nothing(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    scene = Scene(served)
    monkeypatch.setenv("HAULBACK_SERVER", scene.client.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "key").write_text("0" * 64)
    asked = watch(monkeypatch)
    named: dict[str, str] = {}
    for operation in DESTROYING:
        given = words(scene, operation.command, tmp_path) if operation.command else []
        if not given:
            continue
        before = _rows(served)
        line = [*given, "--dry-run"]
        if why := _REFUSED.get(operation.key):
            with pytest.raises(Conflict, match=why):
                commands(line, exit_on_error=False, result_action="return_value")
        else:
            commands(line, exit_on_error=False, result_action="return_value")
        assert _rows(served) == before, operation.key
        named[operation.key] = capsys.readouterr().out
    asked.close()
    scene.close()
    assert {key for key, said in named.items() if not said} == {*_REFUSED}
    assert {key: end for key, end in _ENDS.items() if end not in named[key]} == {}


def test_a_dry_run_is_refused_as_the_request_would_be(served: Served):
    node = served.identity["guid"]
    served.taken()
    answer = served.call("DELETE", f"/api/nodes/{node}?dryRun=true")
    assert answer.status_code == 409
    assert "runs tasks" in answer.json()["message"]


def test_a_dry_run_of_an_attachment_names_the_take_over_and_refuses_a_missing_key(served: Served):
    path, key = "/api/backup-destinations/attach?dryRun=true", {"keyFile": "0" * 64}
    body = {"name": "vault", "path": "/srv/vault", "node": {"guid": served.identity["guid"]}}
    losses = served.call("POST", path, body | key | {"takeOver": True}).json()
    assert [(item["fate"], item["name"]) for item in losses["items"]] == [("taken over", "vault")]
    assert any("24 hours" in note for note in losses["notes"])
    assert served.call("POST", path, body | key).json()["total"] == 0
    assert served.call("POST", path, body).status_code == 400
    shown = served.call("GET", "/api/backup-destinations").json()
    assert "vault" not in [destination["name"] for destination in shown]


@pytest.mark.parametrize("query", ["dryRun=true", "dryRun=true&gone=true"])
def test_a_dry_run_shows_a_restricted_caller_nothing_of_other_projects(served: Served, query: str):
    number = served.new_machine(VirtualDisk("root", 10, "qcow2"))
    machine = served.machines[number]
    settings = f"/api/virtual-machines/{machine}/settings"
    assert served.call("PUT", settings, {"project": "pb"}).status_code == 204
    restricted = user(served, "administrator", projects=["pa"])
    backup = served.stored(number)
    snapshot = served.snapped(machine)["guid"]
    with served.app.store.read() as sql:
        name = SqlCatalogue(sql).machines.get(machine).name
    for operation in DESTROYING:
        for guid in (machine, backup, snapshot, served.destination["guid"]):
            path = f"/api{operation.path.replace('{guid}', guid)}?{query}"
            for example in operation.examples or [None]:
                body = example and json.loads(json.dumps(example).replace(HERE, guid))
                answer = served.call(operation.method, path, body, token=restricted)
                assert name not in answer.text, (operation.key, body)
                assert answer.status_code < 500, answer.text
    refs = {"protectedEntities": [{"guid": machine}]}
    answer = served.call("POST", f"/api/tasks/remove-old-snapshots?{query}", refs, token=restricted)
    assert answer.status_code == 404, answer.text


def test_a_repeated_request_is_answered_again_and_its_dry_run_removes_nothing(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    number = served.new_machine()
    backup, given = served.stored(number), ["--overwrite", "--key", new_guid()]
    line = ["restore", "machine", backup, "--hypervisor", served.hypervisor["guid"], *given]
    made, asked = [], watch(monkeypatch)
    for consent in (["-y"], []):
        commands([*line, *consent], exit_on_error=False, result_action="return_value")
        made.append(capsys.readouterr().out)
    asked.close()
    assert made[0] == made[1]
    assert made[0]


def test_an_operation_without_a_dry_run_does_not_act_instead(served: Served):
    body = {"login": "eve", "password": "long enough 1", "roles": ["viewer"]}
    answer = served.call("POST", "/api/users?dryRun=true", body)
    assert answer.status_code == 400
    assert answer.json()["details"]["field"] == "dryRun"
    assert "eve" not in [user["login"] for user in served.call("GET", "/api/users").json()]


def test_a_command_without_a_terminal_asks_for_a_yes(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    scene = Scene(served)
    monkeypatch.setenv("HAULBACK_SERVER", scene.client.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    user, asked = words(scene, "user rm USER", tmp_path), watch(monkeypatch)
    with pytest.raises(Malformed, match="add -y"):
        commands(user, exit_on_error=False, result_action="return_value")
    commands([*user, "-y"], exit_on_error=False, result_action="return_value")
    with pytest.raises(HaulbackError):
        scene.client.users.find(user[-1])
    asked.close()
    scene.close()
