"""Streamed tar archives: checks that a download is complete and reads its error report."""

from __future__ import annotations

import tarfile
from collections.abc import Generator, Iterator

from haulback.errors import Incomplete, Unavailable
from haulback.filesystems.report import LONGEST, RECORD
from haulback.units import KIB, MIB

_BLOCK = tarfile.BLOCKSIZE
_MOST_NAMED = 10_000  # files listed in an error; the report in the tar lists all files
_PIECE = 64 * KIB  # bytes of a read from the stream
_EXTENDED = 2 * MIB  # bytes of an extended header: 1 MiB of attributes, and names
_MARK = RECORD.encode()
# A parser yields the number of bytes that it needs next; a negative number skips bytes.
_Parser = Generator[int, bytes, None]


def followed(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the parts of a tar unchanged and check the tar while they pass.

    After the last part, raises Unavailable for a truncated tar, and Incomplete for a tar whose
    report lists unreadable files: the details hold their `count` and the first 10,000 as `files`.
    """
    tar = _Tar()
    for part in parts:
        tar.see(part)
        yield part
    tar.end()


class _Tar:
    """Incremental parser of tar headers (POSIX pax format) and of the report member."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._count = 0
        self._files: list[dict[str, str]] = []
        self._parser = self._members()
        self._wanted = next(self._parser)

    def see(self, part: bytes) -> None:
        """Parse the next part of the stream. Raises Unavailable when it is no tar."""
        at = 0
        while at < len(part) and self._wanted:
            if self._wanted < 0:
                length = min(-self._wanted, len(part) - at)
                self._wanted += length
                if not self._wanted:
                    self._go_on(b"")
            else:
                length = min(self._wanted - len(self._held), len(part) - at)
                self._held += part[at : at + length]
                if len(self._held) == self._wanted:
                    given, self._held = bytes(self._held), bytearray()
                    self._go_on(given)
            at += length

    def end(self) -> None:
        """Check that the tar is complete. Raises Unavailable or Incomplete."""
        if self._wanted:
            raise Unavailable("the archive is truncated; download it again")
        if self._count:
            raise Incomplete(
                f"{self._count} of the requested files could not be read completely; the last"
                " file of the archive lists them",
                count=self._count,
                files=self._files,
            )

    def _go_on(self, given: bytes) -> None:
        try:
            self._wanted = self._parser.send(given)
        except StopIteration:
            self._wanted = 0
        except (tarfile.HeaderError, ValueError):
            raise Unavailable("the server's response is not a tar archive") from None

    def _members(self) -> _Parser:
        extended: dict[bytes, bytes] = {}
        while any(header := (yield _BLOCK)):
            size = int(extended.get(b"size") or tarfile.nti(header[124:136]))  # type: ignore[attr-defined]
            skipped = -size % _BLOCK
            if size < 0 or (header[156:157] == tarfile.XHDTYPE and size > _EXTENDED):
                raise ValueError(f"a header of {size} bytes")
            if header[156:157] == tarfile.XHDTYPE:
                extended = _records((yield size))
            elif mark := extended.get(_MARK):
                self._count, extended = int(mark), {}
                yield from self._lines(size)
            else:
                skipped, extended = skipped + size, {}
            if skipped:
                yield -skipped

    def _lines(self, size: int) -> _Parser:
        rest = b""
        for low in range(0, size, _PIECE):
            *lines, rest = (rest + (yield min(_PIECE, size - low))).split(b"\n")
            if len(rest) > LONGEST:
                raise ValueError("a line of the report is too long")
            for line in lines[: _MOST_NAMED - len(self._files)]:
                path, _, reason = line.decode(errors="replace").partition("\t")
                self._files.append({"path": path, "reason": reason})


def _records(raw: bytes) -> dict[bytes, bytes]:
    """Records of a pax extended header (POSIX.1-2001), each a line `LENGTH KEY=VALUE`.

    Raises ValueError for a malformed record.
    """
    result: dict[bytes, bytes] = {}
    while raw:
        length, _, _ = raw.partition(b" ")
        record, raw = raw[len(length) + 1 : int(length) - 1], raw[int(length) :]
        if len(length) + 2 > int(length):
            raise ValueError("a header of the tar without its contents")
        key, _, value = record.partition(b"=")
        result[key] = value
    return result
