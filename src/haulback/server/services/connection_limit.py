"""The time limit of a whole connection: time limits of sockets hold for single steps only."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Timer
from typing import Self


class ConnectionLimit:
    """Shuts connections down some seconds after its start, whatever their owner waits for.

    `is_over`: the time has passed.  A receiver that sends a byte now and then would otherwise
    occupy a thread for days.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        # guards `_twins` and `is_over`: a closed number may be the next socket of another thread
        self._lock = Lock()
        self._twins: list[socket.socket] = []
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for twin in self._twins:
                twin.close()
            self._twins.clear()

    def watch(self, plain: socket.socket) -> None:
        """Include a connection, before its TLS begins: TLS takes the socket out of its object."""
        with self._lock:
            self._twins.append(plain.dup())
            if self.is_over:
                self._shut_down()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            self._shut_down()

    def _shut_down(self) -> None:
        for twin in self._twins:
            with suppress(OSError):  # the receiver has left
                twin.shutdown(socket.SHUT_RDWR)
