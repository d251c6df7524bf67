"""LVM2: physical volumes are combined to volume groups, which contain logical volumes."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.parsers.blocks import BlockRange, Blocks, Span, Stripes, TruncatedBlocks
from haulback.filesystems.parsers.filesystem import DAMAGE
from haulback.filesystems.parsers.lvm_text import Section, parse
from haulback.units import MIB

_SECTOR = 512
_MAGIC = b" LVM2 x[5A%r0N*>"
_MOST_TEXT = 16 * MIB  # metadata of a large volume group takes a few MiB
_MOST_SIZE = 1 << 62  # bytes of a logical volume
_DAMAGE = (*DAMAGE, TypeError, AttributeError)  # a number may stand where a text is expected


class Physical(NamedTuple):
    """A physical volume; `id` without dashes, `text` is its metadata (may be empty)."""

    id: str
    blocks: Blocks
    disk: str
    text: bytes


class Logical(NamedTuple):
    """A logical volume; without `blocks` the `reason` says why it cannot be read, otherwise it is a
    warning.
    """

    name: str
    uuid: str
    size: int
    disks: tuple[str, ...]
    blocks: Blocks | None
    reason: str = ""


class _Metadata(NamedTuple):
    """Metadata of a volume group, as a physical volume holds it."""

    name: str
    group: Section
    text: bytes

    @property
    def parts(self) -> dict[str, str]:
        """Keys of the group's physical volumes by their ids, without dashes."""
        listed = self.group["physical_volumes"].items()
        return {str(item["id"]).replace("-", ""): key for key, item in listed}


Unknown = tuple[Physical, Exception | None]


def physical(blocks: Blocks, disk: str) -> Physical | None:
    """The physical volume in `blocks`; None for other contents."""
    head = blocks.read(0, min(4 * _SECTOR, blocks.size))
    for at in range(0, len(head), _SECTOR):
        if head.startswith(b"LABELONE", at) and head.startswith(b"LVM2 001", at + 24):
            start = at + int.from_bytes(head[at + 20 : at + 24], "little")
            return _physical(blocks, disk, blocks.read(start, min(4096, blocks.size - start)))
    return None


def groups(physicals: Sequence[Physical]) -> tuple[list[Logical], list[Unknown]]:
    """Visible logical volumes of all volume groups, and physical volumes that belong to none.

    A physical volume that is found on two disks belongs to two copies of its group: the volumes of
    both copies are returned, under the same names. Of several states of a copy's metadata the one
    with the highest sequence number is used.
    """
    states: dict[str, dict[bytes, _Metadata]] = defaultdict(dict)
    errors: dict[int, Exception] = {}
    for number, volume in enumerate(physicals):
        try:
            for metadata in _metadata(volume.text):
                states[str(metadata.group["id"])][volume.text] = metadata
        except _DAMAGE as error:
            errors[number] = error
    result: list[Logical] = []
    taken: set[str] = set()
    for known in states.values():
        newest = sorted(known.values(), key=lambda item: item.group["seqno"], reverse=True)
        ids = {id_ for metadata in newest for id_ in metadata.parts}
        members = [volume for volume in physicals if volume.id in ids]
        try:
            for copy in _copies(members, [metadata.text for metadata in newest]):
                result += _of_copy(copy, members, newest)
            taken |= ids
        except _DAMAGE as error:
            errors |= {number: error for number, item in enumerate(physicals) if item.id in ids}
    rest = [(volume, errors.get(number)) for number, volume in enumerate(physicals)
            if volume.id not in taken]  # fmt: skip
    return result, rest


def _metadata(text: bytes) -> Iterator[_Metadata]:
    for name, group in parse(text).items() if text else ():
        if isinstance(group, dict) and "extent_size" in group:
            found = _Metadata(name, group, text)
            if found.parts and isinstance(group["seqno"], int):
                yield found


def _copies(members: Iterable[Physical], texts: Sequence[bytes]) -> list[list[Physical]]:
    """Physical volumes of each copy of a group.

    Volumes with the same metadata belong together; among copies with the same metadata the order
    of the disks decides. Volumes with other metadata, or none, complete a copy that lacks them.
    """
    alike: dict[tuple[int, int], list[Physical]] = defaultdict(list)
    counts: dict[tuple[bytes, str], int] = defaultdict(int)
    ranks = {text: rank for rank, text in enumerate(texts)}
    for volume in members:
        number = counts[volume.text, volume.id]
        counts[volume.text, volume.id] += 1
        alike[ranks.get(volume.text, len(ranks)), number].append(volume)
    result: list[list[Physical]] = []
    for _, group in sorted(alike.items(), key=lambda item: item[0]):
        ids = {volume.id for volume in group}
        for copy in result:
            if ids.isdisjoint(volume.id for volume in copy):
                copy += group
                break
        else:
            result.append(group)
    return result


def _of_copy(
    copy: Sequence[Physical], members: Sequence[Physical], newest: Sequence[_Metadata]
) -> Iterator[Logical]:
    """Logical volumes of a copy of a group; a part that only another copy has is read from that
    copy, with a warning.
    """
    texts = {volume.text for volume in copy}
    metadata = next((item for item in newest if item.text in texts), newest[0])
    own = {volume.id: volume for volume in copy}
    known = {volume.id: volume for volume in members[::-1]} | own
    for volume in _logical(metadata.name, metadata.group, known):
        lent = sorted(key for id_, key in metadata.parts.items()
                      if id_ in known and id_ not in own and key in volume.keys)  # fmt: skip
        reason = volume.logical.reason
        if lent and volume.logical.blocks:
            shared = (
                f"several copies of the volume group share {', '.join(lent)}, which the disks "
                "hold only once"
            )
            reason = "; ".join(filter(None, (reason, shared)))
        yield volume.logical._replace(reason=reason)


def _physical(blocks: Blocks, disk: str, header: bytes) -> Physical:
    areas = [struct.unpack_from("<QQ", header, at) for at in range(40, len(header) - 15, 16)]
    data = areas.index((0, 0))
    metadata = areas[data + 1 : areas.index((0, 0), data + 1)]
    texts = [_text(blocks, offset) for offset, _ in metadata]
    return Physical(header[:32].decode("ascii"), blocks, disk, max(texts, key=len, default=b""))


def _text(blocks: Blocks, start: int) -> bytes:
    """Current metadata in a metadata area, a ring buffer after a header of 512 bytes.

    Empty if the area cannot be read: other areas may hold the metadata.
    """
    try:
        header = blocks.read(start, _SECTOR)
        size, offset, length = struct.unpack_from("<8xQQQ", header, 24)
        if header[4:20] != _MAGIC or not 0 < length <= min(size, _MOST_TEXT) or not offset < size:
            return b""
        straight = min(length, size - offset)
        text = blocks.read(start + offset, straight)
        text += blocks.read(start + _SECTOR, length - straight)
    except _DAMAGE:
        return b""
    return text.rstrip(b"\0")


class _Listed(NamedTuple):
    """A logical volume, and the keys of the physical volumes that hold it."""

    logical: Logical
    keys: frozenset[str]


def _logical(name: str, group: Section, known: dict[str, Physical]) -> Iterator[_Listed]:
    extent = group["extent_size"] * _SECTOR
    places = {
        key: (known.get(item["id"].replace("-", "")), item["pe_start"] * _SECTOR)
        for key, item in group["physical_volumes"].items()
    }
    origins = _snapshots(group)
    for key, item in group.get("logical_volumes", {}).items():
        if "VISIBLE" not in item["status"]:
            continue
        segments = [item[f"segment{number + 1}"] for number in range(item["segment_count"])]
        size = sum(segment["extent_count"] for segment in segments) * extent
        if not 0 <= size <= _MOST_SIZE:
            raise ValueError(f"a logical volume has an impossible size of {size} bytes")
        blocks, reason = None, ""
        try:
            if key in origins:
                raise Unsupported(
                    f"a snapshot of {name}/{origins[key]}: it holds changes only, in a format that"
                    " cannot be read"
                )
            blocks, reason = _joined(segments, extent, places)
        except Unsupported as error:
            reason = error.message
        disks, keys = _disks(segments, places)
        yield _Listed(Logical(f"{name}/{key}", str(item["id"]), size, disks, blocks, reason), keys)


def _snapshots(group: Section) -> dict[str, str]:
    """Origins of the snapshots of a group, by the names of the volumes that hold the changes."""
    segments = (item.get("segment1", {}) for item in group.get("logical_volumes", {}).values())
    return {
        str(segment.get("cow_store") or segment.get("merging_store")): str(segment.get("origin"))
        for segment in segments
        if segment.get("type") == "snapshot"
    }


def _joined(
    segments: list[Section],
    extent: int,
    places: dict[str, tuple[Physical | None, int]],
) -> tuple[Blocks, str]:
    """Blocks of a logical volume, and a warning if a part of them is missing."""
    parts, cut = [], dict[str, None]()
    for segment in segments:
        if segment["type"] != "striped":
            raise Unsupported(f"logical volumes of type {segment['type']} cannot be read")
        each = segment["extent_count"] * extent // segment["stripe_count"]
        columns = []
        for key, first in _stripes(segment):
            item, start = places[key]
            if item is None:
                raise Unsupported(f"a part of the volume is on {key}, which is not among the disks")
            low = start + first * extent
            if low + each > item.blocks.size:
                cut[f"a part of the volume lies past the end of {item.disk}"] = None
            whole = TruncatedBlocks(item.blocks, max(item.blocks.size, low + each))
            columns.append(BlockRange(whole, low, each))
        if len(columns) == 1:
            parts.append(columns[0])
        else:
            striped = Stripes(columns, segment["stripe_size"] * _SECTOR)
            parts.append(BlockRange(striped, 0, striped.size))
    return Span(parts), "; ".join(cut)


def _stripes(segment: Section) -> list[tuple[str, int]]:
    flat = segment["stripes"]
    if len(flat) != 2 * segment["stripe_count"] or not flat:
        raise ValueError("LVM metadata lacks stripes")
    return list(zip(flat[::2], flat[1::2], strict=True))


def _disks(
    segments: list[Section], places: dict[str, tuple[Physical | None, int]]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of the disks that hold the segments, and keys of their physical volumes."""
    names: dict[str, None] = {}
    keys: set[str] = set()
    for segment in segments:
        for key in segment.get("stripes", ())[::2]:
            keys.add(key)
            if item := places[key][0]:
                names[item.disk] = None
    return tuple(names), frozenset(keys)
