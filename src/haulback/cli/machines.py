"""`haulback machine`: the protected machines."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import DiskWord, MachineWord, Members, PolicyOption, ProjectOption, Rows
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, show, size, text
from haulback.cli.questions import Act, ConfirmOption, agreed, merged, print_losses
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, refs, report
from haulback.client import record_names
from haulback.client.client import Client
from haulback.client.projects import project_uuid
from haulback.contract.machines import MachineSettings, ProjectName
from haulback.contract.snapshot_cleanup import ReleaseRequest
from haulback.errors import Malformed, NotFound
from haulback.policy.time_text import read_duration

app = App(name="machine")
disk = App(name="disk", help="Disks of a machine, and the disks that backups leave out.")
app.command(disk)
_COLUMNS = (
    text("guid"),
    text("name"),
    text("uuid"),
    text("present"),
    moment("absentSince"),
    named("hypervisor"),
    named("vmBackupPolicy"),
    moment("lastBackup"),
    text("problem"),
)
Silent = Annotated[
    str,
    Parameter(
        help="With --gone: a node that was silent for this time (30d, 1h) counts as lost, and "
        "backups that only such nodes reach are given up; default 1d."
    ),
]
_SETTINGS = ("policy", "snapshot-policy", "project", "before", "after")
_DISKS = (text("guid"), text("name"), size("size"), named("type"), text("excludedFromBackup"))


@app.command
def ls(
    search: Annotated[str, Parameter(help="Text in the rows, such as a part of the name.")] = "",
    *,
    size: Rows = 200,
    output: Output = "table",
) -> None:
    """List machines by name."""
    show(connect().machines.page(size=size, filter=search).rows, _COLUMNS, output)


@app.command(name="show")
def show_machine(machine: MachineWord) -> None:
    """Show all details of a machine, by name or guid."""
    dump(connect().machines.find(machine))


@app.command(name="set")
def set_machine(
    machine: MachineWord,
    *member: Members,
    policy: PolicyOption = "",
    snapshot_policy: Annotated[
        str, Parameter(help="Snapshot policy: name, guid or its beginning.")
    ] = "",
    project: ProjectOption = "",
    before: Annotated[str | None, Parameter(help="Command in the guest before the backup.")] = None,
    after: Annotated[str | None, Parameter(help="Command in the guest after the backup.")] = None,
) -> None:
    """Set the policies, project and commands of a machine; options not given stay unchanged.

    Words like policy=nightly are the same as options like --policy nightly.

    --before and --after are shell commands in the guest, before and after the moment of each
    backup; '' removes a command.
    """
    said = _members(member)
    policy, project = said.get("policy", policy), said.get("project", project)
    snapshot_policy = said.get("snapshot-policy", snapshot_policy)
    before, after = said.get("before", before), said.get("after", after)
    client = connect()
    records = client.records
    snapshots = snapshot_policy and records.snapshot_policies.find(snapshot_policy).guid
    wanted = MachineSettings(
        vmBackupPolicy=ref(policy and records.backup_policies.find(policy).guid),
        snapshotMgmtPolicy=ref(snapshots),
        project=ProjectName(project_uuid(records.projects, project)) if project else None,
        preCommand=before,
        postCommand=after,
    )
    client.machines.set(client.machines.find(machine).guid, wanted)


def _members(words: tuple[str, ...]) -> dict[str, str]:
    """The settings in words like policy=nightly.  Raises Malformed for other words."""
    said = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or name not in _SETTINGS:
            raise Malformed(
                f"{word!r} is not a setting: write one of "
                f"{', '.join(f'{n}=VALUE' for n in _SETTINGS)}"
            )
        said[name] = value
    return said


@app.command
def rm(
    *machine: MachineWord,
    gone: ConfirmOption = False,
    silent: Silent = "",
    how: SubmitOptions = USUAL,
    consent: Consent = ASK,
) -> None:
    """Delete all backups of machines, then their records; the machines stay on the platform.

    --gone: like `machine forget --gone`, for machines that are lost for good.
    """
    if gone and how != USUAL:
        raise Malformed(
            "--gone submits no task: leave out --watch, --priority, --window-start, --window-end, "
            "--project and --key"
        )
    client = connect()
    guids = _found(client, machine)
    if _is_gone(gone, silent):
        _give_up(client, guids, silent, consent)
        return
    if len(guids) == 1:
        delete = partial(client.tasks.delete, guids[0], **how.options)
        if agreed(client, consent, delete):
            report(client, delete(), how)
        return
    delete_many = partial(client.tasks.batch_delete, guids, **how.options)
    if not agreed(client, consent, delete_many):
        return
    answer = delete_many()
    for refused in answer.unsuccessful:
        print(f"refused  {refused.guid}  {refused.name}: {refused.message}")
    report(client, answer.tasks, how)


@app.command
def release(*machine: MachineWord, how: SubmitOptions = USUAL) -> None:
    """Release the checkpoints of machines, so that their owner's snapshots, reverts, resizes and
    migrations work again; the next backup of each machine is a full one.
    """
    client = connect()
    request = ReleaseRequest(protectedEntities=refs(_found(client, machine)), **how.times)
    report(client, client.tasks.release(request, **how.options), how)


@app.command
def forget(
    *machine: MachineWord, gone: ConfirmOption = False, silent: Silent = "", consent: Consent = ASK
) -> None:
    """Remove the records of absent machines without backups; without names, of all such machines.

    --gone: the machines are lost for good. The tasks of the machines end; backups that a running
    node reaches stay with the record of an absent machine, and nothing on a store is deleted.
    """
    client = connect()
    if _is_gone(gone, silent):
        _give_up(client, _found(client, machine), silent, consent)
        return
    machines = client.machines
    guids = [machines.find(name).guid for name in machine]
    acts: list[Act] = [partial(machines.remove, guid) for guid in guids]
    acts = acts or [machines.remove_absent]
    if agreed(client, consent, *acts):
        for act in acts:
            act()


def _is_gone(gone: bool, silent: str) -> bool:
    if silent and not gone:
        raise Malformed("--silent: needs --gone")
    return gone


def _give_up(client: Client, guids: list[str], silent: str, consent: Consent) -> None:
    more = {"silentFor": read_duration(silent, "--silent")} if silent else {}
    acts = [partial(client.machines.give_up, guid, **more) for guid in guids]
    if agreed(client, consent, *acts):
        print_losses(merged(act() for act in acts), consent)


@app.command
def check(*machine: MachineWord, output: Output = "table") -> None:
    """List machines that cannot be backed up incrementally now, with the reasons."""
    client = connect()
    found = client.machines.not_incremental(_found(client, machine))
    rows = [
        {"machine": one.virtualMachine.name, "why": why.description}
        for one in found
        for why in one.reasons
    ]
    show(rows, (text("machine"), text("why")), output)


@app.command
def policies(*machine: MachineWord, output: Output = "table") -> None:
    """List the backup policies of machines."""
    client = connect()
    found = client.machines.policies(_found(client, machine))
    show(found, (text("guid"), text("name")), output)


@disk.command(name="ls")
def disks(machine: MachineWord, *, output: Output = "table") -> None:
    """List the disks of a machine."""
    machines = connect().machines
    show(machines.disks(machines.find(machine).guid), _DISKS, output)


@disk.command
def exclude(machine: MachineWord, disk: DiskWord) -> None:
    """Leave a disk out of backups from now on."""
    _exclude(machine, disk, True)


@disk.command
def include(machine: MachineWord, disk: DiskWord) -> None:
    """Include a disk in backups again."""
    _exclude(machine, disk, False)


def _exclude(machine: str, disk: str, excluded: bool) -> None:
    machines = connect().machines
    found = machines.disks(machines.find(machine).guid)
    try:
        wanted = record_names.chosen(found, disk, "disk", lambda row: row.name)
    except NotFound:
        names = ", ".join(row.name for row in found)
        raise NotFound(f"{machine} has no disk {disk!r}; name one of {names}") from None
    machines.set_disk(wanted.guid, excluded=excluded)


def _found(client: Client, names: tuple[str, ...]) -> list[str]:
    """Guids of machines.  Raises Malformed when the list is empty."""
    if not names:
        raise Malformed("name at least one machine")
    return [client.machines.find(name).guid for name in names]
