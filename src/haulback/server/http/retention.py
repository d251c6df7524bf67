"""Retention marks on backups, and a preview of their effect."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from haulback.contract import example_values as example
from haulback.contract.backups import Hint, MarkedLocation, MarkPreview, Marks
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS
from haulback.errors import Conflict, Malformed, NotFound
from haulback.ids import guid_of
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.policy import terms
from haulback.server.http.backups import shown_location
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import retention as retention_marks
from haulback.server.services import retention_losses
from haulback.server.services.backups import BackupReading
from haulback.server.services.retention import Mark, MarkEffect
from haulback.units import utc
from haulback.wire import label, parse, read

_MOST = 10_000  # locations of one request
_LAST = 1 << 48  # epoch ms
router = Router()


@router(
    "POST",
    "/retention/mark-backups",
    "Mark backups for retention.",
    request=Marks | list[MarkedLocation],
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"backupLocations": [example.REF], "retentionHint": "TO_REMOVE"}],
    command="backup mark archive BACKUP",
    destroys=lambda call: retention_losses.of_marks(
        call.app, call.who, lambda known, now: _wishes(call, known, now)
    ),
)
def mark(call: ApiRequest) -> None:
    """Mark backups for removal at the next clean-up, as an archive, or for normal retention.

    The request has one hint for several locations, or an array of locations, each with its hint.
    """
    retention_marks.mark(call.app, call.who, lambda known, now: _wishes(call, known, now))


@router(
    "POST",
    "/retention/mark-backups/preview",
    "Effects that marking backups would have.",
    request=Marks | list[MarkedLocation],
    answer=MarkPreview,
    many=True,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"backupLocations": [example.REF], "retentionHint": "TO_REMOVE"}],
    command="backup mark remove BACKUP --preview",
)
def preview(call: ApiRequest) -> list[MarkPreview]:
    """The marked locations after the change, then other locations whose retention would change."""
    marked = retention_marks.preview(
        call.app, call.who, lambda known, now: _wishes(call, known, now)
    )
    with BackupReading.of(call.app, call.who.scope) as reading:
        known = reading.catalogue
        return [_shown(item, known, marked) for item in marked.marks]


def _wishes(call: ApiRequest, known: Catalogue, now: int) -> list[Mark]:
    """Raises Malformed, NotFound, Conflict."""
    body = parse(call.body)
    if isinstance(body, list):
        if len(body) > _MOST:
            raise Malformed(f"the body names more than {_MOST} locations; send them in parts")
        wanted: list[MarkedLocation] = read(body, list[MarkedLocation], "")
        result = [(_meant(item, known), item.retentionHint, _moment(item)) for item in wanted]
    else:
        marks: Marks = call.read(Marks)
        if marks.archiveExpire is not None and marks.retentionHint is not Hint.ARCHIVE:
            raise Malformed(
                "archiveExpire: belongs to ARCHIVE; leave the member out", field="archiveExpire"
            )
        if marks.archiveExpire is not None and not 0 < marks.archiveExpire < _LAST:
            raise Malformed("archiveExpire: a time in epoch ms", field="archiveExpire")
        places = [known.backups.at_location(ref.guid) for ref in marks.backupLocations]
        result = [(place, marks.retentionHint, marks.archiveExpire) for place in places]
    return [Mark(item, _marked(item, hint, until, now, known)) for item, hint, until in result]


def _meant(marked: MarkedLocation, known: Catalogue) -> Backup:
    """The backup of a location, named by the location's guid or by the backup's guid."""
    guid = guid_of(marked.guid, "guid")
    try:
        backup = known.backups.at_location(guid)
    except NotFound:
        backup = known.backups.get(guid)
    if marked.backup and marked.backup.guid not in (backup.guid, backup.first):
        raise Malformed(
            "backup: the location belongs to another backup; name the backup of the location",
            field="backup",
        )
    return backup


def _moment(marked_location: MarkedLocation) -> int | None:
    """The end of an archive in epoch ms; some clients send a date as text.  Raises Malformed."""
    given = marked_location.archiveExpire
    if marked_location.retentionHint is not Hint.ARCHIVE or given in (None, ""):
        return None
    if isinstance(given, str) and "-" in given:
        try:
            day = datetime.fromisoformat(given)
            given = int((day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            given = None
    moment: int = read(given, int, "archiveExpire")
    if not 0 < moment < _LAST:
        raise Malformed("archiveExpire: a time in epoch ms", field="archiveExpire")
    return moment


def _marked(backup: Backup, hint: Hint, until: int | None, now: int, known: Catalogue) -> Backup:
    """A backup with its new mark.  Raises Conflict."""
    if hint.value == backup.hint and (hint is not Hint.ARCHIVE or until == backup.keep_until):
        return backup  # portals send unchanged locations too
    if backup.status not in ("SUCCESS", "PARTIAL_SUCCESS"):
        raise Conflict(
            f"backup {backup.guid} is {backup.status}; only a stored backup can be marked"
        )
    held = _held(backup, now, known)
    if hint is Hint.TO_REMOVE:
        _check_goes(backup, held)
    if hint is not Hint.ARCHIVE:
        return msgspec.structs.replace(backup, hint=hint.value, keep_until=held)
    if held and until and until < held:
        raise Conflict(
            f"archiveExpire: backup {backup.guid} is kept until {utc(held)} ({held} epoch ms); "
            "send a later time",
            field="archiveExpire",
        )
    # An archive without an end outlasts every lock.
    return msgspec.structs.replace(backup, hint=hint.value, keep_until=until or None)


def _held(one: Backup, now: int, known: Catalogue) -> int | None:
    """The end of a backup's lock (epoch ms), None without a lock; a lock is never shortened."""
    end = one.keep_until or one.lock_until
    if end is None and one.hint == Hint.ARCHIVE.value and one.stored_time:
        # An earlier version stored no lock beside an archive without an end.
        lock = terms.of(known.places.destination(one.destination).settings).lock_ms
        end = one.stored_time + lock
    return end if end is not None and now < end else None


def _check_goes(backup: Backup, held: int | None) -> None:
    """Raises Conflict for a backup that no clean-up would remove."""
    if held:
        raise Conflict(
            f"backup {backup.guid} is locked until {utc(held)} ({held} epoch ms); mark the backup "
            "after that time",
            backup=backup.guid,
            lockedUntil=held,
        )
    if backup.status != "SUCCESS":
        raise Conflict(
            f"backup {backup.guid} is {backup.status}: the backup is not stored "
            "completely and needs no mark, because the clean-up after its task removes it"
        )
    if backup.location_status in ("MISSING", "GIVEN_UP"):
        raise Conflict(
            f"backup {backup.guid} is missing from its destination: give the backup up by "
            "`haulback backup confirm-missing`"
        )


def _shown(one: Mark, known: Catalogue, effect: MarkEffect) -> MarkPreview:
    shown, guid = shown_location(one.after, known), one.after.guid
    return MarkPreview(
        **msgspec.structs.asdict(shown),
        previousHint=label(one.before.hint),
        previousType=label(one.before.type),
        previousArchiveExpire=one.before.keep_until,
        toBeRemoved=guid in effect.going,
        reason=effect.reasons.get(guid),
    )
