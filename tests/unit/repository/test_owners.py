"""Owner records: a server that lost a repository publishes and deletes nothing in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.contract.order_records import Owner
from haulback.destinations.folder import Folder
from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item
from haulback.errors import Conflict, Damaged, OwnerChanged, Unavailable
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.names import number_name
from haulback.repository.owners import WAIT_MS, OwnerRecord, Ownership
from haulback.repository.repair import RepairContext, repair
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from haulback.units import MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, export, noise

NOW = 1_800_000_000_000
A, B = Owner(server="a" * 36, name="old"), Owner(server="b" * 36, name="new")


def taking(owner: Owner, by: str = "", *, revoked: bool = False) -> OwnerRecord:
    return OwnerRecord(owner.server, owner.name, NOW, revoked, by)


def owned(repository: Repository, owner: Owner) -> Repository:
    """The repository as a task of `owner` opens it."""
    opened = Repository(repository.destination, repository.guid, repository.keys)
    opened.ownership = Ownership(opened.owners, owner, NOW)
    return opened


def test_the_first_write_of_a_repository_without_records_stores_number_one(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    back_up(owned(repository, A), MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    assert repository.owners.newest() == Owner(1, A.server, A.name, NOW)
    back_up(owned(repository, A), MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    assert repository.owners.newest().number == 1


def test_reading_needs_no_ownership(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    back_up(owned(repository, A), MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    assert len(list(Repository(repository.destination, "", repository.keys).backups())) == 1


def test_an_owner_that_was_replaced_publishes_nothing(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    old = owned(repository, A)
    old.begin_writing()
    draft = export(old, MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    assert repository.owners.take_over(taking(B, "t1")).number == 2
    with pytest.raises(OwnerChanged, match="new has taken the destination over"):
        old.publish(tmp_path / "s", draft)
    assert list(repository.backups()) == []
    numbered = Owner(1, A.server, A.name)
    with pytest.raises(OwnerChanged, match="owner record 2; this server has 1"):
        owned(repository, numbered).begin_writing()


def test_a_copy_of_the_server_with_an_older_number_is_stopped_too(repository: Repository):
    owned(repository, A).begin_writing()
    repository.owners.take_over(taking(A, "t1"))
    with pytest.raises(OwnerChanged):
        owned(repository, Owner(1, A.server)).begin_writing()
    owned(repository, Owner(2, A.server)).begin_writing()


def test_a_repeated_take_over_of_one_task_is_one_record(repository: Repository):
    first = repository.owners.take_over(taking(B, "t1"))
    assert repository.owners.take_over(taking(B, "t1")) == first
    assert repository.owners.take_over(taking(B, "t2")).number == first.number + 1


def test_of_two_servers_that_take_over_at_once_only_one_gets_the_number(repository: Repository):
    repository.owners.claim(1, taking(A))
    with pytest.raises(Conflict):
        repository.owners.claim(1, taking(B))
    assert repository.owners.newest().server == A.server


class Older(PassThrough):
    """A store on which the owner records were stored a day ago."""

    def info(self, name: str) -> Item:
        item = super().info(name)
        if not name.startswith("owners/"):
            return item
        return item._replace(stored=(item.stored or 0) - WAIT_MS)


def cleaned(repository: Repository, folder: Path, pool: ThreadPoolExecutor, *gone: str):
    folder.mkdir(exist_ok=True)
    order = CleanupOrder(forget=list(gone))
    return clean_up(repository, folder, frozenset, Resources(pool), order)


@pytest.mark.parametrize("revoked", [False, True])
def test_a_new_owner_deletes_nothing_for_a_day_unless_the_old_credential_is_revoked(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor, revoked: bool
):
    made = back_up(owned(repository, A), MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    repository.owners.take_over(taking(B, "t1", revoked=revoked))
    taken = owned(repository, B)
    if not revoked:
        with pytest.raises(Conflict, match="for another 24 hours of the store's clock"):
            cleaned(taken, tmp_path / "c", pool, made.backup)
        assert len(list(repository.backups())) == 1
        taken = owned(
            Repository(Older(repository.destination), repository.guid, repository.keys), B
        )
    assert cleaned(taken, tmp_path / "c", pool, made.backup).packs_deleted
    assert list(repository.backups()) == []
    assert not list(repository.destination.list("aside"))


def test_a_store_without_times_is_judged_by_the_revocation_alone(
    tmp_path: Path, pool: ThreadPoolExecutor
):
    class Timeless(MemoryStore):
        def info(self, name: str):
            return super().info(name)._replace(stored=None)

    repository = Repository.init(Timeless(MemoryBucket()), SECRET)
    repository.owners.take_over(taking(A, "t1"))
    repository.owners.take_over(taking(B, "t2"))
    with pytest.raises(Conflict, match="the store reports no times"):
        cleaned(owned(repository, B), tmp_path / "c", pool)


def test_an_owner_that_is_replaced_during_a_clean_up_stops_at_the_next_batch(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    made = back_up(owned(repository, A), MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    old = owned(repository, A)
    deleted = old.destination.delete

    def replace(name: str) -> None:
        if name.startswith("manifests/"):
            repository.owners.take_over(taking(B, "t1", revoked=True))
        deleted(name)

    old.destination.delete = replace  # type: ignore[method-assign]
    with pytest.raises(OwnerChanged):
        cleaned(old, tmp_path / "c", pool, made.backup)
    assert repository.objects.packs()


def test_a_damaged_newest_record_stops_writers_and_is_taken_over(
    repository: Repository, folder: Folder
):
    owned(repository, A).begin_writing()
    path = folder.root / "owners" / "00000001"
    path.chmod(0o600)
    path.write_bytes(b"rot" * 50)
    with pytest.raises(Damaged, match="take the destination over"):
        owned(repository, A).begin_writing()
    assert list(repository.owners.problems()) == ["owners/00000001"]
    assert repository.owners.take_over(taking(A, "t1")).number == 2
    owned(repository, Owner(2, A.server)).begin_writing()


def test_a_take_over_of_a_repository_without_records_waits_too(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    made = back_up(repository, MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    assert repository.owners.take_over(taking(B, "t1")).number == 1
    with pytest.raises(Conflict, match="for another 24 hours of the store's clock"):
        cleaned(owned(repository, B), tmp_path / "c", pool, made.backup)
    assert len(list(repository.backups())) == 1


def test_a_new_owner_moves_no_damaged_object_for_a_day(
    repository: Repository, folder: Folder, tmp_path: Path, pool: ThreadPoolExecutor
):
    made = back_up(owned(repository, A), MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    path = folder.root / "manifests" / made.backup
    path.chmod(0o600)
    path.write_bytes(b"rot" * 50)
    repository.owners.take_over(taking(B, "t1"))
    work = tmp_path / "w"
    work.mkdir()
    context = RepairContext(work, Resources(pool), lambda: ("a repair", NOW))
    done = repair(owned(repository, B), context, apply=True)
    assert any("stays in place: nothing is deleted for another 24" in text for text in done.actions)
    assert path.exists()
    assert done.aside == []


def test_an_owner_that_is_replaced_during_a_scan_publishes_no_index(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    made = back_up(owned(repository, A), MemoryDisk(noise(MIB)), tmp_path / "s", pool)
    old = owned(repository, A)
    before, stored = repository.index_folder.names(), old.destination.store

    def replace(name: str, data: bytes) -> None:
        if name.startswith("graves/"):  # the announcement before the new index
            repository.owners.take_over(taking(B, "t1"))
        stored(name, data)

    old.destination.store = replace  # type: ignore[method-assign]
    with pytest.raises(OwnerChanged):
        cleaned(old, tmp_path / "c", pool, made.backup)
    assert repository.index_folder.names() == before


def test_an_empty_record_on_a_store_that_refuses_its_range_is_taken(repository: Repository):
    class Strict(PassThrough):
        def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if length and not self.info(name).size:
                raise Unavailable("416: the range is not satisfiable")
            return super().load(name, offset, length)

    repository.destination.store(number_name("owners", 1), b"")
    strict = Repository(Strict(repository.destination), repository.guid, repository.keys)
    assert (strict.owners.is_taken(1), strict.owners.is_taken(2)) == (True, False)
