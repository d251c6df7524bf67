"""Retention: the backups that may be removed, and those that never may."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.destinations import Retention
from haulback.policy.retention import BackupSource, StoredBackup
from haulback.policy.terms import of
from haulback.units import DAY_MS
from tests.unit.policy import stored_backups
from tests.unit.policy.stored_backups import NOW, location, surplus

TIGHT = {
    "keepLastNFull": 1,
    "keepFullNewerThan": DAY_MS,
    "keepLastNIncremental": 1,
    "keepIncrementalNewerThan": DAY_MS,
}


def backup(number: int, **more: Any) -> StoredBackup:
    """A backup; a higher number is newer."""
    taken = NOW - 500 * DAY_MS + number
    return location(f"b{number:03}", **{"created": 0, "snapshot_time": taken, **more})


def source(*, present: bool = False, missed_days: float | None = None) -> dict[str, BackupSource]:
    return {"e": stored_backups.source(present=present, missed_days=missed_days)}


def left(backups: list[StoredBackup], sources: dict[str, BackupSource], **rules: Any) -> list[str]:
    going = surplus(backups, Retention(**{**TIGHT, **rules}), NOW, sources)
    return [one.guid for one in backups if one.guid not in going]


def test_the_last_backup_of_what_is_missed_stays_for_its_days():
    three = [backup(number) for number in range(3)]
    assert left(three, source(missed_days=29.9)) == ["b002"]
    assert left(three, source(missed_days=30)) == []
    assert left(three, source(missed_days=6.9), keepLastBackupOfAbsentDays=7) == ["b002"]
    assert left(three, source(missed_days=7), keepLastBackupOfAbsentDays=7) == []
    assert left(three, source(missed_days=0), keepLastBackupOfAbsentDays=0) == []


def test_what_is_in_doubt_is_spared_even_where_the_last_of_present_machines_is_not():
    two = [backup(0), backup(1)]
    loose = {"keepLastBackupWhenSourceStillExists": False}
    assert left(two, source(present=True), **loose) == []
    assert left(two, source(present=True, missed_days=1), **loose) == ["b001"]
    assert left(two, source(present=True, missed_days=31), **loose) == []
    assert left(two, source(present=True, missed_days=31)) == ["b001"]


def test_what_a_person_marked_goes_and_the_last_one_that_is_not_marked_stays():
    marked = [backup(0), backup(1), backup(2, hint="TO_REMOVE")]
    assert left(marked, source(missed_days=1)) == ["b001"]
    assert left(marked, source(present=True)) == ["b001"]
    only = [backup(0, hint="TO_REMOVE")]
    assert left(only, source(missed_days=1)) == []
    assert left(only, source(present=True)) == ["b000"]


def test_a_destination_that_says_nothing_keeps_thirty_days():
    assert of({}).keepLastBackupOfAbsentDays == 30
    assert of({"retention": {"keepLastNFull": 2}}).keepLastBackupOfAbsentDays == 30


BACKUPS = st.lists(
    st.builds(
        backup,
        st.integers(0, 900),
        type=st.sampled_from(["FULL", "INCREMENTAL"]),
        hint=st.sampled_from(["STANDARD_RETENTION", "ARCHIVE"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.guid,
)
RULES = st.builds(
    Retention,
    keepLastNFull=st.none() | st.integers(1, 3),
    keepFullNewerThan=st.none() | st.integers(1, 900 * DAY_MS),
    keepLastNIncremental=st.none() | st.integers(1, 3),
    keepIncrementalNewerThan=st.none() | st.integers(1, 900 * DAY_MS),
    keepLastBackupWhenSourceStillExists=st.booleans(),
    keepLastBackupOfAbsentDays=st.integers(0, 60),
)


@given(BACKUPS, RULES, st.floats(0, 100), st.booleans())
def test_no_rule_takes_the_newest_of_what_is_missed_before_its_time(
    backups: list[StoredBackup], rules: Retention, days: float, present: bool
):
    going = surplus(backups, rules, NOW, source(present=present, missed_days=days))
    newest = max(backups, key=lambda one: (one.snapshot_time or 0, one.guid)).guid
    if days < rules.keepLastBackupOfAbsentDays - 0.001:
        assert newest not in going
    if present and rules.keepLastBackupWhenSourceStillExists:
        assert newest not in going


@given(BACKUPS, RULES, st.floats(0, 100))
def test_more_days_never_remove_more(backups: list[StoredBackup], rules: Retention, days: float):
    where = source(missed_days=days)
    spared = Retention(
        **{
            **{name: getattr(rules, name) for name in rules.__struct_fields__},
            "keepLastBackupOfAbsentDays": rules.keepLastBackupOfAbsentDays + 10,
        }
    )
    assert set(surplus(backups, spared, NOW, where)) <= set(surplus(backups, rules, NOW, where))


def test_a_missing_backup_is_never_the_last_one_that_is_kept_for_its_machine():
    """Some disks of a damaged backup can still be restored; a missing backup restores nothing."""
    for gone in ("MISSING", "GIVEN_UP"):
        two = [backup(0, state="DAMAGED"), backup(1, state=gone)]
        assert left(two, source(present=True)) == ["b000", "b001"]
