"""Locations of a file's bytes on the disks; a request to the sandbox covers a long part of the
file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import msgspec

from haulback.errors import HaulbackError, is_away
from haulback.filesystems.records import MOST_BYTES, MOST_WINDOW, Content, FilePiece
from haulback.units import MIB

_GROWTH = 4  # growth of each request of a file that is read in order
_NEAR = MIB  # bytes that may be left out, because threads of FUSE overtake each other
_KEPT = 4  # plans that are kept of files that are not read in order
Ask = Callable[[int, int], Content]


class FilePlan:
    """The pieces of one file; `ask` requests the pieces of `count` bytes from `offset`.

    The pieces of the last answer are kept: at most MOST_PIECES, with up to twice MOST_BYTES bytes
    of data.  A file that is read in order is requested in ever longer parts, because a request
    costs as much time as the transfer of some MiB.  Threads may share a plan.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._pieces: list[FilePiece] = []
        self._starts: list[int] = []
        self._end = 0  # end of the known pieces
        self._window = 0  # bytes of the next request of a file that is read in order
        self._most = MOST_WINDOW  # bytes of a request; fewer after a long one has failed
        self._lock = Lock()  # guards all members; held while pieces are requested
        self.size = 0

    def pieces(self, offset: int, count: int) -> list[FilePiece]:
        """Pieces of up to `count` bytes from `offset`; none at the end of the file.

        Raises the errors of `ask`.
        """
        with self._lock:
            if not self._covers(offset):
                self._load(offset, count)
            return self._known(offset, count)

    def _covers(self, offset: int) -> bool:
        return bool(self._starts) and self._starts[0] <= offset < self._end

    def _known(self, offset: int, count: int) -> list[FilePiece]:
        result: list[FilePiece] = []
        number = bisect_right(self._starts, offset) - 1
        while count and 0 <= number < len(self._pieces) and offset < self._end:
            part = _cut(self._pieces[number], offset - self._starts[number], count)
            result.append(part)
            offset, count, number = offset + part.length, count - part.length, number + 1
        return result

    def _load(self, offset: int, count: int) -> None:
        """Request the pieces of `count` bytes from `offset`, or of more bytes if the read continues
        where the known pieces end.
        """
        if self._window > count and self._end <= offset <= self._end + _NEAR:
            try:
                self._request(self._end, self._window)
            except HaulbackError as error:
                if is_away(error):
                    raise
                self._most = count  # the damage may lie behind the bytes that are needed
            if self._covers(offset):
                return
        self._request(offset, count)

    def _request(self, offset: int, count: int) -> None:
        content = self._ask(offset, count)
        self.size, self._pieces, self._starts = content.size, content.pieces, []
        for piece in content.pieces:
            self._starts.append(offset)
            offset += piece.length
        self._end = offset
        self._window = min(self._most, max(_GROWTH * count, MOST_BYTES))


class FilePlans:
    """The plans of the files that were read last; threads may share them."""

    def __init__(self) -> None:
        self._plans: OrderedDict[tuple[str, bytes], FilePlan] = OrderedDict()
        self._lock = Lock()  # guards the table

    def of(self, volume: str, path: bytes, ask: Ask) -> FilePlan:
        """The plan of a file, a new one if the file was not read lately."""
        with self._lock:
            plan = self._plans.setdefault((volume, path), FilePlan(ask))
            self._plans.move_to_end((volume, path))
            if len(self._plans) > _KEPT:
                self._plans.popitem(last=False)
            return plan


def _cut(piece: FilePiece, low: int, count: int) -> FilePiece:
    """At most `count` bytes of a piece from `low`."""
    length = min(count, piece.length - low)
    if length == piece.length:
        return piece
    offset = piece.offset + low if piece.disk >= 0 else 0
    data = piece.data[low : low + length]
    return msgspec.structs.replace(piece, length=length, offset=offset, data=data)
