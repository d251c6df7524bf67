"""Each limit of a retention removes the backups beyond it, but none that must stay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.destinations import Retention
from haulback.policy.retention import StoredBackup
from haulback.policy.terms import of
from haulback.units import DAY_MS
from tests.unit.policy.stored_backups import NOW, location, source, surplus

# The machine has been absent for long, so that no backup stays only because it is the last one.
GONE = {"e": source()}
THERE = {"e": source(present=True)}


def backup(days: float, **more: Any) -> StoredBackup:
    """A stored backup made this number of days ago; its guid is its age in milliseconds."""
    taken = NOW - round(days * DAY_MS)
    usual = {"created": 0, "location": "l", "snapshot_time": taken}
    return location(**{"guid": f"{taken:016}", **usual, **more})


def going(backups: list[StoredBackup], sources: Any = GONE, **rules: Any) -> list[StoredBackup]:
    guids = surplus(backups, Retention(**rules), NOW, sources)
    assert len(guids) == len(set(guids))
    return [one for one in backups if one.guid in guids]


def test_a_day_of_retention_is_a_day():
    assert DAY_MS == 24 * 60 * 60 * 1000
    assert Retention(daysToKeepRetentionLock=3).lock_ms == 3 * DAY_MS
    assert Retention().lock_ms == 0


def test_without_limits_every_backup_stays():
    assert going([backup(day) for day in range(900)]) == []
    found = of({})
    assert (found.keepLastNFull, found.keepFullNewerThan) == (None, None)
    assert (found.keepLastNIncremental, found.keepIncrementalNewerThan) == (None, None)
    assert (found.keepLastBackupWhenSourceStillExists, found.daysToKeepRetentionLock) == (
        True,
        None,
    )
    assert of({"retention": {"keepLastNFull": 2}}).keepLastNFull == 2


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.integers(0, 6))
def test_a_count_keeps_the_newest_backups_of_its_own_type(
    full: int, small: int, keep_full: int, keep_small: int
):
    fulls = [backup(day + 0.5) for day in range(full)]
    smalls = [backup(day, type="INCREMENTAL") for day in range(small)]
    found = going(fulls + smalls, keepLastNFull=keep_full, keepLastNIncremental=keep_small)
    assert found == fulls[keep_full:] + smalls[keep_small:]


def test_a_synthetic_backup_counts_among_the_increments():
    found = going([backup(1, type="SYNTHETIC"), backup(2, type="FULL")], keepLastNIncremental=0)
    assert [one.type for one in found] == ["SYNTHETIC"]


@pytest.mark.parametrize("kind", ["FULL", "INCREMENTAL"])
def test_an_age_takes_what_is_older_and_not_what_is_exactly_as_old(kind: str):
    limit = "keepFullNewerThan" if kind == "FULL" else "keepIncrementalNewerThan"
    at, over = backup(10, type=kind), backup(10 + 1 / DAY_MS, type=kind)
    other = backup(500, type="INCREMENTAL" if kind == "FULL" else "FULL")
    assert going([at, over, other], **{limit: 10 * DAY_MS}) == [over]


def test_a_backup_without_a_snapshot_time_is_as_old_as_its_record():
    old, new = backup(0, created=NOW - 9 * DAY_MS), backup(0, created=NOW - DAY_MS)
    old.snapshot_time = new.snapshot_time = None
    old.guid, new.guid = "old", "new"
    assert going([new, old], keepFullNewerThan=2 * DAY_MS) == [old]
    assert going([old, new], keepLastNFull=1) == [old]


def test_backups_of_one_moment_are_ordered_by_record_and_then_by_guid():
    one, two = backup(1, guid="a", created=5), backup(1, guid="b", created=4)
    assert going([one, two], keepLastNFull=1) == [two]
    one.created = 4
    assert going([one, two], keepLastNFull=1) == [one]


def test_a_damaged_backup_takes_no_place_among_the_kept_backups():
    newest = backup(1, state="DAMAGED")
    second, third = backup(2), backup(3)
    assert going([newest, second, third], keepLastNFull=1) == [third]


@pytest.mark.parametrize("status", ["MISSING", "GIVEN_UP"])
def test_a_missing_backup_waits_for_a_decision_of_a_user(status: str):
    missing = backup(400, state=status, hint="TO_REMOVE")
    assert going([missing], keepLastNFull=0, keepFullNewerThan=1) == []


def test_a_damaged_backup_expires_like_any():
    damaged = backup(400, state="DAMAGED")
    assert going([damaged], keepFullNewerThan=DAY_MS) == [damaged]


def test_a_locked_backup_and_an_archive_stay():
    locked = backup(400, keep_until=NOW + 1, hint="TO_REMOVE")
    archive = backup(401, hint="ARCHIVE")
    free = backup(402, keep_until=NOW)
    assert going([locked, archive, free], keepLastNFull=0) == [free]


def test_a_marked_backup_goes_without_any_limit():
    marked, other = backup(1, hint="TO_REMOVE"), backup(2)
    assert going([marked, other]) == [marked]


def test_the_last_backup_of_each_machine_is_its_own():
    sources = {**THERE, "f": source(present=True)}
    one, two = backup(1), backup(2, entity="f")
    old = backup(3, entity="f")
    assert going([one, two, old], sources, keepLastNFull=0) == [old]


@pytest.mark.parametrize(
    ("statuses", "stays"),
    [
        (("DAMAGED", "PRESENT"), 1),
        (("MISSING", "DAMAGED"), 1),
        (("GIVEN_UP", "MISSING", "DAMAGED", "PRESENT"), 3),
        (("PRESENT", "PRESENT"), 0),
        (("DAMAGED", "DAMAGED"), 0),
    ],
)
def test_the_backup_that_stays_is_the_newest_of_the_best(statuses: tuple[str, ...], stays: int):
    backups = [backup(1 + day, state=one) for day, one in enumerate(statuses)]
    wanted = [one for one in backups if one.state in ("PRESENT", "DAMAGED")]
    found = going(backups, THERE, keepLastNFull=0)
    assert found == [one for one in wanted if one is not backups[stays]]


def test_a_missing_backup_is_chosen_before_one_that_was_given_up():
    backups = [
        backup(1, state="GIVEN_UP"),
        backup(2, state="MISSING"),
        backup(3, hint="TO_REMOVE"),
    ]
    assert going(backups, THERE) == [backups[2]]


def test_an_absent_machine_without_a_known_moment_keeps_nothing_for_its_days():
    assert GONE["e"].absent_since is None
    only = backup(1)
    assert going([only], keepLastNFull=0) == [only]


@given(
    st.lists(
        st.builds(
            backup,
            st.integers(0, 800),
            type=st.sampled_from(["FULL", "INCREMENTAL", "SYNTHETIC"]),
            hint=st.sampled_from(["STANDARD_RETENTION", "ARCHIVE", "TO_REMOVE"]),
            keep_until=st.none() | st.integers(NOW - DAY_MS, NOW + DAY_MS),
            state=st.sampled_from(["PRESENT", "DAMAGED", "MISSING", "GIVEN_UP"]),
        ),
        max_size=8,
        unique_by=lambda one: one.guid,
    ),
    st.booleans(),
)
def test_nothing_that_is_locked_missing_or_archived_ever_goes(
    backups: list[StoredBackup], there: bool
):
    found = going(backups, THERE if there else GONE, keepLastNFull=0, keepFullNewerThan=0)
    assert not any(one.keep_until is None and one.hint == "ARCHIVE" for one in found)
    assert not any((one.keep_until or 0) > NOW for one in found)
    assert not any(one.state in ("MISSING", "GIVEN_UP") for one in found)
    if there and backups:
        assert len(found) < len(backups)


def test_the_snapshot_decides_the_order_and_not_the_moment_of_the_record():
    old, new = backup(2, created=9), backup(1, created=5)
    assert going([old, new], keepLastNFull=1) == [old]
    assert going([new, old], keepLastNFull=1) == [old]
