"""Volumes of a machine's disks: whole disks, partitions, logical volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from haulback.errors import Unsupported
from haulback.filesystems.parsers import lvm
from haulback.filesystems.parsers.blocks import BlockRange, Blocks, Span
from haulback.filesystems.parsers.detect import Detected, detect
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.filesystem import DAMAGE, error_text
from haulback.filesystems.parsers.partitions import Layout, Partition, layout, unread
from haulback.filesystems.parsers.probes import tried
from haulback.filesystems.records import Volume
from haulback.texts import printable
from haulback.units import MIB

_DAMAGE = (*DAMAGE, TypeError)
_MOST = 4096  # volumes of a machine
_NAMED = 4  # overlapping partitions in a sentence
_MOST_SIZE = (1 << 63) - 1  # bytes; a partition entry can claim more


class VolumeBlocks(NamedTuple):
    """A volume and the blocks that hold it."""

    volume: Volume
    blocks: Blocks


class _Part(NamedTuple):
    """A whole disk or a partition; `missing` is the number of bytes past the end of the disk.

    `caution` is a sentence about its place, possibly empty.
    """

    name: str
    disk: str
    blocks: Blocks
    missing: int = 0
    caution: str = ""

    @property
    def is_disk(self) -> bool:
        return self.name == self.disk


def find(disks: Mapping[str, Blocks], page: CodePage) -> dict[str, VolumeBlocks]:
    """All volumes by name: the volumes of each disk in order, then logical volumes."""
    result: dict[str, VolumeBlocks] = {}
    members: list[lvm.Physical] = []
    for disk, all_of_it in disks.items():
        for item in _parts(disk, all_of_it):
            if isinstance(item, VolumeBlocks):
                _add(result, item)
            elif member := _member(item):
                members.append(member)
            elif volume := _volume(item, page):
                _add(result, volume)
    for volume in _logical(members, page):
        _add(result, volume)
    return result


def _parts(disk: str, blocks: Blocks) -> Iterator[_Part | VolumeBlocks]:
    """Partitions of a disk, or the whole disk without partitions.

    A damaged partition table adds a volume that gives the reason.
    """
    try:
        table = layout(blocks, lambda offset: _is_known(blocks, offset))
    except _DAMAGE:
        table = Layout()
    if table.reason:
        known = Detected("partition table", reason=table.reason, readable=False)
        yield VolumeBlocks(_record(disk, known, blocks.size, (disk,)), Span([]))
    elif not table.partitions:
        yield _Part(disk, disk, blocks)
    # Volumes have the names that Linux gives them: vda1, nvme0n1p1.
    stem = f"{disk}p" if disk[-1:].isdigit() else disk
    overlaps = table.overlaps()
    for partition in table.partitions:
        others = [f"{stem}{number}" for number in overlaps.get(partition.number, ())]
        part = _part(f"{stem}{partition.number}", disk, blocks, partition)
        if others and isinstance(part, _Part):
            part = part._replace(caution=f"the partition overlaps {', '.join(others[:_NAMED])}")
        yield part


def _part(name: str, disk: str, blocks: Blocks, partition: Partition) -> _Part | VolumeBlocks:
    start, length = partition.offset, partition.length
    present = min(length, blocks.size - start)
    if present > 0:
        return _Part(name, disk, Span([BlockRange(blocks, start, present)]), length - present)
    reason = f"the partition begins past the end of the disk, at {start} of {blocks.size} bytes"
    known = Detected("unknown", reason=reason, readable=False)
    return VolumeBlocks(_record(name, known, length, (disk,)), Span([]))


def _is_known(blocks: Blocks, offset: int) -> bool:
    """Whether known contents begin at an offset of a disk."""
    inner = Span([BlockRange(blocks, offset, blocks.size - offset)])
    try:
        return detect(inner) is not None or lvm.physical(inner, "") is not None
    except _DAMAGE:
        return False


def _member(part: _Part) -> lvm.Physical | None:
    try:
        return lvm.physical(part.blocks, part.disk)
    except _DAMAGE:
        return None


def _volume(part: _Part, page: CodePage) -> VolumeBlocks | None:
    """The volume in a part; None for an empty disk."""
    known = _detected(part.blocks)
    if known is None:
        if part.is_disk and _is_blank(part.blocks):
            return None
        reason = unread(part.blocks) if part.is_disk else ""
        reason = reason or "the contents are unknown"
        known = Detected("unknown", reason=reason, readable=False)
    known = tried(known, part.blocks, page, part.missing)
    beyond = f"the partition reaches {part.missing} bytes past the end of the disk"
    cautions = part.caution, beyond if part.missing else "", known.reason
    known = known._replace(reason="; ".join(filter(None, cautions)))
    return VolumeBlocks(_record(part.name, known, part.blocks.size, (part.disk,)), part.blocks)


def _is_blank(blocks: Blocks) -> bool:
    """Whether the first MiB of a disk, the place of all tables and superblocks, is empty.

    A MiB that cannot be read may hold anything.
    """
    try:
        return not any(blocks.read(0, min(MIB, blocks.size)))
    except _DAMAGE:
        return False


def _detected(blocks: Blocks) -> Detected | None:
    try:
        return detect(blocks)
    except OSError as error:
        reason = f"the contents cannot be determined: {error}"
        return Detected("unknown", reason=reason, readable=False)
    except _DAMAGE:
        return None


def _record(name: str, known: Detected, size: int, disks: tuple[str, ...]) -> Volume:
    return Volume(
        name=name,
        type=known.type,
        size=min(size, _MOST_SIZE),
        disks=disks,
        label=_clean(known.label),
        uuid=_clean(known.uuid),
        readable=known.readable,
        reason=_clean(known.reason),
        features=tuple(map(_clean, known.features)),
    )


def _logical(members: list[lvm.Physical], page: CodePage) -> Iterator[VolumeBlocks]:
    """Logical volumes, and physical volumes that belong to no readable group."""
    volumes, rest = lvm.groups(members)
    for volume in volumes:
        name = _clean(volume.name)
        if volume.blocks is None:
            known = Detected("lvm", "", volume.uuid, volume.reason, readable=False)
            yield VolumeBlocks(_record(name, known, volume.size, volume.disks), Span([]))
            continue
        known = _detected(volume.blocks) or Detected(
            "unknown", reason="the contents are unknown", readable=False
        )
        known = tried(known, volume.blocks, page)
        reason = "; ".join(filter(None, (volume.reason, known.reason)))
        record = _record(name, known._replace(reason=reason), volume.size, volume.disks)
        yield VolumeBlocks(record, volume.blocks)
    for number, (member, error) in enumerate(rest):
        reason = error_text(error) if error else "the physical volume belongs to no volume group"
        known = Detected("lvm", reason=reason, readable=False)
        name = f"{member.disk}-lvm{number}"
        yield VolumeBlocks(_record(name, known, member.blocks.size, (member.disk,)), member.blocks)


def _add(found: dict[str, VolumeBlocks], one: VolumeBlocks) -> None:
    """Add a volume under a unique name; copies of a volume group have the same names."""
    name, number = one.volume.name, 2
    while name in found:
        name, number = f"{one.volume.name}~{number}", number + 1
    if len(found) >= _MOST:
        raise Unsupported(f"the disks have more than {_MOST} volumes")
    found[name] = one._replace(volume=msgspec.structs.replace(one.volume, name=name))


def _clean(label: str) -> str:
    return printable(label)[:250]
