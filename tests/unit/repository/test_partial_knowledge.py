"""Decisions follow the content of an index or scan, not the hints of maps and records."""

from __future__ import annotations

import random

import pytest

from haulback.repository.backup_loss import assess
from haulback.repository.damage import DamagedPlace
from haulback.repository.index import Index
from haulback.repository.pack import name_of, read_directory
from haulback.repository.pack_verification import ReuseProof
from haulback.repository.reader import Findings
from haulback.units import KIB
from tests.unit.repository.damaged_site import Site, limits, make
from tests.unit.repository.scene import noise
from tests.unit.repository.test_damage_orders import rot_what_the_index_leads_to, spoil, unseen


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pool_of_two) -> Site:
    return make(tmp_path_factory.mktemp("whole") / "r", pool_of_two)


@pytest.fixture
def site(whole, tmp_path):
    with limits(4):
        yield whole.copy(tmp_path / "r")


def two_alike(site: Site) -> list[str]:
    """Two backups that store the same data; the indexed copy is recorded as damaged."""
    size = len(site.disk.data)
    site.disk.data[:] = random.Random(7).randbytes(200 * KIB) + bytes(size - 200 * KIB)
    with unseen(site):
        both = [site.full(), site.full()]
    for _ in range(2):
        site.open().merge_index(site.room("m"))
    assert rot_what_the_index_leads_to(site) > 2
    site.verify(record=True)
    return both


@pytest.mark.parametrize("number", [0, 1])
def test_an_increment_goes_on_where_a_map_names_what_the_index_does_not_lead_to(site, number):
    site.last = two_alike(site)[number]
    for seed in (1, 2):
        site.disk.changed()
        site.disk.write_at(300 * KIB, noise(40 * KIB, seed))
        base = site.held[site.last].manifest
        lacks = assess(site.open(), base, thorough=False)  # like the look-up of an export
        assert site.restores(site._back_up(base, distrust=bool(lacks)))  # raises no BaseGone
    site.clean()
    assert site.restoring() == set(site.held)


def test_a_store_and_the_check_before_an_increment_ask_the_same_of_an_index(site):
    """A chunk without a row in the index is lost for a STORE, whichever group a map names."""
    for backup in two_alike(site):
        assert assess(site.open(), site.held[backup].manifest) is None
        assert assess(site.open(), site.held[backup].manifest, thorough=False)


def test_the_proof_of_reuse_forgets_groups_but_refuses_again_what_it_refused(site, monkeypatch):
    monkeypatch.setattr("haulback.repository.pack_verification._GROUPS_KNOWN", 4)
    repository = site.open()
    groups = [g for s in repository.index().segments for g, _ in s.groups()]
    rotten = groups[len(groups) // 2]
    spoil(site, repository.index().place(rotten), 30)
    proof = ReuseProof(
        repository.destination, repository.index(), repository.keys, Findings(), None
    )
    for _ in range(3):
        for group in groups:
            assert (group in proof.sound([group])) == (group != rotten)
            assert len(proof._groups) <= 4


@pytest.mark.parametrize("is_gone", [False, True], ids=["closed", "away"])
def test_verify_clears_no_record_of_a_pack_that_a_damaged_segment_hides(site, is_gone):
    pack = max(site.held[site.last].places)[0]
    repository = site.open()
    entry = read_directory(repository.destination, pack, repository.keys)[0]
    damaged_places = {DamagedPlace(pack, entry.group), DamagedPlace(pack)}
    repository.damage_log.add("a test", 1, damaged_places, ())
    for name in site.names("index"):
        flip(site, name)
    path = site.path(name_of(pack))
    if is_gone:
        raw = path.read_bytes()
        path.unlink()
    else:
        flip(site, name_of(pack))
    site.verify(record=True)
    assert site.open().damage().damaged_places.keys() >= damaged_places
    if is_gone:
        path.write_bytes(raw)
    else:
        flip(site, name_of(pack))
    site.verify(record=True)  # now the directory lists every group of the pack
    assert DamagedPlace(pack, entry.group) not in site.open().damage().damaged_places


def flip(site: Site, name: str) -> None:
    """Change the last bytes of an object; in a pack, the end of its directory."""
    path = site.path(name)
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.unlink()
    path.write_bytes(raw)


def test_a_record_of_a_pack_that_nothing_names_any_more_is_cleared(site):
    damaged_places = {DamagedPlace(bytes(16)), DamagedPlace(bytes(16), bytes(12))}
    site.open().damage_log.add("a test", 1, damaged_places, ())
    site.verify(record=True)
    assert not site.open().damage()
    assert Index().least(bytes(16)) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_restore_finds_the_good_copy_once_the_damaged_copy_is_recorded(whole, tmp_path, seed):
    """Neither copy then has a sound row in the index; both are in the directories of packs."""
    with limits(seed + 20):
        site = whole.copy(tmp_path / "r")
        both = two_alike(site)
        assert set(both) <= site.restoring()
        for backup in both:
            assert assess(site.open(), site.held[backup].manifest) is None
