"""Recording damage: a place is read a second time before it is recorded as damaged.

An unmounted folder, or a login page instead of the store, looks like damage everywhere at once.
Such a result is not recorded, and the caller raises an alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from haulback.errors import Damaged, HaulbackError, NotFound
from haulback.repository.damage import DamagedPlace
from haulback.repository.index import Index
from haulback.repository.pack import GroupLocation, name_of
from haulback.repository.reader import read_group
from haulback.repository.repository import Repository

# the smallest number of failed packs, and their smallest share of the packs read, that make a
# result unreliable
MANY, MANY_SHARE = 8, 1 / 4


class RecordedDamage(NamedTuple):
    """Places that failed a second read too, with the reason, and `readable` places that are sound
    again.

    `unreliable` is the reason why no damage was recorded although places failed; "" otherwise.
    `refused` is the reason why the destination took no record of the damage; "" otherwise.
    """

    damaged: dict[DamagedPlace, str]
    readable: set[DamagedPlace]
    unreliable: str = ""
    refused: str = ""


def record_findings(
    repository: Repository, by: str, now: int, looked: int | None = None, *, believe: bool = False
) -> RecordedDamage:
    """Record the places that the repository's readers could not read, and clear these findings.

    `by` names the finder, `now` is the time in epoch milliseconds, `looked` the number of packs
    read (default: all packs).  With `believe` a user confirms that this many places really are
    damaged. Raises Unavailable when the destination does not answer, and the error of a destination
    that takes no record.
    """
    confirmed = _confirmed(repository, looked, believe=believe)
    _record(repository, by, now, confirmed.damaged)
    return confirmed


def tell_findings(
    repository: Repository, by: str, now: int, looked: int | None = None, *, believe: bool = False
) -> RecordedDamage:
    """The result of `record_findings`, also for a destination that takes no record.

    Damage that is not recorded stays among the findings, so that an assessment counts it and a
    later call records it.  Raises Unavailable when the destination does not answer.
    """
    confirmed = _confirmed(repository, looked, believe=believe)
    repository.unrecorded = ""
    try:
        _record(repository, by, now, confirmed.damaged)
    except (HaulbackError, OSError) as error:
        repository.unrecorded = error.message if isinstance(error, HaulbackError) else str(error)
        repository.recorded.update(confirmed.damaged)
    return confirmed._replace(refused=repository.unrecorded)


def _record(repository: Repository, by: str, now: int, damaged: Mapping[DamagedPlace, str]) -> None:
    if not damaged:
        return
    known = repository.damage().damaged_places
    # A group of a pack that is recorded as a whole is judged separately once the pack exists again.
    if new := {spot for spot in damaged if spot not in known}:
        repository.begin_writing()
        repository.damage_log.add(by, now, new, ())
    repository.findings.clear(damaged)
    repository.recorded.update(damaged)


def _confirmed(repository: Repository, looked: int | None, *, believe: bool) -> RecordedDamage:
    """The findings that fail a second read too; all other findings are cleared."""
    result = repository.findings.all()
    if not result:
        return RecordedDamage({}, set())
    if not believe and (why := _doubt_all(repository, result, looked)):
        repository.findings.clear(result)
        repository.unreliable = why
        return RecordedDamage({}, set(), why)
    damaged, readable = _read_again(repository, result)
    placed = repository.index().packs()  # a clean-up may have deleted the pack during the read
    damaged = {spot: why for spot, why in damaged.items() if spot.pack in placed}
    if not repository.is_itself():
        repository.findings.clear(result)
        return RecordedDamage(
            {},
            set(),
            "the identity of the repository disappeared during the check; mount the "
            "destination and try again",
        )
    repository.findings.clear(result.keys() - damaged.keys())
    return RecordedDamage(damaged, readable)


def second_look(repository: Repository, backups: Iterable[str]) -> tuple[list[str], list[str]]:
    """The backups that are missing, and those whose manifest is damaged, of `backups`.

    A backup that was deleted on purpose is neither.  Both are empty where the identity of the
    repository cannot be read: the store may be unavailable.
    """
    missing, damaged = [], []
    for backup in backups:
        try:
            repository.manifest(backup)
        except NotFound:
            missing.append(backup)
        except Damaged:
            damaged.append(backup)
    if not repository.is_itself():
        return [], []
    buried = repository.rolls.forgotten(set(missing)) if missing else set()
    return [backup for backup in missing if backup not in buried], damaged


def _doubt_all(
    repository: Repository,
    result: Mapping[DamagedPlace, tuple[GroupLocation, str]],
    looked: int | None,
) -> str:
    """The reason for doubt: missing packs are compared with all packs, failed packs with the packs
    read.
    """
    absent = {spot.pack for spot in result if spot.group is None}
    torn = {spot.pack for spot in result} - absent
    return doubt(repository, absent, None) or doubt(repository, torn, looked)


def doubt(repository: Repository, packs: set[bytes], looked: int | None) -> str:
    """The reason to doubt that these packs are damaged; "" if the damage is credible."""
    if not repository.is_itself():
        return "the identity of the repository cannot be read"
    if len(packs) < MANY:
        return ""
    count = len(repository.objects.packs()) if looked is None else looked
    if len(packs) <= max(count, len(packs)) * MANY_SHARE:
        return ""
    return f"{len(packs)} of {max(count, len(packs))} packs cannot be read, all at the same time"


def _read_again(
    repository: Repository, result: Mapping[DamagedPlace, tuple[GroupLocation, str]]
) -> tuple[dict[DamagedPlace, str], set[DamagedPlace]]:
    """Read every place again, with a new file handle and the place from a fresh index."""
    index = repository.index()
    placed = index.packs()
    damaged: dict[DamagedPlace, str] = {}
    readable: set[DamagedPlace] = set()
    for spot, (place, reason) in result.items():
        if spot.pack not in placed:
            continue  # a clean-up deleted the pack meanwhile
        confirmed = _confirm(repository, index, spot, place)
        if confirmed is None:
            readable.add(spot)
        else:
            damaged[confirmed] = reason
    return damaged, readable


def _confirm(
    repository: Repository, index: Index, spot: DamagedPlace, place: GroupLocation
) -> DamagedPlace | None:
    """The damaged place after a second read; None when the read succeeds.

    The result is the whole pack when the pack is gone or too short: it may be mounted again later.
    """
    try:
        size = repository.destination.info(name_of(spot.pack)).size
    except NotFound:
        return DamagedPlace(spot.pack)
    if spot.group is None:
        return spot if size < place.length else None
    if place not in index.places(spot.group):
        return None
    if size < place.offset + place.length:
        return DamagedPlace(spot.pack)
    try:
        group = read_group(repository.destination, spot.group, place, repository.keys)
    except (NotFound, Damaged):
        return spot
    keys = repository.keys
    return None if all(keys.chunk_id(group.chunk(c)) == c for c in group.places) else spot
