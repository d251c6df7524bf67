"""The report of an EXPORT, read by EXPORT and STORE."""

from __future__ import annotations

import msgspec

from haulback.contract.backups import BackupType
from haulback.contract.export import ExportResult
from haulback.errors import Malformed
from haulback.kinds.support.reports import ReportMember, lacking
from haulback.tasks.record import HOUR_MS, Task
from haulback.wire import JsonObject

WINDOW = 5 * HOUR_MS  # time in which a node may start the task
ASKED = "askedType"  # the parameter of a task whose backup became another type
EXPORT_REPORT = (
    ReportMember("type", "text", "FULL or INCREMENTAL: the type of the backup.", needed=True),
    ReportMember("snapshotTime", "time", "The moment whose state was read, epoch ms.", needed=True),
    ReportMember("size", "bytes", "Size of all disks of the backup.", needed=True),
    ReportMember("read", "bytes", "Bytes that the export read of the machine.", needed=True),
    ReportMember("stored", "bytes", "Bytes that wait to be stored.", needed=True),
    ReportMember("files", "array", "Each disk: name, size (bytes), format (raw, qcow2)."),
    ReportMember("parent", "guid", "The backup that an increment builds on."),
    ReportMember(
        "checkpoint", "text", "The checkpoint for the next increment, once the backup is stored."
    ),
    ReportMember("cbtId", "text", "The same checkpoint, as PUT /tasks/cbt-id sets it."),
    ReportMember(
        "definition", "object", "The definition of the machine, as the platform reports it."
    ),
    ReportMember("warnings", "texts", "Sentences about parts that the backup does not hold."),
    ReportMember("consistency", "text", "STOPPED, APPLICATION or CRASH."),
)


def unreported(kind: str, report: tuple[ReportMember, ...], results: JsonObject) -> str:
    """The reason why a backup cannot be restored: the node omitted members of its report."""
    names = ", ".join(lacking(report, results))
    return (
        f"the node did not report members that a restore needs: {names} in transfer-info of "
        f"the {kind}"
    )


def asked_type(task: Task) -> str:
    """The type of backup that a user or a schedule requested."""
    return str(task.params.get(ASKED) or task.backup_type or BackupType.FULL.value)


def other_type(asked: str, made: str) -> str:
    """The warning of a backup whose type differs from the requested type."""
    return f"the backup is {made}, although {asked} was requested"


def read_results(results: JsonObject) -> ExportResult | None:
    """The report of an export; None if the report lacks a member that a restore needs.

    Raises Malformed for a member of the wrong type.
    """
    if lacking(EXPORT_REPORT, results):
        return None
    try:
        report = msgspec.convert(results, ExportResult)
    except msgspec.ValidationError as error:
        raise Malformed(f"transfer-info of an EXPORT: {error}") from None
    if any("\0" in text for text in (*report.warnings, *(file.name for file in report.files))):
        raise Malformed("transfer-info of an EXPORT: a text holds a NUL")
    return report
