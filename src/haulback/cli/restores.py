"""`haulback restore`, `migrate`, `cloud` and `agent`: restores from backups."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import (
    BackupWord,
    HypervisorOption,
    MachineOption,
    MountWord,
    NodeOption,
    RestoreWord,
    Rows,
    StorageOption,
)
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, show, text
from haulback.cli.questions import agreed
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, report
from haulback.client import record_names
from haulback.client.client import Client
from haulback.contract.import_machine import ImportMachineRequest, TaskFile
from haulback.contract.instant_restore import InstantRestoreRequest
from haulback.contract.live_migration import LiveMigrationRequest
from haulback.contract.mount import MountedDisk, MountedFileSystemChoice, MountRequest
from haulback.contract.mounts import MountMode
from haulback.contract.restore import RestoreRequest
from haulback.contract.restores import Allocation
from haulback.contract.unavailable import (
    AgentImportRequest,
    CloudFeatureRequest,
    CloudImportRequest,
    FeatureOptions,
)
from haulback.errors import Malformed, NotFound
from haulback.ids import is_beginning, is_guid
from haulback.wire import Ref, Word

restore = App(name="restore")
cloud = App(name="cloud")
agent = App(name="agent")
_JOBS = (
    text("guid"),
    named("restoreType"),
    named("status"),
    named("protectedEntity"),
    moment("restoreTime"),
    moment("finishTime"),
    text("statusInfo"),
)
Paths = Annotated[list[str], Parameter(help="A path in the backup; may be repeated.")]


@restore.command(name="machine")
def restore_machine(
    backup: BackupWord,
    *,
    hypervisor: HypervisorOption,
    name: Annotated[
        str, Parameter(help="Name of the new machine; the default is the name of the original.")
    ] = "",
    overwrite: Annotated[bool, Parameter(help="Replace the existing machine.")] = False,
    power_on: Annotated[bool, Parameter(help="Start the machine after the restore.")] = False,
    allocation: Annotated[
        Allocation | None, Parameter(help="Space of the disks: only what is written, or all.")
    ] = None,
    storage: StorageOption = "",
    disk_storage: Annotated[
        list[str], Parameter(help="DISK=POOL: storage pool of a disk; may be repeated.")
    ] = [],  # noqa: B006 - read only
    without: Annotated[list[str], Parameter(help="A disk to leave out; may be repeated.")] = [],  # noqa: B006
    how: SubmitOptions = USUAL,
    consent: Consent = ASK,
) -> None:
    """Restore the machine of BACKUP on a hypervisor, under its own name or --name.

    --overwrite replaces the existing machine, and asks; --power-on starts the new machine.
    --allocation sparse makes all disks thin, preallocated reserves their whole space; without the
    option each disk is thin or fully allocated as before. --storage is a storage pool for all
    disks, --disk-storage DISK=POOL for one disk (see `haulback storage ls`). --without DISK leaves
    a disk out, for example a damaged disk.
    """
    client = connect()
    backup = client.backups.guid(backup)
    request = ImportMachineRequest(
        backup=Ref(backup),
        hypervisor=Ref(client.hypervisors.find(hypervisor).guid),
        restoredPeName=name,
        overwrite=overwrite,
        powerOnAfterRestore=power_on,
        restoredDiskAllocationFormat=allocation,
        restoreStorageId=_storage(client, storage),
        taskFiles=_files(client, backup, disk_storage, without),
        **how.times,
    )
    act = partial(client.tasks.restore_and_import, request, **how.options)
    if agreed(client, consent, act):
        report(client, [act()], how)


def _files(
    client: Client, backup: str, stored: list[str], without: list[str]
) -> list[TaskFile] | None:
    """Disks that get their own storage, or are left out.  Raises Malformed, NotFound."""
    if not stored and not without:
        return None
    known = {stored_file.path: stored_file.guid for stored_file in client.backups.files(backup)}
    if unknown := [disk for disk in without if disk not in known]:
        raise NotFound(
            f"--without: the backup has no disk {unknown[0]}; name one of {', '.join(known)}"
        )
    result = [TaskFile(Ref(known[disk]), excludedFromRestore=True) for disk in without]
    for pair in stored:
        disk, _, storage = pair.partition("=")
        if not storage:
            raise Malformed(f"--disk-storage: {pair!r} is not of the form DISK=POOL")
        if disk not in known:
            raise NotFound(
                f"--disk-storage: the backup has no disk {disk}; name one of {', '.join(known)}"
            )
        result.append(TaskFile(Ref(known[disk]), storageId=_storage(client, storage)))
    return result


def _storage(client: Client, word: str) -> str | None:
    """A storage as the API knows it: a name stays, the beginning of a guid becomes the guid."""
    return client.records.storages.guid(word) if is_beginning(word) else word or None


@restore.command
def disks(
    backup: BackupWord,
    path: Annotated[
        str, Parameter(help="New folder on the node, below a restore root of the node.")
    ],
    *,
    node: NodeOption = "",
    how: SubmitOptions = USUAL,
) -> None:
    """Write the disks of BACKUP as raw files to a new folder PATH on a node."""
    client = connect()
    request = RestoreRequest(
        Ref(_node(client, node)), path, backup=Ref(client.backups.guid(backup)), **how.times
    )
    report(client, [client.tasks.restore(request, **how.options)], how)


@restore.command(name="mount")
def restore_mount(
    backup: BackupWord,
    *,
    mode: Annotated[
        MountMode, Parameter(help="Mode in which the backup is shown.")
    ] = MountMode.AUTO,
    path: Paths = [],  # noqa: B006 - read only
    file_system: Paths = [],  # noqa: B006
    disk: Paths = [],  # noqa: B006
    initiator: Paths = [],  # noqa: B006
    unmount_after: Annotated[
        int | None, Parameter(help="Time until the backup is unmounted, ms.")
    ] = None,
    node: NodeOption = "",
    how: SubmitOptions = USUAL,
) -> None:
    """Mount BACKUP: share its files and disks without a copy.

    --path is the folder on the node; with --file-system (guids or volumes, mode MANUAL) one folder
    each.  --disk (guids or paths of backup files) are shown as files in mode MANUAL, and in mode
    ISCSI offered to each --initiator (IQN; see `haulback mount iscsi`).  --unmount-after is in ms.
    """
    client = connect()
    backup = client.backups.guid(backup)
    places = path + [""] * (len(file_system) - len(path))
    systems = [_system(client, backup, word) for word in file_system]
    systems += [""] * (len(path) - len(file_system))
    shown = [
        MountedFileSystemChoice(fileSystem=ref(system), mountPath=place or None)
        for system, place in zip(systems, places, strict=True)
    ]
    request = MountRequest(
        mode=mode,
        backup=Ref(backup),
        mountedFileSystems=shown,
        mountedDisks=[MountedDisk(Ref(client.backups.file(backup, wanted))) for wanted in disk],
        allowedClients=initiator,
        unmountTime=unmount_after,
        node=ref(client.nodes.find(node).guid if node else ""),
        **how.times,
    )
    report(client, [client.tasks.restore_and_mount(request, **how.options)], how)


def _system(client: Client, backup: str, wanted: str) -> str:
    """The guid of a file system of a backup, by guid, its beginning, or volume name."""
    if not wanted or is_guid(wanted):
        return wanted
    systems = client.mounts.file_systems_of(backup)
    return record_names.chosen(systems, wanted, "file system", lambda row: row.volume).guid


@restore.command
def instant(
    backup: BackupWord,
    *,
    hypervisor: HypervisorOption,
    name: Annotated[
        str, Parameter(help="Name of the new machine; the default is the name of the original.")
    ] = "",
    unmount_after: Annotated[
        int, Parameter(help="Time until the machine and its mount end, ms; 0 for no limit.")
    ] = 0,
    how: SubmitOptions = USUAL,
) -> None:
    """Run the machine of BACKUP directly from the backup (instant restore).

    --name is the new machine's name; --unmount-after is in ms, 0 for no limit.
    """
    client = connect()
    request = InstantRestoreRequest(
        mode=MountMode.INSTANT_RESTORE,
        backup=Ref(client.backups.guid(backup)),
        hypervisor=Ref(client.hypervisors.find(hypervisor).guid),
        restoredPeName=name or None,
        unmountTime=unmount_after or None,
        **how.times,
    )
    report(client, [client.tasks.instant_restore(request, **how.options)], how)


@restore.command
def ls(*, size: Rows = 50, output: Output = "table") -> None:
    """List the newest restores and their status."""
    show(connect().restores.page(size=size).rows, _JOBS, output)


@restore.command(name="show")
def show_restore(guid: RestoreWord) -> None:
    """Show all details of a restore."""
    dump(connect().restores.find(guid))


def migrate(
    mounted: MountWord = "",
    *,
    machine: MachineOption = "",
    hypervisor: HypervisorOption = "",
    how: SubmitOptions = USUAL,
) -> None:
    """Move a machine that runs from a MOUNTED backup, or a --machine, to its permanent storage."""
    client = connect()
    request = LiveMigrationRequest(
        mountedBackup=ref(mounted and client.mounts.guid(mounted)),
        protectedEntity=ref(client.machines.find(machine).guid if machine else ""),
        hypervisor=ref(client.hypervisors.find(hypervisor).guid if hypervisor else ""),
        **how.times,
    )
    report(client, [client.tasks.live_migration(request, **how.options)], how)


@cloud.command(name="import")
def cloud_import(
    backup: BackupWord,
    *path: Annotated[str, Parameter(help="Paths in the backup.")],
    provider: Annotated[str, Parameter(help="Guid of the account's provider.")] = "",
    to: Annotated[str, Parameter(help="Folder for the objects.")] = "",
    overwrite: Annotated[bool, Parameter(help="Replace existing objects.")] = False,
    per_feature: Annotated[list[str], Parameter(help="A feature of the account.")] = [],  # noqa: B006
    how: SubmitOptions = USUAL,
) -> None:
    """Restore BACKUP, or the given paths of it, to a cloud account."""
    client = connect()
    whole = CloudImportRequest(
        backup=Ref(client.backups.guid(backup)),
        cloudServiceProvider=ref(provider),
        restorePath=to or None,
        overwrite=overwrite,
        paths=list(path) or None,
        **how.times,
    )
    if not per_feature:
        report(client, client.tasks.import_for_cloud(whole, **how.options), how)
        return
    request = CloudFeatureRequest(
        backup=whole.backup,
        cloudServiceProvider=whole.cloudServiceProvider,
        restorePath=whole.restorePath,
        overwrite=overwrite,
        paths=whole.paths,
        optionsPerFeature=[FeatureOptions(Word(name)) for name in per_feature],
        **how.times,
    )
    report(client, client.tasks.import_for_cloud_per_feature(request, **how.options), how)


@agent.command(name="import")
def agent_import(
    backup: BackupWord,
    *path: Annotated[str, Parameter(help="Paths in the backup.")],
    to: Annotated[str, Parameter(help="Folder for the files.")] = "",
    agent_guid: Annotated[str, Parameter(help="Guid of the agent.", name="--agent")] = "",
    overwrite: Annotated[bool, Parameter(help="Replace existing files.")] = False,
    how: SubmitOptions = USUAL,
) -> None:
    """Restore BACKUP, or the given paths of it, to a machine with an agent."""
    client = connect()
    request = AgentImportRequest(
        backup=Ref(client.backups.guid(backup)),
        osAgent=ref(agent_guid),
        restorePath=to or None,
        paths=list(path) or None,
        overwrite=overwrite,
        **how.times,
    )
    report(client, client.tasks.import_for_agent(request, **how.options), how)


def _node(client: Client, wanted: str) -> str:
    """The guid of the named node, or of the only node.  Raises Malformed."""
    if wanted:
        return client.nodes.find(wanted).guid
    nodes = list(client.nodes.all())
    if len(nodes) != 1:
        raise Malformed(
            "--node: name a node, because the server has none or several; "
            "`haulback node ls` lists them"
        )
    return nodes[0].guid
