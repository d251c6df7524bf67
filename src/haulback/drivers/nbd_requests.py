"""NBD requests in flight."""

from __future__ import annotations

from itertools import pairwise


class ProtocolViolation(Exception):
    """Violation of the NBD protocol by the server."""


class Pending:
    """A request in flight: the buffer of a read, and the byte ranges that have arrived.

    `is_refused` is set if the server reported EIO for the read; a part of the bytes may have
    arrived.
    """

    def __init__(self, offset: int, view: memoryview | None = None) -> None:
        self.offset, self.view = offset, view
        self.got: list[tuple[int, int]] = []
        self.left = len(view) if view else 0
        self.status: dict[int, bytes] = {}
        self.is_refused = False

    def place(self, offset: int, length: int) -> memoryview:
        """Buffer for a data chunk. Raises Surprise for a chunk outside the request."""
        low = offset - self.offset
        if self.view is None or low < 0 or not 0 < length <= min(self.left, len(self.view) - low):
            raise ProtocolViolation("data outside the requested range")
        self.left -= length
        self.got.append((low, low + length))
        return self.view[low : low + length]

    def check(self) -> None:
        """Check that every byte of a read arrived exactly once. Raises Surprise."""
        if self.is_refused:
            return
        got = sorted(self.got)
        if self.left or any(one[1] != two[0] for one, two in pairwise(got)):
            raise ProtocolViolation("data with gaps or overlaps")
