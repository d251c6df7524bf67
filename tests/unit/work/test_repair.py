"""A repair waits for tasks that use the repository before damaged packs are set aside."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haulback.contract.order_records import BackupDestination
from haulback.contract.repair import RepairOrder
from haulback.durable_files import DurableFiles
from haulback.errors import WrongKey
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.work import repair
from tests.conftest import SECRET
from tests.unit.transfer.copy_site import CopySite
from tests.unit.transfer.test_copy import rot
from tests.unit.work.test_restore_locations import Reading, a_disk


class Repairing(Reading):
    """A repair that is applied, while a VERIFY uses the repository until its pin is read twice."""

    def __init__(self, site: CopySite) -> None:
        destination = BackupDestination(guid="first", name="first", driver="folder", config={})
        super().__init__(site, RepairOrder(destination, apply=True, believe=False))  # type: ignore[arg-type]
        self.server, self.disk, self.guid, self.users = self, DurableFiles(), "repair", 2

    def now_ms(self) -> int:
        return 1

    def pins(self, destination: str) -> Set[str]:
        self.users -= 1
        return {"verify-1"} if self.users >= 0 else frozenset()

    def secret(self, destination: BackupDestination) -> Secret:
        return SECRET

    def space(self, destination: BackupDestination) -> dict[str, Any]:
        return {}

    def expected(self) -> list[str]:
        return []


def test_a_repair_waits_for_a_verify_before_it_sets_a_damaged_pack_aside(
    tmp_path: Path, pool: ThreadPoolExecutor
):
    site = CopySite(tmp_path, pool)
    rot(site, "first", site.back_up(a_disk()))
    work: Any = Repairing(site)
    results = repair.run(work)
    assert [name.split("/")[1] for name in results["aside"]] == ["packs"]
    assert "waiting 60 s: 1 other task may still use the damaged packs" in work.said


def test_a_repair_lets_the_key_of_the_first_destination_open_its_copies(
    tmp_path: Path, pool: ThreadPoolExecutor
):
    site = CopySite(tmp_path, pool)  # its copy was made without a slot for the first key
    copy = site.copy(site.back_up(a_disk())).manifest
    with pytest.raises(WrongKey):
        Repository.open(site.place("second"), SECRET)
    work: Any = Repairing(site)
    first, work.users = work.order.destination, 0
    second = msgspec.structs.replace(first, guid="second", name="second")
    work.order = RepairOrder(second, apply=True, believe=False, family=first)
    repair.run(work)
    assert Repository.open(site.place("second"), SECRET).manifest(copy.backup) == copy
    assert "the key of first opens the copies from now on" in work.said
    repair.run(work)
    assert [name for name in work.said if "from now on" in name] == [
        "the key of first opens the copies from now on"
    ]
