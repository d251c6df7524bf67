"""The backups on a destination, from manifests and catalogue extracts, for a catalogue."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from haulback.contract.catalogue import FOUND, FoundBackup, FoundDisk
from haulback.errors import Damaged, NotFound, Unavailable
from haulback.ids import is_guid
from haulback.repository import manifest as manifests
from haulback.repository.backup_loss import assess
from haulback.repository.extracts import StoredCatalogue
from haulback.repository.manifest import Manifest
from haulback.repository.names import exists
from haulback.repository.repository import Repository
from haulback.units import MIB
from haulback.wire import JsonObject

_AT_ONCE = 8  # manifests that are read at the same time
_PAGE_BYTES = 2 * MIB  # size of the definitions in one page
_NAME = 400  # characters


@dataclass
class Survey:
    """The backups of a survey: guids of manifests, of unreadable manifests, and of lost backups."""

    listed: set[str] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def pages(
    repository: Repository, stored: StoredCatalogue, survey: Survey
) -> Iterator[list[FoundBackup]]:
    """All backups of a repository in pages; `survey` is complete after the last page.

    Raises Unavailable if the repository's identity cannot be read; no backup counts as missing
    then.
    """
    _check_identity(repository)
    survey.listed = repository.objects.leaves("manifests")
    survey.listed |= _unlisted(repository, stored, survey)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from _cut(_present(repository, stored, survey, pool))
    lost = list(_lost(repository, stored, survey))
    _check_identity(repository)  # a share that was unmounted meanwhile lists no manifests
    survey.lost = [item.guid for item in lost]
    yield from _cut(lost)


def missing(repository: Repository, expected: Iterable[str], survey: Survey) -> list[str]:
    """The expected backups without a manifest that the survey does not list as lost."""
    known = survey.listed.union(survey.lost)
    return [guid for guid in expected if guid not in known and not _is_there(repository, guid)]


def _is_there(repository: Repository, guid: str) -> bool:
    """Whether a manifest exists: looked up by its name, because listings may lag."""
    return exists(repository.destination, manifests.name_of(guid))


def _check_identity(repository: Repository) -> None:
    if not repository.is_itself():
        raise Unavailable(
            "the identity of the repository cannot be read; mount the destination and try again"
        )


def _cut(backups: Iterable[FoundBackup]) -> Iterator[list[FoundBackup]]:
    page: list[FoundBackup] = []
    size = 0
    for item in backups:
        length = sum(len(str(value)) for value in item.definition.values())
        if page and (len(page) >= FOUND or size + length > _PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(item)
        size += length
    if page:
        yield page


def _present(
    repository: Repository, stored: StoredCatalogue, survey: Survey, pool: ThreadPoolExecutor
) -> Iterator[FoundBackup]:
    """The backups that have a manifest; manifests are read a few at a time, in order."""

    def read(guid: str) -> Manifest | Exception:
        try:
            return repository.manifest(guid)
        except (NotFound, Damaged) as error:
            return error

    # A STORE that lost its data has no right to delete its manifest.
    doubted = repository.rolls.tombstones()
    guids = iter(sorted(survey.listed))
    while batch := list(islice(guids, FOUND)):
        for guid, manifest in zip(batch, pool.map(read, batch), strict=True):
            if isinstance(manifest, Manifest):
                lacks_data = guid in doubted and assess(repository, manifest) is not None
                described = _described(manifest, stored)
                yield msgspec.structs.replace(described, damaged=lacks_data)
            elif isinstance(manifest, NotFound):
                survey.listed.discard(guid)  # deleted since the listing
            else:
                survey.unreadable.append(guid)
                yield from _known(guid, stored, is_here=True)


def _lost(repository: Repository, stored: StoredCatalogue, survey: Survey) -> Iterator[FoundBackup]:
    """The backups that an extract names, which have no manifest and were not deleted on purpose."""
    for guid in sorted(_without_list(repository, stored, survey)):
        yield from _known(guid, stored, is_here=False)


def _without_list(repository: Repository, stored: StoredCatalogue, survey: Survey) -> set[str]:
    named = {item.guid for item in stored.items("backup") if is_guid(item.guid)}
    return named - survey.listed - repository.rolls.tombstones()


def _unlisted(repository: Repository, stored: StoredCatalogue, survey: Survey) -> set[str]:
    """The backups that an extract names and that exist, although no listing shows them yet."""
    return {
        guid for guid in _without_list(repository, stored, survey) if _is_there(repository, guid)
    }


def _known(guid: str, stored: StoredCatalogue, *, is_here: bool) -> Iterator[FoundBackup]:
    """A backup without a readable manifest, if an extract knows its entity."""
    facts = dict(stored.facts("backup", guid))
    entity = str(facts.get("entity", ""))
    if not is_guid(entity):
        return
    about = dict(stored.facts("entity", entity))
    created = facts.get("created")
    yield FoundBackup(
        guid=guid,
        entity=entity,
        name=_printable(str(about.get("name") or entity)),
        snapshotTime=created if isinstance(created, int) else 0,
        facts=facts,
        about=about,
        isHere=is_here,
        damaged=is_here,
    )


def _described(manifest: Manifest, stored: StoredCatalogue) -> FoundBackup:
    entity = manifest.entity
    if not is_guid(entity):  # another program's manifest
        entity = str(uuid.uuid5(uuid.UUID(manifest.backup), entity))
    disks = [
        FoundDisk(_printable(disk.name), disk.map.size, _printable(disk.format))
        for disk in manifest.disks
    ]
    parent = manifest.parent if manifest.parent and is_guid(manifest.parent) else None
    return FoundBackup(
        guid=manifest.backup,
        entity=entity,
        name=_printable(manifest.entity_name or entity),
        type=manifest.type[:20],
        snapshotTime=max(0, manifest.snapshot_time),
        disks=disks,
        parent=parent,
        definition=_definition(manifest.definition),
        labels=manifest.labels,
        read=manifest.read,
        stored=manifest.stored,
        facts=dict(stored.facts("backup", manifest.backup)),
        about=dict(stored.facts("entity", manifest.entity)),
    )


def _definition(definition: JsonObject) -> JsonObject:
    """The definition without members that would exceed a page; a restore reads the manifest
    instead.
    """
    return {name: value for name, value in definition.items() if len(str(value)) <= _PAGE_BYTES}


def _printable(text: str) -> str:
    return text.replace("\0", "").strip()[:_NAME] or "?"
