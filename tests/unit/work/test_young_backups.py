"""A restore of a young backup waits for listings only while they lack its data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item
from haulback.destinations.settled_lists import SettledLists
from haulback.repository.manifest import name_of
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, VerifyReport, verify
from haulback.work import restore
from tests.conftest import SECRET
from tests.unit.transfer.copy_site import CopySite
from tests.unit.work.test_restore_locations import Reading, a_disk, order, place

DELAY = 1.0  # seconds


class LateIndex(PassThrough):
    """A store that returns some listings of the index files empty."""

    def __init__(self, site: CopySite, is_late: Callable[[], bool]) -> None:
        super().__init__(site.opened("first").destination)
        self.is_late, self.lists = is_late, 0

    def list(self, prefix: str) -> Iterator[Item]:
        if prefix == "index":
            self.lists += 1
            if self.is_late():
                return iter(())
        return super().list(prefix)


class Young(Reading):
    """A restore from a repository whose listings may lag."""

    def __init__(self, site: CopySite, wanted: Any, is_late: Callable[[], bool]) -> None:
        super().__init__(site, wanted)
        self.store, self.server = LateIndex(site, is_late), self

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def open(self, record: Any) -> Repository:
        opened = Repository.open(SettledLists(self.store), SECRET)
        opened.listing_delay = DELAY
        return opened

    @property
    def waits(self) -> list[str]:
        return [line for line in self.said if line.startswith("waiting")]


@pytest.fixture
def site(tmp_path: Path, pool: ThreadPoolExecutor) -> CopySite:
    return CopySite(tmp_path, pool)


def test_a_young_backup_whose_data_is_listed_is_restored_at_once(site: CopySite):
    backup = site.back_up(a_disk())
    work: Any = Young(site, order(place("first", backup), path="/r"), lambda: False)
    restore.run(work)
    assert work.content == site.contents[backup.backup]
    assert work.waits == []


def test_index_files_that_were_listed_once_are_used_though_a_later_list_lacks_them(site: CopySite):
    backup = site.back_up(a_disk())
    work: Any = Young(site, order(place("first", backup), path="/r"), lambda: work.store.lists > 1)
    restore.run(work)
    assert work.content == site.contents[backup.backup]
    assert work.waits == []


def test_a_young_backup_whose_index_is_not_listed_is_waited_for(site: CopySite):
    backup = site.back_up(a_disk())
    begun = time.monotonic()
    work: Any = Young(
        site,
        order(place("first", backup), path="/r"),
        lambda: time.monotonic() < begun + DELAY,
    )
    restore.run(work)
    assert work.content == site.contents[backup.backup]
    assert len(work.waits) == 1


def checked(site: CopySite, pool: ThreadPoolExecutor) -> VerifyReport:
    """The report of a check that leaves out the backups of the last minutes, as VERIFY does."""
    repository = site.opened("first")
    repository.objects.horizon = time.time_ns() // 1_000_000 - 240_000
    return verify(repository, Depth.DATA, Resources(pool))


def test_a_young_backup_that_the_last_clean_up_saw_is_not_missing(
    site: CopySite, pool: ThreadPoolExecutor
):
    backup = site.back_up(a_disk())
    site.clean("first")
    assert checked(site, pool).findings == []
    site.opened("first").destination.delete(name_of(backup.backup))
    [finding] = checked(site, pool).findings
    assert finding == f"backup {backup.backup} is missing: the last clean-up saw its manifest"
