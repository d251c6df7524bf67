"""A remote store is asked again, and its lost replies turn no success into a conflict."""

from __future__ import annotations

import pytest

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.store_retries import Retrying
from haulback.errors import Conflict, Damaged, NotFound, Unavailable
from haulback.retry import Backoff
from haulback.testing.faulty_store import Fault, FaultyStore
from haulback.testing.memory_store import ManualClock, MemoryStore

THREE = Backoff(pause=1.0, factor=2.0, attempts=3)


def retrying(*faults: Fault) -> tuple[Retrying, MemoryStore, ManualClock]:
    """A store whose next operations meet these faults."""
    plan, store, clock = iter(faults), MemoryStore(), ManualClock()
    faulty = FaultyStore(store, lambda _operation: next(plan, Fault.NONE))
    return Retrying(faulty, THREE, clock.wait), store, clock


def test_an_operation_is_repeated_with_growing_pauses_until_the_store_answers():
    retried, store, clock = retrying(Fault.BEFORE, Fault.BEFORE)
    retried.store("manifests/a", b"x")
    assert (store.load("manifests/a"), clock.seconds) == (b"x", 3.0)


def test_a_store_that_stays_away_is_unavailable_after_the_last_try():
    retried, _, clock = retrying(*[Fault.BEFORE] * 3)
    with pytest.raises(Unavailable):
        retried.load("manifests/a")
    assert clock.seconds == 3.0


@pytest.mark.parametrize("fault", [Fault.AFTER, Fault.HALF])
def test_a_create_with_an_unknown_outcome_succeeds_once(fault):
    retried, store, _ = retrying(fault)
    retried.store("manifests/a", b"x")
    assert store.load("manifests/a") == b"x"


def test_a_create_with_an_unknown_outcome_loses_against_other_bytes():
    retried, store, _ = retrying(Fault.BEFORE)
    store.store("manifests/a", b"other")
    with pytest.raises(Conflict):
        retried.store("manifests/a", b"x")
    assert store.load("manifests/a") == b"other"


def test_a_create_that_a_client_library_repeated_is_no_conflict():
    retried, store, _ = retrying(Fault.REPEATED)
    retried.store("manifests/a", b"x")
    assert store.load("manifests/a") == b"x"


def test_a_create_under_an_existing_name_is_refused():
    retried, store, _ = retrying()
    store.store("manifests/a", b"x")
    with pytest.raises(Conflict):
        retried.store("manifests/a", b"y")
    assert store.load("manifests/a") == b"x"


def test_a_file_is_adopted_although_the_reply_was_lost(tmp_path):
    retried, store, _ = retrying(Fault.AFTER)
    staged = tmp_path / "staged"
    staged.write_bytes(b"x")
    retried.adopt("packs/ab/cd", staged)
    assert store.load("packs/ab/cd") == b"x"
    assert not staged.exists()


def test_a_list_that_breaks_off_begins_anew():
    retried, store, _ = retrying(Fault.BROKEN_LIST, Fault.BROKEN_LIST)
    names = [f"rolls/{number:08d}" for number in range(1, 9)]
    for name in names:
        store.store(name, b"x")
    assert [item.name for item in retried.list("rolls")] == names


def test_damage_is_not_retried():
    retried, store, clock = retrying()
    store.store("manifests/a", b"x")
    with pytest.raises(Damaged):
        retried.load("manifests/a", 0, 2)
    assert clock.seconds == 0.0


class Hung(PassThrough):
    """A store that accepts requests and answers none before the time-out of its settings."""

    def __init__(self, clock: ManualClock, time_out: float) -> None:
        super().__init__(MemoryStore())
        self.clock, self.time_out, self.asked = clock, time_out, 0

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked += 1
        self.clock.wait(self.time_out)
        raise Unavailable("no answer")


def given_up(time_out: float) -> tuple[Hung, list[str]]:
    """A hung store after its retries, and the told reasons."""
    told: list[str] = []
    clock = ManualClock()
    hung = Hung(clock, time_out)
    with pytest.raises(Unavailable):
        Retrying(hung, wait=clock.wait, clock=clock, tell=told.append).load("manifests/a")
    return hung, told


@pytest.mark.parametrize(("time_out", "asked"), [(10.0, 8), (120.0, 8), (600.0, 3), (3600.0, 2)])
def test_a_store_that_hangs_is_given_up_after_a_quarter_of_an_hour_and_two_time_outs(
    time_out: float, asked: int
):
    hung, _ = given_up(time_out)
    assert hung.asked == asked
    assert hung.clock.seconds <= 900 + 2 * time_out


def test_a_call_that_waited_long_for_its_share_of_the_bandwidth_is_repeated_all_the_same():
    assert given_up(1310.0)[0].asked == 2


def test_the_reason_of_repeated_requests_is_told_once_a_minute():
    hung, told = given_up(20.0)
    assert hung.asked == 8
    assert told == ["no answer; the request is repeated"] * 3


def test_the_last_error_is_not_told_as_a_repetition():
    hung, told = given_up(1000.0)
    assert (hung.asked, len(told)) == (2, 1)


def test_an_error_that_no_repetition_helps_is_not_told():
    told: list[str] = []
    with pytest.raises(NotFound):
        Retrying(MemoryStore(), tell=told.append).load("manifests/a")
    assert told == []
