"""Detection of unreplayed logs of XFS and NTFS.

Unlike an ext journal these logs are not replayed; the volume carries a warning instead. Sources:
for XFS "XFS Algorithms & Data Structures", chapter Journaling Log; for NTFS the restart pages of
$LogFile, evaluated as in `ntfs_is_logfile_clean` of ntfs-3g.
"""

from __future__ import annotations

import struct

from haulback.filesystems.parsers.blocks import Blocks

STALE = "the volume was in use: the latest changes may be missing, because the log is not replayed"
_SECTOR = 512
_RECORD, _UNMOUNTED = 0xFEEDBABE, 0x20
_BACK = 1040  # sectors to search for the last record: twice the size of the largest (520)
_FEW = 8  # records that are examined at most
_BUFFER = 0x123C  # type of a log item: a buffer (XFS_LI_BUF)


def xfs_is_stale(blocks: Blocks) -> bool:
    """Whether the log of an XFS may hold changes that are not in place.

    A log that ends with an unmount record, or whose tail holds only superblock updates, is clean.
    """
    start, count = _log_of(blocks.read(0, _SECTOR))
    if not start or count < 2:
        return True  # the log is on another device
    log = _Log(blocks, start, count)
    last = log.last()
    if last is None:
        return False  # the log was never written
    return not (log.is_unmount(last) or log.is_quiet(last))


def _log_of(raw: bytes) -> tuple[int, int]:
    """Offset of the log in bytes (0 for an external log), and its length in sectors."""
    size, start, group, count = _u32(raw, 4), _u64(raw, 48), _u32(raw, 84), _u32(raw, 96)
    shift = raw[124]
    block = (start >> shift) * group + (start & (1 << shift) - 1)
    return block * size, count * size // _SECTOR


class _Log:
    """Log of an XFS, addressed in sectors; the log is a ring of records."""

    def __init__(self, blocks: Blocks, start: int, count: int) -> None:
        self._blocks, self._start, self._count = blocks, start, count

    def _read(self, sector: int, sectors: int = 1) -> bytes:
        return self._blocks.read(self._start + sector * _SECTOR, sectors * _SECTOR)

    def last(self) -> int | None:
        """First sector of the newest record; None for an empty log."""
        head = self._head()
        low = max(0, head - _BACK)
        raw = self._read(low, head - low)
        for at in range(len(raw) - _SECTOR, -1, -_SECTOR):
            if _u32(raw, at) == _RECORD:
                return low + at // _SECTOR
        return None

    def _head(self) -> int:
        """First sector that was not written in the current cycle, or the end of the log."""
        first, low, high = self._round(0), 0, self._count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._round(middle) == first else (low, middle)
        return high

    def _round(self, sector: int) -> int:
        raw = self._read(sector)
        return _u32(raw, 4) if _u32(raw, 0) == _RECORD else _u32(raw, 0)

    def _record(self, sector: int) -> tuple[bytes, int, bytes]:
        """Header of a record, the sector after the record, and the first sector of its data."""
        raw = self._read(sector)
        large = _u32(raw, 320) if _u32(raw, 8) & 2 else 0
        heads = max(1, -(-large // 32768))
        data = -(-_u32(raw, 12) // _SECTOR)
        return raw, sector + heads + data, self._read((sector + heads) % self._count)

    def is_unmount(self, sector: int) -> bool:
        """Whether a record is an unmount record, after which nothing has to be replayed."""
        raw, _, data = self._record(sector)
        return _u32(raw, 40) == 1 and bool(data[9] & _UNMOUNTED)

    def is_quiet(self, last: int) -> bool:
        """Whether only superblock updates would be replayed, as after a freeze."""
        at = _u32(self._read(last), 28)
        for _ in range(_FEW):
            raw, behind, data = self._record(at % self._count)
            if _u32(raw, 0) != _RECORD or not _is_superblock(raw, data):
                return False
            if at == last:
                return True
            at = behind % self._count
        return False


def _is_superblock(record: bytes, data: bytes) -> bool:
    """Whether a record holds one transaction that changes only the first sector.

    The operations of the transaction, each with a header of 12 bytes: start, transaction header,
    buffer format, buffer contents, commit.
    """
    begin, transaction = _u32(data, 4), _u32(data, 16)
    kind, sector = struct.unpack_from("<H6xq", data, 52)
    first = (begin, transaction) == (0, 16) and (kind, sector) == (_BUFFER, 0)
    return _u32(record, 40) <= 5 and first


def ntfs_is_stale(log: bytes) -> bool:
    """Whether an NTFS was in use, by the first two pages of its $LogFile."""
    pages = [page for at in (0, 4096) if (page := _restart(log[at : at + 4096]))]
    if not pages:
        return log[:4] != b"\xff" * 4  # a log that was reset is empty
    _, clients, flags = max(pages)
    return clients != 0xFFFF and not flags & 2


def _restart(page: bytes) -> tuple[int, int, int] | None:
    """Fields of a restart page: log sequence number, first active client, flags.

    None for a page that is no valid restart page.
    """
    if page[:4] != b"RSTR" or len(page) < 4096:
        return None
    (area,) = struct.unpack_from("<H", page, 24)
    if not 48 <= area <= 4096 - 16:
        return None
    return struct.unpack_from("<Q4xHH", page, area)


def _u32(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "big")


def _u64(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 8], "big")
