"""The start of the programs: modules that a command does not need are not loaded."""

import subprocess
import sys

import haulback

_HEAVY = {
    "cyclopts",
    "httpx2",
    "litestar",
    "msgspec",
    "numpy",
    "rich",
    "sqlalchemy",
    "zstandard",
}


def loaded_by(*command: str) -> tuple[str, set[str]]:
    """The output of a Python program, and the packages that it loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True
    )
    names = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines())
    return done.stdout, {name.partition(".")[0] for name in names}


def test_the_version_is_told_without_any_heavy_package() -> None:
    told, packages = loaded_by("-m", "haulback", "--version")
    assert told.strip() == haulback.__version__
    assert not packages & _HEAVY


def test_a_list_of_tasks_loads_no_package_of_nodes_or_servers() -> None:
    _, packages = loaded_by("-c", "import haulback.cli.entry, haulback.cli.tasks")
    assert not packages & {"numpy", "zstandard", "blake3", "sqlalchemy", "litestar", "rich"}


def test_arrays_of_the_repository_start_no_thread() -> None:
    told, packages = loaded_by(
        "-c", "import os, haulback.repository.merge; print(len(os.listdir('/proc/self/task')))"
    )
    assert "numpy" in packages
    assert told.strip() == "1"
