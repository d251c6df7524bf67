"""Report of an incomplete tar: its last member lists the unreadable files, one per line.

A line is a path of the volume, a tab, and the reason; both are printable and contain no tab. The
member carries the pax header `RECORD` with the number of lines. A guest cannot forge this header,
because only the writer of the tar creates headers.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Final, Self

from haulback.texts import printable
from haulback.units import MIB

NAME: Final = "HAULBACK-UNREADABLE-FILES"
RECORD: Final = "HAULBACK.unreadable"
LONGEST: Final = 32768  # bytes of a line, which readers may rely on
_PIECE = MIB
_REASON = 2000  # maximum length of a reason, in characters


class UnreadableReport:
    """Lines collected while a tar is written; above 1 MiB they are kept in a temporary file."""

    def __init__(self) -> None:
        self._lines = tempfile.SpooledTemporaryFile(max_size=MIB)  # noqa: SIM115 - closed by __exit__
        self.count = 0
        self._name = f"{NAME}.txt"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def add(self, path: str, reason: str) -> None:
        """Add a file or folder that could not be read."""
        self.count += 1
        self._lines.write(f"{printable(path)}\t{printable(reason)[:_REASON]}\n".encode())

    def avoid(self, member: str) -> None:
        """Choose another name for the report if a member of the tar would overwrite it."""
        top = member.removeprefix("./").partition("/")[0]
        if top.upper().startswith(NAME):
            # A random name: a guest cannot prepare a file that collides with it.
            self._name = f"{NAME}-{uuid.uuid4().hex[:12]}.txt"

    def member(self) -> Iterator[bytes]:
        """Header and lines of the report; nothing when all files were readable."""
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
