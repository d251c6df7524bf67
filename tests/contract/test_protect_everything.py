"""The commands of the page about protection run in order, with the results that it states."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.main import app as commands
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.wire import JsonObject
from tests.contract.conftest import Served
from tests.contract.scene import watch

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "protect-everything.md"
LINES = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for line in block.splitlines()
]  # fmt: skip
HOUR = 3_600_000


class Terminal:
    """A user's terminal: commands are called in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, line: str) -> str:
        _, *words = shlex.split(line)
        commands(words, exit_on_error=False, result_action="return_value")
        return self.capsys.readouterr().out

    def json(self, line: str) -> Any:
        return json.loads(self(line))


@pytest.fixture
def terminal(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Terminal]:
    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "Europe/Berlin")
    asked = watch(monkeypatch)
    yield Terminal(capsys)
    asked.close()


def shown(served: Served, name: str) -> JsonObject:
    [policy] = served.call("GET", f"/api/policies/vm-backup?filter={name}").json()
    return dict(policy)


def test_the_page_is_true(served: Served, terminal: Terminal):
    place = {"name": "local", "path": f"/{new_guid()}", "node": served.identity["guid"]}
    assert served.call("POST", "/api/backup-destinations", place).status_code == 201
    said = terminal(LINES[0])
    assert "policy all machines: 2 machines, to local" in said
    assert re.search(r"first run: \d{4}-\d\d-\d\d 22:00 \(Europe/Berlin\)", said)
    assert "late without a good backup for 1d 06h" in said
    assert "localhost" in said
    for line in LINES[1:]:
        terminal(line)
    web = shown(served, "web")
    assert (web["rpo"], web["active"], web["vmCount"]) == (36 * HOUR, False, 0)
    counts = terminal.json("haulback status -o json")["protection"]
    assert (counts["total"], counts["never"], counts["unassigned"]) == (2, 2, 0)
    assert "never backed up" in terminal("haulback status")
    assert "db" in terminal("haulback status --state never")


def test_rules_and_schedules_are_written_as_people_write_them(served: Served, terminal: Terminal):
    name = f"n-{new_guid()[:8]}"
    terminal(f"haulback schedule add {name} 'hour=6:30 Europe/Berlin' daysOfWeek=mon-fri "
             "startWindowLength=2h")  # fmt: skip
    night = terminal.json(f"haulback schedule show {name}")
    assert (night["hour"], night["timeZone"]) == (6.5 * HOUR, "Europe/Berlin")
    assert [day["name"] for day in night["daysOfWeek"]][-1] == "FRIDAY"
    assert night["startWindowLength"] == 2 * HOUR
    terminal(f"haulback schedule set {name} every=4h")
    changed = terminal.json(f"haulback schedule show {name}")
    assert changed["interval"]["frequency"] == 4 * HOUR
    assert "hour" not in changed
    terminal(f"haulback policy add {name} rpo=36h priority=70")
    terminal(f"haulback rule add {name} policy={name} to=bd keep=7d,4w schedules={name}")
    policy = shown(served, name)
    [rule] = policy["rules"]
    [target] = rule["ruleBackupDestinations"]
    assert target["backupDestination"]["name"] == "bd"
    assert target["backupRetentionSettings"]["keepDaily"] == 7
    assert [item["name"] for item in rule["schedules"]] == [name]
    terminal(f"haulback rule set {name} keep=3d")
    [target] = shown(served, name)["rules"][0]["ruleBackupDestinations"]
    assert target["backupRetentionSettings"]["keepDaily"] == 3
    assert (policy["rpo"], policy["priority"]) == (36 * HOUR, 70)


@pytest.mark.parametrize(
    "line",
    [
        "haulback schedule add x hour=25:00",
        "haulback schedule add x every=soon",
        "haulback schedule add x daysOfWeek=someday",
        "haulback rule add x keep=0d",
        "haulback policy add x priority",
        "haulback protect --nightly 22:00",
    ],
)
def test_a_text_that_cannot_be_read_is_refused(terminal: Terminal, line: str):
    with pytest.raises(Malformed):
        terminal(line)
