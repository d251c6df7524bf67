"""The report of a full scan: bounded, and every item is reported eventually."""

from __future__ import annotations

import uuid

import pytest

from haulback.repository.backup_loss import BackupLoss, DiskLoss
from haulback.repository.verify import VerifyReport
from haulback.work.support.damage_report import MOST, clipped, complete_report


def guids(count: int, kind: int) -> list[str]:
    return [str(uuid.UUID(int=(number * 7919 + 1 << 64) + kind)) for number in range(count)]


def named(found) -> set[str]:
    report = found.report
    return {loss.backup for loss in report.losses} | {*report.unreadable, *report.missing}


@pytest.mark.parametrize("counts", [(2500, 0, 0), (0, 1001, 0), (0, 0, 3333), (900, 900, 900)])
def test_more_lacking_backups_than_a_report_holds_are_marked_in_the_next_ones(counts):
    lacking, unreadable, missing = (guids(count, kind) for kind, count in enumerate(counts))
    losses = [BackupLoss(backup, [DiskLoss("a", 1)], ["packs/ab"]) for backup in lacking]
    report = VerifyReport(losses=losses, unreadable=unreadable, listed=lacking)
    marked: set[str] = set()
    after, rounds = "", 0
    while rounds == 0 or (after and rounds < 10):
        result = complete_report("d", report, [*lacking, *missing], after)
        assert len(named(result)) == MOST
        assert not result.report.complete
        assert str(sum(counts)) in result.report.findings[0]
        marked |= named(result)
        after, rounds = result.told, rounds + 1
        if marked >= {*lacking, *unreadable, *missing}:
            break
    assert marked == {*lacking, *unreadable, *missing}
    assert rounds == -(-sum(counts) // MOST)


def test_as_many_as_a_report_holds_are_complete():
    backups = guids(MOST, 0)
    found = complete_report("d", VerifyReport(), backups)
    assert (found.report.complete, found.told, found.unknown) == (True, "", [])
    assert named(found) == set(backups)


def test_backups_that_were_not_read_are_not_called_sound():
    one, two = guids(2, 0)
    found = complete_report(
        "d", VerifyReport(listed=[one, two], unlooked=[two], looked=one), [one, two]
    )
    assert (found.report.complete, found.told) == (False, one)


def test_texts_are_bounded_in_number_and_length():
    texts = clipped("x" * 5000 for _ in range(5000))
    assert (len(texts), max(map(len, texts))) == (MOST, 1900)
