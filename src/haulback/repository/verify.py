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
from haulback.repository.pages import HOLE
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
            _check_maps(manifest, reader, held, report)
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
                    _check_place(index, ref.group, sizes)
            meter(min(SEGMENT_BYTES, disk.map.size - number * SEGMENT_BYTES))


def _check_place(index: Index, group: bytes, sizes: Mapping[str, int]) -> None:
    place = index.place(group)
    if place is None:
        raise BaseGone(f"group {group.hex()} is in no index segment", group=group.hex())
    name = packs.name_of(place.pack)
    if place.offset + place.length > sizes.get(name, -1):
        raise Damaged(f"{name} is missing or too short", name=name)


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
    manifest: Manifest, reader: Reader, held: dict[bytes, set[bytes]], report: Report
) -> None:
    for disk in manifest.disks:
        try:
            for _, pieces in segments(disk.map, reader):
                for _, ref in pieces:
                    if ref != HOLE and ref.id not in held.get(ref.group, ()):
                        raise HaulbackError(f"chunk {ref.id.hex()} is not stored")
        except HaulbackError as error:
            report.findings.append(f"backup {manifest.backup}, {disk.name}: {error.message}")


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
    places = {entry.group: entry.place for entries in directories for entry in entries}
    for segment in index.segments:
        for group, place in segment.groups():
            if places.get(group) != place:
                report.findings.append(f"the index places group {group.hex()} wrongly")
