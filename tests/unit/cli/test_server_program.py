"""The server program starts without the modules of the data plane."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from haulback.cli import server_program

DATA_PLANE = (
    "numpy",
    "zstandard",
    "blake3",
    "pyfastcdc",
    "haulback.node",
    "haulback.work",
    "haulback.repository",
    "haulback.transfer",
    "haulback.mounts",
    "haulback.drivers",
    "haulback.filesystems.browser",
    "haulback.destinations",
    "haulback.client",
    "httpx2",
    "numpy",
    "rich",
)


@pytest.mark.slow
def test_the_server_program_loads_neither_a_data_plane_nor_a_client():
    code = (
        "import sys, haulback.cli.server_program\n"
        f"print([m for m in sys.modules if m.startswith({DATA_PLANE})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("", ""),
        ("postgresql:///haulback", " --database postgresql:///haulback"),
        ("postgresql://h:secret@db/h", ", with HAULBACK_DATABASE as for this server"),
    ],
)
def test_the_reset_of_a_lost_password_names_the_database_without_its_password(
    database: str, words: str
):
    data = Path("/var/lib/my server")
    command = "haulback user reset-password --data '/var/lib/my server'"
    assert server_program.reset_command(data, database) == command + words
