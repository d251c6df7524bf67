"""Wait until a server that a test has started listens."""

from __future__ import annotations

import socket
import subprocess
import time

_PAUSE = 0.02  # seconds between two connections


def is_listening(port: int, server: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a port of this machine; False if the server ends, or does not listen in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(_PAUSE)
        else:
            return True
    return False
