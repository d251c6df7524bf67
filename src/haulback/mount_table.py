"""The mounted file systems of this machine, by the kernel's table."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

_TABLE = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")


class FileSystemMount(NamedTuple):
    """A mounted file system: its folder, its type and its source."""

    folder: str
    kind: str
    source: str


def mount_of(path: Path, table: str | None = None) -> FileSystemMount | None:
    """The file system of a folder; None without an entry.

    `table` is the text of /proc/self/mountinfo, which is read by default.  If a folder has several
    mounts, the last one counts.  Raises OSError without a table.
    """
    best: FileSystemMount | None = None
    for line in (_read() if table is None else table).split("\n"):
        left, _, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(rest) < 2:
            continue
        mount = FileSystemMount(_plain(fields[4]), rest[0], _plain(rest[1]))
        is_deeper = best is None or len(mount.folder) >= len(best.folder)
        if path.is_relative_to(mount.folder) and is_deeper:
            best = mount
    return best


def _read() -> str:
    """The table; names of folders may be in any encoding."""
    return os.fsdecode(_TABLE.read_bytes())


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
