"""An idle server is small: it needs its libraries and little more."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from haulback.client.api import Api
from tests.programs import Program

BOUND = 100 * 1000 * 1000  # bytes; the libraries alone take 70 MB
SETTLED = 20.0  # seconds for the work at the start to end, even on a loaded machine


def resident(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_server_takes_at_most_100_mb_new_and_started_again(tmp_path: Path):
    options = ("--data", str(tmp_path / "data"), "--port", "0")
    for _ in ("new", "again"):
        server = Program(tmp_path / "log", "server", *options)
        try:
            url = server.start().split()[-1]
            api = Api(url)
            api.get("/readyz")  # the first answer comes from a new thread
            api.close()
            assert server.process
            end = time.monotonic() + SETTLED
            while (size := resident(server.process.pid)) > BOUND and time.monotonic() < end:
                time.sleep(0.2)
            assert size <= BOUND
        finally:
            server.end(signal.SIGTERM)
