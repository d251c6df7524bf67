"""A VERIFY with a time limit ends soon, reports the remainder, and continues there next time."""

from __future__ import annotations

import pytest

from haulback.repository.backup_loss import Assessor
from haulback.repository.pack import name_of
from haulback.repository.resources import Resources
from haulback.repository.scan import in_turn
from haulback.repository.verify import CheckOrder, Depth, Share, verify
from tests.unit.repository.damaged_site import Site, limits, make


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pool_of_two) -> Site:
    return make(tmp_path_factory.mktemp("whole") / "r", pool_of_two)


@pytest.fixture
def site(whole, tmp_path):
    with limits(6):
        yield whole.copy(tmp_path / "r")


def share(site: Site, after: str, seconds: float | None = 0.0):
    bounds = Share(seconds=seconds, after_backup=after)
    return verify(site.open(), Depth.DATA, Resources(site.pool), CheckOrder(bounds))


def test_without_time_one_pack_and_one_backup_are_verified_and_the_next_run_continues(site):
    looked, seen = "", []
    for _ in site.held:
        report = share(site, looked)
        assert report.groups
        assert not report.is_round
        assert len(report.unlooked) == len(site.held) - 1
        assert sorted(report.listed) == sorted(site.held)
        looked = report.looked
        seen.append(looked)
    assert seen == sorted(site.held)
    assert share(site, looked).looked == seen[0]


def test_with_time_every_backup_is_verified(site):
    for after in ("", sorted(site.held)[0]):
        report = share(site, after, 3600.0)
        assert (report.unlooked, report.looked, report.is_round) == ([], "", True)


def test_each_damaged_backup_is_named_by_one_of_the_shares(site):
    for pack in {pack for pack, _, _ in site.held[site.last].places}:
        site.path(name_of(pack)).unlink()
    lost = set(site.held) - site.restoring()
    assert len(lost) > 1
    named, looked = set(), ""
    for _ in site.held:
        report = share(site, looked)
        named |= {loss.backup for loss in report.losses}
        looked = report.looked
    assert named == lost


def test_the_maps_that_backups_share_are_read_once(site):
    first, last = site.held[site.last].manifest, site.full()
    repository = site.open()
    assessor = Assessor(repository)
    loads, load = [], assessor._load
    assessor._load = lambda ref: loads.append(ref.id) or load(ref)
    covered = []
    for backup in (last, last, first.parent, first.backup):
        assert assessor.loss(repository.manifest(backup), covered.append) is None
    assert len(loads) == len(set(loads))
    assert sum(covered) == 4 * len(site.disk.data)


@pytest.mark.parametrize("after", ["", "b", "bb", "z"])
def test_guids_come_in_turn(after):
    order = in_turn({"c", "a", "b"}, after)
    assert order == {"": ["a", "b", "c"], "z": ["a", "b", "c"]}.get(after, ["c", "a", "b"])
