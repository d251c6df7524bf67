"""Detection of the contents of a disk, a partition or a logical volume."""

from __future__ import annotations

import codecs
import struct
import uuid
from typing import NamedTuple

from haulback.filesystems.parsers.blocks import Blocks
from haulback.units import KIB

_decode = codecs.getdecoder("cp850")  # loaded now: the confined process cannot open files
_HEAD = 68 * KIB  # bytes read for detection; the farthest mark (btrfs) is at 64 KiB + 64
_SECTOR = 512


class Detected(NamedTuple):
    """Detected contents; `reason` says why they cannot be read, or is a caution."""

    type: str
    label: str = ""
    uuid: str = ""
    reason: str = ""
    readable: bool = True


def detect(blocks: Blocks) -> Detected | None:
    """Detect the contents by their first bytes; None for unknown contents."""
    head = blocks.read(0, min(_HEAD, blocks.size)).ljust(_HEAD, b"\0")
    for look in (_marked, _microsoft, _xfs, _ext):
        if found := look(head):
            return found
    return None


def is_boot_sector(head: bytes) -> bool:
    """Whether a sector is the boot sector of a Microsoft file system, not a partition table."""
    return _microsoft(head.ljust(_HEAD, b"\0")) is not None


_NO_READER = "the file system has no reader here; mount the disk to read its files"
_ENCRYPTED = "it is encrypted"
_MARKS = (
    (0, b"LUKS\xba\xbe", "luks", _ENCRYPTED),
    (3, b"-FVE-FS-", "bitlocker", _ENCRYPTED),
    (3, b"ReFS\0\0\0\0", "refs", _NO_READER),
    (0x10040, b"_BHRfS_M", "btrfs", _NO_READER),
    (1024, b"\x10\x20\xf5\xf2", "f2fs", _NO_READER),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs", _NO_READER),
    (0, b"hsqs", "squashfs", _NO_READER),
    (32769, b"CD001", "iso9660", _NO_READER),
    (4086, b"SWAPSPACE2", "swap", "the volume holds no files"),
    (65526, b"SWAPSPACE2", "swap", "the volume holds no files"),
    (0, b"\xfc\x4e\x2b\xa9", "linux_raid", "software RAIDs are not assembled"),
    (4096, b"\xfc\x4e\x2b\xa9", "linux_raid", "software RAIDs are not assembled"),
)


def _marked(head: bytes) -> Detected | None:
    for at, mark, type_, reason in _MARKS:
        if head.startswith(mark, at):
            return Detected(type_, reason=reason, readable=False)
    return None


def _microsoft(head: bytes) -> Detected | None:
    name = head[3:11]
    if name == b"NTFS    ":
        return Detected("ntfs", uuid=head[72:80][::-1].hex().upper())
    if name == b"EXFAT   ":
        return Detected("exfat", uuid=_serial(head[100:104]))
    return _fat(head)


def _fat(head: bytes) -> Detected | None:
    """Detect FAT, which has no magic number, by the consistency of its fields."""
    sector, cluster, reserved, tables, root, small = struct.unpack_from("<HBHBHH", head, 11)
    short, big, long = struct.unpack_from("<H8xII", head, 22)
    total, table = small or big, short or long
    sound = head[510:512] == b"\x55\xaa" and head[0] in (0xE9, 0xEB) and head[21] >= 0xF0
    sound = sound and sector in (512, 1024, 2048, 4096) and cluster.bit_count() == 1
    if not (sound and reserved and tables in (1, 2) and total and table):
        return None
    data = total - reserved - tables * table - -(-root * 32 // sector)
    clusters = data // cluster
    type_ = "fat32" if not short else "fat12" if clusters < 4085 else "fat16"
    at = 67 if type_ == "fat32" else 39
    label = _decode(head[at + 4 : at + 15].rstrip(), "replace")[0]
    return Detected(type_, "" if label == "NO NAME" else label, _serial(head[at : at + 4]))


def _xfs(head: bytes) -> Detected | None:
    if not head.startswith(b"XFSB"):
        return None
    return Detected("xfs", _label(head[108:120]), str(uuid.UUID(bytes=head[32:48])))


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
    apart = incompatible & 4 and not any(raw[224:228])
    reason = "the journal is on another device: the latest changes are missing" if apart else ""
    return Detected(type_, _label(raw[120:136]), str(uuid.UUID(bytes=raw[104:120])), reason)


def _label(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def _serial(raw: bytes) -> str:
    return f"{raw[3]:02X}{raw[2]:02X}-{raw[1]:02X}{raw[0]:02X}"
