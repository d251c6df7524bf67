"""Fixtures shared by all tests."""

import ctypes
import gc
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from haulback.destinations.folder import Folder
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.testing.libvirt_lab import LibvirtLab, lab
from haulback.testing.remote import Reached, reached
from tests import databases
from tests.shares import FAMILIES, ROOT

# No test depends on timing, because a loaded machine must not fail a test.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


def _keep_freed_memory() -> None:
    """Let this process keep the memory of freed disks, whose pages the kernel would clear again for
    each test.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # of the GNU library
        libc.mallopt(-3, 256 << 20)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD


_keep_freed_memory()

FAST = (ROOT / "tests" / "unit", ROOT / "tests" / "style")
# A module runs in one process, which starts its servers once.  Folders with the longest modules run
# first, so that the processes end together.
ORDER = ("model", "crash", "mutation", "docs", "acceptance", "integration", "golden", "conformance")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that the fast gate leaves to scripts/test, and put the longest tests first.

    Slow tests are the families of seeded cases, all tests that start programs or servers, which are
    outside tests/unit and tests/style, and all tests that need PostgreSQL.  A heavy unit test has
    the mark itself.
    """
    families = {ROOT / path for row in FAMILIES.values() for path in row["tests"]}
    for item in items:
        is_fast = any(folder in item.path.parents for folder in FAST)
        uses = item.fixturenames if isinstance(item, pytest.Function) else ()
        if not is_fast or item.path in families or "cluster" in uses:
            item.add_marker(pytest.mark.slow)
    items.sort(key=_place_of)


def _place_of(item: pytest.Item) -> int:
    """The position of a test's folder in the order of the run."""
    folder = item.nodeid.split("/")[1]
    return ORDER.index(folder) if folder in ORDER else len(ORDER)


def pytest_collection_finish() -> None:
    """Exclude the modules and the collected tests from garbage collection."""
    gc.freeze()


@contextmanager
def log_restored() -> Iterator[None]:
    """Give the log of this process back its handlers and its level at the end.

    A program writes its log to the standard error of its test, which is closed afterwards.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture(autouse=True)
def _log_of_the_run() -> Iterator[None]:
    with log_restored():
        yield


SECRET = Secret("keyfile", bytes(range(32)))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "destination").mkdir()
    return Folder(tmp_path / "destination")


@pytest.fixture
def repository(folder: Folder) -> Repository:
    return Repository.init(folder, SECRET)


@pytest.fixture(scope="session")
def pool_of_two() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A PostgreSQL cluster for all tests of this process."""
    with databases.cluster() as found:
        yield found


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtLab]:
    """A real libvirt host for the tests of a module."""
    with lab(tmp_path_factory.mktemp("lab") / "h1") as made:
        yield made


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """An SSH connection to this machine."""
    with reached(tmp_path_factory.mktemp("ssh")) as made:
        yield made
