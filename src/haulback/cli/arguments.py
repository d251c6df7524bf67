"""Arguments and options that many commands share, each with its description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token, validators

from haulback.logs import LogFormat


def folder(_: object, tokens: Sequence[Token]) -> Path:
    """The path of an argument.  Raises ValueError for an empty word, which would be the present
    folder: the variable of a script may be unset.
    """
    word = tokens[0].value
    if not word.strip():
        raise ValueError(f"{word!r} is no path: name a folder")
    return Path(word)


_NAMED = "name, guid, or the guid's first six characters or more"
_DATED = "guid, its first six characters or more, latest, or latest:MACHINE"

AlarmWord = Annotated[
    str, Parameter(help="An alarm: guid, or the guid's first six characters or more.")
]
BackupWord = Annotated[str, Parameter(help=f"A backup: {_DATED}.")]
DeliveryWord = Annotated[
    str, Parameter(help="A delivery: guid, or the guid's first six characters or more.")
]
DestinationWord = Annotated[str, Parameter(help=f"A destination: {_NAMED}.")]
DiskWord = Annotated[str, Parameter(help=f"A disk of the machine: {_NAMED}.")]
FileSystemWord = Annotated[
    str,
    Parameter(
        help="A mounted file system: volume, guid, or the guid's first six characters or more."
    ),
]
HypervisorWord = Annotated[str, Parameter(help=f"A hypervisor: {_NAMED}.")]
MachineWord = Annotated[str, Parameter(help=f"A machine: {_NAMED}; or the uuid on its hypervisor.")]
MountWord = Annotated[str, Parameter(help=f"A mounted backup: {_DATED}.")]
NodeWord = Annotated[str, Parameter(help=f"A node: {_NAMED}.")]
RecordWord = Annotated[str, Parameter(help=f"The record: {_NAMED}.")]
RestoreWord = Annotated[str, Parameter(help=f"A restore: {_DATED}.")]
RuleWord = Annotated[str, Parameter(help=f"A rule: {_NAMED}.")]
ScheduleWord = Annotated[str, Parameter(help=f"A schedule: {_NAMED}.")]
SnapshotWord = Annotated[str, Parameter(help=f"A snapshot: {_DATED}.")]
SubjectWord = Annotated[str, Parameter(help=f"Only about this object: {_NAMED}.")]
TaskWord = Annotated[str, Parameter(help=f"A task: {_DATED}.")]
UserWord = Annotated[str, Parameter(help="A user: login, guid, or the guid's beginning.")]
WorkflowWord = Annotated[
    str, Parameter(help="A workflow: guid, or the guid's first six characters or more.")
]

DestinationOption = Annotated[str, Parameter(help=f"The destination: {_NAMED}.")]
HypervisorOption = Annotated[str, Parameter(help=f"The hypervisor: {_NAMED}.")]
MachineOption = Annotated[str, Parameter(help=f"The machine: {_NAMED}.")]
NodeOption = Annotated[str, Parameter(help=f"The node: {_NAMED}.")]
PolicyOption = Annotated[str, Parameter(help=f"The policy: {_NAMED}.")]
ProjectOption = Annotated[str, Parameter(help=f"The project: {_NAMED}.")]
StorageOption = Annotated[str, Parameter(help=f"Storage pool of all disks: {_NAMED}.")]

NewName = Annotated[str, Parameter(help="Name of the new record.")]
Members = Annotated[str, Parameter(help="MEMBER=VALUE; the value is JSON or text.")]
MailWords = Annotated[str, Parameter(help="Mail addresses.")]
Rows = Annotated[int, Parameter(help="Number of rows to list.", validator=validators.Number(gte=0))]
LogForm = Annotated[LogFormat, Parameter(help="Form of the log lines on standard error.")]
_STORED = "Folder of the repository, or a JSON file with `type` and settings of another store."
RepositoryFolder = Annotated[Path, Parameter(help=_STORED, converter=folder)]
StoredFolder = Annotated[Path | None, Parameter(help=_STORED, converter=folder)]
StoredBackup = Annotated[
    str,
    Parameter(help="A backup: guid, its beginning, or a machine's name for its newest backup."),
]
ServerData = Annotated[Path, Parameter(help="Folder of the server's data, on this machine.")]
ServerDatabase = Annotated[
    str, Parameter(help="The server's database, if it is not a file in --data.")
]
