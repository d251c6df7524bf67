"""Limits, ranks and retry delays have the values of docs/design/server.md."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.tasks.scheduling import (
    AT_DESTINATION,
    HEAD_START_MS,
    LANES,
    MAX_ATTEMPTS,
    NEW_BACKUPS,
    PER_DESTINATION,
    PER_SOURCE,
    back_off,
    busy_nodes,
    destination_slot,
    entity_slot,
    is_limit,
    limit_names,
    most,
    node_slot,
    rank,
    share_slot,
    source_slot,
    waiting_for,
)

EACH = "each node that can run it"


class Fixed(Random):
    """A random source that always returns one number."""

    def __init__(self, number: float) -> None:
        super().__init__(0)
        self.number = number

    def random(self) -> float:
        return self.number


def test_a_node_runs_as_many_tasks_of_a_lane_as_the_design_says():
    assert LANES == {
        "inventory": 1,
        "export": 3,
        "store": 3,
        "copy": 2,
        "restore": 3,
        "import": 3,
        "snapshot": 5,
        "upkeep": 2,
        "cleanup": 2,
        "verify": 2,
    }
    assert all(most(node_slot("n", lane), {}) == count for lane, count in LANES.items())


def test_a_source_bears_two_exports_and_a_destination_eight_stores_and_four_copies():
    assert PER_SOURCE == {"export": 2, "snapshot": 2}
    assert PER_DESTINATION == {"store": 8, "copy": 4, "cleanup": 1, "verify": 1}
    assert MAX_ATTEMPTS == 5


@given(st.integers(0, 1 << 45), st.integers(0, 100))
def test_a_point_of_priority_is_worth_ten_minutes_of_waiting(ready: int, priority: int):
    assert HEAD_START_MS == 600_000
    assert rank(ready, priority) == ready - 600_000 * priority


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_has_a_source_limit_only_where_the_table_names_one(lane: str):
    name = source_slot(lane, "hv")
    assert name == (f"source:hv:{lane}" if lane in PER_SOURCE else None)
    assert source_slot(lane, None) is None
    if name:
        assert most(name, {}) == PER_SOURCE[lane]


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_has_a_destination_limit_only_where_the_table_names_one(lane: str):
    name = destination_slot(lane, "d")
    assert name == (f"destination:d:{lane}" if lane in PER_DESTINATION else None)
    assert destination_slot(lane, None) is None
    if name:
        assert most(name, {}) == PER_DESTINATION[lane]


def test_a_limit_row_bears_the_guids_and_the_lane_in_its_name():
    assert node_slot("n", "export") == "node:n:export"
    assert entity_slot("e") == "entity:e"


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 99))
def test_each_override_changes_its_own_limit_alone(node: int, source: int, destination: int):
    limits = {"export": node, "export.source": source, "store.destination": destination}
    assert most("node:n:export", limits) == node
    assert most("source:hv:export", limits) == source
    assert most("destination:d:store", limits) == destination
    assert most("node:n:store", limits) == LANES["store"]
    assert most("source:hv:snapshot", limits) == PER_SOURCE["snapshot"]
    assert most("destination:d:cleanup", limits) == PER_DESTINATION["cleanup"]
    assert most("entity:e", limits) == 1


def test_a_colon_inside_a_guid_does_not_hide_the_lane():
    assert most("node:a:b:export", {}) == LANES["export"]
    assert most("source:a:b:export", {"export.source": 9}) == 9


@pytest.mark.parametrize(
    "name", [*LANES, "export.source", "snapshot.source", "store.destination", "cleanup.destination"]
)
def test_a_limit_of_a_known_lane_is_accepted(name: str):
    assert is_limit(name)


def test_every_listed_name_is_a_limit():
    assert all(is_limit(name) for name in limit_names())
    assert {"export", "export.source", "store.destination"} <= set(limit_names())


@pytest.mark.parametrize(
    "name", ["", "exports", "store.source", "export.destination", "export.node", "export.", ".x"]
)
def test_a_limit_without_a_row_of_the_tables_is_refused(name: str):
    assert is_limit(name) == (name == "export.")


@pytest.mark.parametrize(
    ("made", "seconds"), [(0, 5), (1, 10), (2, 20), (7, 640), (8, 900), (30, 900)]
)
def test_a_retry_waits_five_seconds_and_then_twice_as_long_up_to_a_quarter_of_an_hour(
    made: int, seconds: int
):
    assert back_off(30 - made, 30, Fixed(0.5)) == seconds * 1000


def test_a_task_with_more_tries_left_than_it_began_with_waits_as_if_it_were_new():
    assert back_off(9, 3, Fixed(0.5)) == 5_000


@pytest.mark.parametrize(("number", "ms"), [(0.0, 3_750), (0.5, 5_000), (1.0, 6_250)])
def test_the_delay_of_a_retry_is_spread_by_a_quarter_to_either_side(number: float, ms: int):
    assert back_off(1, 1, Fixed(number)) == ms


@pytest.mark.parametrize(
    ("slot", "reason"),
    [
        ("entity:e", "another task works on the same entity"),
        ("source:hv:export", "the source has as many export tasks as it may"),
        ("destination:d:store", "the destination has as many store tasks as it may"),
        ("share:n:store:d", "the node runs as many store tasks of this destination as it may"),
        ("node:a:b:verify", "the node runs as many verify tasks as it may"),
    ],
)
def test_a_waiting_task_names_the_limit_that_is_full(slot: str, reason: str):
    assert waiting_for(slot) == reason


def test_a_destination_leaves_a_place_of_a_lane_on_a_node_to_the_others():
    name = share_slot("n", "store", "d")
    assert name == "share:n:store:d"
    assert most(name, {}) == LANES["store"] - 1
    assert most(name, {"store": 9}) == 8
    assert most(name, {"store": 2}) == 1
    assert most(name, {"store": 1}) == 1


def test_tasks_that_read_or_write_a_destination_wait_for_it():
    assert sorted(set(LANES) - AT_DESTINATION) == ["inventory", "snapshot", "upkeep"]
    assert set(LANES) > AT_DESTINATION
    assert NEW_BACKUPS == "export"


@pytest.mark.parametrize(
    ("slots", "reason"),
    [
        ([None], ""),
        (["node:n1:export", None], ""),
        (["node:n1:export"], "the node runs as many export tasks as it may"),
        (["node:n1:export", "share:n2:export:d"], f"{EACH} runs as many export tasks as it may"),
        (
            ["share:n1:copy:d", "share:n2:copy:d"],
            f"{EACH} runs as many copy tasks of this destination as it may",
        ),
    ],
)
def test_a_task_waits_for_limits_of_nodes_only_when_each_node_that_can_run_it_is_full(
    slots: list[str | None], reason: str
):
    assert busy_nodes(slots) == reason
