"""Proving that backups can be restored, in three depths; every finding names an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice

from haulback.errors import BaseGone, Damaged, HaulbackError
from haulback.repository import pack as packs
from haulback.repository.backup import Meter, unmetered
from haulback.repository.cut import SEGMENT_BYTES
from haulback.repository.group import decode
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.manifest import Manifest
from haulback.repository.pack import Entry
from haulback.repository.pages import HOLE, Ref
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository
from haulback.repository.restore import segments


class Depth(IntEnum):
    """How far to look: objects are there; maps lead to stored chunks; every byte is right."""

    OBJECTS = 1
    MAPS = 2
    DATA = 3


@dataclass
class Report:
    """What was looked at (counts, stored bytes read) and what is wrong."""

    backups: int = 0
    packs: int = 0
    groups: int = 0
    bytes: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(
    repository: Repository,
    depth: Depth,
    pool: ThreadPoolExecutor,
    meter: Meter = unmetered,
) -> Report:
    """Check the whole repository.  Damage becomes a finding, never an exception."""
    report = Report()
    try:
        index = repository.index()
    except HaulbackError as error:
        report.findings.append(error.message)
        return report
    directories = list(_packs(repository, report))
    manifests = list(_manifests(repository, report))
    if depth >= Depth.MAPS:
        reader = Reader(repository.destination, index, repository.keys)
        held = {entry.group: set(entry.chunks) for entries in directories for entry in entries}
        for manifest in manifests:
            _check_maps(manifest, reader, index, held, report)
    if depth >= Depth.DATA:
        for entries in directories:
            _check_data(repository, entries, pool, report, meter)
    _check_index(index, directories, report)
    return report


def check_backup(repository: Repository, backup: str, meter: Meter = unmetered) -> None:
    """Whether everything a restore of `backup` needs is stored, without reading its data.

    `meter` is told the bytes of disk covered.  Raises NotFound, BaseGone or Damaged.
    """
    manifest, index = repository.manifest(backup), repository.index()
    reader = Reader(repository.destination, index, repository.keys)
    sizes = {item.name: item.size for item in repository.destination.list("packs")}
    for disk in manifest.disks:
        for number, pieces in segments(disk.map, reader):
            for _, ref in pieces:
                if ref != HOLE:
                    _check_place(index, ref, sizes)
            meter(min(SEGMENT_BYTES, disk.map.size - number * SEGMENT_BYTES))


def _check_place(index: Index, ref: Ref, sizes: Mapping[str, int]) -> None:
    """The group that the map names, or, after a clean-up, the one that holds the chunk now."""
    if _is_whole(index, ref.group, sizes):
        return
    group = index.find([ref.id])[0]
    if group is None:
        raise BaseGone(f"chunk {ref.id.hex()} is in no index segment", chunk=ref.id.hex())
    if not _is_whole(index, group, sizes):
        raise Damaged(f"the pack of group {group.hex()} is missing or too short")


def _is_whole(index: Index, group: bytes, sizes: Mapping[str, int]) -> bool:
    """Whether a group lies somewhere in a pack that is there and long enough."""
    return any(
        p.offset + p.length <= sizes.get(packs.name_of(p.pack), -1) for p in index.places(group)
    )


def _packs(repository: Repository, report: Report) -> Iterator[list[Entry]]:
    for item in repository.destination.list("packs"):
        report.packs += 1
        try:
            pack = bytes.fromhex(item.name.rpartition("/")[2])
            yield packs.read_directory(repository.destination, pack, repository.keys)
        except (HaulbackError, ValueError) as error:
            report.findings.append(f"{item.name}: {error}")


def _manifests(repository: Repository, report: Report) -> Iterator[Manifest]:
    for item in repository.destination.list("manifests"):
        report.backups += 1
        try:
            yield repository.manifest(item.name.rpartition("/")[2])
        except HaulbackError as error:
            report.findings.append(f"{item.name}: {error.message}")


def _check_maps(
    manifest: Manifest,
    reader: Reader,
    index: Index,
    held: Mapping[bytes, set[bytes]],
    report: Report,
) -> None:
    for disk in manifest.disks:
        try:
            for _, pieces in segments(disk.map, reader):
                for _, ref in pieces:
                    if ref != HOLE and not _is_held(ref, index, held):
                        raise HaulbackError(f"chunk {ref.id.hex()} is not stored")
        except HaulbackError as error:
            report.findings.append(f"backup {manifest.backup}, {disk.name}: {error.message}")


def _is_held(ref: Ref, index: Index, held: Mapping[bytes, set[bytes]]) -> bool:
    """Whether the index leads to a group with the chunk: the one named, or another."""
    if ref.id in held.get(ref.group, ()) and index.place(ref.group):
        return True
    return ref.id in held.get(index.find([ref.id])[0] or b"", ())


def _check_data(
    repository: Repository,
    entries: list[Entry],
    pool: ThreadPoolExecutor,
    report: Report,
    meter: Callable[[int], None],
) -> None:
    """Read, authenticate, decompress and re-hash groups, a few at a time."""
    todo = iter(entries)
    while batch := list(islice(todo, 8)):
        records = [_load(repository, entry) for entry in batch]
        checks = pool.map(_check_group, batch, records, [repository.keys] * len(batch))
        for entry, finding in zip(batch, checks, strict=True):
            report.groups += 1
            report.bytes += entry.place.length
            meter(entry.place.length)
            report.findings.extend(finding)


def _load(repository: Repository, entry: Entry) -> bytes:
    place = entry.place
    try:
        return repository.destination.load(packs.name_of(place.pack), place.offset, place.length)
    except HaulbackError:
        return b""


def _check_group(entry: Entry, record: bytes, keys: Keys) -> list[str]:
    name = packs.name_of(entry.place.pack)
    try:
        group = decode(record, entry.group, keys)
    except HaulbackError as error:
        return [f"{name}: {error.message}"]
    if list(group.places) != entry.chunks:
        return [f"{name}: group {entry.group.hex()} differs from the pack's directory"]
    bad = [chunk for chunk in entry.chunks if keys.chunk_id(group.chunk(chunk)) != chunk]
    return [f"{name}: chunk {chunk.hex()} is not what was stored" for chunk in bad]


def _check_index(index: Index, directories: Iterable[list[Entry]], report: Report) -> None:
    """Every group of the index lies in a pack, where the index says."""
    places = {(entry.group, entry.place) for entries in directories for entry in entries}
    for segment in index.segments:
        for group, place in segment.groups():
            if (group, place) not in places:
                report.findings.append(f"the index places group {group.hex()} wrongly")
