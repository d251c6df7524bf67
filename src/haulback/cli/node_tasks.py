"""`haulback task node`: task reports that only the task's node may send.

For authors of nodes and for manual repairs: HAULBACK_TOKEN must be the node's token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import ExistingFile

from haulback.cli.connection import connect
from haulback.cli.output import dump
from haulback.client.node_tasks import NodeTasks
from haulback.contract.backups import BackupType
from haulback.wire import parse

app = App(
    name="node",
    help=("Reports of a node about a task that it runs; HAULBACK_TOKEN is the node's token."),
)


def _said() -> NodeTasks:
    return connect().tasks.node


def _read(file: Path) -> Any:
    return parse(file.read_bytes())


@app.command
def progress(guid: str, percent: float) -> None:
    """Report the progress in percent."""
    _said().progress(guid, percent)


@app.command
def cloud_progress(guid: str, done: int, total: int) -> None:
    """Report the progress of a cloud task, in objects."""
    _said().cloud_progress(guid, done, total)


@app.command
def os_progress(guid: str, done: int, total: int) -> None:
    """Report the progress of an agent's task, in objects."""
    _said().os_progress(guid, done, total)


@app.command
def backup_type(guid: str, kind: BackupType) -> None:
    """Report that the backup type changed, such as an increment that became a full backup."""
    dump(_said().backup_type(guid, kind))


@app.command
def transfer_info(guid: str, file: ExistingFile) -> None:
    """Report the results of a task: a FILE with a JSON object."""
    dump(_said().transfer_info(guid, _read(file)))


@app.command
def transfer_rate(
    guid: str,
    per_second: float,
    count: int | None = None,
    *,
    add: Annotated[bool, Parameter(negative="", help="Add COUNT to the total.")] = False,
) -> None:
    """Report a transfer rate sample: bytes per second, and bytes so far."""
    said = _said()
    (said.transfer_more if add else said.transfer_rate)(guid, per_second, count)


@app.command
def cbt_id(guid: str, checkpoint: str) -> None:
    """Report the checkpoint for the next increment."""
    _said().cbt_id(guid, checkpoint)


@app.command
def inc_snap_required(guid: str, *, required: bool = True) -> None:
    """Report whether the export must leave a snapshot."""
    _said().inc_snap_required(guid, required)


@app.command
def restore_host_id(guid: str, host: str) -> None:
    """Report the host of the restored machine."""
    _said().restore_host_id(guid, host)


@app.command
def restore_storage_id(guid: str, storage: str) -> None:
    """Report the storage of the restored machine."""
    _said().restore_storage_id(guid, storage)


@app.command
def files(guid: str, file: ExistingFile) -> None:
    """Report the files of a task: a FILE with a JSON array of TaskFileDTO."""
    _said().files(guid, _read(file))


@app.command
def log(guid: str, *line: str) -> None:
    """Add lines to the task's log."""
    _said().log(guid, *line)


@app.command
def inventory(file: ExistingFile) -> None:
    """Report a hypervisor's inventory: a FILE with a FullInventoryRequest."""
    _said().inventory(_read(file))


@app.command
def instance_inventory(file: ExistingFile) -> None:
    """Report a machine's inventory: a FILE with an InstanceScopedInventoryRequest."""
    _said().instance_inventory(_read(file))


@app.command
def tape_inventory(file: ExistingFile) -> None:
    """Report a tape manager's inventory: a FILE with a TapeManagerInventoryRequest."""
    _said().tape_inventory(_read(file))
