"""Detection of the contents of a disk, a partition or a logical volume."""

from __future__ import annotations

import codecs
import struct
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

from haulback.filesystems.parsers import superblocks
from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.superblocks import Superblock
from haulback.units import KIB

_decode = codecs.getdecoder("cp850")  # imported now, because the sandbox cannot open files
_HEAD = 68 * KIB  # bytes read for detection; the farthest mark (UFS2) is at 64 KiB + 1372
_SECTOR = 512


class Detected(NamedTuple):
    """Detected contents; `reason` says why they cannot be read, or is a warning.

    `features` are those that the superblock names; `size` is the size in bytes that the superblock
    states, 0 if unknown.
    """

    type: str
    label: str = ""
    uuid: str = ""
    reason: str = ""
    readable: bool = True
    features: tuple[str, ...] = ()
    size: int = 0


def detect(blocks: Blocks) -> Detected | None:
    """Detect the contents by their first bytes; None for unknown contents."""
    head = blocks.read(0, min(_HEAD, blocks.size)).ljust(_HEAD, b"\0")
    return (
        _marked(head, _MARKS)
        or _microsoft(head)
        or _xfs(head)
        or _ext(head)
        or _marked(head, _WEAK_MARKS)
    )


def is_boot_sector(head: bytes) -> bool:
    """Whether a sector is the boot sector of a Microsoft file system, not a partition table."""
    return head[3:11] in _BOOTS or _microsoft(head.ljust(_HEAD, b"\0")) is not None


_NO_READER = "Haulback cannot read {}; mount the disk to read its files"
_ENCRYPTED = "it is encrypted"
_NO_FILES = "the volume holds no files"
_PART = "the volume is a part of a {}, which Haulback does not assemble"
_FAT_NAMES = (b"FAT12", b"FAT16", b"FAT32", b"MSDOS", b"MSWIN")
_BOOTS = (b"-FVE-FS-", b"ReFS\0\0\0\0")
# BitLocker To Go: the first sector looks like FAT32, with this identifier.
_TO_GO = bytes.fromhex("3bd66749292ed84a8399f6a339e3d001")
_MARKS = (
    (0, b"LUKS\xba\xbe", "luks", _ENCRYPTED),
    (3, b"-FVE-FS-", "bitlocker", _ENCRYPTED),
    (424, _TO_GO, "bitlocker", _ENCRYPTED),
    (3, b"ReFS\0\0\0\0", "refs", _NO_READER),
    (superblocks.BTRFS + 64, b"_BHRfS_M", "btrfs", _NO_READER),
    (0, b"hsqs", "squashfs", _NO_READER),
    (32769, b"CD001", "iso9660", _NO_READER),
    (32769, b"BEA01", "udf", _NO_READER),
    (4120, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef"), "bcachefs", _NO_READER),
    (4120, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81"), "bcache", _PART),
    (32, b"NXSB", "apfs", _NO_READER),
    (32768, b"JFS1", "jfs", _NO_READER),
    (65588, b"ReIsEr", "reiserfs", _NO_READER),
    (65536, b"ReIsEr4", "reiser4", _NO_READER),
    (8192, b"OCFSV2", "ocfs2", _NO_READER),
    (65536, b"\x01\x16\x19\x70", "gfs2", _NO_READER),
    (4086, b"SWAPSPACE2", "swap", _NO_FILES),
    (65526, b"SWAPSPACE2", "swap", _NO_FILES),
    (4086, b"S1SUSPEND\0", "swap", _NO_FILES),
    (0, b"\xfc\x4e\x2b\xa9", "linux_raid", _PART),
    (4096, b"\xfc\x4e\x2b\xa9", "linux_raid", _PART),
    (0, b"dmvdo001", "vdo", _PART),
    (516, b"!Stra0tis\x86\xff\x02^\x41rh", "stratis", _PART),
    (4096, b"SPACEDB ", "storage_spaces", _PART),
    (0, b"integrt\0", "dm_integrity", _PART),
    (
        0,
        b"SnAp\1\0\0\0",
        "snapshot_cow",
        "the volume holds the changes of a snapshot, and no files",
    ),
    (16404, b"\0\0\0\x07version\0", "zfs", _NO_READER),
    (0, b"bluestore block device", "ceph_bluestore", _PART),
    (0, b"-rom1fs-", "romfs", _NO_READER),
    (16, b"Compressed ROMFS", "cramfs", _NO_READER),
    (0, b"verity\0\0", "dm_verity", "the volume holds hashes of another volume, and no files"),
)
# Marks of few bytes, which fields of the formats above could equal.
_WEAK_MARKS = (
    (1024, b"\x10\x20\xf5\xf2", "f2fs", _NO_READER),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs", _NO_READER),
    (1024, b"H+\0\x04", "hfsplus", _NO_READER),
    (1024, b"HX\0\x05", "hfsplus", _NO_READER),
    (1024, b"BD\0", "hfs", _NO_READER),
    (1030, b"\x34\x34", "nilfs2", _NO_READER),
    (66908, b"\x19\x01\x54\x19", "ufs", _NO_READER),
    (9564, b"\x54\x19\x01\x00", "ufs", _NO_READER),
)
_NAMES = {"linux_raid": "software RAID", "storage_spaces": "Storage Spaces pool",
          "ceph_bluestore": "Ceph BlueStore"}  # fmt: skip
_FACTS: dict[str, Callable[[bytes], Superblock]] = {
    "btrfs": lambda head: superblocks.btrfs(head[superblocks.BTRFS :]),
    "f2fs": lambda head: superblocks.f2fs(head[1024:4096]),
    "luks": superblocks.luks,
}


def _marked(head: bytes, marks: Sequence[tuple[int, bytes, str, str]]) -> Detected | None:
    for at, mark, type_, reason in marks:
        if head.startswith(mark, at):
            facts = _FACTS[type_](head) if type_ in _FACTS else Superblock()
            reason = reason.format(_NAMES.get(type_, type_))
            if facts.features:
                reason = f"{reason} ({', '.join(facts.features)})"
            return Detected(
                type_, facts.label, facts.uuid, reason, readable=False, features=facts.features
            )
    return None


def _microsoft(head: bytes) -> Detected | None:
    name = head[3:11]
    if name == b"NTFS    ":
        sector, per_cluster, sectors = struct.unpack_from("<HB26xQ", head, 11)
        cluster = sector * (per_cluster if per_cluster <= 0x80 else 1 << 256 - per_cluster)
        large = (f"clusters of {cluster // KIB} KiB",) if cluster > 64 * KIB else ()
        serial = head[72:80][::-1].hex().upper()
        return Detected("ntfs", uuid=serial, features=large, size=sector * sectors)
    if name == b"EXFAT   ":
        (sectors,) = struct.unpack_from("<Q", head, 72)
        return Detected("exfat", uuid=_serial(head[100:104]), size=sectors << min(head[108], 12))
    return _fat(head)


def _fat(head: bytes) -> Detected | None:
    """Detect FAT, which has no magic number, by the consistency of its fields."""
    sector, cluster, reserved, tables, root, small = struct.unpack_from("<HBHBHH", head, 11)
    short, big, long = struct.unpack_from("<H8xII", head, 22)
    total, table = small or big, short or long
    # Linux requires neither mark; some devices, and Atari computers, write only the name of the
    # type.
    marked = head[510:512] == b"\x55\xaa" and head[0] in (0xE9, 0xEB)
    marked = marked or head[54:59] in _FAT_NAMES or head[82:87] in _FAT_NAMES
    sound = (
        marked
        and (head[21] == 0xF0 or head[21] >= 0xF8)
        and sector in (512, 1024, 2048, 4096)
        and cluster.bit_count() == 1
    )
    if not (sound and reserved and 1 <= tables <= 4 and total and table):
        return None
    data = total - reserved - tables * table - -(-root * 32 // sector)
    clusters = data // cluster
    type_ = "fat32" if not short else "fat12" if clusters < 4085 else "fat16"
    at = 67 if type_ == "fat32" else 39
    label = _decode(head[at + 4 : at + 15].rstrip(), "replace")[0]
    label = "" if label == "NO NAME" else label
    return Detected(type_, label, _serial(head[at : at + 4]), size=total * sector)


def _xfs(head: bytes) -> Detected | None:
    if not head.startswith(b"XFSB"):
        return None
    facts = superblocks.xfs(head[:_SECTOR])
    serial = str(uuid.UUID(bytes=head[32:48]))
    return Detected("xfs", _label(head[108:120]), serial, features=facts.features, size=facts.size)


def _ext(head: bytes) -> Detected | None:
    raw = head[1024:2048]
    if raw[56:58] != b"\x53\xef":
        return None
    compatible, incompatible, read_only = struct.unpack_from("<III", raw, 92)
    if incompatible & 8:
        return Detected(
            "jbd",
            reason="the volume is the external journal of another file system",
            readable=False,
        )
    newer = incompatible & ~0x16 or read_only & ~0x7
    type_ = "ext4" if newer else "ext3" if compatible & 4 else "ext2"
    facts = superblocks.ext(raw)
    reason = ""
    if incompatible & 4 and not any(raw[224:228]):
        reason = "the journal is on another device: the latest changes are missing"
    elif incompatible & 4 and "fast_commit" in facts.features:
        reason = "the latest changes may be missing, because fast commits are not replayed"
    serial = str(uuid.UUID(bytes=raw[104:120]))
    return Detected(
        type_, _label(raw[120:136]), serial, reason, features=facts.features, size=facts.size
    )


def _label(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def _serial(raw: bytes) -> str:
    return f"{raw[3]:02X}{raw[2]:02X}-{raw[1]:02X}{raw[0]:02X}"
