"""VERIFY: reads the data of a destination in shares, and reports backups that lack data."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.destinations import VerifyState
from haulback.contract.order_records import BackupDestination
from haulback.contract.roles import OPERATORS
from haulback.contract.task_states import State
from haulback.contract.verify import VerifyOrder, VerifyRequest, VerifyResult
from haulback.errors import Malformed
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import AnyRequest, Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import SPACE, ReportMember
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.wire import JsonObject

WINDOW = 24 * HOUR_MS  # a nightly run may wait for a node that is off
_LONGEST = 7 * 86_400  # seconds


def plan(request: VerifyRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    if request.bytes is not None and request.bytes < 1:
        raise Malformed("bytes: send a number of at least 1", field="bytes")
    if request.seconds is not None and not 1 <= request.seconds <= _LONGEST:
        raise Malformed(f"seconds: send a number from 1 to {_LONGEST}", field="seconds")
    bounds = {"bytes": request.bytes, "seconds": request.seconds}
    return Plan([task(one, context, bounds, request) for one in found])


def task(
    to: BackupDestination, context: Context, bounds: JsonObject, request: AnyRequest = None
) -> Task:
    """The task that verifies a destination."""
    return planning.task(
        "VERIFY",
        "verify",
        context,
        request,
        planning.TaskSpec(
            refs={"backupDestination": planning.named(to)},
            params={name: value for name, value in bounds.items() if value is not None},
            pinned=reach.pin(to),
            window=WINDOW,
        ),
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Store the list of backups that the task must find."""
    ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> VerifyOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    state = msgspec.convert(to.verify_state, VerifyState)
    params = task.params
    bounds = {name: params.get(name) for name in ("bytes", "seconds", "days")}
    begin = state.cursor if any(bounds.values()) else ""
    return VerifyOrder(to, str(params.get("cursor") or begin), **bounds, looked=state.looked)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the progress of the round; the damage is recorded already."""
    destination = task.ref("backupDestination") or ""
    ledger.damage.expected_over(task.guid)
    if state is not State.FINISHED:
        if "damage" in task.results:
            ledger.damage.verify_ended(destination)
        return
    report = msgspec.convert(task.results, VerifyResult)
    _check_cursor(report.cursor)
    ledger.destinations.space(destination, report.totalSpace, report.freeSpace)
    if report.damage and report.damage.unreliable:
        return  # the next share reads the same packs again
    since = task.started or 0
    ledger.damage.compared(destination, report.unknown, report.unknownBackups, since=since)
    ledger.damage.verified_share(
        destination, report.cursor, since=since, is_round=report.isRound, looked=report.looked
    )


def _check_cursor(cursor: str) -> None:
    try:
        bytes.fromhex(cursor)
    except ValueError:
        raise Malformed("transfer-info of a VERIFY: cursor is no pack id in hex") from None


Request = VerifyRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="VERIFY",
    lane="verify",
    order=VerifyOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=(
        ReportMember(
            "cursor",
            "text",
            "The last pack that was read, in hex; empty at the end of the destination.",
        ),
        ReportMember("isRound", "flag", "Whether the task ended a round."),
        ReportMember("read", "bytes", "Bytes that were read."),
        ReportMember("groups", "count", "Number of groups that were read."),
        ReportMember("backups", "count", "Number of backups whose maps were checked."),
        ReportMember(
            "looked",
            "text",
            "The backup after which the next VERIFY continues; empty after all.",
        ),
        ReportMember("unknown", "count", "Number of backups that are not in the catalogue."),
        ReportMember(
            "unknownBackups",
            "array",
            "The first of the unknown backups: backup, entity, name, snapshotTime.",
        ),
        ReportMember("strangers", "count", "Number of foreign files."),
        ReportMember("damage", "object", "The damage that was found; see docs/design/damage.md."),
        *SPACE,
    ),
    submissions=(
        Submission(
            "verify",
            VerifyRequest,
            plan,
            summary="Create tasks to verify destinations.",
            roles=OPERATORS,
            examples=[
                {"backupDestinations": [example.REF]},
                {"backupDestinations": [example.GUID], "bytes": 107374182400, "seconds": 14400},
            ],
            command="destination verify DESTINATION",
        ),
    ),
    window=WINDOW,
)
