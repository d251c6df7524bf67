"""Reparse tags of NTFS: files that Windows, or a program, stores in a special way.

Source: "Reparse Tags", MS-FSCC 2.1.2.1, and ntifs.h.
"""

from __future__ import annotations

import stat
from typing import Final

SYMLINK, JUNCTION, UNIX_LINK = 0xA000000C, 0xA0000003, 0xA000001D
LINKS: Final = (SYMLINK, JUNCTION, UNIX_LINK)
SPECIAL: Final = {
    0x80000023: stat.S_IFSOCK,
    0x80000024: stat.S_IFIFO,
    0x80000025: stat.S_IFCHR,
    0x80000026: stat.S_IFBLK,
}
_CLOUD, _CLOUD_MASK = 0x9000001A, 0xFFFF0FFF  # 16 tags, distinguished by four bits
_KEPT: Final = {
    0x80000006: "moved to other storage (HSM)",
    0x80000007: "kept once for several files (SIS)",
    0x80000008: "kept in a mounted WIM archive",
    0x80000009: "kept by a shared cluster volume (CSV)",
    0x8000000A: "a link of the distributed file system (DFS)",
    0x80000012: "replicated by the distributed file system (DFSR)",
    0x80000013: "deduplicated by Windows",
    0x80000014: "a link or device of NFS",
    0x80000015: "a placeholder",
    0x80000018: "kept in the layer of a Windows container (WCI)",
    0x8000001B: "an alias of an app",
    0x8000001E: "kept by StorageSync",
    0x80000020: "not there: a tombstone of ProjFS",
    0x80000021: "kept by Azure File Sync",
    0x90001018: "kept in the layer of a Windows container (WCI)",
    0x9000001C: "a placeholder of ProjFS",
    0xA0000022: "not there: a tombstone of ProjFS",
    0xA0000027: "a link in the layer of a Windows container (WCI)",
    0xC0000004: "moved to other storage (HSM)",
}


def kept_as(tag: int) -> str:
    """The reason why the contents of a file with this reparse tag cannot be read."""
    kept = (
        "in the cloud, possibly not on this disk" if tag & _CLOUD_MASK == _CLOUD else _KEPT.get(tag)
    )
    if kept is None:
        return f"Windows stores this file in a special format (reparse tag {tag:#x})"
    return f"the file is {kept}, which cannot be read (reparse tag {tag:#x})"
