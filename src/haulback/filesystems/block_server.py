"""Block server for the sandbox: serves blocks of Sources over a socket (see `block_protocol`)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress

from haulback.drivers.source import Source
from haulback.errors import HaulbackError
from haulback.filesystems.block_protocol import LARGEST, REQUEST
from haulback.framing import take

log = logging.getLogger(__name__)


class BlockServer:
    """Serves requests until the process disconnects; `failure` is the last error of a Source."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.failure: HaulbackError | None = None

    def serve(self, link: socket.socket) -> None:
        with link, suppress(OSError, EOFError):
            while self._answer(link, *REQUEST.unpack(take(link, REQUEST.size))):
                pass

    def _answer(self, link: socket.socket, disk: int, offset: int, length: int) -> bool:
        """Answer a request; returns False to disconnect after an invalid one."""
        if disk >= len(self._sources) or not 0 < length <= LARGEST:
            return False
        source, buffer = self._sources[disk], bytearray(1 + length)
        if offset + length > source.size:
            return False
        try:
            source.read_into(offset, memoryview(buffer)[1:])
        except HaulbackError as error:
            log.error("read of %d bytes at %d failed: %s", length, offset, error.message)
            self.failure = error
            buffer = bytearray(b"\1")
        link.sendall(buffer)
        return True
