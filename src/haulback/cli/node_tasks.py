"""`haulback task node`: task reports that only the task's node may send.

For authors of nodes and for manual repairs: HAULBACK_TOKEN must be the node's token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import ExistingFile

from haulback.cli.arguments import TaskWord
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


def _task(word: str) -> tuple[NodeTasks, str]:
    """The reports of a node, and the guid of the task that a word names."""
    tasks = connect().tasks
    return tasks.node, tasks.guid(word)


def _read(file: Path) -> Any:
    return parse(file.read_bytes())


@app.command
def progress(
    task: TaskWord, percent: Annotated[float, Parameter(help="Progress from 0 to 100.")]
) -> None:
    """Report the progress in percent."""
    node, guid = _task(task)
    node.progress(guid, percent)


@app.command
def cloud_progress(
    task: TaskWord,
    done: Annotated[int, Parameter(help="Objects that are done.")],
    total: Annotated[int, Parameter(help="All objects.")],
) -> None:
    """Report the progress of a cloud task, in objects."""
    node, guid = _task(task)
    node.cloud_progress(guid, done, total)


@app.command
def os_progress(
    task: TaskWord,
    done: Annotated[int, Parameter(help="Objects that are done.")],
    total: Annotated[int, Parameter(help="All objects.")],
) -> None:
    """Report the progress of an agent's task, in objects."""
    node, guid = _task(task)
    node.os_progress(guid, done, total)


@app.command
def backup_type(
    task: TaskWord,
    kind: Annotated[BackupType, Parameter(help="The type that the backup has become.")],
) -> None:
    """Report that the backup type changed, such as an increment that became a full backup."""
    node, guid = _task(task)
    dump(node.backup_type(guid, kind))


@app.command
def transfer_info(
    task: TaskWord, file: Annotated[ExistingFile, Parameter(help="File with a JSON object.")]
) -> None:
    """Report the results of a task: a FILE with a JSON object."""
    node, guid = _task(task)
    dump(node.transfer_info(guid, _read(file)))


@app.command
def transfer_rate(
    task: TaskWord,
    per_second: Annotated[float, Parameter(help="Bytes per second.")],
    count: Annotated[
        int | None, Parameter(help="Bytes so far, or further bytes with --add.")
    ] = None,
    *,
    add: Annotated[bool, Parameter(negative="", help="Add COUNT to the total.")] = False,
) -> None:
    """Report a transfer rate sample: bytes per second, and bytes so far."""
    node, guid = _task(task)
    (node.transfer_more if add else node.transfer_rate)(guid, per_second, count)


@app.command
def cbt_id(
    task: TaskWord, checkpoint: Annotated[str, Parameter(help="Name of the checkpoint.")]
) -> None:
    """Report the checkpoint for the next increment."""
    node, guid = _task(task)
    node.cbt_id(guid, checkpoint)


@app.command
def inc_snap_required(
    task: TaskWord,
    *,
    required: Annotated[bool, Parameter(help="Whether the export must leave a snapshot.")] = True,
) -> None:
    """Report whether the export must leave a snapshot."""
    node, guid = _task(task)
    node.inc_snap_required(guid, required)


@app.command
def restore_host_id(
    task: TaskWord, host: Annotated[str, Parameter(help="The host's own name or id.")]
) -> None:
    """Report the host of the restored machine."""
    node, guid = _task(task)
    node.restore_host_id(guid, host)


@app.command
def restore_storage_id(
    task: TaskWord, storage: Annotated[str, Parameter(help="The storage's own name or id.")]
) -> None:
    """Report the storage of the restored machine."""
    node, guid = _task(task)
    node.restore_storage_id(guid, storage)


@app.command
def files(
    task: TaskWord, file: Annotated[ExistingFile, Parameter(help="File with a JSON array.")]
) -> None:
    """Report the files of a task: a FILE with a JSON array of TaskFileDTO."""
    node, guid = _task(task)
    node.files(guid, _read(file))


@app.command
def log(task: TaskWord, *line: Annotated[str, Parameter(help="Lines of text.")]) -> None:
    """Add lines to the task's log."""
    node, guid = _task(task)
    node.log(guid, *line)


@app.command
def inventory(file: Annotated[ExistingFile, Parameter(help="File with a JSON object.")]) -> None:
    """Report a hypervisor's inventory: a FILE with a FullInventoryRequest."""
    _said().inventory(_read(file))


@app.command
def instance_inventory(
    file: Annotated[ExistingFile, Parameter(help="File with a JSON object.")],
) -> None:
    """Report a machine's inventory: a FILE with an InstanceScopedInventoryRequest."""
    _said().instance_inventory(_read(file))


@app.command
def tape_inventory(
    file: Annotated[ExistingFile, Parameter(help="File with a JSON object.")],
) -> None:
    """Report a tape manager's inventory: a FILE with a TapeManagerInventoryRequest."""
    _said().tape_inventory(_read(file))
