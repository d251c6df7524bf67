"""A server in a separate process, so that the measuring program takes no CPU time from it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2

_PASSWORD = "correct horse"
_SERVE = (
    "import sys; from pathlib import Path; "
    "from haulback.server.main import Server, ServerSettings; "
    "made = Server(ServerSettings(data=Path(sys.argv[1]), port=0, password=sys.argv[2], "
    "database=sys.argv[3], lease_ms=10000)); print(made.url, flush=True); made.run()"
)
LEASE = 10.0  # seconds, shorter than the default, so that a stalled server loses its lease sooner


class Apart(NamedTuple):
    """The server process, its URL, and a logged-in client."""

    process: subprocess.Popen[str]
    url: str
    http: httpx2.Client

    def peak_mib(self) -> float:
        """The peak memory of the process, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024


@contextmanager
def apart(folder: str, database: str = "") -> Iterator[Apart]:
    """A server on a data folder, stopped at the end; an empty `database` means SQLite in the
    folder.
    """
    command = [sys.executable, "-c", _SERVE, folder, _PASSWORD, database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        with httpx2.Client(base_url=f"{url}/api", timeout=120) as http:
            body = {"login": "admin", "password": _PASSWORD}
            token = http.post("/session/login", json=body).headers["x-session-token"]
            http.cookies.clear()
            http.headers["authorization"] = f"Bearer {token}"
            try:
                yield Apart(process, url, http)
            finally:
                process.terminate()
