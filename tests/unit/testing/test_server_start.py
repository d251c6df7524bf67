"""Servers that tests start: ready once they listen, failed once they end."""

from __future__ import annotations

import socket
import subprocess
import sys

from haulback.testing.server_start import is_listening


def test_a_server_that_listens_is_ready_and_a_server_that_ended_is_not():
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        subprocess.Popen(waits, stdin=subprocess.PIPE) as server,
    ):
        port = int(door.getsockname()[1])
        assert is_listening(port, server, 20)
        assert server.stdin
        server.stdin.close()
        server.wait(20)
        assert not is_listening(port, server, 20)


def test_a_server_that_never_listens_is_not_waited_for_longer_than_allowed():
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        socket.socket() as taken,
        subprocess.Popen(waits, stdin=subprocess.PIPE) as server,
    ):
        taken.bind(("127.0.0.1", 0))  # bound, so that no other process takes the port
        assert not is_listening(int(taken.getsockname()[1]), server, 0.1)
        assert server.stdin
        server.stdin.close()
