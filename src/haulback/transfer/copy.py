"""Copy of a backup to another repository: a second location, or the healing of one."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import NamedTuple

import msgspec

from haulback.errors import BaseGone, Conflict, Damaged, HaulbackError, NotFound
from haulback.repository.backup_loss import assess
from haulback.repository.damage_report import record_findings
from haulback.repository.manifest import Manifest
from haulback.repository.pages import DiskMap
from haulback.repository.repository import Draft, Repository
from haulback.transfer.chunk_recovery import KeyHealing
from haulback.transfer.copy_groups import GroupCopy
from haulback.transfer.noted_damage import note_damage
from haulback.transfer.portions import CopyServices
from haulback.transfer.resealed_copy import ResealedCopy

COPY_OF = "copyOf"  # label in a copy's manifest: the guid of the backup's first location
_MS = 1_000_000  # nanoseconds of a millisecond
_TIMES = 3  # number of times that a clean-up of the target may delete reused data
log = logging.getLogger(__name__)


class CopyWish(NamedTuple):
    """The backup `source` of the source repository, to be stored as `backup` on the target.

    `older` is an older backup of the machine on the target, or None.  A target that keeps locks
    keeps the copy for at least `lock` ms.  A copy that `heals` stores the data that can be read.
    """

    source: str
    backup: str
    older: str | None = None
    lock: int = 0
    heals: bool = False


class CopyResult(NamedTuple):
    """The manifest on the target, and the number of bytes that were stored."""

    manifest: Manifest
    stored: int


def copy_backup(
    source: Repository, target: Repository, wish: CopyWish, services: CopyServices
) -> CopyResult:
    """Copy a backup, or complete a copy that an interrupted attempt began.

    The call adds objects only, and may be repeated from any point.  Raises NotFound when the source
    has no such backup, Damaged when the source lacks data, BaseGone if clean-ups of the target
    deleted reused data several times.
    """
    for number in range(_TIMES):
        try:
            return _copy_once(source, target, wish, services)
        except BaseGone:
            if number == _TIMES - 1:
                raise
            log.info(
                "copy %s: a clean-up deleted data that the copy reuses; the backup is copied again",
                wish[1],
            )
    raise AssertionError


def _copy_once(
    source: Repository, target: Repository, wish: CopyWish, services: CopyServices
) -> CopyResult:
    origin = source.manifest(wish.source)
    made = _made(target, wish.backup)
    if wish.heals and made:
        return _healed(_Pair(source, target, origin, made), wish, services)
    older = _older(target, wish)
    if source.is_of_family(target):
        groups = GroupCopy(source, target, services)
        groups.copy(origin, None if target.index().is_damaged else older)
        wanted, packs, stored = origin, groups.packs, groups.stored
    else:
        anew = ResealedCopy(source, target, services)
        # A copy that exists supplies the borders of its chunks, so that equal chunks get equal ids.
        anew.copy(origin, made or older, None if made else _origin_of(source, older))
        wanted = msgspec.structs.replace(origin, disks=anew.disks)
        packs, stored = anew.packs, anew.stored
    manifest = made or _manifest(wanted, wish, older, stored)
    return _published(target, CopyResult(manifest, stored), packs, wish, services)


class _Pair(NamedTuple):
    """Two locations of a backup: `origin` is its manifest on the source, `made` on the target."""

    source: Repository
    target: Repository
    origin: Manifest
    made: Manifest


def _healed(pair: _Pair, wish: CopyWish, services: CopyServices) -> CopyResult:
    """Store what can be read of the data that the target lacks."""
    source, target, origin, made = pair
    # The store accepted no record of the damage that a reader reported.
    if assess(target, made) is None:
        log.info(
            "%s is read whole, because no damage of this backup is recorded",
            made.backup,
        )
        note_damage(target, made, services.resources)
        by = f"the healing of {made.entity_name}"
        if doubt := record_findings(target, by, time.time_ns() // _MS).unreliable:
            # Without a record, the lost data would count as stored, and the backup as healed.
            raise Conflict(
                f"backup {made.backup} is not healed: {doubt}; check the store, and try again"
            )
    healing: GroupCopy | KeyHealing
    if source.is_of_family(target) and _maps(origin) == _maps(made):
        healing = GroupCopy(source, target, services, heals=True)
        healing.copy(origin, None)
    else:
        healing = KeyHealing(source, target, services)
        healing.heal(made, origin)
    result = CopyResult(made, healing.stored)
    if healing.left:
        log.info("%s: %d chunks are at neither location", wish.backup, healing.left)
        return result
    return _published(target, result, healing.packs, wish, services)


def _maps(manifest: Manifest) -> dict[str, DiskMap]:
    """The map of each disk.  Copies in one family differ if one of them was made through a
    repository with another key.
    """
    return {disk.name: disk.map for disk in manifest.disks}


def _published(
    target: Repository,
    result: CopyResult,
    packs: list[str],
    wish: CopyWish,
    services: CopyServices,
) -> CopyResult:
    """Publish the manifest of a copy, whose portions are published."""
    services.resources.confirm()
    draft = Draft(result.manifest, packs, [], are_portions=True)
    target.publish(services.folder, draft, services.resources.disk, wish.lock)
    _merge(target, services)
    return result


def _made(target: Repository, backup: str) -> Manifest | None:
    """The manifest that an earlier attempt stored, or None."""
    with suppress(NotFound):
        return target.manifest(backup)
    return None


def _older(target: Repository, wish: CopyWish) -> Manifest | None:
    if wish.older is None:
        return None
    with suppress(NotFound, Damaged):
        return target.manifest(wish.older)
    return None


def _origin_of(source: Repository, older: Manifest | None) -> Manifest | None:
    """The backup on the source of which a backup on the target is a copy."""
    guid = older.labels.get(COPY_OF) if older else None
    if guid:
        with suppress(NotFound, Damaged):
            return source.manifest(guid)
    return None


def _manifest(origin: Manifest, wish: CopyWish, older: Manifest | None, stored: int) -> Manifest:
    first = origin.labels.get(COPY_OF, origin.backup)
    return msgspec.structs.replace(
        origin,
        backup=wish.backup,
        parent=older.backup if older else None,
        labels={**origin.labels, COPY_OF: first},
        stored=stored,
    )


def _merge(target: Repository, services: CopyServices) -> None:
    try:
        target.merge_index(services.folder, services.resources.disk)
    except HaulbackError as error:
        log.warning("the merge of index files is postponed: %s", error.message)


def heal_backup(
    source: Repository, target: Repository, wish: CopyWish, services: CopyServices
) -> CopyResult:
    """Store the data again that the backup `wish.backup` on the target lacks and the source has.

    A missing manifest is stored again; an unreadable manifest must first be moved aside by
    `repair`.  The source may lack data, too: what it has is stored.  Raises Damaged if the source
    lacks data and the target has no manifest.
    """
    if source.is_of_family(target):
        source.others = [lambda: target]
    return copy_backup(source, target, wish._replace(older=None, heals=True), services)


def lacks_data(target: Repository, backup: str) -> bool:
    """Whether a backup of the target lacks data that a restore needs."""
    return assess(target, target.manifest(backup)) is not None
