"""The places of a file's bytes, which the sandbox names for long parts of the file at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import msgspec

from haulback.errors import HaulbackError, is_away
from haulback.filesystems.records import MOST_BYTES, MOST_WINDOW, Content, FilePiece

_GROWTH = 4  # factor by which each request of a file that is read in order is longer


class FilePlan:
    """The pieces of one file; `ask` requests the pieces of `count` bytes from `offset`.

    The pieces of the last answer are kept: at most MOST_PIECES, with up to twice MOST_BYTES bytes
    of data.  A file that is read in order is requested in ever longer parts, because a request
    costs as much time as the transfer of some MiB.  One thread at a time may use a plan.
    """

    def __init__(self, ask: Callable[[int, int], Content]) -> None:
        self._ask = ask
        self._pieces: list[FilePiece] = []
        self._starts: list[int] = []
        self._end = 0  # of the known pieces
        self._window = 0  # bytes of the next request of a file that is read in order
        self._most = MOST_WINDOW  # bytes of a request; fewer after a long one has failed
        self.size = 0

    def pieces(self, offset: int, count: int) -> list[FilePiece]:
        """Pieces of up to `count` bytes from `offset`; none at the end of the file.

        Raises the errors of `ask`.
        """
        if not self._starts or not self._starts[0] <= offset < self._end:
            self._load(offset, count)
        result: list[FilePiece] = []
        number = bisect_right(self._starts, offset) - 1
        while count and 0 <= number < len(self._pieces):
            part = _cut(self._pieces[number], offset - self._starts[number], count)
            result.append(part)
            offset, count, number = offset + part.length, count - part.length, number + 1
        return result

    def _load(self, offset: int, count: int) -> None:
        """Request the pieces from `offset` on, of more than `count` bytes if the reading goes on
        where the known pieces end.
        """
        is_next = offset == self._end
        window = max(count, self._window if is_next else 0)
        try:
            content = self._ask(offset, window)
        except HaulbackError as error:
            if window == count or is_away(error):
                raise
            window = self._most = count  # the damage may lie behind the bytes that are needed
            content = self._ask(offset, count)
        self.size, self._pieces, self._starts = content.size, content.pieces, []
        for piece in content.pieces:
            self._starts.append(offset)
            offset += piece.length
        self._end = offset
        self._window = min(self._most, max(_GROWTH * window, MOST_BYTES))


def _cut(piece: FilePiece, low: int, count: int) -> FilePiece:
    """At most `count` bytes of a piece from `low`."""
    length = min(count, piece.length - low)
    if length == piece.length:
        return piece
    offset = piece.offset + low if piece.disk >= 0 else 0
    data = piece.data[low : low + length]
    return msgspec.structs.replace(piece, length=length, offset=offset, data=data)
