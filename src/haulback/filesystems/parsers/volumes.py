"""Volumes of a machine's disks: whole disks, partitions, logical volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from haulback.errors import Unsupported
from haulback.filesystems.parsers import lvm
from haulback.filesystems.parsers.blocks import BlockRange, Blocks, Span
from haulback.filesystems.parsers.detect import Detected, detect, is_boot_sector
from haulback.filesystems.parsers.exfat import ExFat
from haulback.filesystems.parsers.ext import Ext
from haulback.filesystems.parsers.fat import Fat
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.filesystem import DAMAGE, FileSystem
from haulback.filesystems.parsers.journal_state import STALE, ntfs_is_stale, xfs_is_stale
from haulback.filesystems.parsers.ntfs import Ntfs
from haulback.filesystems.parsers.partitions import partitions
from haulback.filesystems.parsers.xfs import Xfs
from haulback.filesystems.records import Volume
from haulback.texts import printable

_READERS: dict[str, Callable[[Blocks], FileSystem]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), Ext.opened),
    "exfat": ExFat,
    "ntfs": Ntfs,
    "xfs": Xfs,
}
_FATS = ("fat12", "fat16", "fat32")
_DAMAGE = (*DAMAGE, TypeError)
_MOST = 4096  # volumes of a machine


class VolumeBlocks(NamedTuple):
    """A volume and the blocks that hold it."""

    volume: Volume
    blocks: Blocks


def find(disks: Mapping[str, Blocks]) -> dict[str, VolumeBlocks]:
    """All volumes by name: the volumes of each disk in order, then logical volumes."""
    result: dict[str, VolumeBlocks] = {}
    members: list[lvm.Physical] = []
    for disk, all_of_it in disks.items():
        for name, blocks in _parts(disk, all_of_it):
            if member := _member(blocks, disk):
                members.append(member)
            elif volume := _volume(name, blocks, (disk,)):
                _add(result, volume)
    for volume in _logical(members):
        _add(result, volume)
    return result


def opened(lying: VolumeBlocks, page: CodePage) -> FileSystem:
    """Open the file system of a volume; `page` is the code page of short FAT names.

    Raises Unsupported, or the errors in DAMAGE.
    """
    if lying.volume.type in _FATS:
        return Fat(lying.blocks, page)
    return _READERS[lying.volume.type](lying.blocks)


def _parts(disk: str, blocks: Blocks) -> Iterator[tuple[str, Blocks]]:
    """Partitions of a disk, or the whole disk without partitions."""
    result = []
    try:
        if not is_boot_sector(blocks.read(0, min(512, blocks.size))):
            result = partitions(blocks)
    except _DAMAGE:
        result = []
    if not result:
        yield disk, blocks
    # Volumes have the names that Linux gives them: vda1, nvme0n1p1.
    joint = "p" if disk[-1:].isdigit() else ""
    for partition in result:
        yield (
            f"{disk}{joint}{partition.number}",
            Span([BlockRange(blocks, partition.offset, partition.length)]),
        )


def _member(blocks: Blocks, disk: str) -> lvm.Physical | None:
    try:
        return lvm.physical(blocks, disk)
    except _DAMAGE:
        return None


def _volume(name: str, blocks: Blocks, disks: tuple[str, ...]) -> VolumeBlocks | None:
    """The volume in `blocks`; None for an empty disk."""
    try:
        known = detect(blocks)
    except OSError as error:
        reason = f"the contents cannot be determined: {error}"
        known = Detected("unknown", reason=reason, readable=False)
    except _DAMAGE:
        known = None
    if known is None:
        if name in disks:
            return None
        known = Detected("unknown", reason="the contents are unknown", readable=False)
    label = known.label or _label_within(known.type, blocks)
    kept = known._replace(label=_clean(label))
    if not kept.reason and _is_stale(known.type, blocks):
        kept = kept._replace(reason=STALE)
    return VolumeBlocks(_record(name, kept, blocks.size, disks), blocks)


def _is_stale(type_: str, blocks: Blocks) -> bool:
    """Whether the latest changes may be only in a log that is not replayed."""
    try:
        if type_ == "xfs":
            return xfs_is_stale(blocks)
        return type_ == "ntfs" and ntfs_is_stale(Ntfs(blocks).log(8192))
    except _DAMAGE:
        return False


def _record(name: str, known: Detected, size: int, disks: tuple[str, ...]) -> Volume:
    type_, label, uuid, reason, readable = known
    return Volume(name, type_, size, disks, label, uuid, readable, reason)


def _label_within(type_: str, blocks: Blocks) -> str:
    """Label of a file system that stores it in its directories or records."""
    if type_ not in ("exfat", "ntfs"):
        return ""
    try:
        return (ExFat if type_ == "exfat" else Ntfs)(blocks).label
    except _DAMAGE:
        return ""


def _logical(members: list[lvm.Physical]) -> Iterator[VolumeBlocks]:
    """Logical volumes; physical volumes with damaged metadata are listed as such."""
    try:
        groups = list(lvm.groups(members))
    except _DAMAGE:
        damaged = Detected("lvm", reason="the LVM metadata is damaged", readable=False)
        for number, member in enumerate(members):
            name = f"{member.disk}-lvm{number}"
            yield VolumeBlocks(
                _record(name, damaged, member.blocks.size, (member.disk,)), member.blocks
            )
        return
    for volume in groups:
        name = _clean(volume.name)
        if volume.blocks is None:
            known = Detected("lvm", "", volume.uuid, _clean(volume.reason), readable=False)
            yield VolumeBlocks(_record(name, known, volume.size, volume.disks), Span([]))
        elif lying := _volume(name, volume.blocks, volume.disks):
            yield lying


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
