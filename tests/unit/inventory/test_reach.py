"""A task is pinned to the nodes that reach all its places, and a message names missing links."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.inventory import reach

NAMES = {"a": "n1", "b": "n2", "c": "n3"}
sets = st.one_of(st.none(), st.sets(st.sampled_from(sorted(NAMES)), min_size=1))


def members(nodes: set[str] | None) -> dict[str, object]:
    if not nodes:
        return {}
    return {"node": min(nodes)} if len(nodes) == 1 else {"nodes": sorted(nodes)}


def hypervisor(nodes: set[str] | None) -> Hypervisor:
    return Hypervisor(guid="h", name="hv", driver="image-folder", config={}, **members(nodes))


def destination(nodes: set[str] | None) -> BackupDestination:
    return BackupDestination(guid="d", name="vault", driver="folder", config={}, **members(nodes))


@given(sets, sets)
def test_the_pin_allows_exactly_the_nodes_that_reach_all_places(first, second):
    places = hypervisor(first), destination(second)
    able = {node for node in NAMES if reach.reaches(node, *places)}
    expected = {n for n in NAMES if (not first or n in first) and (not second or n in second)}
    assert able == expected
    pin = reach.pin(*places)
    if not first and not second:
        assert pin == ""
    elif not able:
        assert pin == reach.NOWHERE
        assert reach.missing_link(places, NAMES)
    elif len(able) == 1:
        assert pin == next(iter(able)) == reach.only_node(pin)
    else:
        assert reach.is_group(pin)
        assert pin == reach.pin_of(frozenset(able))
        assert len(pin) <= 36
    if able:
        assert reach.missing_link(places, NAMES) == ""


def test_a_missing_link_names_the_node_that_reaches_one_place_and_not_the_other():
    text = reach.missing_link((hypervisor({"a"}), destination({"b", "c"})), NAMES)
    assert text == (
        "no node reaches all of them: node n1 reaches hypervisor hv but not destination vault; "
        "node n2 reaches destination vault but not hypervisor hv; "
        "node n3 reaches destination vault but not hypervisor hv"
    )


@pytest.mark.parametrize("pin", ["", reach.NOWHERE, reach.pin_of(frozenset("ab"))])
def test_only_a_pin_of_one_node_names_a_node(pin):
    assert reach.only_node(pin) is None
