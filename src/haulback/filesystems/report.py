"""The last member of an incomplete tar: the files that could not be read, a line each.

A line is a path of the volume, a tab, and the reason; both are printable and hold no tab.  The
member bears the header `RECORD` of the pax format, with the number of lines, which no file of a
guest can bear: only the tar's maker writes headers.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Final, Self

from haulback.filesystems.records import printable
from haulback.units import MIB

NAME: Final = "HAULBACK-UNREADABLE-FILES"
RECORD: Final = "HAULBACK.unreadable"
LONGEST: Final = 32768  # bytes of a line
_PIECE = MIB
_REASON = 2000  # characters


class Report:
    """Lines that are gathered while a tar is made; many lines go to a temporary file."""

    def __init__(self) -> None:
        self._lines = tempfile.SpooledTemporaryFile(max_size=MIB)  # noqa: SIM115 - closed by __exit__
        self.count = 0
        self._name = f"{NAME}.txt"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def add(self, path: str, reason: str) -> None:
        """Name a file or folder that could not be read."""
        self.count += 1
        self._lines.write(f"{printable(path)}\t{printable(reason)[:_REASON]}\n".encode())

    def avoid(self, member: str) -> None:
        """Take another name if a member of the tar would be unpacked over the report."""
        top = member.removeprefix("./").partition("/")[0]
        if top.upper().startswith(NAME):
            # A guest cannot have foreseen a random name.
            self._name = f"{NAME}-{uuid.uuid4().hex[:12]}.txt"

    def member(self) -> Iterator[bytes]:
        """The header and the lines; nothing when everything could be read."""
        if not self.count:
            return
        info = tarfile.TarInfo(self._name)
        info.size, info.mode, info.mtime = self._lines.tell(), 0o644, int(time.time())
        info.pax_headers = {RECORD: str(self.count)}
        yield info.tobuf(tarfile.PAX_FORMAT)
        self._lines.seek(0)
        while part := self._lines.read(_PIECE):
            yield part
        yield bytes(-info.size % tarfile.BLOCKSIZE)
