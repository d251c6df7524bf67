"""Commands of configuration records: `haulback policy`, `rule`, `schedule` and others.

A record is written as `member=value` words, where a value is JSON or plain text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, TypeVar

import msgspec
from cyclopts import App, Parameter

from haulback.cli import written
from haulback.cli.arguments import HypervisorOption, MachineWord, Members, NewName, RecordWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, show, text
from haulback.cli.questions import agreed
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, refs, report
from haulback.client.client import Client
from haulback.client.records import ClientRecord, RecordCollection
from haulback.contract.records import PolicyRecord
from haulback.contract.recovery_plans import RecoveryPlan, RecoveryRule
from haulback.wire import JsonObject, read

Affix = Annotated[str, Parameter(allow_leading_hyphen=True, help="Members of the new record.")]
R = TypeVar("R", bound=PolicyRecord)
_ROW = (text("guid"), text("name"))
Records = Callable[[Client], RecordCollection[PolicyRecord]]
NO_QUESTION = Consent(yes=True)  # a change of these records removes no backups


def noun(name: str, topic: str, *members: str, adds: bool = True, asks: bool = False) -> App:
    """Build the commands of a record type; `members` are extra columns of its list.

    `adds` is true if the type has an `add` command with `member=value` words.  `asks` is true if a
    change may remove rules or backups, so the command asks.
    """
    app = App(name=name)

    def records_of(client: Client) -> RecordCollection[PolicyRecord]:
        collection: RecordCollection[PolicyRecord] = getattr(client.records, topic)
        return collection

    _add_reading(app, records_of, members)
    _add_writing(app, records_of, adds=adds)
    _add_change(app, records_of, asks=asks)
    return app


def _add_reading(app: App, records_of: Records, members: Sequence[str]) -> None:
    @app.command
    def ls(*, output: Output = "table") -> None:
        """List all records."""
        rows = [row.shown for row in records_of(connect()).all()]
        show(rows, (*_ROW, *(text(member) for member in members)), output)

    @app.command(name="show")
    def show_one(name: RecordWord) -> None:
        """Show all details of a record, by name or guid."""
        dump(records_of(connect()).find(name).shown)


def _add_writing(app: App, records_of: Records, *, adds: bool) -> None:
    def add(name: NewName, *member: Members) -> None:
        """Add a record: a name, then words like priority=80; values are JSON or text."""
        client = connect()
        known = records_of(client)
        made = known.add(with_members({"name": name}, member, known.struct, client))
        _warn(made)
        print(made.guid)

    if adds:
        app.command(add)

    @app.command
    def rm(name: RecordWord, *, consent: Consent = ASK) -> None:
        """Remove a record that is not in use."""
        client = connect()
        known = records_of(client)
        guid = known.find(name).guid
        if agreed(client, consent, lambda: known.remove(guid)):
            known.remove(guid)


def _add_change(app: App, records_of: Records, *, asks: bool) -> None:
    def change(name: RecordWord, *member: Members) -> None:
        """Change members of a record; other members stay."""
        client = connect()
        _set_members(client, records_of(client), (name, *member), NO_QUESTION)

    def change_asked(name: RecordWord, *member: Members, consent: Consent = ASK) -> None:
        """Change members of a record; other members stay. Asks before rules, machines or backups
        are removed.
        """
        client = connect()
        _set_members(client, records_of(client), (name, *member), consent)

    app.command(change_asked if asks else change, name="set")


def _set_members(
    client: Client,
    known: RecordCollection[PolicyRecord],
    words: tuple[str, ...],
    consent: Consent,
) -> None:
    """Change the record that the first of `words` names, by the members in the other words."""
    record = known.find(words[0])
    wanted = with_members(msgspec.to_builtins(record.what), words[1:], known.struct, client)
    if agreed(client, consent, lambda: known.change(record.guid, wanted)):
        _warn(known.change(record.guid, wanted))


def _warn(one: ClientRecord[PolicyRecord]) -> None:
    """Print on standard error the members of a record that have no effect yet."""
    for sentence in one.shown.get("warnings", []):
        print(f"warning: {sentence}", file=sys.stderr)


def with_members(before: JsonObject, words: tuple[str, ...], struct: type[R], client: Client) -> R:
    """A record with members like `priority=80` changed; see `written`.

    Raises Malformed for a word without a value, for a member that the record does not have, and for
    a value of another type.
    """
    written.check_members(words, struct)
    after: R = read(written.changed(before, words, struct, client), struct, "")
    return after


rule = noun("rule", "rules", "active", asks=True)
snapshot_rule = noun("snapshot-rule", "snapshot_rules", "retentionVersions", "retentionDays")
project = noun("project", "projects", "uuid")
node_config = noun("node-config", "node_configs", "limits")
manager = noun("manager", "managers", "url")
cluster = noun("cluster", "clusters", "uuid")
storage = noun("storage", "storages", "uuid")
flavor = noun("flavor", "flavors", "uuid")
network = noun("network", "networks", "uuid")
mailing_list = noun("mailing-list", "mailing_lists", "recipients", "isDefault")
credential = noun("credential", "credentials", "username", "secrets")
plan = noun("plan", "recovery_plans", "active", adds=False)


@plan.command(name="add")
def add_plan(
    name: NewName,
    *machine: MachineWord,
    hypervisor: HypervisorOption = "",
    prefix: Affix = "",
    suffix: Affix = "",
    overwrite: Annotated[bool, Parameter(help="Restore over the original machines.")] = False,
) -> None:
    """Add a recovery plan that restores these machines, in this order, from their last good
    backups.
    """
    client = connect()
    where = ref(hypervisor and client.hypervisors.find(hypervisor).guid)
    rules = [
        RecoveryRule(
            name=wanted,
            protectedEntities=refs([client.machines.find(wanted).guid]),
            order=place,
            hypervisor=where,
            prefix=prefix,
            suffix=suffix,
            overwrite=overwrite,
        )
        for place, wanted in enumerate(machine)
    ]
    print(client.records.recovery_plans.add(RecoveryPlan(name=name, rules=rules)).guid)


@plan.command
def run(name: RecordWord, *, how: SubmitOptions = USUAL, consent: Consent = ASK) -> None:
    """Run a recovery plan; asks if the plan overwrites machines."""
    client = connect()
    guid = client.records.recovery_plans.find(name).guid
    act = partial(client.tasks.recover, guid, **how.options)
    if agreed(client, consent, act):
        report(client, act(), how)


@network.command
def shared(*, output: Output = "table") -> None:
    """List networks without a manager."""
    show([one.shown for one in connect().records.networks.shared()], _ROW, output)
