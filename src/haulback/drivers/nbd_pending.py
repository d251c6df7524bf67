"""Requests to an NBD server that wait for their answers."""

from __future__ import annotations

from itertools import pairwise


class Surprise(Exception):
    """The server does not keep to the protocol."""


class Pending:
    """A request without its answer: where a read's bytes go, and which ones have come.

    `is_refused`: the server cannot read the bytes; a part of the bytes may have come.
    """

    def __init__(self, offset: int, view: memoryview | None = None) -> None:
        self.offset, self.view = offset, view
        self.got: list[tuple[int, int]] = []
        self.left = len(view) if view else 0
        self.status: dict[int, bytes] = {}
        self.is_refused = False

    def place(self, offset: int, length: int) -> memoryview:
        """The part of a read's buffer for a chunk.  Raises Surprise for bytes outside of it."""
        low = offset - self.offset
        if self.view is None or low < 0 or not 0 < length <= min(self.left, len(self.view) - low):
            raise Surprise("an answer outside of what was asked")
        self.left -= length
        self.got.append((low, low + length))
        return self.view[low : low + length]

    def check(self) -> None:
        """Every byte of a read came, and none twice.  Raises Surprise."""
        if self.is_refused:
            return
        got = sorted(self.got)
        if self.left or any(one[1] != two[0] for one, two in pairwise(got)):
            raise Surprise("an answer with gaps or overlaps")
