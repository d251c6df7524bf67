"""FAT, exFAT and NTFS, read by The Sleuth Kit; the one module that knows it."""

from __future__ import annotations

import codecs
import stat
import struct
from collections.abc import Iterator
from typing import Any

import pytsk3

from haulback.errors import Unsupported
from haulback.filesystems.reading.blocks import Blocks
from haulback.filesystems.reading.filesystem import Status
from haulback.filesystems.records import MOST_BYTES, Piece

_ALLOCATED = int(pytsk3.TSK_FS_NAME_FLAG_ALLOC)
_TYPES = {
    int(pytsk3.TSK_FS_META_TYPE_REG): stat.S_IFREG,
    int(pytsk3.TSK_FS_META_TYPE_DIR): stat.S_IFDIR,
    int(pytsk3.TSK_FS_META_TYPE_LNK): stat.S_IFLNK,
}
_NTFS_OWN = 16  # the first records of an NTFS describe itself
_NTFS_LOG = 2
_NTFS_VOLUME, _NTFS_NAME, _NTFS_REPARSE = 3, 96, 192
_SYMLINK, _JUNCTION, _UNIX_LINK = 0xA000000C, 0xA0000003, 0xA000001D
_ENCRYPTED = int(pytsk3.TSK_FS_ATTR_ENC)
_utf16 = codecs.getdecoder("utf-16-le")  # found now: later there are no files
# What the library makes of entries that are no files.
_LABEL, _EXFAT_OWN = b" (Volume Label Entry)", (b"$ALLOC_BITMAP", b"$UPCASE_TABLE")


class _Image(pytsk3.Img_Info):  # type: ignore[misc]
    """Blocks, as the library asks for them."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        super().__init__(url="", type=pytsk3.TSK_IMG_TYPE_EXTERNAL)

    def close(self) -> None:
        """Nothing is held."""

    def read(self, offset: int, count: int) -> bytes:
        count = min(count, self._blocks.size - offset)
        return self._blocks.read(offset, count) if count > 0 else b""

    def get_size(self) -> int:
        return self._blocks.size


class SleuthKit:
    """A file system that the library knows; nodes are its inode addresses."""

    def __init__(self, blocks: Blocks) -> None:
        self._system = pytsk3.FS_Info(_Image(blocks))
        self.root = int(self._system.info.root_inum)
        self._ntfs = self._system.info.ftype == pytsk3.TSK_FS_TYPE_NTFS

    @property
    def label(self) -> str:
        """The name a user gave the volume; may be empty."""
        if self._ntfs:
            file = self._file(_NTFS_VOLUME)
            found = [one.info for one in file if int(one.info.type) == _NTFS_NAME]
            names = [file.read_random(0, one.size, _NTFS_NAME, one.id) for one in found if one.size]
            return "".join(_utf16(name, "replace")[0] for name in names)
        entries = (one.info.name.name for one in self._system.open_dir(inode=self.root))
        names = [name.removesuffix(_LABEL) for name in entries if name.endswith(_LABEL)]
        return b"".join(names).decode(errors="replace")

    def log(self, count: int) -> bytes:
        """The first bytes of the log of an NTFS."""
        found: bytes = self._file(_NTFS_LOG).read_random(0, count)
        return found

    def status(self, node: int) -> Status:
        file = self._file(node)
        meta = file.info.meta
        kind = stat.S_IFLNK if self._link(file) else _TYPES.get(int(meta.type), 0)
        modified = int(meta.mtime) * 1000 + int(meta.mtime_nano) // 1_000_000
        return Status(kind | int(meta.mode) & 0o7777, int(meta.size), modified)

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        for one in self._system.open_dir(inode=node):
            name, meta = one.info.name, one.info.meta
            if meta is None or int(name.flags) != _ALLOCATED or int(meta.type) not in _TYPES:
                continue
            address = int(meta.addr)
            if self._ntfs and address < _NTFS_OWN:
                continue
            if not self._ntfs and (name.name.endswith(_LABEL) or name.name in _EXFAT_OWN):
                continue
            yield name.name, address

    def target(self, node: int) -> bytes:
        link = self._link(self._file(node))
        if link is None:
            raise ValueError("a link that leads nowhere")
        return link

    def pieces(self, node: int, offset: int, count: int) -> Iterator[Piece]:
        file = self._file(node)
        if tag := int.from_bytes(self._reparse(file)[:4], "little"):
            raise Unsupported(f"Windows keeps this file in a way of its own (reparse tag {tag:#x})")
        if self._ntfs and any(int(one.info.flags) & _ENCRYPTED for one in file):
            raise Unsupported("the file is encrypted by Windows")
        data = file.read_random(offset, min(count, MOST_BYTES))
        if not data:
            raise ValueError("a file that ends before its end")
        yield Piece(len(data), data=data)

    def _link(self, file: Any) -> bytes | None:
        """Where a symbolic link or junction leads, as it is shown to users; None for others."""
        raw = self._reparse(file)
        tag = int.from_bytes(raw[:4], "little")
        if tag == _UNIX_LINK:
            return raw[12:]
        if tag not in (_SYMLINK, _JUNCTION):
            return None
        start, length = struct.unpack_from("<HH", raw, 12)
        start += 20 if tag == _SYMLINK else 16
        return _utf16(raw[start : start + length], "replace")[0].replace("\\", "/").encode()

    def _reparse(self, file: Any) -> bytes:
        """The reparse point of an NTFS file, empty for most."""
        if not self._ntfs:
            return b""
        for one in file:
            info = one.info
            if int(info.type) == _NTFS_REPARSE:
                data: bytes = file.read_random(0, min(info.size, 16384), _NTFS_REPARSE, info.id)
                return data
        return b""

    def _file(self, node: int) -> Any:
        found = self._system.open_meta(inode=node)
        if found.info.meta is None:
            raise Unsupported("there is nothing known about this file")
        return found
