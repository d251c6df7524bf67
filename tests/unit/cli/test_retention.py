"""The preview of a retention shows how much is removed, and the reason why it waits."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from haulback.cli import retention
from haulback.cli.confirmation import Consent
from haulback.client.client import Client
from haulback.errors import Malformed
from tests.unit.web import Web

Out = pytest.CaptureFixture[str]
GUID = "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b"
RULE = {"guid": GUID, "name": "keep"}


@pytest.fixture
def client(web: Web, monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client(web.url)
    monkeypatch.setattr(retention, "connect", lambda: made)
    return made


def label(name: str) -> dict[str, str]:
    return {"name": name, "description": name.capitalize()}


def judged(name: str, goes: bool) -> dict[str, Any]:
    row: dict[str, Any] = {part: {"guid": name, "name": name} for part in ("backup", "location")}
    row |= {"protectedEntity": {"guid": "m", "name": name}, "backupDestination": {"guid": "d"}}
    row |= {part: label("full") for part in ("roleType", "type", "retentionHint")}
    return row | {"reason": label("newest"), "goes": goes, "size": 1 << 20}


def previewed(
    web: Web, *, waits: bool = False, roles: tuple[str, ...] = ("PRIMARY",), name: str = "keep"
) -> None:
    """Prepare a rule and its preview."""
    target = {"backupDestination": {"guid": GUID, "name": "local"}}
    targets = [{"roleType": label(role), **target} for role in roles]
    known = {**RULE, "name": name}
    rule = {**known, "active": True, "ruleBackupDestinations": targets}
    preview = {"rule": known, "stay": 1, "go": 1, "sizeReturned": 1 << 20, "waits": waits}
    preview |= {"backups": [judged("db", True), judged("web", False)], "warnings": ["low space"]}
    web.says([rule], x_total_count="1")
    web.says(preview)


@pytest.mark.parametrize("waits", [True, False])
def test_a_preview_sums_up_and_names_its_warnings(
    web: Web, client: Client, capsys: Out, waits: bool
):
    previewed(web, waits=waits)
    retention.preview("keep")
    said = capsys.readouterr()
    assert "1 stay, 1 are removed, at most 1 MiB are freed" in said.out
    assert ("retention confirm keep" in said.out) is waits
    assert said.err == "warning: low space\n"


def test_only_the_backups_that_go_are_listed_on_demand(web: Web, client: Client, capsys: Out):
    previewed(web)
    retention.preview("keep", going=True)
    said = capsys.readouterr().out
    assert "db" in said
    assert "web" not in said


def test_keeps_are_tried_at_the_primary_destination(web: Web, client: Client, capsys: Out):
    previewed(web, roles=("SECONDARY", "PRIMARY"))
    retention.preview("keep", keep="7d,4w", output="json")
    assert json.loads(capsys.readouterr().out)[0]["go"] == 1
    first, second = json.loads(web.last.body)["rule"]["ruleBackupDestinations"]
    assert "backupRetentionSettings" not in first or first["backupRetentionSettings"] is None
    assert second["backupRetentionSettings"]


def test_keeps_need_a_primary_destination(web: Web, client: Client):
    previewed(web, roles=("SECONDARY",))
    with pytest.raises(Malformed, match="no PRIMARY destination"):
        retention.preview("keep", keep="7d")


@pytest.mark.parametrize("every", [True, False])
def test_a_confirmation_names_its_rules_or_all(web: Web, client: Client, capsys: Out, every: bool):
    if not every:
        previewed(web)
        web.answers.pop()
    web.says(None, 200)
    retention.confirm(*([] if every else ["keep"]), all_rules=every, consent=Consent(yes=True))
    sent = json.loads(web.last.body)
    assert web.last.path == "/retention/confirm"
    assert sent.get("rules") == (None if every else [{"guid": GUID}])
    named = "every rule and destination" if every else "keep"
    assert capsys.readouterr().out == f"retention is confirmed for {named}\n"


def test_a_confirmation_names_a_destination_by_its_name(web: Web, client: Client):
    place = {"guid": GUID, "name": "local", "driver": "folder", "path": "/b", "settings": {}}
    place |= {"type": label("filesystem"), "initialized": True, "retention": {}}
    web.says([place], x_total_count="1")
    web.says(None, 200)
    retention.confirm(destination=["local"], consent=Consent(yes=True))
    assert json.loads(web.last.body)["rules"] == [{"guid": GUID}]


def test_nothing_is_confirmed_without_a_yes(
    web: Web, client: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # not a terminal
    web.says({"dryRuns": True})
    web.says({"total": 1})
    with pytest.raises(Malformed, match="add -y"):
        retention.confirm(all_rules=True)
    assert web.last.query == [("dryRun", "true")]


def test_the_command_of_a_preview_can_be_typed_for_a_name_with_blanks(
    web: Web, client: Client, capsys: Out
):
    previewed(web, waits=True, name="all machines")
    retention.preview("all machines")
    assert "`haulback retention confirm 'all machines'`" in capsys.readouterr().out
