"""`haulback retention`: previews of rules, and confirmations of their retention."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from haulback import units
from haulback.cli.arguments import RuleWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Column, Output, dump, moment, named, show, size
from haulback.cli.questions import agreed
from haulback.client.client import Client
from haulback.contract.retention_preview import RetentionPreview, RetentionPreviewRequest
from haulback.errors import Malformed
from haulback.policy.retention_text import read_keeps
from haulback.wire import JsonObject

app = App(name="retention")


def _fate() -> Column:
    return "fate", lambda row: "goes" if row["goes"] else "stays"


def _reason() -> Column:
    return "reason", lambda row: str(row["reason"]["description"])


_SHOWN = (
    named("protectedEntity"),
    moment("snapshotTime"),
    named("type"),
    named("backupDestination"),
    _fate(),
    _reason(),
    size("size"),
)


@app.command
def preview(
    rule: RuleWord,
    *,
    keep: Annotated[str, Parameter(help="Keeps to try, like 7d,4w,12m.")] = "",
    going: Annotated[bool, Parameter(negative="", help="Only backups that are removed.")] = False,
    output: Output = "table",
) -> None:
    """Show which backups of a rule stay and which are removed, each with the reason; changes
    nothing.

    --keep tries the retention that `protect --keep` would set, without counts and ages.
    """
    client = connect()
    parts = list(client.retention.previews(_request(client, rule, keep)))
    if output == "json":
        dump(parts)
        return
    rows = [row for part in parts for row in part.backups if row.goes or not going]
    show(rows, _SHOWN, output)
    _summarise(parts)


def _request(client: Client, rule: str, keep: str) -> RetentionPreviewRequest:
    record = client.records.rules.find(rule)
    draft: JsonObject = {"guid": record.guid}
    if keep:
        targets = msgspec.to_builtins(record.what)["ruleBackupDestinations"]
        settings = {k: v for k, v in msgspec.to_builtins(read_keeps(keep)).items() if v is not None}
        primary = [target for target in targets if target["roleType"] == "PRIMARY"]
        if not primary:
            raise Malformed(f"{rule}: the rule has no PRIMARY destination; give it one first")
        primary[0]["backupRetentionSettings"] = settings
        draft["ruleBackupDestinations"] = targets
    return RetentionPreviewRequest(rule=draft)


def _summarise(parts: list[RetentionPreview]) -> None:
    stay, go = sum(part.stay for part in parts), sum(part.go for part in parts)
    space = units.size(sum(part.sizeReturned for part in parts))
    print(f"{stay} stay, {go} are removed, at most {space} are freed; shared data stays")
    for sentence in dict.fromkeys(text for part in parts for text in part.warnings):
        print(f"warning: {sentence}", file=sys.stderr)
    if any(part.waits for part in parts):
        typed = shlex.quote(parts[0].rule.name)
        print(f"nothing is removed before `haulback retention confirm {typed}`")


@app.command
def confirm(
    *rule: RuleWord,
    destination: Annotated[
        list[str] | None,
        Parameter(
            help="Destination whose retention may begin; may be repeated.",
            negative="",
        ),
    ] = None,
    all_rules: Annotated[
        bool, Parameter(help="Confirm every rule and destination.", name="--all", negative="")
    ] = False,
    consent: Consent = ASK,
) -> None:
    """Confirm the retention of an earlier version for rules, destinations or --all, so that it may
    remove backups.

    Run `retention preview` first.
    """
    if bool(rule or destination) == all_rules:
        raise Malformed("name at least one rule or --destination, or --all")
    client = connect()
    guids = [client.records.rules.find(name).guid for name in rule]
    guids += [client.destinations.find(name).guid for name in destination or []]
    wanted = None if all_rules else guids
    if agreed(client, consent, lambda: client.retention.confirm(wanted)):
        client.retention.confirm(wanted)
        names = ", ".join([*rule, *(destination or [])]) or "every rule and destination"
        print(f"retention is confirmed for {names}")
