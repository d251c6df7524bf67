"""FAT, exFAT and NTFS, read by The Sleuth Kit; the one module that knows it."""

from __future__ import annotations

import stat
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

    def status(self, node: int) -> Status:
        meta = self._file(node).info.meta
        kind = _TYPES.get(int(meta.type), 0)
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
            if not self._ntfs and b" (Volume Label Entry)" in name.name:
                continue
            yield name.name, address

    def target(self, node: int) -> bytes:
        link: bytes | None = self._file(node).info.meta.link
        if link is None:
            raise ValueError("a link that leads nowhere")
        return link

    def pieces(self, node: int, offset: int, count: int) -> Iterator[Piece]:
        data = self._file(node).read_random(offset, min(count, MOST_BYTES))
        if not data:
            raise ValueError("a file that ends before its end")
        yield Piece(len(data), data=data)

    def _file(self, node: int) -> Any:
        found = self._system.open_meta(inode=node)
        if found.info.meta is None:
            raise Unsupported("there is nothing known about this file")
        return found
