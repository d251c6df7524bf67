"""Machines that a scan missed: rules about their absence that hold for any set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.ids import new_guid
from haulback.inventory.presence import (
    HypervisorScan,
    UnreadableMachine,
    is_credible,
    judge,
    place,
    undecided,
)
from haulback.inventory.records import Entity

GUIDS = st.frozensets(st.sampled_from("abcdefghijkl"))
NONE: frozenset[str] = frozenset()


@given(GUIDS, GUIDS, GUIDS, st.booleans(), st.integers(-3, 15))
def test_what_is_missed_is_absent_or_in_doubt_and_nothing_else_is(
    present: frozenset[str],
    missed: frozenset[str],
    doubted: frozenset[str],
    agrees: bool,
    unshown: int,
):
    found = judge(present, missed, doubted, agrees=agrees, unshown=unshown)
    assert found.absent | found.doubted == missed & present
    assert not found.absent or not found.doubted


@given(GUIDS, GUIDS)
def test_no_first_inventory_makes_all_or_more_than_half_absent(
    present: frozenset[str], missed: frozenset[str]
):
    gone = judge(present, missed, NONE, agrees=True).absent
    assert len(gone) <= max(1, len(present) // 2)
    assert not gone or gone != present


@given(GUIDS, GUIDS)
def test_a_first_inventory_that_misses_one_of_several_or_up_to_half_is_believed(
    present: frozenset[str], missed: frozenset[str]
):
    missed &= present
    few = len(missed) < len(present) and (len(missed) == 1 or 2 * len(missed) <= len(present))
    assert (judge(present, missed, NONE, agrees=True).absent == missed) == (few or not missed)


@given(GUIDS, GUIDS, GUIDS)
def test_two_inventories_that_miss_the_same_are_believed(
    present: frozenset[str], first: frozenset[str], second: frozenset[str]
):
    first &= present
    doubted = judge(present, first, NONE, agrees=True).doubted
    again = second & doubted
    assert judge(present, again, doubted, agrees=True).absent == again


@given(GUIDS, GUIDS, GUIDS, st.integers(0, 15))
def test_an_inventory_does_not_confirm_itself(
    present: frozenset[str], missed: frozenset[str], doubted: frozenset[str], unshown: int
):
    found = judge(present, missed, doubted, agrees=False, unshown=unshown)
    assert not found.absent & doubted


@given(GUIDS, GUIDS, GUIDS)
def test_a_later_inventory_that_misses_far_more_is_in_doubt_again(
    present: frozenset[str], doubted: frozenset[str], missed: frozenset[str]
):
    doubted &= present
    fresh, rest = (missed & present) - doubted, present - doubted
    found = judge(present, missed, doubted, agrees=True)
    if fresh and (fresh == rest or (len(fresh) > 1 and 2 * len(fresh) > len(rest))):
        assert found.absent == NONE


@given(st.sets(st.sampled_from("abcdefghijkl"), min_size=2), st.data())
def test_of_two_empty_inventories_the_first_makes_nothing_absent(
    present: set[str], data: st.DataObject
):
    """Scans of single machines on a platform that lists none of them add up to the loss of all."""
    one = data.draw(st.sampled_from(sorted(present)))
    found = judge(present, {one}, NONE, agrees=True, unshown=len(present))
    assert found.doubted == {one}


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_loss_of_fewer_is_at_least_as_credible(lost: int, of: int):
    if is_credible(lost, of) and lost > 0:
        assert is_credible(lost - 1, of)
    if is_credible(lost, of):
        assert is_credible(lost, of + 1)


def machine(name: str, where: str = "") -> Entity:
    return Entity(guid=new_guid(), uuid=new_guid(), name=name, hypervisor="h", place=where)


def test_an_unreadable_machine_is_known_by_its_uuid_or_its_place():
    one, two, three = machine("one", "a"), machine("two", "b"), machine("three", "c")
    unseen = {one.guid, two.guid}
    by_uuid = UnreadableMachine(one.uuid, "torn", one.uuid)
    by_place = UnreadableMachine("b", "no json")
    seen_elsewhere = UnreadableMachine("c", "another machine's ruin")
    found = place([by_uuid, by_place, seen_elsewhere], [one, two, three], unseen)
    assert found.known == {one.guid: [by_uuid], two.guid: [by_place]}
    assert found.unknown == [seen_elsewhere]


def test_a_stranger_in_the_place_of_a_known_machine_is_not_that_machine():
    one = machine("one", "a")
    stranger = UnreadableMachine("a", "torn", new_guid())
    assert place([stranger], [one], {one.guid}).known == {}


def test_a_folder_that_is_called_like_a_uuid_is_found_by_its_place():
    folder = new_guid()
    one = machine("one", folder)
    assert one.guid in place([UnreadableMachine(folder, "torn", folder)], [one], {one.guid}).known


def test_only_machines_whose_place_nobody_told_cannot_be_told_apart():
    ruin, named = UnreadableMachine("x", "torn"), UnreadableMachine("y", "torn", new_guid())
    unseen = {"known": "a", "older": "", "oldest": ""}
    assert undecided([ruin], unseen) == {"older", "oldest"}
    assert undecided([named], unseen) == set()
    assert undecided([], unseen) == set()


@pytest.mark.parametrize(
    ("lost", "of", "believed"),
    [(0, 0, True), (1, 1, False), (1, 2, True), (2, 3, False), (2, 4, True), (3, 5, False)],
)
def test_up_to_half_of_several_machines_may_be_lost_at_once(lost: int, of: int, believed: bool):
    assert is_credible(lost, of) == believed
    names = frozenset("abcdefghijkl"[:of])
    found = judge(names, frozenset("abcdefghijkl"[:lost]), NONE, agrees=False)
    assert (found.absent == frozenset("abcdefghijkl"[:lost])) == believed


def test_a_first_scan_needs_no_other_one_to_agree_about_machines_that_were_not_in_doubt():
    present, missed, doubted = frozenset("abcd"), frozenset("a"), frozenset("b")
    assert judge(present, missed, doubted, agrees=False).absent == missed
    assert judge(present, doubted, doubted, agrees=False).doubted == doubted


def test_a_scan_of_all_machines_counts_no_machines_of_the_platform():
    assert HypervisorScan("w", 5).shown is None


def test_machines_in_doubt_are_no_new_loss_of_a_platform_that_lists_fewer_machines():
    present, doubted = frozenset("abcdefghij"), frozenset("a")
    for unshown, believed in ((5, True), (6, False)):  # of nine machines that are not in doubt
        found = judge(present, frozenset("b"), doubted, agrees=True, unshown=unshown)
        assert (found.absent == {"b"}) is believed


def test_a_loss_is_confirmed_whatever_number_the_platform_leaves_out():
    present, doubted = frozenset("abcdefghij"), frozenset("a")
    assert judge(present, doubted, doubted, agrees=True, unshown=9).absent == doubted


def test_an_unreadable_machine_is_a_value():
    assert len({UnreadableMachine("a", "no rights"), UnreadableMachine("a", "no rights")}) == 1
