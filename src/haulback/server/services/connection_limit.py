"""The time limit of a whole connection; socket time-outs limit single operations only."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Timer
from typing import Self


class ConnectionLimit:
    """Shuts connections down a number of seconds after their start, even while an owner waits for
    data.

    `is_over` is true if the time has passed.  Without this limit a receiver that sends a byte now
    and then could occupy a thread for days.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        # guards `_twins` and `is_over` is true if the next socket of another thread may get the
        # number of a closed socket
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
        """Include a connection before its TLS handshake, because TLS detaches the socket from its
        object.
        """
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
            with suppress(OSError):  # the receiver has disconnected
                twin.shutdown(socket.SHUT_RDWR)
