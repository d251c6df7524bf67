"""Preview of a rule's retention, and the confirmation that allows retention to begin."""

from __future__ import annotations

from functools import cache

from haulback.contract import example_values as example
from haulback.contract.backups import MarkedLocation, MarkPreview
from haulback.contract.project_access import ProjectAccess
from haulback.contract.retention_preview import (
    JudgedBackup,
    RetentionConfirmation,
    RetentionPreview,
    RetentionPreviewRequest,
)
from haulback.contract.roles import ADMINS, PEOPLE
from haulback.policy import terms
from haulback.policy.retention import RetentionReason, RetentionVerdict
from haulback.server.http import retention as retention_marks
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import retention_losses, retention_preview, retention_waits
from haulback.server.services.read_transaction import Reading
from haulback.server.services.retention_preview import RulePreview
from haulback.wire import Label, Named, label

router = Router()


@router(
    "POST",
    "/retention/preview",
    "Backups that the retention of a rule keeps and removes.",
    request=RetentionPreviewRequest | list[MarkedLocation],
    answer=RetentionPreview | list[MarkPreview],
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    examples=[{"rule": example.REF}],
    command="retention preview RULE",
)
def preview(call: ApiRequest) -> RetentionPreview | list[MarkPreview]:
    """Show the fate of each backup of a saved or drafted rule, with the reason.

    An array of locations with hints is previewed as `/retention/mark-backups/preview` does.
    """
    if isinstance(call.parsed(), list):
        marked: list[MarkPreview] = retention_marks.preview(call)
        return marked
    wanted: RetentionPreviewRequest = call.read(RetentionPreviewRequest)
    judged = retention_preview.preview(call.app, call.who, wanted)
    with Reading.of(call.app, call.who.scope) as reading:
        places = {to.guid: to.name for to in reading.catalogue.places.destinations()}
    return shown(judged, places)


def shown(judged: RulePreview, places: dict[str, str]) -> RetentionPreview:
    """A preview in the form of the API; `places` are the names of destinations."""
    going = [verdict for verdict in judged.verdicts if verdict.goes]
    settings = terms.of_role(judged.rule.body, "PRIMARY")
    return RetentionPreview(
        rule=Named(judged.rule.guid, judged.rule.name),
        stay=len(judged.verdicts) - len(going),
        go=len(going),
        sizeReturned=sum(verdict.location.stored for verdict in going),
        backups=[_backup(verdict, judged, places) for verdict in judged.verdicts],
        warnings=list(terms.warnings(settings)) if settings else [_FOLLOWS],
        waits=judged.waits,
        after=judged.after,
    )


_FOLLOWS = "the rule has no retention of its own: the retention of its destination applies"


_label = cache(label)  # a long preview repeats a few backups


@cache
def _reason(reason: RetentionReason) -> Label:
    return Label(reason.name, reason.value)


def _backup(verdict: RetentionVerdict, judged: RulePreview, places: dict[str, str]) -> JudgedBackup:
    item = verdict.location
    machine = judged.names[item.entity]
    return JudgedBackup(
        backup=Named(item.guid, machine),
        location=Named(item.location),
        protectedEntity=Named(item.entity, machine),
        backupDestination=Named(item.destination, places[item.destination]),
        roleType=_label(item.role),
        type=_label(item.type),
        snapshotTime=item.time,
        goes=verdict.goes,
        reason=_reason(verdict.reason),
        retentionHint=_label(item.hint),
        archiveExpire=item.keep_until,
        size=item.stored,
    )


@router(
    "POST",
    "/retention/confirm",
    "Let the retention of rules of an earlier version remove backups.",
    request=RetentionConfirmation,
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.CHANGE,
    examples=[{"rules": [example.REF]}, {}],
    command="retention confirm RULE --yes",
    destroys=lambda call: retention_losses.waiting(call.app, call.who, _confirmed(call)),
)
def confirm(call: ApiRequest) -> None:
    """Confirm the retention of rules, or of all rules that wait for a confirmation."""
    retention_waits.confirm(call.app, call.who, _confirmed(call))


def _confirmed(call: ApiRequest) -> list[str] | None:
    """The guids that a confirmation names; None means all rules that wait."""
    wanted: RetentionConfirmation = call.read(RetentionConfirmation)
    return None if wanted.rules is None else [ref.guid for ref in wanted.rules]
