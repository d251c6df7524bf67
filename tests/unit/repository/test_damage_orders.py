"""Damage, a new backup, a merge and two clean-ups, in any order and at the same time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import permutations
from unittest.mock import patch

import pytest

from haulback.errors import BaseGone
from haulback.repository.index import Index
from haulback.repository.pack import GroupLocation, name_of, read_directory
from haulback.repository.repository import Repository
from haulback.repository.verify import Depth
from tests.conftest import SECRET
from tests.unit.repository.damaged_site import Site, limits, make
from tests.unit.repository.test_clean_up_histories import Shared

ORDERS = sorted(set(permutations(["full", "merge", "clean", "clean"])))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pool_of_two) -> Site:
    return make(tmp_path_factory.mktemp("whole") / "r", pool_of_two)


def first_full(site: Site) -> str:
    """The machine's full backup, on which its increments build."""
    parent = site.held[site.last].manifest.parent
    return site.held[parent].manifest.parent


def rot(site: Site, backup: str, chance: random.Random) -> None:
    """Damage one group of a backup's data at one place, except the roots of maps."""
    pages = {site.path(name) for name in site.page_packs}
    places = sorted(place for place in site.held[backup].places if place.pack)
    places = [p for p in places if site.path(name_of(p.pack)) not in pages]
    place = chance.choice(places)
    spoil(site, place, chance.randrange(place.length))


def spoil(site: Site, place: GroupLocation, at: int) -> None:
    path = site.path(name_of(place.pack))
    raw = bytearray(path.read_bytes())
    raw[place.offset + at] ^= 0x10
    path.unlink()
    path.write_bytes(raw)


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [False, True], ids=["unnoticed", "recorded"])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_in_any_order_the_new_backup_restores_and_heals_the_old(whole, tmp_path, order, is_known):
    chance = random.Random(f"{order} {is_known}")
    with limits(1):
        site = whole.copy(tmp_path / "r")
        old = first_full(site)
        site.disk.data[:] = site.held[old].data
        rot(site, old, chance)
        if is_known:
            site.verify(record=True)
        restoring = site.restoring()
        for item in order:
            if item == "merge":
                site.open().merge_index(site.room("m"))
            else:
                getattr(site, item)()
            assert site.restoring() >= restoring
        assert site.restores(site.last)
        assert site.restores(old)
        site.clean()
        site.clean()
        assert {site.last, old} <= site.restoring()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_beside_a_clean_up_damage_backups_and_merges_lose_nothing(whole, tmp_path, seed):
    chance = random.Random(seed)
    with limits(seed + 1):
        site = whole.copy(tmp_path / "r")
        old = first_full(site)
        site.disk.data[:] = site.held[old].data
        gone = next(b for b in site.held if b not in (old, site.last))
        site.open().forget(gone)
        del site.held[gone]

        def merge() -> None:
            site.open().merge_index(site.room("m"))

        def full() -> None:
            # the reused data is deleted at this moment: the export is repeated
            with suppress(BaseGone):
                site.full()

        def damage() -> None:
            rot(site, old, chance)

        plan = [(chance.randrange(1, 60), item) for item in (damage, full, merge, full)]
        for number in range(2):
            shared = Shared(site.root / "d", plan=plan if number == 0 else ())
            site.clean(pins=lambda: {"a store"}, repository=Repository.open(shared, SECRET))
        for _, item in plan:
            if item in shared.plan.values():
                item()
        site.full()
        for _ in range(2):
            site.clean()
        assert {site.last, old} <= site.restoring()


def test_a_clean_up_keeps_the_only_good_copy_although_the_damage_of_the_other_is_unknown(
    whole, tmp_path
):
    """Two backups store the same data at the same time; then the copy in the index is damaged."""
    with limits(5):
        site = whole.copy(tmp_path / "r")
        site.disk.data[:] = random.Random(77).randbytes(200_000) + bytes(
            len(site.disk.data) - 200_000
        )
        with unseen(site):
            first, second = site.full(), site.full()
        for _ in range(2):
            site.open().merge_index(site.room("m"))
        assert rot_what_the_index_leads_to(site) > 2
        assert {first, second} <= site.restoring()
        for _ in range(3):
            site.clean()
            assert {first, second} <= site.restoring()
        assert site.verify(Depth.MAPS).losses == []


def rot_what_the_index_leads_to(site: Site) -> int:
    """Damage the indexed copies of chunks that are stored twice; returns the number of groups."""
    repository = site.open()
    index, keys = repository.index(), repository.keys
    entries = [
        entry
        for pack in repository.objects.packs()
        for entry in read_directory(repository.destination, pack, keys)
    ]
    holders = Counter(chunk for entry in entries for chunk in entry.chunks)
    count = 0
    for entry in entries:
        is_twice = all(holders[chunk] > 1 for chunk in entry.chunks)
        if is_twice and set(index.find(entry.chunks)) == {entry.group}:
            spoil(site, entry.place, 40)
            count += 1
    return count


@contextmanager
def unseen(site: Site) -> Iterator[None]:
    """Exports that read the index before any backup was stored."""
    writer = Repository.writer

    def blind(repository: Repository, *args, **kwargs):
        with patch("haulback.repository.repository_state.Index", lambda *_: Index()):
            return writer(repository, *args, **kwargs)

    with patch.object(Repository, "writer", blind):
        yield
