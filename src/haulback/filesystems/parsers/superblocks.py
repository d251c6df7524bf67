"""Features that a superblock names and that matter to users, or to the choice of a reader.

Sources: ext4.h, xfs_format.h, btrfs_tree.h and f2fs_fs.h of Linux, and the LUKS on-disk formats.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

_EXT_COMPATIBLE = {0x400: "fast_commit"}
_EXT_INCOMPATIBLE = {
    0x1: "compression", 0x400: "ea_inode", 0x1000: "dirdata", 0x8000: "inline_data",
    0x10000: "encrypt", 0x20000: "casefold",
}  # fmt: skip
_EXT_READ_ONLY = {
    0x100: "quota", 0x200: "bigalloc", 0x2000: "project", 0x4000: "shared_blocks",
    0x8000: "verity",
}  # fmt: skip
_XFS_INCOMPATIBLE = {
    0x1: "ftype", 0x2: "sparse inodes", 0x4: "meta_uuid", 0x8: "bigtime", 0x10: "needsrepair",
    0x20: "nrext64", 0x40: "exchange", 0x80: "parent", 0x100: "metadir", 0x200: "zoned",
    0x400: "zone gaps",
}  # fmt: skip
_XFS_READ_ONLY = {0x2: "rmapbt", 0x4: "reflink"}
_XFS_USUAL = {"ftype", "sparse inodes"}
_BTRFS_INCOMPATIBLE = {
    0x4: "mixed block groups", 0x8: "LZO compression", 0x10: "zstd compression", 0x80: "RAID 5/6",
    0x800: "RAID1C3/4", 0x1000: "zoned", 0x2000: "extent tree v2", 0x4000: "raid stripe tree",
}  # fmt: skip
_BTRFS_PROFILE = {
    0x8: "RAID0", 0x10: "RAID1", 0x20: "DUP", 0x40: "RAID10", 0x80: "RAID5", 0x100: "RAID6",
    0x200: "RAID1C3", 0x400: "RAID1C4",
}  # fmt: skip
_F2FS = {0x1: "encrypt", 0x400: "verity", 0x1000: "casefold", 0x2000: "compression"}
BTRFS: Final = 0x10000  # offset of the superblock
_LUKS2_CIPHER = re.compile(rb'"encryption":"([a-z0-9:-]{3,60})"')


class Superblock(NamedTuple):
    """Facts of a superblock: features by name, and the size in bytes of the file system (0 if
    unknown).
    """

    features: tuple[str, ...] = ()
    size: int = 0
    label: str = ""
    uuid: str = ""


def named(bits: int, names: Mapping[int, str]) -> tuple[str, ...]:
    """Names of the bits that have a name."""
    return tuple(name for bit, name in names.items() if bits & bit)


def all_named(bits: int, names: Mapping[int, str]) -> str:
    """All bits in a sentence, by name where the name is known."""
    rest = bits & ~sum(names)
    return ", ".join((*named(bits, names), *([f"{rest:#x}"] if rest else [])))


def ext_refused(bits: int) -> str:
    """Incompatible features of ext that are not read, by name."""
    return all_named(bits, _EXT_INCOMPATIBLE)


def xfs_refused(bits: int) -> str:
    """Incompatible features of XFS that are not read, by name."""
    return all_named(bits, _XFS_INCOMPATIBLE)


def ext(raw: bytes) -> Superblock:
    """Facts of an ext superblock of 1024 bytes."""
    (low, shift) = struct.unpack_from("<I16xI", raw, 4)
    compatible, incompatible, read_only = struct.unpack_from("<III", raw, 92)
    high = struct.unpack_from("<I", raw, 336)[0] if incompatible & 0x80 else 0
    features = (
        *named(compatible, _EXT_COMPATIBLE),
        *named(incompatible, _EXT_INCOMPATIBLE),
        *named(read_only, _EXT_READ_ONLY),
    )
    return Superblock(features, (low | high << 32) * 1024 << min(shift, 6))


def xfs(raw: bytes) -> Superblock:
    """Facts of an XFS superblock."""
    size, blocks, realtime = struct.unpack_from(">IQQ", raw, 4)
    features: tuple[str, ...] = ("realtime",) if realtime else ()
    if raw[101] & 0xF == 5:
        read_only, incompatible = struct.unpack_from(">II", raw, 212)
        features += named(read_only, _XFS_READ_ONLY) + named(incompatible, _XFS_INCOMPATIBLE)
    return Superblock(tuple(name for name in features if name not in _XFS_USUAL), size * blocks)


def btrfs(raw: bytes) -> Superblock:
    """Facts of a btrfs superblock; the profile is that of the system chunks."""
    devices, incompatible = struct.unpack_from("<Q44xQ", raw, 0x88)
    (profile,) = struct.unpack_from("<Q", raw, 0x32B + 17 + 24)
    features = named(incompatible, _BTRFS_INCOMPATIBLE) + named(profile, _BTRFS_PROFILE)
    if devices > 1:
        features += (f"{devices} devices",)
    return Superblock(features, 0, _text(raw[0x12B:0x22B]), _uuid(raw[0x20:0x30]))


def f2fs(raw: bytes) -> Superblock:
    """Facts of an F2FS superblock."""
    (feature,) = struct.unpack_from("<I", raw, 2180)
    return Superblock(named(feature, _F2FS), uuid=_uuid(raw[108:124]))


def luks(head: bytes) -> Superblock:
    """Facts of a LUKS header: version and cipher."""
    (version,) = struct.unpack_from(">H", head, 6)
    features: tuple[str, ...] = (f"LUKS{version}",)
    if version == 1:
        features += (f"{_text(head[8:40])}-{_text(head[40:72])}",)
    elif found := _LUKS2_CIPHER.search(head, 4096, 32768):
        features += (found[1].decode(),)
    return Superblock(features, 0, _text(head[24:72]) if version == 2 else "", _text(head[168:208]))


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
