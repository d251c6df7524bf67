"""LVM2: physical volumes are combined to volume groups, which contain logical volumes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.parsers.blocks import BlockRange, Blocks, Span, Stripes
from haulback.filesystems.parsers.lvm_text import parse
from haulback.units import MIB
from haulback.wire import JsonObject

_SECTOR = 512
_MAGIC = b" LVM2 x[5A%r0N*>"
_MOST_TEXT = 16 * MIB  # metadata of a large volume group takes a few MiB


class Physical(NamedTuple):
    """A physical volume; `id` without dashes, `text` is its metadata (may be empty)."""

    id: str
    blocks: Blocks
    disk: str
    text: bytes


class Logical(NamedTuple):
    """A logical volume; `blocks`, or the `reason` why it cannot be read."""

    name: str
    uuid: str
    size: int
    disks: tuple[str, ...]
    blocks: Blocks | None
    reason: str = ""


def physical(blocks: Blocks, disk: str) -> Physical | None:
    """The physical volume in `blocks`; None for other contents."""
    head = blocks.read(0, min(4 * _SECTOR, blocks.size))
    for at in range(0, len(head), _SECTOR):
        if head.startswith(b"LABELONE", at) and head.startswith(b"LVM2 001", at + 24):
            start = at + int.from_bytes(head[at + 20 : at + 24], "little")
            return _physical(blocks, disk, blocks.read(start, min(4096, blocks.size - start)))
    return None


def groups(physicals: Iterable[Physical]) -> Iterator[Logical]:
    """Visible logical volumes of all volume groups.

    Of several copies of a group's metadata the one with the highest sequence number is used.
    """
    volumes = list(physicals)
    newest: dict[str, tuple[str, JsonObject]] = {}
    for volume in volumes:
        for name, group in parse(volume.text).items() if volume.text else ():
            if isinstance(group, dict) and "extent_size" in group:
                known = newest.get(group["id"])
                if not known or known[1]["seqno"] < group["seqno"]:
                    newest[group["id"]] = name, group
    for name, group in newest.values():
        yield from _logical(name, group, {volume.id: volume for volume in volumes})


def _physical(blocks: Blocks, disk: str, header: bytes) -> Physical:
    areas = [struct.unpack_from("<QQ", header, at) for at in range(40, len(header) - 15, 16)]
    data = areas.index((0, 0))
    metadata = areas[data + 1 : areas.index((0, 0), data + 1)]
    texts = [_text(blocks, offset) for offset, _ in metadata]
    return Physical(header[:32].decode("ascii"), blocks, disk, max(texts, key=len, default=b""))


def _text(blocks: Blocks, start: int) -> bytes:
    """Current metadata in a metadata area, a ring buffer after a header of 512 bytes."""
    header = blocks.read(start, _SECTOR)
    size, offset, length = struct.unpack_from("<8xQQQ", header, 24)
    if header[4:20] != _MAGIC or not 0 < length <= min(size, _MOST_TEXT) or not offset < size:
        return b""
    straight = min(length, size - offset)
    text = blocks.read(start + offset, straight)
    text += blocks.read(start + _SECTOR, length - straight)
    return text.rstrip(b"\0")


def _logical(name: str, group: JsonObject, known: dict[str, Physical]) -> Iterator[Logical]:
    extent = group["extent_size"] * _SECTOR
    places = {
        key: (known.get(item["id"].replace("-", "")), item["pe_start"] * _SECTOR)
        for key, item in group["physical_volumes"].items()
    }
    for key, item in group.get("logical_volumes", {}).items():
        if "VISIBLE" not in item["status"]:
            continue
        segments = [item[f"segment{number + 1}"] for number in range(item["segment_count"])]
        size = sum(segment["extent_count"] for segment in segments) * extent
        blocks, reason = None, ""
        try:
            blocks = _joined(segments, extent, places)
        except Unsupported as error:
            reason = error.message
        disks = _disks(segments, places)
        yield Logical(f"{name}/{key}", item["id"], size, disks, blocks, reason)


def _joined(
    segments: list[JsonObject],
    extent: int,
    places: dict[str, tuple[Physical | None, int]],
) -> Blocks:
    parts = []
    for segment in segments:
        if segment["type"] != "striped":
            raise Unsupported(f"logical volumes of type {segment['type']} cannot be read")
        each = segment["extent_count"] * extent // segment["stripe_count"]
        columns = []
        for key, first in _stripes(segment):
            item, start = places[key]
            if item is None:
                raise Unsupported(f"a part of it is on {key}, which is not among the disks")
            columns.append(BlockRange(item.blocks, start + first * extent, each))
        if len(columns) == 1:
            parts.append(columns[0])
        else:
            striped = Stripes(columns, segment["stripe_size"] * _SECTOR)
            parts.append(BlockRange(striped, 0, striped.size))
    return Span(parts)


def _stripes(segment: JsonObject) -> list[tuple[str, int]]:
    flat = segment["stripes"]
    if len(flat) != 2 * segment["stripe_count"] or not flat:
        raise ValueError("LVM metadata lacks stripes")
    return list(zip(flat[::2], flat[1::2], strict=True))


def _disks(
    segments: list[JsonObject], places: dict[str, tuple[Physical | None, int]]
) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for segment in segments:
        for key in segment.get("stripes", ())[::2]:
            if one := places[key][0]:
                names[one.disk] = None
    return tuple(names)
