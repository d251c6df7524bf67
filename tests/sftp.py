"""The SFTP server of this test process, started at the first use."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from haulback.contract.destination_types import SftpSettings
from haulback.testing.sftp_server import SftpServer

_numbers = itertools.count(1)


@cache
def server() -> SftpServer:
    """The running server; it ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="haulback-sftp-"))
    made = SftpServer(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(made.kill)
    made.start()
    return made


def new_settings(**more: Any) -> SftpSettings:
    """Settings of a destination in a new folder, as the driver takes them."""
    given = server().settings(f"folder-{next(_numbers)}", **more)
    return msgspec.convert(given, SftpSettings)
