"""An S3 server that ignores conditional writes: `rclone serve s3` on a folder."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from haulback.testing.s3_server import ADMIN, free_port

RCLONE = Path(sys.executable).with_name("rclone")


@contextmanager
def rclone_server(folder: Path) -> Iterator[str]:
    """The URL of the server; a folder below `folder` is a bucket."""
    address = f"127.0.0.1:{free_port()}"
    keys = f"{ADMIN.key_id},{ADMIN.secret}"
    command = [RCLONE, "serve", "s3", "--addr", address, "--auth-key", keys, folder]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://{address}", process)
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(OSError):
            try:
                urllib.request.urlopen(url, timeout=5).close()
            except urllib.error.HTTPError:
                return
            return
        time.sleep(0.05)
    raise AssertionError("rclone did not start")
