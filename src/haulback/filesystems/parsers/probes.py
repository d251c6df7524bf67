"""Opening of file systems: for reading, and as a test for the list of volumes."""

from __future__ import annotations

from collections.abc import Callable

from haulback.errors import HaulbackError, Unsupported
from haulback.filesystems.parsers.blocks import Blocks, Metered
from haulback.filesystems.parsers.detect import Detected
from haulback.filesystems.parsers.exfat import ExFat
from haulback.filesystems.parsers.ext import Ext
from haulback.filesystems.parsers.fat import Fat
from haulback.filesystems.parsers.fat_names import CodePage
from haulback.filesystems.parsers.filesystem import DAMAGE, FileSystem, error_text
from haulback.filesystems.parsers.journal_state import STALE, ntfs_is_stale, xfs_is_stale
from haulback.filesystems.parsers.ntfs import Ntfs
from haulback.filesystems.parsers.xfs import Xfs
from haulback.units import MIB

_READERS: dict[str, Callable[[Blocks], FileSystem]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), Ext.opened),
    "exfat": ExFat,
    "ntfs": Ntfs,
    "xfs": Xfs,
}
_FATS = ("fat12", "fat16", "fat32")
_DAMAGE = (*DAMAGE, TypeError)
_MOST_TRIED, _MOST_READS = 64 * MIB, 20_000  # bytes and reads of a test, which limit its time


def opened(type_: str, blocks: Blocks, page: CodePage) -> FileSystem:
    """Open a file system; `page` is the code page of short FAT names.

    Raises Unsupported, or the errors in DAMAGE.
    """
    if type_ in _FATS:
        return Fat(blocks, page)
    return _READERS[type_](blocks)


def tried(known: Detected, blocks: Blocks, page: CodePage, missing: int = 0) -> Detected:
    """Facts of a volume after its root folder was opened: the reason if that failed, the label.

    `missing` bytes of the volume lie past the end of its disk, which `volumes` reports.
    """
    if not known.readable:
        return known
    try:
        system = _opened_quickly(known.type, Metered(blocks, _MOST_TRIED, _MOST_READS), page)
    except (HaulbackError, *_DAMAGE) as error:
        return known._replace(reason=_refusal(known, error), readable=False)
    label = known.label or _label_within(system)
    reason = known.reason
    if known.size > blocks.size + missing:
        reason = _joined(
            reason,
            f"the file system of {known.size} bytes is larger than its volume of {blocks.size}:"
            " files beyond the end cannot be read",
        )
    if _is_stale(system, blocks):
        reason = _joined(reason, STALE)
    return known._replace(label=label, reason=reason)


def _opened_quickly(type_: str, blocks: Blocks, page: CodePage) -> FileSystem:
    """Open a file system and its root folder; the journal of ext is applied only if needed."""
    if _READERS.get(type_) == Ext.opened:
        try:
            return _with_root(Ext(blocks))
        except DAMAGE:
            pass  # the journal may hold the intact blocks
    return _with_root(opened(type_, blocks, page))


def _with_root(system: FileSystem) -> FileSystem:
    if not system.status(system.root).is_directory:
        raise ValueError("the root folder is no folder")
    next(iter(system.names(system.root)), None)
    return system


def _refusal(known: Detected, error: Exception) -> str:
    """The reason why a volume cannot be opened, with the features that its superblock names."""
    reason = error_text(error)
    if isinstance(error, Unsupported) or not known.features:
        return reason
    return f"{reason} (features: {', '.join(known.features)})"


def _label_within(system: FileSystem) -> str:
    """Label of a file system that stores it in its directories or records."""
    if not isinstance(system, ExFat | Ntfs):
        return ""
    try:
        return system.label
    except (HaulbackError, *_DAMAGE):
        return ""


def _is_stale(system: FileSystem, blocks: Blocks) -> bool:
    """Whether the latest changes may be only in a log that is not replayed."""
    try:
        if isinstance(system, Xfs):
            return xfs_is_stale(blocks)
        return isinstance(system, Ntfs) and ntfs_is_stale(system.log(8192))
    except (HaulbackError, *_DAMAGE):
        return False


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))
