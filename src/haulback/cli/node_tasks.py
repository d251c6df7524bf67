"""`haulback task node`: what only the node that runs a task may say of it.

For who writes a node or repairs by hand: HAULBACK_TOKEN must be the node's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import ExistingFile

from haulback.cli.connection import connect
from haulback.cli.output import dump
from haulback.client.node_tasks import NodeTasks
from haulback.tasks.states import BackupType
from haulback.wire import parse

app = App(name="node", help="What a node says of the task it runs; HAULBACK_TOKEN is the node's.")


def _said() -> NodeTasks:
    return connect().tasks.node


def _read(file: Path) -> Any:
    return parse(file.read_bytes())


@app.command
def progress(guid: str, percent: float) -> None:
    """Percent done."""
    _said().progress(guid, percent)


@app.command
def cloud_progress(guid: str, done: int, total: int) -> None:
    """Progress of cloud work, in objects."""
    _said().cloud_progress(guid, done, total)


@app.command
def os_progress(guid: str, done: int, total: int) -> None:
    """Progress of work by an agent, in objects."""
    _said().os_progress(guid, done, total)


@app.command
def backup_type(guid: str, kind: BackupType) -> None:
    """An increment that had to become a full backup, or the reverse."""
    dump(_said().backup_type(guid, kind))


@app.command
def transfer_info(guid: str, file: ExistingFile) -> None:
    """What came of the work: a FILE with a JSON object."""
    dump(_said().transfer_info(guid, _read(file)))


@app.command
def transfer_rate(
    guid: str,
    per_second: float,
    count: int | None = None,
    *,
    add: Annotated[bool, Parameter(negative="", help="COUNT comes on top.")] = False,
) -> None:
    """A sample: bytes per second, and how many bytes so far."""
    said = _said()
    (said.transfer_more if add else said.transfer_rate)(guid, per_second, count)


@app.command
def cbt_id(guid: str, checkpoint: str) -> None:
    """The checkpoint that the next increment may build on."""
    _said().cbt_id(guid, checkpoint)


@app.command
def inc_snap_required(guid: str, *, required: bool = True) -> None:
    """Whether the export must leave a snapshot."""
    _said().inc_snap_required(guid, required)


@app.command
def restore_host_id(guid: str, host: str) -> None:
    """The host it is restored to."""
    _said().restore_host_id(guid, host)


@app.command
def restore_storage_id(guid: str, storage: str) -> None:
    """The storage it is restored to."""
    _said().restore_storage_id(guid, storage)


@app.command
def files(guid: str, file: ExistingFile) -> None:
    """The files of a task: a FILE with a JSON array of TaskFileDTO."""
    _said().files(guid, _read(file))


@app.command
def log(guid: str, *line: str) -> None:
    """Lines for the task's log."""
    _said().log(guid, *line)


@app.command
def inventory(file: ExistingFile) -> None:
    """What a node saw of a hypervisor: a FILE with a FullInventoryRequest."""
    _said().inventory(_read(file))


@app.command
def instance_inventory(file: ExistingFile) -> None:
    """What a node saw of a machine: a FILE with an InstanceScopedInventoryRequest."""
    _said().instance_inventory(_read(file))


@app.command
def tape_inventory(file: ExistingFile) -> None:
    """What a tape manager holds: a FILE with a TapeManagerInventoryRequest."""
    _said().tape_inventory(_read(file))
