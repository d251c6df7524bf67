"""Packs that are missing for a while: once they exist again, their damage records block nothing."""

from __future__ import annotations

import pytest

from haulback.errors import Damaged
from haulback.repository.backup_loss import assess, check_backup
from haulback.repository.damage import DamagedPlace
from haulback.repository.damage_report import record_findings
from haulback.repository.pack import name_of
from tests.unit.repository.damaged_site import SIZE, Site, limits, make
from tests.unit.repository.test_damage_orders import spoil


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pool_of_two) -> Site:
    return make(tmp_path_factory.mktemp("whole") / "r", pool_of_two)


@pytest.fixture
def site(whole, tmp_path):
    with limits(3):
        yield whole.copy(tmp_path / "r")


def needed(site: Site) -> list[bytes]:
    """Packs that the newest backup needs, packs of map pages first."""
    packs = sorted({pack for pack, _, _ in site.held[site.last].places})
    return sorted(packs, key=lambda pack: name_of(pack) not in site.page_packs)


def take_away(site: Site, packs: list[bytes], cut: float | None = None) -> dict[bytes, bytes]:
    """Remove packs, or truncate them to a share of their length; returns their former bytes."""
    had = {}
    for pack in packs:
        path = site.path(name_of(pack))
        had[pack] = path.read_bytes()
        path.unlink()
        if cut is not None:
            path.write_bytes(had[pack][: int(len(had[pack]) * cut)])
    return had


def bring_back(site: Site, had: dict[bytes, bytes]) -> None:
    for pack, data in had.items():
        path = site.path(name_of(pack))
        path.unlink(missing_ok=True)
        path.write_bytes(data)


FORMS = [
    pytest.param(lambda packs: packs[:1], None, id="a pack of pages"),
    pytest.param(lambda packs: packs[-1:], None, id="a pack of data"),
    pytest.param(lambda packs: packs[-3:], None, id="three packs"),
    pytest.param(lambda packs: packs[:7], None, id="seven packs"),
    pytest.param(lambda packs: packs[-2:], 0.5, id="two packs cut to half"),
    pytest.param(lambda packs: packs[-1:], 0.0, id="an empty file"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "cut"), FORMS)
@pytest.mark.parametrize("finder", ["clean", "verify"])
def test_a_restore_goes_on_once_the_packs_are_back(site, chosen, cut, finder):
    had = take_away(site, chosen(needed(site)), cut)
    site.clean() if finder == "clean" else site.verify(record=True)
    assert {spot.pack for spot in site.open().damage().damaged_places} <= had.keys()
    with pytest.raises(Damaged):
        check_backup(site.open(), site.last)
    bring_back(site, had)
    for backup in site.held:
        check_backup(site.open(), backup)
    assert not site.open().index().is_damaged
    assert site.restoring() == set(site.held)
    assert site.clean().damaged == []
    assert site.restoring() == set(site.held)
    site.verify(record=True)
    assert not site.open().damage()


@pytest.mark.parametrize("how", ["full", "increment"])
def test_a_backup_goes_on_once_the_packs_are_back(site, how):
    had = take_away(site, needed(site)[-3:])
    site.clean()
    bring_back(site, had)
    for _ in range(2):
        assert site.restores(getattr(site, how)())
    site.clean()
    assert site.restoring() == set(site.held)


def test_a_pack_that_is_cut_hides_only_what_lies_behind_the_cut(site):
    pack = needed(site)[-1]
    ends = sorted(place.offset + place.length for place in places_in(site, pack))
    path = site.path(name_of(pack))
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[: ends[0]])
    repository = site.open()
    repository.findings.note_pack(pack, ends[-1], "too short")
    record_findings(repository, "a test", 1)
    index = site.open().index()
    for segment in index.segments:
        for group, place in segment.groups_in(pack):
            hidden = index.damage.covers(group, place)
            assert hidden == (place.offset + place.length > ends[0])
    assert len(ends) > 1
    assert assess(site.open(), site.held[site.last].manifest).bytes < SIZE // 2


def places_in(site: Site, pack: bytes):
    index = site.open().index()
    return [place for segment in index.segments for _, place in segment.groups_in(pack)]


def test_a_group_that_rots_in_a_pack_recorded_as_missing_is_recorded_by_itself(site):
    pack = needed(site)[-1]
    had = take_away(site, [pack])
    site.clean()
    assert site.open().damage().damaged_places.keys() == {DamagedPlace(pack)}
    bring_back(site, had)
    spoil(site, places_in(site, pack)[0], 20)
    repository = site.open()
    assert not site.restores(site.last)
    group = next(g for s in repository.index().segments for g, _ in s.groups_in(pack))
    place = places_in(site, pack)[0]
    repository.findings.note(group, place, "rotten")
    record_findings(repository, "a test", 1)
    with pytest.raises(Damaged):
        check_backup(site.open(), site.last)


def test_a_dry_repair_leaves_a_pack_alone_that_is_back(site):
    had = take_away(site, needed(site)[-1:])
    site.clean()
    bring_back(site, had)
    assert not [text for text in site.repair(apply=False).actions if "packs/" in text]
