"""Recording damage: a place is read a second time before it is called damaged.

A mount that is away or a portal that answers in the store's place looks like damage everywhere at
once.  Then nothing is recorded, and the caller raises an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from haulback.errors import Damaged, NotFound
from haulback.repository.damage import Spot
from haulback.repository.index import Index
from haulback.repository.pack import GroupLocation, name_of
from haulback.repository.reader import read_group
from haulback.repository.repository import Repository

MANY, MANY_SHARE = 8, 1 / 4  # packs at least, and their share of those looked at


class Recorded(NamedTuple):
    """Places that a second read could not read either, with the reason, and `readable` ones.

    `unreliable` says why nothing was recorded although places failed; "" otherwise.
    """

    damaged: dict[Spot, str]
    readable: set[Spot]
    unreliable: str = ""


def record_findings(
    repository: Repository, by: str, now: int, looked: int | None = None, *, believe: bool = False
) -> Recorded:
    """Record what the repository's readers could not read, and forget those findings.

    `by` is who found the damage, `now` epoch milliseconds, `looked` how many packs were looked at
    (all of them unless said).  `believe`: a person has seen that so many places really are damaged.
    Raises Unavailable when the destination does not answer.
    """
    found = repository.findings.all()
    if not found:
        return Recorded({}, set())
    if not believe and (why := _doubt_all(repository, found, looked)):
        repository.findings.clear()
        repository.unreliable = why
        return Recorded({}, set(), why)
    damaged, readable = _read_again(repository, found)
    placed = repository.index().packs()  # a clean-up may have dropped a pack while it was read
    damaged = {spot: why for spot, why in damaged.items() if spot.pack in placed}
    if not repository.is_itself():
        repository.findings.clear()
        return Recorded({}, set(), "the identity of the repository vanished during the check")
    known = repository.damage().spots
    # A group of a pack that is recorded as a whole counts by itself once the pack is back.
    new = {spot for spot in damaged if spot not in known}
    repository.begin_writing()
    repository.damage_log.add(by, now, new, ())
    repository.findings.clear()
    repository.recorded.update(damaged)
    return Recorded(damaged, readable)


def _doubt_all(
    repository: Repository, found: Mapping[Spot, tuple[GroupLocation, str]], looked: int | None
) -> str:
    """Packs that are absent are judged among all, packs that were read among those looked at."""
    absent = {spot.pack for spot in found if spot.group is None}
    torn = {spot.pack for spot in found} - absent
    return doubt(repository, absent, None) or doubt(repository, torn, looked)


def doubt(repository: Repository, packs: set[bytes], looked: int | None) -> str:
    """The reason not to believe that these packs are damaged; "" to believe it."""
    if not repository.is_itself():
        return "the identity of the repository cannot be read"
    if len(packs) < MANY:
        return ""
    count = len(repository.objects.packs()) if looked is None else looked
    if len(packs) <= max(count, len(packs)) * MANY_SHARE:
        return ""
    return f"{len(packs)} of {max(count, len(packs))} packs cannot be read, all at once"


def _read_again(
    repository: Repository, found: Mapping[Spot, tuple[GroupLocation, str]]
) -> tuple[dict[Spot, str], set[Spot]]:
    """Every place by a handle of its own, as a fresh index leads to it."""
    index = repository.index()
    placed = index.packs()
    damaged: dict[Spot, str] = {}
    readable: set[Spot] = set()
    for spot, (place, reason) in found.items():
        if spot.pack not in placed:
            continue  # a clean-up dropped the pack since
        confirmed = _confirm(repository, index, spot, place)
        if confirmed is None:
            readable.add(spot)
        else:
            damaged[confirmed] = reason
    return damaged, readable


def _confirm(repository: Repository, index: Index, spot: Spot, place: GroupLocation) -> Spot | None:
    """The spot that really is damaged; None where it reads.

    The whole pack where that is gone, or too short for the place: it may be mounted again.
    """
    try:
        size = repository.destination.info(name_of(spot.pack)).size
    except NotFound:
        return Spot(spot.pack)
    if spot.group is None:
        return spot if size < place.length else None
    if place not in index.places(spot.group):
        return None
    if size < place.offset + place.length:
        return Spot(spot.pack)
    try:
        found = read_group(repository.destination, spot.group, place, repository.keys)
    except (NotFound, Damaged):
        return spot
    keys = repository.keys
    return None if all(keys.chunk_id(found.chunk(c)) == c for c in found.places) else spot
