"""The events that a notification rule reports."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.events import EventKind, EventRecord
from haulback.policy.notification_match import (
    HEARTBEATS,
    TROUBLES,
    RuleFilter,
    is_heartbeat,
    is_told,
    state_of,
)
from haulback.wire import Named, label

STATES = ["FINISHED", "FINISHED_WITH_WARNINGS", "PARTIALLY_FINISHED", "FAILED", "CANCELLED"]
ENDS = {"TASK_ENDED", "WORKFLOW_ENDED", "RUN_ENDED"}


def event(kind: str, data: dict[str, Any] | None = None, **more: Any) -> EventRecord:
    about = Named("s", "s")
    return EventRecord(
        number=1, kind=label(kind), time=0, subject=about, text="", data=data or {}, **more
    )


def rule(**members: Any) -> RuleFilter:
    plain = {k: v if k == "project" else frozenset(v) for k, v in members.items()}
    return RuleFilter(**plain)


def end(state: str, kind: str = "WORKFLOW_ENDED", sort: str = "EXPORT", **more: Any) -> EventRecord:
    return event(kind, {"state": state, "type": sort}, **more)


@pytest.mark.parametrize("state", STATES)
def test_a_rule_without_events_tells_the_ends_that_are_failures(state: str) -> None:
    assert is_told(rule(), end(state)) == (state in ("FAILED", "PARTIALLY_FINISHED"))
    assert not is_told(rule(), end(state, "TASK_ENDED")), "the workflow tells it"


@pytest.mark.parametrize("kind", sorted(EventKind.__members__))
def test_a_rule_without_events_tells_every_trouble(kind: str) -> None:
    state = "LATE" if kind == "PROTECTION_CHANGED" else "FAILED"
    assert is_told(rule(), event(kind, {"state": state})) == (kind in TROUBLES)
    assert is_told(rule(events=[kind]), event(kind))


@pytest.mark.parametrize("state", ["PROTECTED", "LATE", "FAILING", "NEVER", "UNASSIGNED"])
def test_a_machine_without_protection_is_a_trouble_and_the_others_are_not(state: str) -> None:
    """A failing machine is reported by its failed workflow, a new machine by no event."""
    changed = event("PROTECTION_CHANGED", {"state": state})
    assert is_told(rule(), changed) == (state in ("LATE", "UNASSIGNED"))
    assert is_told(rule(events=["PROTECTION_CHANGED"]), changed)


def test_an_alarm_with_an_event_of_its_own_is_told_once() -> None:
    for alarm, told in (("RETENTION_WAITS", False), ("BACKUP_DAMAGED", True)):
        raised = event("ALARM_RAISED", {"alarm": alarm})
        assert is_told(rule(), raised) == told
        assert is_told(rule(events=["ALARM_RAISED"]), raised)


def test_states_and_types_limit_ends_and_nothing_else() -> None:
    chosen = rule(events=["TASK_ENDED", "NODE_DOWN"], states=["CANCELLED"], task_types=["STORE"])
    assert is_told(chosen, end("CANCELLED", "TASK_ENDED", "STORE"))
    assert not is_told(chosen, end("FAILED", "TASK_ENDED", "STORE"))
    assert not is_told(chosen, end("CANCELLED", "TASK_ENDED", "EXPORT"))
    assert is_told(chosen, event("NODE_DOWN"))
    assert is_told(rule(events=["TASK_ENDED"]), end("FINISHED", "TASK_ENDED"))


def test_a_failure_that_is_retried_is_no_news() -> None:
    retried = event("TASK_ENDED", {"state": "FAILED", "type": "STORE", "retried": True})
    assert not is_told(rule(events=["TASK_ENDED"]), retried)


def test_the_first_run_of_a_policy_is_told_whatever_its_end() -> None:
    first = event("RUN_ENDED", {"states": {"FINISHED": 3}, "first": True}, policy="p")
    later = event("RUN_ENDED", {"states": {"FINISHED": 3}, "first": False}, policy="p")
    assert is_told(rule(), first)
    assert is_told(rule(events=["NODE_DOWN"], states=["FAILED"]), first)
    assert not is_told(rule(), later)
    assert not is_told(rule(policies=["q"]), first)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ({"FINISHED": 2}, "FINISHED"),
        ({"FINISHED": 2, "CANCELLED": 1}, "CANCELLED"),
        ({"FINISHED": 2, "CANCELLED": 1, "FAILED": 1}, "FAILED"),
        ({"FAILED": 0, "FINISHED": 1}, "FINISHED"),
    ],
)
def test_a_run_is_as_good_as_its_worst_task(states: dict[str, int], state: str) -> None:
    assert state_of(event("RUN_ENDED", {"states": states})) == state
    assert state_of(event("NODE_DOWN", {"states": states})) is None


def test_a_monitor_hears_of_the_runs_of_its_policies_only() -> None:
    mine = rule(policies=["p"], events=["NODE_DOWN"])
    for kind in EventKind.__members__:
        assert is_heartbeat(mine, event(kind, policy="p")) == (kind in HEARTBEATS)
        assert not is_heartbeat(mine, event(kind, policy="q"))


names = st.sampled_from(["a", "b", None])
some = st.frozensets(st.sampled_from(["a", "b"]))
filters = st.builds(
    RuleFilter,
    project=names,
    events=st.frozensets(st.sampled_from(sorted(EventKind.__members__))),
    task_types=st.frozensets(st.sampled_from(["EXPORT", "STORE"])),
    states=st.frozensets(st.sampled_from(STATES)),
    policies=some,
    projects=some,
)
happened = st.builds(
    event,
    st.sampled_from(sorted(EventKind.__members__)),
    st.fixed_dictionaries(
        {"state": st.sampled_from(STATES), "type": st.sampled_from(["EXPORT", "STORE"])},
        optional={"first": st.booleans(), "retried": st.booleans()},
    ),
    project=names,
    policy=names,
)


@given(filters, happened)
def test_a_rule_of_a_project_never_tells_events_of_another(
    wanted: RuleFilter, news: EventRecord
) -> None:
    if is_told(wanted, news) or is_heartbeat(wanted, news):
        assert wanted.project in (None, news.project)
        assert not wanted.projects or news.project in wanted.projects
        assert not wanted.policies or news.policy in wanted.policies


@given(filters, happened)
def test_a_rule_tells_what_the_naive_reading_of_its_members_tells(
    wanted: RuleFilter, news: EventRecord
) -> None:
    kind, state = news.kind.name, news.data["state"]
    fits = (
        (wanted.project is None or wanted.project == news.project)
        and (not wanted.projects or news.project in wanted.projects)
        and (not wanted.policies or news.policy in wanted.policies)
        and not news.data.get("retried")
    )
    ends = kind not in ENDS or (
        (not wanted.task_types or news.data["type"] in wanted.task_types)
        and (
            state in wanted.states
            if wanted.states
            else bool(wanted.events) or state in ("FAILED", "PARTIALLY_FINISHED")
        )
    )
    quiet = kind == "PROTECTION_CHANGED" and not wanted.events  # none of these states is LATE
    chosen = kind in (wanted.events or TROUBLES) and ends and not quiet
    first = kind == "RUN_ENDED" and bool(news.data.get("first"))
    assert is_told(wanted, news) == (fits and (first or chosen))


def test_a_rule_without_conditions_has_empty_ones_and_members_go_by_their_names() -> None:
    nothing = frozenset[str]()
    plain = RuleFilter()
    assert (plain.project, plain.events, plain.task_types) == (None, nothing, nothing)
    assert (plain.states, plain.policies, plain.projects) == (nothing, nothing, nothing)
    with pytest.raises(TypeError):
        RuleFilter("p")  # type: ignore[misc]
