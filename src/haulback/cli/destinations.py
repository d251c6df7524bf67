"""`haulback destination`: retention, verification and keys of destinations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import (
    DestinationWord,
    MachineWord,
    NewName,
    ServerData,
    ServerDatabase,
    folder,
)
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.destination_limits import UNLIMITED, DestinationLimits, check_copying
from haulback.cli.destination_settings import read_changes, read_settings
from haulback.cli.output import PLACE, Output, dump, named, show, size, text
from haulback.cli.place_options import reach_members
from haulback.cli.questions import ConfirmOption, agreed, give_up
from haulback.cli.submit_options import USUAL, SubmitOptions, kept, ref, refs, report, watch
from haulback.client.client import Client
from haulback.contract import destination_types as contract_types
from haulback.contract.backup_cleanup import BackupCleanupRequest
from haulback.contract.connectivity_test import ConnectivityTestRequest
from haulback.contract.copies import Copying, NewCopyLink
from haulback.contract.destination_move import MovedDestination
from haulback.contract.destination_types import Capabilities, DestinationType, settings_of
from haulback.contract.destinations import ChangedDestination, NewDestination
from haulback.contract.policies import DestinationRole
from haulback.contract.repair import RepairRequest
from haulback.contract.verify import VerifyRequest
from haulback.durable_files import write_private_once
from haulback.errors import Malformed
from haulback.inventory.destination_types import chosen
from haulback.tasks.record import HOUR_MS
from haulback.units import GIB, MIB, counted
from haulback.wire import JsonObject, Ref, Word

app = App(name="destination")
_Settings = Annotated[list[str], Parameter(name="--set", help="NAME=VALUE of a setting.")]
_Secrets = Annotated[list[str], Parameter(help="NAME=FILE of a secret setting.")]
_Removed = Annotated[list[str], Parameter(help="An optional setting to remove; may be repeated.")]
_Nodes = Annotated[
    list[str], Parameter(help="A node that reaches the destination; may be repeated.")
]
_AllNodes = Annotated[bool, Parameter(negative="", help="Every node reaches the destination.")]
_TYPES = tuple(map(text, ("type", "settings", "secrets", *Capabilities._fields)))
_SHOWN = (
    *PLACE,
    text("initialized"),
    size("totalUsedSpace"),
    size("totalAvailableSpace"),
    named("breaker", "state"),
)


@app.command(name="ls")
def destinations(*machine: MachineWord, output: Output = "table") -> None:
    """List all destinations, or the destinations that all these machines can use."""
    client = connect()
    guids = [client.machines.find(one).guid for one in machine]
    found = client.destinations.usable_for(guids) if guids else client.destinations.all()
    show(found, _SHOWN, output)


@app.command(name="types")
def destination_types(*, output: Output = "table") -> None:
    """List the types of destinations with their settings and capabilities."""
    show([_type_row(kind) for kind in contract_types.TYPES], _TYPES, output)


def _type_row(kind: DestinationType) -> JsonObject:
    settings = settings_of(kind).values()
    return {
        "type": kind.name,
        "settings": [setting.name for setting in settings if not setting.is_secret],
        "secrets": [setting.name for setting in settings if setting.is_secret],
        **kind.capabilities._asdict(),
    }


@app.command(name="show")
def show_destination(name: DestinationWord) -> None:
    """Show all details of a destination, including its retention."""
    dump(connect().destinations.find(name))


@app.command(name="add")
def add_destination(
    name: NewName,
    path: Annotated[Path | None, Parameter(help="Folder on the node.", converter=folder)] = None,
    *,
    kind: Annotated[str, Parameter(name="--type", help="A type of `destination types`.")] = "",
    setting: _Settings = [],  # noqa: B006 - read only
    secret: _Secrets = [],  # noqa: B006 - read only
    node: _Nodes = [],  # noqa: B006 - read only
    all_nodes: _AllNodes = False,
    copy_of: Annotated[
        str,
        Parameter(help="Destination whose backups are copied here: name, guid or its beginning."),
    ] = "",
) -> None:
    """Add an existing folder, or a store of another --type, and create a repository in it.

    PATH is a folder of the node, or with --set share=NFS (SMB, OTHER) a share that the nodes have
    mounted there.  The other types have settings instead; a secret setting is read from FILE, or
    from standard input if FILE is -.  --copy-of: the repository gets the master key of that
    destination's repository, so that backups are copied without decryption.
    """
    declared = chosen(kind or None)
    settings = read_settings(declared, path, setting, secret)
    client = connect()
    new = NewDestination(
        name=name,
        path=settings.pop("path", None),  # the old member, for servers of version 0.2
        type=Word(declared.name) if kind else None,
        settings=settings or None,
        **reach_members(client, node, all_nodes=all_nodes),
        copyOf=ref(copy_of and client.destinations.find(copy_of).guid),
    )
    made = client.destinations.add(new)
    print(made.guid)
    with kept("destination", name, "init"):
        watch(client, [made.task.guid] if made.task else [])
    if made.task:
        _tell_stored(client, name, made.task.guid)


def _tell_stored(client: Client, name: str, task: str) -> None:
    """Print the number of backups that a new destination holds already, and how to add them."""
    report = client.tasks.get(task, extended=True).transferInfo or {}
    if backups := report.get("backups"):
        print(
            f"{counted(backups, 'backup')} stored there; to add what the catalogue lacks: haulback "
            f"destination sync {quote(name)}"
        )


@app.command(name="init")
def init_destination(name: DestinationWord) -> None:
    """Create the repository of a destination again, after its BACKUP_DESTINATION_INIT failed."""
    client = connect()
    made = client.destinations.init(client.destinations.find(name).guid)
    watch(client, [made.task.guid] if made.task else [])


@app.command(name="set")
def set_destination(
    name: DestinationWord,
    *,
    rename: Annotated[str, Parameter(help="The new name.")] = "",
    limits: DestinationLimits = UNLIMITED,
    setting: _Settings = [],  # noqa: B006 - read only
    node: _Nodes = [],  # noqa: B006 - read only
    all_nodes: _AllNodes = False,
    secret: _Secrets = [],  # noqa: B006 - read only
    unset: _Removed = [],  # noqa: B006 - read only
    consent: Consent = ASK,
) -> None:
    """Rename a destination, or set its retention and verification; options not given stay
    unchanged.

    A backup is removed by the first limit that it reaches: number or age in days.  --lock-days: new
    backups cannot be removed for this number of days.  --keep-last: the last backup of an existing
    machine always stays. --verify-days: a share is read every night, so that everything is read
    within this number of days; --verify-hours limits a night, --no-verify turns the nightly
    verification off. --keep-absent-days: the last backup of an absent machine stays for this number
    of days (30; 0: not). --set: a setting that does not determine the location, such as share and
    listingDelay. --node and --all-nodes replace the nodes that reach the destination. --secret: a
    new value of a secret setting, read from FILE, or from standard input if FILE is -. --unset:
    an optional setting, secret or not, that is removed; its default applies again.
    """
    options = (rename, limits != UNLIMITED, setting, node, all_nodes, secret, unset)
    if not any(options):
        raise Malformed(
            "name at least one option to change; `haulback destination set --help` lists them"
        )
    limits.check()
    client = connect()
    present = client.destinations.find(name)
    changed = ChangedDestination(
        name=rename or None,
        retention=limits.retention(present.retention),
        verification=limits.verification(present.verification),
        settings=read_changes(chosen(present.type.name), setting, secret) or None,
        removedSettings=unset or None,
        **reach_members(client, node, all_nodes=all_nodes),
    )
    if agreed(client, consent, lambda: client.destinations.change(present.guid, changed)):
        client.destinations.change(present.guid, changed)


@app.command(name="close-breaker")
def close_breaker(name: DestinationWord) -> None:
    """Let the tasks of a destination that did not answer continue at once, without a test."""
    client = connect()
    client.destinations.close_breaker(client.destinations.find(name).guid)


@app.command(name="move")
def move_destination(
    name: DestinationWord,
    path: Annotated[Path | None, Parameter(help="The new folder.", converter=folder)] = None,
    *,
    setting: _Settings = [],  # noqa: B006 - read only
    secret: _Secrets = [],  # noqa: B006 - read only
    node: _Nodes = [],  # noqa: B006 - read only
    all_nodes: _AllNodes = False,
    consent: Consent = ASK,
) -> None:
    """Change the location of a destination's repository: the folder PATH, or the --set settings of
    its type.

    Copy the repository first, while no task runs.  The record changes after a node has found the
    same repository at the new location; its secrets are used from then on.
    """
    client = connect()
    present = client.destinations.find(name)
    settings = read_changes(chosen(present.type.name), setting, secret)
    settings |= {"path": str(path.absolute())} if path else {}
    wanted = MovedDestination(
        settings=settings or None, **reach_members(client, node, all_nodes=all_nodes)
    )
    if not agreed(client, consent, lambda: client.destinations.move(present.guid, wanted)):
        return
    moved = client.destinations.move(present.guid, wanted)
    watch(client, [moved.task.guid] if moved.task else [])


@app.command(name="rm")
def remove_destination(
    name: DestinationWord, *, gone: ConfirmOption = False, consent: Consent = ASK
) -> None:
    """Remove a destination that holds no backup; its files stay.

    --gone: the destination is lost for good. The backups of the destination are given up, unless
    they have another good location. If its store is found again, `destination add` at the same
    location opens it.
    """
    client = connect()
    guid = client.destinations.find(name).guid
    if gone:
        give_up(client, consent, partial(client.destinations.give_up, guid))
    elif agreed(client, consent, lambda: client.destinations.remove(guid)):
        client.destinations.remove(guid)


@app.command(name="copy-to")
def copy_to(
    name: DestinationWord,
    target: Annotated[
        str,
        Parameter(help="Destinations of the copies; without a destination the copies end."),
    ],
    *,
    archive: Annotated[bool, Parameter(negative="", help="With the role ARCHIVE.")] = False,
    stop: Annotated[bool, Parameter(negative="", help="Make no more copies there.")] = False,
) -> None:
    """Copy every backup of a destination to TARGET, present and future ones.

    --stop: existing copies stay, and no new copies are made.
    """
    client = connect()
    present, to = client.destinations.find(name), client.destinations.find(target)
    role = DestinationRole.ARCHIVE if archive else DestinationRole.SECONDARY
    links = {
        link.backupDestination.guid: DestinationRole(link.roleType.name) for link in present.copies
    }
    links.pop(to.guid, None)
    links |= {} if stop else {to.guid: role}
    wanted = [
        NewCopyLink(backupDestination=Ref(guid), roleType=kind) for guid, kind in links.items()
    ]
    client.destinations.copy_to(present.guid, wanted)


@app.command(name="copying")
def copying(
    name: DestinationWord,
    *,
    mib_per_second: Annotated[float | None, Parameter(help="Copy no faster; 0: no limit.")] = None,
    start: Annotated[float | None, Parameter(help="First hour in which copies start.")] = None,
    end: Annotated[float | None, Parameter(help="Hour from which no copies start.")] = None,
    zone: Annotated[str, Parameter(help="Time zone of the hours; default UTC.")] = "",
) -> None:
    """Limit the copies that are made on a destination: their rate, and the hours in which they
    start.

    The options replace all limits; without options all limits are removed.
    """
    check_copying(mib_per_second, start, end)
    client = connect()
    wanted = Copying(
        rate=round(mib_per_second * MIB) if mib_per_second else None,
        startHour=None if start is None else round(start * HOUR_MS),
        endHour=None if end is None else round(end * HOUR_MS),
        timeZone=zone or None,
    )
    changed = ChangedDestination(copying=wanted)
    client.destinations.change(client.destinations.find(name).guid, changed)


@app.command
def clean(*name: DestinationWord, how: SubmitOptions = USUAL, consent: Consent = ASK) -> None:
    """Remove expired backups from destinations and free their space; asks before backups are
    removed.
    """
    client = connect()
    request = BackupCleanupRequest(
        refs(client.destinations.find(word).guid for word in name), **how.times
    )
    act = partial(client.tasks.remove_old_backups, request, **how.options)
    if agreed(client, consent, act):
        report(client, act(), how)


@app.command
def verify(
    *name: DestinationWord,
    gib: Annotated[float | None, Parameter(help="GiB to read at most.")] = None,
    hours: Annotated[float | None, Parameter(help="Read no longer.")] = None,
    how: SubmitOptions = USUAL,
) -> None:
    """Verify destinations and list the backups that lack data; reads everything, unless limited.

    The next run continues with the packs that a limited run left out.
    """
    client = connect()
    request = VerifyRequest(
        refs(client.destinations.find(wanted).guid for wanted in name),
        bytes=None if gib is None else max(1, round(gib * GIB)),
        seconds=None if hours is None else max(1, round(hours * 3600)),
        **how.times,
    )
    report(client, client.tasks.verify(request, **how.options), how)


@app.command
def repair(
    *name: DestinationWord,
    apply: Annotated[
        bool,
        Parameter(
            negative="", help="Apply the repair; without --apply the log only lists the repair."
        ),
    ] = False,
    believe: Annotated[
        bool,
        Parameter(negative="", help="The damage is real: no part of the destination is unmounted."),
    ] = False,
    how: SubmitOptions = USUAL,
    consent: Consent = ASK,
) -> None:
    """List the possible repairs of destinations in the task's log, and with --apply carry them
    out.
    """
    client = connect()
    wanted = refs(client.destinations.find(word).guid for word in name)
    request = RepairRequest(wanted, apply=apply, believe=believe, **how.times)
    act = partial(client.tasks.repair, request, **how.options)
    if agreed(client, consent, act):
        report(client, act(), how)


@app.command
def key(
    name: DestinationWord,
    *,
    output: Annotated[
        Path | None,
        Parameter(help="File for the key; without --output the key is printed.", name="--output"),
    ] = None,
    folder: Annotated[
        Path | None,
        Parameter(
            help="Folder of the repository on this machine, if it differs from the catalogue."
        ),
    ] = None,
    unchecked: Annotated[
        bool,
        Parameter(
            help="Print the key also if this machine cannot check that it opens the repository.",
            negative="",
        ),
    ] = False,
    data: ServerData = Path("haulback-data"),
    database: Annotated[ServerDatabase, Parameter(env_var="HAULBACK_DATABASE")] = "",
) -> None:
    """Write the key file of a destination's repository to --output, or print it.

    Keep the key in a place other than the server.  The command first checks that the key opens the
    repository (in --folder if the repository is mounted elsewhere on this machine); --unchecked
    prints the key if this check is not possible here. An --output that holds another key is never
    overwritten.  The command works on the server's machine only, for users who may read its --data.
    """
    from haulback.cli.repository_keys import key_of

    if output and unchecked:
        raise Malformed("--unchecked: an unchecked key is only printed; leave out --output")
    text = key_of(data, database, name, folder=folder, unchecked=unchecked)
    if output is None:
        print(text)
        return
    write_private_once(output, f"{text}\n".encode())
    print(f"{output} opens the repository of {name}")


@app.command(name="test")
def test_destination(*name: DestinationWord) -> None:
    """Test whether nodes can use destinations."""
    client = connect()
    found = refs(client.destinations.find(one).guid for one in name)
    tasks = client.tasks.connectivity_test(ConnectivityTestRequest(backupDestinations=found))
    watch(client, [task.guid for task in tasks])
