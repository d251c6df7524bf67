"""The Azure Blob server of this test process, started at the first use."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from haulback.contract.destination_types import AzureSettings
from haulback.testing.azure_server import AzureServer

_numbers = itertools.count(1)


@cache
def server() -> AzureServer:
    """The running server; it ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="haulback-azure-"))
    made = AzureServer(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(made.kill)
    made.start()
    return made


def new_container() -> str:
    """The name of a new, empty container."""
    name = f"container-{next(_numbers)}"
    server().make_container(name)
    return name


def settings_of(container: str, **more: Any) -> AzureSettings:
    """Settings of a destination in a container, as the driver takes them."""
    return msgspec.convert(server().settings(container, **more), AzureSettings)
