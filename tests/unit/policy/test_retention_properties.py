"""Retention over seeded histories: no backup that must stay is removed, and larger settings keep no
less.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from zoneinfo import ZoneInfo

import msgspec
import pytest

from haulback.policy.retention import Limits, StoredBackup, Terms, decide
from haulback.units import DAY_MS
from tests import shares
from tests.unit.policy.retention_cases import RULES, History, history

CASES = shares.cases("retention")


def going(told: History) -> set[str]:
    verdicts = decide(told.backups, told.applied, told.source, told.now)
    assert len(verdicts) == len(told.backups)
    return {verdict.location.guid for verdict in verdicts if verdict.goes}


@cache
def day_of(moment: int, zone: str) -> date:
    return datetime.fromtimestamp(moment // 1000, UTC).astimezone(ZoneInfo(zone)).date()


def period(item: StoredBackup, place: int, zone: str) -> tuple[int, ...]:
    day = day_of(item.time, zone)
    week = day.isocalendar()
    return [(day.year, day.month, day.day), (week[0], week[1]), (day.year, day.month), (day.year,)][
        place
    ]


def is_good(item: StoredBackup) -> bool:
    return item.state == "PRESENT" and item.hint != "TO_REMOVE"


def age_order(item: StoredBackup) -> tuple[int, int, str]:
    return item.time, item.created, item.guid


def is_chosen(item: StoredBackup, group: list[StoredBackup], terms: Terms) -> bool:
    """Whether a keep selects a backup, according to the documentation."""
    good = [other for other in group if is_good(other)]
    for place, most in enumerate(terms.keeps):
        mine = period(item, place, terms.zone)
        with_good = sorted({period(other, place, terms.zone) for other in good}, reverse=True)
        rivals = [other for other in group if period(other, place, terms.zone) == mine]
        if is_good(item):
            newest = max((other for other in rivals if is_good(other)), key=age_order)
            if mine in with_good[:most] and newest is item:
                return True
        elif item.state == "DAMAGED" and mine not in with_good and most:
            damaged = [o for o in rivals if o.state == "DAMAGED"]
            newer = [other for other in with_good if other > mine]
            if max(damaged, key=age_order) is item and len(newer) < most:
                return True
    return False


def must_go(item: StoredBackup, told: History) -> bool:
    """Whether mark and terms remove a backup, ignoring its protection."""
    if item.hint == "TO_REMOVE":
        return True
    terms = told.terms[item.rule]
    group = [o for o in told.backups if (o.role, o.rule) == (item.role, item.rule)]
    if is_chosen(item, group, terms):
        return False
    if not terms.others:
        return True
    limits = terms.full if item.type == "FULL" else terms.incremental
    same = [o for o in group if is_good(o) and (o.type == "FULL") == (item.type == "FULL")]
    newer = sum(age_order(other) > age_order(item) for other in same)
    over = limits.count is not None and newer >= limits.count
    return over or (limits.age is not None and told.now - item.time > limits.age)


def must_stay(item: StoredBackup, told: History) -> bool:
    """Whether something protects a backup: a lock, its use, its loss, or being the last backup."""
    endless = item.hint == "ARCHIVE" and item.keep_until is None
    locked = item.keep_until is not None and told.now < item.keep_until
    if endless or locked or item.in_use or item.state in ("MISSING", "GIVEN_UP"):
        return True
    return item.guid in set(last_ones(told, item.role))


def last_ones(told: History, role: str) -> Iterator[str]:
    since, days = told.source.absent_since, told.source.spared_days
    spared = since is not None and told.now - since < days * DAY_MS
    here = sorted((o for o in told.backups if o.role == role), key=age_order, reverse=True)
    good = [other for other in here if is_good(other)]
    unmarked = [other for other in here if other.hint != "TO_REMOVE"]
    if told.source.present or spared:
        yield from [other.guid for other in good if other.level == "BOOTED"][:1]
    if spared:
        yield from best(unmarked)
    if told.source.present:
        keeping = [other for other in here if told.terms[other.rule].keep_last]
        yield from best([o for o in keeping if o.hint != "TO_REMOVE"] or keeping)
        for rule in ("a", "b"):
            yield from [o.guid for o in good if o.rule == rule and told.terms[rule].keep_last][:1]


def best(ordered: list[StoredBackup]) -> list[str]:
    for state in ("PRESENT", "DAMAGED", "MISSING", "GIVEN_UP"):
        if chosen := [other.guid for other in ordered if other.state == state]:
            return chosen[:1]
    return []


@pytest.mark.parametrize("part", range(4))
def test_retention_removes_exactly_what_its_words_say(part: int):
    for seed in CASES.seeds[part::4]:
        told = history(seed)
        wanted = {
            item.guid for item in told.backups if must_go(item, told) and not must_stay(item, told)
        }
        assert going(told) == wanted, seed


def larger(terms: Terms, chance: random.Random) -> Terms:
    """The same terms with one member larger, or a limit absent."""

    def more(limits: Limits) -> Limits:
        if chance.random() < 0.5:
            count = chance.choice((None, (limits.count or 0) + chance.randint(1, 5)))
            return limits if limits.count is None else Limits(count, limits.age)
        age = chance.choice((None, (limits.age or 0) + chance.randint(1, 90 * DAY_MS)))
        return limits if limits.age is None else Limits(limits.count, age)

    member = chance.choice(("full", "incremental", "keeps", "keeps", "others"))
    if member == "others":
        return msgspec.structs.replace(terms, others=True)
    if member == "keeps":
        keeps = list(terms.keeps)
        keeps[chance.randrange(4)] += chance.randint(1, 4)
        return msgspec.structs.replace(terms, keeps=tuple(keeps))
    return msgspec.structs.replace(terms, **{member: more(getattr(terms, member))})


def test_a_larger_or_absent_member_never_removes_more():
    for seed in CASES.seeds:
        chance, told = random.Random(seed), history(seed)
        before = going(told)
        rule = chance.choice(RULES)
        told.terms[rule] = larger(told.terms[rule], chance)
        assert going(told) <= before, seed


def test_keeping_the_last_backup_never_removes_more_of_the_same_rule():
    for seed in CASES.seeds:
        told, rule = history(seed), random.Random(seed).choice(RULES)
        own = {item.guid for item in told.backups if item.rule == rule}
        told.terms[rule] = msgspec.structs.replace(told.terms[rule], keep_last=False)
        before = going(told) & own
        told.terms[rule] = msgspec.structs.replace(told.terms[rule], keep_last=True)
        assert going(told) & own <= before, seed


def test_a_second_clean_up_removes_nothing_more():
    for seed in CASES.seeds:
        told = history(seed)
        gone = going(told)
        told.backups = [item for item in told.backups if item.guid not in gone]
        assert going(told) == set(), seed


def test_the_last_good_backup_of_an_existing_machine_stays_unless_its_rule_gives_it_up():
    for seed in CASES.seeds:
        told = history(seed)
        gone = going(told)
        for role in {item.role for item in told.backups}:
            good = [o for o in told.backups if o.role == role and is_good(o)]
            given_up = all(not told.terms[item.rule].keep_last for item in good)
            if told.source.present and good and not given_up:
                assert any(item.guid not in gone for item in good), seed


def test_the_order_of_the_records_does_not_matter():
    for seed in CASES.seeds[:100]:
        told = history(seed)
        before = going(told)
        random.Random(seed).shuffle(told.backups)
        assert going(told) == before, seed
