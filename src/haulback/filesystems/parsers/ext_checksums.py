"""Checksums of the metadata of ext4 (metadata_csum): inodes, folders, extent trees.

The kernel refuses metadata whose checksum differs. The reader reports the damage: it delivers no
contents of a file with a damaged inode, and shows the entries of a damaged folder that it can
decode.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from haulback.filesystems.parsers.checksums import START, crc32c

_CHECKED, _SEEDED = 0x400, 0x2000  # features: metadata_csum, csum_seed
_TAIL = b"\0\0\0\0\x0c\0\0\xde"  # begin of the unused entry that holds a folder's checksum


class ExtChecksums(NamedTuple):
    """The `seed` of the checksums of a volume or of an inode; None for a volume without them."""

    seed: int | None

    @classmethod
    def of(cls, superblock: bytes) -> ExtChecksums:
        """The checksums of a volume, by its superblock of 1024 bytes."""
        incompatible, read_only = struct.unpack_from("<II", superblock, 96)
        if not read_only & _CHECKED:
            return cls(None)
        if incompatible & _SEEDED:
            return cls(struct.unpack_from("<I", superblock, 0x270)[0])
        return cls(crc32c(superblock[104:120]))

    def of_inode(self, number: int, raw: bytes) -> ExtChecksums:
        """The checksums of an inode and its blocks, by its number and its bytes."""
        if self.seed is None:
            return self
        return ExtChecksums(crc32c(struct.pack("<I", number) + raw[100:104], self.seed))

    def inode_matches(self, raw: bytes) -> bool:
        """Whether the checksum in an inode is right; it has 32 bits where there is space."""
        if self.seed is None:
            return True
        stored = int.from_bytes(raw[124:126], "little")
        blank, mask = raw[:124] + b"\0\0" + raw[126:], 0xFFFF
        if len(raw) > 132 and int.from_bytes(raw[128:130], "little") >= 4:
            stored |= int.from_bytes(raw[130:132], "little") << 16
            blank, mask = blank[:130] + b"\0\0" + blank[132:], START
        return crc32c(blank, self.seed) & mask == stored

    def names_match(self, block: bytes) -> bool:
        """Whether the checksum of a folder's block is right; blocks of an index are not checked.

        The first block of an index keeps the tail of the plain block that it was before.
        """
        if self.seed is None or block[-12:-4] != _TAIL or _is_index(block):
            return True
        return crc32c(block[:-12], self.seed) == int.from_bytes(block[-4:], "little")

    def extents_match(self, node: bytes) -> bool:
        """Whether the checksum behind the entries of a block of an extent tree is right."""
        if self.seed is None:
            return True
        end = 12 + 12 * int.from_bytes(node[4:6], "little")
        return crc32c(node[:end], self.seed) == int.from_bytes(node[end : end + 4], "little")


def _is_index(block: bytes) -> bool:
    """Whether a folder's block holds hashes, behind an entry that spans the rest of the block."""
    first, second = struct.unpack_from("<IH", block), struct.unpack_from("<H", block, 16)
    whole = len(block) & 0xFFFF  # 64 KiB are stored as 0
    return first == (0, whole) or second == (whole - 12 & 0xFFFF,)
